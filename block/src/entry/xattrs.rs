//! Extended attributes: a sorted list, in the record while it is short, else in a block of its own.

use bytes::Bytes;

use super::EntryError;
use crate::codec::{Reader, Writer};
use crate::limits::{XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX, XATTRS_INLINE_BYTES_MAX};
use crate::reference::Ref;

const TAG_INLINE: u8 = 0;
const TAG_SEALED: u8 = 1;

/// The extended attributes of one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Xattrs {
    /// Names and values, sorted by name, `XATTRS_INLINE_BYTES_MAX` at most when encoded.
    Inline(Vec<(Bytes, Bytes)>),
    /// A block of kind `Xattrs` that holds the encoded list; for lists that are too long to be inline.
    Sealed(Ref),
}

impl Default for Xattrs {
    fn default() -> Self {
        Xattrs::NONE
    }
}

impl Xattrs {
    /// No attributes.
    pub const NONE: Xattrs = Xattrs::Inline(Vec::new());

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Xattrs::Inline(list) if list.is_empty())
    }

    /// The bytes of a list sorted by name. Up to `XATTRS_INLINE_BYTES_MAX` of them belong into the record, longer
    /// ones into a block.
    pub fn encode_list(list: &[(Bytes, Bytes)]) -> Result<Bytes, EntryError> {
        let mut out = Writer::with_capacity(list_len(list));
        encode_list_into(list, &mut out)?;
        Ok(out.into_bytes())
    }

    /// Reads a list; names and values are slices of `bytes`.
    pub fn decode_list(bytes: &Bytes) -> Result<Vec<(Bytes, Bytes)>, EntryError> {
        if bytes.len() > XATTRS_BYTES_MAX {
            return Err(EntryError::XattrsPlace { bytes: bytes.len(), place: "one inode" });
        }
        let mut input = Reader::new(bytes);
        let mut list: Vec<(Bytes, Bytes)> = Vec::new();
        while input.left() > 0 {
            let name = input.bytes8("name of an extended attribute", XATTR_NAME_BYTES_MAX)?;
            let value = input.bytes32("value of an extended attribute", XATTR_VALUE_BYTES_MAX)?;
            list.push((bytes.slice_ref(name), bytes.slice_ref(value)));
        }
        check_list(&list)?;
        Ok(list)
    }

    pub(super) fn check(&self) -> Result<(), EntryError> {
        match self {
            Xattrs::Inline(list) => {
                check_list(list)?;
                match list_len(list) {
                    ..=XATTRS_INLINE_BYTES_MAX => Ok(()),
                    bytes => Err(EntryError::XattrsPlace { bytes, place: "the record" }),
                }
            }
            // Equal attributes have equal bytes only if the place follows from the size.
            Xattrs::Sealed(reference) => match reference.len as usize {
                bytes @ ..=XATTRS_INLINE_BYTES_MAX => Err(EntryError::XattrsPlace { bytes, place: "a block" }),
                _ => Ok(()),
            },
        }
    }

    pub(super) fn encoded_len_hint(&self) -> usize {
        match self {
            Xattrs::Inline(list) => 1 + list_len(list),
            Xattrs::Sealed(_) => 1 + Ref::BYTES,
        }
    }

    pub(super) fn encode(&self, out: &mut Writer) -> Result<(), EntryError> {
        match self {
            Xattrs::Inline(list) => {
                out.u8(TAG_INLINE);
                encode_list_into(list, out)?;
            }
            Xattrs::Sealed(reference) => {
                out.u8(TAG_SEALED);
                reference.encode(out);
            }
        }
        Ok(())
    }

    /// Reads attributes that go on to the end of `input`, which reads `whole`.
    pub(super) fn decode(input: &mut Reader<'_>, whole: &Bytes) -> Result<Xattrs, EntryError> {
        match input.u8("tag of extended attributes")? {
            TAG_INLINE => Ok(Xattrs::Inline(Xattrs::decode_list(&whole.slice_ref(input.rest()))?)),
            TAG_SEALED => Ok(Xattrs::Sealed(Ref::decode(input)?)),
            tag => Err(EntryError::Tag { what: "extended attributes", tag }),
        }
    }
}

fn encode_list_into(list: &[(Bytes, Bytes)], out: &mut Writer) -> Result<(), EntryError> {
    check_list(list)?;
    for (name, value) in list {
        out.u8(name.len() as u8).raw(name).u32(value.len() as u32).raw(value);
    }
    Ok(())
}

/// The encoded length of a list.
fn list_len(list: &[(Bytes, Bytes)]) -> usize {
    list.iter().map(|(name, value)| 1 + name.len() + 4 + value.len()).sum()
}

fn check_list(list: &[(Bytes, Bytes)]) -> Result<(), EntryError> {
    let mut previous: &[u8] = &[];
    for (index, (name, value)) in list.iter().enumerate() {
        let refuse = |reason| Err(EntryError::Xattr { index, reason });
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX || name.contains(&0) {
            return refuse("the name is empty, too long or has a NUL");
        }
        if value.len() > XATTR_VALUE_BYTES_MAX {
            return refuse("the value is too long");
        }
        if **name <= *previous {
            return refuse("the names are not sorted");
        }
        previous = name;
    }
    match list_len(list) {
        ..=XATTRS_BYTES_MAX => Ok(()),
        bytes => Err(EntryError::XattrsPlace { bytes, place: "one inode" }),
    }
}
