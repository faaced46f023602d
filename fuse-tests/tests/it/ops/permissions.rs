//! Who may do what, and the bits that a change takes away.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use cairn_fuse_tests::{Ground, command, promise, skip};

use super::as_nobody;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("stat").mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Runs as an ordinary user, or leaves the test saying why not.
macro_rules! nobody {
    ($ground:expr, $script:expr) => {
        match as_nobody(&$ground, $script) {
            Ok(mut command) => command::transcript(&command::run(&mut command)),
            Err(reason) => skip!("{reason}"),
        }
    };
}

#[test]
fn every_mode_is_kept() {
    promise!("Permissions");
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"").expect("write");
    for wanted in [0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o7777, 0o640] {
        chmod(&ground.path("f"), wanted);
        assert_eq!(mode(&ground.path("f")), wanted);
    }
}

#[test]
fn strangers_are_kept_out() {
    promise!("Permissions");
    let ground = Ground::new();
    ground.shell("umask 077; echo secret > f; mkdir closed; touch closed/inner; mkdir -m 755 open; touch open/f");
    let said = nobody!(ground, "cat f; ls closed; touch open/new; rm -f open/f; chmod 777 f; mv f g");
    assert_eq!(said.matches("Permission denied").count() + said.matches("not permitted").count(), 6, "{said}");
    assert!(!said.contains("secret"));
}

#[test]
fn a_sticky_folder_protects_the_files_of_others() {
    promise!("Permissions");
    let ground = Ground::new();
    ground.shell("mkdir -m 1777 tmp; touch tmp/mine; chmod 666 tmp/mine");
    let said = nobody!(ground, "touch tmp/theirs && rm tmp/theirs && rm -f tmp/mine; mv tmp/mine tmp/gone");
    assert_eq!(said.matches("not permitted").count(), 2, "{said}");
    assert!(ground.path("tmp/mine").exists());
}

#[test]
fn a_strangers_write_takes_the_special_bits_away() {
    promise!("Set-id bits don't survive others' writes");
    let ground = Ground::new();
    let path = ground.path("f");
    std::fs::write(&path, b"program").expect("write");
    chmod(&path, 0o6777);
    nobody!(ground, "echo more >> f");
    assert_eq!(mode(&path), 0o777, "after a write");
    chmod(&path, 0o6777);
    nobody!(ground, ": > f");
    assert_eq!(mode(&path), 0o777, "after a truncation");
}

#[test]
fn a_new_owner_loses_the_special_bits() {
    promise!("Set-id bits don't survive others' writes");
    let ground = Ground::new();
    if !command::is_root() {
        skip!("only root may give files away");
    }
    let path = ground.path("f");
    std::fs::write(&path, b"program").expect("write");
    chmod(&path, 0o6755);
    chown(&path, Some(1234), Some(4321)).expect("chown");
    let meta = std::fs::metadata(&path).expect("stat");
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1234, 4321, 0o755));
    chown(&path, None, Some(77)).expect("chown of the group");
    assert_eq!(std::fs::metadata(&path).expect("stat").uid(), 1234);
}

#[test]
fn an_ordinary_users_files_are_theirs() {
    let ground = Ground::new();
    chmod(&ground, 0o777);
    let said = nobody!(
        ground,
        "umask 022; mkdir d && echo x > d/f && chmod 600 d/f && ln d/f d/g && cat d/g && rm -r d && echo done > f"
    );
    assert!(said.contains("x\n"), "{said}");
    let meta = std::fs::metadata(ground.path("f")).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!((meta.uid(), meta.gid()), (super::NOBODY, super::NOBODY));
}
