//! Opening a store, whatever state it is in.
//!
//! Only two things refuse: another process that has it open, and a newer format. A damaged file never does. What
//! segments say in their headers replaces a format file; names and files replace a segment's header; the log replaces
//! the index; and what is left of the log is found by resynchronising.
//!
//! It can be killed at any point and started again: it only ever cuts what was never durable off the last segment,
//! before anything is appended there, and otherwise writes to the index alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_block::BlockId;

use super::catalog::{Catalog, Position};
use super::device::Device;
use super::index::Index;
use super::layout::{Layout, check_version, create_dir};
use super::options::DiskOptions;
use super::plain;
use super::quarantine::{Quarantine, Why};
use super::record::{Header, PAYLOAD_BYTES_MAX, RECORD_BYTES_MIN, StoreId, Subject};
use super::replay::{Replay, Replayed, Tail};
use super::reserve::Reserve;
use super::segment::{SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader, number_of};
use super::segments::{Segment, Segments};
use super::writer::{Active, Log, Writer, encode};
use crate::{ReadOnlyReason, StoreError};

/// The index writes its manifest anew when it is opened, beside the old one.
const INDEX_OPEN_BYTES: u64 = 8 << 20;

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Records that were read because the index had not heard of them.
    pub records_replayed: u64,
    /// Their bytes.
    pub bytes_replayed: u64,
    /// The index was missing or damaged and was made anew from the log.
    pub index_rebuilt: bool,
    /// Bytes near the end of the log that a crash left behind and that were never durable, as far as anything tells.
    pub torn_bytes: u64,
    /// The format file was missing or damaged and was written again.
    pub format_repaired: bool,
    /// Files among the segments that belong elsewhere. They are left alone.
    pub foreign_files: Vec<PathBuf>,
}

/// An open store's parts.
pub(crate) struct Opened {
    pub(crate) lock: File,
    pub(crate) log: Arc<Log>,
    pub(crate) index: Index,
    pub(crate) catalog: Catalog,
    pub(crate) quarantine: Quarantine,
    pub(crate) writer: Writer,
    pub(crate) report: OpenReport,
}

/// Opens the store in `root`, or makes one there.
pub(crate) fn open(root: &Path, options: &DiskOptions) -> Result<Opened, StoreError> {
    let layout = Layout::new(root);
    layout.check_is_ours()?;
    layout.read_format()?;
    check_segments(&layout.log())?;
    create_dir(root)?;
    let lock = layout.lock()?;
    create_log_dir(&layout.log())?;
    let mut report = OpenReport::default();
    let files = list_segments(&layout.log())?;
    let store = identify(&layout, &files, &mut report)?;
    let quarantine = Quarantine::default();
    let table = tabulate(files, &store, &quarantine, &mut report);
    let log = Log {
        store,
        device: Device::default(),
        segments: Segments::new(layout.log(), table),
        reserve: Reserve::open(layout.reserve(), options.reserve_bytes),
        segment_bytes: options.segment_bytes(),
    };
    let synced = sync_end(&log)?;
    let (index, catalog, replayed) = recover(&layout, &log, &quarantine, options, &mut report)?;
    (report.records_replayed, report.bytes_replayed) = (replayed.records, replayed.bytes);
    let mut writer = go_on(&log, &index, &replayed, &mut report)?;
    if let Some((segment, error)) = synced {
        tracing::error!(%error, "the end of the log cannot be synced: read-only");
        writer.set_read_only(ReadOnlyReason::SyncFailed { segment: segment.into() });
    }
    Ok(Opened { lock, log: Arc::new(log), index, catalog, quarantine, writer, report })
}

/// What a killed process left in the page cache is synced before the index hears of it, which may become durable at any
/// moment: it is never ahead of the log. Says what failed, if anything: a second sync would succeed over what is lost.
fn sync_end(log: &Log) -> Result<Option<(u32, StoreError)>, StoreError> {
    let Some((number, _)) = log.segments.list().last().copied() else { return Ok(None) };
    let Some(file) = log.segments.file(number)? else { return Ok(None) };
    Ok(log.device.sync_data(&file, &log.segments.path(number)).err().map(|error| (number, error)))
}

fn create_log_dir(path: &Path) -> Result<(), StoreError> {
    // What a link leads to is not ours to fill.
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_dir()) {
        return Err(StoreError::NotAStore { path: path.into() });
    }
    create_dir(path)
}

/// Refuses what a newer release wrote, before anything is written. What else is wrong here is seen later.
fn check_segments(dir: &Path) -> Result<(), StoreError> {
    match list_segments(dir) {
        Err(error @ StoreError::NewerVersion { .. }) => Err(error),
        _ => Ok(()),
    }
}

/// A file that is named like a segment.
struct SegmentFile {
    path: PathBuf,
    named: u32,
    len: u64,
    header: Option<SegmentHeader>,
}

fn list_segments(dir: &Path) -> Result<Vec<SegmentFile>, StoreError> {
    let entries = std::fs::read_dir(dir).map_err(|source| StoreError::io("list", dir, source))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| StoreError::io("list", dir, source))?.path();
        let Some(named) = number_of(&path) else { continue };
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if !metadata.is_file() {
            tracing::warn!(path = %path.display(), "what lies among the segments and is no file is left alone");
            continue;
        }
        let bytes = read_start(&path);
        let header = bytes.as_deref().and_then(SegmentHeader::decode);
        if let Some(header) = &header {
            check_version(&path, header.version)?;
        }
        files.push(SegmentFile { path, named, len: metadata.len().min(SEGMENT_BYTES_MAX), header });
    }
    // A file that is named as its header says comes before one that is not.
    files.sort_by_key(|file| (file.header.map(|header| header.number) != Some(file.named), file.named));
    Ok(files)
}

fn read_start(path: &Path) -> Option<Vec<u8>> {
    plain::read(path, SEGMENT_HEADER_BYTES as usize).ok()
}

/// Which store this is: what the format file says, else what most segments say, else a new one.
fn identify(layout: &Layout, files: &[SegmentFile], report: &mut OpenReport) -> Result<StoreId, StoreError> {
    if let Some(store) = layout.read_format()? {
        return Ok(store);
    }
    let mut votes: BTreeMap<StoreId, usize> = BTreeMap::new();
    for header in files.iter().filter_map(|file| file.header) {
        *votes.entry(header.store).or_default() += 1;
    }
    let store = match votes.into_iter().max_by_key(|(_, count)| *count) {
        Some((store, _)) => {
            report.format_repaired = true;
            store
        }
        // Segments, and nothing that says whose: a new name would orphan what they hold.
        None if files.iter().any(|file| file.len > SEGMENT_HEADER_BYTES) => {
            return Err(StoreError::NotAStore { path: layout.root.clone() });
        }
        None => new_store_id(layout)?,
    };
    layout.write_format(&store)?;
    Ok(store)
}

fn new_store_id(layout: &Layout) -> Result<StoreId, StoreError> {
    let mut store = StoreId::default();
    getrandom::fill(&mut store).map_err(|error| StoreError::io("name", &layout.root, std::io::Error::other(error)))?;
    Ok(store)
}

/// Sorts out which file is which segment, and how much of each counts.
fn tabulate(
    files: Vec<SegmentFile>,
    store: &StoreId,
    quarantine: &Quarantine,
    report: &mut OpenReport,
) -> BTreeMap<u32, Segment> {
    let mut table = BTreeMap::new();
    let mut ends = Vec::new();
    let newest = files.iter().map(|file| file.named).max().unwrap_or(0);
    for file in files {
        if file.header.is_none() && file.len <= SEGMENT_HEADER_BYTES && file.named == newest {
            // Its creation was cut short, so it never held a record. It may have its length and not yet its bytes.
            let _ = std::fs::remove_file(&file.path);
            continue;
        }
        let number = file.header.map_or(file.named, |header| header.number);
        let is_foreign = file.header.is_some_and(|header| header.store != *store);
        if is_foreign || table.contains_key(&number) {
            tracing::warn!(path = %file.path.display(), "a segment that belongs elsewhere is left alone");
            report.foreign_files.push(file.path);
            continue;
        }
        match &file.header {
            Some(header) => ends.push((header.previous, header.previous_len)),
            None => quarantine.add_hole(number, 0, SEGMENT_HEADER_BYTES),
        }
        table.insert(number, Segment { path: file.path, len: file.len });
    }
    for (number, end) in ends {
        let Some(segment) = table.get_mut(&number) else { continue };
        if segment.len < end {
            quarantine.add_hole(number, segment.len, end);
        }
        segment.len = segment.len.min(end);
    }
    table
}

/// Brings the index up to the end of the log: from its checkpoint, or from nothing if it is of no use.
fn recover(
    layout: &Layout,
    log: &Log,
    quarantine: &Quarantine,
    options: &DiskOptions,
    report: &mut OpenReport,
) -> Result<(Index, Catalog, Replayed), StoreError> {
    let attempt = |index: Index| {
        let mut catalog = Catalog::default();
        index.load(&mut catalog)?;
        for (id, at) in index.quarantined()? {
            quarantine.add(&id, at, Why::Wrong);
        }
        let (upto, unread) = (index.checkpoint().upto, index.unread()?);
        // What an earlier open could not read it may read now. Going over the log twice changes nothing.
        let from = unread.map_or(upto, |unread| unread.min(upto));
        let mut replay = Replay { log, index: &index, quarantine, catalog };
        let replayed = replay.run(from, Tail::Torn)?;
        if replayed.unread != unread {
            index.set_unread(replayed.unread)?;
        }
        let catalog = replay.catalog;
        Ok((index, catalog, replayed))
    };
    let (dir, cache) = (layout.index(), options.index_cache_bytes);
    // Opening makes files, and a full disk is no reason not to.
    log.reserve.make_room(INDEX_OPEN_BYTES);
    match Index::open(&dir, log.store, cache).and_then(attempt) {
        Err(error @ StoreError::Index { .. }) => {
            if log.segments.count() > 0 {
                tracing::warn!(%error, "the index is made anew from the log");
                report.index_rebuilt = true;
            }
            // Blocks of an index that failed half-way were quarantined by its word alone.
            quarantine.blocks().iter().for_each(|(id, ..)| {
                quarantine.remove(id);
            });
            log.reserve.make_room(options.index_headroom_bytes());
            Index::create(&dir, log.store, cache).and_then(attempt)
        }
        result => result,
    }
}

/// Prepares the end of the log for appending.
fn go_on(log: &Log, index: &Index, replayed: &Replayed, report: &mut OpenReport) -> Result<Writer, StoreError> {
    let upto = index.checkpoint().upto;
    let last = log.segments.list().last().copied();
    if let Some((number, len)) = last
        && let Some(active) = resume(log, number, len, upto, replayed, report)?
    {
        let is_dirty = replayed.records > 0 || report.torn_bytes > 0;
        return finish(log, index, active, replayed, is_dirty);
    }
    // A number that the index has seen is not used again, even if its file is lost.
    let before = last.map_or(0, |(number, _)| number);
    let mut next = before.max(upto.segment) + 1;
    let len = last.map_or(0, |(_, len)| len);
    let mut create = || log.segments.create_next(&log.device, log.store, &mut next, replayed.seq + 1, (before, len));
    let (number, file, path) = match create() {
        Err(error) if error.is_full() && log.reserve.cut(0) => create()?,
        result => result?,
    };
    let start = SEGMENT_HEADER_BYTES;
    finish(log, index, Active { number, file, path, written: start, synced: start }, replayed, false)
}

/// The last segment, ready to be appended to; `None` if it had better be left as it is.
fn resume(
    log: &Log,
    number: u32,
    len: u64,
    upto: Position,
    replayed: &Replayed,
    report: &mut OpenReport,
) -> Result<Option<Active>, StoreError> {
    let path = log.segments.path(number);
    let has_header = read_start(&path).as_deref().and_then(SegmentHeader::decode).is_some();
    let is_cut_short = upto.segment > number || (upto.segment == number && len < upto.offset.into());
    if !has_header || is_cut_short || replayed.has_read_errors || replayed.sound_end > len {
        return Ok(None);
    }
    // One that others can reach under another name, or that is longer than any of ours, is left as it is.
    let file = match plain::open_writable(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => return Ok(None),
        opened => opened.map_err(|source| StoreError::io("open", &path, source))?,
    };
    if file.metadata().is_ok_and(|metadata| metadata.len() > SEGMENT_BYTES_MAX) {
        return Ok(None);
    }
    let end = replayed.sound_end;
    report.torn_bytes = replayed.torn.iter().map(|(from, to)| to - from).sum();
    if report.torn_bytes > 0 {
        tracing::warn!(segment = number, bytes = report.torn_bytes, "dropping what was never durable");
    }
    for &(from, to) in replayed.torn.iter().filter(|(from, _)| *from < end) {
        fill(log, &file, number, from, to)?;
    }
    if end < len {
        file.set_len(end).map_err(|source| StoreError::io("cut", &path, source))?;
    }
    log.segments.set_len(number, end);
    Ok(Some(Active { number, file: Arc::new(file), path, written: end, synced: end }))
}

/// Writes void records over a stretch that was never durable, so that nobody takes it for damage later. What a crash
/// leaves of this is bad bytes at the same place, and is filled by the next open.
fn fill(log: &Log, file: &File, segment: u32, from: u64, to: u64) -> Result<(), StoreError> {
    // Halves of what fits, so that what is left over always takes a record of its own.
    const FILL_BYTES: u64 = PAYLOAD_BYTES_MAX as u64 / 2;
    let (mut at, mut bytes) = (from, Vec::new());
    while to - at >= RECORD_BYTES_MIN {
        let size = if to - at > 2 * FILL_BYTES { FILL_BYTES } else { to - at };
        let payload = vec![0; (size - RECORD_BYTES_MIN) as usize];
        let header = Header {
            subject: Subject::Void,
            segment,
            seq: 0,
            offset: at as u32,
            durable: 0,
            len: payload.len() as u32,
            id: BlockId::of(&payload),
        };
        encode(&header, &payload, &log.store, &mut bytes);
        at = header.end();
    }
    log.device.write_all(file, &log.segments.path(segment), &mut [IoSlice::new(&bytes)], from)
}

/// What is shown after opening is durable: what a killed process left in the page cache is synced first.
fn finish(log: &Log, index: &Index, active: Active, replayed: &Replayed, is_dirty: bool) -> Result<Writer, StoreError> {
    let (number, end) = (active.number, active.written);
    let synced = if is_dirty { log.device.sync_data(&active.file, &active.path) } else { Ok(()) };
    let mut writer = Writer::new(active, replayed.seq);
    match synced {
        Ok(()) => index.advance(Position { segment: number, offset: end as u32 })?,
        Err(error) => {
            tracing::error!(%error, "the end of the log cannot be synced: read-only");
            writer.set_read_only(ReadOnlyReason::SyncFailed { segment: number.into() });
        }
    }
    Ok(writer)
}
