//! Random histories, held against a specification.
//!
//! [`check`] plays [`Op`]s on any [`Rig`] and looks at everything after each. What a store
//! may have lost in a crash the specification knows; what survived is learned from the store, and must then stay.

use std::sync::LazyLock;

use bytes::Bytes;
use cairn_block::Block;

pub use super::op::{BLOCKS, HeadKey, Mix, Op, Reopen, Strain};
use super::op::{HINTS, VOLUMES};
use super::spec::{Kept, Spec};
use super::{Fault, Rig, ask, block, device, volume};
use crate::{HINT_BYTES_MAX, Put, Store, StoreError, StoredHead, SweepOptions};

/// Sizes grow as squares of this, from 100 bytes to 48 KiB: small segments fill up within a history.
const BLOCK_BYTES_STEP: usize = 400;

/// Plays a history. Panics at the first step after which the store shows what it must not.
pub fn check(rig: &mut dyn Rig, history: impl IntoIterator<Item = Op>) {
    let mut spec = Spec::default();
    for (step, op) in history.into_iter().enumerate() {
        play(rig, &mut spec, &op);
        compare(rig.store(), &spec, &|| format!("after step {step}, {op:?}"));
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
    match op {
        Op::Crash(luck) => crash(rig, spec, *luck),
        Op::Reopen(how) => {
            rig.reopen(*how);
            spec.sync();
            learn(rig.store(), spec);
        }
        Op::Damage(number) => damage(rig, spec, *number),
        Op::FullDisk { room, strain } => {
            let is_allowed = |error: &StoreError| error.is_full();
            strained(rig, spec, Fault::Room(*room), strain, &is_allowed);
        }
        Op::BadSync { nth, strain } => {
            // A new segment that can't be synced is no place for a record; anything else is written again elsewhere.
            let is_allowed = |error: &StoreError| matches!(error, StoreError::Io { op: "sync", .. });
            strained(rig, spec, Fault::Sync(*nth), strain, &is_allowed);
        }
        Op::DeadDisk(strain) => {
            let is_allowed =
                |error: &StoreError| matches!(error, StoreError::Io { op: "sync", .. } | StoreError::ReadOnly { .. });
            strained(rig, spec, Fault::Syncs, strain, &is_allowed);
        }
        Op::Put(number) => put(rig, spec, *number),
        _ => ask_store(rig.store(), spec, op),
    }
}

/// The steps that need nothing but the store.
fn ask_store(store: &dyn Store, spec: &mut Spec, op: &Op) {
    match op {
        Op::PutFromReserve(number) => {
            let found = store.put_from_reserve(&sample(*number)).expect("put_from_reserve");
            has_put(spec, *number, found);
        }
        Op::Claim(number) => claim(store, spec, *number),
        Op::Sync => {
            store.sync().expect("sync");
            spec.sync();
        }
        Op::Collect { marked, put, claimed, late, dry_run } => {
            collect(store, spec, (marked, put, claimed, late), SweepOptions { dry_run: *dry_run });
        }
        Op::Abandon { marked, put } => {
            let mut collection = store.begin_collection().expect("begin_collection");
            marked.iter().for_each(|number| collection.mark(&sample(*number).id()));
            put.iter().for_each(|number| keep(store, spec, *number));
            assert!(matches!(store.begin_collection(), Err(StoreError::CollectionRunning)));
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
        Op::Hint(key, value) => {
            store.put_hint([*key; 32], Bytes::from(vec![*value; 100]));
            store.put_hint([*key; 32], Bytes::from(vec![*value + 1; HINT_BYTES_MAX + 1]));
            spec.set_hint(*key, *value);
        }
        Op::Scrub => scrub(store, spec),
        _ => unreachable!("done by the rig"),
    }
}

fn put(rig: &dyn Rig, spec: &mut Spec, number: usize) {
    match rig.store().put(&sample(number)) {
        Ok(found) => has_put(spec, number, found),
        Err(error) => assert!(rig.has_quota() && error.is_full() && !spec.has(number), "{error}"),
    }
}

/// A put that a quota has no say in: it is refused whole, or it counts.
fn keep(store: &dyn Store, spec: &mut Spec, number: usize) {
    let found = store.put_from_reserve(&sample(number)).expect("put_from_reserve");
    has_put(spec, number, found);
}

fn has_put(spec: &mut Spec, number: usize, found: Put) {
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

type Blocks<'a> = &'a [usize];

fn collect(
    store: &dyn Store,
    spec: &mut Spec,
    (marked, during, claimed, late): (Blocks<'_>, Blocks<'_>, Blocks<'_>, Blocks<'_>),
    options: SweepOptions,
) {
    let mut collection = store.begin_collection().expect("begin_collection");
    marked.iter().for_each(|number| collection.mark(&sample(*number).id()));
    during.iter().for_each(|number| keep(store, spec, *number));
    // Whether a claim that found damage keeps it is nobody's business.
    let claimed: Vec<_> = claimed.iter().copied().filter(|number| spec.kept(*number) != Kept::Damaged).collect();
    claimed.iter().for_each(|number| claim(store, spec, *number));
    let mut late = late.iter();
    let mut came_late = Vec::new();
    let report = collection.sweep(options, &mut |_| {
        if let Some(number) = late.next() {
            store.put_from_reserve(&sample(*number)).expect("put_from_reserve");
            came_late.push(*number);
        }
    });
    let report = report.expect("sweep");
    spec.sync();
    let garbage = spec.garbage(|number| [marked, during, &claimed].iter().any(|kept| kept.contains(&number)));
    // Who puts while it sweeps may come before or after the decision.
    let least = garbage.iter().filter(|number| !came_late.contains(number)).count();
    let removed = report.blocks_removed as usize;
    assert!((least..=garbage.len()).contains(&removed), "{removed} blocks removed, not {garbage:?}");
    if !options.dry_run {
        garbage.into_iter().for_each(|number| spec.remove(number));
    }
    came_late.into_iter().for_each(|number| spec.put(number));
}

fn damage(rig: &mut dyn Rig, spec: &mut Spec, number: usize) {
    // A damaged delta is a gap in its journal, which is the recovery's to test.
    if !spec.has(number) || spec.is_delta(number) || !rig.damage(&sample(number).id()) {
        return;
    }
    let found = rig.store().get(&sample(number).id(), ask());
    assert!(matches!(found, Err(StoreError::Damaged { .. })), "block {number} was damaged: {found:?}");
    spec.damage(number);
}

fn scrub(store: &dyn Store, spec: &Spec) {
    let report = store.scrub(&mut |_| ()).expect("scrub");
    for number in 0..BLOCKS {
        let id = sample(number).id();
        let is_named = report.damaged.iter().any(|damage| damage.id == Some(id));
        assert_eq!(is_named, spec.kept(number) == Kept::Damaged, "a scrub names block {number}: {is_named}");
    }
}

/// Asks things of a disk that fails. What is refused did not happen; all that was there stays readable.
fn strained(
    rig: &mut dyn Rig,
    spec: &mut Spec,
    fault: Fault,
    strain: &Strain,
    is_allowed: &dyn Fn(&StoreError) -> bool,
) {
    if !rig.fail(Some(fault)) {
        return;
    }
    let is_refused = |error: &StoreError| is_allowed(error) || rig.has_quota() && error.is_full();
    let store = rig.store();
    for &number in &strain.put {
        match store.put(&sample(number)) {
            Ok(found) => has_put(spec, number, found),
            Err(error) => assert!(is_refused(&error), "put of block {number}: {error:?}"),
        }
    }
    if let Some((of, number)) = strain.append {
        let seq = spec.highest(of) + 1;
        match store.append_delta(&volume(of), seq, &sample(number)) {
            Ok(()) => spec.append(of, seq, number),
            Err(error) => assert!(is_refused(&error), "append of block {number}: {error:?}"),
        }
    }
    match store.sync() {
        Ok(()) => spec.sync(),
        Err(error) => assert!(is_refused(&error), "sync: {error:?}"),
    }
    compare(store, spec, &|| format!("with {fault:?}"));
    match strain.crash {
        Some(luck) => crash(rig, spec, luck),
        None => drop(rig.fail(None)),
    }
}

fn crash(rig: &mut dyn Rig, spec: &mut Spec, luck: u64) {
    rig.crash(luck);
    learn(rig.store(), spec);
}

/// After a crash: what is there must be possible, and from now on it is so.
fn learn(store: &dyn Store, spec: &mut Spec) {
    for number in 0..BLOCKS {
        let seen = seen(store, number);
        assert!(spec.learn_block(number, seen), "block {number} is here: {seen:?}");
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

/// What a get shows of a block.
fn seen(store: &dyn Store, number: usize) -> Kept {
    let wanted = sample(number);
    match store.get(&wanted.id(), ask()) {
        Ok(None) => Kept::Not,
        Ok(Some(found)) => {
            assert!(found == wanted, "block {number} has other bytes");
            Kept::Sound
        }
        Err(StoreError::Damaged { .. }) => Kept::Damaged,
        Err(error) => panic!("get of block {number}: {error}"),
    }
}

/// Everything that can be seen.
fn compare(store: &dyn Store, spec: &Spec, when: &dyn Fn() -> String) {
    for number in 0..BLOCKS {
        assert_eq!(seen(store, number), spec.kept(number), "get of block {number} {}", when());
        assert_eq!(store.has(&sample(number).id()).expect("has"), spec.has(number), "has block {number} {}", when());
    }
    for of in 0..VOLUMES {
        let heads: Vec<_> = spec.heads(of).into_iter().map(stored_head).collect();
        assert_eq!(store.heads(&volume(of)).expect("heads"), heads, "heads {}", when());
        let deltas = spec.deltas(of).into_iter();
        let deltas: Vec<_> = deltas.map(|(seq, number)| (seq, sample(number).id())).collect();
        assert_eq!(store.deltas(&volume(of), 0).expect("deltas"), deltas, "deltas {}", when());
    }
    let volumes = (0..VOLUMES).filter(|of| !spec.heads(*of).is_empty() || !spec.deltas(*of).is_empty());
    assert_eq!(store.volumes().expect("volumes"), volumes.map(volume).collect::<Vec<_>>(), "volumes {}", when());
    for key in 0..HINTS {
        if let Some(found) = store.hint(&[key; 32]) {
            let value = spec.hint(key).unwrap_or_else(|| panic!("hint {key} was never put {}", when()));
            assert_eq!(found, vec![value; 100], "hint {key} {}", when());
        }
    }
}

fn stored_head((by, seq, value): (u8, u64, u8)) -> StoredHead {
    StoredHead { device: device(by), seq, bytes: head_bytes(value) }
}
