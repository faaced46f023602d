//! Writing the journal: file data of a cut into blocks, the rest into deltas.
//!
//! Long runs are chunked by content and go straight into the blocks that the next tree will refer to:
//! a stream is written once. Short ones are parked together in shared blocks, to be chunked with
//! their neighbours by the flush. The end of a file that is still open may grow: it is parked *and*
//! kept in memory, so that its last chunk is not cut where a journal record happened to end. What is
//! parked once is not parked again, however small the steps in which the file grows.
//!
//! A run is looked at through a window, so that what is copied to make it contiguous is small beside the cut itself.

use std::ops::Range;

use bytes::Bytes;
use cairn_block::Ino;
use cairn_block::chunker::{cut_fixed, cut_stream};
use cairn_block::limits::{CDC_BYTES_MIN, FIXED_CHUNK_BYTES, INLINE_BYTES_MAX};

use crate::error::FsError;
use crate::sealer::{Purpose, Sealer, in_parallel};
use crate::state::Cut;
use crate::state::layer::{Piece, Source};

/// A parked block is closed when it holds this much.
const PARKED_BYTES_AIM: usize = 256 << 10;

/// Bytes of a run that are cut at a time. What is behind the last cut is looked at again, so several of the largest chunks.
const WINDOW_BYTES: usize = 4 << 20;

/// Bytes of chunks that are sealed together: enough for every core.
const SEALED_BYTES_AIM: usize = 4 << 20;

/// A buffer that is stored now.
pub(crate) struct Settled {
    pub(crate) ino: Ino,
    pub(crate) offset: u64,
    pub(crate) was: Bytes,
    pub(crate) now: Piece,
}

/// What storing a cut's data changed.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) settled: Vec<Settled>,
    pub(crate) carried: Vec<(Ino, Range<u64>)>,
}

/// Contiguous bytes of one file that only memory holds.
struct Run {
    ino: Ino,
    /// Which of the cut's files.
    file: usize,
    offset: u64,
    buffers: Vec<Bytes>,
    len: usize,
}

/// A part of a run that becomes, or shares, a block.
struct Part {
    run: usize,
    /// In the run.
    range: Range<usize>,
    data: Bytes,
    /// The bytes leave memory once they are stored.
    settles: bool,
}

/// How a file is cut.
struct Manner {
    fixed: bool,
    /// The run is the whole file.
    whole: bool,
    /// The file is open and ends with the run.
    grows: bool,
}

/// Stores the data of a cut and rewrites its pieces to say where it is.
pub(crate) fn store_data(sealer: &Sealer, cut: &mut Cut, purpose: Purpose) -> Result<Stored, FsError> {
    let mut stored = Stored::default();
    let mut works =
        Works { sealer, purpose, chunks: Vec::new(), chunk_bytes: 0, parked: Parked::default(), placed: Vec::new() };
    let mut runs = Vec::new();
    for (index, file) in cut.files.iter_mut().enumerate() {
        let pieces = std::mem::take(&mut file.pieces);
        for run in take_runs(file.ino, index, pieces, &mut file.pieces) {
            let whole = run.offset == 0 && run.len as u64 == file.size;
            if whole && run.len <= INLINE_BYTES_MAX && !file.orphan {
                file.pieces.push((0, Piece { len: run.len as u64, source: Source::Memory(run.bytes(0..run.len)) }));
                continue;
            }
            let grows = run.offset + run.len as u64 == file.size && !file.closed;
            let manner = Manner { fixed: file.fixed, whole, grows };
            let journaled = file.journaled.saturating_sub(run.offset) as usize;
            let keeps_end = grows && !file.fixed && !file.orphan;
            let mut last = None;
            cut_run(&run, &manner, |range, is_final| {
                if is_final {
                    return works.chunk(Part { run: runs.len(), data: run.bytes(range.clone()), range, settles: true });
                }
                if keeps_end {
                    last = Some(range.start);
                }
                let missing = range.start.max(journaled)..range.end;
                if missing.is_empty() {
                    return Ok(());
                }
                let data = run.bytes(missing.clone());
                works.park(Part { run: runs.len(), data, range: missing, settles: !keeps_end })
            })?;
            if let Some(start) = last {
                stored.carried.push((run.ino, run.offset + start as u64..run.offset + run.len as u64));
            }
            runs.push(run);
        }
    }
    for (part, source) in works.finish()? {
        let run = &runs[part.run];
        let piece = Piece { len: part.range.len() as u64, source };
        if part.settles {
            run.settle(&part.range, &piece, &mut stored.settled);
        }
        cut.files[run.file].pieces.push((run.offset + part.range.start as u64, piece));
    }
    Ok(stored)
}

/// Joins neighbouring buffers to runs; pieces that are stored already go to `kept`.
fn take_runs(ino: Ino, file: usize, pieces: Vec<(u64, Piece)>, kept: &mut Vec<(u64, Piece)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (offset, piece) in pieces {
        let Source::Memory(bytes) = piece.source else {
            kept.push((offset, piece));
            continue;
        };
        match runs.last_mut().filter(|run| run.offset + run.len as u64 == offset) {
            Some(run) => {
                run.len += bytes.len();
                run.buffers.push(bytes);
            }
            None => runs.push(Run { ino, file, offset, len: bytes.len(), buffers: vec![bytes] }),
        }
    }
    runs
}

/// Hands over the parts of a run in order: chunks that are final, and what is to be parked.
fn cut_run(
    run: &Run,
    manner: &Manner,
    mut each: impl FnMut(Range<usize>, bool) -> Result<(), FsError>,
) -> Result<(), FsError> {
    if manner.fixed {
        for cell in cut_fixed(run.offset, run.len as u64) {
            let range = (cell.start - run.offset) as usize..(cell.end - run.offset) as usize;
            let is_full = range.len() == FIXED_CHUNK_BYTES;
            each(range, is_full)?;
        }
        return Ok(());
    }
    if run.len < CDC_BYTES_MIN && !manner.whole {
        return each(0..run.len, false);
    }
    let mut at = 0;
    while at < run.len {
        let end = run.len.min(at + WINDOW_BYTES);
        let is_last = end == run.len;
        let window = run.bytes(at..end);
        let chunks = cut_stream(&window, is_last && !manner.grows);
        let start = at;
        for chunk in chunks {
            at = start + chunk.end;
            each(start + chunk.start..at, true)?;
        }
        if is_last {
            break;
        }
    }
    if at < run.len { each(at..run.len, false) } else { Ok(()) }
}

impl Run {
    /// Bytes of the run: a copy only where they are in several buffers.
    fn bytes(&self, range: Range<usize>) -> Bytes {
        let mut parts = self.buffers_under(&range);
        let Some((_, first)) = parts.next() else { return Bytes::new() };
        if first.len() == range.len() {
            return first;
        }
        let mut joined = Vec::with_capacity(range.len());
        joined.extend_from_slice(&first);
        parts.for_each(|(_, part)| joined.extend_from_slice(&part));
        joined.into()
    }

    /// The parts of buffers that are in a range, each with its start in the run.
    fn buffers_under(&self, range: &Range<usize>) -> impl Iterator<Item = (usize, Bytes)> {
        let range = range.clone();
        let ends = self.buffers.iter().scan(0, |end, buffer| {
            *end += buffer.len();
            Some((*end, buffer))
        });
        let (from, upto) = (range.start, range.end);
        let under = ends.skip_while(move |(end, _)| *end <= from);
        let under = under.take_while(move |(end, buffer)| end - buffer.len() < upto);
        under.map(move |(end, buffer)| {
            let start = end - buffer.len();
            let shared = from.max(start)..upto.min(end);
            (shared.start, buffer.slice(shared.start - start..shared.end - start))
        })
    }

    /// Says for every buffer under a part where its bytes are now.
    fn settle(&self, range: &Range<usize>, piece: &Piece, settled: &mut Vec<Settled>) {
        settled.extend(self.buffers_under(range).map(|(start, was)| Settled {
            ino: self.ino,
            offset: self.offset + start as u64,
            now: piece.part((start - range.start) as u64, was.len() as u64),
            was,
        }));
    }
}

/// Parts on their way into the store.
struct Works<'a> {
    sealer: &'a Sealer,
    purpose: Purpose,
    /// Chunks that wait to be sealed together, and their bytes.
    chunks: Vec<Part>,
    chunk_bytes: usize,
    parked: Parked,
    placed: Vec<(Part, Source)>,
}

/// A shared block that is being filled, and who has a part of it from where on.
#[derive(Default)]
struct Parked {
    buffer: Vec<u8>,
    parts: Vec<(Part, u32)>,
}

impl Works<'_> {
    fn chunk(&mut self, part: Part) -> Result<(), FsError> {
        self.chunk_bytes += part.range.len();
        self.chunks.push(part);
        if self.chunk_bytes >= SEALED_BYTES_AIM { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> Result<(), FsError> {
        let chunks = std::mem::take(&mut self.chunks);
        self.chunk_bytes = 0;
        let refs = in_parallel(&chunks, |part| self.sealer.chunk(&part.data, self.purpose))?;
        let sources = refs.into_iter().map(|chunk| Source::Stored { chunk, offset: 0, settled: true });
        self.placed.extend(chunks.into_iter().map(Part::without_data).zip(sources));
        Ok(())
    }

    fn park(&mut self, part: Part) -> Result<(), FsError> {
        let mut at = 0;
        while at < part.data.len() {
            let room = PARKED_BYTES_AIM - self.parked.buffer.len();
            let taken = at..part.data.len().min(at + room);
            let start = self.parked.buffer.len() as u32;
            self.parked.buffer.extend_from_slice(&part.data[taken.clone()]);
            let range = part.range.start + taken.start..part.range.start + taken.end;
            let of_it = Part { run: part.run, range, data: Bytes::new(), settles: part.settles };
            self.parked.parts.push((of_it, start));
            at = taken.end;
            if self.parked.buffer.len() == PARKED_BYTES_AIM {
                self.close_parked()?;
            }
        }
        Ok(())
    }

    fn close_parked(&mut self) -> Result<(), FsError> {
        if self.parked.parts.is_empty() {
            return Ok(());
        }
        let chunk = self.sealer.park(&self.parked.buffer, self.purpose)?;
        for (part, offset) in self.parked.parts.drain(..) {
            self.placed.push((part, Source::Stored { chunk: chunk.clone(), offset, settled: false }));
        }
        self.parked.buffer.clear();
        Ok(())
    }

    /// Where every part is.
    fn finish(mut self) -> Result<Vec<(Part, Source)>, FsError> {
        self.seal()?;
        self.close_parked()?;
        Ok(self.placed)
    }
}

impl Part {
    fn without_data(self) -> Part {
        Part { data: Bytes::new(), ..self }
    }
}
