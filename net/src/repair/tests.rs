//! When a shard is made again, by whom, where to, and how fast.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const GROUP: GroupId = GroupId { volume: VolumeId::from_bytes([1; 16]), number: 3 };

fn node(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 32])
}

fn anchors(count: u8) -> Arc<Anchors> {
    let zones: Vec<String> = (0..count).map(|zone| format!("{zone:02}")).collect();
    Arc::new(Anchors::new((0..count).map(|n| (node(n), zones[usize::from(n)].as_str(), 1 << 40))))
}

fn code() -> Code {
    Code::reed_solomon(2, 2).unwrap()
}

fn facts(packs: u64) -> GroupFacts {
    let key = Arc::new(PlacementKey::from_bytes([7; 32]));
    GroupFacts { key, code: code(), shard_bytes: 1 << 20, packs }
}

/// A holder's view at hour 0: nodes 0 to 3 hold shards 0 to 3 of these packs, 4 and 5 are empty.
fn view(me: u8, packs: u64) -> Repair {
    let mut repair = Repair::new(node(me), Config::default(), anchors(6), Duration::ZERO);
    repair.learn(Duration::ZERO, Event::Group(GROUP, facts(packs)));
    for n in 0..4 {
        repair.learn(Duration::ZERO, Event::Holds(node(n), GROUP, code(), vec![(n, packs)]));
    }
    hear(&mut repair, Duration::ZERO, &[0, 1, 2, 3, 4, 5]);
    repair
}

fn hear(repair: &mut Repair, now: Duration, nodes: &[u8]) {
    for n in nodes {
        repair.learn(now, Event::Heard(node(*n)));
    }
}

/// What all holders that are here make at `now`.
fn everybody(packs: u64, now: Duration, here: &[u8]) -> Vec<(u8, Make)> {
    let makes = |me: &u8| {
        let mut repair = view(*me, packs);
        hear(&mut repair, now, here);
        repair.tick(now).into_iter().map(|make| (*me, make)).collect::<Vec<_>>()
    };
    here.iter().flat_map(makes).collect()
}

#[test]
fn nothing_is_done_within_the_grace() {
    let mut repair = view(0, 0xff);
    for now in [HOUR, HOUR * 12, HOUR * 24] {
        hear(&mut repair, now, &[1, 2, 4, 5]);
        assert_eq!(repair.tick(now), []);
        assert_eq!(repair.health(), Health { whole: 8, ..Health::default() });
    }
}

#[test]
fn after_the_grace_each_shard_is_made_once_and_the_holders_share_the_work() {
    let now = HOUR * 25;
    let made = everybody(u64::MAX, now, &[0, 1, 2, 4, 5]);
    let mut packs: Vec<u8> = made.iter().map(|(_, make)| make.what.pack).collect();
    packs.sort();
    assert_eq!(packs, (0..64).collect::<Vec<_>>(), "every pack once");
    for me in 0..3 {
        let share = made.iter().filter(|(maker, _)| *maker == me).count();
        assert!((10..35).contains(&share), "node {me} makes {share} of 64");
    }
    for (_, make) in &made {
        assert_eq!(make.what.shard, 3);
        assert!([node(4), node(5)].contains(&make.to), "it goes to who has nothing of the pack");
        assert_eq!(make.from.len(), 3, "all that are here");
        assert!(make.from.iter().all(|(holder, shard)| *holder == node(*shard) && *shard < 3));
    }
}

#[test]
fn what_is_lost_by_an_owners_word_is_made_at_once() {
    let mut repair = view(1, 1);
    repair.learn(HOUR, Event::Lost(node(3)));
    hear(&mut repair, HOUR, &[0, 2, 4, 5]);
    let others = [0, 2].map(|me| {
        let mut other = view(me, 1);
        other.learn(HOUR, Event::Lost(node(3)));
        hear(&mut other, HOUR, &[0, 1, 2, 4, 5]);
        other.tick(HOUR).len()
    });
    assert_eq!(repair.tick(HOUR).len() + others.iter().sum::<usize>(), 1);
}

#[test]
fn one_more_loss_too_many_is_urgent() {
    // Two of four are away, and k = 2 are left.
    assert_eq!(everybody(1, HOUR, &[0, 1, 4, 5]), []);
    let made = everybody(1, HOUR * 2, &[0, 1, 4, 5]);
    assert_eq!(made.iter().map(|(_, make)| make.what.shard).collect::<Vec<_>>(), [2, 3]);
    assert_ne!(made[0].1.to, made[1].1.to, "two shards of a pack go to two nodes");
    assert_eq!(made[0].0, made[1].0, "by one maker");
}

#[test]
fn who_comes_back_in_time_ends_the_repair() {
    let mut repair = view(0, u64::MAX);
    hear(&mut repair, HOUR * 25, &[1, 2, 4, 5]);
    assert!(!repair.tick(HOUR * 25).is_empty());
    hear(&mut repair, HOUR * 26, &[1, 2, 3, 4, 5]);
    assert_eq!(repair.tick(HOUR * 26), []);
    assert_eq!(repair.health().whole, 64);
}

#[test]
fn a_node_that_comes_back_empty_is_missed_at_once() {
    let mut made = 0;
    for me in 0..3 {
        let mut repair = view(me, 0b111);
        hear(&mut repair, HOUR, &[0, 1, 2, 4, 5]);
        repair.learn(HOUR, Event::Holds(node(3), GROUP, code(), Vec::new()));
        made += repair.tick(HOUR).len();
    }
    assert_eq!(made, 3);
}

#[test]
fn fewer_than_k_shards_are_waited_for() {
    let mut repair = view(0, 1);
    assert_eq!(repair.tick(HOUR * 200), []);
    assert_eq!(repair.health(), Health { unreadable: 1, ..Health::default() });
}

#[test]
fn without_an_anchor_to_put_it_the_shard_is_counted() {
    let mut counted = 0;
    for me in 0..3 {
        let mut repair = view(me, 1);
        hear(&mut repair, HOUR * 25, &[0, 1, 2]);
        assert_eq!(repair.tick(HOUR * 25), []);
        counted += repair.health().nowhere;
    }
    assert_eq!(counted, 1);
}

#[test]
fn where_all_have_something_the_shard_goes_to_one_that_would_not_be_missed() {
    let mut made = Vec::new();
    for me in [0, 1, 2, 4, 5] {
        let mut repair = view(me, 1);
        for n in [4, 5] {
            repair.learn(HOUR, Event::Holds(node(n), GROUP, code(), vec![(0, 1)]));
        }
        repair.learn(HOUR, Event::Lost(node(3)));
        hear(&mut repair, HOUR, &[0, 1, 2, 4, 5]);
        made.extend(repair.tick(HOUR));
    }
    assert_eq!(made.len(), 1);
    assert!([node(0), node(4), node(5)].contains(&made[0].to), "shard 0 is there three times");
}

#[test]
fn the_rate_is_kept_and_the_worst_comes_first() {
    let slow = Config { bytes_per_second: 1 << 20, burst_bytes: 1, ..Config::default() };
    let mut repair = view(0, u64::MAX);
    repair.config = slow;
    repair.bucket = Bucket::new(slow.bytes_per_second, slow.burst_bytes, Duration::ZERO);
    // Of a second group two shards are lost.
    let worse = GroupId { number: 9, ..GROUP };
    repair.learn(HOUR, Event::Group(worse, facts(u64::MAX)));
    for n in 0..2 {
        repair.learn(HOUR, Event::Holds(node(n), worse, code(), vec![(n, u64::MAX)]));
    }
    let mut made = Vec::new();
    for second in 0..300 {
        let now = HOUR * 25 + Duration::from_secs(second);
        hear(&mut repair, now, &[1, 2, 4, 5]);
        made.extend(repair.tick(now));
    }
    // Each costs three MiB: two read, one written.
    assert!((99..=101).contains(&made.len()), "{}", made.len());
    let first_other = made.iter().position(|make| make.group == GROUP).unwrap_or(made.len());
    let worst = made[..first_other].iter().filter(|make| make.group == worse).count();
    assert!(worst > 20 && made[first_other..].iter().all(|make| make.group == GROUP));
}

#[test]
fn what_fails_is_tried_again_and_what_is_made_is_not() {
    let now = HOUR * 25;
    let mut repair = view(0, u64::MAX);
    hear(&mut repair, now, &[1, 2, 4, 5]);
    let made = repair.tick(now);
    let (first, second) = (made[0].clone(), made[1].clone());
    assert_eq!(repair.tick(now), [], "all of it is on the way");
    repair.learn(now, Event::Failed(GROUP, code(), first.what, Failure::default()));
    repair.learn(now, Event::Made(second.to, GROUP, code(), second.what));
    assert_eq!(repair.tick(now), [], "nobody is to blame: not at once");
    let later = now + Duration::from_secs(601);
    hear(&mut repair, later, &[1, 2, 4, 5]);
    let again = repair.tick(later);
    assert_eq!(again.len(), made.len() - 1);
    assert!(again.contains(&first) && again.iter().all(|make| make.what != second.what));
}

/// The node that makes shard 3 of pack 0 when node 3 is gone, what it knows, and what it makes.
fn maker(now: Duration) -> (Repair, Make) {
    let views = (0..3).map(|me| {
        let mut repair = view(me, 1);
        hear(&mut repair, now, &[0, 1, 2, 4, 5]);
        let make = repair.tick(now).pop();
        (repair, make)
    });
    let mut makers = views.filter_map(|(repair, make)| Some((repair, make?)));
    makers.next().unwrap()
}

#[test]
fn who_refuses_a_shard_is_passed_over_for_longer_each_time() {
    let mut now = HOUR * 25;
    let (mut repair, make) = maker(now);
    let refused = |to| Failure { refused: Some(to), ..Failure::default() };
    repair.learn(now, Event::Failed(GROUP, code(), make.what, refused(make.to)));
    let other = repair.tick(now).pop().unwrap();
    assert_ne!(other.to, make.to);
    repair.learn(now, Event::Failed(GROUP, code(), make.what, refused(other.to)));
    assert_eq!(repair.tick(now), [], "both are full");
    now += Duration::from_secs(601);
    hear(&mut repair, now, &[0, 1, 2, 4, 5]);
    assert_eq!(repair.tick(now).pop().unwrap().to, make.to);
    repair.learn(now, Event::Failed(GROUP, code(), make.what, refused(make.to)));
    now += Duration::from_secs(601);
    hear(&mut repair, now, &[0, 1, 2, 4, 5]);
    assert_eq!(repair.tick(now).pop().unwrap().to, other.to);
}

#[test]
fn what_was_found_wrong_is_no_source_and_does_not_count_until_it_is_proved() {
    let now = HOUR * 25;
    let (mut repair, make) = maker(now);
    let liar = *make.from.iter().find(|(node, _)| *node != repair.me).unwrap();
    let failure = Failure { wrong: vec![liar], ..Failure::default() };
    repair.learn(now, Event::Failed(GROUP, code(), make.what, failure));
    let again = repair.tick(now);
    assert_eq!(again.iter().map(|make| make.what.shard).collect::<BTreeSet<_>>(), BTreeSet::from([3, liar.1]));
    assert!(again.iter().all(|make| !make.from.contains(&liar) && make.from.len() == 2 && make.to != liar.0));
    repair.learn(now, Event::Proved(liar.0, GROUP, code(), ShardOf { pack: 0, shard: liar.1 }));
    let later = now + Duration::from_secs(601);
    hear(&mut repair, later, &[0, 1, 2, 4, 5]);
    assert_eq!(repair.tick(later), [make]);
}

#[test]
fn a_group_that_is_coded_anew_begins_anew() {
    let now = HOUR * 25;
    for copies in [3, 4] {
        let (mut repair, make) = maker(now);
        let copies = Code::copies(copies).unwrap();
        repair.learn(now, Event::Group(GROUP, GroupFacts { code: copies, ..facts(1) }));
        // What is said of the old code says nothing of the new one.
        repair.learn(now, Event::Made(make.to, GROUP, code(), make.what));
        for n in 0..4 {
            repair.learn(now, Event::Holds(node(n), GROUP, code(), vec![(n, 1)]));
        }
        let settled = now + HOUR;
        hear(&mut repair, settled, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(repair.tick(settled), []);
        assert_eq!(repair.health(), Health { unreadable: 1, ..Health::default() });
        repair.learn(settled, Event::Holds(node(4), GROUP, copies, vec![(0, 1)]));
        assert_eq!(repair.tick(settled), [], "it is another node's turn");
        assert_eq!(repair.health().degraded, 1);
    }
}

#[test]
fn where_the_drawn_maker_makes_nothing_the_next_one_does() {
    let mut views: Vec<Repair> = (0..3).map(|me| view(me, 1)).collect();
    let mut turns = Vec::new();
    for hour in 25..39 {
        for (me, repair) in (0..3).zip(&mut views) {
            hear(repair, HOUR * hour, &[0, 1, 2, 4, 5]);
            if !repair.tick(HOUR * hour).is_empty() && !turns.iter().any(|(known, _)| *known == me) {
                turns.push((me, hour));
            }
        }
    }
    assert_eq!(turns.iter().map(|(_, hour)| *hour).collect::<Vec<_>>(), [25, 31, 37]);
}

#[test]
fn one_node_that_says_it_has_everything_makes_no_pack_whole() {
    let now = HOUR * 25;
    let mut made = Vec::new();
    for me in 0..3 {
        let mut repair = view(me, 1);
        repair.learn(now, Event::Holds(node(4), GROUP, code(), (0..4).map(|shard| (shard, 1)).collect()));
        repair.learn(now, Event::Holds(node(2), GROUP, code(), Vec::new()));
        hear(&mut repair, now, &[0, 1, 2, 4, 5]);
        made.extend(repair.tick(now));
        assert_eq!(repair.health().degraded, 1);
    }
    assert!(made.len() <= 1 && made.iter().all(|make| [node(2), node(5)].contains(&make.to)));
}

#[test]
fn who_is_no_anchor_any_more_gives_shards_and_does_not_count() {
    let now = HOUR;
    let mut made = Vec::new();
    for me in 0..3 {
        let mut repair = view(me, 1);
        let others = [0, 1, 2, 4, 5].map(|n| (node(n), "zone", 1));
        repair.learn(now, Event::Anchors(Arc::new(Anchors::new(others))));
        hear(&mut repair, now, &[0, 1, 2, 3, 4, 5]);
        made.extend(repair.tick(now));
    }
    assert_eq!(made.iter().map(|make| make.what.shard).collect::<Vec<_>>(), [3]);
    assert!(made[0].from.contains(&(node(3), 3)));
}

#[test]
fn who_was_given_up_stays_given_up_until_an_owner_says_otherwise() {
    let mut repair = view(0, 1);
    repair.learn(HOUR, Event::Lost(node(3)));
    repair.learn(HOUR, Event::Holds(node(3), GROUP, code(), vec![(3, 1)]));
    hear(&mut repair, HOUR, &[0, 1, 2, 3]);
    assert_eq!(repair.standing(&node(3), HOUR), Standing::Lost);
    repair.tick(HOUR);
    assert_eq!(repair.health().degraded, 1);
    repair.learn(HOUR, Event::Found(node(3)));
    repair.tick(HOUR);
    assert_eq!(repair.health().whole, 1);
}

#[test]
fn a_restart_goes_on_from_what_holders_report() {
    let now = HOUR * 25;
    let mut before = view(0, u64::MAX);
    hear(&mut before, now, &[1, 2, 4, 5]);
    before.learn(now, Event::Lost(node(3)));
    let mut after = Repair::new(node(0), Config::default(), anchors(6), now);
    after.learn(now, Event::Group(GROUP, facts(u64::MAX)));
    for n in 0..3 {
        after.learn(now, Event::Holds(node(n), GROUP, code(), vec![(n, u64::MAX)]));
    }
    hear(&mut after, now, &[4, 5]);
    assert_eq!(after.tick(now), [], "not before others could report");
    let settled = now + Config::default().settle;
    for repair in [&mut before, &mut after] {
        hear(repair, settled, &[1, 2, 4, 5]);
    }
    assert_eq!(before.tick(settled), after.tick(settled));
}

#[test]
fn reports_that_make_no_sense_are_passed_over() {
    let mut repair = view(0, 1);
    repair.learn(HOUR, Event::Holds(node(1), GROUP, code(), vec![(1, 1), (200, u64::MAX)]));
    repair.learn(HOUR, Event::Made(node(1), GROUP, code(), ShardOf { pack: 99, shard: 9 }));
    repair.learn(HOUR, Event::Holds(node(9), GroupId { number: 77, ..GROUP }, code(), vec![(0, 1)]));
    hear(&mut repair, HOUR, &[1, 2, 3]);
    assert_eq!(repair.tick(HOUR), []);
    assert_eq!(repair.health().whole, 1);
}
