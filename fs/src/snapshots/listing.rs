//! Listing `.snapshots` and the directories in it.

use std::ops::Bound;

use bytes::Bytes;
use cairn_block::{Attr, DirKey, DirRoot, Entry, FileType, Ino, Record, Timestamp};

use super::{SnapshotIno, Snapshots, known, shown, trail_of};
use crate::error::FsError;
use crate::ops::{COOKIE_MIN, DirItem, Listing, Wait};
use crate::reader::{ReadError, ReaderNodes};
use crate::tree::{self, dir_root};

/// Entries read from a tree at a time.
const WINDOW: usize = 256;
/// A cookie is the hash of a name and its rank among names of that hash, as in the live volume.
const RANK_BITS: u32 = 7;
/// An entry of `.snapshots` is a directory or a link to one.
const LABEL_COOKIE: u64 = 1;

impl Snapshots {
    /// See [`Operations::readdir`](crate::ops::Operations::readdir).
    pub fn readdir(
        &self,
        wait: Wait,
        ino: Ino,
        cookie: u64,
        count_max: usize,
        listing: Listing,
    ) -> Result<Vec<DirItem>, FsError> {
        match known(ino)? {
            SnapshotIno::Top => self.list_top(wait, cookie, count_max, listing),
            SnapshotIno::Label(_) => Err(FsError::NotDirectory),
            SnapshotIno::In(slot, dir) => self.list_dir(wait, (slot, dir), cookie, count_max, listing),
        }
    }

    fn list_top(&self, wait: Wait, cookie: u64, count_max: usize, listing: Listing) -> Result<Vec<DirItem>, FsError> {
        self.refresh(wait, super::LIST_FOR)?;
        let mut items = self.top_items()?;
        items.retain(|item| item.cookie > cookie);
        items.sort_by_key(|item| item.cookie);
        items.truncate(count_max);
        if listing == Listing::Referenced {
            self.refer_top_items(wait, &mut items)?;
        }
        Ok(items)
    }

    /// Adds attributes and takes references. A snapshot that can't be read is listed without: its neighbours can.
    fn refer_top_items(&self, wait: Wait, items: &mut [DirItem]) -> Result<(), FsError> {
        for item in items.iter_mut() {
            match self.getattr(wait, item.ino) {
                Ok(attr) => item.attr = Some(attr),
                Err(error @ FsError::WouldWait) => return Err(error),
                Err(_) => {}
            }
        }
        for item in items.iter().filter(|item| item.attr.is_some()) {
            if let SnapshotIno::In(slot, _) = known(item.ino)? {
                self.refer_root(slot);
            }
        }
        Ok(())
    }

    fn top_items(&self) -> Result<Vec<DirItem>, FsError> {
        let shelf = self.shelf.lock();
        let mut items = Vec::new();
        for (key, &slot) in &shelf.by_head {
            let cookie = COOKIE_MIN + 2 * u64::from(slot);
            let tree = SnapshotIno::In(slot, Ino::ROOT);
            if let Some(name) = shelf.names.of(*key) {
                items.push(item(tree, cookie, name.clone(), FileType::Directory)?);
            }
            if let Some(label) = shelf.names.label_of(*key) {
                let link = SnapshotIno::Label(slot);
                items.push(item(link, cookie + LABEL_COOKIE, label.clone(), FileType::Symlink)?);
            }
        }
        Ok(items)
    }

    fn list_dir(
        &self,
        wait: Wait,
        (slot, dir): (u16, Ino),
        cookie: u64,
        count_max: usize,
        listing: Listing,
    ) -> Result<Vec<DirItem>, FsError> {
        let record = self.record(wait, slot, dir)?;
        if record.attr.kind != FileType::Directory {
            return Err(FsError::NotDirectory);
        }
        let entries = entries_after(&mut self.nodes(wait), dir_root(&record), cookie, count_max);
        let mut found = Vec::new();
        // Everything is read before the first reference is taken: an answer that would wait must change nothing.
        for (cookie, key, entry) in entries.map_err(|error| error.into_fs(dir))? {
            let (ino, kind, trail) = (entry.ino(), entry.kind(), trail_of(dir, &key, &entry));
            let mut item = item(SnapshotIno::In(slot, ino), cookie, key.name_bytes(), kind)?;
            let mut behind: Option<Record> = None;
            if listing == Listing::Referenced {
                let record = self.behind(wait, slot, entry)?;
                item.attr = Some(shown(slot, &record)?);
                behind = Some(record);
            }
            found.push((item, trail, behind));
        }
        let mut items = Vec::with_capacity(found.len());
        for (item, trail, behind) in found {
            if let Some(record) = behind {
                self.admit(slot, trail, record);
            }
            items.push(item);
        }
        Ok(items)
    }
}

type Listed = (u64, DirKey, Entry);

/// Up to `count_max` entries whose cookie is above `cookie`.
fn entries_after(
    nodes: &mut ReaderNodes<'_>,
    dir: &DirRoot,
    cookie: u64,
    count_max: usize,
) -> Result<Vec<Listed>, ReadError> {
    let start = DirKey::first_with_hash(cookie >> RANK_BITS);
    let mut from = Bound::Included(Bytes::copy_from_slice(&start));
    let mut ranks = Ranks::default();
    let mut found = Vec::new();
    while found.len() < count_max {
        let window = WINDOW.min(count_max.saturating_add(1));
        let entries = tree::list(nodes, dir, from.as_ref().map(|key| &key[..]), window)?;
        let is_last = entries.len() < window;
        if let Some((key, _)) = entries.last() {
            from = Bound::Excluded(key.encoded().clone());
        }
        for (key, value) in entries {
            let own = ranks.cookie(key.hash56());
            if own > cookie && found.len() < count_max {
                found.push((own, key, Entry::decode(&value)?));
            }
        }
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// Numbers the names of equal hash.
#[derive(Default)]
struct Ranks {
    hash: Option<u64>,
    rank: u64,
}

impl Ranks {
    fn cookie(&mut self, hash: u64) -> u64 {
        self.rank = if self.hash == Some(hash) { self.rank + 1 } else { 0 };
        self.hash = Some(hash);
        hash << RANK_BITS | (self.rank + COOKIE_MIN).min((1 << RANK_BITS) - 1)
    }
}

/// The entry of an inode among those whose names have this hash.
pub(super) fn with_hash(
    nodes: &mut ReaderNodes<'_>,
    dir: &DirRoot,
    hash: u64,
    ino: Ino,
) -> Result<Option<Entry>, ReadError> {
    let start = DirKey::first_with_hash(hash);
    let mut from = Bound::Included(Bytes::copy_from_slice(&start));
    loop {
        // Two names of one hash are rare already.
        let entries = tree::list(nodes, dir, from.as_ref().map(|key| &key[..]), 2)?;
        for (key, value) in &entries {
            if key.hash56() != hash {
                return Ok(None);
            }
            let entry = Entry::decode(value)?;
            if entry.ino() == ino {
                return Ok(Some(entry));
            }
        }
        match entries.last() {
            Some((key, _)) => from = Bound::Excluded(key.encoded().clone()),
            None => return Ok(None),
        }
    }
}

fn item(ino: SnapshotIno, cookie: u64, name: Bytes, kind: FileType) -> Result<DirItem, FsError> {
    let ino = ino.number().ok_or(FsError::Unsupported)?;
    Ok(DirItem { ino, cookie, name, kind, attr: None })
}

/// The attributes of something that no tree holds.
pub(super) fn attr(ino: SnapshotIno, kind: FileType, mode: u16, time: Timestamp) -> Result<Attr, FsError> {
    Ok(Attr {
        ino: ino.number().ok_or(FsError::Unsupported)?,
        kind,
        mode,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 0,
        allocated: 0,
        rdev: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
    })
}
