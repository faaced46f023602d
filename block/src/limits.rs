//! Every bound of the formats, with its reason. A reader refuses what exceeds a bound before it allocates.

/// Largest sealed block. One block then always fits one slot of a pack, one network frame and one log record.
pub const SEALED_BLOCK_BYTES_MAX: usize = 1 << 20;

/// The header inside the seal: version, kind, codec, reserved, raw length.
pub const CHUNK_HEADER_BYTES: usize = 8;

/// The Poly1305 tag at the end of a sealed block.
pub const TAG_BYTES: usize = 16;

/// Largest raw payload of a chunk: what is left of a sealed block when nothing compresses.
pub const CHUNK_BYTES_MAX: usize = SEALED_BLOCK_BYTES_MAX - CHUNK_HEADER_BYTES - TAG_BYTES;

/// Shortest content-defined chunk that isn't the end of a file: bounds the number of refs per byte.
pub const CDC_BYTES_MIN: usize = 64 << 10;

/// Where content-defined chunk lengths centre: below it dedup gains little, above it an edit costs more.
pub const CDC_BYTES_AVG: usize = 256 << 10;

/// Longest content-defined chunk.
pub const CDC_BYTES_MAX: usize = CHUNK_BYTES_MAX;

/// Grid of files that are overwritten in place: the most that a 4 KiB overwrite has to read and seal again.
pub const FIXED_CHUNK_BYTES: usize = 128 << 10;

/// Files up to this size live in their directory entry: a block of their own would cost more than they hold.
pub const INLINE_BYTES_MAX: usize = 2048;

/// Largest encoded tree node: an edit rewrites one node per level.
pub const NODE_BYTES_MAX: usize = 64 << 10;

/// Longest name of a directory entry (`NAME_MAX` of Linux).
pub const NAME_BYTES_MAX: usize = 255;

/// Longest target of a symbolic link (`PATH_MAX` of Linux without its NUL).
pub const SYMLINK_BYTES_MAX: usize = 4095;

/// Longest name of an extended attribute (`XATTR_NAME_MAX` of Linux).
pub const XATTR_NAME_BYTES_MAX: usize = 255;

/// Longest value of an extended attribute (`XATTR_SIZE_MAX` of Linux).
pub const XATTR_VALUE_BYTES_MAX: usize = 64 << 10;

/// Extended attributes of one inode up to this encoded size stay in its record: ACLs and labels fit, blobs don't.
pub const XATTRS_INLINE_BYTES_MAX: usize = 1024;

/// All extended attributes of one inode, encoded: they are sealed as one chunk.
pub const XATTRS_BYTES_MAX: usize = CHUNK_BYTES_MAX;

/// Longest key of a map tree: a 56-bit hash and a name.
pub const MAP_KEY_BYTES_MAX: usize = 7 + NAME_BYTES_MAX;

/// Longest value of a map tree: a record with inline content, a symlink target and inline attributes fits with room.
pub const MAP_VALUE_BYTES_MAX: usize = 16 << 10;

/// Largest file: what `off_t` can say.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Most names of one inode (ext4 has the same).
pub const LINK_COUNT_MAX: u32 = 65_000;

/// Inode numbers of a volume are below this; bit 62 marks snapshots, bit 63 stays clear for signed readers.
pub const INO_LIMIT: u64 = 1 << 62;

/// Deepest tree. A file of [`FILE_BYTES_MAX`] needs eight levels at the smallest fan-out; more is an attack.
pub const TREE_LEVELS_MAX: u8 = 12;

/// Most devices of one volume: bounds a version vector.
pub const DEVICES_MAX: usize = 256;

/// Longest label of a named snapshot.
pub const LABEL_BYTES_MAX: usize = 255;

/// Largest encoded head: one with a full version vector and a longest label fits.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

/// Sequence numbers of heads and deltas are below this: no signed number can lock a device out of the next one,
/// and every JSON reader can hold it.
pub const SEQ_LIMIT: u64 = 1 << 53;

/// What no block of a pack crosses: with it no block crosses a shard, and the largest block still has a slot.
pub const SLOT_BYTES: usize = SEALED_BLOCK_BYTES_MAX;

/// Largest body of a pack: one takes seconds to move on a home line, and thousands are a terabyte.
pub const PACK_BYTES_MAX: usize = 16 << 20;

/// Most blocks of one pack: a full one of 1 KiB each, and a directory that still fits a slot.
pub const PACK_BLOCKS_MAX: usize = 16 << 10;

/// What ranges of bodies and shards are widened to: coarse enough to hide the edges of most blocks, and not much more to
/// carry than an average block.
pub const CELL_BYTES: u32 = 64 << 10;

/// Most data shards of a code: repair reads as many shards as this for one.
pub const DATA_SHARDS_MAX: u8 = 8;

/// Most parity shards of a code: more would cost more room than three copies.
pub const PARITY_SHARDS_MAX: u8 = 16;

/// Most copies of a pack: beyond it redundancy buys nothing that uptime shows.
pub const COPIES_MAX: u8 = 16;

/// What a proof shows the place of: small enough for an audit, large enough that the path is a few per cent of it.
pub const GROUP_BYTES: usize = 16 << 10;

/// Subtrees above a group of the largest shard, which is a copy of the largest pack.
pub const PROOF_LEVELS_MAX: usize = (PACK_BYTES_MAX / GROUP_BYTES).ilog2() as usize;

/// Most members of a circle: every node keeps the whole list and computes every placement from it. Larger networks are
/// several circles.
pub const MEMBERS_MAX: usize = 10_000;

/// Most revoked nodes of a circle: every member twice over. The list only grows; a circle that fills it is founded anew.
pub const REVOKED_MAX: usize = 2 * MEMBERS_MAX;

/// Longest name or zone of a member: it fits a column of a listing.
pub const MEMBER_TEXT_BYTES_MAX: usize = 64;

/// Most bytes that one member offers (1 PiB): those of a whole circle then add up in a `u64`.
pub const CAPACITY_MAX: u64 = 1 << 50;

/// Largest encoded epoch: one with all members, longest names and all revocations fits.
pub const EPOCH_BYTES_MAX: usize = 3 << 20;

/// Epochs that a node keeps in memory, which is also the deepest branch it follows: more than owners sign in a day apart
/// from each other; at most 200 MiB for the largest circle, under half a MiB for one of thirty. Who was away for more needs an
/// invitation again.
pub const EPOCHS_KEPT: usize = 32;

const _: () = {
    assert!(SEALED_BLOCK_BYTES_MAX <= SLOT_BYTES && PACK_BYTES_MAX.is_multiple_of(SLOT_BYTES));
    assert!(SLOT_BYTES.is_multiple_of(CELL_BYTES as usize) && CELL_BYTES.is_multiple_of(GROUP_BYTES as u32));
    // 16 slots can be shared out evenly, and shard numbers are non-zero elements of the field with room to spare.
    assert!((PACK_BYTES_MAX / SLOT_BYTES).is_multiple_of(DATA_SHARDS_MAX as usize));
    assert!(DATA_SHARDS_MAX as usize + PARITY_SHARDS_MAX as usize <= 255);
    assert!(CHUNK_BYTES_MAX <= u32::MAX as usize);
    assert!(CDC_BYTES_MIN < CDC_BYTES_AVG && CDC_BYTES_AVG < CDC_BYTES_MAX);
    assert!(CDC_BYTES_MAX <= CHUNK_BYTES_MAX && FIXED_CHUNK_BYTES <= CHUNK_BYTES_MAX);
    assert!(NODE_BYTES_MAX <= CHUNK_BYTES_MAX);
    // A node must be able to hold two of the largest items, or a tree could not branch.
    assert!(2 * (MAP_KEY_BYTES_MAX + MAP_VALUE_BYTES_MAX + 64) <= NODE_BYTES_MAX);
    assert!(INLINE_BYTES_MAX + SYMLINK_BYTES_MAX + XATTRS_INLINE_BYTES_MAX + 512 <= MAP_VALUE_BYTES_MAX);
    assert!((MEMBERS_MAX as u64) < u64::MAX / CAPACITY_MAX && REVOKED_MAX <= u16::MAX as usize);
};
