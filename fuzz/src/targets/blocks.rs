//! Sealed blocks: as they come from outside, and with a tag that holds around anything.

use cairn_block::{
    Block, BlockKey, ConvergenceKey, DedupKey, Kind, MasterKey, Ref, UnverifiedBlock, VolumeKeys, open, open_hint,
    seal_hint, unwrap, wrap,
};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

use crate::input::Input;

const KEY: [u8; 32] = [5; 32];

/// The volume of all targets.
pub(crate) fn keys() -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([0x11; 32]), b"fuzz")
}

fn kind(number: u8) -> Kind {
    Kind::from_u8(number % 5 + 1).expect("kinds are 1 to 5")
}

/// Encrypts what may be no chunk at all, as `FORMAT.md` says and without the product's help.
pub(crate) fn sealed(plain: &[u8]) -> Block {
    let mut bytes = plain.to_vec();
    let cipher = ChaCha20Poly1305::new(&KEY.into());
    let tag = cipher.encrypt_inout_detached(&Nonce::default(), b"", bytes.as_mut_slice().into()).expect("short");
    bytes.extend_from_slice(&tag);
    Block::seal_bytes(bytes)
}

/// Sealed bytes of a stranger: only the bytes of an id become its block, and no key opens them.
pub(crate) fn block(data: &[u8]) {
    let Ok(unverified) = UnverifiedBlock::new(data.to_vec()) else { return };
    let other = sealed(b"another block").id();
    assert!(unverified.clone().verify(&other).is_err());
    let id = Block::seal_bytes(data.to_vec()).id();
    let block = unverified.verify(&id).expect("its own bytes");
    let reference = Ref { id, key: BlockKey::from_bytes(KEY), len: data.len().saturating_sub(24) as u32 };
    assert!(open(&reference, &block, Kind::Data).is_err(), "a tag was guessed");
}

/// A chunk behind a tag that holds. What opens has exactly the length of its ref.
pub(crate) fn chunk(data: &[u8]) {
    let mut input = Input(data);
    let (wanted, says) = (kind(input.u8()), input.u8());
    let plain = input.0;
    let len = match says % 4 {
        0 => plain.len().saturating_sub(8) as u32,
        1 => input.u32(),
        // What the header itself says.
        _ => Input(plain.get(4..8).unwrap_or_default()).u32(),
    };
    let block = sealed(plain);
    let reference = Ref { id: block.id(), key: BlockKey::from_bytes(KEY), len };
    if let Ok(opened) = open(&reference, &block, wanted) {
        assert_eq!(opened.len(), len as usize);
        assert_eq!(plain[1], wanted as u8);
        // What was opened can be sealed.
        let key = ConvergenceKey::from_bytes([1; 32]);
        let again = cairn_block::seal(&key, wanted, &opened, cairn_block::Compression::Probe).expect("a chunk");
        assert_eq!(open(&again.reference, &again.block, wanted).expect("its own ref"), opened);
    }
}

/// Wrapped secrets and dedup hints, from a stranger and from whoever has the key.
pub(crate) fn wrapped(data: &[u8]) {
    let dedup = DedupKey::from_bytes(KEY);
    assert!(unwrap(&KEY, "fuzz", b"", data).is_err(), "a commitment was guessed");
    assert!(open_hint(&dedup, &[1; 32], data).is_err());
    assert_eq!(*unwrap(&KEY, "fuzz", b"a", &wrap(&KEY, "fuzz", b"a", data)).expect("its own key"), data);
    let hint = wrap(&KEY, "dedup hint", &[1; 32], data);
    if let Ok(reference) = open_hint(&dedup, &[1; 32], &hint) {
        assert_eq!(reference.to_bytes()[..], *data);
        assert!(open_hint(&dedup, &[2; 32], &seal_hint(&dedup, &[1; 32], &reference)).is_err());
    }
}
