//! Writing the journal: file data of a cut into blocks, the rest into deltas.
//!
//! Long runs are chunked by content and go straight into the blocks that the next tree will refer to:
//! a stream is written once. Short ones are parked together in shared blocks, to be chunked with
//! their neighbours by the flush. The end of a file that is still open may grow: it is parked *and*
//! kept in memory, so that its last chunk is not cut where a journal record happened to end. What is
//! parked once is not parked again, however small the steps in which the file grows.

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
    len: u64,
    /// From here on the bytes stay in memory.
    kept_from: usize,
}

/// A part of a run that becomes, or shares, a block.
struct Part {
    run: usize,
    /// In the run.
    range: Range<usize>,
}

/// Stores the data of a cut and rewrites its pieces to say where it is.
pub(crate) fn store_data(sealer: &Sealer, cut: &mut Cut, purpose: Purpose) -> Result<Stored, FsError> {
    let mut stored = Stored::default();
    let mut runs = Vec::new();
    let mut chunks = Vec::new();
    let mut parked = Vec::new();
    for (index, file) in cut.files.iter_mut().enumerate() {
        let pieces = std::mem::take(&mut file.pieces);
        for run in take_runs(file.ino, index, pieces, &mut file.pieces) {
            let whole = run.offset == 0 && run.len == file.size;
            if whole && run.len <= INLINE_BYTES_MAX as u64 && !file.orphan {
                file.pieces.push((0, Piece { len: run.len, source: Source::Memory(run.buffers.concat().into()) }));
                continue;
            }
            let grows = run.offset + run.len == file.size && !file.closed;
            let number = runs.len();
            let data: Bytes = if run.buffers.len() == 1 { run.buffers[0].clone() } else { run.buffers.concat().into() };
            let (cuts, rest) = cut_run(&run, &data, file.fixed, whole, grows);
            let carried = (grows && !file.fixed && !file.orphan).then(|| rest.first().map(|r| r.start)).flatten();
            if let Some(start) = carried {
                stored.carried.push((run.ino, run.offset + start as u64..run.offset + run.len));
            }
            let journaled = file.journaled.saturating_sub(run.offset) as usize;
            let missing = rest.into_iter().map(|range| range.start.max(journaled)..range.end);
            chunks.extend(cuts.into_iter().map(|range| Part { run: number, range }));
            parked.extend(missing.filter(|range| !range.is_empty()).map(|range| Part { run: number, range }));
            runs.push((Run { kept_from: carried.unwrap_or(data.len()), ..run }, data));
        }
    }
    let mut placed: Vec<(Part, Source)> = Vec::with_capacity(chunks.len() + parked.len());
    let refs = in_parallel(&chunks, |part| sealer.chunk(&runs[part.run].1[part.range.clone()], purpose))?;
    for (part, chunk) in chunks.into_iter().zip(refs) {
        placed.push((part, Source::Stored { chunk, offset: 0, settled: true }));
    }
    park(sealer, purpose, &runs, parked, &mut placed)?;
    for (part, source) in placed {
        let (run, _) = &runs[part.run];
        let offset = run.offset + part.range.start as u64;
        let piece = Piece { len: part.range.len() as u64, source };
        if part.range.start < run.kept_from {
            settle(run, &part.range, &piece, &mut stored.settled);
        }
        cut.files[run.file].pieces.push((offset, piece));
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
        match runs.last_mut().filter(|run| run.offset + run.len == offset) {
            Some(run) => {
                run.len += bytes.len() as u64;
                run.buffers.push(bytes);
            }
            None => {
                let len = bytes.len() as u64;
                runs.push(Run { ino, file, offset, len, buffers: vec![bytes], kept_from: 0 });
            }
        }
    }
    runs
}

/// Cuts a run into chunks that are final and parts that are to be parked.
fn cut_run(run: &Run, data: &[u8], fixed: bool, whole: bool, grows: bool) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    if fixed {
        let full = |range: &Range<usize>| range.len() == FIXED_CHUNK_BYTES;
        let cells = cut_fixed(run.offset, run.len);
        let cells = cells.map(|cell| (cell.start - run.offset) as usize..(cell.end - run.offset) as usize);
        return cells.partition(full);
    }
    if data.len() < CDC_BYTES_MIN && !whole {
        return (Vec::new(), std::iter::once(0..data.len()).collect());
    }
    let chunks = cut_stream(data, !grows);
    let end = chunks.last().map_or(0, |chunk| chunk.end);
    let rest = (end < data.len()).then_some(end..data.len()).into_iter().collect();
    (chunks, rest)
}

/// Packs parts into shared blocks.
fn park(
    sealer: &Sealer,
    purpose: Purpose,
    runs: &[(Run, Bytes)],
    parts: Vec<Part>,
    placed: &mut Vec<(Part, Source)>,
) -> Result<(), FsError> {
    let mut buffer = Vec::new();
    let mut waiting: Vec<(Part, u32)> = Vec::new();
    let mut close = |buffer: &mut Vec<u8>, waiting: &mut Vec<(Part, u32)>| -> Result<(), FsError> {
        if waiting.is_empty() {
            return Ok(());
        }
        let chunk = sealer.park(buffer, purpose)?;
        for (part, offset) in waiting.drain(..) {
            placed.push((part, Source::Stored { chunk: chunk.clone(), offset, settled: false }));
        }
        buffer.clear();
        Ok(())
    };
    for part in parts {
        let mut range = part.range;
        while !range.is_empty() {
            let room = PARKED_BYTES_AIM - buffer.len();
            let taken = range.start..range.end.min(range.start + room);
            range.start = taken.end;
            let offset = buffer.len() as u32;
            buffer.extend_from_slice(&runs[part.run].1[taken.clone()]);
            waiting.push((Part { run: part.run, range: taken }, offset));
            if buffer.len() == PARKED_BYTES_AIM {
                close(&mut buffer, &mut waiting)?;
            }
        }
    }
    close(&mut buffer, &mut waiting)
}

/// Says for every buffer under a part where its bytes are now.
fn settle(run: &Run, range: &Range<usize>, piece: &Piece, settled: &mut Vec<Settled>) {
    let mut at = 0;
    for buffer in &run.buffers {
        let end = at + buffer.len();
        let shared = range.start.max(at)..range.end.min(end);
        if shared.start < shared.end {
            settled.push(Settled {
                ino: run.ino,
                offset: run.offset + shared.start as u64,
                was: buffer.slice(shared.start - at..shared.end - at),
                now: piece.part((shared.start - range.start) as u64, shared.len() as u64),
            });
        }
        at = end;
    }
}
