//! Which segments there are, and their open files.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::device::{Device, sync_dir};
use super::plain;
use super::record::{Location, StoreId};
use super::segment::{self, SEGMENT_NUMBER_MAX, SegmentHeader};
use crate::StoreError;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

/// Files kept open for reading: a random reader of a large store reopens at a few microseconds each, and a process
/// with a small limit on descriptors still works.
const OPEN_FILES_MAX: usize = 32;

/// One segment, as far as it is known without reading it.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// Bytes that count: at most the file's, less what a later header declares void.
    pub(crate) len: u64,
}

/// The log's directory.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    table: RwLock<BTreeMap<u32, Segment>>,
    /// The sum of all lengths: every put asks for it.
    bytes: AtomicU64,
    open: Mutex<OpenFiles>,
}

#[derive(Debug, Default)]
struct OpenFiles {
    files: HashMap<u32, (Arc<File>, u64)>,
    clock: u64,
}

impl Segments {
    pub(crate) fn new(dir: PathBuf, table: BTreeMap<u32, Segment>) -> Self {
        let bytes = AtomicU64::new(table.values().map(|segment| segment.len).sum());
        Self { dir, table: RwLock::new(table), bytes, open: Mutex::default() }
    }

    /// Every segment with its length, oldest first.
    pub(crate) fn list(&self) -> Vec<(u32, u64)> {
        self.table.read().iter().map(|(number, segment)| (*number, segment.len)).collect()
    }

    pub(crate) fn get(&self, number: u32) -> Option<Segment> {
        self.table.read().get(&number).cloned()
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.table.read().contains_key(&number)
    }

    pub(crate) fn count(&self) -> u64 {
        self.table.read().len() as u64
    }

    /// The bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Creates the segment of the number `next`, which is not tried again, or of the first after it that is free: a file
    /// that belongs elsewhere may have the name. Says which it was.
    pub(crate) fn create_next(
        &self,
        device: &Device,
        store: StoreId,
        next: &mut u32,
        first_seq: u64,
        previous: (u32, u64),
    ) -> Result<(u32, Arc<File>, PathBuf), StoreError> {
        loop {
            let number = *next;
            if number > SEGMENT_NUMBER_MAX {
                let path = self.dir.join(segment::file_name(number));
                return Err(StoreError::io("create", path, std::io::ErrorKind::AlreadyExists.into()));
            }
            *next += 1;
            match self.create(device, store, number, first_seq, previous) {
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                result => return result.map(|(file, path)| (number, file, path)),
            }
        }
    }

    /// Creates a segment and keeps its file open.
    fn create(
        &self,
        device: &Device,
        store: StoreId,
        number: u32,
        first_seq: u64,
        previous: (u32, u64),
    ) -> Result<(Arc<File>, PathBuf), StoreError> {
        let header = SegmentHeader {
            version: segment::FORMAT_VERSION,
            store,
            number,
            first_seq,
            previous: previous.0,
            previous_len: previous.1,
        };
        let (file, path) = segment::create(device, &self.dir, &header)?;
        let file = Arc::new(file);
        let mut table = self.table.write();
        if let Some(before) = table.get_mut(&previous.0) {
            let void = before.len.saturating_sub(previous.1);
            before.len -= void;
            self.bytes.fetch_sub(void, Ordering::Relaxed);
        }
        self.bytes.fetch_add(segment::SEGMENT_HEADER_BYTES, Ordering::Relaxed);
        table.insert(number, Segment { path: path.clone(), len: segment::SEGMENT_HEADER_BYTES });
        self.open.lock().insert(number, &file);
        Ok((file, path))
    }

    /// Notes that a segment has grown, or was cut.
    pub(crate) fn set_len(&self, number: u32, len: u64) {
        if let Some(segment) = self.table.write().get_mut(&number) {
            self.bytes.fetch_add(len, Ordering::Relaxed);
            self.bytes.fetch_sub(segment.len, Ordering::Relaxed);
            segment.len = len;
        }
    }

    /// A segment's file for reading; `None` if it is gone.
    pub(crate) fn file(&self, number: u32) -> Result<Option<Arc<File>>, StoreError> {
        if let Some(file) = self.open.lock().get(number) {
            return Ok(Some(file));
        }
        let Some(segment) = self.get(number) else { return Ok(None) };
        let file = match plain::open(&segment.path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => match StoreError::io("open", &segment.path, error) {
                // Our own cache may be what holds the descriptors.
                StoreError::TooManyFiles { .. } => Arc::new(self.open_alone(&segment.path)?),
                error => return Err(error),
            },
        };
        self.open.lock().insert(number, &file);
        Ok(Some(file))
    }

    fn open_alone(&self, path: &Path) -> Result<File, StoreError> {
        self.open.lock().files.clear();
        plain::open(path).map_err(|source| StoreError::io("open", path, source))
    }

    /// A payload's bytes, unverified; `None` if its segment is gone. Short if the file is.
    pub(crate) fn read(&self, device: &Device, at: Location) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.file(at.segment)? else { return Ok(None) };
        let bytes = device.read(&file, at.offset.into(), at.len as usize);
        bytes.map(Some).map_err(|source| StoreError::io("read", self.path(at.segment), source))
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.get(number).map_or_else(|| self.dir.join(segment::file_name(number)), |segment| segment.path)
    }

    /// Unlinks segments. Whatever lived in them is durable elsewhere, and the index that says so is durable too.
    pub(crate) fn remove(&self, numbers: &[u32]) -> Result<(), StoreError> {
        for &number in numbers {
            let path = self.path(number);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path, error));
                }
                _ => {}
            }
            if let Some(segment) = self.table.write().remove(&number) {
                self.bytes.fetch_sub(segment.len, Ordering::Relaxed);
            }
            self.open.lock().files.remove(&number);
        }
        sync_dir(&self.dir)
    }
}

impl OpenFiles {
    fn get(&mut self, number: u32) -> Option<Arc<File>> {
        self.clock += 1;
        let clock = self.clock;
        self.files.get_mut(&number).map(|(file, used)| {
            *used = clock;
            Arc::clone(file)
        })
    }

    fn insert(&mut self, number: u32, file: &Arc<File>) {
        self.clock += 1;
        self.files.insert(number, (Arc::clone(file), self.clock));
        if self.files.len() > OPEN_FILES_MAX
            && let Some(oldest) = self.files.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number)
        {
            self.files.remove(&oldest);
        }
    }
}
