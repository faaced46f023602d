//! What the mount promises whatever the volume does: answers in time, no crash, no leak, an end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cairn_block::Ino;
use cairn_fs::mount::{Mount, MountError, MountOptions};
use cairn_fs::ops::{Change, KillPriv, Watcher};
use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::place::{DEADLINE, Place, cut_connection, errno, eventually, options};
use super::toy::{FRESH, HELLO, MANY, MANY_COUNT, Toy};

fn toy_mount() -> Option<(Arc<Toy>, Place, Mount)> {
    let (toy, place) = (Toy::new(), Place::new()?);
    let mount = place.mount(toy.clone());
    Some((toy, place, mount))
}

#[test]
fn what_is_in_memory_is_answered_without_the_pool() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    assert_eq!(fs::read_to_string(place.path().join("hello")).unwrap(), "hello\n");
    let absent = fs::metadata(place.path().join("absent")).unwrap_err();
    assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    assert_eq!(mount.counts().waited, 0);
    assert!(mount.is_live());
}

#[test]
fn names_that_lead_nowhere_are_asked_once() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    let absent = place.path().join("absent");
    assert!(!absent.exists());
    let before = mount.counts().requests;
    assert!(!absent.exists());
    assert_eq!(mount.counts().requests, before);
}

#[test]
fn a_read_that_waits_holds_up_no_other() {
    let Some((toy, place, mount)) = toy_mount() else {
        return;
    };
    let stuck = place.path().join("stuck");
    let readers: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn({
                let stuck = stuck.clone();
                move || fs::read(stuck)
            })
        })
        .collect();
    eventually("the readers arrive", || mount.counts().waited >= 1);
    let start = Instant::now();
    assert_eq!(fs::read_to_string(place.path().join("hello")).unwrap(), "hello\n");
    assert_eq!(fs::read(place.path().join("slow")).unwrap().len(), 4096);
    assert!(start.elapsed() < DEADLINE, "took {:?}", start.elapsed());
    toy.open_gate();
    readers.into_iter().for_each(|reader| assert!(reader.join().unwrap().is_ok()));
}

#[test]
fn a_read_that_hangs_ends_at_its_deadline() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    let start = Instant::now();
    // One page, so that read-ahead doesn't make it two requests after each other.
    let error = File::open(place.path().join("stuck")).unwrap().read_at(&mut [0; 4096], 0).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::TIMEDOUT), "{error}");
    assert!(start.elapsed() >= DEADLINE && start.elapsed() < 4 * DEADLINE, "took {:?}", start.elapsed());
    assert!(mount.counts().timed_out >= 1);
    let outcome = mount.unmount();
    assert!(outcome.stuck >= 1, "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_comes_after_the_deadline_is_given_back() {
    let Some((toy, place, _mount)) = toy_mount() else {
        return;
    };
    let error = File::create(place.path().join("fresh")).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::TIMEDOUT));
    toy.open_gate();
    eventually("reference and handle are returned", || toy.references(FRESH) == 0 && toy.handles() == 0);
}

#[test]
fn a_panic_is_an_error_of_one_operation() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    let error = fs::read(place.path().join("panics")).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::IO));
    assert!(mount.counts().panicked >= 1);
    assert_eq!(fs::read_to_string(place.path().join("hello")).unwrap(), "hello\n");
}

#[test]
fn long_listings_are_complete_and_return_what_the_kernel_did_not_take() {
    let Some((toy, place, mount)) = toy_mount() else {
        return;
    };
    let many = place.path().join("many");
    for round in 0..2 {
        let entries: Vec<_> = fs::read_dir(&many).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(entries.len() as u64, MANY_COUNT, "round {round}");
        let names: BTreeSet<_> = entries.iter().map(fs::DirEntry::file_name).collect();
        assert_eq!(names.len() as u64, MANY_COUNT, "no name twice");
        entries.iter().for_each(|entry| assert!(entry.metadata().unwrap().is_file()));
    }
    assert_eq!(fs::metadata(many.join(".")).unwrap().ino(), MANY.get());
    drop(mount);
    let held = |n| toy.references(Ino::new(1000 + n));
    assert!((0..MANY_COUNT).all(|n| held(n) >= 0), "nothing is given back twice");
}

#[test]
fn an_announced_change_is_seen_and_the_old_state_is_cached_till_then() {
    let Some((toy, place, mount)) = toy_mount() else {
        return;
    };
    let hello = place.path().join("hello");
    assert_eq!(fs::read_to_string(&hello).unwrap(), "hello\n");
    toy.set_hello("jello\n"); // Of the same length: a new size would be noticed by the next stat.
    assert_eq!(fs::read_to_string(&hello).unwrap(), "hello\n", "the kernel believes what it knows");
    let invalidator = mount.invalidator();
    invalidator.changed(Change::Inode(HELLO));
    invalidator.settle();
    assert_eq!(fs::read_to_string(&hello).unwrap(), "jello\n");
}

#[test]
fn the_mount_point_is_free_after_unmount_though_a_file_is_open() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    let mut file = File::open(place.path().join("hello")).unwrap();
    let start = Instant::now();
    let outcome = mount.unmount();
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    assert!(outcome.busy && outcome.aborted && outcome.synced.is_ok(), "{outcome:?}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "the bare directory is back");
    assert!(file.read(&mut [0; 8]).is_err(), "what was open fails");
}

#[test]
fn an_idle_mount_goes_quietly() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    assert_eq!(fs::read_to_string(place.path().join("hello")).unwrap(), "hello\n");
    let outcome = mount.unmount();
    assert!(!outcome.busy && !outcome.aborted && outcome.stuck == 0 && outcome.synced.is_ok(), "{outcome:?}");
}

#[test]
fn a_mount_that_someone_else_made_there_since_is_left_alone() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    rustix::mount::unmount(place.path(), UnmountFlags::empty()).unwrap();
    assert!(mount.wait(Some(Duration::from_secs(5))), "an unmount from outside is noticed");
    assert!(!mount.is_live());
    rustix::mount::mount("other", place.path(), "tmpfs", MountFlags::empty(), None).unwrap();
    fs::write(place.path().join("theirs"), b"x").unwrap();
    let _ = mount.unmount();
    assert!(place.path().join("theirs").exists());
}

#[test]
fn a_dead_mount_of_a_crashed_node_is_taken_over() {
    let Some((toy, place, mount)) = toy_mount() else {
        return;
    };
    cut_connection(&place.path());
    let error = fs::read(place.path().join("hello")).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::NOTCONN));
    assert!(fs::metadata(place.path()).is_ok(), "what the kernel was told lives on: no proof of life");
    std::mem::forget(mount); // A crashed process cleans nothing up.
    let _mount = place.mount(toy);
    assert_eq!(fs::read_to_string(place.path().join("hello")).unwrap(), "hello\n");
}

#[test]
fn a_live_mount_is_not_mounted_over() {
    let Some((toy, place, _mount)) = toy_mount() else {
        return;
    };
    let Err(error) = Mount::start(toy, &place.path(), &[], &options()) else {
        panic!("a second mount on the first");
    };
    assert!(matches!(error, MountError::Mounted { .. }), "{error}");
    assert!(error.to_string().contains("fuse.cairn (toy)"), "{error}");
}

#[test]
fn a_refused_mount_leaves_nothing_behind() {
    let Some(place) = Place::new() else { return };
    fs::write(place.path().join("file"), b"x").unwrap();
    let result = Mount::start(Toy::new(), &place.path(), &[], &options());
    assert!(matches!(result.map(|_| ()), Err(MountError::NotEmpty { .. })));
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&*place.path().to_string_lossy()));
}

#[test]
fn times_before_1970_and_at_the_end_of_time_survive() {
    let Some((_toy, place, mount)) = toy_mount() else {
        return;
    };
    let hello = place.path().join("hello");
    for (tv_sec, tv_nsec) in [(-2, 250_000_000), (-1, 1), (0, 0), (i64::MAX, 0), (i64::MIN, 0)] {
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &hello, &times, AtFlags::empty()).unwrap();
        let seen = fs::metadata(&hello).unwrap();
        assert_eq!((seen.mtime(), seen.mtime_nsec()), (tv_sec, tv_nsec));
    }
    assert!(mount.is_live());
}

#[test]
fn a_new_owner_clears_set_id_bits_and_a_new_mode_does_not() {
    let Some((toy, place, _mount)) = toy_mount() else {
        return;
    };
    let hello = place.path().join("hello");
    std::os::unix::fs::chown(&hello, Some(1), None).unwrap();
    assert_eq!(toy.last_set().unwrap().kill_priv, KillPriv::Clear);
    rustix::fs::chmod(&hello, rustix::fs::Mode::from_raw_mode(0o4755)).unwrap();
    assert_eq!(toy.last_set().unwrap().kill_priv, KillPriv::Keep);
    std::os::unix::fs::chown(&hello, None, None).unwrap();
    assert_eq!(toy.last_set().unwrap().kill_priv, KillPriv::Clear, "chown(-1, -1) too");
}

#[test]
fn the_mount_table_says_what_it_is_and_nothing_dangerous_works() {
    let Some((_toy, place, _mount)) = toy_mount() else {
        return;
    };
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = place.path();
    let line = table.lines().find(|line| line.contains(&*path.to_string_lossy())).unwrap();
    assert!(line.contains("- fuse.cairn toy "), "{line}");
    assert!(line.contains("nosuid") && line.contains("nodev") && line.contains("default_permissions"), "{line}");
}

#[test]
fn an_answer_that_says_how_much_room_there_is() {
    let Some((_toy, place, _mount)) = toy_mount() else {
        return;
    };
    let stat = rustix::fs::statvfs(place.path()).unwrap();
    assert_eq!((stat.f_blocks, stat.f_bfree, stat.f_bavail), (10, 8, 7));
    assert_eq!((stat.f_files, stat.f_ffree, stat.f_namemax), (100, 95, 255));
}

/// Runs one test of this binary again as the user "nobody", who can't call mount(2).
#[test]
fn ordinary_users_mount_through_the_helper() {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    const INNER: &str = "mount::port::inner_test_of_an_ordinary_user";
    let Some(place) = Place::new() else { return };
    let for_all = fs::metadata("/dev/fuse").is_ok_and(|device| device.mode() & 0o006 == 0o006);
    if !for_all || !Path::new("/usr/bin/fusermount3").exists() {
        return eprintln!("SKIPPED: needs fusermount3, and a /dev/fuse that everyone may open");
    }
    for path in [place.dir.path(), &place.path()] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", INNER, "--ignored", "--nocapture"])
        .env("CAIRN_TEST_MOUNT", place.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by ordinary_users_mount_through_the_helper"]
fn inner_test_of_an_ordinary_user() {
    let Some(path) = std::env::var_os("CAIRN_TEST_MOUNT").map(PathBuf::from) else {
        return;
    };
    let toy = Toy::new();
    let asked = MountOptions { allow_other: true, ..options() };
    let refused = Mount::start(toy.clone(), &path, &[], &asked).map(|_| ());
    assert!(matches!(refused, Err(MountError::AllowOther)), "{refused:?}");
    let mount = Mount::start(toy.clone(), &path, &[], &options()).unwrap();
    let file = File::open(path.join("hello")).unwrap();
    assert_eq!(fs::read_to_string(path.join("hello")).unwrap(), "hello\n");
    let outcome = mount.unmount();
    assert!(outcome.busy, "{outcome:?}");
    drop(file);
    let mount = Mount::start(toy, &path, &[], &options()).unwrap();
    let outcome = mount.unmount();
    assert!(!outcome.busy && !outcome.aborted, "{outcome:?}");
}
