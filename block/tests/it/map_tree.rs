//! Map trees against a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use cairn_block::map_tree::{Visit, diff, edit, get, range, walk};
use cairn_block::{Descend, Kind, MapNode, MapRoot, TreeError};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::memory::{Failure, Memory};

type Model = BTreeMap<Bytes, Bytes>;
type Changes = BTreeMap<Bytes, Option<Bytes>>;

fn apply(memory: &Memory, root: &MapRoot, changes: &Changes) -> MapRoot {
    let changes: Vec<_> = changes.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    edit(&mut &*memory, &mut &*memory, root, &changes).unwrap()
}

fn from_scratch(memory: &Memory, model: &Model) -> MapRoot {
    let changes = model.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    apply(memory, &MapRoot::EMPTY, &changes)
}

fn change_model(model: &mut Model, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn entries(memory: &Memory, root: &MapRoot) -> Vec<(Bytes, Bytes)> {
    range(&mut &*memory, root, Bound::Unbounded, usize::MAX).unwrap()
}

fn differences(memory: &Memory, a: &MapRoot, b: &MapRoot) -> BTreeMap<Bytes, (Option<Bytes>, Option<Bytes>)> {
    let mut found = BTreeMap::new();
    diff(&mut &*memory, a, b, |key, old, new| {
        if let Some((last, _)) = found.last_key_value() {
            assert!(*last < key, "differences out of order");
        }
        found.insert(key, (old, new));
        Ok(())
    })
    .unwrap();
    found
}

/// The key of an entry in a large directory: a hash, then a name.
fn spread_key(number: u64) -> Bytes {
    let mut key = blake3::hash(&number.to_le_bytes()).as_bytes()[..7].to_vec();
    key.extend(format!("file-{number:08}.dat").bytes());
    key.into()
}

fn value(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn directory(numbers: impl Iterator<Item = u64>) -> Model {
    numbers.map(|number| (spread_key(number), value(number, 150))).collect()
}

/// A key of few bytes, so that changes meet entries, spread over the whole order.
fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        (0..2_000_u64).prop_map(spread_key),
        (1..500_u64).prop_map(|number| Bytes::copy_from_slice(&number.to_be_bytes())),
        vec(any::<u8>(), 1..=262).prop_map(Bytes::from),
    ]
}

/// A value of the sizes that directories have, up to the largest.
fn any_value() -> impl Strategy<Value = Bytes> {
    let len = prop_oneof![8 => 100..200_usize, 3 => 0..4096_usize, 1 => Just(16 << 10)];
    (any::<u64>(), len).prop_map(|(seed, len)| value(seed, len))
}

fn model() -> impl Strategy<Value = Model> {
    prop_oneof![
        2 => btree_map(key(), any_value(), 0..60),
        1 => btree_map(key(), any_value(), 0..1_500),
        // Several levels, whatever the keys of the edits are.
        1 => (0..2_000_u64, 4_000..12_000_u64).prop_map(|(from, to)| directory(from..to)),
    ]
}

fn changes() -> impl Strategy<Value = Changes> {
    let change = prop_oneof![any_value().prop_map(Some), Just(None)];
    btree_map(key(), change, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_edited_tree_is_the_tree_built_from_scratch(mut model in model(), edits in vec(changes(), 1..4)) {
        let memory = Memory::default();
        let mut root = from_scratch(&memory, &model);
        for changes in edits {
            root = apply(&memory, &root, &changes);
            change_model(&mut model, &changes);
            prop_assert_eq!(&root, &from_scratch(&memory, &model));
            prop_assert_eq!(root.count, model.len() as u64);
        }
        prop_assert!(entries(&memory, &root).into_iter().eq(model));
    }

    #[test]
    fn removing_a_range_leaves_the_tree_built_from_scratch(
        mut model in model(), from in 0.0..1.0_f64, to in 0.0..1.0_f64, survivors in 0..3_usize,
    ) {
        let memory = Memory::default();
        let root = from_scratch(&memory, &model);
        let place = |part: f64| (part * model.len() as f64) as usize;
        let (from, to) = (place(from.min(to)), place(from.max(to)));
        let mut changes: Changes =
            model.keys().skip(from).take(to - from).map(|key| (key.clone(), None)).collect();
        for _ in 0..survivors {
            changes.pop_last();
        }
        change_model(&mut model, &changes);
        prop_assert_eq!(apply(&memory, &root, &changes), from_scratch(&memory, &model));
    }

    #[test]
    fn lookups_agree_with_the_model(model in model(), keys in vec(key(), 1..20), entries_max in 0..50_usize) {
        let memory = Memory::default();
        let root = from_scratch(&memory, &model);
        for key in keys {
            prop_assert_eq!(get(&mut &memory, &root, &key).unwrap(), model.get(&key).cloned());
            for from in [Bound::Included(key.clone()), Bound::Excluded(key.clone())] {
                let found = range(&mut &memory, &root, from.as_ref().map(|key| &key[..]), entries_max).unwrap();
                let wanted = model.range((from, Bound::Unbounded)).take(entries_max);
                prop_assert!(found.iter().map(|(key, value)| (key, value)).eq(wanted));
            }
        }
    }

    #[test]
    fn a_difference_is_what_the_models_differ_in(mut model in model(), edits in vec(changes(), 0..3)) {
        let memory = Memory::default();
        let before = model.clone();
        let old = from_scratch(&memory, &model);
        for changes in &edits {
            change_model(&mut model, changes);
        }
        let new = from_scratch(&memory, &model);
        let wanted: BTreeMap<_, _> = before
            .keys()
            .chain(model.keys())
            .map(|key| (key.clone(), (before.get(key).cloned(), model.get(key).cloned())))
            .filter(|(_, (old, new))| old != new)
            .collect();
        prop_assert_eq!(differences(&memory, &old, &new), wanted);
    }
}

proptest! {
    #[test]
    fn a_damaged_node_is_refused_or_read_in_order(
        number in 0..3_u64, flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut: prop::sample::Index,
    ) {
        let memory = Memory::default();
        let root = from_scratch(&memory, &directory(0..[3, 40, 2_000][number as usize]));
        let good = memory.payload(Kind::MapNode, root.root.as_ref().unwrap()).unwrap();
        prop_assert!(MapNode::decode(root.level, good.slice(..cut.index(good.len()))).is_err());
        let mut bytes = good.to_vec();
        for (place, value) in flips {
            let front = if value % 2 == 0 { bytes.len() } else { 40 };
            bytes[place.index(front)] = value;
        }
        for level in [root.level, bytes[0]] {
            let Ok(node) = MapNode::decode(level, bytes.clone().into()) else { continue };
            let keys: Vec<_> = node.entries().map(|(key, _)| key).collect();
            prop_assert!(keys.is_sorted());
            prop_assert!(keys.iter().all(|key| node.get(key).is_some()));
            let reference = memory.insert(Kind::MapNode, &bytes);
            let damaged = MapRoot { root: Some(reference), level, count: node.count() };
            let read = range(&mut &memory, &damaged, Bound::Unbounded, usize::MAX);
            prop_assert!(read.is_err() || read.unwrap().is_sorted());
        }
    }
}

#[test]
fn mass_inserts_in_batches_give_the_tree_built_at_once() {
    let memory = Memory::default();
    let mut model = Model::new();
    let mut root = MapRoot::EMPTY;
    for batch in 0..10 {
        let added = directory(batch * 5_000..(batch + 1) * 5_000);
        let changes = added.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        root = apply(&memory, &root, &changes);
        model.extend(added);
        assert_eq!(root, from_scratch(&memory, &model), "after batch {batch}");
    }
    assert_eq!(root.count, 50_000);
    // And back to nothing, from the middle outwards.
    let keys: Vec<_> = model.keys().cloned().collect();
    for keep in [20_000, 5_000, 300, 2, 1, 0] {
        let middle = keys.len() / 2;
        let kept = middle - keep / 2..middle - keep / 2 + keep;
        let changes: Changes = keys
            .iter()
            .enumerate()
            .filter(|(index, key)| !kept.contains(index) && model.contains_key(*key))
            .map(|(_, key)| (key.clone(), None))
            .collect();
        root = apply(&memory, &root, &changes);
        change_model(&mut model, &changes);
        assert_eq!(root, from_scratch(&memory, &model), "with {keep} left");
    }
    assert_eq!(root, MapRoot::EMPTY);
}

#[test]
fn every_prefix_and_suffix_of_a_tree_is_canonical() {
    let memory = Memory::default();
    let model = directory(0..6_000);
    let root = from_scratch(&memory, &model);
    let keys: Vec<_> = model.keys().cloned().collect();
    for cut in (0..=keys.len()).step_by(37) {
        for gone in [&keys[..cut], &keys[cut..]] {
            let changes: Changes = gone.iter().map(|key| (key.clone(), None)).collect();
            let mut left = model.clone();
            change_model(&mut left, &changes);
            assert_eq!(apply(&memory, &root, &changes), from_scratch(&memory, &left), "cut at {cut}");
        }
    }
}

/// Leaves below the last inner node of level 1.
fn last_leaves(memory: &Memory, root: &MapRoot) -> usize {
    let mut leaves = 0;
    walk(&mut &*memory, root, |visit| match visit {
        Visit::Node { level: 0, .. } => {
            leaves += 1;
            Ok(Descend::No)
        }
        _ => {
            leaves = 0;
            Ok(Descend::Yes)
        }
    })
    .unwrap();
    leaves
}

#[test]
fn a_last_node_with_a_single_child_is_no_root() {
    let memory = Memory::default();
    let mut model = Model::new();
    let mut root = MapRoot::EMPTY;
    // Grown at the end by leaves of about one entry, until the last inner node has one leaf only.
    for number in 0_u64.. {
        let (key, value) = (Bytes::copy_from_slice(&number.to_be_bytes()), value(number, 16 << 10));
        root = apply(&memory, &root, &Changes::from([(key.clone(), Some(value.clone()))]));
        model.insert(key, value);
        if root.level == 2 && last_leaves(&memory, &root) == 1 {
            break;
        }
    }
    let last = model.pop_last().unwrap();
    let changes = model.keys().map(|key| (key.clone(), None)).collect();
    let left = apply(&memory, &root, &changes);
    assert_eq!(left.level, 0);
    assert_eq!(left, from_scratch(&memory, &Model::from([last])));
}

#[test]
fn one_change_in_a_million_entries_rewrites_one_path() {
    let memory = Memory::default();
    let model = directory(0..1_000_000);
    let root = from_scratch(&memory, &model);
    let levels = usize::from(root.level) + 1;
    let (mut reads, mut writes, mut writes_max) = (0, 0, 0);
    const ROUNDS: u64 = 200;
    for round in 0..ROUNDS {
        let old = spread_key(round * 4_999);
        let new = spread_key(2_000_000 + round);
        for change in [(new, Some(value(round, 150))), (old.clone(), Some(value(round + 7, 150))), (old, None)] {
            memory.reset_counts();
            apply(&memory, &root, &Changes::from([change]));
            reads += memory.reads.get();
            writes += memory.writes.get();
            writes_max = writes_max.max(memory.writes.get());
        }
    }
    let changes = ROUNDS as usize * 3;
    println!(
        "one change: {:.2} reads, {:.2} writes, {writes_max} at most",
        reads as f64 / changes as f64,
        writes as f64 / changes as f64
    );
    assert!(writes <= changes * (levels + 1), "{writes} writes for {changes} changes");
    assert!(reads <= changes * (levels + 2), "{reads} reads for {changes} changes");
    assert!(writes_max <= 4 * levels, "{writes_max} writes for one change");
}

#[test]
fn an_edit_of_many_keys_reads_and_writes_each_node_once() {
    let memory = Memory::default();
    let root = from_scratch(&memory, &directory(0..200_000));
    let nodes = memory.writes.get();
    let added = directory(200_000..210_000).into_iter().map(|(key, value)| (key, Some(value))).collect();
    memory.reset_counts();
    apply(&memory, &root, &added);
    assert!(memory.reads.get() <= nodes, "{} reads of {nodes} nodes", memory.reads.get());
    assert!(memory.writes.get() <= nodes * 11 / 10, "{} writes of {nodes} nodes", memory.writes.get());
}

#[test]
fn a_difference_reads_only_what_differs() {
    let memory = Memory::default();
    let model = directory(0..200_000);
    let root = from_scratch(&memory, &model);
    let changes = (0..20).map(|number| (spread_key(number * 9_000), Some(value(number, 10)))).collect();
    let edited = apply(&memory, &root, &changes);
    memory.reset_counts();
    assert_eq!(differences(&memory, &root, &edited).len(), 20);
    assert!(memory.reads.get() < 20 * 2 * 6, "{} reads", memory.reads.get());
}

#[test]
fn a_difference_skips_shared_subtrees_of_trees_of_other_heights() {
    let memory = Memory::default();
    let high = directory(0..400_000);
    let low: Model = high.iter().take(5_000).map(|(key, value)| (key.clone(), value.clone())).collect();
    let (high_root, low_root) = (from_scratch(&memory, &high), from_scratch(&memory, &low));
    assert!(high_root.level > low_root.level);
    memory.reset_counts();
    diff(&mut &memory, &low_root, &high_root, |_, old, _| match old {
        None => Err(Failure::Missing(high_root.root.as_ref().unwrap().id)),
        Some(_) => Ok(()),
    })
    .unwrap_err();
    assert!(memory.reads.get() < 12, "{} reads up to the first entry that the lower tree lacks", memory.reads.get());
}

#[test]
fn an_edit_that_changes_nothing_stores_nothing() {
    let memory = Memory::default();
    let model = directory(0..20_000);
    let root = from_scratch(&memory, &model);
    let present = model.iter().step_by(97).map(|(key, value)| (key.clone(), Some(value.clone())));
    let absent = (50_000..50_100).map(|number| (spread_key(number), None));
    memory.reset_counts();
    assert_eq!(apply(&memory, &root, &present.chain(absent).collect()), root);
    assert_eq!(memory.writes.get(), 0);
}

#[test]
fn nodes_are_neither_long_nor_many() {
    for (what, len) in [("small", 20), ("ordinary", 170), ("with inline content", 2_300), ("largest", 16 << 10)] {
        let memory = Memory::default();
        let model: Model = (0..20_000).map(|number| (spread_key(number), value(number, len))).collect();
        let root = from_scratch(&memory, &model);
        let (mut nodes, mut bytes, mut largest) = (0, 0, 0);
        walk(&mut &memory, &root, |visit| {
            if let Visit::Node { reference, .. } = visit {
                nodes += 1;
                bytes += reference.len;
                largest = largest.max(reference.len);
            }
            Ok(Descend::Yes)
        })
        .unwrap();
        println!("{what}: {nodes} nodes of {} bytes, {largest} at most", bytes / nodes);
        assert!((16 << 10..32 << 10).contains(&(bytes / nodes)), "{what}: {} bytes on average", bytes / nodes);
    }
}

#[test]
fn a_walk_meets_every_entry_once_and_skips_what_it_is_told() {
    let memory = Memory::default();
    let model = directory(0..30_000);
    let root = from_scratch(&memory, &model);
    let mut found = Vec::new();
    walk(&mut &memory, &root, |visit| {
        if let Visit::Entry { key, value } = visit {
            found.push((key, value));
        }
        Ok(Descend::Yes)
    })
    .unwrap();
    assert!(found.into_iter().eq(model));
    memory.reset_counts();
    walk(&mut &memory, &root, |visit| match visit {
        Visit::Node { level: 0, .. } => Ok(Descend::No),
        Visit::Node { .. } => Ok(Descend::Yes),
        Visit::Entry { .. } => panic!("a leaf was read"),
    })
    .unwrap();
    assert!(memory.reads.get() < 10);
}

#[test]
fn changes_out_of_order_or_too_long_are_refused() {
    let memory = Memory::default();
    let refused = |changes: &[(&[u8], Option<Bytes>)]| match edit(&mut &memory, &mut &memory, &MapRoot::EMPTY, changes)
    {
        Err(Failure::Tree(TreeError::Edit { index, .. })) => Some(index),
        _ => None,
    };
    let one = Some(Bytes::from_static(b"1"));
    assert_eq!(refused(&[(b"", one.clone())]), Some(0));
    assert_eq!(refused(&[(b"a", one.clone()), (b"a", None)]), Some(1));
    assert_eq!(refused(&[(b"b", one.clone()), (b"a", None)]), Some(1));
    assert_eq!(refused(&[(&[1; 263], one)]), Some(0));
    assert_eq!(refused(&[(b"a", Some(Bytes::from(vec![0; (16 << 10) + 1])))]), Some(0));
}

#[test]
fn a_tree_whose_parts_contradict_each_other_is_refused() {
    let memory = Memory::default();
    let model = directory(0..1_000);
    let root = from_scratch(&memory, &model);
    let lookup = |root: &MapRoot| get(&mut &memory, root, &spread_key(1));

    let miscounted = MapRoot { count: root.count + 1, ..root.clone() };
    assert!(matches!(lookup(&miscounted), Err(Failure::Tree(TreeError::Node { .. }))));

    let other_level = MapRoot { level: root.level + 1, ..root.clone() };
    assert!(matches!(lookup(&other_level), Err(Failure::Bytes(_))));

    // An inner node over a leaf: the root must be the leaf.
    let leaf = from_scratch(&memory, &directory(0..5));
    let key = directory(0..5).into_keys().next_back().unwrap();
    let inner = |key: &[u8], count: u64| {
        let mut payload = vec![1, 1, 0, key.len() as u8, 0];
        payload.extend_from_slice(key);
        payload.extend(leaf.root.as_ref().unwrap().to_bytes());
        payload.extend(count.to_le_bytes());
        MapRoot { root: Some(memory.insert(Kind::MapNode, &payload)), level: 1, count }
    };
    assert!(matches!(lookup(&inner(&key, 5)), Err(Failure::Tree(TreeError::Node { .. }))));
    assert!(matches!(lookup(&inner(&key, 0)), Err(Failure::Bytes(_))));
}
