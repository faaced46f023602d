//! The end of a body: the sealed directory, and the sealed footer that says where it begins.

use std::ops::Range;

use crate::codec::{DecodeError, Reader, Writer};
use crate::keys::{KeepKey, PackKey};
use crate::limits::{CELL_BYTES, PACK_BLOCKS_MAX, SLOT_BYTES};
use crate::pack::directory::ENTRY_BYTES;
use crate::pack::{Directory, PackError, SizeClass};
use crate::wrap::{WRAP_BYTES, unwrap, wrap_with_nonce};

const VERSION: u8 = 1;
pub(crate) const FOOTER_PURPOSE: &str = "pack footer";
pub(crate) const DIRECTORY_PURPOSE: &str = "pack directory";
/// Version and directory offset, wrapped.
pub(crate) const FOOTER_BYTES: usize = 1 + 4 + WRAP_BYTES;

// The largest directory fits one slot with its footer.
const _: () = assert!(bytes(PACK_BLOCKS_MAX) as usize <= SLOT_BYTES);

/// Bytes at the end of a body that a directory of `count` blocks takes, with the footer.
pub(super) const fn bytes(count: usize) -> u32 {
    (WRAP_BYTES + count * ENTRY_BYTES + FOOTER_BYTES) as u32
}

/// What the end of a body shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// The directory.
    Directory(Directory),
    /// The directory begins further ahead.
    NeedMore {
        /// Where in the body what is read next has to begin; the start of a cell.
        from: u32,
    },
}

impl Tail {
    /// What of a body to read first: its last cell, which holds all but very long directories.
    pub const fn first(class: SizeClass) -> Range<u32> {
        class.bytes() - CELL_BYTES..class.bytes()
    }

    /// Opens the directory in the last bytes of a body, as many as were read.
    ///
    /// It was written for a pack of this class and volume. Which one, only the whole body or a proof says; see
    /// `FORMAT.md`.
    pub fn open(class: SizeClass, keep: &KeepKey, tail: &[u8]) -> Result<Self, PackError> {
        let ahead = (class.bytes() as usize).checked_sub(tail.len()).ok_or(PackError::Length { found: tail.len() })?;
        let Some((rest, footer)) = tail.split_last_chunk::<FOOTER_BYTES>() else {
            return Ok(Tail::NeedMore { from: Tail::first(class).start });
        };
        let key = keep.packs();
        let at = open_footer(class, &key, footer)?;
        let Some(start) = (at as usize).checked_sub(ahead) else {
            return Ok(Tail::NeedMore { from: at - at % CELL_BYTES });
        };
        let plain = unwrap(key.as_bytes(), DIRECTORY_PURPOSE, &directory_aad(class, at), &rest[start..])
            .map_err(|source| PackError::Directory { source })?;
        Ok(Tail::Directory(Directory::decode(class, at, &plain)?))
    }
}

/// Seals a directory that begins at `at`, and the footer.
pub(super) fn seal(key: &PackKey, directory: &Directory, at: u32, nonces: &[[u8; 24]; 2]) -> Vec<u8> {
    let class = directory.class();
    let [directory_nonce, footer_nonce] = nonces;
    let aad = directory_aad(class, at);
    let mut sealed = wrap_with_nonce(key.as_bytes(), DIRECTORY_PURPOSE, &aad, &directory.encode(), directory_nonce);
    let mut footer = Writer::new();
    footer.u8(VERSION).u32(at);
    let footer = footer.as_slice();
    sealed.extend(wrap_with_nonce(key.as_bytes(), FOOTER_PURPOSE, &[class as u8], footer, footer_nonce));
    sealed
}

/// Where the directory begins.
fn open_footer(class: SizeClass, key: &PackKey, footer: &[u8; FOOTER_BYTES]) -> Result<u32, PackError> {
    let plain = unwrap(key.as_bytes(), FOOTER_PURPOSE, &[class as u8], footer)
        .map_err(|source| PackError::Footer { source })?;
    let mut input = Reader::new(&plain);
    input.version("pack", VERSION)?;
    let at = input.u32("directory offset")?;
    input.finish("pack footer")?;
    let len = class.bytes().checked_sub(at).and_then(|len| (len as usize).checked_sub(WRAP_BYTES + FOOTER_BYTES));
    let is_good = len.is_some_and(|len| len.is_multiple_of(ENTRY_BYTES) && len / ENTRY_BYTES <= PACK_BLOCKS_MAX);
    if !is_good || at < class.bytes() - class.slot_bytes() {
        return Err(DecodeError::invalid("directory offset", "no directory begins there").into());
    }
    Ok(at)
}

fn directory_aad(class: SizeClass, at: u32) -> [u8; 6] {
    let [a, b, c, d] = at.to_le_bytes();
    [VERSION, class as u8, a, b, c, d]
}
