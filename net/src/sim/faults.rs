//! Which faults come when: chosen by the seed, and never more than m nodes gone at once.

use std::collections::BTreeMap;

use super::{HOUR, MINUTE, Time, Who};

/// A disk that was lost counts as gone for so long, from when it was lost: its node is back within 20 hours, or missed after
/// 24, and what it held is made again soon after.
const GONE_AFTER_WIPE: Time = 40 * HOUR;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A node stops, and starts again after this time.
    Crash { node: usize, wiped: bool, away: Time },
    /// Nothing gets through in one direction for this time.
    Block { from: Who, to: Who, time: Time },
    /// A device is away for this time.
    Away { device: usize, time: Time },
}

pub(super) struct Faults {
    nodes: usize,
    devices: usize,
    /// Most nodes gone at once.
    most: usize,
    gone: BTreeMap<usize, Time>,
}

impl Faults {
    pub(super) fn new(nodes: usize, devices: usize, most: usize) -> Self {
        Faults { nodes, devices, most, gone: BTreeMap::new() }
    }

    /// A fault at random; none if it would be one node too many.
    pub(super) fn next(&mut self, rng: &mut fastrand::Rng, now: Time) -> Option<Fault> {
        match rng.u8(0..10) {
            0..=3 => self.crash(rng.usize(0..self.nodes), false, rng.u64(MINUTE..2 * HOUR), now),
            4 => self.crash(rng.usize(0..self.nodes), false, rng.u64(2 * HOUR..30 * HOUR), now),
            5 | 6 => self.crash(rng.usize(0..self.nodes), true, rng.u64(MINUTE..20 * HOUR), now),
            7 | 8 => Some(self.block(rng)),
            _ => Some(Fault::Away { device: rng.usize(0..self.devices), time: rng.u64(5 * HOUR..90 * HOUR) }),
        }
    }

    /// A crash of this node, if it isn't one too many.
    pub(super) fn crash(&mut self, node: usize, wiped: bool, away: Time, now: Time) -> Option<Fault> {
        self.gone.retain(|_, until| *until > now);
        if self.gone.len() >= self.most || self.gone.contains_key(&node) {
            return None;
        }
        self.gone.insert(node, now + if wiped { GONE_AFTER_WIPE } else { away });
        Some(Fault::Crash { node, wiped, away })
    }

    fn block(&self, rng: &mut fastrand::Rng) -> Fault {
        let from = Who::Node(rng.usize(0..self.nodes));
        let to = Who::Node(rng.usize(0..self.nodes));
        let device = Who::Device(rng.usize(0..self.devices));
        let time = rng.u64(10 * MINUTE..4 * HOUR);
        match rng.u8(0..4) {
            0 => Fault::Block { from: device, to, time },
            1 => Fault::Block { from, to: device, time },
            _ => Fault::Block { from, to, time },
        }
    }
}
