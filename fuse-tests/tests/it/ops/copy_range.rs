//! copy_file_range(2): a copy without moving the bytes through the program.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use cairn_fuse_tests::{Ground, Random, promise};
use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::assert_fails;

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("open")
}

fn copy(from: &File, mut from_offset: u64, to: &File, mut to_offset: u64, mut len: usize) {
    while len > 0 {
        let copied = copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), len).expect("copy");
        assert!(copied > 0, "nothing was copied with {len} bytes to go");
        len -= copied;
    }
}

#[test]
fn a_range_is_copied_between_files() {
    let ground = Ground::new();
    let bytes = Random::new(8).bytes(3 << 20);
    let (from, to) = (open(&ground.path("from")), open(&ground.path("to")));
    from.write_all_at(&bytes, 0).expect("write");
    to.write_all_at(b"start", 0).expect("write");
    copy(&from, 100_001, &to, 5, 2_000_000);
    let seen = std::fs::read(ground.path("to")).expect("read");
    assert!(&seen[..5] == b"start" && seen[5..] == bytes[100_001..2_100_001]);
}

#[test]
fn the_copy_is_a_copy() {
    promise!("Copies inside the volume");
    let ground = Ground::new();
    let bytes = Random::new(8).bytes(1 << 20);
    let (from, to) = (open(&ground.path("from")), open(&ground.path("to")));
    from.write_all_at(&bytes, 0).expect("write");
    copy(&from, 0, &to, 0, 1 << 20);
    from.write_all_at(&[0; 1000], 500_000).expect("write");
    to.write_all_at(&[1; 1000], 600_000).expect("write");
    let (a, b) = (std::fs::read(ground.path("from")).expect("read"), std::fs::read(ground.path("to")).expect("read"));
    assert!(b[500_000..501_000] == bytes[500_000..501_000], "the source's change shows in the copy");
    assert!(a[600_000..601_000] == bytes[600_000..601_000], "the copy's change shows in the source");
}

#[test]
fn a_range_is_copied_within_a_file() {
    let ground = Ground::new();
    let bytes = Random::new(6).bytes(1 << 20);
    let file = open(&ground.path("f"));
    file.write_all_at(&bytes, 0).expect("write");
    copy(&file, 0, &file, 700_000, 300_000);
    let mut model = bytes;
    model.copy_within(0..300_000, 700_000);
    assert!(std::fs::read(ground.path("f")).expect("read") == model);
    let overlapping = copy_file_range(&file, Some(&mut 0), &file, Some(&mut 10), 100);
    assert_fails(overlapping, Errno::INVAL);
}

#[test]
fn a_copy_past_the_end_is_short() {
    let ground = Ground::new();
    let (from, to) = (open(&ground.path("from")), open(&ground.path("to")));
    from.write_all_at(b"0123456789", 0).expect("write");
    assert_eq!(copy_file_range(&from, Some(&mut 4), &to, Some(&mut 0), 100), Ok(6));
    assert_eq!(copy_file_range(&from, Some(&mut 10), &to, Some(&mut 0), 100), Ok(0));
    assert_eq!(std::fs::read(ground.path("to")).expect("read"), b"456789");
}

#[test]
fn holes_are_copied_as_zeros() {
    let ground = Ground::new();
    let (from, to) = (open(&ground.path("from")), open(&ground.path("to")));
    from.set_len(1 << 20).expect("truncate");
    from.write_all_at(b"data", 500_000).expect("write");
    to.write_all_at(&[9; 1 << 20], 0).expect("write");
    copy(&from, 0, &to, 0, 1 << 20);
    let seen = std::fs::read(ground.path("to")).expect("read");
    assert!(seen == std::fs::read(ground.path("from")).expect("read"));
}
