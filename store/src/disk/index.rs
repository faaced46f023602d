//! The index: where each block lies in the log. The only module that knows RocksDB.
//!
//! Everything in it can be read from the log again, so its own log is off. Atomic flush makes whatever survives a crash
//! one consistent past: a batch of changes and the position in the log that it reaches are in one write, and what lies
//! behind that position is replayed. It must never be ahead of the log: only changes of durable records come here.
//!
//! | family | key | value |
//! |---|---|---|
//! | `blocks` | block id | location |
//! | `heads` | volume, device, seq (big-endian) | location, id |
//! | `deltas` | volume, seq (big-endian) | location, id |
//! | `hints` | dedup key | sealed value, opaque; lossy |
//! | `state` | `checkpoint`; `unread`; `t` + volume; `q` + block id | position and totals; position; trimmed up to, location; location |

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_block::{BlockId, DeviceId, VolumeId};
use rocksdb::{ColumnFamily, DB, FlushOptions, Options, ReadOptions, WriteBatch, WriteOptions};
use rustix::io::Errno;

use super::catalog::{Catalog, Change, HeadAt, Journal, Position, Queued};
use super::index_options::{FAMILIES, Family, descriptors, options};
use super::plain;
use super::record::{Location, RECORD_SEQ_LIMIT, StoreId, array_at, u32_at, u64_at};
use super::segment::SEGMENT_NUMBER_MAX;
use crate::sync::{Mutex, RwLock, RwLockReadGuard};
use crate::{HINT_BYTES_MAX, StoreError};

const CHECKPOINT: &[u8] = b"checkpoint";
const UNREAD: &[u8] = b"unread";
const CHECKPOINT_BYTES: usize = 49;
const CHECKPOINT_VERSION: u8 = 1;

/// On disk; beyond it all hints are forgotten at once, since nobody knows which ones still serve.
const HINTS_BYTES_MAX: u64 = 1 << 30;

/// How far the index is, and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) store: StoreId,
    pub(crate) upto: Position,
    /// The number of the last record before `upto`.
    pub(crate) seq: u64,
    /// Blocks that are indexed.
    pub(crate) blocks: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// See the module.
pub(crate) struct Index {
    dir: PathBuf,
    db: RwLock<Option<DB>>,
    checkpoint: Mutex<Checkpoint>,
    cache: rocksdb::Cache,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("dir", &self.dir).finish_non_exhaustive()
    }
}

type Result<T> = std::result::Result<T, StoreError>;

impl Index {
    /// Opens the index of `store`, or says why it has to be made anew.
    pub(crate) fn open(dir: &Path, store: StoreId, cache_bytes: usize) -> Result<Self> {
        // RocksDB follows links and appends to what it finds.
        if plain::is_plain_directory(dir).is_ok_and(|is_plain| !is_plain) {
            return Err(StoreError::Index { op: "be used", source: "not all of it is the store's own".into() });
        }
        let cache = rocksdb::Cache::new_lru_cache(cache_bytes);
        let db = open_db(dir, &cache, false)?;
        let checkpoint = read_checkpoint(&db, store)?;
        Ok(Self { dir: dir.into(), db: RwLock::new(Some(db)), checkpoint: Mutex::new(checkpoint), cache })
    }

    /// Removes whatever is there and makes an empty index.
    pub(crate) fn create(dir: &Path, store: StoreId, cache_bytes: usize) -> Result<Self> {
        let cache = rocksdb::Cache::new_lru_cache(cache_bytes);
        let db = create_db(dir, &cache)?;
        let checkpoint = Mutex::new(empty(store));
        Ok(Self { dir: dir.into(), db: RwLock::new(Some(db)), checkpoint, cache })
    }

    /// Forgets everything, in place.
    pub(crate) fn reset(&self) -> Result<()> {
        let mut db = self.db.write();
        // The old handle holds the directory; it has to go first.
        drop(db.take());
        *db = Some(create_db(&self.dir, &self.cache)?);
        let mut checkpoint = self.checkpoint.lock();
        *checkpoint = empty(checkpoint.store);
        Ok(())
    }

    /// Closes it: whoever asks from now on hears that it has to be made anew.
    pub(crate) fn shut(&self) {
        drop(self.db.write().take());
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        *self.checkpoint.lock()
    }

    /// Where a block lies.
    pub(crate) fn block(&self, id: &BlockId) -> Result<Option<Location>> {
        let db = self.db("look up a block")?;
        let found = db.get_pinned_cf(db.family(Family::Blocks)?, id.as_bytes()).map_err(failed("look up a block"))?;
        Ok(found.and_then(|bytes| Location::from_bytes(&bytes)))
    }

    /// Blocks in the order of their ids, after a given one. Used where all are walked: fills no cache.
    pub(crate) fn page(&self, after: Option<&BlockId>, max: usize) -> Result<Vec<(BlockId, Location)>> {
        let db = self.db("list blocks")?;
        let mut blocks = Vec::with_capacity(max);
        let from = after.map_or(&[][..], |id| id.as_bytes());
        db.each(Family::Blocks, from, |key, value| {
            let (Some(key), Some(at)) = (array_at(key, 0), Location::from_bytes(value)) else { return true };
            let id = BlockId::from_bytes(key);
            if Some(&id) != after {
                blocks.push((id, at));
            }
            blocks.len() < max
        })?;
        Ok(blocks)
    }

    /// Carries out changes, and notes how far the log is covered.
    pub(crate) fn apply(&self, changes: &[Queued]) -> Result<()> {
        let Some(last) = changes.last() else { return Ok(()) };
        let db = self.db("write")?;
        let mut held = self.checkpoint.lock();
        let mut checkpoint = Checkpoint { upto: last.upto, seq: held.seq.max(last.seq), ..*held };
        let mut batch = WriteBatch::default();
        for queued in changes {
            checkpoint.count(&queued.change);
            db.stage(&mut batch, &queued.change)?;
        }
        batch.put_cf(db.family(Family::State)?, CHECKPOINT, checkpoint.to_bytes());
        db.write(batch)?;
        *held = checkpoint;
        Ok(())
    }

    /// Notes that the log is covered up to here without a change: its end was cut or passed over.
    pub(crate) fn advance(&self, upto: Position) -> Result<()> {
        let db = self.db("write")?;
        let mut held = self.checkpoint.lock();
        let checkpoint = Checkpoint { upto, ..*held };
        let mut batch = WriteBatch::default();
        batch.put_cf(db.family(Family::State)?, CHECKPOINT, checkpoint.to_bytes());
        db.write(batch)?;
        *held = checkpoint;
        Ok(())
    }

    /// Makes everything applied so far durable.
    pub(crate) fn flush(&self) -> Result<()> {
        let db = self.db("flush")?;
        let families = FAMILIES.iter().map(|family| db.family(*family)).collect::<Result<Vec<_>>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        db.guarded()?.flush_cfs_opt(&families, &options).map_err(failed("flush"))
    }

    /// Fills a catalog with the heads and journals.
    pub(crate) fn load(&self, catalog: &mut Catalog) -> Result<()> {
        let db = self.db("load")?;
        db.each(Family::Heads, &[], |key, value| {
            if let Some((key, head)) = head_entry(key, value) {
                catalog.heads.insert(key, head);
            }
            true
        })?;
        db.each(Family::State, b"t", |key, value| {
            if let Some((volume, upto, at)) = trim_entry(key, value) {
                let journal: &mut Journal = catalog.journals.entry(volume).or_default();
                (journal.trimmed, journal.trimmed_at) = (upto, Some(at));
            }
            key.first() == Some(&b't')
        })?;
        db.each(Family::Deltas, &[], |key, value| {
            if let Some((volume, seq, at, id)) = delta_entry(key, value) {
                catalog.journals.entry(volume).or_default().deltas.insert(seq, (at, id));
            }
            true
        })
    }

    /// The damaged blocks that were found before.
    pub(crate) fn quarantined(&self) -> Result<Vec<(BlockId, Location)>> {
        let db = self.db("load")?;
        let mut found = Vec::new();
        db.each(Family::State, b"q", |key, value| {
            if key.first() != Some(&b'q') {
                return false;
            }
            if let (Some(id), Some(at)) = (array_at(key, 1), Location::from_bytes(value)) {
                found.push((BlockId::from_bytes(id), at));
            }
            true
        })?;
        Ok(found)
    }

    /// Remembers or forgets that a block is damaged.
    pub(crate) fn set_quarantined(&self, id: &BlockId, at: Option<Location>) -> Result<()> {
        let db = self.db("write")?;
        let key = [b"q", &id.as_bytes()[..]].concat();
        let mut batch = WriteBatch::default();
        match at {
            Some(at) => batch.put_cf(db.family(Family::State)?, key, at.to_bytes()),
            None => batch.delete_cf(db.family(Family::State)?, key),
        }
        db.write(batch)
    }

    /// From where on the log was not read whole when it was last read into this.
    pub(crate) fn unread(&self) -> Result<Option<Position>> {
        let db = self.db("read")?;
        let value = db.get_pinned_cf(db.family(Family::State)?, UNREAD).map_err(failed("read"))?;
        let place = |bytes: &[u8]| Position { segment: u32_at(bytes, 0), offset: u32_at(bytes, 4) };
        Ok(value.filter(|bytes| bytes.len() == 8).map(|bytes| place(&bytes)))
    }

    /// Remembers that place, or that all was read.
    pub(crate) fn set_unread(&self, from: Option<Position>) -> Result<()> {
        let db = self.db("write")?;
        let mut batch = WriteBatch::default();
        let state = db.family(Family::State)?;
        match from {
            Some(at) => batch.put_cf(state, UNREAD, [at.segment.to_le_bytes(), at.offset.to_le_bytes()].concat()),
            None => batch.delete_cf(state, UNREAD),
        }
        db.write(batch)
    }

    pub(crate) fn hint(&self, key: &[u8; 32]) -> Option<Bytes> {
        let db = self.db("look up a hint").ok()?;
        let found = db.get_pinned_cf(db.family(Family::Hints).ok()?, key).ok()??;
        Some(Bytes::copy_from_slice(&found))
    }

    pub(crate) fn put_hint(&self, key: &[u8; 32], value: &[u8]) {
        if value.len() > HINT_BYTES_MAX {
            return;
        }
        let put = || -> Result<()> {
            let db = self.db("write a hint")?;
            let mut batch = WriteBatch::default();
            batch.put_cf(db.family(Family::Hints)?, key, value);
            db.write(batch)
        };
        if let Err(error) = put() {
            tracing::debug!(%error, "a hint was not kept");
        }
    }

    /// Forgets all hints once they take too much of the disk.
    pub(crate) fn bound_hints(&self) -> Result<()> {
        let db = self.db("bound hints")?;
        let hints = db.family(Family::Hints)?;
        let bytes = db.guarded()?.property_int_value_cf(hints, rocksdb::properties::TOTAL_SST_FILES_SIZE);
        if bytes.map_err(failed("measure hints"))?.unwrap_or(0) <= HINTS_BYTES_MAX {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(hints, vec![0; 32], vec![0xff; 33]);
        db.write(batch)
    }

    fn db(&self, op: &'static str) -> Result<Held<'_>> {
        let held = Held { db: self.db.read() };
        held.guarded().map_err(|_| StoreError::Index { op, source: "the index is closed".into() })?;
        Ok(held)
    }
}

/// The open database, kept open while something is done with it.
struct Held<'a> {
    db: RwLockReadGuard<'a, Option<DB>>,
}

impl std::ops::Deref for Held<'_> {
    type Target = DB;
    fn deref(&self) -> &DB {
        self.db.as_ref().expect("checked when it was taken")
    }
}

impl Held<'_> {
    fn guarded(&self) -> Result<&DB> {
        self.db.as_ref().ok_or(StoreError::Index { op: "work", source: "the index is closed".into() })
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        family_of(self, family)
    }

    fn write(&self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.write_opt(batch, &options).map_err(failed("write"))
    }

    /// Visits entries from a key on, until `visit` says no.
    fn each(&self, family: Family, from: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_verify_checksums(true);
        let mut entries = self.raw_iterator_cf_opt(self.family(family)?, options);
        entries.seek(from);
        while let Some((key, value)) = entries.item() {
            if !visit(key, value) {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(failed("list"))
    }

    fn stage(&self, batch: &mut WriteBatch, change: &Change) -> Result<()> {
        let family = |family| self.family(family);
        match change {
            Change::Block { id, at, .. } => batch.put_cf(family(Family::Blocks)?, id.as_bytes(), at.to_bytes()),
            Change::Delta { volume, seq, id, at, .. } => {
                batch.put_cf(family(Family::Blocks)?, id.as_bytes(), at.to_bytes());
                batch.put_cf(family(Family::Deltas)?, delta_key(volume, *seq), located(at, id));
            }
            Change::JournalMoved { volume, seq, id, at } => {
                batch.put_cf(family(Family::Deltas)?, delta_key(volume, *seq), located(at, id));
            }
            Change::Head { volume, device, seq, id, at } => {
                batch.put_cf(family(Family::Heads)?, head_key(volume, device, *seq), located(at, id));
            }
            Change::DropHead { volume, device, seq } => {
                batch.delete_cf(family(Family::Heads)?, head_key(volume, device, *seq));
            }
            Change::Trim { volume, upto, at } => {
                let value = [&upto.to_le_bytes()[..], &at.to_bytes()].concat();
                batch.put_cf(family(Family::State)?, [b"t", &volume.as_bytes()[..]].concat(), value);
                let (from, to) = (delta_key(volume, 0), delta_key(volume, upto.saturating_add(1)));
                batch.delete_range_cf(family(Family::Deltas)?, from, to);
            }
            Change::Dead { blocks } => {
                for (id, _) in blocks {
                    batch.delete_cf(family(Family::Blocks)?, id.as_bytes());
                }
            }
            Change::Nothing => {}
        }
        Ok(())
    }
}

impl Checkpoint {
    fn count(&mut self, change: &Change) {
        match change {
            Change::Block { at, is_new: true, .. } | Change::Delta { at, is_new: true, .. } => {
                self.blocks = self.blocks.saturating_add(1);
                self.bytes = self.bytes.saturating_add(at.len.into());
            }
            Change::Dead { blocks } => {
                let bytes: u64 = blocks.iter().map(|(_, len)| u64::from(*len)).sum();
                self.blocks = self.blocks.saturating_sub(blocks.len() as u64);
                self.bytes = self.bytes.saturating_sub(bytes);
            }
            _ => {}
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CHECKPOINT_BYTES);
        out.push(CHECKPOINT_VERSION);
        out.extend_from_slice(&self.store);
        out.extend_from_slice(&self.upto.segment.to_le_bytes());
        out.extend_from_slice(&self.upto.offset.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != CHECKPOINT_BYTES || bytes[0] != CHECKPOINT_VERSION {
            return None;
        }
        let checkpoint = Self {
            store: array_at(bytes, 1)?,
            upto: Position { segment: u32_at(bytes, 17), offset: u32_at(bytes, 21) },
            seq: u64_at(bytes, 25),
            blocks: u64_at(bytes, 33),
            bytes: u64_at(bytes, 41),
        };
        // There has to be a next record and a next segment.
        (checkpoint.seq < RECORD_SEQ_LIMIT && checkpoint.upto.segment < SEGMENT_NUMBER_MAX).then_some(checkpoint)
    }
}

fn empty(store: StoreId) -> Checkpoint {
    Checkpoint { store, upto: Position::default(), seq: 0, blocks: 0, bytes: 0 }
}

fn open_db(dir: &Path, cache: &rocksdb::Cache, create: bool) -> Result<DB> {
    let options: Options = options(create);
    DB::open_cf_descriptors(&options, dir, descriptors(cache)).map_err(failed("open"))
}

fn create_db(dir: &Path, cache: &rocksdb::Cache) -> Result<DB> {
    plain::remove(dir).map_err(|source| StoreError::io("remove", dir, source))?;
    super::layout::create_dir(dir)?;
    open_db(dir, cache, true)
}

fn read_checkpoint(db: &DB, store: StoreId) -> Result<Checkpoint> {
    let value = db.get_pinned_cf(family_of(db, Family::State)?, CHECKPOINT).map_err(failed("read"))?;
    let Some(value) = value else { return Ok(empty(store)) };
    Checkpoint::from_bytes(&value)
        .filter(|checkpoint| checkpoint.store == store)
        .ok_or_else(|| StoreError::Index { op: "be used", source: "it belongs to another store or release".into() })
}

fn family_of(db: &DB, family: Family) -> Result<&ColumnFamily> {
    db.cf_handle(family.name()).ok_or_else(|| StoreError::Index {
        op: "be used",
        source: format!("family {} is missing", family.name()).into(),
    })
}

/// Want of room or of descriptors is no reason to make the index anew; RocksDB passes on what the system said.
fn failed(op: &'static str) -> impl Fn(rocksdb::Error) -> StoreError {
    move |source| {
        let says = |errno: Errno| {
            let said = io::Error::from(errno).to_string();
            source.as_ref().contains(said.split(" (os").next().unwrap_or(&said)).then_some(errno)
        };
        match [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE].into_iter().find_map(says) {
            Some(errno) => StoreError::io(op, "index", errno.into()),
            None => StoreError::Index { op, source: Box::new(source) },
        }
    }
}

fn located(at: &Location, id: &BlockId) -> Vec<u8> {
    [&at.to_bytes()[..], id.as_bytes()].concat()
}

fn delta_key(volume: &VolumeId, seq: u64) -> Vec<u8> {
    [&volume.as_bytes()[..], &seq.to_be_bytes()].concat()
}

fn head_key(volume: &VolumeId, device: &DeviceId, seq: u64) -> Vec<u8> {
    [&volume.as_bytes()[..], device.as_bytes(), &seq.to_be_bytes()].concat()
}

fn head_entry(key: &[u8], value: &[u8]) -> Option<(super::catalog::HeadKey, HeadAt)> {
    let volume = VolumeId::from_bytes(array_at(key, 0)?);
    let device = DeviceId::from_bytes(array_at(key, 16)?);
    let seq = u64::from_be_bytes(array_at(key, 48)?);
    let at = Location::from_bytes(value.get(..Location::BYTES)?)?;
    let id = BlockId::from_bytes(array_at(value, Location::BYTES)?);
    Some(((volume, device, seq), HeadAt { at, id }))
}

fn delta_entry(key: &[u8], value: &[u8]) -> Option<(VolumeId, u64, Location, BlockId)> {
    let volume = VolumeId::from_bytes(array_at(key, 0)?);
    let seq = u64::from_be_bytes(array_at(key, 16)?);
    let at = Location::from_bytes(value.get(..Location::BYTES)?)?;
    Some((volume, seq, at, BlockId::from_bytes(array_at(value, Location::BYTES)?)))
}

fn trim_entry(key: &[u8], value: &[u8]) -> Option<(VolumeId, u64, Location)> {
    if key.first() != Some(&b't') || value.len() != 8 + Location::BYTES {
        return None;
    }
    let at = Location::from_bytes(&value[8..])?;
    Some((VolumeId::from_bytes(array_at(key, 1)?), u64_at(value, 0), at))
}

/// Reads a key and a value as each family does.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(key: &[u8], value: &[u8]) {
    let _ = (head_entry(key, value), delta_entry(key, value), trim_entry(key, value), Location::from_bytes(value));
    if let Some(checkpoint) = Checkpoint::from_bytes(value) {
        assert_eq!(checkpoint.to_bytes(), value);
    }
}
