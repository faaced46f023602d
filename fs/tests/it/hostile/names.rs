//! Names that no directory can have, and the entries behind them.

use cairn_fs::FsError;

use super::author::{Author, DIRECTORY, EMPTY, Inode, Map, REGULAR, link};
use super::reader::{COLLECTOR, Changes, Seen, use_up};

/// A volume whose `/dir` is `dir` and whose `/fine` is a file.
#[track_caller]
pub(super) fn with_dir(author: &Author, dir: &Map, links: &Map) -> Seen {
    used_up(author, dir, links, Changes::Everywhere)
}

/// The same, with the lies left as they are.
#[track_caller]
pub(super) fn with_dir_unchanged(author: &Author, dir: &Map) -> Seen {
    used_up(author, dir, &EMPTY, Changes::Elsewhere)
}

#[track_caller]
fn used_up(author: &Author, dir: &Map, links: &Map, changes: Changes) -> Seen {
    let root = author.names(&[(b"dir", Inode::dir(20, dir).entry()), (b"fine", Inode::file(21, b"fine").entry())]);
    author.publish(&root, links, 1000);
    COLLECTOR.with(|store| store.replace(Some(author.store.clone())));
    let seen = use_up(author, changes);
    assert!(seen.has("/fine"), "the rest is not there: {seen:?}");
    seen
}

/// The same, for items of one leaf.
fn with_items(items: &[(Vec<u8>, Vec<u8>)]) -> Seen {
    let author = Author::new();
    let map = Map { count: items.len() as u64, level: 0, root: Some(author.leaf(items)) };
    with_dir(&author, &map, &EMPTY)
}

fn sorted(mut items: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    items.sort();
    items
}

#[test]
fn a_name_that_is_none_is_an_error_and_is_shown_to_nobody() {
    let long = vec![b'n'; 255 + 1];
    for name in [&b"a/b"[..], b"/", b"..", b".", b"a\0b", b"\0", b"", &long, b"../../etc/passwd"] {
        let author = Author::new();
        let good = (author.key(b"good"), Inode::file(30, b"x").entry());
        let seen = with_items(&sorted(vec![good, (author.key(name), Inode::file(31, b"y").entry())]));
        assert!(matches!(seen.error_at("/dir"), FsError::Damaged { .. }), "{name:?}: {seen:?}");
        assert!(!seen.entries.iter().any(|(_, attr)| attr.ino.get() == 31), "{name:?}: {seen:?}");
    }
}

#[test]
fn names_twice_or_out_of_order_are_an_error_of_their_directory() {
    let author = Author::new();
    let item = |name: &[u8], ino| (author.key(name), Inode::file(ino, b"x").entry());
    let twice = vec![item(b"a", 30), item(b"a", 31)];
    let mut backwards = sorted(vec![item(b"a", 30), item(b"b", 31), item(b"c", 32)]);
    backwards.reverse();
    for items in [twice, backwards] {
        assert!(matches!(with_items(&items).error_at("/dir"), FsError::Damaged { .. }));
    }
}

#[test]
fn a_key_whose_hash_is_of_another_name_is_found_by_nobody() {
    let author = Author::new();
    let key = [&[1, 2, 3, 4, 5, 6, 7][..], b"name"].concat();
    let seen = with_items(&sorted(vec![
        (key, Inode::file(30, b"x").entry()),
        (author.key(b"good"), Inode::file(31, b"x").entry()),
    ]));
    assert!(seen.has("/dir/good") && !seen.has("/dir/name"), "{seen:?}");
}

#[test]
fn an_entry_that_is_none_is_an_error() {
    let author = Author::new();
    let mut values = vec![vec![], vec![2], vec![0], link(0, REGULAR), link(50, DIRECTORY), link(50, 3)];
    let mut with = |change: fn(&mut Inode)| {
        let mut inode = Inode::file(30, b"bytes");
        change(&mut inode);
        values.push(inode.entry());
    };
    with(|inode| inode.ino = 0);
    with(|inode| inode.ino = 1 << 62);
    with(|inode| inode.kind = 0);
    with(|inode| inode.kind = 15);
    with(|inode| inode.size = 1 << 63);
    with(|inode| inode.size = 2049);
    with(|inode| inode.nlink = 65_001);
    with(|inode| inode.content = vec![3]);
    with(|inode| inode.xattrs = vec![0, 1, b'a', 255, 255, 255, 255]);
    with(|inode| inode.xattrs = vec![7]);
    for value in values {
        let seen = with_items(&sorted(vec![
            (author.key(b"bad"), value.clone()),
            (author.key(b"good"), Inode::file(31, b"x").entry()),
        ]));
        assert!(matches!(seen.error_at("/dir"), FsError::Damaged { .. }), "{value:?}: {seen:?}");
        assert!(!seen.has("/dir/bad"), "{value:?}");
    }
}

#[test]
fn links_that_lead_nowhere_or_elsewhere_are_errors_of_the_entry() {
    let author = Author::new();
    let table = |records: &[(u64, Inode)]| {
        let items: Vec<_> = records.iter().map(|(key, inode)| (key.to_be_bytes().to_vec(), inode.record())).collect();
        Map { count: items.len() as u64, level: 0, root: Some(author.leaf(&items)) }
    };
    let dir = author.names(&[
        (b"nowhere", link(50, REGULAR)),
        (b"other number", link(51, REGULAR)),
        (b"a directory", link(52, REGULAR)),
        (b"another kind", link(53, REGULAR)),
        (b"the root", link(1, REGULAR)),
        (b"an owned file", link(21, REGULAR)),
        (b"its directory", link(20, REGULAR)),
        (b"sound", link(54, REGULAR)),
    ]);
    let links = table(&[
        (51, Inode::file(1, b"x")),
        (52, Inode::dir(52, &EMPTY)),
        (53, Inode::symlink(53, b"target")),
        (54, Inode { nlink: 0, ..Inode::file(54, b"x") }),
    ]);
    let seen = with_dir(&author, &dir, &links);
    assert!(seen.has("/dir/sound"), "{seen:?}");
    for name in ["nowhere", "other number", "a directory", "another kind", "the root", "an owned file", "its directory"]
    {
        let path = format!("/dir/{name}");
        assert!(!seen.has(&path), "{path} leads somewhere: {seen:?}");
    }
}
