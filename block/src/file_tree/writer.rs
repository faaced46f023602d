//! Writing extents in canonical form.

use super::node::Summary;
use super::{Extent, FileNode, FileRoot};
use crate::limits::FILE_BYTES_MAX;
use crate::reference::Ref;
use crate::tree::builder::{Builder, Built};
use crate::tree::{Sink, TreeError};

/// A file tree as it was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTree {
    /// Its root; none when the file has no chunk.
    pub root: Option<FileRoot>,
    /// Bytes that are not in holes.
    pub allocated: u64,
}

/// Builds a tree from extents.
pub fn build<S: Sink>(
    sink: &mut S,
    extents: impl IntoIterator<Item = Extent>,
    fixed: bool,
) -> Result<FileTree, S::Error> {
    let mut writer = Writer::new(sink, FILE_BYTES_MAX);
    for (index, extent) in extents.into_iter().enumerate() {
        check(index, &extent, writer.written)?;
        writer.push(extent)?;
    }
    let allocated = writer.allocated;
    let root = writer.finish()?.map(|built| FileRoot { root: built.root, level: built.level, fixed });
    Ok(FileTree { root, allocated })
}

/// Refuses an extent that can't follow `before` bytes of a file.
pub(super) fn check(index: usize, extent: &Extent, before: u64) -> Result<(), TreeError> {
    let refuse = |reason| Err(TreeError::Edit { index, reason });
    match extent.flaw() {
        Some(reason) => refuse(reason),
        None if extent.len() > FILE_BYTES_MAX.saturating_sub(before) => refuse("more bytes than a file can have"),
        None => Ok(()),
    }
}

/// Joins extents that continue each other, cuts off what is beyond the end, and feeds the builder.
pub(super) struct Writer<'a, S> {
    sink: &'a mut S,
    builder: Builder<Summary>,
    /// The latest extent, which the next one may continue.
    open: Option<Extent>,
    /// What is written is cut off here.
    pub(super) bytes_max: u64,
    pub(super) written: u64,
    pub(super) allocated: u64,
}

impl<'a, S: Sink> Writer<'a, S> {
    pub(super) fn new(sink: &'a mut S, bytes_max: u64) -> Self {
        Writer { sink, builder: Builder::new(), open: None, bytes_max, written: 0, allocated: 0 }
    }

    /// Bytes that may still be written.
    pub(super) fn room(&self) -> u64 {
        self.bytes_max - self.written
    }

    /// Notes a node of the old tree whose items are about to be pushed again.
    pub(super) fn opened(&mut self, reference: &Ref, node: &FileNode) {
        self.builder.opened(node.level(), reference, node.payload());
    }

    /// Appends an extent.
    pub(super) fn push(&mut self, extent: Extent) -> Result<(), S::Error> {
        let len = extent.len().min(self.room());
        let Some(extent) = extent.slice(0..len) else { return Ok(()) };
        self.written += len;
        self.allocated += extent.allocated();
        let Some(open) = &mut self.open else {
            self.open = Some(extent);
            return Ok(());
        };
        match open.join(extent) {
            None => Ok(()),
            Some(next) => {
                let done = std::mem::replace(open, next);
                self.push_item(&done)
            }
        }
    }

    /// Whether a node of `level` could start here, if nothing continues the latest extent. That one is now final.
    pub(super) fn starts_node(&mut self, level: u8) -> Result<bool, S::Error> {
        if let Some(done) = self.open.take() {
            self.push_item(&done)?;
        }
        Ok(self.builder.is_at_start(level))
    }

    /// Appends a whole subtree of the old tree. Only where a node of its level starts and there is room.
    pub(super) fn push_subtree(&mut self, level: u8, root: &Ref, summary: &Summary) -> Result<(), S::Error> {
        self.written += summary.len;
        self.allocated += summary.allocated;
        self.builder.push_subtree(self.sink, level, root, summary)
    }

    /// The tree; none when there is no chunk in it.
    pub(super) fn finish(mut self) -> Result<Option<Built<Summary>>, S::Error> {
        if self.allocated == 0 {
            return Ok(None);
        }
        self.starts_node(0)?;
        self.builder.finish(self.sink)
    }

    fn push_item(&mut self, extent: &Extent) -> Result<(), S::Error> {
        self.builder.push_item(
            self.sink,
            |out| extent.encode(out),
            |summary| summary.add_extent(extent),
            || extent.hash(),
        )
    }
}
