//! `/cairn/shards/1`: shards to keep, to give, to prove, to list.

use std::time::Duration;

use bytes::Bytes;
use cairn_block::limits::SEQ_LIMIT;
use cairn_block::{DecodeError, PackId, Reader, VolumeId, Writer};

use super::{Body, DEADLINE_MAX, Message, RETRY_MAX, Urgency, duration, millis, shared, unknown};

/// The longest shard: a pack of the largest class, as a copy.
const SHARD_BYTES_MAX: usize = 16 << 20;
/// The longest descriptor; its own bounds are tighter.
const DESCRIPTOR_BYTES_MAX: usize = 4 << 10;
/// The longest proof.
const PROOF_BYTES_MAX: usize = 32 << 10;
/// Cells of 64 KiB in one range: the longest shard.
pub const CELLS_MAX: u16 = 256;
/// Shards in one listing.
pub const LISTED_MAX: usize = 1024;

const KEEP: u8 = 1;
const KEPT: u8 = 2;
const GIVE: u8 = 3;
const GIVEN: u8 = 4;
const PROVE: u8 = 5;
const PROVEN: u8 = 6;
const LIST: u8 = 7;
const LISTED: u8 = 8;

/// One shard of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardName {
    /// The pack.
    pub pack: PackId,
    /// Which of its shards.
    pub index: u8,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardsMessage {
    /// Keep this shard.
    Keep {
        /// The volume that it counts for.
        volume: VolumeId,
        /// The uploader's generation.
        generation: u64,
        /// The encoded descriptor; the receiver verifies the shard against it.
        descriptor: Bytes,
        /// Which of the descriptor's shards.
        index: u8,
        /// Its bytes.
        shard: Bytes,
    },
    /// What became of a *keep*.
    Kept(Kept),
    /// Give these cells of a shard.
    Give {
        /// Which shard.
        name: ShardName,
        /// How urgently.
        urgency: Urgency,
        /// The first cell.
        first: u16,
        /// How many, from 1 to [`CELLS_MAX`].
        count: u16,
    },
    /// The cells of a *give*.
    Given(Answered),
    /// Prove that this group of 16 KiB is here.
    Prove {
        /// Of which shard.
        name: ShardName,
        /// Which group.
        group: u32,
        /// How long the proof is of use.
        deadline: Duration,
    },
    /// The encoded proof of a *prove*.
    Proven(Answered),
    /// List what is kept for a volume.
    List {
        /// The volume.
        volume: VolumeId,
        /// What the listing goes on behind; none from the start.
        after: Option<ShardName>,
        /// How many at most, up to [`LISTED_MAX`].
        count: u16,
    },
    /// A part of the list, ascending; shorter than asked for where it ends.
    Listed(Vec<ShardName>),
}

/// What became of a shard that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is durable now.
    Durable,
    /// It was before.
    Already,
    /// There is no room for this volume's owner.
    NoRoom {
        /// Bytes in use.
        used: u64,
        /// Bytes granted.
        quota: u64,
    },
    /// Not now: again after this time.
    Busy(Duration),
    /// The bytes are not those of the descriptor.
    WrongBytes,
    /// Not from a member of this circle.
    NotMember,
}

/// Bytes that were asked for, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// Here they are, not verified.
    Here(Bytes),
    /// There is no such shard here.
    Missing,
    /// Not now: again after this time.
    Busy(Duration),
    /// The shard was here, and is damaged.
    Damaged,
}

impl Message for ShardsMessage {
    const PROTOCOL: &'static str = "/cairn/shards/1";
    const BODY_BYTES_MAX: usize = 1 + 16 + 8 + 2 + DESCRIPTOR_BYTES_MAX + 1 + SHARD_BYTES_MAX;

    fn encode(&self) -> Body {
        let mut out = Writer::with_capacity(128);
        match self {
            ShardsMessage::Keep { volume, generation, descriptor, index, shard } => {
                out.u8(KEEP).raw(volume.as_bytes()).u64(*generation);
                out.u16(descriptor.len() as u16).raw(descriptor).u8(*index);
                return Body::with(out, shard);
            }
            ShardsMessage::Kept(kept) => encode_kept(*kept, out.u8(KEPT)),
            ShardsMessage::Give { name, urgency, first, count } => {
                name.encode(out.u8(GIVE));
                urgency.encode(&mut out);
                out.u16(*first).u16(*count);
            }
            ShardsMessage::Given(answered) => return answered.encode(GIVEN, out),
            ShardsMessage::Prove { name, group, deadline } => {
                name.encode(out.u8(PROVE));
                out.u32(*group).u32(millis(*deadline, DEADLINE_MAX));
            }
            ShardsMessage::Proven(answered) => return answered.encode(PROVEN, out),
            ShardsMessage::List { volume, after, count } => {
                out.u8(LIST).raw(volume.as_bytes());
                after.unwrap_or(ShardName::NONE).encode(&mut out);
                out.u16(*count);
            }
            ShardsMessage::Listed(names) => {
                out.u8(LISTED).u16(names.len() as u16);
                names.iter().for_each(|name| name.encode(&mut out));
            }
        }
        Body::of(out)
    }

    fn decode(body: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let message = match input.u8("message")? {
            KEEP => ShardsMessage::Keep {
                volume: VolumeId::from_bytes(input.array("volume")?),
                generation: input.u64_max("generation", SEQ_LIMIT - 1)?,
                descriptor: shared(body, input.bytes16("descriptor", DESCRIPTOR_BYTES_MAX)?),
                index: input.u8("index of a shard")?,
                shard: bounded_rest(body, &mut input, "shard", SHARD_BYTES_MAX)?,
            },
            KEPT => ShardsMessage::Kept(decode_kept(&mut input)?),
            GIVE => decode_give(&mut input)?,
            GIVEN => ShardsMessage::Given(Answered::decode(body, &mut input, "cells", SHARD_BYTES_MAX)?),
            PROVE => ShardsMessage::Prove {
                name: ShardName::decode(&mut input)?,
                group: input.u32("group")?,
                deadline: duration(&mut input, "deadline", DEADLINE_MAX)?,
            },
            PROVEN => ShardsMessage::Proven(Answered::decode(body, &mut input, "proof", PROOF_BYTES_MAX)?),
            LIST => decode_list(&mut input)?,
            LISTED => decode_listed(&mut input)?,
            _ => return Err(unknown("message about shards")),
        };
        input.finish("message about shards")?;
        Ok(message)
    }
}

impl ShardName {
    const BYTES: usize = 32 + 1;
    /// What a listing from the start goes on behind.
    const NONE: ShardName = ShardName { pack: PackId::from_bytes([0; 32]), index: 0 };

    fn encode(self, out: &mut Writer) {
        out.raw(self.pack.as_bytes()).u8(self.index);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(ShardName { pack: PackId::from_bytes(input.array("pack")?), index: input.u8("index of a shard")? })
    }
}

impl Answered {
    fn encode(&self, tag: u8, mut out: Writer) -> Body {
        out.u8(tag);
        match self {
            Answered::Here(bytes) => {
                out.u8(0);
                return Body::with(out, bytes);
            }
            Answered::Missing => out.u8(1),
            Answered::Busy(retry) => out.u8(2).u32(millis(*retry, RETRY_MAX)),
            Answered::Damaged => out.u8(3),
        };
        Body::of(out)
    }

    fn decode(body: &Bytes, input: &mut Reader<'_>, what: &'static str, max: usize) -> Result<Self, DecodeError> {
        Ok(match input.u8("status of an answer")? {
            0 => Answered::Here(bounded_rest(body, input, what, max)?),
            1 => Answered::Missing,
            2 => Answered::Busy(duration(input, "retry", RETRY_MAX)?),
            3 => Answered::Damaged,
            _ => return Err(unknown("status of an answer")),
        })
    }
}

fn encode_kept(kept: Kept, out: &mut Writer) {
    match kept {
        Kept::Durable => out.u8(0),
        Kept::Already => out.u8(1),
        Kept::NoRoom { used, quota } => out.u8(2).u64(used).u64(quota),
        Kept::Busy(retry) => out.u8(3).u32(millis(retry, RETRY_MAX)),
        Kept::WrongBytes => out.u8(4),
        Kept::NotMember => out.u8(5),
    };
}

fn decode_kept(input: &mut Reader<'_>) -> Result<Kept, DecodeError> {
    Ok(match input.u8("status of a keep")? {
        0 => Kept::Durable,
        1 => Kept::Already,
        2 => Kept::NoRoom { used: input.u64("bytes used")?, quota: input.u64("quota")? },
        3 => Kept::Busy(duration(input, "retry", RETRY_MAX)?),
        4 => Kept::WrongBytes,
        5 => Kept::NotMember,
        _ => return Err(unknown("status of a keep")),
    })
}

fn decode_give(input: &mut Reader<'_>) -> Result<ShardsMessage, DecodeError> {
    let name = ShardName::decode(input)?;
    let urgency = Urgency::decode(input)?;
    let (first, count) = (input.u16("first cell")?, input.u16("cells")?);
    if count == 0 || u32::from(first) + u32::from(count) > CELLS_MAX.into() {
        return Err(DecodeError::invalid("cells", "none, or beyond the longest shard"));
    }
    Ok(ShardsMessage::Give { name, urgency, first, count })
}

fn decode_list(input: &mut Reader<'_>) -> Result<ShardsMessage, DecodeError> {
    let volume = VolumeId::from_bytes(input.array("volume")?);
    let after = Some(ShardName::decode(input)?).filter(|after| *after != ShardName::NONE);
    let count = input.u16("shards to list")?;
    cairn_block::codec::check_bound("shards to list", count.into(), LISTED_MAX as u64)?;
    if count == 0 {
        return Err(DecodeError::invalid("shards to list", "none"));
    }
    Ok(ShardsMessage::List { volume, after, count })
}

fn decode_listed(input: &mut Reader<'_>) -> Result<ShardsMessage, DecodeError> {
    let count = input.count16("listed shards", LISTED_MAX, ShardName::BYTES)?;
    let names = (0..count).map(|_| ShardName::decode(input)).collect::<Result<Vec<_>, _>>()?;
    if names.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(DecodeError::invalid("listed shards", "not ascending"));
    }
    Ok(ShardsMessage::Listed(names))
}

fn bounded_rest(body: &Bytes, input: &mut Reader<'_>, what: &'static str, max: usize) -> Result<Bytes, DecodeError> {
    cairn_block::codec::check_bound(what, input.left() as u64, max as u64)?;
    Ok(shared(body, input.rest()))
}
