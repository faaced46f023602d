//! Changes say exactly what differs, and writing them gives exactly what they were read from.

use cairn_block::Ino;
use cairn_fs::changes::{Changes, ChangesError};
use proptest::prelude::*;

use super::sketch::{Op, Sketch, bare, ops};
use super::world::World;

fn between(world: &World, before: &Sketch, after: &Sketch) -> Changes {
    Changes::between(&mut world.nodes(), &before.plant(world), &after.plant(world)).unwrap()
}

#[test]
fn equal_trees_have_no_changes() {
    let world = World::new();
    let sketch = Sketch::new().after(&[Op::Mkdir { dir: 0, name: 0 }, Op::Create { dir: 1, name: 2, text: 1 }]);
    assert!(between(&world, &sketch, &sketch).is_empty());
}

#[test]
fn a_moved_directory_is_two_names_whatever_is_in_it() {
    let world = World::new();
    let mut setup = vec![Op::Mkdir { dir: 0, name: 0 }, Op::Mkdir { dir: 0, name: 1 }];
    setup.extend((0..6).map(|name| Op::Create { dir: 1, name, text: name }));
    let before = Sketch::new().after(&setup);
    // Entries sort by directory and name: the first is `a` of the root. It goes into `b`.
    let after = before.clone().after(&[Op::Rename { entry: 0, dir: 2, name: 4 }]);
    let changes = between(&world, &before, &after);
    assert_eq!(changes.names.len(), 2);
    let touched: Vec<u64> = changes.inodes.keys().map(|ino| ino.get()).collect();
    assert_eq!(touched, [1, 2, 3], "the root, the moved directory and its new parent");
}

#[test]
fn changes_that_take_too_much_memory_are_refused() {
    let world = World::new();
    let ops: Vec<Op> = (0..6).map(|name| Op::Create { dir: 0, name, text: 0 }).collect();
    let after = Sketch::new().after(&ops).plant(&world);
    let result = Changes::between_within(&mut world.nodes(), &bare(), &after, 2000);
    assert!(matches!(result, Err(ChangesError::TooMany { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_planted_tree_reads_back(history in ops(25)) {
        let world = World::new();
        let mut sketch = Sketch::new().after(&history);
        sketch = sketch.at(1);
        prop_assert_eq!(Sketch::read(&world, &sketch.plant(&world)), sketch);
    }

    #[test]
    fn applying_the_changes_between_two_trees_gives_the_second(first in ops(25), second in ops(15), unrelated in any::<bool>()) {
        let world = World::new();
        let before = Sketch::new().after(&first);
        let after = if unrelated { Sketch::new() } else { before.clone() };
        let after = after.at(1000).after(&second);
        let changes = between(&world, &before, &after);
        let (old, new) = (before.plant(&world), after.plant(&world));
        let applied = changes.apply(&mut world.nodes(), &mut world.sink(), world.keys.names(), &old).unwrap();
        prop_assert_eq!(applied.root, new.root);
        prop_assert_eq!(applied.links, new.links);
    }

    #[test]
    fn changes_name_what_differs_and_nothing_else(first in ops(25), second in ops(15)) {
        let world = World::new();
        let before = Sketch::new().after(&first);
        let after = before.clone().at(1000).after(&second);
        let changes = between(&world, &before, &after);
        for (place, change) in &changes.names {
            let leads = |sketch: &Sketch| sketch.dirs.get(&place.parent.get()).and_then(|dir| dir.get(&place.name)).copied();
            prop_assert_ne!(change.old, change.new);
            prop_assert_eq!(change.old.map(|child| child.ino.get()), leads(&before));
            prop_assert_eq!(change.new.map(|child| child.ino.get()), leads(&after));
        }
        let count: usize = before.dirs.keys().chain(after.dirs.keys()).collect::<std::collections::BTreeSet<_>>().iter()
            .map(|dir| {
                let [old, new] = [&before, &after].map(|sketch| sketch.dirs.get(dir).cloned().unwrap_or_default());
                let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
                names.iter().filter(|name| old.get(*name) != new.get(*name)).count()
            })
            .sum();
        prop_assert_eq!(changes.names.len(), count);
        for (ino, record) in &after.records {
            let is_new = before.records.get(ino) != Some(record);
            let is_dir = after.dirs.contains_key(ino);
            prop_assert!(!is_new || is_dir || changes.inodes.contains_key(&Ino::new(*ino)));
        }
    }
}
