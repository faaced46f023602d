//! Extended attributes.

use std::collections::BTreeSet;
use std::path::Path;

use cairn_fuse_tests::{Ground, Random, command, promise, skip};
use rustix::fs::{XattrFlags, getxattr, getxattr_query, lgetxattr, listxattr, lsetxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::assert_fails;

const ANY: XattrFlags = XattrFlags::empty();

fn get(path: &Path, name: &str) -> rustix::io::Result<Vec<u8>> {
    let mut value = vec![0; 70_000];
    let len = getxattr(path, name, &mut value)?;
    value.truncate(len);
    Ok(value)
}

fn names(path: &Path) -> BTreeSet<String> {
    let mut list = vec![0; 70_000];
    let len = listxattr(path, &mut list).expect("list");
    let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).filter(|name| name.starts_with("user.")).collect()
}

fn file(ground: &Ground) -> std::path::PathBuf {
    let path = ground.path("f");
    std::fs::write(&path, b"").expect("write");
    path
}

#[test]
fn a_value_is_kept_changed_and_removed() {
    promise!("Extended attributes");
    let ground = Ground::new();
    for path in [file(&ground), ground.to_path_buf()] {
        setxattr(&path, "user.a", b"1", ANY).expect("set");
        setxattr(&path, "user.b", b"", ANY).expect("set of nothing");
        setxattr(&path, "user.a", b"\x00\xff longer", ANY).expect("replace");
        assert_eq!(get(&path, "user.a").expect("get"), b"\x00\xff longer");
        assert_eq!(get(&path, "user.b").expect("get"), b"");
        assert_eq!(names(&path), BTreeSet::from(["user.a".to_owned(), "user.b".to_owned()]));
        removexattr(&path, "user.a").expect("remove");
        assert_fails(get(&path, "user.a"), Errno::NODATA);
        assert_fails(removexattr(&path, "user.a"), Errno::NODATA);
    }
}

#[test]
fn create_and_replace_mean_what_they_say() {
    let ground = Ground::new();
    let path = file(&ground);
    assert_fails(setxattr(&path, "user.a", b"1", XattrFlags::REPLACE), Errno::NODATA);
    setxattr(&path, "user.a", b"1", XattrFlags::CREATE).expect("create");
    assert_fails(setxattr(&path, "user.a", b"2", XattrFlags::CREATE), Errno::EXIST);
    setxattr(&path, "user.a", b"3", XattrFlags::REPLACE).expect("replace");
    assert_eq!(get(&path, "user.a").expect("get"), b"3");
}

#[test]
fn a_buffer_that_is_too_small_is_told_so() {
    let ground = Ground::new();
    let path = file(&ground);
    setxattr(&path, "user.a", &[7; 100], ANY).expect("set");
    assert_fails(getxattr(&path, "user.a", &mut [0; 99][..]), Errno::RANGE);
    assert_eq!(getxattr_query(&path, "user.a"), Ok(100));
    assert_fails(listxattr(&path, &mut [0; 3][..]), Errno::RANGE);
}

#[test]
fn the_largest_value_fits_and_a_larger_one_is_refused() {
    promise!("Extended attributes");
    let ground = Ground::new();
    if !Ground::is_ours() {
        skip!("other filesystems have other limits");
    }
    let path = file(&ground);
    let largest = Random::new(1).bytes(65_536);
    setxattr(&path, "user.large", &largest, ANY).expect("64 KiB");
    assert!(get(&path, "user.large").expect("get") == largest);
    assert!(setxattr(&path, "user.larger", &[0; 65_537], ANY).is_err());
    assert!(setxattr(&path, format!("user.{}", "n".repeat(251)).as_str(), b"x", ANY).is_err());
    let longest = format!("user.{}", "n".repeat(250));
    setxattr(&path, longest.as_str(), b"x", ANY).expect("a name of 255 bytes");
}

#[test]
fn many_attributes_of_one_file_are_all_there() {
    let ground = Ground::new();
    let path = file(&ground);
    for i in 0..40 {
        setxattr(&path, format!("user.n{i}").as_str(), &[i; 40], ANY).expect("set");
    }
    assert_eq!(names(&path).len(), 40);
    assert!((0..40).all(|i| get(&path, &format!("user.n{i}")) == Ok(vec![i; 40])));
}

#[test]
fn attributes_follow_renames_and_hard_links() {
    promise!("Extended attributes");
    let ground = Ground::new();
    let path = file(&ground);
    setxattr(&path, "user.a", b"kept", ANY).expect("set");
    std::fs::rename(&path, ground.path("g")).expect("rename");
    std::fs::hard_link(ground.path("g"), ground.path("h")).expect("link");
    assert_eq!(get(&ground.path("h"), "user.a").expect("get"), b"kept");
}

#[test]
fn symbolic_links_and_pipes_take_no_user_attributes() {
    promise!("Extended attributes");
    let ground = Ground::new();
    ground.shell("ln -s nowhere s; mkfifo p");
    assert_fails(lsetxattr(ground.path("s"), "user.a", b"1", ANY), Errno::PERM);
    assert_fails(setxattr(ground.path("p"), "user.a", b"1", ANY), Errno::PERM);
    assert!(lgetxattr(ground.path("s"), "user.a", &mut [0; 9][..]).is_err());
}

#[test]
fn the_namespaces_are_apart() {
    promise!("Extended attributes");
    let ground = Ground::new();
    let path = file(&ground);
    if !command::is_root() {
        skip!("only root may use trusted and security attributes");
    }
    setxattr(&path, "trusted.a", b"t", ANY).expect("trusted");
    setxattr(&path, "user.a", b"u", ANY).expect("user");
    assert_eq!((get(&path, "trusted.a"), get(&path, "user.a")), (Ok(b"t".to_vec()), Ok(b"u".to_vec())));
    assert_fails(setxattr(&path, "unknown.a", b"x", ANY), Errno::OPNOTSUPP);
}
