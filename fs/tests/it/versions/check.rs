//! A check finds every block that is lost and every count that is wrong, by path, and nothing else.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use cairn_block::{Ino, MapRoot, Ref, VolumeRoot};
use cairn_fs::changes::{Changes, Place};
use cairn_fs::reader::TreeReader;
use cairn_fs::verify::{CheckError, CheckOptions, Checker, Counts, Event, Finding, Problem, Scope};
use proptest::prelude::*;

use super::collect::blocks;
use super::sketch::{Op, Sketch, bare, ops};
use super::world::World;

fn check(world: &World, reader: &TreeReader, heads: &[&Ref], data: bool) -> (Vec<Finding>, Counts) {
    let mut findings = Vec::new();
    let mut watch = |event| {
        if let Event::Finding(finding) = event {
            findings.push(finding);
        }
        ControlFlow::Continue(())
    };
    let options = CheckOptions { data, ..CheckOptions::default() };
    let mut checker = Checker::new(reader, world.keys.names(), options, &mut watch);
    for (index, head) in heads.iter().enumerate() {
        let scope = if index == 0 { Scope::Whole } else { Scope::New };
        checker.head(head, scope).unwrap();
    }
    let counts = checker.counts();
    assert_eq!(counts.findings as usize, findings.len());
    (findings, counts)
}

fn rich(world: &World) -> Sketch {
    let mut sketch = Sketch::new().after(&[
        Op::Mkdir { dir: 0, name: 0 },
        Op::Create { dir: 1, name: 1, text: 1 },
        Op::Create { dir: 0, name: 2, text: 2 },
        Op::Link { file: 0, dir: 0, name: 4 },
        Op::Label { any: 3, key: 0, value: 1 },
        Op::Label { any: 3, key: 1, value: 1 },
        Op::Label { any: 3, key: 2, value: 1 },
    ]);
    sketch.fill(3, world.file(3));
    sketch.fill(4, world.file(5));
    sketch
}

#[test]
fn a_sound_tree_has_no_findings() {
    let world = World::new();
    let head = world.seal_root(&rich(&world).plant(&world));
    for data in [false, true] {
        let (findings, counts) = check(&world, &world.reader_without(&[]), &[&head], data);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(counts.entries, 5, "the root, a directory, a file, and one file under two names");
        assert_eq!(counts.blocks as usize, blocks(&world).len());
        assert_eq!(counts.blocks_opened == counts.blocks, data);
    }
}

#[test]
fn every_lost_block_is_named_with_its_path_and_the_rest_is_still_looked_at() {
    let world = World::new();
    let head = world.seal_root(&rich(&world).plant(&world));
    let all = blocks(&world);
    for lost in &all {
        for data in [false, true] {
            let (findings, counts) = check(&world, &world.reader_without(&[*lost]), &[&head], data);
            let named: Vec<_> = findings.iter().filter_map(|finding| finding.problem.block()).collect();
            assert_eq!(named, [*lost], "{findings:?}");
            assert!(*lost == head.id || counts.entries > 0);
        }
    }
    let (findings, _) = check(&world, &world.reader_without(&all), &[&head], false);
    assert_eq!(findings.len(), 1, "without its root nothing else is known");
    let chunks: Vec<_> = world.chunks();
    let (findings, _) = check(&world, &world.reader_without(&chunks), &[&head], false);
    let named: BTreeSet<_> = findings.iter().filter_map(|finding| finding.problem.block()).collect();
    assert_eq!(named, chunks.into_iter().collect());
    assert!(findings.iter().any(|finding| finding.path == "/c.txt"));
}

#[test]
fn a_head_that_shares_all_but_its_root_costs_one_block() {
    let world = World::new();
    let sketch = rich(&world);
    let first = world.seal_root(&sketch.plant(&world));
    let second = world.seal_root(&sketch.clone().after(&[Op::Chmod { any: 0, mode: 1 }]).plant(&world));
    let reader = world.reader_without(&[]);
    let (_, alone) = check(&world, &reader, &[&first], true);
    let (_, both) = check(&world, &reader, &[&first, &second], true);
    assert_eq!(both.blocks, alone.blocks + 1);
}

#[test]
fn whoever_watches_can_stop() {
    let world = World::new();
    let head = world.seal_root(&rich(&world).plant(&world));
    let reader = world.reader_without(&blocks(&world));
    let mut watch = |_| ControlFlow::Break(());
    let mut checker = Checker::new(&reader, world.keys.names(), CheckOptions::default(), &mut watch);
    assert!(matches!(checker.head(&head, Scope::Whole), Err(CheckError::Stopped)));
}

/// Plants changes that no honest volume would make, and gives the problems that are found.
fn problems(world: &World, changes: &Changes) -> Vec<(String, Problem)> {
    let root = changes.apply(&mut world.nodes(), &mut world.sink(), world.keys.names(), &bare()).unwrap();
    problems_of(world, &root)
}

fn problems_of(world: &World, root: &VolumeRoot) -> Vec<(String, Problem)> {
    let head = world.seal_root(root);
    let (findings, _) = check(world, &world.reader, &[&head], false);
    findings.into_iter().map(|finding| (String::from_utf8_lossy(&finding.path).into_owned(), finding.problem)).collect()
}

#[test]
fn wrong_counts_are_found() {
    let world = World::new();
    let sound = rich(&world).changes_from_nothing();
    let with = |ino: u64, change: &dyn Fn(&mut cairn_block::Record)| {
        let mut changes = sound.clone();
        change(changes.inodes.get_mut(&Ino::new(ino)).unwrap().new.as_mut().unwrap());
        problems(&world, &changes)
    };
    let found = with(2, &|record| record.attr.nlink = 7);
    assert!(
        matches!(&found[..], [(path, Problem::LinkCount { recorded: 7, counted: 2 })] if path == "/a"),
        "{found:?}"
    );
    let found = with(3, &|record| record.attr.nlink = 3);
    assert!(matches!(&found[..], [(_, Problem::LinkCount { recorded: 3, counted: 2 })]), "{found:?}");
    let found = with(4, &|record| record.attr.size = 100);
    assert!(matches!(&found[..], [(path, Problem::Size { size: 100, .. })] if path == "/c.txt"), "{found:?}");
    let found = with(4, &|record| record.attr.allocated = 1);
    assert!(matches!(&found[..], [(path, Problem::Allocated { recorded: 1, .. })] if path == "/c.txt"), "{found:?}");
}

#[test]
fn an_inode_in_two_places_and_one_that_was_never_given_out_are_found() {
    let world = World::new();
    let mut changes = rich(&world).changes_from_nothing();
    let twin = Place { parent: Ino::ROOT, name: Bytes::from_static(b"twin") };
    let child = changes.names[&Place { parent: Ino::ROOT, name: Bytes::from_static(b"c.txt") }];
    changes.names.insert(twin, child);
    let found = problems(&world, &changes);
    assert!(matches!(&found[..], [(_, Problem::TwoPlaces)]), "{found:?}");

    let mut root = rich(&world).plant(&world);
    root.next_ino = 4;
    let found = problems_of(&world, &root);
    assert!(matches!(&found[..], [(path, Problem::NeverGivenOut { next_ino: 4 })] if path == "/c.txt"), "{found:?}");
}

#[test]
fn links_without_inodes_and_inodes_without_links_are_found() {
    let world = World::new();
    let mut root = rich(&world).plant(&world);
    let links = std::mem::replace(&mut root.links, MapRoot::EMPTY);
    let found = problems_of(&world, &root);
    assert!(found.iter().all(|(_, problem)| matches!(problem, Problem::LinkToNothing)), "{found:?}");
    assert_eq!(found.len(), 2);
    let mut empty = bare();
    empty.links = links;
    empty.next_ino = 9;
    let found = problems_of(&world, &empty);
    assert!(matches!(&found[..], [(_, Problem::NoName)]), "{found:?}");
}

/// A home that isn't written anywhere; only shows that the type is in use here.
#[test]
fn a_tree_with_names_under_a_foreign_key_is_found() {
    let world = World::new();
    let mut changes = Sketch::new().after(&[Op::Create { dir: 0, name: 0, text: 1 }]).changes_from_nothing();
    changes.homes.entry(Ino::new(2)).or_default();
    let foreign = cairn_block::NameKey::from_bytes([9; 32]);
    let root = changes.apply(&mut world.nodes(), &mut world.sink(), &foreign, &bare()).unwrap();
    let found = problems_of(&world, &root);
    assert!(found.iter().any(|(_, problem)| matches!(problem, Problem::Entry(_))), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_history_leads_to_findings(history in ops(40)) {
        let world = World::new();
        let head = world.seal_root(&Sketch::new().after(&history).plant(&world));
        let (findings, _) = check(&world, &world.reader, &[&head], true);
        prop_assert!(findings.is_empty(), "{:?}", findings);
    }
}
