//! unlink(2), and files that are open while their last name goes.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};

use cairn_fuse_tests::{Ground, Random, promise};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn an_open_file_without_a_name_can_be_read_and_written() {
    promise!("A file lives until it is closed");
    let ground = Ground::new();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(ground.path("f")).expect("create");
    let bytes = Random::new(3).bytes(500_000);
    file.write_all_at(&bytes, 0).expect("write");
    std::fs::remove_file(ground.path("f")).expect("remove");
    assert_eq!(file.metadata().expect("stat").nlink(), 0);
    assert_eq!(std::fs::read_dir(&*ground).expect("list").count(), 0);

    file.write_all_at(b"after", 400_000).expect("write without a name");
    file.sync_all().expect("fsync without a name");
    let mut seen = vec![0; 500_000];
    file.read_exact_at(&mut seen, 0).expect("read without a name");
    assert!(seen[..400_000] == bytes[..400_000] && &seen[400_000..400_005] == b"after");
    file.set_len(10).expect("truncate without a name");
    assert_eq!(file.metadata().expect("stat").len(), 10);
}

#[test]
fn the_name_is_free_for_another_file_at_once() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"old").expect("write");
    let old = std::fs::File::open(ground.path("f")).expect("open");
    std::fs::remove_file(ground.path("f")).expect("remove");
    std::fs::write(ground.path("f"), b"new").expect("write");
    let mut seen = [0; 3];
    old.read_exact_at(&mut seen, 0).expect("read");
    assert_eq!(&seen, b"old");
    assert_eq!(std::fs::read(ground.path("f")).expect("read"), b"new");
    assert_ne!(old.metadata().expect("stat").ino(), std::fs::metadata(ground.path("f")).expect("stat").ino());
}

#[test]
fn folders_and_missing_names_are_not_unlinked() {
    let ground = Ground::new();
    std::fs::create_dir(ground.path("d")).expect("mkdir");
    assert_fails(std::fs::remove_file(ground.path("d")), Errno::ISDIR);
    assert_fails(std::fs::remove_file(ground.path("missing")), Errno::NOENT);
    assert_fails(std::fs::remove_file(ground.path("d/")), Errno::ISDIR);
}

#[test]
fn a_tree_is_removed_while_others_create_in_it() {
    let ground = Ground::new();
    ground.shell("mkdir t; for i in $(seq 300); do mkdir -p t/$((i % 7)); echo $i > t/$((i % 7))/f$i; done; rm -r t");
    assert_fails(std::fs::metadata(ground.path("t")), Errno::NOENT);
    assert_eq!(std::fs::read_dir(&*ground).expect("list").count(), 0);
}
