//! History: seen through the mount, compared, brought back.

use std::os::unix::fs::MetadataExt;

use cairn_fuse_tests::tree::{Tree, assert_same};
use cairn_fuse_tests::{Node, command, promise};
use rustix::io::Errno;

fn shell(node: &Node, script: &str) -> String {
    command::shell(&node.mount(), script)
}

/// Where the snapshot with `label` lies in the mount: the folder of the newest snapshot that has what it should have.
fn folder_of(node: &Node, holds: &str) -> std::path::PathBuf {
    let snapshots = std::fs::read_dir(node.mount().join(".snapshots")).expect("the list of snapshots");
    let mut folders: Vec<_> =
        snapshots.map(|entry| entry.expect("an entry").path()).filter(|path| path.join(holds).exists()).collect();
    folders.sort();
    folders.pop().unwrap_or_else(|| panic!("no snapshot holds {holds}"))
}

#[test]
fn a_snapshot_shows_everything_as_it_was_and_takes_no_change() {
    promise!("Snapshots are read-only");
    let node = Node::start();
    shell(
        &node,
        "mkdir -p d/e; echo old > d/f; ln d/f d/hard; ln -s f d/soft; setfattr -n user.k -v v d/f; head -c 3M /dev/urandom > d/e/large",
    );
    let before = Tree::of(&node.mount().join("d")).expect("a tree");
    let copy = node.outside().join("copy");
    command::shell(&node.outside(), &format!("cp -a '{}/d' '{}'", node.mount().display(), copy.display()));
    node.say(&["snapshot", "first"]);
    shell(&node, "echo new > d/f; rm -r d/e; mkdir later");

    let snapshot = folder_of(&node, "d/e/large");
    assert!(before.differences(&Tree::of(&snapshot.join("d")).expect("a tree"), 5).is_empty());
    assert_same(&copy, &snapshot.join("d"));
    assert!(!snapshot.join("later").exists());
    let rofs = Some(Errno::ROFS.raw_os_error());
    assert_eq!(std::fs::write(snapshot.join("d/f"), b"x").expect_err("read-only").raw_os_error(), rofs);
    assert_eq!(std::fs::create_dir(snapshot.join("x")).expect_err("read-only").raw_os_error(), rofs);
    assert_eq!(std::fs::remove_file(snapshot.join("d/soft")).expect_err("read-only").raw_os_error(), rofs);
    assert_eq!(std::fs::rename(snapshot.join("d/f"), snapshot.join("g")).expect_err("read-only").raw_os_error(), rofs);
    assert!(std::fs::rename(node.mount().join("later"), snapshot.join("later")).is_err());
}

#[test]
fn snapshots_are_not_walked_by_accident() {
    promise!("Snapshots are read-only");
    let node = Node::start();
    shell(&node, "mkdir d; echo x > d/f");
    node.say(&["snapshot"]);
    node.say(&["snapshot", "named"]);
    assert_eq!(shell(&node, "ls -A"), "d\n");
    assert_eq!(shell(&node, "find . -name f | wc -l").trim(), "1");
    assert_eq!(shell(&node, "ls -A .snapshots | wc -l").trim().parse::<u32>().map(|n| n >= 1), Ok(true));
    let inside = std::fs::metadata(folder_of(&node, "d/f").join("d/f")).expect("stat");
    assert_ne!(inside.ino(), std::fs::metadata(node.mount().join("d/f")).expect("stat").ino());
}

#[test]
fn a_restore_brings_back_what_was_and_undo_takes_it_back() {
    let node = Node::start();
    shell(&node, "mkdir -p d/e; for i in $(seq 100); do echo $i > d/f$i; done; ln d/f1 d/e/hard; chmod 640 d/f2");
    let before = Tree::of(&node.mount().join("d")).expect("a tree");
    node.say(&["snapshot", "good"]);
    shell(&node, "rm d/f1?; echo changed > d/f2; mkdir d/new; mv d/e d/moved");
    let broken = Tree::of(&node.mount().join("d")).expect("a tree");
    let said = node.say(&["diff", "good"]);
    for name in ["d/f10", "d/f2", "d/new"] {
        assert!(said.contains(name), "{name} is missing in the difference\n{said}");
    }
    node.say(&["restore", "/d@good"]);
    let restored = Tree::of(&node.mount().join("d")).expect("a tree");
    assert!(before.differences(&restored, 5).is_empty(), "{:#?}", before.differences(&restored, 5));
    node.say(&["undo", "--yes"]);
    let undone = Tree::of(&node.mount().join("d")).expect("a tree");
    assert!(broken.differences(&undone, 5).is_empty(), "{:#?}", broken.differences(&undone, 5));
    assert!(node.say(&["history", "/d/f2"]).lines().count() >= 2);
}

#[test]
fn history_and_its_snapshots_survive_a_kill() {
    let mut node = Node::start();
    for version in 0..5 {
        std::fs::write(node.mount().join("f"), format!("version {version}")).expect("write");
        node.say(&["snapshot", &format!("v{version}")]);
    }
    node.kill();
    node.up();
    for version in 0..5 {
        assert_eq!(node.say(&["cat", &format!("/f@v{version}")]), format!("version {version}"));
    }
    node.say(&["gc"]);
    assert_eq!(node.say(&["cat", "/f@v0"]), "version 0");
    node.say(&["check", "--data"]);
}

#[test]
fn collection_gives_space_back_and_keeps_what_is_needed() {
    let node = Node::start();
    shell(&node, "head -c 30M /dev/urandom > keep; head -c 30M /dev/urandom > held; sync .");
    node.say(&["snapshot", "with-held"]);
    shell(&node, "rm held; sync .");
    node.say(&["gc"]);
    assert_eq!(node.say(&["ls", "/held@with-held"]).lines().count(), 1);
    let digest = shell(&node, "cksum keep");
    node.say(&["gc", "--dry-run"]);
    node.say(&["gc"]);
    assert_eq!(shell(&node, "cksum keep"), digest);
    node.say(&["check", "--data"]);
}

#[test]
fn put_and_get_agree_with_the_mount() {
    let node = Node::start();
    let source = node.outside().join("source");
    std::fs::create_dir(&source).expect("mkdir");
    command::shell(
        &source,
        "mkdir -p a/b; echo x > a/f; ln a/f a/b/hard; ln -s f a/soft; mkfifo a/p; truncate -s 20M a/sparse
         echo y >> a/sparse; setfattr -n user.k -v v a/f; chmod 2755 a/b; touch -d '2003-03-03 03:03:03.333' a/f
         head -c 5M /dev/urandom > large; touch \"$(printf 'n\\377')\"",
    );
    node.say(&["put", &source.display().to_string(), "/in"]);
    assert_same(&source, &node.mount().join("in"));
    let out = node.outside().join("out");
    node.say(&["get", "/in", &out.display().to_string()]);
    assert_same(&source, &out);
    let time = |path: &std::path::Path| {
        std::fs::metadata(path.join("a/f")).map(|meta| (meta.mtime(), meta.mtime_nsec())).expect("stat")
    };
    assert!(time(&source) == time(&out) && time(&source) == time(&node.mount().join("in")));
}

#[test]
fn twenty_four_words_bring_everything_back_on_an_empty_machine() {
    let mut node = Node::start();
    shell(&node, "mkdir d; echo precious > d/f");
    node.say(&["snapshot", "s"]);
    node.down();
    let words = node.say(&["key", "phrase", "--yes"]);
    let count =
        words.split_whitespace().filter(|word| word.chars().all(|c| c.is_ascii_lowercase()) && word.len() >= 3).count();
    assert!(count >= 24, "{count} words");

    // Another machine: the store was copied, the key was not.
    let mut other = Node::prepare(cairn_fuse_tests::node::Setup { home: Some(node.home()), ..Default::default() });
    std::fs::remove_file(other.data().join("node.key")).expect("the key that was lost");
    let typed = other.outside().join("words");
    std::fs::write(&typed, &words).expect("write");
    let mut restore = other.cairn(&["key", "restore"]);
    restore.stdin(std::fs::File::open(&typed).expect("open"));
    command::succeed(&mut restore);
    other.up();
    assert_eq!(shell(&other, "cat d/f"), "precious\n");
    assert_eq!(other.say(&["cat", "/d/f@s"]), "precious\n");
}
