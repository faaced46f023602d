//! What isn't offered, and that it says so.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use cairn_fuse_tests::{Ground, command, promise, skip};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn a_file_without_a_name_works_or_is_refused_in_words() {
    promise!("Refused in words");
    let ground = Ground::new();
    match rustix::fs::open(&*ground, OFlags::TMPFILE | OFlags::RDWR, Mode::from_raw_mode(0o600)) {
        // Programs fall back to a name that they remove.
        Err(refusal) => assert_eq!(refusal, Errno::OPNOTSUPP),
        Ok(fd) => {
            let mut file = File::from(fd);
            file.write_all(b"nameless").expect("write");
            assert_eq!(file.metadata().expect("stat").nlink(), 0);
        }
    }
    assert_eq!(std::fs::read_dir(&*ground).expect("list").count(), 0);
}

#[test]
fn collapsing_and_inserting_are_refused() {
    promise!("Refused in words");
    if !Ground::is_ours() {
        skip!("other filesystems can");
    }
    let ground = Ground::new();
    std::fs::write(ground.path("f"), vec![1; 1 << 20]).expect("write");
    let file = OpenOptions::new().read(true).write(true).open(ground.path("f")).expect("open");
    assert_fails(fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096), Errno::OPNOTSUPP);
    assert_fails(fallocate(&file, FallocateFlags::INSERT_RANGE, 0, 4096), Errno::OPNOTSUPP);
    assert!(std::fs::read(ground.path("f")).expect("read") == vec![1; 1 << 20]);
}

#[test]
fn a_clone_is_refused_and_a_copy_shares() {
    promise!("Refused in words");
    let ground = Ground::new();
    ground.shell("head -c 500000 /dev/zero | tr '\\0' x > f");
    let cloned = command::run(command::command(&ground, "cp").args(["--reflink=always", "f", "g"]));
    let text = command::transcript(&cloned);
    assert!(
        cloned.status.success() || text.contains("not supported") || text.contains("Inappropriate ioctl"),
        "{text}"
    );
    ground.shell("cp --reflink=auto f h; cmp f h");
}

#[test]
fn swap_files_are_refused() {
    promise!("Refused in words");
    if !Ground::is_ours() {
        skip!("other filesystems can");
    }
    if !command::is_root() || !command::exists("swapon") || !command::exists("mkswap") {
        skip!("only root may try to swap, with swapon and mkswap");
    }
    let ground = Ground::new();
    ground.shell("head -c 2M /dev/zero > swap; chmod 600 swap; mkswap -q swap");
    let path = ground.path("swap");
    let tried = command::run(command::command(&ground, "swapon").arg(&path));
    if tried.status.success() {
        ground.shell("swapoff swap");
        panic!("a swap file was accepted: memory would depend on a program that needs memory");
    }
}
