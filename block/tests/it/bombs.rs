//! Chunks whose seal holds and whose payload is a bomb: a frame of far more bytes than the ref says.

use std::io::Write;

use cairn_block::{Block, BlockKey, Kind, OpenError, Ref, open};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

const BOMB_BYTES: u64 = 256 << 20;
/// Far below one bomb, far above what opening twenty blocks needs.
const ROOM_KIB: u64 = 64 << 10;

/// Seals any plaintext, as docs/FORMAT.md says: our own sealing would refuse it.
fn sealed(plain: &[u8], len: u32) -> (Ref, Block) {
    let key = [3; 32];
    let mut bytes = plain.to_vec();
    let tag =
        ChaCha20Poly1305::new(&key.into()).encrypt_inout_detached(&Nonce::default(), b"", bytes.as_mut_slice().into());
    bytes.extend_from_slice(&tag.expect("short enough"));
    let block = Block::seal_bytes(bytes);
    (Ref { id: block.id(), key: BlockKey::from_bytes(key), len }, block)
}

/// A frame of zeros; `says` is what it claims to hold.
fn frame(bytes: u64, says: Option<u64>) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.set_pledged_src_size(says).expect("a claim");
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let len = left.min(zeros.len() as u64);
        encoder.write_all(&zeros[..len as usize]).expect("in memory");
        left -= len;
    }
    encoder.finish().expect("a frame")
}

fn chunk(header_len: u32, payload: &[u8]) -> Vec<u8> {
    [&[1, Kind::Data as u8, 1, 0][..], &header_len.to_le_bytes(), payload].concat()
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

#[test]
fn a_frame_that_holds_more_than_its_ref_says_is_refused_in_no_more_room() {
    let bombs = [frame(BOMB_BYTES, None), frame(BOMB_BYTES, Some(BOMB_BYTES))];
    assert!(bombs.iter().all(|bomb| bomb.len() < 1 << 20), "a bomb is small");
    let before = peak_kib();
    for bomb in &bombs {
        for len in [0, 1, 100, 1 << 19, 1_048_552] {
            let (reference, block) = sealed(&chunk(len, bomb), len);
            assert!(matches!(open(&reference, &block, Kind::Data), Err(OpenError::Payload { .. })), "{len}");
        }
    }
    let grown = peak_kib() - before;
    assert!(grown < ROOM_KIB, "{grown} KiB for chunks of 1 MiB");
}

#[test]
fn a_frame_that_holds_less_or_claims_what_it_does_not_hold_is_refused() {
    let sound = frame(5000, Some(5000));
    let (reference, block) = sealed(&chunk(5000, &sound), 5000);
    assert_eq!(open(&reference, &block, Kind::Data).expect("sound"), vec![0; 5000]);
    let more = [&sound[..], b"more"].concat();
    for (len, payload) in
        [(5001, sound.clone()), (4999, sound.clone()), (5000, more), (5000, sound[..sound.len() - 1].to_vec())]
    {
        let (reference, block) = sealed(&chunk(len, &payload), len);
        assert!(matches!(open(&reference, &block, Kind::Data), Err(OpenError::Payload { .. })), "{len}");
    }
    // A ref that says more than its chunk, and a chunk that says more than any.
    let (reference, block) = sealed(&chunk(5000, &sound), 6000);
    assert!(matches!(open(&reference, &block, Kind::Data), Err(OpenError::RawLength { .. })));
    let (reference, block) = sealed(&chunk(u32::MAX, &sound), u32::MAX);
    assert!(matches!(open(&reference, &block, Kind::Data), Err(OpenError::Header { .. })));
}

/// One frame, says the format: what a second one brings is not passed over.
#[test]
fn two_frames_are_not_one() {
    for second in [frame(2000, None), b"\x50\x2a\x4d\x18\x04\0\0\0skip".to_vec()] {
        let both = [&frame(3000, None)[..], &second].concat();
        for len in [3000, 5000] {
            let (reference, block) = sealed(&chunk(len, &both), len);
            assert!(matches!(open(&reference, &block, Kind::Data), Err(OpenError::Payload { .. })), "{len}");
        }
    }
}
