//! Whose turn it is: each member once, and again those who may give the block later. No I/O: it is told the time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::Refusal;
use crate::lanes::OpenError;
use crate::node_id::NodeId;

/// The first wait before a peer that couldn't be reached is tried again; each further one is twice as long.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How often: a line that broke is back by then, and who is switched off keeps nobody waiting.
const AGAIN_MAX: u32 = 3;

/// Who couldn't be reached for so long is away: what the turns above add up to.
const AWAY_AFTER: Duration = Duration::from_secs(2);

/// What to do when nobody is being asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask this one.
    Ask(NodeId),
    /// Nobody now; somebody at this time.
    Again(Instant),
    /// Nobody any more.
    Nobody,
}

#[derive(Debug)]
pub(super) struct Turns {
    fresh: VecDeque<NodeId>,
    again: Vec<(Instant, NodeId)>,
    tries: HashMap<NodeId, u32>,
}

impl Turns {
    /// The likely fastest come first.
    pub(super) fn new(ranked: Vec<NodeId>) -> Self {
        Turns { fresh: ranked.into(), again: Vec::new(), tries: HashMap::new() }
    }

    /// Members that were not asked yet.
    pub(super) fn fresh(&self) -> usize {
        self.fresh.len()
    }

    pub(super) fn next(&mut self) -> Turn {
        if let Some(peer) = self.fresh.pop_front() {
            return Turn::Ask(peer);
        }
        let Some(first) = (0..self.again.len()).min_by_key(|at| self.again[*at].0) else { return Turn::Nobody };
        if self.again[first].0 > Instant::now() {
            return Turn::Again(self.again[first].0);
        }
        Turn::Ask(self.again.swap_remove(first).1)
    }

    /// A peer gave nothing; it may have another turn. One that has been `away` for a while has none: each block would wait for it.
    pub(super) fn refused(&mut self, peer: NodeId, refusal: &Refusal, away: Duration, now: Instant) {
        let tries = self.tries.entry(peer).or_default();
        let wait = match refusal {
            // It says itself when.
            Refusal::Busy(retry) => Some(*retry),
            Refusal::Unreachable(OpenError::NotSpoken) => None,
            Refusal::Unreachable(_) if away >= AWAY_AFTER => None,
            Refusal::Unreachable(_) | Refusal::Broken(_) => (*tries < AGAIN_MAX).then(|| AGAIN_AFTER * (1 << *tries)),
            _ => None,
        };
        *tries += 1;
        self.again.extend(wait.map(|wait| (now + wait, peer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_block::DeviceKey;

    #[test]
    fn who_is_busy_is_asked_when_it_said_and_who_is_away_three_times_more() {
        let node = |seed| NodeId::new(DeviceKey::from_bytes(&[seed; 32]).id()).expect("a key");
        let mut turns = Turns::new(vec![node(1), node(2), node(3)]);
        let long_ago = Instant::now() - Duration::from_secs(60);
        for peer in [1, 2, 3] {
            assert_eq!(turns.next(), Turn::Ask(node(peer)));
        }
        let now = Duration::ZERO;
        turns.refused(node(1), &Refusal::Missing, now, long_ago);
        turns.refused(node(2), &Refusal::Busy(Duration::from_secs(600)), now, long_ago);
        let away = Refusal::Unreachable(OpenError::NotConnected);
        for _ in 0..AGAIN_MAX {
            turns.refused(node(3), &away, now, long_ago);
            assert_eq!(turns.next(), Turn::Ask(node(3)));
        }
        turns.refused(node(3), &away, now, long_ago);
        assert_eq!(turns.next(), Turn::Again(long_ago + Duration::from_secs(600)));
        let mut turns = Turns::new(vec![node(3)]);
        assert_eq!(turns.next(), Turn::Ask(node(3)));
        turns.refused(node(3), &away, AWAY_AFTER, long_ago);
        assert_eq!(turns.next(), Turn::Nobody, "who is away keeps no block waiting");
    }
}
