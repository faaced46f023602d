//! File trees against a plain list that says for each byte of a file which byte of which chunk it is.

use std::ops::Range;

use cairn_block::file_tree::{Visit, build, edit, extents, next_data, next_hole, walk};
use cairn_block::limits::FILE_BYTES_MAX;
use cairn_block::{BlockId, BlockKey, Descend, Extent, FileNode, FileRoot, FileTree, Kind, Patch, Ref, TreeError};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::memory::{Failure, Memory};

/// For each byte of a file its chunk and the place in it; none in a hole.
type Model = Vec<Option<(u32, u32)>>;

const CHUNK_BYTES: u32 = 64;

fn chunk(number: u32) -> Ref {
    let id = *blake3::hash(&number.to_le_bytes()).as_bytes();
    Ref { id: BlockId::from_bytes(id), key: BlockKey::from_bytes(id), len: CHUNK_BYTES }
}

/// What the bytes of an extent are in a model; the number of a chunk is where its key would be.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Hole(u32),
    Part { chunk: u32, start: u32, len: u32 },
}

impl Piece {
    fn extent(self) -> Extent {
        match self {
            Piece::Hole(len) => Extent::Hole { len: len.into() },
            Piece::Part { chunk: number, start, len } => Extent::Chunk { len, chunk_off: start, chunk: chunk(number) },
        }
    }

    fn bytes(self) -> Model {
        match self {
            Piece::Hole(len) => vec![None; len as usize],
            Piece::Part { chunk, start, len } => (start..start + len).map(|at| Some((chunk, at))).collect(),
        }
    }
}

fn model_of(pieces: &[Piece]) -> Model {
    pieces.iter().flat_map(|piece| piece.bytes()).collect()
}

/// Extents of a single byte each: it is the tree's task to join them.
fn from_scratch(memory: &Memory, model: &Model) -> FileTree {
    let bytes = model.iter().map(|byte| match *byte {
        None => Extent::Hole { len: 1 },
        Some((number, at)) => Extent::Chunk { len: 1, chunk_off: at, chunk: chunk(number) },
    });
    build(&mut &*memory, bytes, false).unwrap()
}

fn built(memory: &Memory, pieces: &[Piece]) -> FileTree {
    build(&mut &*memory, pieces.iter().map(|piece| piece.extent()), false).unwrap()
}

fn patched(memory: &Memory, tree: &FileTree, old: u64, patches: &[Patch], new: u64) -> FileTree {
    edit(&mut &*memory, &mut &*memory, tree.root.as_ref(), old, patches, new).unwrap()
}

/// `count` whole chunks of numbers that are used once.
fn long_file(count: u32) -> Vec<Piece> {
    (0..count).map(|number| Piece::Part { chunk: 1_000 + number, start: 0, len: CHUNK_BYTES }).collect()
}

fn piece() -> impl Strategy<Value = Piece> {
    let part = (0..40_u32, 0..4_u32, 1..=4_u32).prop_map(|(chunk, start, len)| Piece::Part {
        chunk,
        start: start * 16,
        len: len.min(4 - start) * 16,
    });
    prop_oneof![1 => (1..200_u32).prop_map(Piece::Hole), 6 => part]
}

/// Files of one to three levels, with runs that repeat.
fn file() -> impl Strategy<Value = Vec<Piece>> {
    prop_oneof![
        2 => vec(piece(), 0..40),
        2 => vec(piece(), 0..2_500),
        1 => (0..3_000_u32).prop_map(long_file),
        1 => (piece(), 0..2_000_usize).prop_map(|(piece, count)| vec![piece; count]),
    ]
}

/// A place in the file, what it replaces and by what.
#[derive(Clone, Debug)]
struct Change {
    place: f64,
    replaced: usize,
    keeps_length: bool,
    pieces: Vec<Piece>,
}

fn change() -> impl Strategy<Value = Change> {
    let replaced = prop_oneof![4 => 0..300_usize, 1 => 0..20_000_usize, 1 => Just(0)];
    (0.0..1.1_f64, replaced, any::<bool>(), vec(piece(), 0..12))
        .prop_map(|(place, replaced, keeps_length, pieces)| Change { place, replaced, keeps_length, pieces })
}

/// Turns changes into patches and applies them to the model, naively. Half of the places are on boundaries.
fn patch_model(model: &mut Model, changes: &[Change], keeps_length: bool) -> Vec<Patch> {
    let mut places: Vec<usize> = changes.iter().map(|c| (c.place * model.len() as f64) as usize / 16 * 16).collect();
    places.sort_unstable();
    let mut patches = Vec::new();
    let mut gone_to = 0;
    let (mut result, mut taken) = (Model::new(), 0);
    for (change, place) in changes.iter().zip(places) {
        let start = place.max(gone_to);
        let bytes = model_of(&change.pieces);
        let replaced = if keeps_length || change.keeps_length { bytes.len() } else { change.replaced };
        let end = start + replaced;
        let old_part = model.get(taken..start.min(model.len())).unwrap_or_default();
        result.extend_from_slice(old_part);
        let gap = start - start.min(model.len().max(gone_to));
        result.extend(std::iter::repeat_n(None, gap));
        result.extend(bytes);
        taken = end;
        gone_to = end;
        patches.push(Patch {
            range: start as u64..end as u64,
            extents: change.pieces.iter().map(|piece| piece.extent()).collect(),
        });
    }
    result.extend_from_slice(model.get(taken..).unwrap_or_default());
    *model = result;
    patches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_edited_file_is_the_file_built_from_scratch(
        pieces in file(),
        edits in vec((vec(change(), 0..5), prop_oneof![2 => Just(1.0), 1 => 0.0..1.3_f64]), 1..4),
    ) {
        let memory = Memory::default();
        let mut model = model_of(&pieces);
        let mut tree = built(&memory, &pieces);
        prop_assert_eq!(&tree, &from_scratch(&memory, &model));
        for (changes, resize) in edits {
            let old = model.len() as u64;
            let patches = patch_model(&mut model, &changes, resize != 1.0);
            if resize != 1.0 {
                model.resize((model.len() as f64 * resize) as usize, None);
            }
            tree = patched(&memory, &tree, old, &patches, model.len() as u64);
            prop_assert_eq!(&tree, &from_scratch(&memory, &model));
            let allocated = model.iter().flatten().count() as u64;
            prop_assert_eq!(tree.allocated, allocated);
            prop_assert_eq!(tree.root.is_none(), allocated == 0);
        }
    }

    #[test]
    fn a_range_gives_the_extents_that_overlap_it(pieces in file(), places in vec((0.0..1.2_f64, 0.0..1.2_f64), 1..10)) {
        let memory = Memory::default();
        let model = model_of(&pieces);
        let tree = built(&memory, &pieces);
        let Some(root) = &tree.root else { return Ok(()) };
        let all = extents(&mut &memory, root, 0..u64::MAX).unwrap();
        let read: Model = all.iter().flat_map(|(_, extent)| bytes_of(extent)).collect();
        prop_assert_eq!(&read, &model);
        for (from, to) in places {
            let place = |part: f64| (part * model.len() as f64) as u64;
            let range = place(from.min(to))..place(from.max(to));
            let found = extents(&mut &memory, root, range.clone()).unwrap();
            let wanted = all.iter().filter(|(at, extent)| !range.is_empty() && *at < range.end && at + extent.len() > range.start);
            prop_assert!(found.iter().eq(wanted));
        }
    }

    #[test]
    fn seeking_finds_data_and_holes(pieces in file(), places in vec(0.0..1.2_f64, 1..10)) {
        let memory = Memory::default();
        let model = model_of(&pieces);
        let tree = built(&memory, &pieces);
        let Some(root) = &tree.root else { return Ok(()) };
        for place in places {
            let from = (place * model.len() as f64) as usize;
            let find = |wanted: fn(&Option<(u32, u32)>) -> bool| {
                model.iter().skip(from).position(wanted).map(|after| (from + after) as u64)
            };
            prop_assert_eq!(next_data(&mut &memory, root, from as u64).unwrap(), find(Option::is_some));
            prop_assert_eq!(next_hole(&mut &memory, root, from as u64).unwrap(), find(Option::is_none));
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_node_is_refused_or_adds_up(
        count in prop_oneof![1..5_u32, 1_000..1_200_u32],
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let memory = Memory::default();
        let root = built(&memory, &long_file(count)).root.unwrap();
        let good = memory.payload(Kind::FileNode, &root.root).unwrap();
        prop_assert!(FileNode::decode(root.level, good.slice(..cut.index(good.len()))).is_err());
        let mut bytes = good.to_vec();
        for (place, value) in flips {
            let front = if value % 2 == 0 { bytes.len() } else { 40 };
            bytes[place.index(front)] = value;
        }
        for level in [root.level, bytes[0]] {
            let Ok(node) = FileNode::decode(level, bytes.clone().into()) else { continue };
            prop_assert!(node.allocated() <= node.file_bytes());
            let damaged = FileRoot { root: memory.insert(Kind::FileNode, &bytes), level, fixed: false };
            if let Ok(read) = extents(&mut &memory, &damaged, 0..u64::MAX) {
                prop_assert_eq!(read.iter().map(|(_, extent)| extent.len()).sum::<u64>(), node.file_bytes());
            }
        }
    }
}

/// Offsets at which nodes begin, but for the first: those of inner nodes, and some of the leaves.
fn node_starts(memory: &Memory, root: &FileRoot) -> Vec<usize> {
    let (mut starts, mut leaves, mut began) = (Vec::new(), 0, false);
    walk(&mut &*memory, root, |visit| {
        match visit {
            Visit::Node { level: 0, .. } => {
                leaves += 1;
                began |= leaves % 32 == 0;
            }
            Visit::Node { .. } => began = true,
            Visit::Extent { offset, .. } => {
                if std::mem::take(&mut began) && offset > 0 {
                    starts.push(offset as usize);
                }
            }
        }
        Ok(Descend::Yes)
    })
    .unwrap();
    starts
}

#[test]
fn patches_at_the_edge_of_a_node_join_across_it() {
    const PIECE: usize = 16;
    let memory = Memory::default();
    // The middle of each chunk, so that there is something before and after it to go on with; a hole now and then.
    let old: Vec<_> = (0..180_000)
        .map(|number| match number % 3 {
            0 => Piece::Hole(PIECE as u32).extent(),
            _ => Piece::Part { chunk: number, start: 16, len: PIECE as u32 }.extent(),
        })
        .collect();
    let tree = build(&mut &memory, old.iter().cloned(), false).unwrap();
    let root = tree.root.as_ref().unwrap();
    assert_eq!(root.level, 2);
    let check = |replaced: Range<usize>, extents: Vec<Extent>| {
        let mut wanted = old.clone();
        wanted.splice(replaced.clone(), extents.iter().cloned());
        let size = (old.len() * PIECE) as u64;
        let range = (replaced.start * PIECE) as u64..(replaced.end * PIECE) as u64;
        let edited = patched(&memory, &tree, size, &[Patch { range, extents }], (wanted.len() * PIECE) as u64);
        assert_eq!(edited, build(&mut &memory, wanted, false).unwrap(), "{replaced:?}");
    };
    let starts = node_starts(&memory, root);
    assert!(starts.len() > 10);
    for start in starts {
        let edge = start / PIECE;
        // What goes on into the extent after the edge, and what goes on from the one before it.
        let (into, from) = (beside(&old[edge], -16), beside(&old[edge - 1], 16));
        check(edge - 1..edge, vec![into.clone()]);
        check(edge..edge, vec![into.clone()]);
        check(edge..edge + 1, vec![from.clone()]);
        check(edge..edge, vec![from.clone()]);
        check(edge..edge, vec![from, into]);
        check(edge - 1..edge + 1, Vec::new());
    }
}

/// A hole beside a hole; the bytes beside those of an extent in its chunk.
fn beside(extent: &Extent, by: i32) -> Extent {
    match extent {
        Extent::Hole { .. } => extent.clone(),
        Extent::Chunk { len, chunk_off, chunk } => {
            Extent::Chunk { len: *len, chunk_off: chunk_off.checked_add_signed(by).unwrap(), chunk: chunk.clone() }
        }
    }
}

#[test]
fn every_length_of_a_file_is_canonical() {
    let memory = Memory::default();
    let pieces = long_file(3_000);
    let model = model_of(&pieces);
    let tree = built(&memory, &pieces);
    let edges = node_starts(&memory, tree.root.as_ref().unwrap());
    let around = edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1, edge + 64]);
    for len in around.chain((0..model.len()).step_by(9_999)).chain([model.len() + 1, model.len() + 100_000]) {
        let mut wanted = model.clone();
        wanted.resize(len, None);
        assert_eq!(
            patched(&memory, &tree, model.len() as u64, &[], len as u64),
            from_scratch(&memory, &wanted),
            "{len}"
        );
    }
    // The end of the file stays a node's end only while it is the end.
    let more = replace(model.len() as u64..model.len() as u64 + 64, 9);
    let mut wanted = model.clone();
    wanted.extend(Piece::Part { chunk: 9, start: 0, len: 64 }.bytes());
    assert_eq!(
        patched(&memory, &tree, model.len() as u64, &[more], wanted.len() as u64),
        from_scratch(&memory, &wanted)
    );
}

fn bytes_of(extent: &Extent) -> Model {
    match extent {
        Extent::Hole { len } => vec![None; *len as usize],
        Extent::Chunk { len, chunk_off, chunk: reference } => {
            let number = (0..40).chain(1_000..4_000).find(|number| chunk(*number) == *reference).unwrap();
            (*chunk_off..chunk_off + len).map(|at| Some((number, at))).collect()
        }
    }
}

/// A file of `count` chunks, and its tree.
fn long_tree(memory: &Memory, count: u32) -> (u64, FileTree) {
    let pieces = long_file(count);
    (u64::from(count * CHUNK_BYTES), built(memory, &pieces))
}

fn replace(range: Range<u64>, number: u32) -> Patch {
    let len = (range.end - range.start) as u32;
    Patch { range, extents: vec![Piece::Part { chunk: number, start: 0, len }.extent()] }
}

#[test]
fn overwriting_one_chunk_rewrites_one_path() {
    let memory = Memory::default();
    let (size, tree) = long_tree(&memory, 200_000);
    let levels = usize::from(tree.root.as_ref().unwrap().level) + 1;
    let (mut reads, mut writes) = (0, 0);
    const ROUNDS: u32 = 500;
    for round in 0..ROUNDS {
        let start = u64::from(round * 397) * u64::from(CHUNK_BYTES);
        memory.reset_counts();
        patched(&memory, &tree, size, &[replace(start..start + 64, round)], size);
        reads += memory.reads.get();
        writes += memory.writes.get();
    }
    println!(
        "{levels} levels, overwrite: {:.2} reads, {:.2} writes",
        reads as f32 / ROUNDS as f32,
        writes as f32 / ROUNDS as f32
    );
    assert!(writes <= ROUNDS as usize * (levels + 1), "{writes} writes");
    assert!(reads <= ROUNDS as usize * (levels + 2), "{reads} reads");
}

#[test]
fn bytes_inserted_near_the_front_rewrite_only_what_is_near() {
    let memory = Memory::default();
    let (size, tree) = long_tree(&memory, 200_000);
    let levels = usize::from(tree.root.as_ref().unwrap().level) + 1;
    let (mut reads, mut writes) = (0, 0);
    const ROUNDS: u32 = 200;
    for round in 0..ROUNDS {
        memory.reset_counts();
        let at = u64::from(round) * 100;
        patched(&memory, &tree, size, &[Patch { extents: replace(0..10, round).extents, range: at..at }], size + 10);
        reads += memory.reads.get();
        writes += memory.writes.get();
    }
    println!(
        "{levels} levels, insert: {:.2} reads, {:.2} writes",
        reads as f32 / ROUNDS as f32,
        writes as f32 / ROUNDS as f32
    );
    assert!(writes <= ROUNDS as usize * (levels + 2), "{writes} writes");
    assert!(reads <= ROUNDS as usize * (levels + 3), "{reads} reads");
}

#[test]
fn a_large_range_is_replaced_without_being_read() {
    let memory = Memory::default();
    let (size, tree) = long_tree(&memory, 200_000);
    memory.reset_counts();
    let hole = Patch { range: 5_000..size - 5_000, extents: vec![Extent::Hole { len: size - 10_000 }] };
    let sparse = patched(&memory, &tree, size, &[hole], size);
    assert_eq!(sparse.allocated, 10_000);
    assert!(memory.reads.get() < 12, "{} reads", memory.reads.get());
    memory.reset_counts();
    patched(&memory, &tree, size, &[], 5_000);
    assert!(memory.reads.get() < 6, "{} reads", memory.reads.get());
}

#[test]
fn an_edit_that_changes_nothing_stores_nothing() {
    let memory = Memory::default();
    let (size, tree) = long_tree(&memory, 50_000);
    memory.reset_counts();
    assert_eq!(patched(&memory, &tree, size, &[], size), tree);
    assert_eq!(patched(&memory, &tree, size, &[replace(64..128, 1_001)], size), tree);
    assert_eq!(memory.writes.get(), 0);
}

#[test]
fn a_file_of_one_repeated_chunk_has_few_different_nodes() {
    let memory = Memory::default();
    let pieces = vec![Piece::Part { chunk: 3, start: 0, len: CHUNK_BYTES }; 100_000];
    let tree = built(&memory, &pieces);
    let mut nodes = std::collections::HashSet::new();
    walk(&mut &memory, tree.root.as_ref().unwrap(), |visit| {
        Ok(match visit {
            Visit::Node { reference, .. } if nodes.insert(reference.id) => Descend::Yes,
            _ => Descend::No,
        })
    })
    .unwrap();
    assert!(nodes.len() < 12, "{} nodes", nodes.len());
}

#[test]
fn a_sparse_file_of_the_largest_size_is_small() {
    let memory = Memory::default();
    let last = FILE_BYTES_MAX - 64;
    let empty = FileTree { root: None, allocated: 0 };
    let tree = patched(&memory, &empty, 0, &[replace(last..FILE_BYTES_MAX, 1)], FILE_BYTES_MAX);
    assert_eq!(memory.writes.get(), 1);
    let root = tree.root.as_ref().unwrap();
    assert_eq!(next_data(&mut &memory, root, 0).unwrap(), Some(last));
    assert_eq!(extents(&mut &memory, root, last..u64::MAX).unwrap().len(), 1);
    let grown = edit(&mut &memory, &mut &memory, Some(root), FILE_BYTES_MAX, &[], u64::MAX);
    assert!(matches!(grown, Err(Failure::Tree(TreeError::Edit { .. }))));
}

#[test]
fn the_mark_of_a_file_that_is_overwritten_in_place_stays() {
    let memory = Memory::default();
    let fixed = build(&mut &memory, long_file(10).iter().map(|piece| piece.extent()), true).unwrap();
    assert!(fixed.root.as_ref().unwrap().fixed);
    assert!(patched(&memory, &fixed, 640, &[replace(0..64, 5)], 640).root.unwrap().fixed);
}

#[test]
fn a_walk_meets_every_extent_once() {
    let memory = Memory::default();
    let (size, tree) = long_tree(&memory, 5_000);
    let mut end = 0;
    walk(&mut &memory, tree.root.as_ref().unwrap(), |visit| {
        if let Visit::Extent { offset, extent } = visit {
            assert_eq!(offset, end);
            end += extent.len();
        }
        Ok(Descend::Yes)
    })
    .unwrap();
    assert_eq!(end, size);
}

#[test]
fn patches_that_cannot_be_meant_are_refused() {
    let memory = Memory::default();
    let (size, tree) = long_tree(&memory, 100);
    let refused = |patches: &[Patch], size_new: u64| {
        let result = edit(&mut &memory, &mut &memory, tree.root.as_ref(), size, patches, size_new);
        matches!(result, Err(Failure::Tree(TreeError::Edit { .. })))
    };
    assert!(!refused(&[replace(0..64, 1), replace(64..128, 2)], size));
    assert!(refused(&[replace(64..128, 1), replace(0..64, 2)], size), "out of order");
    assert!(refused(&[replace(0..64, 1), replace(60..124, 2)], size), "overlapping");
    let short = Patch { range: 0..64, extents: replace(0..60, 1).extents };
    assert!(refused(std::slice::from_ref(&short), size), "a patch shorter than its range");
    assert!(!refused(&[short], size - 4), "unless the file shrinks by that");
    let beyond = Extent::Chunk { len: 10, chunk_off: 60, chunk: chunk(1) };
    assert!(refused(&[Patch { range: 0..10, extents: vec![beyond] }], size), "beyond the chunk");
    let wraps = Extent::Chunk { len: 10, chunk_off: u32::MAX, chunk: chunk(1) };
    assert!(refused(&[Patch { range: 0..10, extents: vec![wraps] }], size), "an offset that wraps");
    assert!(refused(&[Patch { range: 0..0, extents: vec![Extent::Hole { len: 0 }] }], size), "empty");
    let huge = Patch { range: 0..FILE_BYTES_MAX, extents: vec![Extent::Hole { len: FILE_BYTES_MAX }; 3] };
    assert!(refused(&[huge], size), "larger than any file");
}

#[test]
fn a_tree_whose_parts_contradict_each_other_is_refused() {
    let memory = Memory::default();
    let (size, tree) = long_tree(&memory, 2_000);
    let root = tree.root.unwrap();
    let wrong_size = edit(&mut &memory, &mut &memory, Some(&root), size + 1, &[], size);
    assert!(matches!(wrong_size, Err(Failure::Tree(TreeError::Node { .. }))));

    let inner = |children: &[(u64, u64, &Ref)]| {
        let mut payload = vec![1, children.len() as u8, 0];
        for (len, allocated, child) in children {
            payload.extend(len.to_le_bytes());
            payload.extend(allocated.to_le_bytes());
            payload.extend(child.to_bytes());
        }
        let root = FileRoot { root: memory.insert(Kind::FileNode, &payload), level: 1, fixed: false };
        extents(&mut &memory, &root, 0..u64::MAX)
    };
    let leaf = built(&memory, &long_file(3)).root.unwrap().root;
    let other = built(&memory, &long_file(4)).root.unwrap().root;
    assert!(inner(&[(192, 192, &leaf), (256, 256, &other)]).is_ok());
    let contradiction = |result| matches!(result, Err(Failure::Tree(TreeError::Node { .. })));
    assert!(contradiction(inner(&[(192, 192, &leaf)])), "a single child");
    assert!(contradiction(inner(&[(190, 190, &leaf), (256, 256, &other)])), "another length");
    assert!(contradiction(inner(&[(192, 191, &leaf), (256, 256, &other)])), "other allocated bytes");
    let malformed = |result| matches!(result, Err(Failure::Bytes(_)));
    assert!(malformed(inner(&[(192, 193, &leaf), (256, 256, &other)])), "more allocated than long");
    assert!(malformed(inner(&[(0, 0, &leaf), (256, 256, &other)])), "empty");
    assert!(malformed(inner(&[(u64::MAX, 1, &leaf), (256, 256, &other)])), "longer than any file");
}
