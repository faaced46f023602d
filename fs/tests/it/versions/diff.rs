//! Differences by path are those of the paths.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use cairn_block::{Content, Record, VolumeRoot};
use cairn_fs::diff::{Change, DIFF_BYTES_MAX, DiffError, What, diff, diff_within};
use proptest::prelude::*;

use super::sketch::{Op, Sketch, ops};
use super::world::World;

fn told(world: &World, before: &VolumeRoot, after: &VolumeRoot, bytes_max: usize) -> Vec<Change> {
    let mut all = Vec::new();
    let mut tell = |change| {
        all.push(change);
        ControlFlow::Continue(())
    };
    diff_within(&mut world.nodes(), before, after, bytes_max, &mut tell).unwrap();
    all
}

fn path(change: &Change) -> String {
    String::from_utf8_lossy(&change.path).into_owned()
}

/// Whether what a path leads to differs in what a user would notice.
fn differs(old: &Record, new: &Record) -> bool {
    let is_dir = matches!(old.content, Content::Dir(_));
    let mtime = |record: &Record| (!is_dir).then_some(record.attr.mtime);
    (&old.content, old.attr.mode, &old.xattrs, mtime(old)) != (&new.content, new.attr.mode, &new.xattrs, mtime(new))
}

/// Path by path, what the models say: added, removed, or different.
fn expected(before: &Sketch, after: &Sketch) -> BTreeMap<String, &'static str> {
    let (old, new) = (before.paths(), after.paths());
    let mut words = BTreeMap::new();
    for path in old.keys().chain(new.keys()) {
        let word = match (old.get(path), new.get(path)) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) if differs(&before.records[old], &after.records[new]) => "modified",
            _ => continue,
        };
        words.insert(path.clone(), word);
    }
    words
}

#[test]
fn a_renamed_directory_is_one_change_however_much_is_in_it() {
    let world = World::new();
    let mut setup = vec![Op::Mkdir { dir: 0, name: 0 }, Op::Mkdir { dir: 0, name: 1 }];
    setup.extend((0..6).map(|name| Op::Create { dir: 1, name, text: name }));
    let before = Sketch::new().after(&setup);
    let after = before.clone().after(&[Op::Rename { entry: 0, dir: 2, name: 4 }]);
    let changes = told(&world, &before.plant(&world), &after.plant(&world), DIFF_BYTES_MAX);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(path(&changes[0]), "/b/e");
    assert_eq!(changes[0].what, What::Renamed { from: "/a".into(), data: false, meta: false });
}

#[test]
fn a_file_saved_by_renaming_is_modified() {
    let world = World::new();
    let before = Sketch::new().after(&[Op::Create { dir: 0, name: 0, text: 1 }]);
    let save = [Op::Create { dir: 0, name: 1, text: 2 }, Op::Rename { entry: 1, dir: 0, name: 0 }];
    let after = before.clone().after(&save);
    let changes = told(&world, &before.plant(&world), &after.plant(&world), DIFF_BYTES_MAX);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(matches!(changes[0].what, What::Modified { data: true, .. }));
    assert_eq!(path(&changes[0]), "/a");
}

#[test]
fn an_edit_of_a_linked_file_shows_at_every_name() {
    let world = World::new();
    let before = Sketch::new().after(&[
        Op::Mkdir { dir: 0, name: 0 },
        Op::Create { dir: 1, name: 1, text: 1 },
        Op::Link { file: 0, dir: 0, name: 4 },
    ]);
    let after = before.clone().after(&[Op::Write { file: 0, text: 9 }]);
    let (old, new) = (before.plant(&world), after.plant(&world));
    for bytes_max in [DIFF_BYTES_MAX, 0] {
        let mut paths: Vec<String> = told(&world, &old, &new, bytes_max).iter().map(path).collect();
        paths.sort();
        assert_eq!(paths, ["/a/b", "/e"]);
    }
}

#[test]
fn whoever_is_told_can_stop() {
    let world = World::new();
    let after = Sketch::new().after(&[Op::Mkdir { dir: 0, name: 0 }, Op::Mkdir { dir: 0, name: 1 }]);
    let mut count = 0;
    let mut tell = |_| {
        count += 1;
        ControlFlow::Break(())
    };
    let (old, new) = (Sketch::new().plant(&world), after.plant(&world));
    assert!(matches!(diff(&mut world.nodes(), &old, &new, &mut tell), Err(DiffError::Stopped)));
    assert_eq!(count, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn without_memory_for_renames_every_path_that_differs_is_told(first in ops(25), second in ops(15)) {
        let world = World::new();
        let before = Sketch::new().after(&first);
        let after = before.clone().at(1000).after(&second);
        let mut words = BTreeMap::new();
        for change in told(&world, &before.plant(&world), &after.plant(&world), 0) {
            let word = match change.what {
                What::Added => "added",
                What::Removed => "removed",
                What::Modified { .. } | What::TypeChanged => "modified",
                What::Renamed { .. } => "renamed",
            };
            prop_assert_eq!(words.insert(path(&change), word), None);
        }
        let mut expected = expected(&before, &after);
        // The root has no entry in which it could differ.
        expected.remove("/");
        words.remove("/");
        prop_assert_eq!(words, expected);
    }

    #[test]
    fn with_renames_every_path_that_differs_is_told_or_moved_with_its_directory(first in ops(25), second in ops(15)) {
        let world = World::new();
        let before = Sketch::new().after(&first);
        let after = before.clone().at(1000).after(&second);
        let changes = told(&world, &before.plant(&world), &after.plant(&world), DIFF_BYTES_MAX);
        let paths: Vec<String> = changes.iter().map(path).collect();
        let mut sorted = paths.clone();
        sorted.sort();
        prop_assert_eq!(&paths, &sorted, "in the order of paths");
        let mut new: BTreeSet<String> = BTreeSet::new();
        let mut old: BTreeSet<String> = BTreeSet::new();
        for change in &changes {
            match &change.what {
                What::Added => drop(new.insert(path(change))),
                What::Removed => drop(old.insert(path(change))),
                What::Renamed { from, .. } => {
                    new.insert(path(change));
                    old.insert(String::from_utf8_lossy(from).into_owned());
                }
                What::Modified { .. } | What::TypeChanged => drop(new.insert(path(change))),
            }
        }
        let covered = |set: &BTreeSet<String>, path: &str| {
            path.match_indices('/').any(|(at, _)| set.contains(&path[..at])) || set.contains(path)
        };
        for (path, word) in expected(&before, &after) {
            match word {
                "added" => prop_assert!(covered(&new, &path), "{path} is new"),
                "removed" => prop_assert!(covered(&old, &path), "{path} is gone"),
                _ => prop_assert!(covered(&new, &path), "{path} differs"),
            }
        }
        for path in &new {
            prop_assert!(after.paths().contains_key(path), "{path} is not there");
        }
        for path in &old {
            prop_assert!(before.paths().contains_key(path), "{path} was not there");
        }
    }
}
