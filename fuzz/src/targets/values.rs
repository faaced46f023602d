//! Records, entries, roots, attributes and ids. What a decoder accepts, the encoder writes, byte for byte.

use bytes::Bytes;
use cairn_block::{BlockId, DeviceId, DirKey, Entry, Ino, Record, Ref, VolumeId, VolumeRoot, Xattrs};

/// The root of a volume.
pub(crate) fn volume_root(data: &[u8]) {
    if let Ok(root) = VolumeRoot::decode(&Bytes::copy_from_slice(data)) {
        assert_eq!(root.encode().expect("it was accepted"), data);
        assert_eq!(root.root.attr.ino, Ino::ROOT);
    }
}

/// An entry of a directory, its record, and its key.
pub(crate) fn entry(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(entry) = Entry::decode(&bytes) {
        assert_eq!(entry.encode().expect("it was accepted"), data);
        assert_eq!(Entry::peek(&bytes).expect("it was accepted"), (entry.ino(), entry.kind()));
    } else {
        let _ = Entry::peek(&bytes);
    }
    if let Ok(record) = Record::decode(&bytes) {
        assert_eq!(record.encode().expect("it was accepted"), data);
    }
    if let Ok(key) = DirKey::from_encoded(bytes) {
        let name = key.name();
        assert!((1..=255).contains(&name.len()) && !name.contains(&b'/') && !name.contains(&0));
        assert!(name != b"." && name != b".." && key.hash56() < 1 << 56);
    }
}

/// A list of extended attributes.
pub(crate) fn xattrs(data: &[u8]) {
    if let Ok(list) = Xattrs::decode_list(&Bytes::copy_from_slice(data)) {
        assert_eq!(Xattrs::encode_list(&list).expect("it was accepted"), data);
        assert!(list.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

/// Ids as text, and refs. One text is one id.
pub(crate) fn ids(data: &[u8]) {
    if let Ok(reference) = Ref::from_bytes(data) {
        assert_eq!(reference.to_bytes()[..], *data);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let printed = [
        text.parse::<BlockId>().map(|id| id.to_string()).ok(),
        text.parse::<VolumeId>().map(|id| id.to_string()).ok(),
        text.parse::<DeviceId>().map(|id| id.to_string()).ok(),
    ];
    printed.iter().flatten().for_each(|printed| assert_eq!(printed, text));
}
