//! Trees of a shape that no volume has: inodes in two places, directories in themselves, the same subtree again and again,
//! thousands of levels.

use cairn_block::FileType;

use super::author::{Author, EMPTY, Inode, Map};
use super::names::{with_dir, with_dir_unchanged};
use super::reader::{COLLECTOR, Changes, use_up};

#[test]
fn a_number_that_is_taken_is_an_error_of_the_second_entry() {
    let author = Author::new();
    let dir = author.names(&[
        (b"the root", Inode::dir(1, &EMPTY).entry()),
        (b"itself", Inode::dir(20, &EMPTY).entry()),
        (b"the file above", Inode::file(21, b"other bytes").entry()),
        (b"twin a", Inode::file(40, b"a").entry()),
        (b"twin b", Inode::symlink(40, b"b").entry()),
        (b"never given out", Inode::file(5000, b"x").entry()),
    ]);
    let seen = with_dir(&author, &dir, &EMPTY);
    for name in ["the root", "itself"] {
        assert!(!seen.has(&format!("/dir/{name}")), "{name} leads somewhere: {seen:?}");
    }
    let twins = seen.entries.iter().filter(|(path, _)| path.starts_with("/dir/twin")).count();
    assert_eq!(twins, 1, "one number, two inodes: {seen:?}");
    let same: Vec<_> = seen.entries.iter().filter(|(_, attr)| attr.ino.get() == 21).collect();
    assert_eq!(same.len(), 1, "{seen:?}");
}

#[test]
fn a_directory_that_is_linked_twice_is_there_once() {
    let author = Author::new();
    let inside = author.names(&[(b"file", Inode::file(31, b"x").entry())]);
    let dir = author.names(&[(b"a", Inode::dir(30, &inside).entry()), (b"b", Inode::dir(30, &inside).entry())]);
    let seen = with_dir(&author, &dir, &EMPTY);
    assert!(seen.has("/dir/a") != seen.has("/dir/b"), "{seen:?}");
}

/// Forty levels of two names for one subtree: 2⁴⁰ paths in forty nodes.
#[test]
fn a_subtree_under_two_names_forty_times_over_is_no_work_without_end() {
    let author = Author::new();
    let mut map = author.names(&[(b"file", Inode::file(30, b"x").entry())]);
    for level in 0..40_u64 {
        let ino = 100 + 2 * level;
        map = author.names(&[(b"a", Inode::dir(ino, &map).entry()), (b"b", Inode::dir(ino + 1, &map).entry())]);
    }
    with_dir(&author, &map, &EMPTY);
}

#[test]
fn four_thousand_levels_are_walked_changed_and_collected() {
    let author = Author::new();
    let mut map = author.names(&[(b"deepest", Inode::file(99, b"x").entry())]);
    for level in 0..4000_u64 {
        map = author.names(&[(b"d", Inode::dir(100 + level, &map).entry())]);
    }
    let root = author.names(&[(b"dir", Inode::dir(20, &map).entry())]);
    author.publish(&root, &EMPTY, 10_000);
    COLLECTOR.with(|store| store.replace(Some(author.store.clone())));
    let seen = use_up(&author, Changes::Everywhere);
    let depth = seen.entries.iter().map(|(path, _)| path.matches('/').count()).max();
    assert!(depth > Some(2900), "{depth:?}");
}

#[test]
fn maps_that_contradict_their_nodes_are_errors_of_their_directory() {
    let author = Author::new();
    let entry = |name: &[u8], ino| (author.key(name), Inode::file(ino, b"x").entry());
    let mut items = [entry(b"a", 30), entry(b"b", 31), entry(b"c", 32), entry(b"d", 33)];
    items.sort();
    let (left, right) = (author.leaf(&items[..2]), author.leaf(&items[2..]));
    let (last_left, last_right) = (items[1].0.clone(), items[3].0.clone());
    let node = |children: &[(Vec<u8>, cairn_block::Ref, u64)]| author.inner(1, children);
    let inner = |count, root| Map { count, level: 1, root: Some(root) };
    let child = |key: &Vec<u8>, reference: &cairn_block::Ref, count| (key.clone(), reference.clone(), count);
    let sound = node(&[child(&last_left, &left, 2), child(&last_right, &right, 2)]);
    let lies = [
        ("a count that is too high", inner(5, sound.clone())),
        ("a count that is too low", inner(3, sound.clone())),
        ("a level that is too low", Map { count: 4, level: 0, root: Some(sound.clone()) }),
        ("a level that is too high", Map { count: 4, level: 2, root: Some(sound.clone()) }),
        ("a level above any", Map { count: 4, level: 200, root: Some(sound.clone()) }),
        ("a child's count", inner(5, node(&[child(&last_left, &left, 3), child(&last_right, &right, 2)]))),
        ("a child's last key", inner(4, node(&[child(&vec![0xff; 7], &left, 2), child(&vec![0xff; 8], &right, 2)]))),
        ("a child twice", inner(4, node(&[child(&last_left, &left, 2), child(&last_right, &left, 2)]))),
        ("a node of itself", inner(2, node(&[child(&last_left, &sound, 2)]))),
        ("a file's node", inner(4, author.file_node(1, &[vec![1; 84]]))),
        ("a count of 2⁶²", inner(1 << 62, node(&[child(&last_left, &left, 1 << 62)]))),
        ("a count of 2⁶⁴ - 1", inner(u64::MAX, sound)),
    ];
    for (lie, map) in lies {
        let author = Author { keys: Author::new().keys, store: author.store.clone() };
        // One level down: what is refused with its record is an error of the directory that the record is in.
        let around = author.names(&[(b"lie", Inode::dir(40, &map).entry())]);
        let seen = with_dir_unchanged(&author, &around);
        let is_told = seen.failed.iter().any(|(path, _)| path.starts_with("/dir"));
        let shown =
            seen.entries.iter().filter(|(path, attr)| path.starts_with("/dir/lie/") && attr.kind == FileType::Regular);
        assert!(is_told, "{lie}: {seen:?}");
        assert!(shown.count() <= 4, "{lie}: {seen:?}");
    }
}
