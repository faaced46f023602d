//! Messages, and how they are late, lost and blocked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::Holding;
use super::{Pack, Time, Who};
use crate::manifest::{Hold, Manifest};

/// What is sent.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// Store this shard.
    Put { pack: Pack, shard: u8, holds: Vec<Hold>, by_repair: bool },
    /// It is stored.
    Stored { pack: Pack, shard: u8 },
    /// All that the sender holds.
    Report(Arc<Vec<Holding>>),
    /// What a device needs.
    Manifest(Manifest<Pack>),
    /// A device wants to use a pack that is there.
    AskHold { pack: Pack, hold: Hold },
    /// It stays, with these shards.
    HoldKept { pack: Pack, shards: Vec<u8> },
}

/// One in so many messages is lost.
const LOST_ONE_IN: u64 = 50;

/// Directions that are blocked, and until when.
#[derive(Default)]
pub(super) struct Network {
    blocked: BTreeMap<(Who, Who), Time>,
}

impl Network {
    pub(super) fn block(&mut self, from: Who, to: Who, until: Time) {
        self.blocked.insert((from, to), until);
    }

    pub(super) fn is_open(&self, from: Who, to: Who, now: Time) -> bool {
        self.blocked.get(&(from, to)).is_none_or(|until| *until <= now)
    }

    /// When a message that is sent now arrives, if it does.
    pub(super) fn arrival(&self, rng: &mut fastrand::Rng, from: Who, to: Who, now: Time) -> Option<Time> {
        let arrives = self.is_open(from, to, now) && rng.u64(0..LOST_ONE_IN) > 0;
        // Mostly quick, sometimes half a minute behind: so messages overtake each other.
        let delay = if rng.u8(0..20) == 0 { rng.u64(1..30_000) } else { rng.u64(1..200) };
        arrives.then(|| now + delay)
    }
}
