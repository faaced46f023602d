//! symlink(2) and readlink(2).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};

use cairn_fuse_tests::{Ground, promise};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn a_target_is_kept_byte_for_byte() {
    promise!("Symbolic links");
    let ground = Ground::new();
    let targets: [&[u8]; 5] = [b"x", b"../a b/./c//", b"/absolute", b"\xff\xfe not text \n", &[b'y'; 4_095]];
    for (i, target) in targets.iter().enumerate() {
        let path = ground.path(&format!("s{i}"));
        symlink(OsString::from_vec(target.to_vec()), &path).expect("symlink");
        assert_eq!(std::fs::read_link(&path).expect("readlink").as_os_str().as_bytes(), *target);
        let meta = std::fs::symlink_metadata(&path).expect("lstat");
        assert_eq!((meta.len(), meta.mode() & 0o7777), (target.len() as u64, 0o777));
    }
}

#[test]
fn a_link_is_followed_to_files_and_folders_and_outside() {
    let ground = Ground::new();
    ground.shell("mkdir d; echo inner > d/f; ln -s d/f s; ln -s d sd; ln -s /etc/hostname out; ln -s s s2");
    assert_eq!(ground.shell("cat s s2 sd/f"), "inner\ninner\ninner\n");
    assert!(ground.path("out").exists());
}

#[test]
fn loops_and_dangling_links_end_in_an_error() {
    let ground = Ground::new();
    symlink("b", ground.path("a")).expect("symlink");
    symlink("a", ground.path("b")).expect("symlink");
    symlink("nowhere", ground.path("c")).expect("symlink");
    assert_fails(std::fs::read(ground.path("a")), Errno::LOOP);
    assert_fails(std::fs::read(ground.path("c")), Errno::NOENT);
    std::fs::write(ground.path("c"), b"made through the link").expect("write");
    assert!(ground.path("nowhere").is_file());
}

#[test]
fn the_owner_and_times_are_those_of_the_link() {
    let ground = Ground::new();
    ground.shell("touch f; ln -s f s; touch -h -d 2002-03-04T05:06:07 s");
    let seconds = |meta: std::io::Result<std::fs::Metadata>| meta.expect("stat").mtime();
    assert_eq!(seconds(std::fs::symlink_metadata(ground.path("s"))), 1_015_218_367);
    assert_ne!(seconds(std::fs::metadata(ground.path("f"))), 1_015_218_367);
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    promise!("Symbolic links");
    let ground = Ground::new();
    let target = OsString::from_vec(vec![b'x'; 4_096]);
    assert_fails(symlink(target, ground.path("s")), Errno::NAMETOOLONG);
    assert_fails(std::fs::read_link(&*ground), Errno::INVAL);
}
