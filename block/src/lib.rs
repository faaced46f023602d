//! Pure bytes of Cairn: ids, keys, sealing, chunking, trees and heads.
//!
//! This crate computes; it does no I/O, starts no thread, reads no clock. Everything that reaches a disk or a wire
//! as Cairn's own is written and read here, and `docs/FORMAT.md` describes each byte of it.
//!
//! Where to start:
//! - [`BlockId`], [`Ref`]: the address of a sealed block, and what its reader needs beside it.
//! - [`Block`]: sealed bytes that are known to be the ones their id names; [`UnverifiedBlock`]: bytes from outside.
//! - [`seal()`] and [`open()`]: a chunk of plaintext to a block and back.
//! - [`VolumeKeys`], [`DeviceKey`]: everything else is derived from these two.
//! - [`Head`]: a device's signed pointer to its tree; [`UntrustedHead`]: one from outside.

pub mod codec;
pub mod entry;
mod id;
mod keys;
pub mod limits;
mod reference;
mod time;

pub use codec::{DecodeError, Reader, TooLong, Writer};
pub use entry::{
    Attr, Content, DirKey, DirRoot, Entry, EntryError, FileRoot, FileType, MapRoot, Record, VolumeRoot, Xattrs,
};
pub use id::{BlockId, DeviceId, Ino, ParseIdError, VolumeId};
pub use keys::{BlockKey, NameKey};
pub use reference::Ref;
pub use time::Timestamp;
