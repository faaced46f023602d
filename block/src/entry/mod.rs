//! Directory entries and the inodes behind them: what the values of a volume's trees hold.
//!
//! A directory is a map tree from [`DirKey`] to [`Entry`]. An entry owns its inode's [`Record`], or points to it by
//! number when the inode has several names; the records of those are in the volume's link table. The [`VolumeRoot`]
//! holds the root directory and that table.
//!
//! Encoding is canonical: equal values have equal bytes, and bytes that no encoder of ours writes are refused. What
//! an encoder accepts, the decoder accepts; both ask the same `check`.

mod attr;
mod content;
mod dir_key;
mod error;
mod record;
mod volume_root;
mod xattrs;

use bytes::Bytes;

pub use attr::{Attr, FileType};
pub use content::{Content, DirRoot, FileRoot, MapRoot};
pub use dir_key::{DirKey, check_name};
pub use error::EntryError;
pub use record::Record;
pub use volume_root::VolumeRoot;
pub use xattrs::Xattrs;

pub use crate::time::Timestamp;

use crate::codec::{Reader, Writer};
use crate::id::Ino;
use attr::check_ino;

const TAG_OWN: u8 = 0;
const TAG_LINK: u8 = 1;

/// The value of a name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly every entry is the large variant")]
pub enum Entry {
    /// The only name of its inode: the record is right here.
    Own(Record),
    /// One of several names: the record is in the volume's link table.
    Link {
        /// The inode.
        ino: Ino,
        /// Its kind, so that listing a directory doesn't open the link table. Never a directory.
        kind: FileType,
    },
}

impl Entry {
    /// The inode's number.
    pub fn ino(&self) -> Ino {
        match self {
            Entry::Own(record) => record.attr.ino,
            Entry::Link { ino, .. } => *ino,
        }
    }

    /// The inode's kind.
    pub fn kind(&self) -> FileType {
        match self {
            Entry::Own(record) => record.attr.kind,
            Entry::Link { kind, .. } => *kind,
        }
    }

    /// The bytes of this entry, or why no reader would accept them.
    pub fn encode(&self) -> Result<Bytes, EntryError> {
        let mut out = Writer::new();
        match self {
            Entry::Own(record) => {
                out.u8(TAG_OWN);
                record.encode_into(&mut out)?;
            }
            Entry::Link { ino, kind } => {
                check_link(*ino, *kind)?;
                out.u8(TAG_LINK).u8(kind.code()).u64(ino.get());
            }
        }
        Ok(out.into_bytes())
    }

    /// Reads an entry. Inline content stays a slice of `value`.
    pub fn decode(value: &Bytes) -> Result<Entry, EntryError> {
        let mut input = Reader::new(value);
        match input.u8("entry tag")? {
            TAG_OWN => Ok(Entry::Own(Record::decode(&value.slice(1..))?)),
            TAG_LINK => {
                let (ino, kind) = decode_link(&mut input)?;
                input.finish("link entry")?;
                Ok(Entry::Link { ino, kind })
            }
            tag => Err(EntryError::Tag { what: "entry", tag }),
        }
    }

    /// Number and kind of the inode without decoding the rest: what a plain directory listing shows.
    pub fn peek(value: &[u8]) -> Result<(Ino, FileType), EntryError> {
        let mut input = Reader::new(value);
        match input.u8("entry tag")? {
            TAG_OWN => Record::peek(&mut input),
            TAG_LINK => decode_link(&mut input),
            tag => Err(EntryError::Tag { what: "entry", tag }),
        }
    }
}

fn decode_link(input: &mut Reader<'_>) -> Result<(Ino, FileType), EntryError> {
    let code = input.u8("kind of a link")?;
    let kind = FileType::from_code(code).ok_or(EntryError::Kind { code })?;
    let ino = Ino::new(input.u64("inode number")?);
    check_link(ino, kind)?;
    Ok((ino, kind))
}

fn check_link(ino: Ino, kind: FileType) -> Result<(), EntryError> {
    check_ino(ino)?;
    if kind == FileType::Directory {
        return Err(EntryError::LinkedDirectory { ino });
    }
    Ok(())
}
