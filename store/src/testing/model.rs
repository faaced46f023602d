//! Random histories, held against a specification.
//!
//! [`check`] plays a list of [`Op`]s on any [`Rig`] and looks at everything after each. What a store
//! may have lost in a crash the specification knows; what survived is learned from the store, and must then stay.

use std::sync::LazyLock;

use bytes::Bytes;
use cairn_block::Block;
use proptest::collection::vec;
use proptest::prelude::*;

use super::spec::Spec;
use super::{Rig, ask, block, device, volume};
use crate::{Put, Store, StoreError, StoredHead, SweepOptions};

/// Different blocks in a history: few, so that they meet again.
pub const BLOCKS: usize = 12;
/// Volumes, devices and head numbers in a history.
const VOLUMES: u8 = 2;
const DEVICES: u8 = 2;
const HEADS: u64 = 4;
/// Sizes grow as squares of this, from 100 bytes to 48 KiB: small segments fill up within a history.
const BLOCK_BYTES_STEP: usize = 400;

/// The place of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct HeadKey {
    pub volume: u8,
    pub device: u8,
    pub seq: u64,
}

/// One step of a history. Blocks are numbers below [`BLOCKS`].
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Op {
    Put(usize),
    Claim(usize),
    Sync,
    /// Part of what was not synced survives, as the bits say.
    Crash(u64),
    /// A collection: what it marks, and what others put or claim before it sweeps.
    Collect {
        marked: Vec<usize>,
        put: Vec<usize>,
        claimed: Vec<usize>,
        dry_run: bool,
    },
    PutHead(HeadKey, u8),
    DropHead(HeadKey),
    /// Appends under the next number, after skipping some.
    Append {
        volume: u8,
        skip: u64,
        block: usize,
    },
    /// Appends under the number of the last record: refused.
    AppendAgain {
        volume: u8,
    },
    /// Trims all but the last few numbers.
    Trim {
        volume: u8,
        keep: u64,
    },
}

/// Histories of up to `len_max` steps.
pub fn histories(len_max: usize) -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 1..=len_max)
}

fn op() -> impl Strategy<Value = Op> {
    let some_blocks = || vec(0..BLOCKS, 0..4);
    let head_key =
        || (0..VOLUMES, 0..DEVICES, 1..=HEADS).prop_map(|(volume, device, seq)| HeadKey { volume, device, seq });
    prop_oneof![
        6 => (0..BLOCKS).prop_map(Op::Put),
        2 => (0..BLOCKS).prop_map(Op::Claim),
        3 => Just(Op::Sync),
        2 => any::<u64>().prop_map(Op::Crash),
        2 => (some_blocks(), some_blocks(), some_blocks(), any::<bool>()).prop_map(
            |(marked, put, claimed, dry_run)| Op::Collect { marked, put, claimed, dry_run }
        ),
        3 => (head_key(), 0..3_u8).prop_map(|(key, value)| Op::PutHead(key, value)),
        2 => head_key().prop_map(Op::DropHead),
        4 => (0..VOLUMES, 0..3_u64, 0..BLOCKS)
            .prop_map(|(volume, skip, block)| Op::Append { volume, skip, block }),
        1 => (0..VOLUMES).prop_map(|volume| Op::AppendAgain { volume }),
        2 => (0..VOLUMES, 0..4_u64).prop_map(|(volume, keep)| Op::Trim { volume, keep }),
    ]
}

/// Plays a history. Panics at the first step after which the store shows what it must not.
pub fn check(rig: &mut dyn Rig, history: &[Op]) {
    let mut spec = Spec::default();
    for (step, op) in history.iter().enumerate() {
        play(rig, &mut spec, op);
        compare(rig.store(), &spec, &format!("after step {step}, {op:?}"));
    }
}

/// The block of a number.
pub fn sample(number: usize) -> Block {
    static SAMPLES: LazyLock<[Block; BLOCKS]> =
        LazyLock::new(|| std::array::from_fn(|number| block(number as u64, 100 + number * number * BLOCK_BYTES_STEP)));
    SAMPLES[number].clone()
}

fn head_bytes(value: u8) -> Bytes {
    Bytes::from(vec![value; 300])
}

fn play(rig: &mut dyn Rig, spec: &mut Spec, op: &Op) {
    let store = rig.store();
    match op {
        Op::Put(number) => put(store, spec, *number),
        Op::Claim(number) => claim(store, spec, *number),
        Op::Sync => {
            store.sync().expect("sync");
            spec.sync();
        }
        Op::Crash(luck) => {
            rig.crash(*luck);
            learn(rig.store(), spec);
        }
        Op::Collect { marked, put, claimed, dry_run } => {
            collect(store, spec, (marked, put, claimed), SweepOptions { dry_run: *dry_run });
        }
        Op::PutHead(key, value) => put_head(store, spec, *key, *value),
        Op::DropHead(key) => {
            store.drop_heads(&volume(key.volume), &[(device(key.device), key.seq)]).expect("drop_heads");
            spec.set_head(*key, None);
        }
        Op::Append { volume: of, skip, block } => {
            let seq = spec.highest(*of) + 1 + skip;
            store.append_delta(&volume(*of), seq, &sample(*block)).expect("append_delta");
            spec.append(*of, seq, *block);
        }
        Op::AppendAgain { volume: of } => append_again(store, spec, *of),
        Op::Trim { volume: of, keep } => {
            let upto = spec.highest(*of).saturating_sub(*keep);
            store.trim_deltas(&volume(*of), upto).expect("trim_deltas");
            spec.trim(*of, upto);
        }
    }
}

fn put(store: &dyn Store, spec: &mut Spec, number: usize) {
    let found = store.put(&sample(number)).expect("put");
    assert_eq!(found == Put::Known, spec.has(number), "put of block {number}");
    spec.put(number);
}

fn claim(store: &dyn Store, spec: &Spec, number: usize) {
    let found = store.claim(&sample(number).id()).expect("claim");
    assert_eq!(found, spec.has(number), "claim of block {number}");
}

fn put_head(store: &dyn Store, spec: &mut Spec, key: HeadKey, value: u8) {
    let (of, by, bytes) = (volume(key.volume), device(key.device), head_bytes(value));
    let result = store.put_head(&of, &by, key.seq, &bytes);
    if spec.head(key).is_some_and(|kept| kept != value) {
        assert!(matches!(result, Err(StoreError::HeadConflict { .. })), "{result:?}");
    } else {
        result.expect("put_head");
        spec.set_head(key, Some(value));
    }
}

fn append_again(store: &dyn Store, spec: &Spec, of: u8) {
    if let Some((last, number)) = spec.deltas(of).last() {
        let result = store.append_delta(&volume(of), *last, &sample(*number));
        assert!(matches!(result, Err(StoreError::DeltaOutOfOrder { .. })), "{result:?}");
    }
}

fn collect(
    store: &dyn Store,
    spec: &mut Spec,
    (marked, during, claimed): (&[usize], &[usize], &[usize]),
    options: SweepOptions,
) {
    let mut collection = store.begin_collection().expect("begin_collection");
    marked.iter().for_each(|number| collection.mark(&sample(*number).id()));
    during.iter().for_each(|number| put(store, spec, *number));
    claimed.iter().for_each(|number| claim(store, spec, *number));
    let report = collection.sweep(options, &mut |_| ()).expect("sweep");
    spec.sync();
    let garbage = spec.garbage(|number| [marked, during, claimed].iter().any(|kept| kept.contains(&number)));
    assert_eq!(report.blocks_removed, garbage.len() as u64, "blocks removed");
    if !options.dry_run {
        garbage.into_iter().for_each(|number| spec.remove(number));
    }
}

/// After a crash: what is there must be possible, and from now on it is so.
fn learn(store: &dyn Store, spec: &mut Spec) {
    for number in 0..BLOCKS {
        let seen = store.has(&sample(number).id()).expect("has");
        assert!(spec.learn_block(number, seen), "block {number} is here: {seen}");
    }
    let is_possible = spec.learn_heads(|key| {
        let heads = store.heads(&volume(key.volume)).expect("heads");
        let mut at_key = heads.iter().filter(|head| head.device == device(key.device) && head.seq == key.seq);
        at_key.next().map(|head| head.bytes[0])
    });
    assert!(is_possible, "heads that cannot have been left");
    let is_possible = spec.learn_deltas(|of, seq| {
        let deltas = store.deltas(&volume(of), 0).expect("deltas");
        let (_, id) = *deltas.iter().find(|(found, _)| *found == seq)?;
        (0..BLOCKS).find(|number| sample(*number).id() == id)
    });
    assert!(is_possible, "deltas that cannot have been left");
}

/// Everything that can be seen.
fn compare(store: &dyn Store, spec: &Spec, when: &str) {
    for number in 0..BLOCKS {
        let wanted = sample(number);
        let has = spec.has(number);
        assert_eq!(store.has(&wanted.id()).expect("has"), has, "has block {number} {when}");
        let found = store.get(&wanted.id(), ask()).expect("get");
        assert!(found == has.then_some(wanted), "get of block {number} {when}");
    }
    for of in 0..VOLUMES {
        let heads: Vec<_> = spec.heads(of).into_iter().map(stored_head).collect();
        assert_eq!(store.heads(&volume(of)).expect("heads"), heads, "heads {when}");
        let deltas = spec.deltas(of).into_iter();
        let deltas: Vec<_> = deltas.map(|(seq, number)| (seq, sample(number).id())).collect();
        assert_eq!(store.deltas(&volume(of), 0).expect("deltas"), deltas, "deltas {when}");
    }
    let volumes = (0..VOLUMES).filter(|of| !spec.heads(*of).is_empty() || !spec.deltas(*of).is_empty());
    assert_eq!(store.volumes().expect("volumes"), volumes.map(volume).collect::<Vec<_>>(), "volumes {when}");
}

fn stored_head((by, seq, value): (u8, u64, u8)) -> StoredHead {
    StoredHead { device: device(by), seq, bytes: head_bytes(value) }
}
