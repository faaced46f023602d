//! Compression where it pays.
//!
//! zstd level 1 costs two thirds of sealing, so a look at a few samples decides whether it is tried at all: media and
//! archives, most of what people store by volume, then pass at the speed of the cipher.
//!
//! Contexts live per thread: making one costs more than compressing a small chunk.

use std::cell::RefCell;
use std::io::Cursor;

use zstd::bulk::{Compressor, Decompressor};

/// Fast and close to the ratio of the default level.
const LEVEL: i32 = 1;
/// Finds repeats at several times the speed of [`LEVEL`].
const PROBE_LEVEL: i32 = -5;
/// Below this no frame is smaller than what it holds.
const RAW_BYTES_MIN: usize = 64;
/// Below this compressing costs little more than looking.
const PROBED_BYTES_MIN: usize = 32 << 10;
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 4 << 10;
/// How much of each sample the histogram counts: with fewer than 4 KiB in all, random bytes would look uneven.
const COUNTED_BYTES: usize = 1 << 10;
/// Bits per byte above which a histogram counts as flat. Random bytes show 7.95 in 4 KiB.
const FLAT_BITS: f32 = 7.8;
/// One part in so many must be saved: less isn't worth the time of every later read.
const SAVED_PART: usize = 16;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = RefCell::new(Compressor::new(LEVEL).ok());
    static PROBE: RefCell<Option<Probe>> = RefCell::new(Probe::new());
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
}

/// Appends `raw` to `out` as a zstd frame. Says no and leaves `out` alone where that wouldn't pay or fit its capacity.
pub(crate) fn compress(raw: &[u8], out: &mut Vec<u8>) -> bool {
    raw.len() >= RAW_BYTES_MIN && looks_compressible(raw) && append_frame(raw, out)
}

/// The one frame in `frame`, which must hold exactly `raw_len` bytes. No more than that is ever allocated.
pub(crate) fn decompress(frame: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    // The decoder would go on with a frame that follows; a chunk has one encoding, so there is none.
    if zstd::zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return None;
    }
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let mut raw = Vec::with_capacity(raw_len);
        let len = decompressor.as_mut()?.decompress_to_buffer(frame, &mut raw).ok()?;
        (len == raw_len).then_some(raw)
    })
}

fn append_frame(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut target = Cursor::new(&mut *out);
    target.set_position(start as u64);
    // An error is a frame longer than the room left, or no memory for a context: the raw bytes are always right.
    let frame_len =
        COMPRESSOR.with_borrow_mut(|compressor| compressor.as_mut()?.compress_to_buffer(raw, &mut target).ok());
    let pays = frame_len.is_some_and(|len| len <= raw.len() - raw.len() / SAVED_PART);
    if !pays {
        out.truncate(start);
    }
    pays
}

/// Whether compressing is worth a try: an uneven histogram or repeats in the samples.
fn looks_compressible(raw: &[u8]) -> bool {
    raw.len() < PROBED_BYTES_MIN
        || bits_per_byte(raw) < FLAT_BITS
        || PROBE.with_borrow_mut(|probe| probe.as_mut().is_some_and(|probe| probe.repeats(raw)))
}

/// Evenly spread over `raw`, the first at its start and the last at its end.
fn samples(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let step = (raw.len() - SAMPLE_BYTES) / (SAMPLES - 1);
    (0..SAMPLES).map(move |n| &raw[n * step..][..SAMPLE_BYTES])
}

/// The order-0 entropy of the samples.
fn bits_per_byte(raw: &[u8]) -> f32 {
    let mut counts = [0_u32; 256];
    for sample in samples(raw) {
        for byte in &sample[..COUNTED_BYTES] {
            counts[usize::from(*byte)] += 1;
        }
    }
    let total = (SAMPLES * COUNTED_BYTES) as f32;
    let seen = counts.iter().filter(|count| **count > 0).map(|count| *count as f32);
    seen.map(|count| count / total * (total / count).log2()).sum()
}

/// Looks for repeats; the level it uses doesn't code literals, so an uneven histogram alone isn't seen.
struct Probe {
    compressor: Compressor<'static>,
    sampled: Vec<u8>,
    frame: Vec<u8>,
}

impl Probe {
    fn new() -> Option<Self> {
        let sampled_bytes = SAMPLES * SAMPLE_BYTES;
        Some(Probe {
            compressor: Compressor::new(PROBE_LEVEL).ok()?,
            sampled: Vec::with_capacity(sampled_bytes),
            frame: Vec::with_capacity(zstd::zstd_safe::compress_bound(sampled_bytes)),
        })
    }

    fn repeats(&mut self, raw: &[u8]) -> bool {
        self.sampled.clear();
        for sample in samples(raw) {
            self.sampled.extend_from_slice(sample);
        }
        let frame_len = self.compressor.compress_to_buffer(&self.sampled, &mut self.frame);
        frame_len.is_ok_and(|len| len <= self.sampled.len() - self.sampled.len() / SAVED_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn room(raw: &[u8]) -> Vec<u8> {
        Vec::with_capacity(raw.len() + 24)
    }

    #[test]
    fn random_bytes_are_not_tried_and_left_alone() {
        let raw = random(256 << 10);
        assert!(!looks_compressible(&raw));
        let mut out = room(&raw);
        out.extend_from_slice(b"header");
        assert!(!compress(&raw, &mut out));
        assert!(!append_frame(&raw, &mut out));
        assert_eq!(out, b"header");
    }

    #[test]
    fn text_repeats_and_uneven_bytes_are_tried() {
        let text = "every name true, each comment still right ".repeat(4000);
        assert!(looks_compressible(text.as_bytes()));
        let repeats = random(1000).repeat(300);
        assert!(looks_compressible(&repeats));
        let letters: Vec<u8> = random(256 << 10).iter().map(|byte| b'0' + byte % 64).collect();
        assert!(looks_compressible(&letters));
    }

    #[test]
    fn what_is_compressed_comes_back_and_only_at_its_own_length() {
        let raw = b"every name true, each comment still right ".repeat(100);
        let mut out = room(&raw);
        assert!(compress(&raw, &mut out));
        assert!(out.len() < raw.len() / 10);
        assert_eq!(decompress(&out, raw.len()), Some(raw.clone()));
        assert_eq!(decompress(&out, raw.len() - 1), None);
        assert_eq!(decompress(&out, raw.len() + 1), None);
        assert_eq!(decompress(&out[..out.len() - 1], raw.len()), None);
        assert_eq!(decompress(b"no frame", 8), None);
    }

    #[test]
    fn the_samples_span_the_shortest_and_the_longest_chunk() {
        for len in [PROBED_BYTES_MIN, PROBED_BYTES_MIN + 1, crate::limits::CHUNK_BYTES_MAX] {
            let raw = random(len);
            let all: Vec<_> = samples(&raw).collect();
            assert_eq!(all.len(), SAMPLES);
            assert_eq!(all[0], &raw[..SAMPLE_BYTES]);
        }
    }
}
