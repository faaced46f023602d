//! What changed since the journal was last written, and how it is taken from the state.
//!
//! A batch names *things*, not operations: a file written a thousand times is one item. Its values
//! are read from the state when the batch is cut, so a cut is the state at one moment, and a journal
//! made of cuts gives back a prefix of history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::layer::{Layer, Piece, Span};
use super::node::Carried;
use super::*;
use cairn_block::entry::{Attr, Content};
use cairn_block::limits::CDC_BYTES_MIN;

/// Where an inode that changes for the first time since a freeze is found in the frozen tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// In a directory.
    Child {
        /// The inode.
        ino: Ino,
        /// The directory.
        parent: Ino,
        /// Its encoded key there.
        key: Bytes,
    },
    /// In the link table.
    Linked {
        /// The inode.
        ino: Ino,
    },
}

/// Ranges of a file, merged where they touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn add(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if let Some((&s, &e)) = self.0.range(..=start).next_back()
            && e >= start
        {
            start = s;
            end = end.max(e);
        }
        while let Some((&s, &e)) = self.0.range(start..=end).next() {
            self.0.remove(&s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    fn is_one(&self) -> bool {
        self.0.len() == 1
    }

    fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }
}

/// Names of everything that the journal lacks.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(super) loads: Vec<Load>,
    pub(super) nodes: HashSet<Ino>,
    pub(super) born: HashSet<Ino>,
    pub(super) names: BTreeSet<(Ino, Bytes)>,
    pub(super) links: HashSet<Ino>,
    pub(super) contents: HashSet<Ino>,
    pub(super) ranges: HashMap<Ino, Ranges>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.names.is_empty() && self.links.is_empty() && self.ranges.is_empty()
    }

    pub(super) fn range(&mut self, ino: Ino, range: Range<u64>) {
        self.ranges.entry(ino).or_default().add(range);
    }

    /// An inode without a name needs no record; its data may still leave memory.
    pub(super) fn orphan(&mut self, ino: Ino) {
        self.nodes.remove(&ino);
        self.born.remove(&ino);
        self.contents.remove(&ino);
    }

    /// Takes back a batch that could not be written; what came since stays too.
    fn put_back(&mut self, mut older: Batch) {
        older.loads.append(&mut self.loads);
        self.loads = older.loads;
        self.nodes.extend(older.nodes);
        self.born.extend(older.born);
        self.names.extend(older.names);
        self.links.extend(older.links);
        self.contents.extend(older.contents);
        for (ino, ranges) in older.ranges {
            let mine = self.ranges.entry(ino).or_default();
            ranges.iter().for_each(|range| mine.add(range));
        }
    }
}

/// An inode as the journal carries it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeItem {
    /// Its attributes; a directory's size is the number of its names.
    pub(crate) attr: Attr,
    /// Whether its record is in the link table.
    pub(crate) linked: bool,
    /// Whether it is new since the frozen tree.
    pub(crate) born: bool,
    /// A symbolic link's target.
    pub(crate) target: Option<Bytes>,
    /// All extended attributes, unless they are as in the tree.
    pub(crate) xattrs: Option<Vec<(Bytes, Bytes)>>,
}

/// A name as the journal carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameItem {
    /// The directory.
    pub(crate) parent: Ino,
    /// The encoded key.
    pub(crate) key: Bytes,
    /// What became of it.
    pub(crate) change: Change,
}

/// Changed pieces of one file.
#[derive(Clone, Debug)]
pub(crate) struct FileCut {
    /// The file.
    pub(crate) ino: Ino,
    /// Its size.
    pub(crate) size: u64,
    /// No handle is open, so its end is its end.
    pub(crate) closed: bool,
    /// Chunked on a fixed grid.
    pub(crate) fixed: bool,
    /// It has no name: its data may leave memory, but the journal does not carry it.
    pub(crate) orphan: bool,
    /// Up to here the journal has the bytes of the piece that it is in; they are there again for the sake of the next cut.
    pub(crate) journaled: u64,
    /// The pieces, in order.
    pub(crate) pieces: Vec<(u64, Piece)>,
}

/// The state of everything in a batch, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// The changes that it holds: all up to this one.
    pub(crate) sequence: u64,
    /// The number that the next new inode gets.
    pub(crate) next_ino: u64,
    /// What a replay has to find in the tree first; parents before children.
    pub(crate) loads: Vec<Load>,
    /// Inodes.
    pub(crate) nodes: Vec<NodeItem>,
    /// Names.
    pub(crate) names: Vec<NameItem>,
    /// Whether an inode is in the link table.
    pub(crate) links: Vec<(Ino, bool)>,
    /// Whole contents that were replaced: before the pieces.
    pub(crate) contents: Vec<(Ino, Content, u64, u64)>,
    /// Changed pieces of files.
    pub(crate) files: Vec<FileCut>,
    batch: Batch,
}

impl Cut {
    /// The data blocks that it refers to.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = BlockId> {
        let pieces = self.files.iter().flat_map(|file| &file.pieces);
        pieces.filter_map(|(_, piece)| match &piece.source {
            super::layer::Source::Stored { chunk, .. } => Some(chunk.id),
            _ => None,
        })
    }
}

impl State {
    /// Takes everything that the journal lacks.
    pub(crate) fn cut(&mut self) -> Cut {
        let batch = std::mem::take(&mut self.batch);
        self.unwritten_bytes = 0;
        let mut nodes: Vec<NodeItem> = batch.nodes.iter().filter_map(|ino| self.node_item(*ino, &batch)).collect();
        nodes.sort_by_key(|item| item.attr.ino);
        let names = batch.names.iter().filter_map(|(parent, key)| self.name_item(*parent, key)).collect();
        let links = batch.links.iter().filter_map(|ino| Some((*ino, *self.link_change(*ino)?))).collect();
        let contents = batch.contents.iter().filter_map(|ino| self.content_item(*ino)).collect();
        let files = batch.ranges.iter().filter_map(|(ino, ranges)| self.file_cut(*ino, ranges)).collect::<Vec<_>>();
        for file in files.iter().filter(|file| file.journaled > 0) {
            // What is left of it after the next cut is carried on.
            self.file_mut(file.ino).map(|file| file.carried.take());
        }
        let loads = batch.loads.clone();
        Cut { sequence: self.sequence, next_ino: self.next_ino, loads, nodes, names, links, contents, files, batch }
    }

    /// Takes back a cut that could not be written.
    pub(crate) fn put_back(&mut self, cut: Cut) {
        self.batch.put_back(cut.batch);
    }

    fn link_change(&self, ino: Ino) -> Option<&bool> {
        self.links.changes.get(&ino).or_else(|| self.links.flushing.as_ref()?.get(&ino))
    }

    fn node_item(&self, ino: Ino, batch: &Batch) -> Option<NodeItem> {
        let slot = self.slots.get(&ino)?;
        let node = slot.node.as_deref()?;
        if slot.place == Place::Orphan {
            return None;
        }
        let target = match &node.body {
            Body::Symlink(target) => Some(target.clone()),
            _ => None,
        };
        let xattrs = match &node.xattrs {
            Attributes::Loaded(list) => Some(list.clone()),
            Attributes::Sealed(_) => None,
        };
        let linked = slot.place == Place::Linked;
        Some(NodeItem { attr: node.stat(), linked, born: batch.born.contains(&ino), target, xattrs })
    }

    fn name_item(&self, parent: Ino, key: &Bytes) -> Option<NameItem> {
        if self.slots.get(&parent)?.place == Place::Orphan {
            return None;
        }
        let dir = self.node(parent)?.dir()?;
        let change = dir.changes.get(key).or_else(|| dir.flushing.as_ref()?.get(key))?;
        Some(NameItem { parent, key: key.clone(), change: *change })
    }

    fn content_item(&self, ino: Ino) -> Option<(Ino, Content, u64, u64)> {
        let file = self.node(ino)?.file()?;
        Some((ino, file.base.clone(), file.base_size, file.base_allocated))
    }

    fn file_cut(&self, ino: Ino, ranges: &Ranges) -> Option<FileCut> {
        let slot = self.slots.get(&ino)?;
        let node = slot.node.as_deref()?;
        let file = node.file()?;
        let orphan = slot.place == Place::Orphan;
        // Another change in this batch may lie in what is carried: the journal does not have that yet.
        let grown = file.carried.as_ref().filter(|_| !orphan && !file.fixed && ranges.is_one());
        let (mut pieces, mut journaled) = (Vec::new(), 0);
        for range in ranges.iter() {
            let mut start = range.start;
            if let Some(carried) = grown.filter(|carried| carried.is_worth_a_look(&range)) {
                (start, journaled) = (carried.range.start, carried.range.end);
            }
            file.changed_pieces(start..range.end, &mut pieces);
        }
        Some(FileCut {
            ino,
            size: node.attr.size,
            closed: node.opens == 0,
            fixed: file.fixed,
            orphan,
            journaled,
            pieces,
        })
    }

    /// Replaces buffers by where they are stored now.
    pub(crate) fn settle(&mut self, ino: Ino, offset: u64, was: &Bytes, now: &Piece) {
        let before = self.memory_in(ino);
        let Some(file) = self.node_mut(ino).and_then(Node::file_mut) else { return };
        file.layer.settle(offset, was, now);
        if let Some(flushing) = &mut file.flushing {
            flushing.settle(offset, was, now);
        }
        self.memory_bytes = self.memory_bytes - before + self.memory_in(ino);
    }

    /// Keeps the end of a stream together with what follows it: a chunk that may still grow.
    pub(crate) fn carry(&mut self, ino: Ino, range: Range<u64>) {
        let Some(file) = self.file_mut(ino) else { return };
        match &mut file.carried {
            Some(carried) if carried.range.end == range.start => carried.range.end = range.end,
            carried => *carried = Some(Carried { looked_to: range.end, range }),
        }
    }

    fn file_mut(&mut self, ino: Ino) -> Option<&mut File> {
        self.node_mut(ino).and_then(Node::file_mut)
    }
}

impl Carried {
    /// Whether what was written behind it may hold the next cut: a chunk has at least so many bytes, and what is shorter
    /// is parked whole.
    fn is_worth_a_look(&self, written: &Range<u64>) -> bool {
        written.start == self.range.end && written.end - self.looked_to >= CDC_BYTES_MIN as u64
    }
}

impl File {
    fn changed_pieces(&self, range: Range<u64>, pieces: &mut Vec<(u64, Piece)>) {
        collect(&self.layer, range, pieces, &mut |gap, pieces| {
            if let Some(flushing) = &self.flushing {
                collect(flushing, gap, pieces, &mut |_, _| {});
            }
        });
    }
}

type Below<'a> = &'a mut dyn FnMut(Range<u64>, &mut Vec<(u64, Piece)>);

fn collect(layer: &Layer, range: Range<u64>, pieces: &mut Vec<(u64, Piece)>, below: Below<'_>) {
    for span in layer.spans(range) {
        match span {
            Span::Piece(at, piece) => pieces.push((at, piece)),
            Span::Gap(gap) => below(gap, pieces),
        }
    }
}
