//! One epoch: everybody who is in the circle, signed by an owner of the epoch before.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::error::EpochError;
use super::member::{Class, Member, Role};
use crate::codec::{DecodeError, Reader, Writer, check_bound};
use crate::device::DeviceKey;
use crate::id::{CircleId, DeviceId};
use crate::keys::random;
use crate::limits::{EPOCH_BYTES_MAX, MEMBERS_MAX, REVOKED_MAX, SEQ_LIMIT};
use crate::signature::{self, Purpose, SIGNATURE_BYTES};

const VERSION: u8 = 1;
const CIRCLE_ID_CONTEXT: &str = "cairn 2026-11 circle id";

// The largest epoch that can be signed fits the bound of one.
const _: () = {
    let outside = 1 + 16 + 16 + 8 + 32 + 2 + 2 + 32 + SIGNATURE_BYTES;
    assert!(outside + MEMBERS_MAX * Member::BYTES_MAX + REVOKED_MAX * 32 <= EPOCH_BYTES_MAX);
};

/// A verified epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The circle.
    pub circle: CircleId,
    /// Random in the first epoch, zero in all others: it makes the circle's id.
    pub nonce: [u8; 16],
    /// Counts the epochs of the circle, from 1.
    pub number: u64,
    /// [`Epoch::hash`] of the epoch before; zero in the first.
    pub previous: [u8; 32],
    /// Everybody in the circle, sorted by node.
    pub members: Vec<Member>,
    /// Nodes that never come back under their keys, sorted.
    pub revoked: Vec<DeviceId>,
    /// The owner who signed.
    pub signer: DeviceId,
    hash: [u8; 32],
    bytes: Bytes,
}

impl Epoch {
    /// Signs the first epoch of a new circle. The founder has to be its only owner.
    pub fn found(founder: &DeviceKey, members: Vec<Member>) -> Result<Bytes, EpochError> {
        found_with_nonce(founder, members, random())
    }

    /// Signs the epoch after this one. When each member joined is put right here.
    pub fn next(
        &self,
        mut members: Vec<Member>,
        mut revoked: Vec<DeviceId>,
        signer: &DeviceKey,
    ) -> Result<Bytes, EpochError> {
        let number = self.number + 1;
        for member in &mut members {
            member.joined = self.member(&member.node).map_or(number, |before| before.joined);
        }
        members.sort_by_key(|member| member.node);
        revoked.sort();
        let bytes = seal(self.circle, [0; 16], number, self.hash, &members, &revoked, signer)?;
        UntrustedEpoch::new(bytes.clone())?.verify_after(self)?;
        Ok(bytes)
    }

    /// What the next epoch names as its `previous`.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The epoch as it is stored and sent.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The member with this key.
    pub fn member(&self, node: &DeviceId) -> Option<&Member> {
        self.members.binary_search_by_key(node, |member| member.node).ok().map(|at| &self.members[at])
    }

    /// Whether this node signs epochs.
    pub fn is_owner(&self, node: &DeviceId) -> bool {
        self.member(node).is_some_and(|member| member.role == Role::Owner)
    }

    /// Everybody who signs epochs, sorted.
    pub fn owners(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Owner)
    }

    /// Whether this node was revoked.
    pub fn is_revoked(&self, node: &DeviceId) -> bool {
        self.revoked.binary_search(node).is_ok()
    }

    /// Members that carry redundancy: anchors that store something, sorted by node.
    pub fn anchors(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.class == Class::Anchor && member.capacity > 0)
    }

    /// What holds for an epoch whatever was before it.
    fn check(&self) -> Result<(), DecodeError> {
        let invalid = |what, reason| Err(DecodeError::invalid(what, reason));
        check_bound("epoch number", self.number, SEQ_LIMIT - 1)?;
        if (self.number == 1) != (self.previous == [0; 32]) {
            return invalid("epoch previous", "zero in the first epoch and in no other");
        }
        check_bound("epoch members", self.members.len() as u64, MEMBERS_MAX as u64)?;
        check_bound("epoch revoked", self.revoked.len() as u64, REVOKED_MAX as u64)?;
        if !self.members.is_sorted_by(|a, b| a.node < b.node) || !self.revoked.is_sorted_by(|a, b| a < b) {
            return invalid("epoch nodes", "they are not sorted, or not unique");
        }
        let mut names = HashSet::with_capacity(self.members.len());
        for member in &self.members {
            member.check(self.number)?;
            if !names.insert(member.name.as_str()) {
                return invalid("member name", "two members have it");
            }
            if self.is_revoked(&member.node) {
                return invalid("member node", "it is revoked");
            }
        }
        if self.owners().next().is_none() {
            return invalid("epoch members", "there is no owner");
        }
        if self.number == 1 {
            return self.check_first();
        }
        if self.nonce != [0; 16] {
            return invalid("epoch nonce", "zero in all epochs but the first");
        }
        Ok(())
    }

    fn check_first(&self) -> Result<(), DecodeError> {
        if self.circle != circle_id(&self.signer, &self.nonce) {
            return Err(DecodeError::invalid("epoch circle", "it is not that of the founder and the nonce"));
        }
        if self.owners().count() != 1 || !self.is_owner(&self.signer) || !self.revoked.is_empty() {
            return Err(DecodeError::invalid("epoch members", "a first epoch has its founder as only owner"));
        }
        Ok(())
    }

    /// Whether this epoch may follow `before`.
    fn check_after(&self, before: &Epoch) -> Result<(), EpochError> {
        if self.circle != before.circle {
            return Err(EpochError::OtherCircle { wanted: before.circle, found: self.circle });
        }
        if self.number != before.number + 1 {
            return Err(EpochError::NotNext { wanted: before.number + 1, found: self.number });
        }
        if self.previous != before.hash {
            return Err(EpochError::OtherPast { number: self.number });
        }
        if !before.is_owner(&self.signer) {
            return Err(EpochError::NotOwner { signer: self.signer, number: self.number });
        }
        for member in &self.members {
            let wanted = before.member(&member.node).map_or(self.number, |known| known.joined);
            if member.joined != wanted {
                return Err(EpochError::Joined { node: member.node, wanted, found: member.joined });
            }
        }
        if let Some(node) = before.revoked.iter().find(|node| !self.is_revoked(node)) {
            return Err(EpochError::Forgotten { node: *node });
        }
        // Else one epoch could fill the list, which never shrinks, with keys that nobody has.
        match self.revoked.iter().find(|node| !before.is_revoked(node) && before.member(node).is_none()) {
            Some(node) => Err(EpochError::NotMember { node: *node }),
            None => Ok(()),
        }
    }
}

/// An epoch from outside. Number, past and hash are what it says of itself.
#[derive(Debug, Clone)]
pub struct UntrustedEpoch {
    pub(super) circle: CircleId,
    pub(super) number: u64,
    pub(super) previous: [u8; 32],
    pub(super) hash: [u8; 32],
    bytes: Bytes,
}

impl UntrustedEpoch {
    /// Takes bytes that are no longer than an epoch may be, and looks at how they begin.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, EpochError> {
        let bytes = bytes.into();
        check_bound("epoch", bytes.len() as u64, EPOCH_BYTES_MAX as u64)?;
        let mut input = Reader::new(&bytes);
        input.version("epoch", VERSION)?;
        let circle = CircleId::from_bytes(input.array("epoch circle")?);
        input.take("epoch nonce", 16)?;
        let number = input.u64_max("epoch number", SEQ_LIMIT - 1)?;
        let previous = input.array("epoch previous")?;
        let hash = *blake3::hash(&bytes).as_bytes();
        Ok(UntrustedEpoch { circle, number, previous, hash, bytes })
    }

    /// The circle that it says it is of.
    pub const fn circle(&self) -> CircleId {
        self.circle
    }

    /// The number that it gives itself.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Verifies the first epoch of a circle.
    pub fn verify_first(&self, circle: CircleId) -> Result<Epoch, EpochError> {
        let epoch = self.parse()?;
        if epoch.circle != circle {
            return Err(EpochError::OtherCircle { wanted: circle, found: epoch.circle });
        }
        if epoch.number != 1 {
            return Err(EpochError::NotNext { wanted: 1, found: epoch.number });
        }
        Ok(epoch)
    }

    /// Verifies the epoch that follows `before`.
    pub fn verify_after(&self, before: &Epoch) -> Result<Epoch, EpochError> {
        let epoch = self.parse()?;
        epoch.check_after(before)?;
        Ok(epoch)
    }

    /// Verifies an epoch whose hash came from somebody trusted: how a node that was invited begins.
    pub fn verify_hash(&self, hash: &[u8; 32]) -> Result<Epoch, EpochError> {
        if self.hash != *hash {
            return Err(EpochError::OtherHash { number: self.number });
        }
        self.parse()
    }

    /// Everything that can be told from the bytes alone, the signature last: it costs the most.
    fn parse(&self) -> Result<Epoch, EpochError> {
        let bytes = &self.bytes;
        let mut input = Reader::new(bytes);
        input.version("epoch", VERSION)?;
        let circle = CircleId::from_bytes(input.array("epoch circle")?);
        let nonce = input.array("epoch nonce")?;
        let number = input.u64("epoch number")?;
        let previous = input.array("epoch previous")?;
        let count = input.count16("epoch members", MEMBERS_MAX, Member::BYTES_MIN)?;
        let members = (0..count).map(|_| Member::decode(&mut input)).collect::<Result<_, _>>()?;
        let count = input.count16("epoch revoked", REVOKED_MAX, 32)?;
        let revoked =
            (0..count).map(|_| input.array("epoch revoked").map(DeviceId::from_bytes)).collect::<Result<_, _>>()?;
        let signer = DeviceId::from_bytes(input.array("epoch signer")?);
        let signed = &bytes[..bytes.len() - input.left()];
        let signature = input.array("epoch signature")?;
        input.finish("epoch")?;
        let hash = self.hash;
        let epoch =
            Epoch { circle, nonce, number, previous, members, revoked, signer, hash, bytes: self.bytes.clone() };
        epoch.check()?;
        signature::verify(signer.as_bytes(), Purpose::Epoch, signed, &signature)
            .map_err(|source| EpochError::Signature { signer, source })?;
        Ok(epoch)
    }
}

impl From<&Arc<Epoch>> for UntrustedEpoch {
    /// As a peer would see it.
    fn from(epoch: &Arc<Epoch>) -> Self {
        UntrustedEpoch {
            circle: epoch.circle,
            number: epoch.number,
            previous: epoch.previous,
            hash: epoch.hash,
            bytes: epoch.bytes.clone(),
        }
    }
}

fn circle_id(founder: &DeviceId, nonce: &[u8; 16]) -> CircleId {
    let material = [&founder.as_bytes()[..], nonce].concat();
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::derive_key(CIRCLE_ID_CONTEXT, &material)[..16]);
    CircleId::from_bytes(id)
}

/// As [`Epoch::found`], with the nonce given; only vectors and tests bring their own.
pub(crate) fn found_with_nonce(
    founder: &DeviceKey,
    mut members: Vec<Member>,
    nonce: [u8; 16],
) -> Result<Bytes, EpochError> {
    for member in &mut members {
        member.joined = 1;
    }
    members.sort_by_key(|member| member.node);
    let circle = circle_id(&founder.id(), &nonce);
    let bytes = seal(circle, nonce, 1, [0; 32], &members, &[], founder)?;
    UntrustedEpoch::new(bytes.clone())?.verify_first(circle)?;
    Ok(bytes)
}

/// Encodes and signs whatever it is given, within the bounds of its fields.
pub(crate) fn seal(
    circle: CircleId,
    nonce: [u8; 16],
    number: u64,
    previous: [u8; 32],
    members: &[Member],
    revoked: &[DeviceId],
    signer: &DeviceKey,
) -> Result<Bytes, EpochError> {
    check_bound("epoch members", members.len() as u64, MEMBERS_MAX as u64)?;
    check_bound("epoch revoked", revoked.len() as u64, REVOKED_MAX as u64)?;
    let mut out = Writer::with_capacity(256 + members.len() * Member::BYTES_MAX + revoked.len() * 32);
    out.u8(VERSION).raw(circle.as_bytes()).raw(&nonce).u64(number).raw(&previous).u16(members.len() as u16);
    for member in members {
        member.encode(&mut out)?;
    }
    out.u16(revoked.len() as u16);
    for node in revoked {
        out.raw(node.as_bytes());
    }
    out.raw(signer.id().as_bytes());
    let signature = signer.sign(Purpose::Epoch, out.as_slice());
    out.raw(&signature);
    Ok(out.into_bytes())
}
