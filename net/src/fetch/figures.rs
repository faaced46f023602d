//! What is known of how fast peers are, and whom to ask next. No I/O: it is told the time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::node_id::NodeId;

/// How much a new measurement counts against the older ones.
const WEIGHT: f64 = 0.2;
/// What is assumed of a peer that nothing is known of: the first answer tells more.
const ROUND_TRIP_GUESS: Duration = Duration::from_millis(50);
const RATE_GUESS: f64 = 10e6;
/// Answers whose time is remembered, for the 95th percentile.
const TIMES_MAX: usize = 128;
/// With fewer there is no percentile to speak of.
const TIMES_MIN: usize = 16;
/// A second request is never made earlier than this: a local disk takes so long now and then.
const HEDGE_MIN: Duration = Duration::from_millis(20);
/// How long a peer that was late goes last: at first, and at most.
const LATE_FIRST: Duration = Duration::from_secs(1);
const LATE_MAX: Duration = Duration::from_secs(60);
/// After so long without a try nothing is known of whether a peer is away.
const AWAY_FORGOTTEN: Duration = Duration::from_secs(10);
/// What is waited while nothing is known.
const HEDGE_GUESS: Duration = Duration::from_millis(250);

/// Of one peer.
#[derive(Debug, Clone)]
struct Figures {
    round_trip: Duration,
    /// Bytes a second of one answer.
    rate: f64,
    in_flight: u64,
    busy_until: Option<Instant>,
    /// How long it goes last, when it is late again.
    lateness: Duration,
    /// Since when it can't be reached, and when that was seen last.
    away: Option<(Instant, Instant)>,
}

impl Default for Figures {
    fn default() -> Self {
        Figures {
            round_trip: ROUND_TRIP_GUESS,
            rate: RATE_GUESS,
            in_flight: 0,
            busy_until: None,
            lateness: Duration::ZERO,
            away: None,
        }
    }
}

/// Of all peers.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    figures: HashMap<NodeId, Figures>,
    times: VecDeque<Duration>,
}

impl Peers {
    /// Who is likely to answer first, for a block of about `bytes`: by what is in flight to each and by its round trip. Who asked
    /// for patience comes last.
    pub(crate) fn ranked(&self, peers: &[NodeId], bytes: u64, now: Instant) -> Vec<NodeId> {
        let unknown = Figures::default();
        let expected = |peer: &NodeId| {
            let figures = self.figures.get(peer).unwrap_or(&unknown);
            let is_busy = figures.busy_until.is_some_and(|until| until > now);
            let waiting = (figures.in_flight + bytes) as f64 / figures.rate.max(1.0);
            (is_busy, figures.round_trip + Duration::from_secs_f64(waiting.min(3600.0)))
        };
        let mut ranked: Vec<_> = peers.iter().map(|peer| (expected(peer), *peer)).collect();
        ranked.sort();
        ranked.into_iter().map(|(_, peer)| peer).collect()
    }

    /// A request goes out.
    pub(crate) fn asked(&mut self, peer: NodeId, bytes: u64) {
        self.figures.entry(peer).or_default().in_flight += bytes;
    }

    /// It ended, whichever way.
    pub(crate) fn ended(&mut self, peer: NodeId, bytes: u64) {
        let figures = self.figures.entry(peer).or_default();
        figures.in_flight = figures.in_flight.saturating_sub(bytes);
    }

    /// A want was answered with a block after it had waited so long, in queues and on the way.
    pub(crate) fn waited(&mut self, peer: NodeId, waited: Duration) {
        let figures = self.figures.entry(peer).or_default();
        (figures.busy_until, figures.lateness) = (None, Duration::ZERO);
        if self.times.len() == TIMES_MAX {
            self.times.pop_front();
        }
        self.times.push_back(waited);
    }

    /// A request brought so many bytes in all, so long after it was made.
    pub(crate) fn carried(&mut self, peer: NodeId, bytes: u64, took: Duration) {
        let figures = self.figures.entry(peer).or_default();
        // The part beyond the round trip is the transfer, where there is enough to tell.
        if bytes >= 64 << 10 {
            let transfer = took.saturating_sub(figures.round_trip).max(Duration::from_micros(100));
            figures.rate += WEIGHT * (bytes as f64 / transfer.as_secs_f64() - figures.rate);
        }
    }

    /// It has not answered when answers usually come: others go first for a while, twice as long each time.
    pub(crate) fn late(&mut self, peer: NodeId, now: Instant) {
        let figures = self.figures.entry(peer).or_default();
        figures.lateness = (2 * figures.lateness).clamp(LATE_FIRST, LATE_MAX);
        figures.busy_until = Some(now + figures.lateness);
    }

    /// It could not be reached, or could. How long that has been so.
    pub(crate) fn reached(&mut self, peer: NodeId, is_reached: bool, now: Instant) -> Duration {
        let figures = self.figures.entry(peer).or_default();
        if is_reached {
            figures.away = None;
            return Duration::ZERO;
        }
        // What was seen long ago says nothing of the time since.
        let is_fresh = |seen: &Instant| now.saturating_duration_since(*seen) < AWAY_FORGOTTEN;
        let since = figures.away.filter(|(_, seen)| is_fresh(seen)).map_or(now, |(since, _)| since);
        figures.away = Some((since, now));
        now.saturating_duration_since(since)
    }

    /// Of how many something is known.
    pub(crate) fn count(&self) -> usize {
        self.figures.len()
    }

    /// Forgets who is no member.
    pub(crate) fn keep(&mut self, members: &HashSet<NodeId>) {
        self.figures.retain(|peer, _| members.contains(peer));
    }

    /// A ping took so long.
    pub(crate) fn pinged(&mut self, peer: NodeId, round_trip: Duration) {
        self.figures.entry(peer).or_default().round_trip = round_trip;
    }

    /// It asked to be left alone.
    pub(crate) fn busy(&mut self, peer: NodeId, until: Instant) {
        self.figures.entry(peer).or_default().busy_until = Some(until);
    }

    /// How long to wait for a peer before another one is asked as well: the 95th percentile of answers, or two round trips.
    pub(crate) fn hedge_after(&self, peer: &NodeId) -> Duration {
        let round_trip = self.figures.get(peer).map_or(ROUND_TRIP_GUESS, |figures| figures.round_trip);
        let percentile = if self.times.len() < TIMES_MIN {
            HEDGE_GUESS
        } else {
            let mut times: Vec<_> = self.times.iter().copied().collect();
            times.sort_unstable();
            times[times.len() * 95 / 100]
        };
        percentile.max(2 * round_trip).max(HEDGE_MIN)
    }
}

/// Second requests that may be made: without a bound they double the load where it is too high already.
#[derive(Debug)]
pub(crate) struct HedgeBudget {
    tokens: f64,
}

impl HedgeBudget {
    /// Of this part of all requests.
    const SHARE: f64 = 0.05;
    /// Saved up at most.
    const TOKENS_MAX: f64 = 10.0;

    pub(crate) fn new() -> Self {
        HedgeBudget { tokens: Self::TOKENS_MAX }
    }

    /// A first request was made.
    pub(crate) fn earn(&mut self) {
        self.tokens = (self.tokens + Self::SHARE).min(Self::TOKENS_MAX);
    }

    /// Whether a second one may be.
    pub(crate) fn spend(&mut self) -> bool {
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use cairn_block::DeviceKey;

    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::new(DeviceKey::from_bytes(&[seed; 32]).id()).expect("a key")
    }

    #[test]
    fn who_is_fast_and_idle_is_asked_first_and_who_is_busy_last() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        let all = [node(1), node(2), node(3)];
        peers.pinged(node(1), Duration::from_millis(40));
        peers.pinged(node(2), Duration::from_millis(1));
        peers.pinged(node(3), Duration::from_millis(20));
        assert_eq!(peers.ranked(&all, 1000, now), [node(2), node(3), node(1)]);
        peers.asked(node(2), 10 << 20);
        assert_eq!(peers.ranked(&all, 1000, now), [node(3), node(1), node(2)]);
        peers.ended(node(2), 10 << 20);
        peers.busy(node(2), now + Duration::from_secs(1));
        assert_eq!(peers.ranked(&all, 1000, now).last(), Some(&node(2)));
        assert_eq!(peers.ranked(&all, 1000, now + Duration::from_secs(2))[0], node(2));
    }

    #[test]
    fn a_slow_peer_among_fast_ones_sinks() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        for _ in 0..20 {
            peers.carried(node(1), 256 << 10, Duration::from_millis(60));
            peers.carried(node(2), 256 << 10, Duration::from_millis(900));
        }
        assert_eq!(peers.ranked(&[node(2), node(1)], 256 << 10, now)[0], node(1));
    }

    #[test]
    fn hedging_waits_for_the_slow_tail_and_is_a_twentieth_at_most() {
        let mut peers = Peers::default();
        assert_eq!(peers.hedge_after(&node(1)), HEDGE_GUESS);
        peers.pinged(node(1), Duration::from_millis(5));
        (1..=100).for_each(|ms| peers.waited(node(1), Duration::from_millis(ms)));
        assert_eq!(peers.hedge_after(&node(1)), Duration::from_millis(96));
        let mut budget = HedgeBudget::new();
        let hedges = (0..10_000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        let hedges = hedges.count();
        assert!((400..=510).contains(&hedges), "{hedges}");
    }

    #[test]
    fn who_is_away_is_so_from_the_first_try_in_a_row_until_it_is_reached() {
        let node = node(1);
        let (mut peers, start) = (Peers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(peers.reached(node, false, at(0)), Duration::ZERO);
        assert_eq!(peers.reached(node, false, at(3)), Duration::from_secs(3));
        assert_eq!(peers.reached(node, false, at(12)), Duration::from_secs(12));
        assert_eq!(peers.reached(node, false, at(60)), Duration::ZERO, "nobody tried in between");
        peers.reached(node, true, at(61));
        assert_eq!(peers.reached(node, false, at(62)), Duration::ZERO);
    }
}
