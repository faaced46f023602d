//! File contents: what a read has to fetch, and what a write changes.

use std::ops::Range;

use super::layer::{Layer, Piece, Source, Span};
use super::*;
use crate::ops::{Allocate, KillPriv};
use cairn_block::entry::{Content, FileRoot};
use cairn_block::limits::{CDC_BYTES_MIN, FILE_BYTES_MAX};

/// One run of a read, in order.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Bytes that are here.
    Bytes(Bytes),
    /// Bytes of a chunk.
    Stored {
        /// The chunk.
        chunk: Ref,
        /// Where in the chunk.
        offset: u32,
        /// How many.
        len: u64,
    },
    /// So many zeros.
    Zeros(u64),
    /// A range of the file's tree.
    Tree(FileRoot, Range<u64>),
}

impl Part {
    /// Bytes that the part stands for.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Stored { len, .. } | Part::Zeros(len) => *len,
            Part::Tree(_, range) => range.end - range.start,
        }
    }
}

/// What a read has to fetch. It stays valid while newer writes go on: every part is immutable.
pub(crate) type ReadPlan = Vec<Part>;

impl State {
    /// Where the bytes of a range are; shorter than asked only at the end of the file.
    pub(crate) fn read_plan(&mut self, ino: Ino, offset: u64, len: u64) -> Step<ReadPlan> {
        let (attr, file) = self.loaded_file(ino)?;
        let end = offset.saturating_add(len).min(attr.size);
        let mut plan = Vec::new();
        if offset < end {
            file.plan(offset..end, &mut plan);
        }
        Ok(plan)
    }

    /// The size of a regular file.
    pub(crate) fn file_size(&mut self, ino: Ino) -> Step<u64> {
        Ok(self.loaded_file(ino)?.0.size)
    }

    /// Writes all of `data`.
    pub(crate) fn write(&mut self, ino: Ino, offset: u64, data: Bytes, kill: KillPriv, now: Timestamp) -> Step<()> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(FsError::FileTooBig)?;
        self.prepare_change(ino, kill)?;
        if data.is_empty() {
            return Ok(());
        }
        self.unwritten_bytes += data.len() as u64;
        let small = data.len() < CDC_BYTES_MIN;
        let piece = Piece { len: data.len() as u64, source: Source::Memory(data) };
        let (attr, file) = self.loaded_file(ino)?;
        let in_place = small && end <= file.base_size && matches!(file.base, Content::File(_));
        file.fixed |= in_place && file.base_allocated > 0;
        attr.size = attr.size.max(end);
        attr.mtime = now;
        attr.ctime = now;
        self.lay(ino, offset, piece)
    }

    /// Lays copied pieces over a file, in order from `offset`.
    pub(crate) fn place_pieces(
        &mut self,
        ino: Ino,
        offset: u64,
        pieces: Vec<Piece>,
        kill: KillPriv,
        now: Timestamp,
    ) -> Step<()> {
        self.prepare_change(ino, kill)?;
        let mut at = offset;
        for piece in pieces {
            let len = piece.len;
            self.lay(ino, at, piece)?;
            at += len;
        }
        let (attr, _) = self.loaded_file(ino)?;
        attr.size = attr.size.max(at);
        attr.mtime = now;
        attr.ctime = now;
        Ok(())
    }

    /// Makes a file what a record says: its content by reference. What it was goes.
    pub(crate) fn adopt_content(&mut self, ino: Ino, content: Content, size: u64, allocated: u64) -> Step<()> {
        self.loaded_file(ino)?;
        self.touch(ino);
        let before = self.memory_in(ino);
        let (attr, file) = self.loaded_file(ino)?;
        // A flush under way may still land; it sees by the generation that the base is another one now.
        let generation = file.generation + 1;
        *file = File { generation, ..File::new(content, size, allocated) };
        attr.size = size;
        self.memory_bytes = self.memory_bytes - before + self.memory_in(ino);
        self.batch.contents.insert(ino);
        self.batch.ranges.remove(&ino);
        Ok(())
    }

    /// Reserves, empties or zeroes a range.
    pub(crate) fn allocate(
        &mut self,
        ino: Ino,
        what: Allocate,
        range: Range<u64>,
        kill: KillPriv,
        now: Timestamp,
    ) -> Step<()> {
        if range.end > FILE_BYTES_MAX {
            return Err(FsError::FileTooBig.into());
        }
        self.prepare_change(ino, kill)?;
        if matches!(what, Allocate::PunchHole | Allocate::Zero | Allocate::ZeroKeepSize) {
            self.lay(ino, range.start, Piece { len: range.end - range.start, source: Source::Hole })?;
        }
        let (attr, _) = self.loaded_file(ino)?;
        if matches!(what, Allocate::Reserve | Allocate::Zero) {
            attr.size = attr.size.max(range.end);
        }
        attr.mtime = now;
        attr.ctime = now;
        Ok(())
    }

    /// Cuts a file, or extends it with a hole.
    pub(super) fn resize(&mut self, ino: Ino, size: u64) -> Step<()> {
        let (attr, _) = self.loaded_file(ino)?;
        let shrinks = size < attr.size;
        attr.size = size;
        if shrinks {
            self.lay(ino, size, Piece { len: FILE_BYTES_MAX - size, source: Source::Hole })?;
        }
        Ok(())
    }

    fn prepare_change(&mut self, ino: Ino, kill: KillPriv) -> Step<()> {
        self.loaded_file(ino)?;
        if kill == KillPriv::Clear && self.has_privileges(ino)? {
            self.kill_privileges(ino)?;
        }
        self.touch(ino);
        Ok(())
    }

    fn lay(&mut self, ino: Ino, offset: u64, piece: Piece) -> Step<()> {
        let before = self.memory_in(ino);
        let (_, file) = self.loaded_file(ino)?;
        let end = offset + piece.len;
        file.put(offset, piece);
        self.batch.range(ino, offset..end);
        self.memory_bytes = self.memory_bytes - before + self.memory_in(ino);
        Ok(())
    }

    /// Bytes of an inode that only memory holds.
    pub(super) fn memory_in(&self, ino: Ino) -> u64 {
        self.node(ino).and_then(Node::file).map_or(0, slots::memory_of)
    }
}

impl File {
    /// Where the bytes of a range are, layer by layer.
    pub(crate) fn plan(&self, range: Range<u64>, plan: &mut ReadPlan) {
        plan_layer(&self.layer, range, plan, &mut |gap, plan| match &self.flushing {
            Some(flushing) => plan_layer(flushing, gap, plan, &mut |gap, plan| self.plan_base(gap, plan)),
            None => self.plan_base(gap, plan),
        });
    }

    fn plan_base(&self, range: Range<u64>, plan: &mut ReadPlan) {
        let inside = range.start.min(self.base_size)..range.end.min(self.base_size);
        if inside.start < inside.end {
            plan.push(match &self.base {
                Content::Inline(bytes) => Part::Bytes(bytes.slice(inside.start as usize..inside.end as usize)),
                Content::File(root) => Part::Tree(root.clone(), inside.clone()),
                _ => Part::Zeros(inside.end - inside.start),
            });
        }
        let beyond = range.end - range.end.min(self.base_size.max(range.start));
        if beyond > 0 {
            plan.push(Part::Zeros(beyond));
        }
    }
}

type Below<'a> = &'a mut dyn FnMut(Range<u64>, &mut ReadPlan);

/// Plans a range of one layer; gaps are the business of the one below.
fn plan_layer(layer: &Layer, range: Range<u64>, plan: &mut ReadPlan, below: Below<'_>) {
    if layer.is_empty() {
        return below(range, plan);
    }
    for span in layer.spans(range) {
        match span {
            Span::Gap(gap) => below(gap, plan),
            Span::Piece(_, Piece { len, source }) => plan.push(match source {
                Source::Memory(bytes) => Part::Bytes(bytes),
                Source::Stored { chunk, offset, .. } => Part::Stored { chunk, offset, len },
                Source::Hole => Part::Zeros(len),
            }),
        }
    }
}
