//! Listing folders: complete, each name once, and positions that stay valid.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use cairn_fuse_tests::{Ground, promise};
use rustix::fs::{Dir, FileType};

fn names(dir: &mut Dir) -> Vec<(String, i64)> {
    std::iter::from_fn(|| dir.read())
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.offset()))
        .filter(|(name, _)| name != "." && name != "..")
        .collect()
}

fn fill(ground: &Ground, count: usize) {
    for i in 0..count {
        File::create(ground.path(&format!("f{i}"))).expect("create");
    }
}

fn open(ground: &Ground) -> Dir {
    Dir::read_from(File::open(&**ground).expect("open")).expect("a listing")
}

#[test]
fn every_name_is_listed_once() {
    promise!("A listing shows every name once");
    let ground = Ground::new();
    fill(&ground, 3_000);
    let listed = names(&mut open(&ground));
    let unique: BTreeSet<_> = listed.iter().map(|(name, _)| name).collect();
    assert_eq!((listed.len(), unique.len()), (3_000, 3_000));
}

#[test]
fn the_dots_and_the_types_and_numbers_are_right() {
    let ground = Ground::new();
    ground.shell("touch file; mkdir folder; ln -s x link; mkfifo pipe");
    let entries: BTreeMap<_, _> = std::iter::from_fn({
        let mut dir = open(&ground);
        move || dir.read()
    })
    .map(|entry| entry.expect("an entry"))
    .map(|entry| (entry.file_name().to_string_lossy().into_owned(), (entry.file_type(), entry.ino())))
    .collect();
    let expected = [
        (".", FileType::Directory),
        ("..", FileType::Directory),
        ("file", FileType::RegularFile),
        ("folder", FileType::Directory),
        ("link", FileType::Symlink),
        ("pipe", FileType::Fifo),
    ];
    assert_eq!(entries.len(), expected.len(), "{entries:?}");
    for (name, kind) in expected {
        assert_eq!(entries[name].0, kind, "{name}");
        if name != ".." {
            let ino = std::fs::symlink_metadata(ground.path(name)).expect("stat").ino();
            assert_eq!(entries[name].1, ino, "the number of {name}");
        }
    }
}

#[test]
fn a_position_stays_valid_while_names_come_and_go() {
    promise!("A listing shows every name once");
    let ground = Ground::new();
    fill(&ground, 1_000);
    let whole = names(&mut open(&ground));
    let (_, position) = whole[499];
    let expected: BTreeSet<_> = whole[500..].iter().map(|(name, _)| name.clone()).collect();
    let mut dir = open(&ground);
    dir.read().expect("a first entry").expect("readable");

    // Half of what was read goes, and as many new names come.
    for (name, _) in &whole[..250] {
        std::fs::remove_file(ground.path(name)).expect("remove");
    }
    for i in 0..250 {
        File::create(ground.path(&format!("new{i}"))).expect("create");
    }
    dir.seek(position).expect("seek");
    let rest: BTreeSet<_> = names(&mut dir).into_iter().map(|(name, _)| name).collect();
    let old: BTreeSet<_> = rest.iter().filter(|name| !name.starts_with("new")).cloned().collect();
    assert_eq!(old, expected, "names behind the position were lost or came twice");
}

#[test]
fn names_that_stay_are_listed_exactly_once_whatever_else_happens() {
    promise!("A listing shows every name once");
    let ground = Ground::new();
    for i in 0..1_000 {
        File::create(ground.path(&format!("stay{i}"))).expect("create");
    }
    let mut dir = open(&ground);
    let (mut seen, mut turn) = (Vec::new(), 0);
    while let Some(entry) = dir.read() {
        seen.push(entry.expect("an entry").file_name().to_string_lossy().into_owned());
        turn += 1;
        let path = ground.path(&format!("passing{}", turn % 50));
        if turn % 2 == 0 { drop(File::create(path)) } else { drop(std::fs::remove_file(path)) }
    }
    let stayed: Vec<_> = seen.iter().filter(|name| name.starts_with("stay")).collect();
    assert_eq!(stayed.len(), 1_000);
    assert_eq!(stayed.iter().collect::<BTreeSet<_>>().len(), 1_000);
}

#[test]
fn a_rewound_listing_shows_what_came_since() {
    promise!("A listing shows every name once");
    let ground = Ground::new();
    fill(&ground, 10);
    let mut dir = open(&ground);
    assert_eq!(names(&mut dir).len(), 10);
    File::create(ground.path("late")).expect("create");
    dir.rewind();
    assert_eq!(names(&mut dir).len(), 11);
}

#[test]
fn removing_while_listing_empties_the_folder() {
    let ground = Ground::new();
    fill(&ground, 2_500);
    for entry in std::fs::read_dir(&*ground).expect("list") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("remove");
    }
    assert_eq!(std::fs::read_dir(&*ground).expect("list").count(), 0);
}
