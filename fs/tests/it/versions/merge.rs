//! The rules of merging, on trees made by random histories.

use std::collections::BTreeMap;

use cairn_block::{Content, DeviceId, Entry, Ino, VolumeRoot, Xattrs};
use cairn_fs::changes::Changes;
use cairn_fs::merge::{Conflict, Disagreement, Side, TreeAncestor, merge};
use cairn_fs::reader::Patience;
use cairn_fs::tree;
use proptest::prelude::*;

use super::sketch::{Op, Sketch, ops};
use super::world::World;

fn side(device: u8, changes: Changes) -> Side {
    Side { rank: (DeviceId::from_bytes([device; 32]), 1), device_name: format!("device{device}"), changes }
}

/// A base and two sides that grew out of it.
struct Fork {
    world: World,
    base: Sketch,
    base_root: VolumeRoot,
}

struct Outcome {
    root: VolumeRoot,
    sketch: Sketch,
    conflicts: Vec<Conflict>,
}

impl Fork {
    fn new(history: &[Op]) -> Fork {
        let world = World::new();
        let base = Sketch::new().after(history);
        let base_root = base.plant(&world);
        Fork { world, base, base_root }
    }

    fn side(&self, clock: i64, history: &[Op]) -> Sketch {
        self.base.clone().at(clock).after(history)
    }

    fn changes(&self, side: &Sketch) -> Changes {
        self.changes_to(&side.plant(&self.world))
    }

    fn changes_to(&self, root: &VolumeRoot) -> Changes {
        Changes::between(&mut self.world.nodes(), &self.base_root, root).unwrap()
    }

    fn merge(&self, a: &Sketch, b: &Sketch) -> Outcome {
        self.merge_sides([side(1, self.changes(a)), side(2, self.changes(b))])
    }

    fn merge_sides(&self, sides: [Side; 2]) -> Outcome {
        let World { reader, keys, .. } = &self.world;
        let patience = Patience::Until(self.world.ask());
        let mut ancestor = TreeAncestor { reader, root: &self.base_root, names: keys.names(), patience };
        let merged = merge(&mut ancestor, sides).unwrap();
        let (nodes, sink) = (&mut self.world.nodes(), &mut self.world.sink());
        let root = merged.changes.apply(nodes, sink, self.world.keys.names(), &self.base_root).unwrap();
        let sketch = Sketch::read(&self.world, &root);
        Outcome { root, sketch, conflicts: merged.conflicts }
    }
}

const A: i64 = 1_000;
const B: i64 = 2_000;
const C: i64 = 3_000;

fn text(sketch: &Sketch, path: &str) -> Option<String> {
    let mut ino = 1;
    for name in path.split('/') {
        ino = *sketch.dirs.get(&ino)?.get(name.as_bytes())?;
    }
    match &sketch.records[&ino].content {
        Content::Inline(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        _ => None,
    }
}

fn has(sketch: &Sketch, path: &str) -> bool {
    let mut ino = 1;
    path.split('/').all(|name| match sketch.dirs.get(&ino).and_then(|dir| dir.get(name.as_bytes())) {
        Some(next) => {
            ino = *next;
            true
        }
        None => false,
    })
}

/// `a/` with `c.txt`, and `d.txt` in the root.
fn small() -> Fork {
    Fork::new(&[
        Op::Mkdir { dir: 0, name: 0 },
        Op::Create { dir: 1, name: 2, text: 0 },
        Op::Create { dir: 0, name: 3, text: 1 },
    ])
}

#[test]
fn edits_of_different_files_are_both_there() {
    let fork = small();
    let a = fork.side(A, &[Op::Write { file: 0, text: 7 }]);
    let b = fork.side(B, &[Op::Write { file: 1, text: 8 }]);
    let merged = fork.merge(&a, &b);
    assert_eq!(text(&merged.sketch, "a/c.txt"), text(&a, "a/c.txt"));
    assert_eq!(text(&merged.sketch, "d.txt"), text(&b, "d.txt"));
    assert!(merged.conflicts.is_empty());
}

#[test]
fn two_edits_of_one_file_are_kept_side_by_side() {
    let fork = small();
    let a = fork.side(A, &[Op::Write { file: 0, text: 7 }]);
    let b = fork.side(B, &[Op::Write { file: 0, text: 8 }]);
    let merged = fork.merge(&a, &b);
    assert_eq!(text(&merged.sketch, "a/c.txt"), text(&a, "a/c.txt"));
    assert_eq!(text(&merged.sketch, "a/c.~device2~.txt"), text(&b, "a/c.txt"));
    assert_eq!(merged.conflicts.len(), 1);
    let conflict = &merged.conflicts[0];
    assert_eq!(conflict.about, Disagreement::Content);
    assert!(conflict.ancestor.is_some() && conflict.sides.iter().all(Option::is_some));
}

#[test]
fn an_edit_wins_over_a_deletion_of_the_directory_it_is_in() {
    let fork = small();
    // Entries: `a`, `d.txt` of the root, then `c.txt` of `a`.
    let a = fork.side(A, &[Op::Remove { entry: 0 }]);
    let b = fork.side(B, &[Op::Write { file: 0, text: 8 }]);
    assert!(!has(&a, "a"));
    for (first, second) in [(&a, &b), (&b, &a)] {
        let merged = fork.merge(first, second);
        assert_eq!(text(&merged.sketch, "a/c.txt"), text(&b, "a/c.txt"));
        assert!(merged.conflicts.iter().all(|conflict| conflict.about == Disagreement::Deletion));
    }
}

#[test]
fn a_deletion_of_what_nobody_edited_is_followed() {
    let fork = small();
    let a = fork.side(A, &[Op::Remove { entry: 0 }]);
    let b = fork.side(B, &[Op::Write { file: 1, text: 8 }]);
    let merged = fork.merge(&a, &b);
    assert!(!has(&merged.sketch, "a"));
    assert!(merged.conflicts.is_empty());
}

#[test]
fn a_renamed_file_carries_the_other_sides_edit_along() {
    let fork = small();
    let a = fork.side(A, &[Op::Rename { entry: 1, dir: 1, name: 4 }]);
    let b = fork.side(B, &[Op::Write { file: 1, text: 8 }]);
    let merged = fork.merge(&a, &b);
    assert!(!has(&merged.sketch, "d.txt"));
    assert_eq!(text(&merged.sketch, "a/e"), text(&b, "d.txt"));
    assert!(merged.conflicts.is_empty());
}

#[test]
fn a_renamed_directory_keeps_all_it_held_though_the_other_side_deleted_it() {
    let fork = small();
    let a = fork.side(A, &[Op::Remove { entry: 0 }]);
    let b = fork.side(B, &[Op::Rename { entry: 0, dir: 0, name: 4 }]);
    let merged = fork.merge(&a, &b);
    assert!(!has(&merged.sketch, "a"));
    assert_eq!(text(&merged.sketch, "e/c.txt"), text(&fork.base, "a/c.txt"));
}

#[test]
fn a_directory_that_both_made_is_one() {
    let fork = Fork::new(&[]);
    let a = fork.side(A, &[Op::Mkdir { dir: 0, name: 0 }, Op::Create { dir: 1, name: 2, text: 1 }]);
    let b = fork.side(B, &[Op::Mkdir { dir: 0, name: 0 }, Op::Create { dir: 1, name: 3, text: 2 }]);
    let merged = fork.merge(&a, &b);
    assert!(has(&merged.sketch, "a/c.txt") && has(&merged.sketch, "a/d.txt"));
    assert_eq!(merged.sketch.dirs[&1].len(), 1);
    assert!(merged.conflicts.is_empty());
}

#[test]
fn equal_files_that_both_made_are_one_and_different_ones_are_two() {
    let fork = Fork::new(&[]);
    let a = fork.side(A, &[Op::Create { dir: 0, name: 0, text: 1 }, Op::Create { dir: 0, name: 2, text: 1 }]);
    let b = fork.side(B, &[Op::Create { dir: 0, name: 0, text: 1 }, Op::Create { dir: 0, name: 2, text: 2 }]);
    let merged = fork.merge(&a, &b);
    let names: Vec<&[u8]> = merged.sketch.dirs[&1].keys().map(|name| &name[..]).collect();
    assert_eq!(names, [&b"a"[..], b"c.txt", b"c.~device2~.txt"]);
}

#[test]
fn directories_moved_into_each_other_do_not_vanish() {
    let fork = Fork::new(&[Op::Mkdir { dir: 0, name: 0 }, Op::Mkdir { dir: 0, name: 1 }]);
    let a = fork.side(A, &[Op::Rename { entry: 0, dir: 2, name: 0 }]);
    let b = fork.side(B, &[Op::Rename { entry: 1, dir: 1, name: 1 }]);
    assert!(has(&a, "b/a") && has(&b, "a/b"));
    let merged = fork.merge(&a, &b);
    assert!(has(&merged.sketch, "b/a"));
    assert_eq!(merged.conflicts.iter().filter(|conflict| conflict.about == Disagreement::Directory).count(), 1);
}

#[test]
fn attributes_are_merged_one_by_one() {
    let fork = Fork::new(&[Op::Create { dir: 0, name: 0, text: 1 }]);
    let a = fork.side(A, &[Op::Chmod { any: 1, mode: 3 }, Op::Label { any: 1, key: 0, value: 1 }]);
    let b = fork.side(B, &[Op::Label { any: 1, key: 1, value: 2 }, Op::Label { any: 1, key: 2, value: 1 }]);
    let merged = fork.merge(&a, &b);
    let record = &merged.sketch.records[&2];
    assert_eq!(record.attr.mode, 0o703);
    // Three values of 400 bytes no longer fit the record, so this also tries the way through a block of their own.
    let Xattrs::Inline(list) = &record.xattrs else { panic!("{:?}", record.xattrs) };
    assert_eq!(list.len(), 3);
    assert!(merged.conflicts.is_empty());
}

#[test]
fn numbers_that_both_gave_out_end_up_on_different_files() {
    let fork = Fork::new(&[]);
    let a = fork.side(A, &[Op::Create { dir: 0, name: 0, text: 1 }]);
    let b = fork.side(B, &[Op::Create { dir: 0, name: 1, text: 2 }]);
    assert_eq!(a.dirs[&1][&b"a"[..]], b.dirs[&1][&b"b"[..]]);
    let merged = fork.merge(&a, &b);
    let numbers: Vec<u64> = merged.sketch.dirs[&1].values().copied().collect();
    assert_eq!(numbers[0], 2);
    assert!(numbers[1] != 2 && !cairn_block::is_same_ino_range(numbers[1], 2), "{numbers:?}");
}

#[test]
fn a_linked_file_that_both_edited_gets_its_sibling_beside_a_name_that_nobody_touched() {
    // `c.txt/a/b` and `c.txt/a/d.txt` are one file, in directories that no side opens.
    let fork = Fork::new(&[
        Op::Mkdir { dir: 0, name: 2 },
        Op::Mkdir { dir: 1, name: 0 },
        Op::Create { dir: 2, name: 1, text: 0 },
        Op::Link { file: 0, dir: 2, name: 3 },
        Op::Create { dir: 2, name: 4, text: 0 },
    ]);
    let a = fork.side(A, &[Op::Write { file: 0, text: 1 }]);
    let b = fork.side(B, &[Op::Write { file: 0, text: 2 }]);
    let merged = fork.merge(&a, &b);
    let dir = &merged.sketch.dirs[&3];
    assert_eq!(dir.len(), 4);
    assert_eq!(text(&merged.sketch, "c.txt/a/b"), text(&a, "c.txt/a/b"));
    assert_eq!(text(&merged.sketch, "c.txt/a/d.txt"), text(&a, "c.txt/a/b"));
    let siblings: Vec<_> = dir.keys().filter(|name| name.windows(2).any(|pair| pair == b".~")).collect();
    let sibling = String::from_utf8(siblings[0].to_vec()).unwrap();
    assert_eq!(text(&merged.sketch, &format!("c.txt/a/{sibling}")), text(&b, "c.txt/a/b"));
}

#[test]
fn an_edit_is_kept_where_the_other_side_made_a_copy_of_what_was_before() {
    // `.f` and `a` are one file. One side leaves it `.f`, the other `a`, writes into it, and puts what it was at `.f`.
    let fork = Fork::new(&[
        Op::Create { dir: 0, name: 5, text: 0 },
        Op::Create { dir: 0, name: 2, text: 0 },
        Op::Link { file: 0, dir: 0, name: 0 },
    ]);
    let a = fork.side(A, &[Op::Rename { entry: 2, dir: 0, name: 0 }]);
    let b = fork.side(
        B,
        &[
            Op::Create { dir: 0, name: 1, text: 0 },
            Op::Rename { entry: 2, dir: 0, name: 5 },
            Op::Write { file: 0, text: 0 },
        ],
    );
    let written = text(&b, "a").expect("a small file");
    assert_ne!(Some(&written), text(&fork.base, "a").as_ref());
    assert_eq!(text(&a, ".f"), text(&b, ".f"), "a copy of what was before");
    let merged = fork.merge(&a, &b);
    assert!(merged.sketch.contents().contains(&Content::Inline(written.into())), "it is lost");
}

#[test]
fn a_copy_is_kept_where_its_side_went_on_to_edit_the_original() {
    // One side renames `.f` to `a`; the other copies it to `a` and edits `.f`.
    let fork = Fork::new(&[Op::Create { dir: 0, name: 5, text: 0 }]);
    let a = fork.side(A, &[Op::Rename { entry: 0, dir: 0, name: 0 }]);
    let b = fork.side(B, &[Op::Create { dir: 0, name: 0, text: 0 }, Op::Write { file: 0, text: 0 }]);
    assert_eq!(text(&b, "a"), text(&fork.base, ".f"), "a copy of what was before");
    let merged = fork.merge(&a, &b);
    for content in [text(&b, "a"), text(&b, ".f")] {
        let content = Content::Inline(content.expect("a small file").into());
        assert!(merged.sketch.contents().contains(&content), "{content:?} is lost");
    }
}

/// What a user sees at each path; numbers of new files depend on who merged first.
fn shown(sketch: &Sketch) -> BTreeMap<String, (Content, u16, u32, Xattrs)> {
    let seen = |ino: &u64| {
        let record = &sketch.records[ino];
        (record.content.clone(), record.attr.mode, record.attr.nlink, record.xattrs.clone())
    };
    sketch.paths().iter().map(|(path, ino)| (path.clone(), seen(ino))).collect()
}

/// Every content that a side has and the base does not.
fn new_contents(base: &Sketch, side: &Sketch) -> Vec<Content> {
    let old = base.contents();
    side.contents().into_iter().filter(|content| !old.contains(content)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_content_that_a_side_wrote_is_lost(base in ops(16), first in ops(12), second in ops(12)) {
        let fork = Fork::new(&base);
        let (a, b) = (fork.side(A, &first), fork.side(B, &second));
        let merged = fork.merge(&a, &b);
        let contents = merged.sketch.contents();
        for side in [&a, &b] {
            for content in new_contents(&fork.base, side) {
                prop_assert!(contents.contains(&content), "{content:?} is lost");
            }
        }
    }

    #[test]
    fn the_order_of_the_arguments_does_not_matter(base in ops(16), first in ops(12), second in ops(12)) {
        let fork = Fork::new(&base);
        let (a, b) = (fork.side(A, &first), fork.side(B, &second));
        let sides = [side(1, fork.changes(&a)), side(2, fork.changes(&b))];
        let swapped = [sides[1].clone(), sides[0].clone()];
        let (one, other) = (fork.merge_sides(sides), fork.merge_sides(swapped));
        prop_assert_eq!(one.root, other.root);
        prop_assert_eq!(one.conflicts, other.conflicts);
    }

    #[test]
    fn a_side_merged_with_nothing_or_itself_is_itself(base in ops(16), history in ops(16)) {
        let fork = Fork::new(&base);
        let a = fork.side(A, &history);
        for other in [&fork.base, &a] {
            for (first, second) in [(&a, other), (other, &a)] {
                let merged = fork.merge(first, second);
                prop_assert_eq!(&merged.root, &a.plant(&fork.world));
                prop_assert!(merged.conflicts.is_empty());
            }
        }
    }

    #[test]
    fn merging_the_first_side_once_more_changes_nothing(base in ops(16), first in ops(12), second in ops(12)) {
        let fork = Fork::new(&base);
        let (a, b) = (fork.side(A, &first), fork.side(B, &second));
        let merged = fork.merge(&a, &b);
        let again = fork.merge_sides([side(1, fork.changes(&a)), side(2, fork.changes_to(&merged.root))]);
        let contents = |outcome: &Outcome| {
            let mut all: Vec<String> = outcome.sketch.contents().iter().map(|content| format!("{content:?}")).collect();
            all.sort();
            all
        };
        prop_assert_eq!(contents(&again), contents(&merged));
    }

    #[test]
    fn without_conflicts_three_sides_merge_alike_in_any_order(
        base in ops(16),
        first in ops(5),
        second in ops(5),
        third in ops(5),
    ) {
        let fork = Fork::new(&base);
        let sides = [fork.side(A, &first), fork.side(B, &second), fork.side(C, &third)];
        let [a, b, c] = [0, 1, 2].map(|index| side(index as u8 + 1, fork.changes(&sides[index])));
        let ab = fork.merge_sides([a.clone(), b.clone()]);
        let bc = fork.merge_sides([b, c.clone()]);
        let left = fork.merge_sides([side(1, fork.changes_to(&ab.root)), c]);
        let right = fork.merge_sides([a, side(2, fork.changes_to(&bc.root))]);
        let agree = [&ab, &bc, &left, &right].iter().all(|outcome| outcome.conflicts.is_empty());
        if agree {
            prop_assert_eq!(shown(&left.sketch), shown(&right.sketch));
        }
    }

    #[test]
    fn names_that_a_side_gave_are_there(base in ops(16), first in ops(12), second in ops(12)) {
        let fork = Fork::new(&base);
        let (a, b) = (fork.side(A, &first), fork.side(B, &second));
        let merged = fork.merge(&a, &b);
        // The first side's names stand, whatever the second did, unless the second removed what they lead to.
        for (place, change) in &fork.changes(&a).names {
            let Some(child) = change.new else { continue };
            let now = merged.sketch.dirs.get(&place.parent.get()).and_then(|dir| dir.get(&place.name));
            prop_assert_eq!(now.copied(), Some(child.ino.get()), "{:?}", place);
        }
    }

    #[test]
    fn what_was_deleted_and_not_edited_stays_deleted(base in ops(16), first in ops(12), second in ops(12)) {
        let fork = Fork::new(&base);
        let (a, b) = (fork.side(A, &first), fork.side(B, &second));
        let (changed_a, changed_b) = (fork.changes(&a), fork.changes(&b));
        let merged = fork.merge(&a, &b);
        // Directories that the second side moved keep what they held, so leave such histories out.
        let moved = changed_b.names.values().filter_map(|change| change.new).any(|child| {
            fork.base.dirs.contains_key(&child.ino.get())
        });
        if moved {
            return Ok(());
        }
        // And a directory comes back for what is kept in it.
        let files = fork.base.records.keys().filter(|ino| !fork.base.dirs.contains_key(ino));
        for ino in files.filter(|ino| !a.records.contains_key(ino)) {
            let ino = Ino::new(*ino);
            let is_untouched = !changed_b.inodes.contains_key(&ino);
            if changed_a.removes(ino) && is_untouched {
                prop_assert!(!merged.sketch.records.contains_key(&ino.get()), "inode {ino} came back");
            }
        }
    }
}

/// Whether an entry is a link: the merge decides by inode, so both kinds must be met above.
#[test]
fn the_histories_hold_links_and_directories() {
    let world = World::new();
    let sketch = Sketch::new().after(&[
        Op::Create { dir: 0, name: 0, text: 1 },
        Op::Link { file: 0, dir: 0, name: 1 },
        Op::Mkdir { dir: 0, name: 4 },
    ]);
    let root = sketch.plant(&world);
    let entries = tree::list(&mut world.nodes(), tree::dir_root(&root.root), std::ops::Bound::Unbounded, 9).unwrap();
    let links = entries.iter().filter(|(_, value)| matches!(Entry::decode(value), Ok(Entry::Link { .. })));
    assert_eq!((entries.len(), links.count()), (3, 2));
}
