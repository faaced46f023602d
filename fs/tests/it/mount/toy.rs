//! A handful of files with bad habits, to see what the mount makes of them. Not a model of a volume.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::{Attr, FileType, Ino, Timestamp};
use cairn_fs::error::FsError;
use cairn_fs::ops::{
    Allocate, Caller, DirItem, Handle, KillPriv, Listing, NewNode, OpenFlags, Operations, Pieces, Place, RenameFlags,
    Seek, SetAttr, SetXattr, StatFs, TimeOrNow, Wait,
};
use parking_lot::{Condvar, Mutex};

pub(super) const HELLO: Ino = Ino::new(2);
const SLOW: Ino = Ino::new(3);
const STUCK: Ino = Ino::new(4);
const PANICS: Ino = Ino::new(5);
pub(super) const MANY: Ino = Ino::new(6);
pub(super) const FRESH: Ino = Ino::new(7);
const MANY_FIRST: u64 = 1000;
/// More than fit into any one buffer.
pub(super) const MANY_COUNT: u64 = 3000;

const NAMES: [(&str, Ino); 5] =
    [("hello", HELLO), ("slow", SLOW), ("stuck", STUCK), ("panics", PANICS), ("many", MANY)];

#[derive(Default)]
struct State {
    hello: Bytes,
    times: BTreeMap<u64, Timestamp>,
    references: BTreeMap<u64, i64>,
    handles: i64,
    open: bool,
    last_set: Option<SetAttr>,
}

#[derive(Default)]
pub(super) struct Toy {
    state: Mutex<State>,
    gate: Condvar,
}

impl Toy {
    pub(super) fn new() -> Arc<Self> {
        let toy = Self::default();
        toy.set_hello("hello\n");
        Arc::new(toy)
    }

    /// Changes the file behind the kernel's back.
    pub(super) fn set_hello(&self, text: &'static str) {
        self.state.lock().hello = Bytes::from_static(text.as_bytes());
    }

    /// Lets everything that is stuck go on.
    pub(super) fn open_gate(&self) {
        self.state.lock().open = true;
        self.gate.notify_all();
    }

    pub(super) fn references(&self, ino: Ino) -> i64 {
        self.state.lock().references.get(&ino.get()).copied().unwrap_or(0)
    }

    pub(super) fn handles(&self) -> i64 {
        self.state.lock().handles
    }

    pub(super) fn last_set(&self) -> Option<SetAttr> {
        self.state.lock().last_set
    }

    fn wait_at_gate(&self) {
        let mut state = self.state.lock();
        while !state.open {
            self.gate.wait(&mut state);
        }
    }

    fn refer(&self, ino: Ino, count: i64) {
        *self.state.lock().references.entry(ino.get()).or_default() += count;
    }

    fn attr(&self, ino: Ino) -> Attr {
        let state = self.state.lock();
        let directory = ino == Ino::ROOT || ino == MANY;
        let time = state.times.get(&ino.get()).copied().unwrap_or(Timestamp { secs: 1, nanos: 2 });
        let size = if ino == HELLO { state.hello.len() as u64 } else { 4096 };
        Attr {
            ino,
            kind: if directory { FileType::Directory } else { FileType::Regular },
            mode: if directory { 0o777 } else { 0o666 },
            uid: 0,
            gid: 0,
            nlink: 1,
            size,
            allocated: size,
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
        }
    }

    fn entries(ino: Ino) -> Vec<(String, Ino)> {
        if ino == MANY {
            let entry = |n| (format!("entry-{n:05}-{}", "x".repeat(n as usize % 60)), Ino::new(MANY_FIRST + n));
            (0..MANY_COUNT).map(entry).collect()
        } else {
            NAMES.map(|(name, ino)| (name.to_owned(), ino)).to_vec()
        }
    }
}

fn must_wait(wait: Wait) -> Result<(), FsError> {
    match wait {
        Wait::Never => Err(FsError::WouldWait),
        Wait::Until(_) => Ok(()),
    }
}

impl Operations for Toy {
    fn lookup(&self, _: Wait, parent: Ino, name: &[u8]) -> Result<Attr, FsError> {
        let ino = match name {
            b"." => parent,
            b".." => Ino::ROOT,
            name => {
                let entries = Self::entries(parent);
                let found = entries.into_iter().find(|(known, _)| known.as_bytes() == name);
                found.ok_or(FsError::NotFound)?.1
            }
        };
        self.refer(ino, 1);
        Ok(self.attr(ino))
    }

    fn forget(&self, ino: Ino, count: u64) {
        self.refer(ino, -(count as i64));
    }

    fn getattr(&self, _: Wait, ino: Ino) -> Result<Attr, FsError> {
        Ok(self.attr(ino))
    }

    fn setattr(&self, _: Wait, _: &Caller, ino: Ino, set: SetAttr) -> Result<Attr, FsError> {
        let mut state = self.state.lock();
        state.last_set = Some(set);
        if let Some(TimeOrNow::Time(time)) = set.mtime {
            state.times.insert(ino.get(), time);
        }
        drop(state);
        Ok(self.attr(ino))
    }

    fn create(&self, wait: Wait, _: &Caller, _: Ino, _: &[u8], _: NewNode) -> Result<Attr, FsError> {
        must_wait(wait)?;
        self.wait_at_gate();
        self.refer(FRESH, 1);
        Ok(self.attr(FRESH))
    }

    fn open(&self, _: Wait, _: Ino, _: OpenFlags) -> Result<Handle, FsError> {
        self.state.lock().handles += 1;
        Ok(Handle(9))
    }

    fn release(&self, _: Handle) {
        self.state.lock().handles -= 1;
    }

    fn read(&self, wait: Wait, ino: Ino, offset: u64, len: u32) -> Result<Pieces, FsError> {
        match ino {
            SLOW => {
                must_wait(wait)?;
                std::thread::sleep(Duration::from_millis(20));
            }
            STUCK => {
                must_wait(wait)?;
                self.wait_at_gate();
            }
            PANICS => panic!("on purpose"),
            _ => {}
        }
        let data = if ino == HELLO { self.state.lock().hello.clone() } else { Bytes::from(vec![b'x'; 4096]) };
        let start = data.len().min(offset as usize);
        let end = data.len().min(start + len as usize);
        // In two pieces, so that joining them is seen too.
        let middle = start + (end - start) / 2;
        Ok(Pieces(vec![data.slice(start..middle), data.slice(middle..end)]))
    }

    fn readdir(
        &self,
        _: Wait,
        ino: Ino,
        cookie: u64,
        count_max: usize,
        listing: Listing,
    ) -> Result<Vec<DirItem>, FsError> {
        let entries = Self::entries(ino).into_iter().enumerate();
        let items = entries.map(|(at, (name, ino))| (at as u64 + 100, name, ino));
        let wanted = items.filter(|(at, _, _)| *at > cookie).take(count_max);
        let item = |(cookie, name, ino): (u64, String, Ino)| {
            let attr = (listing == Listing::Referenced).then(|| self.attr(ino));
            self.refer(ino, i64::from(attr.is_some()));
            DirItem { ino, cookie, name: name.into(), kind: self.attr(ino).kind, attr }
        };
        Ok(wanted.map(item).collect())
    }

    fn fsync(&self, _: Ino) -> Result<(), FsError> {
        Ok(())
    }

    fn sync_all(&self) -> Result<(), FsError> {
        Ok(())
    }

    fn statfs(&self) -> Result<StatFs, FsError> {
        Ok(StatFs { block_bytes: 4096, blocks: 10, blocks_free: 8, blocks_available: 7, files: 5, files_free: 95 })
    }

    fn readlink(&self, _: Wait, _: Ino) -> Result<Bytes, FsError> {
        Err(FsError::Invalid)
    }

    fn unlink(&self, _: Wait, _: &Caller, _: Ino, _: &[u8]) -> Result<(), FsError> {
        Err(FsError::ReadOnly)
    }

    fn rmdir(&self, _: Wait, _: &Caller, _: Ino, _: &[u8]) -> Result<(), FsError> {
        Err(FsError::ReadOnly)
    }

    fn rename(&self, _: Wait, _: &Caller, _: Ino, _: &[u8], _: Ino, _: &[u8], _: RenameFlags) -> Result<(), FsError> {
        Err(FsError::ReadOnly)
    }

    fn link(&self, _: Wait, _: &Caller, _: Ino, _: Ino, _: &[u8]) -> Result<Attr, FsError> {
        Err(FsError::ReadOnly)
    }

    fn write(&self, _: Wait, _: Ino, _: u64, _: Bytes, _: KillPriv) -> Result<u32, FsError> {
        Err(FsError::NoSpace)
    }

    fn fallocate(&self, _: Wait, _: Ino, _: Allocate, _: u64, _: u64, _: KillPriv) -> Result<(), FsError> {
        Err(FsError::NoSpace)
    }

    fn seek(&self, _: Wait, _: Ino, _: u64, _: Seek) -> Result<u64, FsError> {
        Err(FsError::NoData)
    }

    fn copy_range(&self, _: Wait, _: Place, _: Place, _: u64, _: KillPriv) -> Result<u64, FsError> {
        Err(FsError::NoSpace)
    }

    fn getxattr(&self, _: Wait, _: Ino, _: &[u8]) -> Result<Bytes, FsError> {
        Err(FsError::NoData)
    }

    fn setxattr(&self, _: Wait, _: Ino, _: &[u8], _: Bytes, _: SetXattr, _: KillPriv) -> Result<(), FsError> {
        Err(FsError::ReadOnly)
    }

    fn listxattr(&self, _: Wait, _: Ino) -> Result<Vec<Bytes>, FsError> {
        Ok(Vec::new())
    }

    fn removexattr(&self, _: Wait, _: Ino, _: &[u8]) -> Result<(), FsError> {
        Err(FsError::NoData)
    }
}
