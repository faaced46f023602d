//! What a volume answers: the port's operations, carried out on the state and the reader.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use cairn_block::entry::Attr;
use cairn_block::file_tree::{self, Extent};
use cairn_block::{FileRoot, Ino};
use cairn_store::{Ask, Priority};

use crate::error::FsError;
use crate::fetch::fetch;
use crate::nodes::InodeNodes;
use crate::ops::{
    Allocate, Caller, DirItem, Handle, KillPriv, Listing, NewNode, OpenFlags, Operations, Pieces, Place, RenameFlags,
    Seek, SetAttr, SetXattr, StatFs, Wait,
};
use crate::state::layer::{Piece, Source};
use crate::state::{Birth, Part, ReadPlan, State};
use crate::volume::{Volume, now};

/// What one copy moves at most: bounds the pieces that are held at once.
const COPY_BYTES_MAX: u64 = 1 << 30;
const STATFS_BLOCK_BYTES: u32 = 4096;
/// Shown where nobody knows how large the store is.
const SPACE_UNKNOWN_BYTES: u64 = 1 << 50;

impl Operations for Volume {
    fn lookup(&self, wait: Wait, parent: Ino, name: &[u8]) -> Result<Attr, FsError> {
        match self.run(wait, |state| state.lookup(parent, name)) {
            Err(FsError::Stale) if name == b"." => self.lookup_number(wait, parent),
            result => result,
        }
    }

    fn forget(&self, ino: Ino, count: u64) {
        self.state.lock().forget(ino, count);
    }

    fn getattr(&self, wait: Wait, ino: Ino) -> Result<Attr, FsError> {
        self.run(wait, |state| state.getattr(ino))
    }

    fn setattr(&self, wait: Wait, _: &Caller, ino: Ino, set: SetAttr) -> Result<Attr, FsError> {
        self.change(wait, |state| state.setattr(ino, &set, now()))
    }

    fn readlink(&self, wait: Wait, ino: Ino) -> Result<Bytes, FsError> {
        self.run(wait, |state| state.readlink(ino))
    }

    fn create(&self, wait: Wait, caller: &Caller, parent: Ino, name: &[u8], node: NewNode) -> Result<Attr, FsError> {
        self.grow(wait, |state| state.create(parent, name, &Birth { caller, node: &node, now: now() }))
    }

    fn unlink(&self, wait: Wait, _: &Caller, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        self.change(wait, |state| state.unlink(parent, name, now()))
    }

    fn rmdir(&self, wait: Wait, _: &Caller, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        self.change(wait, |state| state.rmdir(parent, name, now()))
    }

    fn rename(
        &self,
        wait: Wait,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), FsError> {
        self.change(wait, |state| state.rename(parent, name, new_parent, new_name, flags, caller, now()))
    }

    fn link(&self, wait: Wait, _: &Caller, ino: Ino, new_parent: Ino, new_name: &[u8]) -> Result<Attr, FsError> {
        self.grow(wait, |state| state.link(ino, new_parent, new_name, now()))
    }

    fn open(&self, wait: Wait, ino: Ino, flags: OpenFlags) -> Result<Handle, FsError> {
        if flags.truncate {
            let set = SetAttr { size: Some(0), kill_priv: flags.kill_priv, ..SetAttr::NONE };
            self.change(wait, |state| state.setattr(ino, &set, now()))?;
        }
        self.run(wait, |state| state.open(ino))?;
        Ok(self.new_handle(ino))
    }

    fn release(&self, handle: Handle) {
        if let Some(ino) = self.take_handle(handle)
            && self.state.lock().close(ino)
        {
            self.settle_soon();
        }
    }

    fn read(&self, wait: Wait, ino: Ino, offset: u64, len: u32) -> Result<Pieces, FsError> {
        let ask = ask(wait);
        // The tree that a plan was made on may be collected while it is carried out; the plan after is on a newer one.
        for last in [false, true] {
            let plan = self.run(wait, |state| {
                let plan = state.read_plan(ino, offset, len.into())?;
                if self.options.access_times {
                    state.note_access(ino, now())?;
                }
                Ok(plan)
            })?;
            match fetch(&self.reader, ino, &plan, ask) {
                Err(FsError::Missing { .. }) if !last => {}
                result => return result.map(Pieces),
            }
        }
        Err(FsError::Stale)
    }

    fn write(&self, wait: Wait, ino: Ino, offset: u64, data: Bytes, kill_priv: KillPriv) -> Result<u32, FsError> {
        let len = data.len() as u32;
        self.grow(wait, |state| state.write(ino, offset, data.clone(), kill_priv, now()))?;
        Ok(len)
    }

    fn fallocate(
        &self,
        wait: Wait,
        ino: Ino,
        what: Allocate,
        offset: u64,
        len: u64,
        kill_priv: KillPriv,
    ) -> Result<(), FsError> {
        let end = offset.checked_add(len).filter(|_| len > 0).ok_or(FsError::Invalid)?;
        let op = |state: &mut State| state.allocate(ino, what, offset..end, kill_priv, now());
        if what == Allocate::PunchHole { self.change(wait, op) } else { self.grow(wait, op) }
    }

    fn seek(&self, wait: Wait, ino: Ino, offset: u64, what: Seek) -> Result<u64, FsError> {
        let (plan, size) = self.run(wait, |state| {
            let size = state.file_size(ino)?;
            Ok((state.read_plan(ino, offset, size.saturating_sub(offset))?, size))
        })?;
        if offset >= size {
            return Err(FsError::NoData);
        }
        self.seek_plan(wait, ino, offset, &plan, what)?.or((what == Seek::Hole).then_some(size)).ok_or(FsError::NoData)
    }

    fn copy_range(
        &self,
        wait: Wait,
        source: Place,
        target: Place,
        len: u64,
        kill_priv: KillPriv,
    ) -> Result<u64, FsError> {
        let len = len.min(COPY_BYTES_MAX);
        let plan = self.run(wait, |state| {
            state.file_size(target.ino)?;
            state.read_plan(source.ino, source.offset, len)
        })?;
        let copied = plan.iter().map(Part::len).sum::<u64>();
        if copied == 0 {
            return Ok(0);
        }
        let overlaps = source.ino == target.ino
            && source.offset < target.offset + copied
            && target.offset < source.offset + copied;
        if overlaps {
            return Err(FsError::Invalid);
        }
        let pieces = self.pieces_of(wait, source.ino, plan)?;
        if self.full.load(Ordering::Relaxed) {
            return Err(FsError::NoSpace);
        }
        let blocks = pieces.iter().filter_map(|piece| match &piece.source {
            Source::Stored { chunk, .. } => Some(chunk.id),
            _ => None,
        });
        let place = |state: &mut State| state.place_pieces(target.ino, target.offset, pieces.clone(), kill_priv, now());
        self.adopt(wait, source.ino, blocks, place)?;
        Ok(copied)
    }

    fn readdir(
        &self,
        wait: Wait,
        ino: Ino,
        cookie: u64,
        count_max: usize,
        listing: Listing,
    ) -> Result<Vec<DirItem>, FsError> {
        self.run(wait, |state| state.readdir(ino, cookie, count_max, listing))
    }

    fn getxattr(&self, wait: Wait, ino: Ino, name: &[u8]) -> Result<Bytes, FsError> {
        self.run(wait, |state| state.getxattr(ino, name))
    }

    fn setxattr(
        &self,
        wait: Wait,
        ino: Ino,
        name: &[u8],
        value: Bytes,
        set: SetXattr,
        kill_sgid: KillPriv,
    ) -> Result<(), FsError> {
        self.grow(wait, |state| state.setxattr(ino, name, value.clone(), set, kill_sgid, now()))
    }

    fn listxattr(&self, wait: Wait, ino: Ino) -> Result<Vec<Bytes>, FsError> {
        self.run(wait, |state| state.listxattr(ino))
    }

    fn removexattr(&self, wait: Wait, ino: Ino, name: &[u8]) -> Result<(), FsError> {
        self.change(wait, |state| state.removexattr(ino, name, now()))
    }

    fn fsync(&self, _: Ino) -> Result<(), FsError> {
        self.sync_all()
    }

    fn sync_all(&self) -> Result<(), FsError> {
        let sequence = self.state.lock().sequence();
        self.sync_through(sequence)?;
        self.settle_soon();
        Ok(())
    }

    fn statfs(&self) -> Result<StatFs, FsError> {
        let space = (self.options.space)();
        let (total, free) = space.map_or((SPACE_UNKNOWN_BYTES, SPACE_UNKNOWN_BYTES / 2), |s| (s.total, s.free));
        let block = u64::from(STATFS_BLOCK_BYTES);
        let (made, left) = self.state.lock().inodes_made();
        Ok(StatFs {
            block_bytes: STATFS_BLOCK_BYTES,
            blocks: total / block,
            blocks_free: free / block,
            blocks_available: free / block,
            files: made + left,
            files_free: left,
        })
    }
}

impl Volume {
    fn nodes(&self, ino: Ino, wait: Wait) -> Result<InodeNodes<'_>, FsError> {
        let ask = ask(wait).ok_or(FsError::WouldWait)?;
        Ok(InodeNodes { reader: &self.reader, ino, ask })
    }

    /// The first place at or after `offset` that is wanted, in a plan that starts there.
    fn seek_plan(
        &self,
        wait: Wait,
        ino: Ino,
        offset: u64,
        plan: &ReadPlan,
        what: Seek,
    ) -> Result<Option<u64>, FsError> {
        let mut at = offset;
        for part in plan {
            let found = match part {
                Part::Zeros(_) => (what == Seek::Hole).then_some(at),
                Part::Bytes(_) | Part::Stored { .. } => (what == Seek::Data).then_some(at),
                Part::Tree(root, range) => {
                    let mut nodes = self.nodes(ino, wait)?;
                    let found = match what {
                        Seek::Data => file_tree::next_data(&mut nodes, root, range.start)?,
                        Seek::Hole => file_tree::next_hole(&mut nodes, root, range.start)?,
                    };
                    found.filter(|found| *found < range.end).map(|found| at + (found - range.start))
                }
            };
            if found.is_some() {
                return Ok(found);
            }
            at += part.len();
        }
        Ok(None)
    }

    /// A plan as pieces that another file can hold.
    fn pieces_of(&self, wait: Wait, ino: Ino, plan: ReadPlan) -> Result<Vec<Piece>, FsError> {
        let mut pieces = Vec::with_capacity(plan.len());
        for part in plan {
            let len = part.len();
            match part {
                Part::Bytes(bytes) => pieces.push(Piece { len, source: Source::Memory(bytes) }),
                Part::Zeros(len) => pieces.push(Piece { len, source: Source::Hole }),
                Part::Stored { chunk, offset, len } => {
                    pieces.push(Piece { len, source: Source::Stored { chunk, offset, settled: false } });
                }
                Part::Tree(root, range) => self.tree_pieces(wait, ino, &root, range, &mut pieces)?,
            }
        }
        Ok(pieces)
    }

    fn tree_pieces(
        &self,
        wait: Wait,
        ino: Ino,
        root: &FileRoot,
        range: std::ops::Range<u64>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), FsError> {
        let mut nodes = self.nodes(ino, wait)?;
        for (start, extent) in file_tree::extents(&mut nodes, root, range.clone())? {
            let skip = range.start.saturating_sub(start);
            let len = (start + extent.len()).min(range.end) - (start + skip);
            let source = match extent {
                Extent::Hole { .. } => Source::Hole,
                Extent::Chunk { chunk_off, chunk, .. } => {
                    Source::Stored { chunk, offset: chunk_off + skip as u32, settled: true }
                }
            };
            pieces.push(Piece { len, source });
        }
        Ok(())
    }
}

fn ask(wait: Wait) -> Option<Ask> {
    match wait {
        Wait::Never => None,
        Wait::Until(deadline) => Some(Ask { deadline, priority: Priority::Now }),
    }
}
