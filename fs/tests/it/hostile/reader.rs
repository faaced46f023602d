//! Does with a volume everything that can be done, over and over: what a curious program, a backup and a node do.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{Attr, FileType, Ino};
use cairn_fs::ops::{Caller, DirItem, KillPriv, Listing, NewNode, OpenFlags, Operations, RenameFlags, SetAttr, Wait};
use cairn_fs::reader::Patience;
use cairn_fs::verify::{CheckError, CheckOptions, Checker, Event, Scope};
use cairn_fs::{FsError, Volume, diff, read_root, sweep};
use cairn_store::{Priority, SweepOptions};

use super::author::Author;

/// Beyond this many entries the walk through the mount stops; how long a tree of names is, is its author's to say.
const ENTRIES_MAX: usize = 3000;
/// No single piece of work may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

const READ: OpenFlags = OpenFlags { read: true, write: false, truncate: false, kill_priv: KillPriv::Keep };

pub(super) fn wait() -> Wait {
    Wait::Until(Instant::now() + PATIENCE)
}

/// What a walk through a volume met.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Paths that could be looked up, with their attributes.
    pub(super) entries: Vec<(String, Attr)>,
    /// Paths at which something failed.
    pub(super) failed: Vec<(String, FsError)>,
}

impl Seen {
    pub(super) fn has(&self, path: &str) -> bool {
        self.entries.iter().any(|(seen, _)| seen == path)
    }

    #[track_caller]
    pub(super) fn error_at(&self, path: &str) -> &FsError {
        let found = self.failed.iter().find(|(failed, _)| failed == path);
        &found.unwrap_or_else(|| panic!("no error at {path}: {:?}", self.failed)).1
    }
}

/// Where a volume is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    Everywhere,
    Elsewhere,
}

/// Lists and reads everything, entry by entry, as `find` and `cat` do.
pub(super) fn walk(volume: &Volume) -> Seen {
    let mut seen = Seen::default();
    let mut open = vec![(String::new(), Ino::ROOT)];
    while let Some((path, dir)) = open.pop() {
        for item in list(volume, dir, &path, &mut seen) {
            let name = String::from_utf8_lossy(&item.name);
            assert!(!name.contains(['/', '\0']) && name != "." && name != ".." && !name.is_empty(), "shown: {name:?}");
            let below = format!("{path}/{name}");
            match volume.lookup(wait(), dir, &item.name) {
                Ok(attr) => {
                    touch(volume, &below, &attr, &mut seen);
                    if attr.kind == FileType::Directory && seen.entries.len() < ENTRIES_MAX {
                        open.push((below.clone(), attr.ino));
                    }
                    seen.entries.push((below, attr));
                }
                Err(error) => seen.failed.push((below, error)),
            }
        }
    }
    seen
}

fn list(volume: &Volume, dir: Ino, path: &str, seen: &mut Seen) -> Vec<DirItem> {
    let mut all: Vec<DirItem> = Vec::new();
    loop {
        let cookie = all.last().map_or(0, |item| item.cookie);
        let listing = if all.len().is_multiple_of(2) { Listing::Referenced } else { Listing::Names };
        match volume.readdir(wait(), dir, cookie, 101, listing) {
            Ok(items) if items.is_empty() || all.len() > ENTRIES_MAX => return all,
            Ok(items) => {
                items.iter().filter(|item| item.attr.is_some()).for_each(|item| volume.forget(item.ino, 1));
                all.extend(items);
            }
            Err(error) => {
                seen.failed.push((path.to_owned(), error));
                return all;
            }
        }
    }
}

/// Reads what an inode holds, at its start, in its middle and at its end.
fn touch(volume: &Volume, path: &str, attr: &Attr, seen: &mut Seen) {
    let mut note = |result: Result<(), FsError>| {
        if let Err(error) = result {
            seen.failed.push((path.to_owned(), error));
        }
    };
    note(volume.listxattr(wait(), attr.ino).map(drop));
    match attr.kind {
        FileType::Symlink => note(volume.readlink(wait(), attr.ino).map(drop)),
        FileType::Regular => match volume.open(wait(), attr.ino, READ) {
            Ok(handle) => {
                for offset in [0, attr.size / 2, attr.size.saturating_sub(10), u64::MAX - 5] {
                    note(volume.read(wait(), attr.ino, offset, 1 << 20).map(|pieces| {
                        assert!(pieces.len() as u64 <= attr.size.saturating_sub(offset), "{path}: more than there is");
                    }));
                }
                volume.release(handle);
            }
            Err(error) => note(Err(error)),
        },
        _ => {}
    }
}

/// Opens a volume, walks it, changes what it finds, makes heads of that, and has the node's own work done on it.
/// Gives what the first walk saw.
///
/// With [`Changes::Elsewhere`] the lies are read and not written to, and the next head may have to wait: what was written is in
/// the journal then. docs/THREATS.md says so.
#[track_caller]
pub(super) fn use_up(author: &Author, changes: Changes) -> Seen {
    let volume = author.open().expect("a lie in the tree keeps no volume from opening");
    let seen = timed("walking", || walk(&volume));
    timed("checking", || check(&volume));
    timed("collecting", || collect(&volume));
    timed("comparing", || compare(&volume));
    if changes == Changes::Everywhere {
        timed("changing", || change_everything(&volume, &seen));
    }
    // The volume itself works, whatever is in it.
    write(&volume, b"ours").expect("a new file");
    timed("walking again", || walk(&volume));
    if changes == Changes::Everywhere {
        timed("restoring", || restore(&volume));
    }
    let flushed = timed("flushing", || volume.flush());
    drop(volume);
    let again = author.open().expect("opens again");
    let kept = again.lookup(wait(), Ino::ROOT, b"ours").expect("what was written is there");
    assert_eq!(kept.size, 4);
    let may_wait = changes == Changes::Elsewhere && matches!(flushed, Err(FsError::Damaged { .. }));
    assert!(flushed.is_ok() || may_wait, "what is damaged keeps the rest from a head: {flushed:?}");
    let _ = again.close();
    seen
}

#[track_caller]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < PATIENCE, "{what} took {:?}", start.elapsed());
    result
}

fn write(volume: &Volume, name: &[u8]) -> Result<(), FsError> {
    let node = NewNode { kind: FileType::Regular, mode: 0o644, umask: 0, rdev: 0, target: Bytes::new() };
    let attr = volume.create(wait(), &Caller::NODE, Ino::ROOT, name, node)?;
    volume.write(wait(), attr.ino, 0, Bytes::from_static(b"ours"), KillPriv::Keep)?;
    let synced = volume.fsync(attr.ino);
    volume.forget(attr.ino, 1);
    synced
}

/// Every operation on everything. What it answers is its own affair; it answers.
fn change_everything(volume: &Volume, seen: &Seen) {
    let (caller, now) = (Caller::NODE, Instant::now);
    let start = now();
    let mut made = HashSet::new();
    for (path, attr) in seen.entries.iter().take(200) {
        if start.elapsed() > PATIENCE / 2 {
            return;
        }
        let Some((parent, name)) = parent_of(volume, path) else { continue };
        let mode = SetAttr { mode: Some(0o600), ..SetAttr::NONE };
        let _ = volume.setattr(wait(), &caller, attr.ino, mode);
        let _ = volume.lookup(wait(), attr.ino, b"..").map(|above| volume.forget(above.ino, 1));
        match attr.kind {
            FileType::Regular => {
                let _ = volume.write(wait(), attr.ino, attr.size / 2, Bytes::from_static(b"new"), KillPriv::Keep);
                let grown = SetAttr { size: Some(attr.size.saturating_add(10)), ..SetAttr::NONE };
                let _ = volume.setattr(wait(), &caller, attr.ino, grown);
                let _ = volume.setattr(wait(), &caller, attr.ino, SetAttr { size: Some(1), ..SetAttr::NONE });
                let _ = volume.link(wait(), &caller, attr.ino, Ino::ROOT, format!("link {}", attr.ino).as_bytes());
            }
            FileType::Directory => {
                let node = NewNode { kind: FileType::Directory, mode: 0o755, umask: 0, rdev: 0, target: Bytes::new() };
                let made_here = volume.create(wait(), &caller, attr.ino, b"made", node);
                if let Ok(made_here) = made_here {
                    made.insert(made_here.ino);
                }
                let into = format!("moved {}", attr.ino);
                let flags = RenameFlags::default();
                let _ = volume.rename(wait(), &caller, parent, &name, attr.ino, b"self", flags);
                let _ = volume.rename(wait(), &caller, parent, &name, Ino::ROOT, into.as_bytes(), flags);
                let _ = volume.rename(wait(), &caller, Ino::ROOT, into.as_bytes(), parent, &name, flags);
                let _ = volume.rmdir(wait(), &caller, parent, &name);
            }
            _ => {}
        }
        let _ = volume.unlink(wait(), &caller, parent, &name);
        let _ = volume.unlink(wait(), &caller, parent, &name);
        volume.forget(parent, 1);
    }
    made.into_iter().for_each(|ino| volume.forget(ino, 1));
}

/// The directory of a path, with a reference, and the last name.
fn parent_of(volume: &Volume, path: &str) -> Option<(Ino, Vec<u8>)> {
    let mut names: Vec<&str> = path.split('/').skip(1).collect();
    let last = names.pop()?;
    let mut at = volume.lookup(wait(), Ino::ROOT, b".").ok()?.ino;
    for name in names {
        let next = volume.lookup(wait(), at, name.as_bytes());
        volume.forget(at, 1);
        at = next.ok()?.ino;
    }
    Some((at, last.as_bytes().to_vec()))
}

fn check(volume: &Volume) {
    let Ok(history) = volume.history() else { return };
    let start = Instant::now();
    let mut watch = |event| match event {
        // Each finding is one thing to mend; a tree of nothing else is told in time.
        Event::Finding(_) | Event::Progress(_) if start.elapsed() > PATIENCE / 2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let reader = volume.reader().clone();
    let keys = super::author::Author::new().keys;
    let mut checker =
        Checker::new(&reader, keys.names(), CheckOptions { data: true, ..Default::default() }, &mut watch);
    for (index, head) in history.iter().enumerate() {
        let scope = if index == 0 { Scope::Whole } else { Scope::New };
        match checker.head(&head.root, scope) {
            Err(CheckError::Stopped) => panic!("a check without end"),
            outcome => outcome.expect("a store in memory"),
        }
    }
}

fn collect(volume: &Arc<Volume>) {
    // A tree that can't be walked is kept whole; either way it ends.
    let store = COLLECTOR.with(|store| store.borrow().clone());
    if let Some(store) = store {
        let _ = sweep(
            std::slice::from_ref(volume),
            store.as_ref(),
            &|| Some(Vec::new()),
            SweepOptions::default(),
            &mut |_| {},
        );
    }
}

thread_local! {
    /// The store of the volume under test, for collections.
    pub(super) static COLLECTOR: std::cell::RefCell<Option<Arc<cairn_store::MemoryStore>>> = const { std::cell::RefCell::new(None) };
}

fn compare(volume: &Volume) {
    let Ok(history) = volume.history() else { return };
    let roots: Vec<_> = history.iter().filter_map(|head| read_root(head, volume.reader()).ok()).collect();
    let Some(last) = roots.last() else { return };
    let empty = cairn_block::VolumeRoot {
        root: super::sizes::empty_directory(),
        links: cairn_block::MapRoot::EMPTY,
        next_ino: 2,
    };
    let mut nodes = volume.reader().patient_nodes(Patience::Each(Priority::Now, PATIENCE));
    for (before, after) in [(&empty, last), (last, &empty)] {
        let mut told = 0;
        let _ = diff::diff(&mut nodes, before, after, &mut |_| {
            told += 1;
            if told > ENTRIES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
}

fn restore(volume: &Volume) {
    let Ok(history) = volume.history() else { return };
    if let Some(root) = history.first().and_then(|head| read_root(head, volume.reader()).ok()) {
        let _ = volume.restore(&root, b"/dir", b"/restored", &mut |_| {});
    }
}
