//! Proofs: that 16 KiB at a place belong to a shard whose id is known.
//!
//! A shard's id is the root of BLAKE3's own tree, so nothing is stored for proofs: a holder computes one from the shard, and
//! whoever has the id verifies it.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use thiserror::Error;

use crate::codec::{DecodeError, Reader, Writer, check_bound};
use crate::id::ShardId;
use crate::limits::{GROUP_BYTES, PACK_BYTES_MAX, PROOF_LEVELS_MAX};

const VERSION: u8 = 1;

/// A group of a shard, and what leads from it to the shard's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Of the subtrees beside the path, from the group up.
    siblings: Vec<ChainingValue>,
    group: Box<[u8; GROUP_BYTES]>,
}

impl Proof {
    /// Proves group `group` of a shard, counted from 0.
    pub fn make(shard: &[u8], group: u32) -> Result<Self, ProofError> {
        let path = path(shard.len(), group)?;
        let start = group as usize * GROUP_BYTES;
        let bytes = shard.get(start..).and_then(|rest| rest.first_chunk());
        let bytes: &[u8; GROUP_BYTES] = bytes.ok_or(ProofError::Group { group, len: shard.len() })?;
        let siblings =
            path.iter().map(|step| chaining_value(step.sibling, &shard[step.sibling..][..step.len])).collect();
        Ok(Proof { siblings, group: Box::new(*bytes) })
    }

    /// The group's bytes, if they are group `group` of the shard with this id and as many bytes.
    pub fn verify(&self, shard: &ShardId, shard_len: usize, group: u32) -> Result<&[u8; GROUP_BYTES], ProofError> {
        let path = path(shard_len, group)?;
        if self.siblings.len() != path.len() {
            return Err(ProofError::Levels { found: self.siblings.len(), wanted: path.len() });
        }
        let root = self.root(&path, group);
        if root != *shard {
            return Err(ProofError::OtherShard { shard: *shard, group });
        }
        Ok(&self.group)
    }

    /// The id of the shard that the group is of, if the path is right.
    fn root(&self, path: &[Step], group: u32) -> ShardId {
        let Some((top, below)) = path.split_last() else {
            return ShardId::of(&self.group[..]);
        };
        let mut value = chaining_value(group as usize * GROUP_BYTES, &self.group[..]);
        for (step, sibling) in below.iter().zip(&self.siblings) {
            let (left, right) = step.sides(&value, sibling);
            value = merge_subtrees_non_root(left, right, Mode::Hash);
        }
        let (left, right) = top.sides(&value, &self.siblings[below.len()]);
        ShardId::from_bytes(*merge_subtrees_root(left, right, Mode::Hash).as_bytes())
    }

    /// The proof's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(2 + self.siblings.len() * 32 + GROUP_BYTES);
        out.u8(VERSION).u8(self.siblings.len() as u8);
        self.siblings.iter().for_each(|sibling| {
            out.raw(sibling);
        });
        out.raw(&self.group[..]);
        out.into_vec()
    }

    /// Reads a proof; it shows nothing until it is verified.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        input.version("proof", VERSION)?;
        let levels = input.u8("proof levels")?;
        check_bound("proof levels", levels.into(), PROOF_LEVELS_MAX as u64)?;
        let siblings = (0..levels).map(|_| input.array("proof sibling")).collect::<Result<_, _>>()?;
        let group = Box::new(input.array("proof group")?);
        input.finish("proof")?;
        Ok(Proof { siblings, group })
    }
}

/// A subtree beside the path.
struct Step {
    /// Where in the shard it begins, and its bytes.
    sibling: usize,
    len: usize,
    /// Whether the path is on its left.
    is_right: bool,
}

impl Step {
    const fn sides<'a>(
        &self,
        path: &'a ChainingValue,
        sibling: &'a ChainingValue,
    ) -> (&'a ChainingValue, &'a ChainingValue) {
        if self.is_right { (path, sibling) } else { (sibling, path) }
    }
}

/// The subtrees beside the path from a group to the root of a shard of `len` bytes, from the group up.
fn path(len: usize, group: u32) -> Result<Vec<Step>, ProofError> {
    if len == 0 || len > PACK_BYTES_MAX || !len.is_multiple_of(GROUP_BYTES) {
        return Err(ProofError::Length { len });
    }
    if group as usize >= len / GROUP_BYTES {
        return Err(ProofError::Group { group, len });
    }
    let at = group as usize * GROUP_BYTES;
    let (mut start, mut subtree) = (0, len);
    let mut path = Vec::with_capacity(PROOF_LEVELS_MAX);
    while subtree > GROUP_BYTES {
        // Not above the subtree's length, which is a usize.
        let left = left_subtree_len(subtree as u64) as usize;
        let is_right = at < start + left;
        if is_right {
            path.push(Step { sibling: start + left, len: subtree - left, is_right });
            subtree = left;
        } else {
            path.push(Step { sibling: start, len: left, is_right });
            start += left;
            subtree -= left;
        }
    }
    path.reverse();
    Ok(path)
}

/// Of the subtree of `bytes` that begins at `start` of its shard.
fn chaining_value(start: usize, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(start as u64).update(bytes).finalize_non_root()
}

/// Why a proof shows nothing, or can't be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofError {
    /// No shard has this length.
    #[error("{len} bytes are no shard: it is whole groups of {GROUP_BYTES}, at most {PACK_BYTES_MAX} bytes")]
    Length {
        /// The length given.
        len: usize,
    },
    /// A group beyond the shard's end.
    #[error("a shard of {len} bytes has no group {group}")]
    Group {
        /// The group's number.
        group: u32,
        /// The shard's bytes.
        len: usize,
    },
    /// It is of a shard of another length, or of another place in it.
    #[error("the proof has {found} levels, where {wanted} are")]
    Levels {
        /// Levels it has.
        found: usize,
        /// Levels above the group.
        wanted: usize,
    },
    /// The group, its place or the path to it is not the shard's.
    #[error("the proof doesn't lead from group {group} to shard {shard}")]
    OtherShard {
        /// The shard asked for.
        shard: ShardId,
        /// The group asked for.
        group: u32,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shard(groups: usize) -> Vec<u8> {
        let mut bytes = vec![0; groups * GROUP_BYTES];
        Hasher::new().update(b"shard").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn every_group_of_a_shard_of_any_length_is_proven() {
        for groups in [1, 2, 3, 4, 5, 7, 16, 23] {
            let shard = shard(groups);
            let id = ShardId::of(&shard);
            for group in 0..groups as u32 {
                let proof = Proof::make(&shard, group).unwrap();
                let read = Proof::decode(&proof.encode()).unwrap();
                assert_eq!(read, proof);
                let bytes = read.verify(&id, shard.len(), group).unwrap();
                assert_eq!(&bytes[..], &shard[group as usize * GROUP_BYTES..][..GROUP_BYTES]);
            }
        }
    }

    #[test]
    fn the_largest_shard_has_as_many_levels_as_a_proof_may_have() {
        let path = path(PACK_BYTES_MAX, 1023).unwrap();
        assert_eq!(path.len(), PROOF_LEVELS_MAX);
    }

    #[test]
    fn a_proof_is_of_one_place_in_one_shard() {
        let shard = shard(8);
        let id = ShardId::of(&shard);
        let proof = Proof::make(&shard, 3).unwrap();
        for group in (0..8).filter(|group| *group != 3) {
            let refused = proof.verify(&id, shard.len(), group);
            assert!(matches!(refused, Err(ProofError::OtherShard { .. })), "{group}");
        }
        let other = ShardId::of(&shard[GROUP_BYTES..]);
        assert!(proof.verify(&other, shard.len(), 3).is_err());
    }

    #[test]
    fn a_wrong_length_refuses_the_proof_or_changes_nothing() {
        let shard = shard(8);
        let id = ShardId::of(&shard);
        for group in 0..8 {
            let proof = Proof::make(&shard, group).unwrap();
            for groups in (1..40).filter(|groups| *groups != 8) {
                let len = groups * GROUP_BYTES;
                let verified = proof.verify(&id, len, group);
                // The path from the last group is no path in any other length.
                assert!(group < 7 || verified.is_err(), "{groups} groups");
                if let Ok(bytes) = verified {
                    assert_eq!(bytes[..], shard[group as usize * GROUP_BYTES..][..GROUP_BYTES]);
                }
            }
        }
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let shard = shard(4);
        let id = ShardId::of(&shard);
        let good = Proof::make(&shard, 2).unwrap().encode();
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 0x10;
            let verified = Proof::decode(&altered).map(|proof| proof.verify(&id, shard.len(), 2).is_ok());
            assert!(!verified.unwrap_or(false), "byte {at}");
        }
    }

    #[test]
    fn a_shorter_or_longer_proof_is_refused() {
        let good = Proof::make(&shard(4), 2).unwrap().encode();
        for len in 0..good.len() {
            assert!(Proof::decode(&good[..len]).is_err(), "length {len}");
        }
        assert!(Proof::decode(&[&good[..], &[0]].concat()).is_err());
        let levels = [&[VERSION, PROOF_LEVELS_MAX as u8 + 1][..], &vec![0; GROUP_BYTES + 11 * 32]].concat();
        assert!(matches!(Proof::decode(&levels), Err(DecodeError::AboveBound { .. })));
    }

    proptest! {
        #[test]
        fn strange_proofs_never_panic(
            front in prop::collection::vec(any::<u8>(), 0..400),
            levels in 0..12_u8,
            len in prop_oneof![any::<usize>(), (0..70_usize).prop_map(|groups| groups * GROUP_BYTES)],
            group: u32,
        ) {
            let siblings = vec![9; 32 * usize::from(levels)];
            let named = [&[VERSION, levels][..], &siblings, &[0; GROUP_BYTES]].concat();
            for bytes in [front, named] {
                if let Ok(proof) = Proof::decode(&bytes) {
                    prop_assert_eq!(proof.encode(), bytes);
                    prop_assert!(proof.verify(&ShardId::of(b""), len, group % 80).is_err());
                }
            }
        }
    }

    #[test]
    fn what_is_no_shard_has_no_proof() {
        for len in [0, 1, GROUP_BYTES - 1, GROUP_BYTES + 1] {
            assert_eq!(Proof::make(&vec![0; len], 0), Err(ProofError::Length { len }));
        }
        let shard = shard(2);
        assert!(matches!(Proof::make(&shard, 2), Err(ProofError::Group { .. })));
        assert!(matches!(Proof::make(&shard, u32::MAX), Err(ProofError::Group { .. })));
        let proof = Proof::make(&shard, 0).unwrap();
        assert!(proof.verify(&ShardId::of(&shard), usize::MAX, 0).is_err());
        assert!(proof.verify(&ShardId::of(&shard), PACK_BYTES_MAX + GROUP_BYTES, 0).is_err());
    }
}
