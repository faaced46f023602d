//! What a head points to.

use bytes::Bytes;

use super::{EntryError, FileType, MapRoot, Record};
use crate::codec::{Reader, Writer};
use crate::id::Ino;
use crate::limits::INO_LIMIT;

const VERSION: u8 = 1;

/// The root of a volume's tree: what a head points to, sealed as kind `Root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRoot {
    /// The root directory, inode 1.
    pub root: Record,
    /// The inodes with several names: from the number, 8 bytes big-endian, to the encoded [`Record`].
    pub links: MapRoot,
    /// The smallest inode number that was never given out.
    pub next_ino: u64,
}

impl VolumeRoot {
    /// The key of an inode in the link table.
    pub fn link_key(ino: Ino) -> [u8; 8] {
        ino.get().to_be_bytes()
    }

    /// The bytes of this root, or why no reader would accept them.
    pub fn encode(&self) -> Result<Bytes, EntryError> {
        self.check()?;
        let mut out = Writer::new();
        out.u8(VERSION).u64(self.next_ino);
        self.links.encode(&mut out);
        self.root.encode_into(&mut out)?;
        Ok(out.into_bytes())
    }

    /// Reads a root that is all of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<VolumeRoot, EntryError> {
        let mut input = Reader::new(bytes);
        input.version("volume root", VERSION)?;
        let next_ino = input.u64("next inode number")?;
        let links = MapRoot::decode(&mut input)?;
        let root = Record::decode(&bytes.slice_ref(input.rest()))?;
        let volume_root = VolumeRoot { root, links, next_ino };
        volume_root.check()?;
        Ok(volume_root)
    }

    fn check(&self) -> Result<(), EntryError> {
        let attr = &self.root.attr;
        if attr.ino != Ino::ROOT || attr.kind != FileType::Directory {
            return Err(EntryError::RootDirectory { ino: attr.ino, kind: attr.kind });
        }
        if !(Ino::ROOT.get() + 1..=INO_LIMIT).contains(&self.next_ino) {
            return Err(EntryError::Ino { ino: Ino::new(self.next_ino) });
        }
        self.links.check()
    }
}
