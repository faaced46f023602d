//! Everything of one inode.

use bytes::Bytes;

use super::attr::{check_ino, decode_st_mode};
use super::{Attr, Content, EntryError, FileType, Xattrs};
use crate::codec::{Reader, Writer};
use crate::id::Ino;

/// What precedes content and attributes: `st_mode`, eleven numbers, four times.
const ATTR_BYTES: usize = 2 + 8 + 4 * 4 + 2 * 8 + 4 * 12;

/// Everything of one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its attributes.
    pub attr: Attr,
    /// What it holds.
    pub content: Content,
    /// Its extended attributes.
    pub xattrs: Xattrs,
}

impl Record {
    /// The bytes of this record, or why no reader would accept them.
    pub fn encode(&self) -> Result<Bytes, EntryError> {
        let len = ATTR_BYTES + self.content.encoded_len_hint() + self.xattrs.encoded_len_hint();
        let mut out = Writer::with_capacity(len);
        self.encode_into(&mut out)?;
        Ok(out.into_bytes())
    }

    pub(super) fn encode_into(&self, out: &mut Writer) -> Result<(), EntryError> {
        self.check()?;
        self.attr.encode(out);
        self.content.encode(out);
        self.xattrs.encode(out)
    }

    /// Reads a record that is all of `bytes`; content and attributes stay slices of it.
    pub fn decode(bytes: &Bytes) -> Result<Record, EntryError> {
        let mut input = Reader::new(bytes);
        let attr = Attr::decode(&mut input)?;
        let content = Content::decode(&mut input, bytes, &attr)?;
        let xattrs = Xattrs::decode(&mut input, bytes)?;
        input.finish("record")?;
        let record = Record { attr, content, xattrs };
        record.check()?;
        Ok(record)
    }

    /// Number and kind at the front of a record.
    pub(super) fn peek(input: &mut Reader<'_>) -> Result<(Ino, FileType), EntryError> {
        let (kind, _) = decode_st_mode(input)?;
        let ino = Ino::new(input.u64("inode number")?);
        check_ino(ino)?;
        Ok((ino, kind))
    }

    /// Whether the parts are valid and fit each other.
    fn check(&self) -> Result<(), EntryError> {
        self.attr.check()?;
        self.content.check(&self.attr)?;
        self.xattrs.check()
    }
}
