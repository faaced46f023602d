//! The store on disk: one append-only log that is the truth, and an index that can be lost.
//!
//! ```text
//! put, append ──> writer ──> segment ──fdatasync──> acknowledged
//!                   │
//!                   └──> catalog (memory) ──checkpoint──> index (RocksDB)
//! get ──> catalog, else index ──> one pread ──> verify
//! ```
//! Who owns what:
//! - `writer` and `appender`: the end of the log. One lock for appending; one turn for syncing, rotating, failing over.
//! - `catalog`: what was appended and the index has not heard of; all heads and journals.
//! - `index`: the only user of RocksDB. Written in batches, after the log is durable, off the hot path.
//! - `worker`: one thread, for syncs ahead of need and for checkpoints.
//!
//! What survives a crash: whatever was synced, and nothing half. `recovery` replays the log behind the index's
//! checkpoint through the same changes that appending makes. `docs/FORMAT.md` has the bytes and the order of writes.
//!
//! Reading order: `record`, `segment`, `writer`, `appender`, `catalog`, `inner`, `store`; then `scan`, `replay`,
//! `recovery`; then `collect`, `compact`, `scrub`.

mod appender;
mod catalog;
mod collect;
mod compact;
mod device;
#[cfg(test)]
mod faults;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod heads;
#[cfg_attr(shuttle, path = "index_memory.rs")]
mod index;
#[cfg(not(shuttle))]
mod index_bench;
#[cfg(not(shuttle))]
mod index_options;
mod inner;
mod layout;
mod marks;
mod options;
mod plain;
mod quarantine;
mod record;
mod recovery;
mod replay;
mod reserve;
mod scan;
#[cfg(all(test, shuttle))]
mod schedules;
mod scrub;
mod segment;
mod segments;
mod store;
#[cfg(all(test, not(shuttle)))]
mod tests;
mod worker;
mod writer;

#[cfg(not(shuttle))]
pub use index_bench::IndexBench;
pub use options::DiskOptions;
pub use recovery::OpenReport;
pub use store::{DiskStore, Health, Stats};
