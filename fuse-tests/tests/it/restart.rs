//! What a node keeps over its own end, polite or not, and what it lets go.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use cairn_fuse_tests::{Node, Random, Scale, command, figure, promise};
use rustix::io::Errno;

/// "Within seconds", as docs/SEMANTICS.md says it, with room for a busy machine.
const SECONDS: Duration = Duration::from_secs(10);
const LINK_COUNT_MAX: u32 = 65_000;

/// A tree with some of everything.
fn fill(node: &Node) {
    command::shell(
        &node.mount(),
        "mkdir -p a/b c; for i in $(seq 200); do echo $i > a/f$i; done; ln a/f1 c/hard; ln -s ../a c/soft
         mkfifo a/b/pipe; truncate -s 1G a/b/sparse; setfattr -n user.k -v v a; chmod 1700 c
         touch -d '2001-02-03 04:05:06.789' a/f2",
    );
    std::fs::write(node.mount().join("large"), Random::new(2).bytes(5 << 20)).expect("write");
}

fn numbers_and_times(node: &Node) -> BTreeMap<PathBuf, (u64, i64, i64, i64, i64)> {
    let paths = node.everything().0.into_keys();
    let look = |path: PathBuf| {
        let meta = std::fs::symlink_metadata(node.mount().join(&path)).expect("stat");
        (path, (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
    };
    paths.map(look).collect()
}

#[test]
fn everything_is_the_same_after_a_restart() {
    promise!("Inode numbers are stable");
    let mut node = Node::start();
    fill(&node);
    let (tree, numbers) = (node.everything(), numbers_and_times(&node));
    for round in 0..2 {
        if round == 0 {
            node.down();
        } else {
            command::shell(&node.mount(), "sync .");
            node.kill();
        }
        node.up();
        assert!(tree.differences(&node.everything(), 5).is_empty(), "{:#?}", tree.differences(&node.everything(), 5));
        assert_eq!(numbers, numbers_and_times(&node));
    }
    // A number that was in use is never given to another file.
    command::shell(&node.mount(), "rm -r a c; for i in $(seq 300); do echo $i > n$i; done");
    let old: std::collections::BTreeSet<_> = numbers.values().map(|(ino, ..)| *ino).collect();
    let reused: Vec<_> = numbers_and_times(&node)
        .into_iter()
        .filter(|(path, (ino, ..))| path.starts_with("n") && old.contains(ino))
        .collect();
    assert!(reused.is_empty(), "{reused:?}");
}

#[test]
fn a_file_without_a_name_is_gone_after_the_next_start() {
    promise!("A file lives until it is closed");
    let mut node = Node::start();
    let path = node.mount().join("f");
    std::fs::write(&path, Random::new(1).bytes(30 << 20)).expect("write");
    let open = File::open(&path).expect("open");
    std::fs::remove_file(&path).expect("remove");
    open.sync_all().expect("fsync of a file without a name");
    node.kill();
    drop(open);
    node.up();
    assert_eq!(std::fs::read_dir(node.mount()).expect("list").count(), 0);
    node.say(&["gc"]);
    let log_bytes = node.json(&["status"])["store"]["log_bytes"].as_u64().expect("store.log_bytes");
    figure!("30 MiB in a file without a name: {} KiB are left after a kill and a collection", log_bytes >> 10);
}

#[test]
fn what_was_closed_becomes_durable_without_being_asked() {
    promise!("Close confirms nothing");
    let mut node = Node::start();
    for i in 0..50 {
        std::fs::write(node.mount().join(format!("f{i}")), vec![i; 20_000]).expect("write");
    }
    std::thread::sleep(SECONDS);
    node.kill();
    node.up();
    for i in 0..50 {
        let bytes = std::fs::read(node.mount().join(format!("f{i}"))).unwrap_or_else(|e| panic!("f{i}: {e}"));
        assert!(bytes == vec![i; 20_000], "f{i}");
    }
}

#[test]
fn a_copy_inside_the_volume_stores_nothing_twice() {
    promise!("Copies inside the volume");
    let node = Node::start();
    let size = Scale::pick(64 << 20, 1 << 30);
    std::fs::write(node.mount().join("from"), Random::new(1).bytes(size)).expect("write");
    node.say(&["snapshot"]);
    let log_bytes = || node.json(&["status"])["store"]["log_bytes"].as_u64().expect("store.log_bytes");
    let before = log_bytes();
    command::shell(&node.mount(), "cp --reflink=auto from to; sync to");
    node.say(&["snapshot"]);
    let grown = log_bytes() - before;
    figure!("a copy of {} MiB inside the volume: log grew {} KiB", size >> 20, grown >> 10);
    assert!(grown < size as u64 / 50, "{grown} bytes for a copy of {size}");
    command::shell(&node.mount(), "cmp from to");
}

#[test]
fn a_file_has_no_more_names_than_promised() {
    promise!("Hard links");
    let node = Node::start();
    std::fs::write(node.mount().join("f"), b"x").expect("write");
    for folder in 0..10 {
        std::fs::create_dir(node.mount().join(format!("d{folder}"))).expect("mkdir");
    }
    for i in 1..LINK_COUNT_MAX {
        std::fs::hard_link(node.mount().join("f"), node.mount().join(format!("d{}/n{i}", i % 10))).expect("link");
    }
    let refused = std::fs::hard_link(node.mount().join("f"), node.mount().join("more")).expect_err("one too many");
    assert_eq!(refused.raw_os_error(), Some(Errno::MLINK.raw_os_error()));
    assert_eq!(std::fs::metadata(node.mount().join("d3/n3")).expect("stat").nlink(), u64::from(LINK_COUNT_MAX));
}

#[test]
fn a_file_may_be_as_large_as_promised_and_no_larger() {
    promise!("Limits");
    let mut node = Node::start();
    let path = node.mount().join("f");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("create");
    let end = i64::MAX as u64;
    file.set_len(end).expect("the largest size");
    file.write_all_at(b"end", end - 3).expect("a write at the very end");
    let beyond = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), end - 10, 20);
    assert_eq!(beyond, Err(Errno::FBIG));
    drop(file);
    node.down();
    node.up();
    let mut seen = [0; 3];
    File::open(&path).expect("open").read_exact_at(&mut seen, end - 3).expect("read");
    assert_eq!((&seen, std::fs::metadata(&path).expect("stat").len()), (b"end", end));
}
