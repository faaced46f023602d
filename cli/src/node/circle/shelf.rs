//! `circle`: what this node knows of its circle, sealed, in one file that is replaced whole.
//!
//! The seal's key follows from the device key: the file is of no use without it, and of no other node. `docs/FORMAT.md`
//! has the bytes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_block::circle::Choice;
use cairn_block::codec::check_bound;
use cairn_block::limits::{EPOCH_BYTES_MAX, EPOCHS_KEPT, MEMBERS_MAX};
use cairn_block::{DecodeError, DeviceId, DeviceKey, Reader, TooLong, Writer, unwrap, wrap};
use cairn_net::wire::circle::ADDRESSES_MAX;
use cairn_net::{CircleShelf, SavedCircle};
use zeroize::Zeroizing;

use crate::errors::{Failure, Kind, Outcome};
use crate::node::durable::{Existing, write_private};

const PURPOSE: &str = "circle";
const KEY_CONTEXT: &str = "cairn 2026-11 circle file key";
/// The first byte of the file.
const VERSION: u8 = 1;
/// Every kept epoch at its largest, and the addresses of every member.
const FILE_BYTES_MAX: u64 = (EPOCHS_KEPT * EPOCH_BYTES_MAX + MEMBERS_MAX * 1024) as u64;
/// The longest IPv6 socket address as text, with its scope.
const ADDRESS_BYTES_MAX: usize = 64;

/// The file of a node.
pub(crate) struct CircleFile {
    path: PathBuf,
    key: Zeroizing<[u8; 32]>,
}

impl CircleFile {
    /// The file at `path` of the node with this key.
    pub(crate) fn at(path: PathBuf, device: &DeviceKey) -> Self {
        CircleFile { path, key: Zeroizing::new(blake3::derive_key(KEY_CONTEXT, device.as_bytes())) }
    }

    /// What it holds; `None` where there is no circle.
    pub(crate) fn read(&self) -> Outcome<Option<SavedCircle>> {
        let doing = || format!("reading {}", self.path.display());
        let bytes = match read_bounded(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::from(error).while_(doing())),
            Ok(bytes) => bytes,
        };
        open(&bytes, &self.key).map(Some).map_err(|failure| failure.while_(doing()))
    }
}

impl CircleShelf for CircleFile {
    fn save(&self, circle: &SavedCircle) -> Result<(), String> {
        let plain = encode(circle).map_err(|error| error.to_string())?;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&wrap(&self.key, PURPOSE, &[VERSION], &plain));
        write_private(&self.path, &bytes, Existing::Replace)
            .map_err(|error| format!("writing {}: {error}", self.path.display()))
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    std::fs::read(path)
}

/// What the bytes of a file say.
pub(crate) fn open(bytes: &[u8], key: &[u8; 32]) -> Outcome<SavedCircle> {
    let damaged = || {
        Failure::new(Kind::Damaged, "what is known of the circle is damaged, or belongs to another key")
            .hint("your files are not in it: move it away, have this node removed from the circle, and join again")
    };
    match bytes.split_first() {
        Some((&VERSION, sealed)) => {
            let plain = unwrap(key, PURPOSE, &[VERSION], sealed).map_err(|_| damaged())?;
            decode(&plain).map_err(|_| damaged())
        }
        Some((&version, _)) if version > VERSION => Err(Failure::new(
            Kind::NewerVersion,
            format!("the file of the circle has version {version}; this release reads up to {VERSION}"),
        )),
        _ => Err(damaged()),
    }
}

pub(crate) fn encode(circle: &SavedCircle) -> Result<Vec<u8>, TooLong> {
    let mut out = Writer::with_capacity(4096);
    out.u16(u16::try_from(circle.epochs.len()).unwrap_or(u16::MAX));
    for epoch in &circle.epochs {
        out.bytes32("epoch", EPOCH_BYTES_MAX, epoch)?;
    }
    out.bool(circle.choice.is_some());
    if let Some(choice) = &circle.choice {
        out.u64(choice.number).raw(&choice.hash).bool(choice.unwanted.is_some());
        out.raw(choice.unwanted.as_ref().map_or(&[], |unwanted| &unwanted[..]));
    }
    out.u16(u16::try_from(circle.addresses.len()).unwrap_or(u16::MAX));
    for (node, addresses) in &circle.addresses {
        let addresses: Vec<String> = addresses.iter().take(ADDRESSES_MAX).map(SocketAddr::to_string).collect();
        out.raw(node.as_bytes()).u8(addresses.len() as u8);
        for address in addresses {
            out.bytes8("address", ADDRESS_BYTES_MAX, address.as_bytes())?;
        }
    }
    Ok(out.into_vec())
}

/// What a file holds, once its seal is open.
fn decode(plain: &[u8]) -> Result<SavedCircle, DecodeError> {
    let mut input = Reader::new(plain);
    let count = input.count16("epochs", EPOCHS_KEPT, 4)?;
    let epoch = |input: &mut Reader<'_>| Ok(Bytes::copy_from_slice(input.bytes32("epoch", EPOCH_BYTES_MAX)?));
    let epochs = (0..count).map(|_| epoch(&mut input)).collect::<Result<Vec<_>, DecodeError>>()?;
    let choice = match input.bool("choice")? {
        false => None,
        true => Some(Choice {
            number: input.u64("choice")?,
            hash: input.array("choice")?,
            unwanted: if input.bool("choice")? { Some(input.array("choice")?) } else { None },
        }),
    };
    let count = input.count16("nodes with addresses", MEMBERS_MAX, 32 + 1)?;
    let mut addresses: BTreeMap<DeviceId, Vec<SocketAddr>> = BTreeMap::new();
    for _ in 0..count {
        let node = DeviceId::from_bytes(input.array("node")?);
        let of_node = usize::from(input.u8("addresses")?);
        check_bound("addresses", of_node as u64, ADDRESSES_MAX as u64)?;
        let of_node = (0..of_node).map(|_| decode_address(&mut input)).collect::<Result<Vec<SocketAddr>, _>>()?;
        if addresses.last_key_value().is_some_and(|(before, _)| *before >= node) {
            return Err(DecodeError::invalid("node", "they are not ascending"));
        }
        addresses.insert(node, of_node);
    }
    input.finish("circle")?;
    Ok(SavedCircle { epochs, choice, addresses })
}

/// An address in the one way in which it is written.
fn decode_address(input: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let text = std::str::from_utf8(input.bytes8("address", ADDRESS_BYTES_MAX)?).ok();
    let address = text.and_then(|text| text.parse::<SocketAddr>().ok().filter(|address| address.to_string() == text));
    address.ok_or(DecodeError::invalid("address", "it is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle() -> SavedCircle {
        SavedCircle {
            epochs: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
            choice: Some(Choice { number: 2, hash: [7; 32], unwanted: Some([8; 32]) }),
            addresses: BTreeMap::from([(
                DeviceId::from_bytes([5; 32]),
                vec!["192.0.2.1:4870".parse().unwrap(), "[2001:db8::1]:1".parse().unwrap()],
            )]),
        }
    }

    #[test]
    fn what_is_saved_is_read_back_by_this_node_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("circle");
        let device = DeviceKey::from_bytes(&[1; 32]);
        let file = CircleFile::at(path.clone(), &device);
        assert!(file.read().expect("readable").is_none(), "no file is no circle");
        file.save(&circle()).expect("saved");
        let read = file.read().expect("readable").expect("there");
        assert_eq!((read.epochs, read.choice, read.addresses), (circle().epochs, circle().choice, circle().addresses));
        let other = CircleFile::at(path.clone(), &DeviceKey::from_bytes(&[2; 32]));
        assert_eq!(other.read().expect_err("another key").kind, Kind::Damaged);
        let bytes = std::fs::read(&path).expect("readable");
        assert!(!bytes.windows(9).any(|window| window == b"192.0.2.1"), "sealed");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).expect("written");
            assert!(file.read().is_err(), "byte {at}");
        }
    }

    #[test]
    fn no_cut_is_taken_for_whole() {
        let plain = encode(&circle()).expect("short enough");
        assert!(decode(&plain).is_ok());
        for length in 0..plain.len() {
            assert!(decode(&plain[..length]).is_err(), "{length} bytes");
        }
    }
}
