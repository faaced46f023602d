//! How RocksDB is set up: small, bounded, and without anything of its own that has to survive.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DataBlockIndexType,
    InfoLogger, LogLevel, Options,
};

/// The families of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Blocks,
    Heads,
    Deltas,
    Hints,
    State,
}

pub(crate) const FAMILIES: [Family; 5] = [Family::Blocks, Family::Heads, Family::Deltas, Family::Hints, Family::State];

impl Family {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Heads => "heads",
            Self::Deltas => "deltas",
            Self::Hints => "hints",
            Self::State => "state",
        }
    }
}

/// Of one family; ten million blocks are then flushed some 60 times.
const MEMTABLE_BYTES: usize = 8 << 20;

/// Of all families together.
const MEMTABLES_BYTES_MAX: usize = 24 << 20;

/// Files that are kept open, ten of them not for tables; with tables of 64 MiB that is an index of 70 million blocks
/// before tables have to be opened again, which costs more than looking something up.
const FILES_OPEN_MAX: i32 = 64;
const TABLE_BYTES: u64 = 64 << 20;

/// Young tables before they are merged. A store flushes few blocks at a time, and a merge rewrites old tables wherever
/// they are; a lookup asks the filter of each.
const YOUNG_TABLES: i32 = 8;

/// One in a hundred lookups of a missing block reads a table.
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// A damaged manifest is noticed early only if it is not long.
const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// The whole database.
pub(crate) fn options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    options.set_max_open_files(FILES_OPEN_MAX);
    // The few files are shared out over 64 shards otherwise, less than one for each, and every lookup opens its table.
    options.set_table_cache_num_shard_bits(0);
    options.set_max_background_jobs(2);
    options.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log));
    options
}

/// Each family. Filters and indexes are partitioned and live in the one cache, so that memory doesn't grow with blocks.
pub(crate) fn descriptors(cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let descriptor = |family: &Family| ColumnFamilyDescriptor::new(family.name(), family_options(cache));
    FAMILIES.iter().map(descriptor).collect()
}

fn family_options(cache: &Cache) -> Options {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_cache_index_and_filter_blocks_with_high_priority(true);
    tables.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    tables.set_partition_filters(true);
    tables.set_pin_top_level_index_and_filter(true);
    tables.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    tables.set_optimize_filters_for_memory(true);
    tables.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    let mut options = Options::default();
    options.set_block_based_table_factory(&tables);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_level_zero_file_num_compaction_trigger(YOUNG_TABLES);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(4 * TABLE_BYTES);
    options
}

fn log(level: LogLevel, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(target: "cairn_store::index", "{message}"),
        _ => tracing::debug!(target: "cairn_store::index", "{message}"),
    }
}
