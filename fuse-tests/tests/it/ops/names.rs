//! Names are bytes.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use cairn_fuse_tests::{Ground, promise};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn a_name_of_any_bytes_is_kept() {
    promise!("Names are bytes");
    let ground = Ground::new();
    let names: Vec<Vec<u8>> = vec![
        b"\xff\xfe\x80".to_vec(),
        b"caf\xc3\xa9".to_vec(),
        b"cafe\xcc\x81".to_vec(),
        b" leading and trailing ".to_vec(),
        b"new\nline\ttab\x01\x7f".to_vec(),
        b"-rf".to_vec(),
        b"\\*?\"'$`".to_vec(),
        b"...".to_vec(),
        "石の山".as_bytes().to_vec(),
        (1..=255).filter(|byte| *byte != b'/').collect::<Vec<u8>>(),
    ];
    for name in &names {
        let path = ground.join(OsString::from_vec(name.clone()));
        std::fs::write(&path, name).expect("write");
        assert_eq!(&std::fs::read(&path).expect("read"), name);
    }
    let mut listed: Vec<_> = std::fs::read_dir(&*ground)
        .expect("list")
        .map(|entry| entry.expect("an entry").file_name().as_bytes().to_vec())
        .collect();
    let mut expected = names;
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[test]
fn upper_and_lower_case_are_apart() {
    promise!("Names are bytes");
    let ground = Ground::new();
    for name in ["readme", "README", "Readme"] {
        std::fs::write(ground.path(name), name).expect("write");
    }
    assert_eq!(std::fs::read_to_string(ground.path("Readme")).expect("read"), "Readme");
    assert_eq!(std::fs::read_dir(&*ground).expect("list").count(), 3);
}

#[test]
fn a_name_has_at_most_255_bytes() {
    promise!("Names are bytes");
    let ground = Ground::new();
    let longest = "n".repeat(255);
    File::create(ground.path(&longest)).expect("255 bytes");
    std::fs::rename(ground.path(&longest), ground.path(&"m".repeat(255))).expect("rename");
    let longer = "n".repeat(256);
    assert_fails(File::create(ground.path(&longer)), Errno::NAMETOOLONG);
    assert_fails(std::fs::create_dir(ground.path(&longer)), Errno::NAMETOOLONG);
    assert_fails(std::fs::rename(ground.path(&"m".repeat(255)), ground.path(&longer)), Errno::NAMETOOLONG);
    assert_fails(std::fs::metadata(ground.path(&longer)), Errno::NAMETOOLONG);
    assert_fails(std::os::unix::fs::symlink("x", ground.path(&longer)), Errno::NAMETOOLONG);
}
