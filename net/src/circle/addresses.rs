//! Where members may be found, and how much each word of it is worth. No I/O.
//!
//! A false address costs a dial that fails and nothing else: who answers there has to prove the member's key. What has to be
//! kept from liars is the room: what somebody says about others never takes the place of an address that worked, or that the
//! member told itself; and hearsay is not passed on, so that a false word goes no further than its author.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cairn_block::DeviceId;

use crate::wire::circle::{ADDRESSES_MAX, Whereabouts, is_address};

/// Addresses of one member that once worked: the newest, and where it was before.
const WORKED_MAX: usize = 2;

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Another member.
    Hearsay,
    /// It was known when the node last ended.
    Kept,
    /// The member itself.
    Itself,
    /// This node reached it there.
    Worked,
}

/// The addresses of all members, of each the best first.
#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeMap<DeviceId, Vec<(SocketAddr, Source)>>);

impl Addresses {
    /// Notes where a member may be; whether anything is new about it.
    pub(super) fn note(&mut self, node: DeviceId, addresses: &[SocketAddr], source: Source) -> bool {
        let known = self.0.entry(node).or_default();
        let before = known.clone();
        if source == Source::Itself {
            // It told all of its own.
            known.retain(|(address, source)| *source != Source::Itself || addresses.contains(address));
        }
        for address in addresses.iter().filter(|address| is_address(address)).take(ADDRESSES_MAX) {
            let at = known.iter().position(|(other, _)| other == address);
            let source = at.map_or(source, |at| known[at].1.max(source));
            match at {
                // Where it is among others of its kind stays: what is told again and again is no news.
                Some(at) if known[at].1 == source => continue,
                Some(at) => drop(known.remove(at)),
                None => {}
            }
            let place = known.iter().position(|(_, other)| *other <= source).unwrap_or(known.len());
            known.insert(place, (*address, source));
        }
        let mut worked = 0;
        known.retain(|(_, source)| {
            worked += usize::from(*source == Source::Worked);
            *source != Source::Worked || worked <= WORKED_MAX
        });
        known.truncate(ADDRESSES_MAX);
        let is_new = *known != before;
        if known.is_empty() {
            self.0.remove(&node);
        }
        is_new
    }

    /// Forgets all others.
    pub(super) fn keep(&mut self, is_member: impl Fn(&DeviceId) -> bool) {
        self.0.retain(|node, _| is_member(node));
    }

    pub(super) fn of(&self, node: &DeviceId) -> Vec<SocketAddr> {
        self.0.get(node).into_iter().flatten().map(|(address, _)| *address).collect()
    }

    /// Everything, to be saved.
    pub(super) fn all(&self) -> Whereabouts {
        self.0.keys().map(|node| (*node, self.of(node))).collect()
    }

    /// What others are told: what this node knows at first hand.
    pub(super) fn told(&self) -> Whereabouts {
        let first_hand = |known: &[(SocketAddr, Source)]| {
            known.iter().filter(|(_, source)| *source >= Source::Itself).map(|(address, _)| *address).collect()
        };
        let told = self.0.iter().map(|(node, known)| (*node, first_hand(known)));
        told.filter(|(_, addresses): &(_, Vec<_>)| !addresses.is_empty()).collect()
    }
}

/// The addresses at which others may find this node, of those that it listens at. Those of the machine alone are told only where
/// there are no others: they mean something else to everybody else.
pub(super) fn own(listening: &[SocketAddr]) -> Vec<SocketAddr> {
    let usable: Vec<SocketAddr> = listening.iter().filter(|address| is_address(address)).copied().collect();
    let is_reachable = |address: &SocketAddr| !address.ip().is_loopback();
    let mut own: Vec<SocketAddr> = match usable.iter().any(is_reachable) {
        true => usable.into_iter().filter(is_reachable).collect(),
        false => usable,
    };
    own.sort();
    own.dedup();
    own.truncate(ADDRESSES_MAX);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn hearsay_takes_no_place_of_what_is_known_better_and_is_not_passed_on() {
        let (mut addresses, node) = (Addresses::default(), DeviceId::from_bytes([1; 32]));
        assert!(addresses.note(node, &[at(1)], Source::Itself));
        assert!(addresses.note(node, &[at(2)], Source::Worked));
        assert!(addresses.note(node, &[at(3)], Source::Kept));
        for port in 100..200 {
            addresses.note(node, &[at(port)], Source::Hearsay);
        }
        assert_eq!(addresses.of(&node)[..3], [at(2), at(1), at(3)]);
        assert_eq!(addresses.of(&node).len(), ADDRESSES_MAX);
        assert_eq!(addresses.told(), Whereabouts::from([(node, vec![at(2), at(1)])]));
        assert!(!addresses.note(node, &[at(1)], Source::Hearsay), "that is known better");
    }

    #[test]
    fn who_moves_is_known_where_it_is_now() {
        let (mut addresses, node) = (Addresses::default(), DeviceId::from_bytes([1; 32]));
        addresses.note(node, &[at(1), at(2)], Source::Itself);
        assert!(addresses.note(node, &[at(2), at(3)], Source::Itself));
        assert!(!addresses.of(&node).contains(&at(1)));
        for port in 10..20 {
            addresses.note(node, &[at(port)], Source::Worked);
        }
        assert_eq!(addresses.of(&node)[..2], [at(19), at(18)]);
        assert_eq!(addresses.of(&node).len(), 4);
        addresses.keep(|_| false);
        assert!(addresses.all().is_empty());
    }

    #[test]
    fn addresses_of_this_machine_alone_are_told_where_there_are_no_others() {
        let local: SocketAddr = ([127, 0, 0, 1], 1).into();
        assert_eq!(own(&[local, at(1), ([0, 0, 0, 0], 1).into()]), [at(1)]);
        assert_eq!(own(&[local]), [local]);
    }
}
