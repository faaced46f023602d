//! Packs: blocks in a body of one of four sizes, which shows nothing but its size.
//!
//! Start with [`PackBuilder`], which fills one; [`Pack`] is one that is known to be what its id names, and
//! [`UntrustedPack`] one from outside. A [`Directory`] says which block lies where: from the whole body by
//! [`Pack::directory`], from its last bytes by [`Tail`].

pub(crate) mod builder;
mod class;
mod directory;
pub(crate) mod end;
mod layout;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::block::{Block, WrongBytes};
use crate::codec::DecodeError;
use crate::id::PackId;
use crate::keys::KeepKey;
use crate::wrap::UnwrapError;

pub use builder::{Added, PackBuilder};
pub use class::{SizeClass, cells};
pub use directory::{Directory, Placed};
pub use end::Tail;

/// A body that is known to be the one its id names. There is no way to make one without hashing it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pack {
    id: PackId,
    class: SizeClass,
    body: Bytes,
}

impl Pack {
    /// BLAKE3 of the body.
    pub const fn id(&self) -> PackId {
        self.id
    }

    /// The class, which says how long the body is.
    pub const fn class(&self) -> SizeClass {
        self.class
    }

    /// The body.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Opens the directory.
    pub fn directory(&self, keep: &KeepKey) -> Result<Directory, PackError> {
        match Tail::open(self.class, keep, &self.body)? {
            Tail::Directory(directory) => Ok(directory),
            // No directory begins before its body does, so this is never reached.
            Tail::NeedMore { .. } => Err(PackError::Length { found: self.body.len() }),
        }
    }

    /// The block that a directory says lies there, without a copy; the directory may be any.
    pub fn block(&self, placed: &Placed) -> Result<Block, WrongBytes> {
        let start = (placed.offset as usize).min(self.body.len());
        let end = start.saturating_add(placed.len as usize).min(self.body.len());
        let block = Block::seal_bytes(self.body.slice(start..end));
        if block.id() != placed.id {
            return Err(WrongBytes { wanted: placed.id, found: block.id() });
        }
        Ok(block)
    }
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pack({}, {})", self.id.short(), self.class)
    }
}

/// Bytes from outside that claim to be a pack's body.
#[derive(Clone)]
pub struct UntrustedPack {
    class: SizeClass,
    body: Bytes,
}

impl UntrustedPack {
    /// Takes bytes that are as many as a body has.
    pub fn new(body: impl Into<Bytes>) -> Result<Self, PackError> {
        let body = body.into();
        let class = SizeClass::of_len(body.len()).ok_or(PackError::Length { found: body.len() })?;
        Ok(UntrustedPack { class, body })
    }

    /// The pack `wanted`, if this is its body.
    pub fn verify(self, wanted: &PackId) -> Result<Pack, PackError> {
        let found = PackId::of(&self.body);
        if found != *wanted {
            return Err(PackError::OtherPack { wanted: *wanted, found });
        }
        Ok(Pack { id: found, class: self.class, body: self.body })
    }
}

impl fmt::Debug for UntrustedPack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UntrustedPack({})", self.class)
    }
}

/// Why a pack, or its directory, is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackError {
    /// No body, or more than the end of one.
    #[error("{found} bytes are not the length of a pack, or more than all of it")]
    Length {
        /// The bytes given.
        found: usize,
    },
    /// Not the pack asked for.
    #[error("not the body of pack {wanted}: it is that of {found}")]
    OtherPack {
        /// The pack asked for.
        wanted: PackId,
        /// The id of the bytes given.
        found: PackId,
    },
    /// The footer is of another volume or class, or it was altered.
    #[error("pack footer: {source}")]
    Footer {
        /// What is wrong with it.
        source: UnwrapError,
    },
    /// The directory is not the footer's, or it was altered.
    #[error("pack directory: {source}")]
    Directory {
        /// What is wrong with it.
        source: UnwrapError,
    },
    /// What was sealed doesn't keep to the format or its bounds.
    #[error("pack: {0}")]
    Format(#[from] DecodeError),
}
