//! Asks a volume for the steps of a [`Sketch`](super::sketch::Sketch), and for everything that can be seen in it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{FileType, Ino};
use cairn_fs::ops::{Caller, KillPriv, Listing, NewNode, Operations, RenameFlags, SetAttr, Wait};
use cairn_fs::{FsError, Volume};

use super::sketch::{Look, Seen, Step, content, digest};

/// Longer than any sound store takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Entries of a listing at a time.
const ENTRIES: usize = 64;

fn wait() -> Wait {
    Wait::Until(Instant::now() + PATIENCE)
}

/// References that are given back when an operation has ended: what it works on must not be forgotten meanwhile.
struct Held<'a> {
    volume: &'a Volume,
    inos: RefCell<Vec<Ino>>,
}

impl<'a> Held<'a> {
    fn new(volume: &'a Volume) -> Held<'a> {
        Held { volume, inos: RefCell::default() }
    }

    fn keep(&self, ino: Ino) -> Ino {
        self.inos.borrow_mut().push(ino);
        ino
    }

    fn find(&self, path: &str) -> Result<Ino, FsError> {
        let step = |at, name: &str| Ok(self.keep(self.volume.lookup(wait(), at, name.as_bytes())?.ino));
        path.split('/').try_fold(Ino::ROOT, step)
    }

    fn parent<'p>(&self, path: &'p str) -> Result<(Ino, &'p [u8]), FsError> {
        match path.rsplit_once('/') {
            Some((above, name)) => Ok((self.find(above)?, name.as_bytes())),
            None => Ok((Ino::ROOT, path.as_bytes())),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.inos.borrow().iter().for_each(|ino| self.volume.forget(*ino, 1));
    }
}

/// Does a step.
pub fn apply(volume: &Volume, step: &Step) -> Result<(), FsError> {
    let held = Held::new(volume);
    match step {
        Step::Create { path } => create(&held, path, FileType::Regular, 0o644),
        Step::MakeFolder { path } => create(&held, path, FileType::Directory, 0o755),
        Step::Write { path, at, len, seed } => write(volume, held.find(path)?, *at, content(*seed, *len)),
        Step::Append { path, len, seed } => {
            let ino = held.find(path)?;
            let end = volume.getattr(wait(), ino)?.size;
            write(volume, ino, end, content(*seed, *len))
        }
        Step::Truncate { path, size } => {
            let set = SetAttr { size: Some(*size), ..SetAttr::NONE };
            volume.setattr(wait(), &Caller::NODE, held.find(path)?, set).map(drop)
        }
        Step::Rename { from, to } => {
            let ((parent, name), (target, new)) = (held.parent(from)?, held.parent(to)?);
            volume.rename(wait(), &Caller::NODE, parent, name, target, new, RenameFlags::default())
        }
        Step::Link { from, to } => {
            let (target, name) = held.parent(to)?;
            let attr = volume.link(wait(), &Caller::NODE, held.find(from)?, target, name)?;
            held.keep(attr.ino);
            Ok(())
        }
        Step::Unlink { path } => {
            let (parent, name) = held.parent(path)?;
            volume.unlink(wait(), &Caller::NODE, parent, name)
        }
        Step::RemoveFolder { path } => {
            let (parent, name) = held.parent(path)?;
            volume.rmdir(wait(), &Caller::NODE, parent, name)
        }
        Step::Fsync { path } => volume.fsync(held.find(path)?),
        Step::Sync => volume.sync_all(),
        Step::Flush => volume.flush().map(drop),
        Step::Snapshot { label } => volume.snapshot(Some(label)).map(drop),
    }
}

/// Everything that can be seen.
pub fn look(volume: &Volume) -> Result<Seen, FsError> {
    let held = Held::new(volume);
    let mut seen = Seen::new();
    let mut waiting = vec![(String::new(), Ino::ROOT)];
    while let Some((path, folder)) = waiting.pop() {
        let mut cookie = 0;
        loop {
            let items = volume.readdir(wait(), folder, cookie, ENTRIES, Listing::Referenced)?;
            let Some(last) = items.last() else { break };
            cookie = last.cookie;
            for item in &items {
                let name = format!("{path}{}", String::from_utf8_lossy(&item.name));
                if item.kind == FileType::Directory {
                    waiting.push((format!("{name}/"), item.ino));
                }
                let before = seen.insert(name, look_at(volume, held.keep(item.ino))?);
                if before.is_some() {
                    return Err(FsError::Exists);
                }
            }
        }
    }
    Ok(seen)
}

fn look_at(volume: &Volume, ino: Ino) -> Result<Look, FsError> {
    let attr = volume.getattr(wait(), ino)?;
    if attr.kind == FileType::Directory {
        return Ok(Look { is_folder: true, links: 1, size: 0, digest: 0 });
    }
    let bytes = volume.read(wait(), ino, 0, u32::MAX)?.into_bytes();
    // A size that lies shows in the digest, or in what is not there to be read.
    let digest = if bytes.len() as u64 == attr.size { digest(&bytes) } else { 0 };
    Ok(Look { is_folder: false, links: attr.nlink, size: attr.size, digest })
}

fn create(held: &Held<'_>, path: &str, kind: FileType, mode: u16) -> Result<(), FsError> {
    let (parent, name) = held.parent(path)?;
    let node = NewNode { kind, mode, umask: 0, rdev: 0, target: Bytes::new() };
    let attr = held.volume.create(wait(), &Caller::NODE, parent, name, node)?;
    held.keep(attr.ino);
    Ok(())
}

fn write(volume: &Volume, ino: Ino, at: u64, bytes: Vec<u8>) -> Result<(), FsError> {
    volume.write(wait(), ino, at, bytes.into(), KillPriv::Keep).map(drop)
}
