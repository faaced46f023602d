//! Pure bytes of Cairn: ids, keys, sealing, chunking, trees, heads, packs and shards.
//!
//! This crate computes; it does no I/O, starts no thread, reads no clock. Everything that reaches a disk or a wire
//! as Cairn's own is written and read here, and `docs/FORMAT.md` describes each byte of it.
//!
//! Where to start:
//! - [`BlockId`], [`Ref`]: the address of a sealed block, and what its reader needs beside it.
//! - [`Block`]: sealed bytes that are known to be the ones their id names; [`UnverifiedBlock`]: bytes from outside.
//! - [`seal()`] and [`open()`]: a chunk of plaintext to a block and back.
//! - [`VolumeKeys`], [`DeviceKey`]: everything else is derived from these two.
//! - [`Record`], [`Entry`], [`VolumeRoot`]: inodes and directory entries; [`map_tree`], [`file_tree`]: the trees they are in.
//! - [`Head`]: a device's signed pointer to its tree; [`UntrustedHead`]: one from outside.
//! - [`Pack`]: blocks in a body that shows nothing but its size; [`shard`]: what it is coded into; [`Proof`]: that a part of a
//!   shard is where it should be.
//! - [`circle`]: who stores for whom, as a chain of signed epochs.

pub mod block;
pub mod chunk;
pub mod chunker;
pub mod circle;
pub mod codec;
mod compress;
pub mod device;
pub mod entry;
pub mod file_tree;
pub mod head;
pub mod hint;
pub mod id;
pub mod keys;
pub mod limits;
pub mod map_tree;
pub mod numbers;
pub mod pack;
pub mod proof;
pub mod reference;
pub mod seal;
pub mod shard;
mod signature;
pub mod time;
pub mod tree;
pub mod vector;
#[cfg(test)]
mod vectors;
pub mod wrap;

pub use block::{Block, TooLarge, UnverifiedBlock, WrongBytes};
pub use chunk::{Codec, Kind};
pub use circle::{Chain, Class, Epoch, EpochError, Fork, Member, Offer, Role, UntrustedEpoch};
pub use codec::{DecodeError, Reader, TooLong, Writer};
pub use device::{DeviceCert, DeviceKey, Rights};
pub use entry::{
    Attr, Content, DirKey, DirRoot, Entry, EntryError, FileRoot, FileType, MapRoot, Record, VolumeRoot, Xattrs,
};
pub use file_tree::{Extent, FileNode, FileTree, Patch};
pub use head::{Head, HeadError, HeadFields, HeadKind, HeadStamp, UntrustedHead, head_hash};
pub use hint::{HintError, dedup_key, open_hint, seal_hint};
pub use id::{BlockId, CircleId, DescriptorId, DeviceId, Ino, PackId, ParseIdError, ShardId, VolumeId};
pub use keys::{
    BlockKey, ConvergenceKey, DedupKey, KeepKey, LocateKey, MasterKey, NameKey, PlacementKey, ReadKey, VolumeKeys,
    WriteKey, volume_id,
};
pub use map_tree::MapNode;
pub use numbers::{INO_COUNTER_BITS, ino_counter, ino_range, is_same_ino_range, merged_ino};
pub use pack::{Added, Directory, Pack, PackBuilder, PackError, Placed, SizeClass, Tail, UntrustedPack, cells};
pub use proof::{Proof, ProofError};
pub use reference::Ref;
pub use seal::{Compression, OpenError, SealError, Sealed, open, seal};
pub use shard::{Code, CodeError, Descriptor, ShardError};
pub use signature::SignatureError;
pub use time::Timestamp;
pub use tree::{Descend, Nodes, Sink, TreeError};
pub use vector::{Relation, Vector, includes, join, relate};
pub use wrap::{UnwrapError, WRAP_BYTES, unwrap, wrap};
