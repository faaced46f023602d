//! Whom to be connected with, where they may be, and when to try again. No I/O: it is told the time.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::PeerState;
use crate::node_id::NodeId;
use crate::wire::circle::ADDRESSES_MAX;

/// The first wait after a failure; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait: a member that was off for days is found within this time.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A connection that lasted for less is a failure as well: who sends us away is not to be dialed without end.
const STEADY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Book {
    members: HashSet<NodeId>,
    entries: HashMap<NodeId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    addresses: Vec<SocketAddr>,
    /// It was named by a person, not only by the circle.
    is_wanted: bool,
    failures: u32,
    reached_at: Option<Instant>,
    retry_at: Option<Instant>,
    round_trip: Option<Duration>,
    trouble: Option<String>,
}

impl Entry {
    fn add(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        for address in addresses.into_iter().filter(|address| address.port() != 0 && !address.ip().is_unspecified()) {
            self.addresses.retain(|known| *known != address);
            self.addresses.insert(0, address);
        }
        self.addresses.truncate(ADDRESSES_MAX);
    }

    /// How long to wait after one more failure.
    fn wait(&mut self) -> Duration {
        let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX);
        self.failures += 1;
        wait
    }
}

impl Book {
    pub(super) fn set_members(&mut self, members: HashSet<NodeId>) {
        // Who was a member and is none any more is not sought, whoever named it.
        self.entries.retain(|node, entry| members.contains(node) || entry.is_wanted && !self.members.contains(node));
        self.members = members;
    }

    pub(super) fn is_member(&self, node: &NodeId) -> bool {
        self.members.contains(node)
    }

    /// A person said where a peer is: it is tried at once.
    pub(super) fn know(&mut self, node: NodeId, addresses: Vec<SocketAddr>, now: Instant) {
        let entry = self.entries.entry(node).or_default();
        entry.add(addresses);
        entry.is_wanted = true;
        entry.retry_at = Some(now);
    }

    /// Somebody said where a member may be, the best address first. Addresses that are new are tried soon; how often, stays.
    pub(super) fn may_be(&mut self, node: NodeId, mut addresses: Vec<SocketAddr>, now: Instant) {
        if !self.members.contains(&node) {
            return;
        }
        let entry = self.entries.entry(node).or_default();
        if addresses.iter().any(|address| !entry.addresses.contains(address)) {
            entry.retry_at = entry.retry_at.map(|at| at.min(now + RETRY_FIRST));
        }
        addresses.reverse();
        entry.add(addresses);
    }

    pub(super) fn measured(&mut self, node: NodeId, round_trip: Duration) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.round_trip = Some(round_trip);
        }
    }

    pub(super) fn reached(&mut self, node: NodeId, dialed: Option<SocketAddr>, now: Instant) {
        let entry = self.entries.entry(node).or_default();
        entry.add(dialed);
        entry.reached_at.get_or_insert(now);
        (entry.retry_at, entry.trouble) = (None, None);
    }

    /// The connection went: it is tried again soon.
    pub(super) fn lost(&mut self, node: NodeId, now: Instant) {
        match self.entries.get_mut(&node) {
            Some(entry) if entry.is_wanted || self.members.contains(&node) => {
                if entry.reached_at.take().is_none_or(|at| at + STEADY <= now) {
                    entry.failures = 0;
                    entry.retry_at = Some(now);
                } else {
                    entry.retry_at = Some(now + entry.wait());
                }
            }
            _ => drop(self.entries.remove(&node)),
        }
    }

    pub(super) fn failed(&mut self, node: NodeId, why: String, now: Instant) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        entry.retry_at = Some(now + entry.wait());
        entry.trouble = Some(why);
    }

    /// Whom to dial now. Each is given out once, until it fails or is lost.
    pub(super) fn due(&mut self, connected: &HashSet<NodeId>, now: Instant) -> Vec<(NodeId, Vec<SocketAddr>)> {
        let members = &self.members;
        let due = self.entries.iter_mut().filter(|(node, entry)| {
            let is_sought = entry.is_wanted || members.contains(node);
            let is_time = entry.retry_at.is_none_or(|at| at <= now);
            is_sought && is_time && !connected.contains(node) && !entry.addresses.is_empty()
        });
        due.map(|(node, entry)| {
            // Should neither success nor failure be heard of, it is tried again.
            entry.retry_at = Some(now + RETRY_MAX);
            (*node, entry.addresses.clone())
        })
        .collect()
    }

    pub(super) fn states(&self, connected: &HashSet<NodeId>) -> Vec<PeerState> {
        let known: HashSet<NodeId> = self.members.iter().chain(self.entries.keys()).copied().collect();
        let nothing = Entry::default();
        let mut states: Vec<PeerState> = known
            .into_iter()
            .map(|node| {
                let entry = self.entries.get(&node).unwrap_or(&nothing);
                PeerState {
                    node,
                    is_connected: connected.contains(&node),
                    round_trip: entry.round_trip,
                    addresses: entry.addresses.clone(),
                    trouble: entry.trouble.clone(),
                }
            })
            .collect();
        states.sort_by_key(|state| state.node);
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_block::DeviceKey;

    fn node(seed: u8) -> NodeId {
        NodeId::new(DeviceKey::from_bytes(&[seed; 32]).id()).expect("a key")
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn who_fails_is_tried_ever_more_seldom_and_at_once_when_it_is_named_again() {
        let (mut book, nobody, start) = (Book::default(), HashSet::new(), Instant::now());
        book.know(node(1), vec![address(1)], start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(book.due(&nobody, now), [(node(1), vec![address(1)])]);
            assert!(book.due(&nobody, now).is_empty(), "it is being dialed");
            book.failed(node(1), "refused".into(), now);
            let next = (1..=120).map(|s| now + Duration::from_secs(s)).find(|at| !book.due(&nobody, *at).is_empty());
            let next = next.expect("it is tried again");
            book.failed(node(1), "refused".into(), next);
            waits.push((next - now).as_secs());
            now = next + RETRY_MAX;
        }
        assert!(waits.is_sorted() && waits.iter().all(|wait| *wait <= 60), "{waits:?}");
        book.know(node(1), vec![address(2)], now);
        assert_eq!(book.due(&nobody, now), [(node(1), vec![address(2), address(1)])]);
    }

    #[test]
    fn who_sends_us_away_is_not_dialed_without_end() {
        let (mut book, nobody, start) = (Book::default(), HashSet::new(), Instant::now());
        book.set_members(HashSet::from([node(1)]));
        book.may_be(node(1), vec![address(1)], start);
        let (mut now, mut dials) = (start, 0);
        while now < start + Duration::from_secs(300) {
            if !book.due(&nobody, now).is_empty() {
                dials += 1;
                book.reached(node(1), Some(address(1)), now);
                book.lost(node(1), now + Duration::from_millis(100));
                // What is told of it makes it no faster.
                book.may_be(node(1), vec![address(1)], now);
            }
            now += Duration::from_millis(200);
        }
        assert!((5..=12).contains(&dials), "{dials}");
        // One that lasted is sought at once.
        book.reached(node(1), None, now);
        book.lost(node(1), now + STEADY);
        assert_eq!(book.due(&nobody, now + STEADY).len(), 1);
    }

    #[test]
    fn where_a_member_may_be_is_tried_soon_the_best_first_and_of_strangers_nothing_is_kept() {
        let (mut book, nobody, now) = (Book::default(), HashSet::new(), Instant::now());
        book.may_be(node(2), vec![address(9)], now);
        assert!(book.states(&nobody).is_empty());
        book.set_members(HashSet::from([node(1)]));
        book.may_be(node(1), vec![address(1), address(2)], now);
        assert_eq!(book.due(&nobody, now), [(node(1), vec![address(1), address(2)])]);
        for _ in 0..9 {
            book.failed(node(1), "refused".into(), now);
        }
        book.may_be(node(1), vec![address(3), address(1)], now);
        let soon = now + RETRY_FIRST;
        assert_eq!(book.due(&nobody, soon), [(node(1), vec![address(3), address(1), address(2)])]);
    }

    #[test]
    fn strangers_are_not_sought_and_not_kept() {
        let (mut book, nobody, now) = (Book::default(), HashSet::new(), Instant::now());
        book.reached(node(1), Some(address(1)), now);
        book.lost(node(1), now);
        assert!(book.states(&nobody).is_empty());
        book.set_members(HashSet::from([node(2)]));
        book.know(node(2), vec![address(2)], now);
        assert_eq!(book.due(&nobody, now).len(), 1);
        book.set_members(HashSet::new());
        assert!(book.states(&nobody).is_empty(), "a member that left is forgotten, though somebody named it");
    }

    #[test]
    fn addresses_are_bounded_and_the_newest_comes_first() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.set_members(HashSet::from([node(1)]));
        book.know(node(1), (1..100).map(address).collect(), now);
        book.know(node(1), vec![([0, 0, 0, 0], 5).into(), address(0)], now);
        let known = &book.states(&HashSet::new())[0].addresses;
        assert_eq!((known.len(), known[0]), (ADDRESSES_MAX, address(99)));
    }
}
