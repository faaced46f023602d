//! Shards: what a pack is coded into, so that holders may be lost.
//!
//! [`encode`] makes them, with a [`Descriptor`] that says what each must hash to. [`reconstruct`] gives the pack back from
//! any k of them, [`rebuild`] a lost shard, and [`decode_range`] a part of one. A wrong shard is named, never used.
//!
//! The arithmetic is our own: it is short, all of it is safe code that compilers make wide, and the library whose shards
//! these are is one that `deny.toml` keeps out.

mod code;
mod combine;
mod descriptor;
mod field;
mod matrix;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use crate::id::{PackId, ShardId};
use crate::limits::CELL_BYTES;
use crate::pack::{Pack, UntrustedPack};
use combine::combine;
use matrix::coefficients;

pub use code::{Code, CodeError, CodeKind};
pub use descriptor::Descriptor;

/// Codes a pack. Copies and data shards share the pack's bytes.
pub fn encode(pack: &Pack, code: Code) -> Result<(Descriptor, Vec<Bytes>), CodeError> {
    let len = code.shard_bytes(pack.class())? as usize;
    let (k, body) = (code.k(), pack.body());
    let cut = |shard: u8| (shard, body.slice(usize::from(shard) * len..(usize::from(shard) + 1) * len));
    let data: Vec<_> = (0..k).map(cut).collect();
    let shards: Vec<_> = (0..code.shards()).map(|shard| sum_for(&data, shard, len)).collect();
    let ids = match k {
        // Each is the body, whose hash is known.
        1 => vec![ShardId::from_bytes(*pack.id().as_bytes()); shards.len()],
        _ => shards.iter().map(|shard| ShardId::of(shard)).collect(),
    };
    Ok((Descriptor::new(pack.id(), pack.class(), code, ids)?, shards))
}

/// What was made of shards, and which of them were not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt<T> {
    /// What was wanted, verified.
    pub made: T,
    /// Numbers of the shards that were given and are wrong.
    pub wrong: Vec<u8>,
}

/// The pack, from its shards by number, with `None` for those that are missing. Any k right ones are enough.
///
/// All that are given are verified, so that each wrong one is named.
pub fn reconstruct(descriptor: &Descriptor, shards: &[Option<Bytes>]) -> Result<Rebuilt<Pack>, ShardError> {
    let sorted = Sorted::verify(descriptor, shards)?;
    let k = descriptor.code().k();
    let len = descriptor.shard_bytes() as usize;
    let body = match sorted.chosen() {
        [(_, only)] => only.clone(),
        chosen => {
            let mut body = vec![0; descriptor.class().bytes() as usize];
            for (shard, out) in (0..k).zip(body.chunks_exact_mut(len)) {
                sum_into(chosen, shard, out);
            }
            body.into()
        }
    };
    let pack = UntrustedPack::new(body).and_then(|pack| pack.verify(&descriptor.pack()));
    let made = pack.map_err(|_| ShardError::OtherPack { pack: descriptor.pack() })?;
    Ok(Rebuilt { made, wrong: sorted.wrong })
}

/// Shard `wanted`, data or parity, from the others by number, with `None` for those that are missing.
pub fn rebuild(descriptor: &Descriptor, shards: &[Option<Bytes>], wanted: u8) -> Result<Rebuilt<Bytes>, ShardError> {
    let id = descriptor.shard_id(wanted).ok_or(ShardError::NoShard { shard: wanted })?;
    let sorted = Sorted::verify(descriptor, shards)?;
    let made = sum_for(sorted.chosen(), wanted, descriptor.shard_bytes() as usize);
    if ShardId::of(&made) != id {
        return Err(ShardError::OtherShard { shard: wanted, pack: descriptor.pack() });
    }
    Ok(Rebuilt { made, wrong: sorted.wrong })
}

/// Bytes `range` of shard `wanted`, from the same bytes of k others: pairs of a shard's number and its part. More than k are
/// not looked at.
///
/// `range` is whole cells. Nothing here is verified, nor could it be: what comes out is verified by the id of the block in
/// it, or what goes in by proofs.
pub fn decode_range(
    descriptor: &Descriptor,
    range: &Range<u32>,
    parts: &[(u8, Bytes)],
    wanted: u8,
) -> Result<Bytes, ShardError> {
    let (k, shards) = (descriptor.code().k(), descriptor.code().shards());
    let aligned = range.start.is_multiple_of(CELL_BYTES) && range.end.is_multiple_of(CELL_BYTES);
    if !aligned || range.is_empty() || range.end > descriptor.shard_bytes() {
        return Err(ShardError::Range { start: range.start, end: range.end });
    }
    let Some(parts) = parts.get(..k.into()) else {
        let have: Vec<_> = parts.iter().map(|(shard, _)| *shard).collect();
        let missing = (0..shards).filter(|shard| !have.contains(shard)).collect();
        return Err(ShardError::TooFew { needed: k, missing, wrong: Vec::new() });
    };
    let len = range.len();
    for (at, (shard, part)) in parts.iter().enumerate() {
        let twice = parts[..at].iter().any(|(before, _)| before == shard);
        if twice || *shard >= shards || part.len() != len {
            return Err(ShardError::Part { shard: *shard });
        }
    }
    if wanted >= shards {
        return Err(ShardError::NoShard { shard: wanted });
    }
    Ok(sum_for(parts, wanted, len))
}

/// Shards that were given, sorted into right, wrong and missing ones.
struct Sorted {
    right: Vec<(u8, Bytes)>,
    wrong: Vec<u8>,
    k: u8,
}

impl Sorted {
    fn verify(descriptor: &Descriptor, shards: &[Option<Bytes>]) -> Result<Self, ShardError> {
        let code = descriptor.code();
        if shards.len() != usize::from(code.shards()) {
            return Err(ShardError::Count { given: shards.len(), shards: code.shards() });
        }
        let mut sorted = Sorted { right: Vec::new(), wrong: Vec::new(), k: code.k() };
        let mut missing = Vec::new();
        for (shard, bytes) in (0..code.shards()).zip(shards) {
            match bytes {
                None => missing.push(shard),
                Some(bytes) if is_right(descriptor, shard, bytes) => sorted.right.push((shard, bytes.clone())),
                Some(_) => sorted.wrong.push(shard),
            }
        }
        if sorted.right.len() < usize::from(sorted.k) {
            return Err(ShardError::TooFew { needed: sorted.k, missing, wrong: sorted.wrong });
        }
        Ok(sorted)
    }

    /// k right ones, data first: they need no arithmetic.
    fn chosen(&self) -> &[(u8, Bytes)] {
        &self.right[..self.k.into()]
    }
}

fn is_right(descriptor: &Descriptor, shard: u8, bytes: &Bytes) -> bool {
    bytes.len() == descriptor.shard_bytes() as usize && descriptor.shard_id(shard) == Some(ShardId::of(bytes))
}

/// Bytes of shard `wanted` from the same bytes of k others.
pub(crate) fn sum_for(have: &[(u8, Bytes)], wanted: u8, len: usize) -> Bytes {
    // Of one data shard, all others are copies.
    let same = have.iter().find(|(shard, _)| *shard == wanted || have.len() == 1);
    if let Some((_, bytes)) = same {
        return bytes.clone();
    }
    let mut out = vec![0; len];
    sum_into(have, wanted, &mut out);
    out.into()
}

fn sum_into(have: &[(u8, Bytes)], wanted: u8, out: &mut [u8]) {
    if let Some((_, bytes)) = have.iter().find(|(shard, _)| *shard == wanted) {
        return out.copy_from_slice(bytes);
    }
    let numbers: Vec<_> = have.iter().map(|(shard, _)| *shard).collect();
    let inputs: Vec<&[u8]> = have.iter().map(|(_, bytes)| &bytes[..]).collect();
    combine(&coefficients(&numbers, wanted), &inputs, out);
}

/// Why shards don't give what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShardError {
    /// Not one place for each shard of the code.
    #[error("{given} shards were given, the code has {shards}")]
    Count {
        /// Places given.
        given: usize,
        /// Shards of the code.
        shards: u8,
    },
    /// Fewer right shards than the code needs.
    #[error("{needed} shards are needed; missing {missing:?}, wrong {wrong:?}")]
    TooFew {
        /// How many are needed.
        needed: u8,
        /// Numbers of those that were not given.
        missing: Vec<u8>,
        /// Numbers of those that are not what the descriptor says.
        wrong: Vec<u8>,
    },
    /// A number beyond the code's.
    #[error("there is no shard {shard}")]
    NoShard {
        /// The number.
        shard: u8,
    },
    /// Every shard is as the descriptor says and the pack is not: the descriptor is no coding of it.
    #[error("the shards are not those of pack {pack}: its descriptor is wrong")]
    OtherPack {
        /// The pack.
        pack: PackId,
    },
    /// The others are as the descriptor says and this one can't be: the descriptor is no coding of a pack.
    #[error("shard {shard} can't be what the descriptor of pack {pack} says")]
    OtherShard {
        /// The shard's number.
        shard: u8,
        /// The pack.
        pack: PackId,
    },
    /// A range that is empty, not whole cells, or beyond the shard.
    #[error("bytes {start} to {end} are not whole cells of a shard")]
    Range {
        /// Its first byte.
        start: u32,
        /// The byte after its last.
        end: u32,
    },
    /// A part of a shard that was given twice, has another length than the range, or is of no shard.
    #[error("the part of shard {shard} was given twice, or is not as long as the range, or there is no such shard")]
    Part {
        /// The shard's number.
        shard: u8,
    },
}
