//! Bad input gets a clear error, a hint, a documented exit code, and loses nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::home::{Home, assert_refused};

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
    let home = Home::new();
    home.say(&["ls"]);
    home.say(&["down"]);
    let key = home.data().join("node.key");
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("chmod");
        assert_refused(&home.run(&["ls"]), 77, &["node.key", "chmod 600"]);
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("chmod");
    home.say(&["ls"]);
}

#[test]
fn a_store_of_a_newer_version_is_named_as_such() {
    let home = Home::new();
    home.say(&["ls"]);
    home.say(&["down"]);
    let key = home.data().join("node.key");
    let good = fs::read_to_string(&key).expect("readable");
    fs::write(&key, good.replace("\"cairn_node_key\":1", "\"cairn_node_key\":2")).expect("write");
    assert_refused(&home.run(&["ls"]), 76, &["version 2"]);
    fs::write(&key, good).expect("write");
    let volumes = home.data().join("volumes");
    let mut bytes = fs::read(&volumes).expect("readable");
    bytes[0] = 9;
    fs::write(&volumes, &bytes).expect("write");
    assert_refused(&home.run(&["ls"]), 76, &["version 9"]);
}

#[test]
fn a_store_without_its_key_is_not_taken_for_a_first_use() {
    let home = Home::new();
    home.say(&["ls"]);
    home.say(&["down"]);
    fs::remove_file(home.data().join("node.key")).expect("removed");
    assert_refused(&home.run(&["ls"]), 77, &["key restore"]);
    assert!(!home.data().join("node.key").exists(), "a new key was made over an old store");
}

#[test]
fn a_typo_in_the_configuration_is_refused_with_the_nearest_key() {
    let home = Home::new();
    home.write(".config/cairn/config.toml", "# mine\nvolum = \"x\"\n");
    assert_refused(&home.run(&["ls"]), 78, &["config.toml:2", "`volum`", "`volume`"]);
    home.write(".config/cairn/config.toml", "workers = \"many\"\n");
    assert_refused(&home.run(&["ls"]), 78, &["workers", "many", "1 to 64"]);
    home.write(".config/cairn/config.toml", "workers = = 3\n");
    assert_refused(&home.run(&["ls"]), 78, &["config.toml:1"]);
    assert!(!home.data().exists(), "a refused command made a node");
    home.say(&["version"]);
}

#[test]
fn an_unfit_mount_point_is_refused_and_left_alone() {
    let home = Home::new();
    home.write("full/precious", "x");
    home.write("file", "x");
    let inside = home.data().join("own/here");
    let refuse = |place: &std::path::Path, words: &[&str]| {
        assert_refused(&home.run(&["mount".as_ref(), place.as_os_str()]), 73, words);
    };
    refuse(&home.join("full"), &["not empty"]);
    refuse(&home.join("file"), &["not a directory"]);
    home.say(&["ls"]);
    refuse(&inside, &["store"]);
    assert!(!inside.exists(), "a directory was made in the store");
    assert_refused(&home.run(&["mount", "missing/below"]), 66, &["missing"]);
    assert_eq!(fs::read_to_string(home.join("full/precious")).expect("it is left"), "x");
    assert_refused(&home.run(&["mount", "Bad Name", "Cairn"]), 64, &["Bad Name"]);
    assert_refused(&home.run(&["umount", "nothing"]), 66, &["nothing"]);
}

#[test]
fn paths_and_snapshots_that_are_not_there_are_named() {
    let home = Home::new();
    assert_refused(&home.run(&["cat", "/nope"]), 66, &["/nope"]);
    assert_refused(&home.run(&["ls", "/@nope"]), 66, &["nope", "cairn history"]);
    assert_refused(&home.run(&["ls", "--volume", "nope"]), 66, &["nope"]);
    assert_refused(&home.run(&["get", "/", "no/where/x"]), 66, &["no/where"]);
    assert_refused(&home.run(&["nonsense"]), 64, &["nonsense"]);
    assert_refused(&home.run(&["put", "missing", "/x"]), 1, &["missing"]);
    assert_refused(&home.run(&["cat", "/"]), 73, &["directory"]);
    assert_refused(&home.run(&["debug", "show", "nonsense"]), 64, &["nonsense"]);
}

#[test]
fn mounts_helper_refuses_what_it_does_not_know() {
    let home = Home::new();
    let helper = home.join("mount.fuse.cairn");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cairn"), &helper).expect("symlink");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&helper);
        command.args(arguments).current_dir(home.path()).env_clear().env("HOME", home.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).output().expect("it runs")
    };
    assert_refused(&run(&["main", "m", "-o", "rw,frobnicate"]), 64, &["frobnicate"]);
    assert_refused(&run(&["main"]), 64, &[]);
    fs::create_dir(home.join("m")).expect("mkdir");
    let mounted = run(&["main", "m", "-o", "rw,nofail,x-systemd.automount"]);
    assert!(mounted.status.success(), "{}", crate::home::transcript(&mounted));
    fs::write(home.join("m/f"), "x").expect("it returned when the mount was there");
    home.say(&["umount", "m"]);
}
