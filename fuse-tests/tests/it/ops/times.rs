//! Access, modification and change times.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use cairn_fuse_tests::{Ground, promise};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

/// (atime, mtime, ctime) in nanoseconds.
fn times(path: &Path) -> (i128, i128, i128) {
    let meta = std::fs::symlink_metadata(path).expect("stat");
    let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    (
        time(meta.atime(), meta.atime_nsec()),
        time(meta.mtime(), meta.mtime_nsec()),
        time(meta.ctime(), meta.ctime_nsec()),
    )
}

fn set(path: &Path, atime: (i64, i64), mtime: (i64, i64)) {
    let time = |(seconds, nanoseconds)| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time(atime), last_modification: time(mtime) };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
}

/// Longer than the granularity of any clock here.
fn moment() {
    std::thread::sleep(Duration::from_millis(12));
}

#[test]
fn nanoseconds_are_kept() {
    promise!("Timestamps");
    let ground = Ground::new();
    let path = ground.path("f");
    File::create(&path).expect("create");
    set(&path, (1_234_567_890, 123_456_789), (1_600_000_000, 1));
    let (atime, mtime, _) = times(&path);
    assert_eq!((atime, mtime), (1_234_567_890_123_456_789, 1_600_000_000_000_000_001));
}

#[test]
fn times_before_1970_and_far_ahead_are_kept() {
    promise!("Timestamps");
    let ground = Ground::new();
    let path = ground.path("f");
    File::create(&path).expect("create");
    for seconds in [-1, -2_000_000_000, 4_294_967_296, 15_032_385_535] {
        set(&path, (seconds, 0), (seconds, 0));
        assert_eq!(times(&path).1, i128::from(seconds) * 1_000_000_000);
    }
}

#[test]
fn a_fraction_before_1970_is_kept() {
    promise!("Timestamps");
    let ground = Ground::new();
    let path = ground.path("f");
    File::create(&path).expect("create");
    set(&path, (-5, 250_000_000), (-1, 999_999_999));
    let (atime, mtime, _) = times(&path);
    assert_eq!((atime, mtime), (-4_750_000_000, -1));
}

#[test]
fn one_time_is_set_and_the_other_left() {
    let ground = Ground::new();
    let path = ground.path("f");
    File::create(&path).expect("create");
    set(&path, (1_000, 0), (2_000, 0));
    set(&path, (0, UTIME_OMIT), (3_000, 0));
    assert_eq!((times(&path).0, times(&path).1), (1_000_000_000_000, 3_000_000_000_000));
    set(&path, (0, UTIME_NOW), (0, UTIME_OMIT));
    let (atime, mtime, ctime) = times(&path);
    assert_eq!(mtime, 3_000_000_000_000);
    assert!((ctime - atime).abs() < 2_000_000_000, "now is now");
}

#[test]
fn a_write_moves_mtime_and_ctime() {
    promise!("Timestamps");
    let ground = Ground::new();
    let path = ground.path("f");
    let file = File::create(&path).expect("create");
    set(&path, (1, 0), (1, 0));
    let before = times(&path);
    moment();
    file.write_all_at(b"x", 0).expect("write");
    let after = times(&path);
    assert!(after.1 > before.1 && after.2 > before.2);
    set(&path, (1, 0), (1, 0));
    let before = times(&path);
    moment();
    file.set_len(0).expect("truncate");
    let after = times(&path);
    assert!(after.1 > before.1 && after.2 > before.2);
}

#[test]
fn chmod_link_and_rename_move_ctime_alone() {
    promise!("Timestamps");
    let ground = Ground::new();
    let path = ground.path("f");
    File::create(&path).expect("create");
    let changes: [&dyn Fn(); 3] = [
        &|| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod"),
        &|| std::fs::hard_link(&path, ground.path("g")).expect("link"),
        &|| std::fs::remove_file(ground.path("g")).expect("remove"),
    ];
    for change in changes {
        let before = times(&path);
        moment();
        change();
        let after = times(&path);
        assert!(after.2 > before.2 && after.1 == before.1);
    }
    let before = times(&path);
    moment();
    std::fs::rename(&path, ground.path("h")).expect("rename");
    assert_eq!(times(&ground.path("h")).1, before.1);
}

#[test]
fn a_folder_changes_with_its_names() {
    promise!("Timestamps");
    let ground = Ground::new();
    let changes: [&dyn Fn(); 6] = [
        &|| drop(File::create(ground.path("f")).expect("create")),
        &|| std::fs::hard_link(ground.path("f"), ground.path("g")).expect("link"),
        &|| std::fs::rename(ground.path("g"), ground.path("h")).expect("rename"),
        &|| std::fs::remove_file(ground.path("h")).expect("remove"),
        &|| std::fs::create_dir(ground.path("d")).expect("mkdir"),
        &|| std::fs::remove_dir(ground.path("d")).expect("rmdir"),
    ];
    for (index, change) in changes.iter().enumerate() {
        let before = times(&ground);
        moment();
        change();
        let after = times(&ground);
        assert!(after.1 > before.1 && after.2 > before.2, "change {index}");
    }
    let before = times(&ground);
    moment();
    OpenOptions::new().write(true).open(ground.path("f")).expect("open").write_all_at(b"x", 0).expect("write");
    assert_eq!(times(&ground).1, before.1, "a write inside a file is no change of its folder");
}

#[test]
fn a_failed_call_moves_no_time() {
    promise!("Timestamps");
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"x").expect("write");
    let (folder, file) = (times(&ground), times(&ground.path("f")));
    moment();
    assert!(std::fs::create_dir(ground.path("f")).is_err());
    assert!(std::fs::remove_dir(ground.path("f")).is_err());
    assert!(std::fs::hard_link(ground.path("missing"), ground.path("g")).is_err());
    assert_eq!((times(&ground), times(&ground.path("f"))), (folder, file));
}

#[test]
fn a_read_moves_the_access_time_once() {
    promise!("Access times are relative");
    let ground = Ground::new();
    let path = ground.path("f");
    std::fs::write(&path, vec![1; 10_000]).expect("write");
    let read_from_the_disk = || {
        let file = File::open(&path).expect("open");
        file.sync_all().expect("fsync");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
        file.read_at(&mut [0; 100], 0).expect("read");
    };
    // Older than the last change: the read shows.
    set(&path, (1_000, 0), (2_000, 0));
    // Setting them was a change as well: a read in the same tick of the clock would not be newer than that.
    moment();
    read_from_the_disk();
    let (atime, mtime, _) = times(&path);
    assert!(atime > mtime && mtime == 2_000_000_000_000, "{atime}, {mtime}");
    // Newer, and of today: it doesn't.
    moment();
    read_from_the_disk();
    assert_eq!(times(&path).0, atime);
}
