//! The harness cleans up after runs that no longer exist, and only after those.

use std::path::PathBuf;
use std::process::Command;

use cairn_fuse_tests::{Scratch, scratch};

#[test]
fn what_a_killed_run_left_is_removed_and_nothing_else() {
    let mut gone = Command::new("true").spawn().expect("a process");
    let pid = gone.id();
    gone.wait().expect("its end");
    let left_behind = std::env::temp_dir().join(format!("cairn-test-{pid}-left"));
    std::fs::create_dir_all(left_behind.join("home/Cairn")).expect("a directory as an earlier run would leave");
    let ours = Scratch::new();
    let foreign = PathBuf::from(ours.path()).join("cairn-test-1-foreign");
    std::fs::create_dir(&foreign).expect("a directory that only looks like one");

    scratch::sweep();

    assert!(!left_behind.exists());
    assert!(ours.path().exists() && foreign.exists());
}
