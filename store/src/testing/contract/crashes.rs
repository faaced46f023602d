//! Claims about crashes and damage.

use bytes::Bytes;
use cairn_block::Block;

use super::{Claim, claims};
use crate::testing::{Rig, ask, block, device, volume};
use crate::{Place, Put, Store, StoreError, SweepOptions};

/// Different fates for what was not synced: none, all, and every other change survives.
const LUCKS: [u64; 4] = [0, u64::MAX, 0xAAAA_AAAA_AAAA_AAAA, 0x5555_5555_5555_5555];

pub(super) const CLAIMS: &[Claim<dyn Rig>] = claims![
    what_was_synced_survives,
    what_was_not_synced_is_whole_or_absent,
    what_is_seen_after_a_crash_stays,
    a_known_put_is_durable_after_a_sync,
    a_claim_is_durable_after_a_sync,
    what_was_dropped_and_synced_stays_away,
    a_journal_goes_on_after_a_crash,
    a_sweep_makes_durable_what_it_relies_on,
    a_put_after_a_sweep_survives,
    damage_is_an_error_and_never_bytes,
    a_put_repairs_damage,
    a_scrub_names_what_is_damaged,
];

fn get(store: &dyn Store, wanted: &Block) -> Option<Block> {
    store.get(&wanted.id(), ask()).expect("get")
}

fn what_was_synced_survives(mut rig: Box<dyn Rig>) {
    let (put, delta, head) = (block(1, 5000), block(2, 300), Bytes::from_static(b"head"));
    let store = rig.store();
    store.put(&put).expect("put");
    store.append_delta(&volume(1), 1, &delta).expect("append_delta");
    store.put_head(&volume(1), &device(1), 1, &head).expect("put_head");
    store.sync().expect("sync");
    for luck in LUCKS {
        rig.crash(luck);
        let store = rig.store();
        assert_eq!(get(store, &put), Some(put.clone()));
        assert_eq!(get(store, &delta), Some(delta.clone()));
        assert_eq!(store.deltas(&volume(1), 0).expect("deltas"), [(1, delta.id())]);
        assert_eq!(store.heads(&volume(1)).expect("heads")[0].bytes, head);
        assert_eq!(store.volumes().expect("volumes"), [volume(1)]);
    }
}

fn what_was_not_synced_is_whole_or_absent(mut rig: Box<dyn Rig>) {
    for (round, luck) in (0..).zip(LUCKS) {
        let blocks: Vec<_> = (0..20).map(|n| block(round * 100 + n, 3000)).collect();
        for block in &blocks {
            rig.store().put(block).expect("put");
        }
        rig.crash(luck);
        for block in &blocks {
            let has = rig.store().has(&block.id()).expect("has");
            assert_eq!(get(rig.store(), block), has.then(|| block.clone()));
        }
    }
}

fn what_is_seen_after_a_crash_stays(mut rig: Box<dyn Rig>) {
    let blocks: Vec<_> = (0..20).map(|n| block(n, 3000)).collect();
    for block in &blocks {
        rig.store().put(block).expect("put");
    }
    rig.crash(LUCKS[2]);
    let seen: Vec<_> = blocks.iter().map(|block| get(rig.store(), block)).collect();
    rig.crash(LUCKS[0]);
    let seen_again: Vec<_> = blocks.iter().map(|block| get(rig.store(), block)).collect();
    assert_eq!(seen, seen_again);
}

fn a_known_put_is_durable_after_a_sync(mut rig: Box<dyn Rig>) {
    let block = block(1, 3000);
    rig.store().put(&block).expect("put");
    assert_eq!(rig.store().put(&block).expect("put"), Put::Known);
    rig.store().sync().expect("sync");
    rig.crash(LUCKS[0]);
    assert_eq!(get(rig.store(), &block), Some(block));
}

fn a_claim_is_durable_after_a_sync(mut rig: Box<dyn Rig>) {
    let block = block(1, 3000);
    rig.store().put(&block).expect("put");
    assert!(rig.store().claim(&block.id()).expect("claim"));
    rig.store().sync().expect("sync");
    rig.crash(LUCKS[0]);
    assert!(rig.store().has(&block.id()).expect("has"));
}

fn what_was_dropped_and_synced_stays_away(mut rig: Box<dyn Rig>) {
    let store = rig.store();
    for seq in 1..=3 {
        store.append_delta(&volume(1), seq, &block(seq, 300)).expect("append_delta");
        let head = Bytes::from_static(b"head");
        store.put_head(&volume(1), &device(1), seq, &head).expect("put_head");
    }
    store.sync().expect("sync");
    store.trim_deltas(&volume(1), 2).expect("trim_deltas");
    store.drop_heads(&volume(1), &[(device(1), 2)]).expect("drop_heads");
    store.sync().expect("sync");
    for luck in LUCKS {
        rig.crash(luck);
        let store = rig.store();
        assert_eq!(store.deltas(&volume(1), 0).expect("deltas"), [(3, block(3, 300).id())]);
        let heads = store.heads(&volume(1)).expect("heads");
        assert_eq!(heads.iter().map(|head| head.seq).collect::<Vec<_>>(), [1, 3]);
    }
}

fn a_journal_goes_on_after_a_crash(mut rig: Box<dyn Rig>) {
    let mut next = 1;
    for luck in LUCKS {
        for _ in 0..5 {
            let store = rig.store();
            store.append_delta(&volume(1), next, &block(next, 300)).expect("append_delta");
            next += 1;
        }
        rig.crash(luck);
        let deltas = rig.store().deltas(&volume(1), 0).expect("deltas");
        for (seq, id) in &deltas {
            assert_eq!(*id, block(*seq, 300).id());
            assert_eq!(get(rig.store(), &block(*seq, 300)), Some(block(*seq, 300)));
        }
        next = deltas.last().map_or(0, |(seq, _)| *seq) + 1;
    }
}

/// Otherwise a dropped head could come back after a crash, and its blocks not.
fn a_sweep_makes_durable_what_it_relies_on(mut rig: Box<dyn Rig>) {
    let store = rig.store();
    store.append_delta(&volume(1), 1, &block(1, 300)).expect("append_delta");
    store.put_head(&volume(2), &device(1), 1, &Bytes::from_static(b"head")).expect("put_head");
    store.sync().expect("sync");
    store.trim_deltas(&volume(1), 1).expect("trim_deltas");
    store.drop_heads(&volume(2), &[(device(1), 1)]).expect("drop_heads");
    sweep_all(store);
    rig.crash(LUCKS[0]);
    assert_eq!(rig.store().volumes().expect("volumes"), []);
}

fn a_put_after_a_sweep_survives(mut rig: Box<dyn Rig>) {
    let block = block(1, 3000);
    rig.store().put(&block).expect("put");
    rig.store().sync().expect("sync");
    sweep_all(rig.store());
    assert_eq!(rig.store().put(&block).expect("put"), Put::New);
    rig.store().sync().expect("sync");
    rig.crash(LUCKS[0]);
    assert_eq!(get(rig.store(), &block), Some(block));
}

fn damage_is_an_error_and_never_bytes(mut rig: Box<dyn Rig>) {
    let Some(block) = damaged_block(rig.as_mut()) else {
        return;
    };
    for _ in 0..2 {
        let error = rig.store().get(&block.id(), ask()).expect_err("damaged");
        assert!(matches!(error, StoreError::Damaged { id, .. } if id == block.id()), "{error}");
        assert!(!rig.store().has(&block.id()).expect("has"), "a damaged block is not here");
        assert!(!rig.store().claim(&block.id()).expect("claim"), "nor can it be claimed");
    }
}

fn a_put_repairs_damage(mut rig: Box<dyn Rig>) {
    let Some(block) = damaged_block(rig.as_mut()) else {
        return;
    };
    let store = rig.store();
    assert!(store.get(&block.id(), ask()).is_err());
    assert_eq!(store.put(&block).expect("put"), Put::New);
    assert_eq!(get(store, &block), Some(block.clone()));
    store.sync().expect("sync");
    rig.crash(LUCKS[0]);
    assert_eq!(get(rig.store(), &block), Some(block));
}

fn a_scrub_names_what_is_damaged(mut rig: Box<dyn Rig>) {
    let Some(block) = damaged_block(rig.as_mut()) else {
        return;
    };
    let store = rig.store();
    let report = store.scrub(&mut |_| ()).expect("scrub");
    let named: Vec<_> = report.damaged.iter().map(|damage| damage.id).collect();
    assert_eq!(named, [Some(block.id())]);
    assert!(matches!(report.damaged[0].place, Place::Log { .. } | Place::Memory));
    assert!(!store.has(&block.id()).expect("has"), "a scrub quarantines");
}

/// A block that was sound once, among others that still are.
fn damaged_block(rig: &mut dyn Rig) -> Option<Block> {
    for n in 0..3 {
        rig.store().put(&block(n, 3000)).expect("put");
    }
    rig.store().sync().expect("sync");
    let block = block(1, 3000);
    rig.damage(&block.id()).then_some(block)
}

fn sweep_all(store: &dyn Store) {
    let collection = store.begin_collection().expect("begin_collection");
    collection.sweep(SweepOptions::default(), &mut |_| ()).expect("sweep");
}
