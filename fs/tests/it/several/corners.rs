//! What goes wrong in between, and histories that cross.

use cairn_store::HeadStore;

use super::device::{Device, devices, keys};
use super::look::{look, root};

#[test]
fn a_head_that_could_not_be_made_durable_counts_all_the_same() {
    let (_, [a, b]) = devices();
    a.write("before", b"one").unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    let seq = a.own_seq();
    a.trouble.fail_syncs_from(seq + 1);
    a.write("mine", b"two").unwrap();
    assert!(a.volume.flush().is_err());
    assert!(a.own_seq() > seq);
    assert_eq!(a.heads().into_iter().map(|(_, seq, _)| seq).max(), Some(seq), "a crash may take it back");
    assert!(a.volume.flush().is_err(), "it is as little durable as before");
    b.write("theirs", b"three").unwrap();
    b.volume.flush().unwrap();
    a.trouble.end();
    a.hear(&b);
    a.absorb();
    assert_eq!(a.read("mine").unwrap(), b"two");
    b.hear(&a);
    b.absorb();
    assert_eq!(b.read("mine").unwrap(), b"two");
    assert_eq!(look(&a), look(&b));
    assert_eq!(root(&a), root(&b));
}

#[test]
fn a_head_that_is_durable_later_is_given_then() {
    let (_, [a]) = devices();
    a.write("mine", b"one").unwrap();
    a.trouble.fail_syncs_from(1);
    assert!(a.volume.flush().is_err());
    assert!(a.heads().is_empty());
    a.trouble.end();
    a.volume.flush().unwrap();
    assert_eq!(a.heads().len(), 1);
}

#[test]
fn no_record_stands_on_a_tree_that_no_head_of_the_device_has() {
    let (_, [a, b]) = devices();
    a.write("f", b"one").unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    // Nothing changed, but for when it was read.
    b.read("f").unwrap();
    b.trouble.fail_syncs_from(0);
    assert!(b.volume.snapshot(None).is_err());
    assert_eq!(b.own_seq(), 0);
    assert!(b.store.deltas(&keys().volume(), 0).unwrap().is_empty(), "a record on top of nothing");
    b.trouble.end();
    b.volume.snapshot(None).unwrap();
    assert_eq!(look(&a).len(), look(&b).len());
}

#[test]
fn a_volume_in_which_nothing_was_done_has_no_head() {
    let (_, [a]) = devices();
    assert!(a.volume.flush().unwrap().is_none());
    assert!(a.heads().is_empty());
    a.volume.snapshot(None).unwrap();
    assert_eq!(a.heads().len(), 1);
}

/// Gives one head of a device to another device.
fn give(from: &Device, to: &Device, seq: u64) {
    let heads = from.heads().into_iter();
    let head = heads.filter(|(device, ..)| *device == from.id()).find(|(_, number, _)| *number == seq);
    to.receive(&head.expect("a head that is kept").2).expect("a sound head");
}

#[test]
fn what_was_removed_stays_so_where_merges_cross() {
    for b_goes_on in [false, true] {
        let (_, [a, b]) = devices();
        a.write("before", b"one").unwrap();
        a.volume.flush().unwrap();
        b.hear(&a);
        b.absorb();
        a.write("of a", b"two").unwrap();
        a.volume.flush().unwrap();
        b.write("of b", b"three").unwrap();
        b.volume.flush().unwrap();
        let (before_a, before_b) = (a.own_seq(), b.own_seq());
        give(&a, &b, before_a);
        give(&b, &a, before_b);
        // Both merge alike, and neither hears of it before it goes on.
        assert!(a.absorb().head.is_some() && b.absorb().head.is_some());
        a.remove("of b").unwrap();
        a.volume.flush().unwrap();
        if b_goes_on {
            b.write("later", b"four").unwrap();
            b.remove("of a").unwrap();
            b.volume.flush().unwrap();
        }
        b.hear(&a);
        a.hear(&b);
        let absorbed = [a.absorb(), b.absorb()];
        assert!(absorbed.iter().all(|absorbed| absorbed.conflicts.is_empty()), "{absorbed:?}");
        assert_eq!(look(&a), look(&b));
        assert_eq!(root(&a), root(&b));
        let wanted: &[&str] = if b_goes_on { &["/before", "/later"] } else { &["/before", "/of a"] };
        assert_eq!(look(&a).into_keys().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn trees_of_others_that_are_nowhere_keep_no_garbage() {
    use cairn_fs::ops::Operations;
    let (net, [a, b]) = devices();
    a.make("d", cairn_block::FileType::Directory).unwrap();
    a.write("d/f", b"theirs").unwrap();
    a.volume.flush().unwrap();
    let noise: Vec<u8> = (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    b.write("mine", b"mine").unwrap();
    b.write("garbage", &noise).unwrap();
    b.volume.sync_all().unwrap();
    b.volume.flush().unwrap();
    let dropped = b.volume.history().unwrap();
    b.remove("garbage").unwrap();
    b.volume.flush().unwrap();
    dropped.iter().for_each(|head| b.volume.drop_snapshot(head).unwrap());
    b.hear(&a);
    net.split(|at| at as u8);
    let before = b.store.block_ids().len();
    let volumes = [b.volume.clone()];
    cairn_fs::sweep(&volumes, &b.store, &|| Some(Vec::new()), Default::default(), &mut |_| {}).unwrap();
    assert!(b.store.block_ids().len() < before, "nothing was removed");
    assert_eq!(b.read("mine").unwrap(), b"mine");
    // And there is nothing that can't be made up for.
    net.split(|_| 0);
    b.absorb();
    assert_eq!(b.read("d/f").unwrap(), b"theirs");
    assert_eq!(b.read("mine").unwrap(), b"mine");
}

#[test]
fn who_follows_says_so_once_and_nobody_answers() {
    use std::time::{Duration, Instant};
    let (_, [a, b, c]) = devices();
    a.write("f", b"one").unwrap();
    a.volume.flush().unwrap();
    for device in [&b, &c] {
        device.hear(&a);
        device.absorb();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while [&b, &c]
        .iter()
        .any(|device| device.own_seq() == 0 || !device.heads().iter().any(|(of, ..)| *of == device.id()))
    {
        assert!(Instant::now() < deadline, "nothing is said");
        std::thread::sleep(Duration::from_millis(50));
    }
    let all = [&a, &b, &c];
    for device in all {
        for other in all {
            device.hear(other);
        }
        let absorbed = device.absorb();
        assert!(absorbed.head.is_none() && absorbed.changed == 0, "{absorbed:?}");
        assert!(!device.volume.is_behind());
    }
    assert_eq!(all.map(Device::own_seq), [1, 1, 1]);
}
