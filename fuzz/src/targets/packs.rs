//! Packs, descriptors and proofs: of strangers, and of one who has the keep key and seals anything.

use cairn_block::limits::{CELL_BYTES, GROUP_BYTES};
use cairn_block::{SizeClass, Descriptor, Proof, ShardId, Tail, shard, wrap};

use super::blocks::keys;
use crate::input::Input;

/// What wrapping adds, and a footer; see `FORMAT.md`.
const WRAP_BYTES: u32 = 72;
const FOOTER_BYTES: u32 = 77;

/// The end of a body. What opens is a directory that could have been written.
pub(crate) fn pack(data: &[u8]) {
    let keys = keys();
    let mut input = Input(data);
    let class = SizeClass::from_u8(input.u8() % 4).expect("0 to 3");
    let (says, elsewhere) = (input.u8(), input.u32());
    let plain = input.0;
    if data.len() >= FOOTER_BYTES as usize {
        assert!(Tail::open(class, keys.keep(), data).is_err(), "a commitment was guessed");
    }
    let at = match says & 1 {
        0 => class.bytes() - WRAP_BYTES - plain.len() as u32 - FOOTER_BYTES,
        _ => elsewhere,
    };
    let version = if says & 2 == 0 { 1 } else { says };
    let key = blake3::derive_key("cairn 2026-11 pack key", keys.keep().as_bytes());
    let place = at.to_le_bytes();
    let mut end = wrap(&key, "pack directory", &[&[1, class as u8][..], &place].concat(), plain);
    end.extend(wrap(&key, "pack footer", &[class as u8], &[&[version][..], &place].concat()));
    match Tail::open(class, keys.keep(), &end) {
        Ok(Tail::Directory(directory)) => {
            let mut again = Vec::new();
            let mut free = 0;
            for block in directory.blocks() {
                assert!(block.offset >= free && block.len >= 24 && block.offset + block.len <= at);
                let slot = class.slot_bytes();
                assert_eq!(block.offset / slot, (block.offset + block.len - 1) / slot);
                assert_eq!(directory.find(&block.id), Some(block.range()));
                free = block.offset + block.len;
                again.extend_from_slice(block.id.as_bytes());
                again.extend_from_slice(&block.offset.to_le_bytes());
                again.extend_from_slice(&block.len.to_le_bytes());
            }
            assert_eq!(again, plain);
        }
        Ok(Tail::NeedMore { from }) => {
            assert!(from % CELL_BYTES == 0 && from <= at && at < class.bytes() - end.len() as u32);
        }
        Err(_) => {}
    }
}

/// A descriptor. What is accepted is what the encoder writes, and without shards it gives nothing.
pub(crate) fn descriptor(data: &[u8]) {
    let Ok(descriptor) = Descriptor::decode(data) else { return };
    assert_eq!(descriptor.encode(), data);
    let shards = descriptor.code().shards();
    assert!((0..shards).all(|n| descriptor.shard_id(n).is_some()) && descriptor.shard_id(shards).is_none());
    assert_eq!(descriptor.code().to_string().parse(), Ok(descriptor.code()));
    assert!(shard::reconstruct(&descriptor, &vec![None; shards.into()]).is_err());
}

/// A proof of a small shard, with one change; and a stranger's.
pub(crate) fn proof(data: &[u8]) {
    let mut input = Input(data);
    let (groups, group, at, change) = (1 + input.u8() as usize % 8, input.u8() as u32, input.u16(), input.u8());
    let stranger = [input.0, &[0; GROUP_BYTES]].concat();
    let mut shard = vec![change; groups * GROUP_BYTES];
    shard[..input.0.len().min(GROUP_BYTES)].copy_from_slice(&input.0[..input.0.len().min(GROUP_BYTES)]);
    let id = ShardId::of(&shard);
    if let Ok(proof) = Proof::decode(&stranger) {
        assert_eq!(proof.encode(), stranger);
        if let Ok(bytes) = proof.verify(&id, shard.len(), group) {
            assert_eq!(bytes[..], shard[group as usize * GROUP_BYTES..][..GROUP_BYTES]);
        }
    }
    let Ok(proof) = Proof::make(&shard, group) else {
        assert!(group as usize >= groups);
        return;
    };
    proof.verify(&id, shard.len(), group).expect("its own shard");
    let mut bytes = proof.encode();
    let at = usize::from(at) % bytes.len();
    bytes[at] ^= change;
    let holds = Proof::decode(&bytes).is_ok_and(|proof| proof.verify(&id, shard.len(), group).is_ok());
    assert_eq!(holds, change == 0);
}
