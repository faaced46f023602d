//! Folding what a freeze took into new trees, children before parents.
//!
//! Only what changed is chunked again: a region of loose bytes grows to the edges of the chunks it
//! touches, everything else keeps its refs.

use std::ops::Range;

use bytes::Bytes;
use cairn_block::chunker::{cut_fixed, cut_stream};
use cairn_block::entry::{Content, Entry, FileRoot, MapRoot, Record, VolumeRoot, Xattrs};
use cairn_block::file_tree::{self, Extent, Patch};
use cairn_block::limits::{CDC_BYTES_MAX, CDC_BYTES_MIN, FIXED_CHUNK_BYTES, INLINE_BYTES_MAX, XATTRS_INLINE_BYTES_MAX};
use cairn_block::{Ino, Kind, map_tree};
use cairn_store::Ask;

use crate::error::FsError;
use crate::fetch::fetch;
use crate::nodes::InodeNodes;
use crate::reader::TreeReader;
use crate::sealer::{Purpose, Sealer, in_parallel};
use crate::state::layer::Source;
use crate::state::node::{Attributes, Change, File};
use crate::state::{Folded, Frozen, FrozenBody};

/// Loose bytes are read and chunked in windows of this size, so that memory stays bounded.
const WINDOW_BYTES: u64 = 4 << 20;

/// What a fold reads and writes with.
pub(crate) struct Folder<'a> {
    pub(crate) reader: &'a TreeReader,
    pub(crate) sealer: &'a Sealer,
    pub(crate) ask: Ask,
}

impl Folder<'_> {
    /// The volume root of a frozen state, and what every inode in it became.
    pub(crate) fn fold(&self, frozen: &Frozen) -> Result<(VolumeRoot, Folded), FsError> {
        let mut folded = Folded::default();
        self.fold_files(frozen, &mut folded)?;
        for ino in &frozen.dirs {
            self.fold_dir(frozen, *ino, &mut folded)?;
        }
        let links = self.fold_links(frozen, &mut folded)?;
        let root = self.record(frozen, Ino::ROOT, &folded)?.ok_or(FsError::Stale)?;
        let root = VolumeRoot { root, links: links.clone(), next_ino: frozen.next_ino };
        folded.links = Some(links);
        Ok((root, folded))
    }

    fn nodes(&self, ino: Ino) -> InodeNodes<'_> {
        InodeNodes { reader: self.reader, ino, ask: self.ask }
    }

    fn fold_files(&self, frozen: &Frozen, folded: &mut Folded) -> Result<(), FsError> {
        let files = frozen.nodes.iter().filter_map(|(ino, node)| match &node.body {
            FrozenBody::File(file) => Some((*ino, node.attr.size, &**file)),
            _ => None,
        });
        let files: Vec<_> = files.collect();
        let contents = in_parallel(&files, |(ino, size, file)| self.fold_file(*ino, *size, file))?;
        for ((ino, ..), content) in files.into_iter().zip(contents) {
            folded.contents.insert(ino, content);
        }
        Ok(())
    }

    fn fold_dir(&self, frozen: &Frozen, ino: Ino, folded: &mut Folded) -> Result<(), FsError> {
        let Some(FrozenBody::Dir(base, changes)) = frozen.nodes.get(&ino).map(|node| &node.body) else {
            return Ok(());
        };
        let mut edits: Vec<(Bytes, Option<Bytes>)> = Vec::with_capacity(changes.len());
        for (key, change) in changes {
            let entry = match change {
                Change::Gone => None,
                Change::Link(ino, kind) => Some(Entry::Link { ino: *ino, kind: *kind }),
                Change::Own(child) => self.record(frozen, *child, folded)?.map(Entry::Own),
            };
            let value = entry.map(|entry| entry.encode()).transpose()?;
            edits.push((key.clone(), value));
        }
        let root = self.edit(base, &edits)?;
        folded.contents.insert(ino, (Content::Dir(root), 0));
        Ok(())
    }

    fn fold_links(&self, frozen: &Frozen, folded: &mut Folded) -> Result<MapRoot, FsError> {
        let mut edits = Vec::with_capacity(frozen.links.len());
        for (ino, present) in &frozen.links {
            let key = Bytes::copy_from_slice(&VolumeRoot::link_key(*ino));
            let record = if *present { self.record(frozen, *ino, folded)? } else { None };
            edits.push((key, record.map(|r| r.encode()).transpose()?));
        }
        self.edit(&frozen.links_base, &edits)
    }

    fn edit(&self, base: &MapRoot, edits: &[(Bytes, Option<Bytes>)]) -> Result<MapRoot, FsError> {
        map_tree::edit(&mut self.nodes(Ino::ROOT), &mut self.sealer.sink(), base, edits)
    }

    /// The record of a frozen inode.
    fn record(&self, frozen: &Frozen, ino: Ino, folded: &Folded) -> Result<Option<Record>, FsError> {
        let Some(node) = frozen.nodes.get(&ino) else { return Ok(None) };
        let mut attr = node.attr.clone();
        let content = match (&node.body, folded.contents.get(&ino)) {
            (FrozenBody::Symlink(target), _) => Content::Symlink(target.clone()),
            (FrozenBody::Special, _) => Content::None,
            (FrozenBody::File(_), Some((content, allocated))) => {
                attr.allocated = *allocated;
                content.clone()
            }
            (FrozenBody::Dir(..), Some((content, _))) => {
                attr.size = 0;
                content.clone()
            }
            _ => return Err(FsError::Stale),
        };
        let xattrs = match &node.xattrs {
            Attributes::Sealed(reference) => Xattrs::Sealed(reference.clone()),
            Attributes::Loaded(list) => self.seal_xattrs(list)?,
        };
        Ok(Some(Record { attr, content, xattrs }))
    }

    fn seal_xattrs(&self, list: &[(Bytes, Bytes)]) -> Result<Xattrs, FsError> {
        let encoded = Xattrs::encode_list(list)?;
        if encoded.len() <= XATTRS_INLINE_BYTES_MAX {
            return Ok(Xattrs::Inline(list.to_vec()));
        }
        Ok(Xattrs::Sealed(self.sealer.node(Kind::Xattrs, &encoded)?))
    }

    /// The content of a file, and how much of it is no hole.
    fn fold_file(&self, ino: Ino, size: u64, file: &File) -> Result<(Content, u64), FsError> {
        let layer = file.flushing.clone().unwrap_or_default();
        if layer.is_empty() && size == file.base_size {
            return Ok((file.base.clone(), file.base_allocated));
        }
        // The plan of the frozen file: what was written since is not in it.
        let file = File { layer, flushing: None, ..file.clone() };
        if size <= INLINE_BYTES_MAX as u64 {
            match self.fold_small(ino, size, &file) {
                // What can't be read can still be referred to, and read again once it is healed.
                Err(error) if error.is_loss() && matches!(file.base, Content::File(_)) => {}
                folded => return folded,
            }
        }
        let old = match &file.base {
            Content::File(root) => Some(root),
            _ => None,
        };
        let tree_size = if old.is_some() { file.base_size } else { 0 };
        let patches = self.patches(ino, size, tree_size, &file)?;
        let mut nodes = self.nodes(ino);
        let tree = file_tree::edit(&mut nodes, &mut self.sealer.sink(), old, tree_size, &patches, size)?;
        let content = match tree.root {
            None => Content::Empty,
            Some(root) => Content::File(FileRoot { fixed: file.fixed, ..root }),
        };
        Ok((content, tree.allocated))
    }

    fn fold_small(&self, ino: Ino, size: u64, file: &File) -> Result<(Content, u64), FsError> {
        let data = self.bytes(ino, file, 0..size)?;
        if data.iter().all(|byte| *byte == 0) && file.layer.data_bytes() == 0 && file.base_allocated == 0 {
            return Ok((Content::Empty, 0));
        }
        Ok((Content::Inline(data.into()), size))
    }

    /// What changes in the tree: ranges with their new extents, in order.
    fn patches(&self, ino: Ino, size: u64, tree_size: u64, file: &File) -> Result<Vec<Patch>, FsError> {
        let mut loose = Vec::new();
        let mut patches = Vec::new();
        let mut covered = 0;
        // Inline bytes have no extents to keep. A file without content is one hole, of whatever size.
        let inline_end = if matches!(file.base, Content::Inline(_)) { file.base_size.min(size) } else { 0 };
        for (offset, piece) in file.layer.iter() {
            let end = (offset + piece.len).min(size);
            if offset >= end {
                break;
            }
            if covered < offset.min(inline_end) {
                loose.push(covered..offset.min(inline_end));
            }
            covered = end;
            match &piece.source {
                Source::Hole => patches.push(patch(offset..end, Extent::Hole { len: end - offset })),
                Source::Stored { chunk, offset: at, settled: true } => {
                    let len = (end - offset) as u32;
                    let chunk = Extent::Chunk { len, chunk_off: *at, chunk: chunk.clone() };
                    patches.push(patch(offset..end, chunk));
                }
                _ => loose.push(offset..end),
            }
        }
        if covered < inline_end {
            loose.push(covered..inline_end);
        }
        let regions = merge(loose.iter().map(|range| self.widen(ino, range.clone(), size, tree_size, file)))?;
        for region in regions {
            match self.chunk_region(ino, region.clone(), file) {
                Ok(extents) => patches.push(Patch { range: region, extents }),
                Err(error) if error.is_loss() => {
                    tracing::error!(%ino, %error, "what lies beside a change can't be read and is kept as it is");
                    patches.extend(self.chunk_alone(ino, &loose, &region, file)?);
                }
                Err(error) => return Err(error),
            }
        }
        patches.sort_by_key(|patch| patch.range.start);
        Ok(patches)
    }

    /// Chunks what changed in a region and nothing beside it: the parts of damaged chunks around it stay what they are, an
    /// error for whoever reads them, and no reason to lose what was written.
    fn chunk_alone(
        &self,
        ino: Ino,
        loose: &[Range<u64>],
        region: &Range<u64>,
        file: &File,
    ) -> Result<Vec<Patch>, FsError> {
        let inside = loose.iter().filter(|range| region.start <= range.start && range.end <= region.end);
        let changed = merge(inside.cloned().map(Ok))?;
        let patch = |range: Range<u64>| Ok(Patch { extents: self.chunk_region(ino, range.clone(), file)?, range });
        changed.into_iter().map(patch).collect()
    }

    /// Grows a loose range to the edges of what is chunked anew with it. Settled neighbours stay.
    fn widen(
        &self,
        ino: Ino,
        range: Range<u64>,
        size: u64,
        tree_size: u64,
        file: &File,
    ) -> Result<Range<u64>, FsError> {
        let Content::File(root) = &file.base else { return Ok(range) };
        let (mut start, mut end) = (range.start, range.end);
        if file.fixed {
            start -= start % FIXED_CHUNK_BYTES as u64;
            end = end.next_multiple_of(FIXED_CHUNK_BYTES as u64).min(size);
        } else {
            let window = range.start.saturating_sub(1)..(range.end + 1).min(tree_size);
            if window.start < window.end {
                let mut nodes = self.nodes(ino);
                for (at, extent) in file_tree::extents(&mut nodes, root, window)? {
                    let Extent::Chunk { len, .. } = extent else { continue };
                    let stop = at + u64::from(len);
                    let short = (len as usize) < CDC_BYTES_MIN && stop == range.start;
                    if at < range.start && (stop > range.start || short) {
                        start = at;
                    }
                    if at < range.end && stop > range.end {
                        end = stop.min(size);
                    }
                }
            }
        }
        // Neighbours in the layer that decide their own bytes bound the growth.
        let before = file.layer.last_end_before(range.start).max(start);
        let after = file.layer.first_start_after(range.end).min(end);
        Ok(before.min(range.start)..after.max(range.end))
    }

    /// Chunks a region, window by window.
    fn chunk_region(&self, ino: Ino, region: Range<u64>, file: &File) -> Result<Vec<Extent>, FsError> {
        let mut extents = Vec::new();
        let mut data: Vec<u8> = Vec::new();
        let mut at = region.start;
        let mut read = region.start;
        while at < region.end {
            let until = region.end.min(read + WINDOW_BYTES);
            data.extend(self.bytes(ino, file, read..until)?);
            read = until;
            let last = read == region.end;
            let cuts: Vec<Range<usize>> = if file.fixed {
                let cells = cut_fixed(at, data.len() as u64);
                let cells = cells.map(|cell| (cell.start - at) as usize..(cell.end - at) as usize);
                let whole = |cell: &Range<usize>| {
                    last || cell.end < data.len() || read.is_multiple_of(FIXED_CHUNK_BYTES as u64)
                };
                cells.filter(whole).collect()
            } else {
                cut_stream(&data, last)
            };
            for cut in &cuts {
                let chunk = self.sealer.chunk(&data[cut.clone()], Purpose::Flush)?;
                extents.push(Extent::Chunk { len: cut.len() as u32, chunk_off: 0, chunk });
            }
            let done = cuts.last().map_or(0, |cut| cut.end);
            at += done as u64;
            data.drain(..done);
            debug_assert!(data.len() <= CDC_BYTES_MAX);
        }
        Ok(extents)
    }

    fn bytes(&self, ino: Ino, file: &File, range: Range<u64>) -> Result<Vec<u8>, FsError> {
        let mut plan = Vec::new();
        let len = (range.end - range.start) as usize;
        file.plan(range, &mut plan);
        let pieces = fetch(self.reader, ino, &plan, Some(self.ask))?;
        let mut data = Vec::with_capacity(len);
        pieces.iter().for_each(|piece| data.extend_from_slice(piece));
        Ok(data)
    }
}

fn patch(range: Range<u64>, extent: Extent) -> Patch {
    Patch { range, extents: vec![extent] }
}

/// Joins ranges that touch or overlap.
fn merge(ranges: impl Iterator<Item = Result<Range<u64>, FsError>>) -> Result<Vec<Range<u64>>, FsError> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        let range = range?;
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    Ok(merged)
}
