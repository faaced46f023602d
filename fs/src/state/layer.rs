//! One layer of a file's changes: non-overlapping pieces by offset, laid over whatever is beneath.
//!
//! A truncation is a hole that reaches to [`FILE_BYTES_MAX`]: it masks the layers below, so that a
//! file which shrinks and grows again reads zeros, with no second notion of length.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use cairn_block::Ref;

/// Where the bytes of a piece are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// In memory only, not yet in the journal.
    Memory(Bytes),
    /// In a sealed block, from `offset` in its chunk.
    Stored {
        /// The chunk that holds the bytes.
        chunk: Ref,
        /// Where the piece starts in the chunk.
        offset: u32,
        /// Cut by content and full grown: a flush takes it into the tree as it is. A piece that
        /// is not settled was only parked in the log, and is chunked again.
        settled: bool,
    },
    /// Zeros.
    Hole,
}

/// A run of bytes from one source.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Length in bytes, never zero.
    pub(crate) len: u64,
    /// Where the bytes are.
    pub(crate) source: Source,
}

impl Piece {
    /// The part of the piece that starts `skip` bytes in and is `len` long.
    pub(crate) fn part(&self, skip: u64, len: u64) -> Piece {
        let source = match &self.source {
            Source::Memory(bytes) => Source::Memory(bytes.slice(skip as usize..(skip + len) as usize)),
            Source::Stored { chunk, offset, settled } => {
                Source::Stored { chunk: chunk.clone(), offset: offset + skip as u32, settled: *settled }
            }
            Source::Hole => Source::Hole,
        };
        Piece { len, source }
    }

    /// Bytes that only memory holds.
    fn memory_bytes(&self) -> u64 {
        match self.source {
            Source::Memory(_) => self.len,
            _ => 0,
        }
    }

    /// Bytes that are no hole.
    fn data_bytes(&self) -> u64 {
        match self.source {
            Source::Hole => 0,
            _ => self.len,
        }
    }
}

/// What one layer says of a range: a piece of its own, or nothing.
#[derive(Clone, Debug)]
pub(crate) enum Span {
    /// The layer decides these bytes.
    Piece(u64, Piece),
    /// The layer below decides them.
    Gap(Range<u64>),
}

/// Non-overlapping pieces by offset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pieces: BTreeMap<u64, Piece>,
    memory_bytes: u64,
    data_bytes: u64,
}

impl Layer {
    /// Whether the layer changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that only memory holds.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Bytes that are no hole.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Bytes in a range that are no hole.
    pub(crate) fn data_bytes_in(&self, range: Range<u64>) -> u64 {
        let spans = self.spans(range).into_iter();
        spans.map(|span| if let Span::Piece(_, piece) = span { piece.data_bytes() } else { 0 }).sum()
    }

    /// Every piece in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Piece)> {
        self.pieces.iter().map(|(offset, piece)| (*offset, piece))
    }

    /// Lays `piece` over whatever the layer had at `offset`.
    pub(crate) fn put(&mut self, offset: u64, piece: Piece) {
        debug_assert!(piece.len > 0);
        self.cut(offset..offset + piece.len);
        self.insert(offset, piece);
    }

    /// Forgets what the layer says of `range`; pieces that reach over an edge keep the rest.
    pub(crate) fn cut(&mut self, range: Range<u64>) {
        if let Some((&start, piece)) = self.pieces.range(..range.start).next_back() {
            let end = start + piece.len;
            if end > range.start {
                let head = piece.part(0, range.start - start);
                let tail = (end > range.end).then(|| piece.part(range.end - start, end - range.end));
                self.replace(start, head);
                if let Some(tail) = tail {
                    self.insert(range.end, tail);
                    return;
                }
            }
        }
        while let Some((&start, piece)) = self.pieces.range(range.clone()).next() {
            let end = start + piece.len;
            let tail = (end > range.end).then(|| piece.part(range.end - start, end - range.end));
            self.remove(start);
            if let Some(tail) = tail {
                self.insert(range.end, tail);
            }
        }
    }

    /// What the layer says of `range`, in order and without a hole between.
    pub(crate) fn spans(&self, range: Range<u64>) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut at = range.start;
        let before = self.pieces.range(..range.start).next_back();
        for (&start, piece) in before.into_iter().chain(self.pieces.range(range.clone())) {
            let end = (start + piece.len).min(range.end);
            if end <= at {
                continue;
            }
            if start > at {
                spans.push(Span::Gap(at..start));
                at = start;
            }
            spans.push(Span::Piece(at, piece.part(at - start, end - at)));
            at = end;
        }
        if at < range.end {
            spans.push(Span::Gap(at..range.end));
        }
        spans
    }

    /// Where the last piece that starts before `offset` ends, at most `offset`; 0 if there is none.
    pub(crate) fn last_end_before(&self, offset: u64) -> u64 {
        let before = self.pieces.range(..offset).next_back();
        before.map_or(0, |(start, piece)| (start + piece.len).min(offset))
    }

    /// Where the first piece at or after `offset` starts; the end of time if there is none.
    pub(crate) fn first_start_after(&self, offset: u64) -> u64 {
        self.pieces.range(offset..).next().map_or(u64::MAX, |(start, _)| *start)
    }

    /// Replaces bytes that still are the very buffer `was` by `now`; newer writes stay.
    pub(crate) fn settle(&mut self, offset: u64, was: &Bytes, now: &Piece) {
        let range = offset..offset + was.len() as u64;
        for span in self.spans(range) {
            let Span::Piece(at, Piece { len, source: Source::Memory(bytes) }) = span else { continue };
            let skip = at - offset;
            let same = was.as_ptr().wrapping_add(skip as usize) == bytes.as_ptr();
            if same {
                self.put(at, now.part(skip, len));
            }
        }
    }

    /// Lays all of `upper` over this layer.
    pub(crate) fn absorb(&mut self, upper: Layer) {
        for (offset, piece) in upper.pieces {
            self.put(offset, piece);
        }
    }

    fn insert(&mut self, offset: u64, piece: Piece) {
        self.memory_bytes += piece.memory_bytes();
        self.data_bytes += piece.data_bytes();
        self.pieces.insert(offset, piece);
    }

    fn remove(&mut self, offset: u64) {
        if let Some(old) = self.pieces.remove(&offset) {
            self.memory_bytes -= old.memory_bytes();
            self.data_bytes -= old.data_bytes();
        }
    }

    fn replace(&mut self, offset: u64, piece: Piece) {
        self.remove(offset);
        self.insert(offset, piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn memory(byte: u8, len: usize) -> Piece {
        Piece { len: len as u64, source: Source::Memory(Bytes::from(vec![byte; len])) }
    }

    fn render(layer: &Layer, len: usize) -> Vec<Option<u8>> {
        let mut out = vec![None; len];
        for span in layer.spans(0..len as u64) {
            if let Span::Piece(at, piece) = span {
                for i in 0..piece.len as usize {
                    out[at as usize + i] = match &piece.source {
                        Source::Memory(bytes) => Some(bytes[i]),
                        _ => Some(0),
                    };
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_layer_reads_as_a_byte_array(ops in prop::collection::vec((0u64..200, 1usize..60, 0u8..4), 1..60)) {
            let mut layer = Layer::default();
            let mut model = vec![None; 300];
            for (offset, len, kind) in ops {
                let range = offset as usize..offset as usize + len;
                match kind {
                    0 => { layer.cut(offset..offset + len as u64); model[range].fill(None); }
                    1 => { layer.put(offset, Piece { len: len as u64, source: Source::Hole }); model[range].fill(Some(0)); }
                    byte => { layer.put(offset, memory(byte, len)); model[range].fill(Some(byte)); }
                }
                prop_assert_eq!(render(&layer, 300), model.clone());
                let held: u64 = layer.iter().map(|(_, p)| p.memory_bytes()).sum();
                prop_assert_eq!(held, layer.memory_bytes());
                let data: u64 = layer.iter().map(|(_, p)| p.data_bytes()).sum();
                prop_assert_eq!(data, layer.data_bytes());
            }
        }
    }

    #[test]
    fn settling_leaves_newer_writes_alone() {
        let mut layer = Layer::default();
        let old = Bytes::from(vec![1; 100]);
        layer.put(0, Piece { len: 100, source: Source::Memory(old.clone()) });
        layer.put(40, memory(2, 20));
        layer.settle(0, &old, &Piece { len: 100, source: Source::Hole });
        assert_eq!(layer.memory_bytes(), 20);
        assert_eq!(layer.iter().count(), 3);
    }
}
