//! rename(2) and renameat2(2).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_fuse_tests::{Ground, command, promise, skip};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::assert_fails;

fn write(ground: &Ground, name: &str, text: &str) {
    std::fs::write(ground.path(name), text).expect("write");
}

fn read(ground: &Ground, name: &str) -> String {
    std::fs::read_to_string(ground.path(name)).expect("read")
}

fn rename(ground: &Ground, from: &str, to: &str) -> std::io::Result<()> {
    std::fs::rename(ground.path(from), ground.path(to))
}

fn rename_with(ground: &Ground, from: &str, to: &str, flags: RenameFlags) -> rustix::io::Result<()> {
    renameat_with(CWD, ground.path(from), CWD, ground.path(to), flags)
}

#[test]
fn a_replaced_file_is_old_or_new_but_never_missing() {
    promise!("Rename is atomic");
    let ground = Ground::new();
    write(&ground, "f", "version 0");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut seen) = (0u32, 0u32);
            while !done.load(Ordering::Relaxed) {
                let text = read(&ground, "f");
                let version = text.strip_prefix("version ").and_then(|n| n.parse().ok()).expect("a whole version");
                assert!(version >= last, "{version} after {last}");
                last = version;
                seen += 1;
            }
            seen
        });
        for version in 1..=400 {
            write(&ground, "f.new", &format!("version {version}"));
            rename(&ground, "f.new", "f").expect("rename");
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader saw whole versions only") > 0);
    });
    assert_eq!(read(&ground, "f"), "version 400");
}

#[test]
fn a_file_moves_between_folders_with_all_it_has() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("a/b")).expect("mkdir");
    std::fs::create_dir(ground.path("c")).expect("mkdir");
    write(&ground, "a/b/f", "content");
    let before = std::fs::metadata(ground.path("a/b/f")).expect("stat");
    rename(&ground, "a/b/f", "c/g").expect("rename");
    let after = std::fs::metadata(ground.path("c/g")).expect("stat");
    assert_eq!((before.ino(), before.mtime_nsec(), before.mode()), (after.ino(), after.mtime_nsec(), after.mode()));
    assert_eq!(read(&ground, "c/g"), "content");
    assert_fails(std::fs::metadata(ground.path("a/b/f")), Errno::NOENT);
}

#[test]
fn a_folder_moves_with_everything_below() {
    let ground = Ground::new();
    ground.shell("mkdir -p from/x/y to; for i in $(seq 50); do echo $i > from/x/y/f$i; done; mv from/x to/moved");
    assert_eq!(ground.shell("cat to/moved/y/f7").trim(), "7");
    assert_eq!(ground.shell("find to -type f | wc -l").trim(), "50");
    let parent = std::fs::metadata(ground.path("to/moved/..")).expect("stat").ino();
    assert_eq!(parent, std::fs::metadata(ground.path("to")).expect("stat").ino());
}

#[test]
fn a_folder_never_moves_into_itself() {
    promise!("Rename is atomic");
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("d/e/f")).expect("mkdir");
    assert_fails(rename(&ground, "d", "d/e/g"), Errno::INVAL);
    assert_fails(rename(&ground, "d", "d/e/f/g"), Errno::INVAL);
    assert_eq!(ground.shell("find . -type d | wc -l").trim(), "4");
}

#[test]
fn a_folder_replaces_an_empty_folder_only() {
    promise!("Rename is atomic");
    let ground = Ground::new();
    for folder in ["from", "empty", "full"] {
        std::fs::create_dir(ground.path(folder)).expect("mkdir");
    }
    write(&ground, "full/f", "x");
    write(&ground, "file", "x");
    let outcome = rename(&ground, "from", "full");
    assert!(matches!(outcome.as_ref().map_err(|e| e.raw_os_error()), Err(Some(39 | 17))), "{outcome:?}");
    assert_fails(rename(&ground, "from", "file"), Errno::NOTDIR);
    assert_fails(rename(&ground, "file", "empty"), Errno::ISDIR);
    rename(&ground, "from", "empty").expect("rename");
    assert!(!ground.path("from").exists());
}

#[test]
fn two_names_of_one_file_both_stay() {
    let ground = Ground::new();
    write(&ground, "a", "x");
    std::fs::hard_link(ground.path("a"), ground.path("b")).expect("link");
    rename(&ground, "a", "b").expect("rename");
    assert!(ground.path("a").exists() && ground.path("b").exists());
}

#[test]
fn noreplace_keeps_what_is_there() {
    promise!("Rename is atomic");
    let ground = Ground::new();
    write(&ground, "a", "a");
    write(&ground, "b", "b");
    assert_fails(rename_with(&ground, "a", "b", RenameFlags::NOREPLACE), Errno::EXIST);
    assert_eq!((read(&ground, "a"), read(&ground, "b")), ("a".into(), "b".into()));
    rename_with(&ground, "a", "c", RenameFlags::NOREPLACE).expect("a free name");
    assert_eq!(read(&ground, "c"), "a");
}

#[test]
fn exchange_swaps_a_file_and_a_folder() {
    promise!("Rename is atomic");
    let ground = Ground::new();
    write(&ground, "file", "content");
    std::fs::create_dir_all(ground.path("folder/inner")).expect("mkdir");
    rename_with(&ground, "file", "folder/inner", RenameFlags::EXCHANGE).expect("exchange");
    assert_eq!(read(&ground, "folder/inner"), "content");
    assert!(ground.path("file").is_dir());
    assert_fails(rename_with(&ground, "file", "missing", RenameFlags::EXCHANGE), Errno::NOENT);
    assert_fails(rename_with(&ground, "folder", "folder/inner", RenameFlags::EXCHANGE), Errno::INVAL);
}

#[test]
fn whiteout_leaves_a_marker_for_overlays() {
    promise!("Rename is atomic");
    let ground = Ground::new();
    if !command::is_root() {
        skip!("only root may make the device that marks a whiteout");
    }
    write(&ground, "f", "x");
    rename_with(&ground, "f", "g", RenameFlags::WHITEOUT).expect("rename");
    let marker = std::fs::symlink_metadata(ground.path("f")).expect("stat");
    assert_eq!((marker.mode() & 0o170_000, marker.rdev()), (0o020_000, 0));
    assert_eq!(read(&ground, "g"), "x");
}

#[test]
fn an_open_handle_follows_its_file_and_outlives_its_replacement() {
    let ground = Ground::new();
    write(&ground, "a", "first");
    write(&ground, "b", "second");
    let mut replaced = File::open(ground.path("b")).expect("open");
    let mut moved = File::open(ground.path("a")).expect("open");
    rename(&ground, "a", "b").expect("rename");
    let mut text = String::new();
    replaced.read_to_string(&mut text).expect("read of a file without a name");
    moved.read_to_string(&mut text).expect("read of a file with another name");
    assert_eq!(text, "secondfirst");
    assert_eq!(replaced.metadata().expect("stat").nlink(), 0);
}

#[test]
fn the_ends_of_a_rename_have_to_exist() {
    let ground = Ground::new();
    write(&ground, "f", "x");
    assert_fails(rename(&ground, "missing", "g"), Errno::NOENT);
    assert_fails(rename(&ground, "f", "missing/g"), Errno::NOENT);
    assert_fails(rename(&ground, "f", "f/g"), Errno::NOTDIR);
    assert_eq!(read(&ground, "f"), "x");
}
