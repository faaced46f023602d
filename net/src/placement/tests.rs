//! What every node can rely on when it computes where a group is.

use super::*;
use proptest::prelude::*;

fn key() -> PlacementKey {
    PlacementKey::from_bytes([7; 32])
}

fn node(n: u16) -> DeviceId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&n.to_le_bytes());
    DeviceId::from_bytes(bytes)
}

/// Anchors with these zones and capacities.
fn anchors(given: &[(u16, u64)]) -> Anchors {
    let zones: Vec<String> = given.iter().map(|(zone, _)| format!("zone {zone}")).collect();
    Anchors::new(
        given.iter().zip(&zones).enumerate().map(|(n, ((_, size), zone))| (node(n as u16), zone.as_str(), *size)),
    )
}

fn even(count: u16, zones: u16) -> Anchors {
    anchors(&(0..count).map(|n| (n % zones, 100)).collect::<Vec<_>>())
}

fn code(k: u8, m: u8) -> Code {
    crate::code::of(k, m).unwrap()
}

#[test]
fn placements_are_what_they_were_in_every_release() {
    // Data is where an older release put it: a change here moves all of it.
    let anchors = anchors(&[(0, 1), (0, 1 << 40), (1, 3 << 40), (1, 1 << 50), (2, 7), (2, 5 << 30), (3, 1 << 40)]);
    let mut hasher = blake3::Hasher::new();
    for group in 0..1000 {
        for code in [code(1, 2), code(2, 2), code(4, 2)] {
            for holder in place(&key(), group, code, &anchors).holders {
                hasher.update(holder.unwrap().as_bytes());
            }
        }
    }
    assert_eq!(hasher.finalize().to_hex().as_str(), GOLDEN);
}

const GOLDEN: &str = "a52e634f65c76ba08c8e55b59e53d9a8da407fc92dc21e48ecf74af0d70054b1";

#[test]
fn a_key_is_needed_to_know_where_a_group_is() {
    let other = PlacementKey::from_bytes([8; 32]);
    let same = (0..100).filter(|group| {
        place(&key(), *group, code(4, 2), &even(12, 12)) == place(&other, *group, code(4, 2), &even(12, 12))
    });
    assert_eq!(same.count(), 0);
}

#[test]
fn no_zone_gets_more_than_may_be_lost_where_zones_allow_it() {
    for group in 0..500 {
        let placed = place(&key(), group, code(4, 2), &even(9, 3));
        assert_eq!((placed.zone_cap, placed.survives_a_zone), (2, true));
        for zone in 0..3 {
            let held = placed.holders.iter().flatten().filter(|node| node.as_bytes()[0] % 3 == zone);
            assert_eq!(held.count(), 2);
        }
    }
}

#[test]
fn too_few_zones_are_shared_as_evenly_as_they_can_be_and_told() {
    let placed = place(&key(), 1, code(4, 2), &even(8, 2));
    assert_eq!((placed.zone_cap, placed.survives_a_zone), (3, false));
    // One zone has a single node: the other has to take the rest.
    let lopsided = anchors(&[(0, 9), (1, 9), (1, 9), (1, 9), (1, 9), (1, 9)]);
    assert_eq!(lopsided.zone_cap(code(4, 2)), 5);
    assert!(place(&key(), 1, code(4, 2), &lopsided).holders.iter().all(Option::is_some));
}

#[test]
fn too_few_anchors_leave_the_last_shards_without_a_holder() {
    let placed = place(&key(), 3, code(4, 2), &even(4, 4));
    assert_eq!(placed.holders.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, true, false, false]);
    assert!(!placed.survives_a_zone);
    assert_eq!(place(&key(), 3, code(1, 0), &Anchors::default()).holders, [None]);
}

#[test]
fn who_offers_nothing_holds_nothing() {
    let some = Anchors::new([(node(1), "a", 0), (node(2), "a", 5), (node(2), "b", 9)]);
    assert_eq!(some.list(), [Anchor { node: node(2), zone: 0, capacity: 5 }]);
}

#[test]
fn a_placement_can_be_explained() {
    let anchors = even(9, 3);
    let mut passed = 0;
    for group in 0..100 {
        let explained = explain(&key(), group, code(4, 2), &anchors);
        let holders: Vec<_> = explained.holders.iter().map(|holder| holder.as_ref().map(|it| it.node)).collect();
        assert_eq!(holders, place(&key(), group, code(4, 2), &anchors).holders);
        let mut ranks: Vec<_> =
            explained.holders.iter().flatten().chain(&explained.zone_full).map(|it| it.rank).collect();
        ranks.sort();
        assert_eq!(ranks, (1..=ranks.len()).collect::<Vec<_>>(), "nobody better is left unexplained");
        assert_eq!(explained.next.map(|it| it.rank), (ranks.len() < 9).then_some(ranks.len() + 1));
        for full in &explained.zone_full {
            let here = explained.holders.iter().flatten().filter(|it| it.zone == full.zone && it.rank < full.rank);
            assert_eq!(here.count(), explained.zone_cap);
        }
        passed += explained.zone_full.len();
    }
    assert!(passed > 0);
    let few = explain(&key(), 1, code(1, 2), &even(2, 2));
    assert_eq!((few.holders[2].clone(), few.next), (None, None));
}

#[test]
fn a_change_of_the_circle_changes_no_more_holders_than_it_must() {
    let sets = |anchors: &Anchors, group| {
        place(&key(), group, code(4, 2), anchors)
            .holders
            .into_iter()
            .flatten()
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (before, after) = (even(12, 12), anchors(&(0..13).map(|n| (n, 100)).collect::<Vec<_>>()));
    let mut larger: Vec<_> = (0..12).map(|n| (n, 100)).collect();
    larger[3].1 = 250;
    let larger = anchors(&larger);
    for group in 0..300 {
        let old = sets(&before, group);
        for (new, gains) in [(sets(&after, group), node(12)), (sets(&larger, group), node(3))] {
            let gained: Vec<_> = new.difference(&old).collect();
            assert!(gained.is_empty() || gained == [&gains], "only who grew gets something");
        }
    }
}

#[test]
fn the_largest_number_gives_a_score_before_all_others() {
    let best = score(u64::MAX, 7);
    assert!(best == 0.0 && best.is_sign_negative());
    for number in [0, 1, 1 << 63, u64::MAX - (1 << 11)] {
        for capacity in [1, u64::MAX] {
            let other = score(number, capacity);
            assert!(other > 0.0 && other.is_finite() && best.total_cmp(&other).is_lt());
        }
    }
}

proptest! {
    #[test]
    fn holders_differ_zones_are_kept_and_the_order_of_the_anchors_is_nothing(
        given in prop::collection::vec((0_u16..5, 1_u64..1 << 50), 1..20),
        group in any::<u64>(),
        k in prop::sample::select(&crate::code::DATA),
        m in 1_u8..8,
    ) {
        let (anchors, code) = (anchors(&given), code(k, m));
        let placed = place(&key(), group, code, &anchors);
        let mut held: Vec<_> = placed.holders.iter().flatten().collect();
        prop_assert_eq!(held.len(), code.total().min(given.len()));
        for zone in 0..anchors.zones().len() {
            let here = held.iter().filter(|node| anchors.get(node).is_some_and(|anchor| anchor.zone == zone)).count();
            prop_assert!(here <= placed.zone_cap);
        }
        held.sort();
        held.dedup();
        prop_assert_eq!(held.len(), code.total().min(given.len()));
        let named = |anchor: &Anchor| (anchor.node, anchors.zones()[anchor.zone].as_str(), anchor.capacity);
        let reversed = Anchors::new(anchors.list().iter().rev().map(named));
        prop_assert_eq!(place(&key(), group, code, &reversed), placed.clone());
        // The best of all always holds something.
        prop_assert!(placed.holders.contains(&Some(rank(&key(), group, code, &anchors)[0].node)));
    }
}
