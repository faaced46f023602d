//! put, get, ls, cat: what goes in comes out, in every respect.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::home::Home;

fn shell(directory: &Path, script: &str) {
    let status = Command::new("bash").args(["-euc", script]).current_dir(directory).status().expect("bash runs");
    assert!(status.success(), "{script}");
}

/// Everything about a tree that `tar` and `stat` can tell, and every byte.
fn listing(directory: &Path) -> String {
    let script = "find . -printf '%P %y %m %n %s %T@ %l\\n' | sort; find . -type f -exec cksum {} + | sort; getfattr -Rdm- . 2>/dev/null || true";
    let output = Command::new("bash").args(["-euc", script]).current_dir(directory).output().expect("bash runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_tree_survives_put_and_get_in_every_respect() {
    let home = Home::new();
    fs::create_dir(home.join("in")).expect("mkdir");
    shell(
        &home.join("in"),
        "mkdir -p a/b empty; echo x > a/f; ln a/f a/b/hard; ln a/f zlast; ln -s f a/soft; mkfifo a/p
         truncate -s 20M a/sparse; echo y >> a/sparse; truncate -s 30M a/sparse; chmod 2750 a/b; chmod 4711 zlast
         head -c 3M /dev/urandom > large; head -c 2500 /dev/urandom > middle; : > nothing
         touch -d '2003-03-03 03:03:03.333333333' a/f; touch -d '1999-01-01 00:00:00.5' empty a/b; ln -s /nowhere/at/all dangling",
    );
    home.say(&["put", "in", "/"]);
    home.say(&["get", "/in", "out"]);
    assert_eq!(listing(&home.join("in")), listing(&home.join("out")));
    let sparse = fs::metadata(home.join("out/a/sparse")).expect("there");
    assert!(sparse.len() > 30 << 20 || sparse.len() == 30 << 20);
    assert!(sparse.blocks() * 512 < 1 << 20, "{} bytes were allocated for a hole", sparse.blocks() * 512);
    // Again replaces; nothing is left of the replacing.
    home.say(&["put", "in", "/"]);
    home.say(&["get", "/in", "out"]);
    assert_eq!(listing(&home.join("in")), listing(&home.join("out").join("in")));
    assert!(home.say(&["ls", "-R"]).lines().all(|line| !line.contains(".put-")));
}

#[test]
fn a_path_that_is_not_utf8_works_everywhere() {
    let home = Home::new();
    let name = OsStr::from_bytes(b"b\xff\xfeytes \x1b[2J");
    fs::write(home.join(name), "not text").expect("write");
    let target = OsStr::from_bytes(b"/in\xff");
    home.say(&[OsStr::new("put"), name, target]);
    home.say(&[OsStr::new("put"), name, OsStr::new("/")]);
    assert_eq!(home.say(&[OsStr::new("cat"), target]), "not text");
    home.say(&[OsStr::new("get"), target, OsStr::new("out")]);
    assert_eq!(fs::read(home.join("out")).expect("there"), b"not text");
    let listed = home.run(&["ls"]);
    assert!(listed.stdout.split(|byte| *byte == b'\n').any(|line| line == name.as_bytes()));
    let entries = home.json(&["ls"]);
    assert!(entries.iter().any(|entry| entry["path"]["hex"] == "696eff"), "{entries:?}");
    assert!(!home.say(&["ls", "-l"]).contains('\u{1b}'), "a name drives the terminal");
}

#[test]
fn sources_and_targets_mean_what_cp_means() {
    let home = Home::new();
    home.write("a", "a");
    home.write("b", "b");
    home.say(&["put", "a", "/new"]);
    home.say(&["put", "a", "b", "/dir"]);
    home.say(&["put", "a", "/deep/er/"]);
    assert_eq!(home.say(&["cat", "/new", "/dir/a", "/dir/b", "/deep/er/a"]), "aaba");
    home.say(&["get", "/dir/a", "copy"]);
    fs::create_dir(home.join("into")).expect("mkdir");
    home.say(&["get", "/dir", "/new", "into"]);
    assert_eq!(fs::read_to_string(home.join("into/dir/b")).expect("there"), "b");
    assert_eq!(fs::read_to_string(home.join("into/new")).expect("there"), "a");
    home.say(&["get", "/", "whole"]);
    assert_eq!(fs::read_to_string(home.join("whole/deep/er/a")).expect("there"), "a");
}

#[test]
fn what_can_not_be_copied_is_named_and_the_rest_is() {
    let home = Home::new();
    home.write("in/good", "x");
    home.say(&["ls"]);
    let partly = home.run(&["put", "in", "missing", "/both/"]);
    crate::home::assert_refused(&partly, 1, &["missing"]);
    assert_eq!(home.say(&["cat", "/both/in/good"]), "x");
    // The store isn't copied into itself.
    let whole = home.run(&["put", ".", "/home"]);
    crate::home::assert_refused(&whole, 1, &["left out"]);
    assert_eq!(home.say(&["cat", "/home/in/good"]), "x");
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    let home = Home::new();
    home.write("d/f", "x");
    home.say(&["put", "d", "/"]);
    fs::create_dir(home.join("into")).expect("mkdir");
    fs::create_dir(home.join("elsewhere")).expect("mkdir");
    std::os::unix::fs::symlink(home.join("elsewhere"), home.join("into/d")).expect("symlink");
    crate::home::assert_refused(&home.run(&["get", "/d", "into"]), 1, &["into/d"]);
    assert_eq!(fs::read_dir(home.join("elsewhere")).expect("listed").count(), 0);
    // A file goes over a link, not through it.
    home.write("victim", "kept");
    std::os::unix::fs::symlink(home.join("victim"), home.join("into/f")).expect("symlink");
    home.say(&["get", "/d/f", "into"]);
    assert_eq!(fs::read_to_string(home.join("victim")).expect("there"), "kept");
    assert_eq!(fs::read_to_string(home.join("into/f")).expect("there"), "x");
}

#[test]
fn put_is_seen_through_the_mount_at_once() {
    let home = Home::new();
    home.say(&["up", "--detach"]);
    let seen = home.join("Cairn/d/f");
    fs::create_dir(home.join("Cairn/d")).expect("mkdir");
    assert!(!seen.exists(), "and the kernel remembers that");
    home.write("f", "one");
    home.say(&["put", "f", "/d/f"]);
    assert_eq!(fs::read_to_string(&seen).expect("seen"), "one");
    home.write("f", "another");
    home.say(&["put", "f", "/d/f"]);
    assert_eq!(fs::read_to_string(&seen).expect("seen"), "another");
    home.say(&["put", "f", "/d/g"]);
    assert_eq!(fs::read_dir(home.join("Cairn/d")).expect("listed").count(), 2);
    // A path of this machine below the mount is one of the volume.
    assert_eq!(home.say(&["cat", seen.to_str().expect("text")]), "another");
    let below = home.command(&["cat", "f"]).current_dir(home.join("Cairn/d")).output().expect("it runs");
    assert_eq!(below.stdout, b"another");
}

#[test]
fn a_copy_does_not_go_into_itself_however_the_path_is_written() {
    let home = Home::new();
    home.write("tree/f", "x");
    home.say(&["up", "--detach", "--at", "tree/Cairn"]);
    std::os::unix::fs::symlink(home.join("tree"), home.join("link")).expect("symlink");
    for (source, target) in [("tree/../tree", "/one"), ("link", "/two")] {
        let output = home.run(&["put", source, target]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("left out"), "{source}: {said}");
        assert_eq!(home.say(&["ls", target]), "f\n");
    }
    // A folder of the volume into one below it.
    home.write("g", "y");
    home.say(&["put", "g", "/a/"]);
    let output = home.run(&["put", "tree/Cairn/a", "/a/b/"]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(home.say(&["ls", "/a/b/a"]), "g\n");
    // Nor the store.
    let store = home.data().join("own");
    let output = home.run(&["put", store.to_str().expect("text"), "/three"]);
    assert!(!output.status.success() && home.run(&["ls", "/three"]).stdout.is_empty());
}

#[test]
fn the_way_to_a_mount_may_lead_through_links() {
    let home = Home::new();
    fs::create_dir(home.join("real")).expect("mkdir");
    std::os::unix::fs::symlink("real", home.join("link")).expect("symlink");
    home.say(&["up", "--detach", "--at", "link/Cairn"]);
    home.write("f", "x");
    home.say(&["put", "f", "link/Cairn/d/f"]);
    assert_eq!(fs::read_to_string(home.join("real/Cairn/d/f")).expect("there"), "x");
    assert_eq!(home.say(&["cat", "link/Cairn/d/f"]), "x");
    std::os::unix::fs::symlink("real/Cairn", home.join("Mount")).expect("symlink");
    assert_eq!(home.say(&["cat", "Mount/d/f"]), "x");
    home.say(&["umount", "Mount"]);
    assert_eq!(fs::read_dir(home.join("real/Cairn")).expect("listed").count(), 0);
}

#[test]
fn links_replace_what_has_their_name() {
    let home = Home::new();
    home.write("old/a", "1");
    home.write("old/b", "2");
    home.say(&["put", "old", "/d"]);
    shell(home.path(), "mkdir new; head -c 3M /dev/urandom > new/a; ln new/a new/b; ln new/a new/c; mv new d");
    home.say(&["put", "d", "/"]);
    home.say(&["get", "/d", "out"]);
    assert_eq!(listing(&home.join("d")), listing(&home.join("out")));
    assert!(home.say(&["ls", "-R"]).lines().all(|line| !line.contains(".put-")));
}

#[test]
fn modes_are_shown_as_ls_shows_them() {
    let home = Home::new();
    let file = home.write("f", "four");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("chmod");
    home.say(&["put", "f", "/f"]);
    let long = home.say(&["ls", "-l"]);
    assert!(long.starts_with("-rw-r-----") && long.trim_end().ends_with(" f"), "{long}");
}
