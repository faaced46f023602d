//! Where files are cut into chunks.
//!
//! Streams are cut by content, so that bytes inserted near the start leave the later cuts where they were. Files that
//! are overwritten in place are cut on a grid, so that a small write touches one chunk of known bounds.

use std::ops::Range;

use fastcdc::v2020::{FastCDC, Normalization};

use crate::limits::{CDC_BYTES_AVG, CDC_BYTES_MAX, CDC_BYTES_MIN, FIXED_CHUNK_BYTES};

/// Keeps lengths close to the average: against level 1 an edit makes half as many new bytes, at the same speed.
const NORMALIZATION: Normalization = Normalization::Level3;

/// The content-defined chunks of a complete buffer, in order and without gaps.
pub fn cut(data: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let cuts = FastCDC::with_level(data, CDC_BYTES_MIN, CDC_BYTES_AVG, CDC_BYTES_MAX, NORMALIZATION);
    cuts.map(|chunk| chunk.offset..chunk.offset + chunk.length)
}

/// The chunks at the start of `data` that no later bytes can change: without `last`, a chunk that merely ends where the
/// data does is kept back. Calling again with what is left and what follows gives the cuts of the whole.
///
/// What is kept back is looked at again, so hand over more than [`CDC_BYTES_MAX`] at a time.
pub fn cut_stream(data: &[u8], last: bool) -> Vec<Range<usize>> {
    let mut chunks: Vec<_> = cut(data).collect();
    if !last && chunks.last().is_some_and(|chunk| chunk.len() < CDC_BYTES_MAX && chunk.end == data.len()) {
        chunks.pop();
    }
    chunks
}

/// The pieces of `len` bytes at `offset` that the grid of fixed chunks cuts, as offsets in the file. The first and the
/// last may be parts of a chunk.
pub fn cut_fixed(offset: u64, len: u64) -> impl Iterator<Item = Range<u64>> {
    const GRID: u64 = FIXED_CHUNK_BYTES as u64;
    let end = offset.saturating_add(len);
    let mut start = offset;
    std::iter::from_fn(move || {
        let stop = (start / GRID * GRID).saturating_add(GRID).min(end);
        let piece = start..stop;
        start = stop;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Random bytes with long runs of zeros between, so that cuts of every kind occur.
    fn mixed(len: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
        for run in bytes.chunks_mut(700_000).skip(1).step_by(2) {
            let half = run.len() / 2;
            run[..half].fill(0);
        }
        bytes
    }

    #[test]
    fn cuts_cover_the_data_within_their_bounds() {
        let data = mixed(8 << 20, 1);
        let mut end = 0;
        for chunk in cut(&data) {
            assert_eq!(chunk.start, end);
            assert!(chunk.len() <= CDC_BYTES_MAX);
            assert!(chunk.len() >= CDC_BYTES_MIN || chunk.end == data.len());
            end = chunk.end;
        }
        assert_eq!(end, data.len());
        assert_eq!(cut(b"").count(), 0);
        assert_eq!(cut(b"x").collect::<Vec<_>>(), vec![0..1]);
    }

    #[test]
    fn zeros_are_cut_at_the_longest_length() {
        let zeros = vec![0; 2 * CDC_BYTES_MAX];
        let lens: Vec<_> = cut_stream(&zeros, false).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(lens, [CDC_BYTES_MAX, CDC_BYTES_MAX]);
    }

    #[test]
    fn an_insert_moves_few_cuts() {
        let data = mixed(16 << 20, 2);
        let mut edited = data.clone();
        edited.splice(1000..1000, *b"inserted");
        let before: std::collections::HashSet<_> = cut(&data).map(|chunk| blake3::hash(&data[chunk])).collect();
        let new = cut(&edited).filter(|chunk| !before.contains(&blake3::hash(&edited[chunk.clone()])));
        assert!(new.count() <= 2);
    }

    #[test]
    fn the_grid_cuts_at_its_lines_only() {
        let grid = FIXED_CHUNK_BYTES as u64;
        let pieces: Vec<_> = cut_fixed(grid - 1, grid + 2).collect();
        assert_eq!(pieces, [grid - 1..grid, grid..2 * grid, 2 * grid..2 * grid + 1]);
        assert_eq!(cut_fixed(5, 0).count(), 0);
        let mut end = cut_fixed(u64::MAX - 1, 9);
        assert_eq!((end.next(), end.next()), (Some(u64::MAX - 1..u64::MAX), None));
    }

    /// Feeds `data` in `pieces` and returns the lengths of all chunks.
    fn cut_in_pieces(data: &[u8], pieces: &[usize]) -> Vec<usize> {
        let (mut lens, mut held, mut fed) = (Vec::new(), 0, 0);
        let mut pieces = pieces.iter().cycle();
        while fed < data.len() {
            fed = data.len().min(fed + pieces.next().expect("cycle"));
            for chunk in cut_stream(&data[held..fed], false) {
                lens.push(chunk.len());
            }
            held = lens.iter().sum();
        }
        lens.extend(cut_stream(&data[held..], true).iter().map(|chunk| chunk.len()));
        lens
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_stream_in_pieces_is_cut_like_the_whole(
            len in 0_usize..4 << 20,
            seed in any::<u8>(),
            pieces in prop::collection::vec(100_000_usize..3_000_000, 1..6),
        ) {
            let data = mixed(len, seed);
            let whole: Vec<_> = cut(&data).map(|chunk| chunk.len()).collect();
            prop_assert_eq!(cut_in_pieces(&data, &pieces), whole);
        }
    }
}
