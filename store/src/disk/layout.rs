//! What lies where in a store's directory, and the file that says what it is.
//!
//! ```text
//! format        version and store id; repeated in every segment's header
//! lock          held while a process has the store open
//! log/          segments: the truth
//! index/        can be rebuilt from the log
//! reserve       room that is kept for deleting
//! ```

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::device::sync_dir;
use super::plain;
use super::record::{StoreId, array_at, u32_at};
use super::segment::FORMAT_VERSION;
use crate::StoreError;

/// How long a lock that is taken is asked for: longer than a program takes to start on a busy machine, shorter than a person
/// who started a second node by mistake minds.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

const MAGIC: [u8; 8] = *b"CAIRNSTO";
const FORMAT_BYTES: usize = 32;
const CRC_AT: usize = 28;

/// The paths of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Refuses a directory that is somebody else's, before anything is written there.
    pub(crate) fn check_is_ours(&self) -> Result<(), StoreError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(StoreError::NotAStore { path: self.root.clone() });
            }
            Err(error) => return Err(StoreError::io("list", &self.root, error)),
        };
        let names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        let is_ours = names.is_empty() || names.iter().any(|name| name == "format" || name == "log");
        // What a first open that was killed has left, and what a fresh file system brings.
        let is_begun = names.iter().all(|name| ["lock", "format.new", "lost+found"].iter().any(|ours| name == ours));
        if is_ours || is_begun { Ok(()) } else { Err(StoreError::NotAStore { path: self.root.clone() }) }
    }

    /// What the format file says; `None` if it is missing or damaged. A newer version is refused here.
    pub(crate) fn read_format(&self) -> Result<Option<StoreId>, StoreError> {
        let bytes = match plain::read(&self.format(), FORMAT_BYTES + 1) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            // Unreadable is as good as damaged: segments repeat what it says.
            Err(error) => {
                tracing::warn!(path = %self.format().display(), %error, "the format file cannot be read");
                return Ok(None);
            }
        };
        let is_sound = bytes.len() == FORMAT_BYTES
            && bytes[..8] == MAGIC
            && crc32c::crc32c(&bytes[..CRC_AT]) == u32_at(&bytes, CRC_AT);
        if !is_sound {
            return Ok(None);
        }
        check_version(&self.format(), u32_at(&bytes, 8))?;
        Ok(array_at(&bytes, 12))
    }

    /// Writes the format file: whole or not at all.
    pub(crate) fn write_format(&self, store: &StoreId) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(FORMAT_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(store);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let (path, new) = (self.format(), self.root.join("format.new"));
        let write = || {
            // A rename replaces anything but a directory; what an earlier try has left goes as well.
            if path.is_dir() {
                plain::remove(&path)?;
            }
            plain::remove(&new)?;
            let mut file = plain::open_or_replace(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|source| StoreError::io("write", &path, source))?;
        sync_dir(&self.root)
    }

    /// Takes the store for this process until the file is dropped.
    ///
    /// A process that has just closed it may have started a program meanwhile, which holds the lock until it has become
    /// that program: so a lock that is taken is asked for again for a moment.
    pub(crate) fn lock(&self) -> Result<File, StoreError> {
        let path = self.lock_file();
        let failed = |source| StoreError::io("open", &path, source);
        // Replaced by nobody while it is a file: who holds a lock that has no name any more keeps nobody out.
        let mut file = plain::open_to_hold(&path).map_err(failed)?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if plain::is_named(&file, &path) => return Ok(file),
                Ok(()) => file = plain::open_to_hold(&path).map_err(failed)?,
                Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PATIENCE / 50),
                Err(Errno::WOULDBLOCK) => return Err(StoreError::Locked { path: self.root.clone() }),
                Err(errno) => return Err(StoreError::io("lock", &path, errno.into())),
            }
        }
    }
}

/// Refuses what a newer release wrote.
pub(crate) fn check_version(path: &Path, found: u32) -> Result<(), StoreError> {
    if found <= FORMAT_VERSION {
        return Ok(());
    }
    Err(StoreError::NewerVersion { path: path.into(), found, supported: FORMAT_VERSION })
}

/// Creates a directory that only its owner can enter, and makes its name durable. One that exists is left as it is.
pub(crate) fn create_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(error) => return Err(StoreError::io("create", path, error)),
    }
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}
