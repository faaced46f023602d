//! open(2) with O_CREAT and its relatives.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use cairn_fuse_tests::{Ground, promise};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn a_new_file_is_empty_and_belongs_to_its_maker() {
    let ground = Ground::new();
    File::create(ground.path("f")).expect("create");
    let meta = std::fs::metadata(ground.path("f")).expect("stat");
    assert_eq!((meta.len(), meta.nlink()), (0, 1));
    assert_eq!(meta.uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn the_umask_is_taken_off_the_mode() {
    promise!("Permissions");
    let ground = Ground::new();
    ground.shell("umask 027; touch f; mkdir d; umask 0; touch all");
    let mode = |name| std::fs::metadata(ground.path(name)).expect("stat").mode() & 0o7777;
    assert_eq!((mode("f"), mode("d"), mode("all")), (0o640, 0o750, 0o666));
}

#[test]
fn an_exclusive_create_refuses_what_is_there() {
    let ground = Ground::new();
    let create = |name| OpenOptions::new().write(true).create_new(true).open(ground.path(name));
    create("f").expect("the first");
    assert_fails(create("f"), Errno::EXIST);
    std::os::unix::fs::symlink("nowhere", ground.path("dangling")).expect("symlink");
    assert_fails(create("dangling"), Errno::EXIST);
}

#[test]
fn only_one_of_many_exclusive_creates_wins() {
    let ground = Ground::new();
    for round in 0..20 {
        let path = ground.path(&format!("f{round}"));
        let winners = std::thread::scope(|scope| {
            let create = || OpenOptions::new().write(true).create_new(true).open(&path).is_ok();
            let racers: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            racers.into_iter().filter_map(|racer| racer.join().ok()).filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
    }
}

#[test]
fn opening_with_truncation_empties() {
    promise!("What was cut off never comes back");
    let ground = Ground::new();
    std::fs::write(ground.path("f"), vec![7; 300_000]).expect("write");
    let file = OpenOptions::new().write(true).truncate(true).open(ground.path("f")).expect("open");
    assert_eq!(file.metadata().expect("stat").len(), 0);
    assert_eq!(std::fs::read(ground.path("f")).expect("read"), b"");
}

#[test]
fn a_file_made_without_write_permission_can_be_written_through_its_first_handle() {
    let ground = Ground::new();
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o000).open(ground.path("f")).expect("create");
    file.write_all(b"still writable").expect("write");
    assert_eq!(file.metadata().expect("stat").mode() & 0o777, 0);
}

#[test]
fn a_name_in_a_missing_folder_or_below_a_file_is_refused() {
    let ground = Ground::new();
    assert_fails(File::create(ground.path("missing/f")), Errno::NOENT);
    File::create(ground.path("f")).expect("create");
    assert_fails(File::create(ground.path("f/g")), Errno::NOTDIR);
    assert_fails(OpenOptions::new().write(true).open(&*ground), Errno::ISDIR);
}

#[test]
fn a_missing_name_is_found_once_it_was_made() {
    let ground = Ground::new();
    // The kernel may remember that a name is missing; it has to forget it again.
    for round in 0..50 {
        let path = ground.path(&format!("f{round}"));
        assert!(!path.exists());
        File::create(&path).expect("create");
        assert!(path.exists());
        std::fs::remove_file(&path).expect("remove");
        assert!(!path.exists());
    }
}

#[test]
fn thousands_of_small_files_hold_what_was_written() {
    let ground = Ground::new();
    let content = |i: u32| vec![i as u8; (i % 5_000) as usize];
    for i in 0..2_000 {
        std::fs::write(ground.path(&format!("f{i}")), content(i)).expect("write");
    }
    for i in 0..2_000 {
        let mut seen = Vec::new();
        File::open(ground.path(&format!("f{i}"))).expect("open").read_to_end(&mut seen).expect("read");
        assert!(seen == content(i), "file {i} differs");
    }
}
