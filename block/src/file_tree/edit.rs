//! Changing a file: one pass over the nodes near the patches.

use std::ops::Range;

use super::writer::{self, FileTree, Writer};
use super::{Extent, FileNode, FileRoot, load_child, load_root};
use crate::limits::FILE_BYTES_MAX;
use crate::reference::Ref;
use crate::tree::{Nodes, Sink, TreeError};

/// Extents in place of a range of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The bytes of the old file that go. The range may begin and end anywhere, also beyond the end of the file.
    pub range: Range<u64>,
    /// What comes instead.
    pub extents: Vec<Extent>,
}

/// Applies patches, sorted by range and disjoint, to a file of `size_old` bytes, then cuts it off or extends it by a
/// hole to `size_new` bytes. Ranges are in bytes of the old file.
///
/// The result is the root that building the changed file from scratch gives, down to the ref. Subtrees without changes
/// are neither read nor written, but for the few in which boundaries move.
///
/// A patch usually is as long as its range. If one is not, the bytes behind it move, and then the length that results
/// has to be `size_new` exactly: a miscounted patch is an error, not a shifted file.
pub fn edit<N, S>(
    nodes: &mut N,
    sink: &mut S,
    root: Option<&FileRoot>,
    size_old: u64,
    patches: &[Patch],
    size_new: u64,
) -> Result<FileTree, N::Error>
where
    N: Nodes,
    S: Sink<Error = N::Error>,
{
    check(patches, size_old, size_new)?;
    let writer = Writer::new(sink, size_new);
    let mut editor = Editor { nodes, writer, patches, size_old, gone_to: 0, at_seam: false };
    match root {
        Some(root) => {
            let node = load_root(editor.nodes, root)?;
            if node.file_bytes() != size_old {
                return Err(TreeError::node(&root.root, "not of the length that its file has").into());
            }
            editor.node(&root.root, &node, 0)?;
        }
        None => editor.extent(0, &Extent::Hole { len: size_old })?,
    }
    editor.beyond_the_end()?;
    let allocated = editor.writer.allocated;
    // Where a subtree taken over whole is all that is left, it begins the file and ends at a cut: whatever follows a
    // removal is opened. So it can't be the end of a level with a single child, as in a map.
    let fixed = root.is_some_and(|root| root.fixed);
    let root = editor.writer.finish()?.map(|built| FileRoot { root: built.root, level: built.level, fixed });
    Ok(FileTree { root, allocated })
}

fn check(patches: &[Patch], size_old: u64, size_new: u64) -> Result<(), TreeError> {
    let (mut old_bytes, mut new_bytes) = (0, 0);
    let mut shifts = false;
    for (index, patch) in patches.iter().enumerate() {
        let Range { start, end } = patch.range;
        if start < old_bytes || end < start || end > FILE_BYTES_MAX {
            let reason = "its range is out of order or beyond the largest file";
            return Err(TreeError::Edit { index, reason });
        }
        // Either sum is at most the largest file, and the two together fit.
        new_bytes += start - old_bytes;
        old_bytes = end;
        let before = new_bytes;
        for extent in &patch.extents {
            writer::check(index, extent, new_bytes)?;
            new_bytes += extent.len();
        }
        shifts |= new_bytes - before != end - start;
    }
    let refuse = |reason| Err(TreeError::Edit { index: patches.len(), reason });
    if size_old > FILE_BYTES_MAX || size_new > FILE_BYTES_MAX {
        return refuse("a size beyond the largest file");
    }
    if shifts && new_bytes + size_old.saturating_sub(old_bytes) != size_new {
        return refuse("the patches move bytes, but not to the size the file shall have");
    }
    Ok(())
}

struct Editor<'a, N, S> {
    nodes: &'a mut N,
    writer: Writer<'a, S>,
    /// Those that were not applied yet.
    patches: &'a [Patch],
    size_old: u64,
    /// Old bytes below this were replaced.
    gone_to: u64,
    /// Whether what was written last is not what precedes the next old byte in the old file: then the next old extent
    /// may continue it.
    at_seam: bool,
}

impl<N: Nodes, S: Sink<Error = N::Error>> Editor<'_, N, S> {
    /// Writes what becomes of a node that starts at byte `start` of the old file.
    fn node(&mut self, reference: &Ref, node: &FileNode, start: u64) -> Result<(), N::Error> {
        self.writer.opened(reference, node);
        for index in 0..node.len() {
            let range = start + node.range(index).start..start + node.range(index).end;
            if self.writer.room() == 0 {
                return Ok(());
            }
            if range.end <= self.gone_to {
                continue;
            }
            if node.level() == 0 {
                self.extent(range.start, &node.extent(index))?;
                continue;
            }
            let level = node.level() - 1;
            if self.is_untouched(&range) && self.writer.starts_node(level)? {
                let (reference, summary) = node.child(index);
                self.writer.push_subtree(level, &reference, &summary)?;
            } else {
                let (reference, child) = load_child(self.nodes, node, index)?;
                self.node(&reference, &child, range.start)?;
            }
        }
        Ok(())
    }

    /// Whether a range begins, ends and lies in the new file as in the old one, so that its nodes can be taken over.
    fn is_untouched(&self, range: &Range<u64>) -> bool {
        let len = range.end - range.start;
        // A patch right behind could go on where the range's last extent ends.
        let is_apart = self.patches.first().is_none_or(|patch| patch.range.start > range.end);
        // The last node of a level ends with the file, not where a cut is: it must not be followed by anything.
        let is_last = range.end == self.size_old;
        let stays_last = self.patches.is_empty() && self.writer.room() == len;
        // Not at a seam, so no byte from `range.start` on is gone either.
        !self.at_seam && is_apart && if is_last { stays_last } else { len <= self.writer.room() }
    }

    /// Writes what becomes of an extent at byte `start` of the old file.
    fn extent(&mut self, start: u64, extent: &Extent) -> Result<(), N::Error> {
        let end = start + extent.len();
        while let Some((patch, later)) = self.patches.split_first()
            && patch.range.start < end
        {
            self.keep(start, extent, patch.range.start)?;
            self.patches = later;
            self.apply(patch)?;
        }
        self.keep(start, extent, end)
    }

    /// Writes what is left of an extent up to a byte of the old file.
    fn keep(&mut self, start: u64, extent: &Extent, to: u64) -> Result<(), N::Error> {
        let from = self.gone_to.max(start);
        if let Some(part) = extent.slice(from.min(to) - start..to - start) {
            self.writer.push(part)?;
            self.at_seam = false;
        }
        Ok(())
    }

    fn apply(&mut self, patch: &Patch) -> Result<(), N::Error> {
        for extent in &patch.extents {
            self.writer.push(extent.clone())?;
        }
        self.gone_to = patch.range.end;
        self.at_seam = true;
        Ok(())
    }

    /// Applies the patches that begin beyond the old file, then extends to the new size.
    fn beyond_the_end(&mut self) -> Result<(), N::Error> {
        for patch in std::mem::take(&mut self.patches) {
            let end = self.gone_to.max(self.size_old);
            self.writer.push(Extent::Hole { len: patch.range.start.saturating_sub(end) })?;
            self.apply(patch)?;
        }
        self.writer.push(Extent::Hole { len: self.writer.room() })
    }
}
