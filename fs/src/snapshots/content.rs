//! What files in snapshots hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cairn_block::{Content, FileType, Ino, Record, Xattrs, file_tree};

use super::{HANDLE_BIT, SnapshotIno, Snapshots, ask, known};
use crate::error::FsError;
use crate::fetch::fetch;
use crate::ops::{Handle, OpenFlags, Pieces, Seek, Wait};
use crate::state::Part;

impl Snapshots {
    /// See [`Operations::open`](crate::ops::Operations::open).
    pub fn open(&self, wait: Wait, ino: Ino, flags: OpenFlags) -> Result<Handle, FsError> {
        if flags.write || flags.truncate {
            return Err(FsError::ReadOnly);
        }
        let (slot, ino) = self.file(wait, ino)?.0;
        if !self.table.lock().pin(slot, ino) {
            return Err(FsError::Stale);
        }
        let handle = Handle(HANDLE_BIT | self.next_handle.fetch_add(1, Ordering::Relaxed));
        self.handles.lock().insert(handle, (slot, ino));
        Ok(handle)
    }

    /// See [`Operations::release`](crate::ops::Operations::release).
    pub fn release(&self, handle: Handle) {
        let opened = self.handles.lock().remove(&handle);
        if let Some((slot, ino)) = opened {
            self.table.lock().unpin(slot, ino);
        }
    }

    /// See [`Operations::read`](crate::ops::Operations::read).
    pub fn read(&self, wait: Wait, ino: Ino, offset: u64, len: u32) -> Result<Pieces, FsError> {
        let (_, record) = self.file(wait, ino)?;
        let end = offset.saturating_add(len.into()).min(record.attr.size);
        if offset >= end {
            return Ok(Pieces::default());
        }
        let part = match &record.content {
            Content::Inline(bytes) => {
                let end = (end as usize).min(bytes.len());
                Part::Bytes(bytes.slice((offset as usize).min(end)..end))
            }
            Content::File(root) => Part::Tree(root.clone(), offset..end),
            _ => Part::Zeros(end - offset),
        };
        Ok(Pieces(fetch(&self.reader, ino, &[part], ask(wait))?))
    }

    /// See [`Operations::seek`](crate::ops::Operations::seek).
    pub fn seek(&self, wait: Wait, ino: Ino, offset: u64, what: Seek) -> Result<u64, FsError> {
        let (_, record) = self.file(wait, ino)?;
        let size = record.attr.size;
        if offset >= size {
            return Err(FsError::NoData);
        }
        let failed = |error: crate::reader::ReadError| error.into_fs(ino);
        let found = match (&record.content, what) {
            (Content::File(root), Seek::Data) => {
                file_tree::next_data(&mut self.nodes(wait), root, offset).map_err(failed)?
            }
            (Content::File(root), Seek::Hole) => {
                file_tree::next_hole(&mut self.nodes(wait), root, offset).map_err(failed)?
            }
            (Content::Empty, Seek::Data) | (Content::Inline(_), Seek::Hole) => None,
            _ => Some(offset),
        };
        let end = (what == Seek::Hole).then_some(size);
        found.filter(|found| *found < size).or(end).ok_or(FsError::NoData)
    }

    /// See [`Operations::getxattr`](crate::ops::Operations::getxattr).
    pub fn getxattr(&self, wait: Wait, ino: Ino, name: &[u8]) -> Result<Bytes, FsError> {
        let list = self.xattrs(wait, ino)?;
        let found = list.into_iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value).ok_or(FsError::NoData)
    }

    /// See [`Operations::listxattr`](crate::ops::Operations::listxattr).
    pub fn listxattr(&self, wait: Wait, ino: Ino) -> Result<Vec<Bytes>, FsError> {
        Ok(self.xattrs(wait, ino)?.into_iter().map(|(name, _)| name).collect())
    }

    fn xattrs(&self, wait: Wait, ino: Ino) -> Result<Vec<(Bytes, Bytes)>, FsError> {
        let SnapshotIno::In(slot, number) = known(ino)? else { return Ok(Vec::new()) };
        match &self.record(wait, slot, number)?.xattrs {
            Xattrs::Inline(list) => Ok(list.clone()),
            Xattrs::Sealed(reference) => {
                let ask = ask(wait).ok_or(FsError::WouldWait)?;
                self.reader.xattrs(reference, ask).map_err(|error| error.into_fs(ino))
            }
        }
    }

    /// The record of a regular file.
    fn file(&self, wait: Wait, ino: Ino) -> Result<((u16, Ino), Arc<Record>), FsError> {
        let SnapshotIno::In(slot, ino) = known(ino)? else { return Err(FsError::IsDirectory) };
        let record = self.record(wait, slot, ino)?;
        match record.attr.kind {
            FileType::Regular => Ok(((slot, ino), record)),
            FileType::Directory => Err(FsError::IsDirectory),
            _ => Err(FsError::Invalid),
        }
    }
}
