//! link(2): several names of one file.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use cairn_fuse_tests::{Ground, promise};
use rustix::io::Errno;

use super::assert_fails;

fn links(ground: &Ground, name: &str) -> u64 {
    std::fs::symlink_metadata(ground.path(name)).expect("stat").nlink()
}

#[test]
fn all_names_show_the_same_file() {
    promise!("Hard links");
    let ground = Ground::new();
    std::fs::create_dir(ground.path("d")).expect("mkdir");
    std::fs::write(ground.path("a"), b"one").expect("write");
    std::fs::hard_link(ground.path("a"), ground.path("d/b")).expect("link");
    std::fs::hard_link(ground.path("d/b"), ground.path("c")).expect("link");
    OpenOptions::new().append(true).open(ground.path("d/b")).expect("open").write_all(b" two").expect("append");
    for name in ["a", "d/b", "c"] {
        assert_eq!(std::fs::read(ground.path(name)).expect("read"), b"one two");
        assert_eq!(links(&ground, name), 3);
    }
    let ino = |name| std::fs::metadata(ground.path(name)).expect("stat").ino();
    assert!(ino("a") == ino("d/b") && ino("a") == ino("c"));
}

#[test]
fn a_file_lives_until_its_last_name_is_gone() {
    let ground = Ground::new();
    std::fs::write(ground.path("a"), vec![5; 300_000]).expect("write");
    std::fs::hard_link(ground.path("a"), ground.path("b")).expect("link");
    std::fs::remove_file(ground.path("a")).expect("remove");
    assert_eq!(links(&ground, "b"), 1);
    assert!(std::fs::read(ground.path("b")).expect("read") == vec![5; 300_000]);
}

#[test]
fn mode_and_times_are_shared_by_all_names() {
    promise!("Hard links");
    let ground = Ground::new();
    ground.shell("touch a; ln a b; chmod 601 b; touch -d 2001-02-03T04:05:06 b");
    let meta = std::fs::metadata(ground.path("a")).expect("stat");
    assert_eq!((meta.mode() & 0o777, meta.mtime()), (0o601, 981_173_106));
}

#[test]
fn folders_have_one_name_and_taken_names_stay() {
    promise!("Hard links");
    let ground = Ground::new();
    std::fs::create_dir(ground.path("d")).expect("mkdir");
    std::fs::write(ground.path("a"), b"a").expect("write");
    std::fs::write(ground.path("b"), b"b").expect("write");
    let link = |from, to| std::fs::hard_link(ground.path(from), ground.path(to));
    assert_fails(link("d", "e"), Errno::PERM);
    assert_fails(link("a", "b"), Errno::EXIST);
    assert_fails(link("missing", "c"), Errno::NOENT);
}

#[test]
fn a_symbolic_link_and_a_pipe_can_have_two_names() {
    promise!("Hard links");
    let ground = Ground::new();
    ground.shell("ln -s target s; ln -P s s2; mkfifo p; ln p p2");
    assert_eq!((links(&ground, "s"), links(&ground, "p2")), (2, 2));
    assert_eq!(std::fs::read_link(ground.path("s2")).expect("readlink"), std::path::Path::new("target"));
}

#[test]
fn a_thousand_names_are_counted() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"x").expect("write");
    for i in 0..1_000 {
        std::fs::hard_link(ground.path("f"), ground.path(&format!("n{i}"))).expect("link");
    }
    assert_eq!(links(&ground, "f"), 1_001);
    ground.shell("rm n*");
    assert_eq!(links(&ground, "f"), 1);
}
