//! Bad input gets a clear error, a hint, a documented exit code, and loses nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, Random, command, promise, skip};

/// Exit codes, as `cairn exit-codes` lists them.
const REFUSED: i32 = 73;
const BUSY: i32 = 75;
const NEWER_VERSION: i32 = 76;
const DENIED: i32 = 77;
const CONFIG: i32 = 78;

/// A refusal: this code, each of these words on standard error, and no panic.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let transcript = command::transcript(output);
    assert_eq!(output.status.code(), Some(code), "{transcript}");
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    for word in words {
        assert!(said.contains(&word.to_lowercase()), "`{word}` is not said\n{transcript}");
    }
    assert!(!said.contains("panicked"), "{transcript}");
}

fn passphrase_file(node: &Node, name: &str, passphrase: &str) -> String {
    let path = node.outside().join(name);
    std::fs::write(&path, format!("{passphrase}\n")).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    path.display().to_string()
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_breaks_nothing() {
    let mut node = Node::start();
    std::fs::write(node.mount().join("f"), b"kept").expect("write");
    let (right, wrong) = (passphrase_file(&node, "right", "correct horse"), passphrase_file(&node, "wrong", "battery"));
    node.say(&["key", "passphrase", "set", "--new-passphrase-file", &right]);
    node.down();
    assert_refused(&node.ask(&["ls", "--passphrase-file", &wrong]), DENIED, &["passphrase"]);
    assert_refused(&node.ask(&["ls"]), DENIED, &["passphrase"]);
    node.say(&["ls", "--passphrase-file", &right]);
    assert_eq!(node.say(&["cat", "/f"]), "kept");
    node.say(&["down"]);
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let mut node = Node::start();
    node.down();
    let key = node.data().join("node.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert_refused(&node.ask(&["up"]), DENIED, &["node.key", "chmod"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    node.up();
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let mut node = Node::start();
    std::fs::write(node.mount().join("f"), b"kept").expect("write");
    node.down();
    let format = node.data().join("own/format");
    let original = std::fs::read(&format).expect("the format file");
    let newer = as_newer_version(&original);
    std::fs::write(&format, &newer).expect("write");
    let listing = || command::shell(&node.data(), "find own -type f -exec cksum {} + | sort");
    let before = listing();
    assert_refused(&node.ask(&["up"]), NEWER_VERSION, &["newer"]);
    assert_eq!(listing(), before, "a store of a newer version was changed");
    std::fs::write(&format, &original).expect("write");
    node.up();
    assert_eq!(std::fs::read(node.mount().join("f")).expect("read"), b"kept");
}

/// Raises the version behind the magic and mends the check sum at the end, as a newer release would write it.
fn as_newer_version(format: &[u8]) -> Vec<u8> {
    let mut newer = format.to_vec();
    newer[8] = newer[8].wrapping_add(1);
    let end = newer.len() - 4;
    let sum = crc32c(&newer[..end]);
    newer[end..].copy_from_slice(&sum.to_le_bytes());
    newer
}

/// CRC-32C, bit by bit: a second opinion, not a fast one.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[test]
fn two_nodes_never_share_a_store() {
    let node = Node::start();
    let other = node.outside().join("elsewhere");
    std::fs::create_dir(&other).expect("mkdir");
    // The same data directory under another home: its own socket, the same store.
    let mut second = node.cairn(&["daemon"]);
    second.env("XDG_STATE_HOME", &other).env("XDG_RUNTIME_DIR", &other);
    let output = command::run(&mut second);
    assert_eq!(output.status.code(), Some(BUSY), "{}", command::transcript(&output));
    std::fs::write(node.mount().join("f"), b"the first goes on").expect("write");
}

#[test]
fn an_unfit_mount_point_is_refused() {
    promise!("Unmounting always works");
    let node = Node::start();
    let full = node.outside().join("full");
    std::fs::create_dir(&full).expect("mkdir");
    std::fs::write(full.join("precious"), b"x").expect("write");
    let file = node.outside().join("file");
    std::fs::write(&file, b"x").expect("write");
    let inside = node.data().join("own/here");
    let refuse = |place: &Path, words: &[&str]| {
        let output = node.ask(&["mount", "other", &place.display().to_string()]);
        assert_refused(&output, REFUSED, words);
    };
    refuse(&full, &["empty"]);
    refuse(&file, &[]);
    refuse(&inside, &["store"]);
    refuse(&node.mount().join("below"), &[]);
    assert_eq!(std::fs::read(full.join("precious")).expect("read"), b"x");
}

#[test]
fn a_typo_in_the_configuration_is_refused_with_the_nearest_key() {
    let node = Node::prepare(Setup::default());
    let folder = node.home().join("config/cairn");
    std::fs::create_dir_all(&folder).expect("mkdir");
    std::fs::write(folder.join("config.toml"), "qouta = \"10G\"\n").expect("write");
    assert_refused(&node.ask(&["up"]), CONFIG, &["qouta", "quota"]);
    std::fs::write(folder.join("config.toml"), "workers = \"many\"\n").expect("write");
    assert_refused(&node.ask(&["up"]), CONFIG, &["workers"]);
    assert!(!node.data().exists(), "a refused start made a store");
}

#[test]
fn a_path_that_is_not_utf8_works_everywhere() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let node = Node::start();
    let name = OsStr::from_bytes(b"b\xff\xfeytes");
    std::fs::write(node.outside().join(name), b"not text").expect("write");
    command::succeed(node.cairn(&["put"]).arg(node.outside().join(name)).arg(OsStr::from_bytes(b"/in\xff")));
    assert_eq!(std::fs::read(node.mount().join(OsStr::from_bytes(b"in\xff"))).expect("read"), b"not text");
    command::succeed(node.cairn(&["get"]).arg(OsStr::from_bytes(b"/in\xff")).arg(node.outside().join("out")));
    assert_eq!(std::fs::read(node.outside().join("out")).expect("read"), b"not text");
    node.say(&["ls", "-l"]);
    node.json(&["status"]);
}

#[test]
fn a_full_store_says_so_and_still_deletes() {
    promise!("Space is told truthfully");
    let node = Node::start_with(Setup { environment: vec![("CAIRN_QUOTA".into(), "64M".into())], ..Setup::default() });
    std::fs::write(node.mount().join("before"), b"kept").expect("write");
    let mut random = Random::new(4);
    let refusal = (0..200).find_map(|i| {
        let path = node.mount().join(format!("f{i}"));
        let written =
            std::fs::write(&path, random.bytes(1 << 20)).and_then(|()| std::fs::File::open(&path)?.sync_all());
        written.err()
    });
    let refusal = refusal.expect("200 MiB don't fit into a store of 64 MiB");
    assert_eq!(refusal.kind(), std::io::ErrorKind::StorageFull, "{refusal}");
    assert_eq!(std::fs::read(node.mount().join("before")).expect("read"), b"kept");
    for entry in std::fs::read_dir(node.mount()).expect("list").flatten() {
        if entry.file_name().to_string_lossy().starts_with('f') {
            std::fs::remove_file(entry.path()).expect("deleting works on a full store");
        }
    }
    assert_eq!(std::fs::read(node.mount().join("before")).expect("read"), b"kept");
}

#[test]
fn a_full_disk_reaches_the_program_and_passes() {
    promise!("Space is told truthfully");
    if !command::is_root() {
        skip!("only root may mount a small disk to fill");
    }
    let node = Node::prepare(Setup::default());
    let disk = node.outside().join("disk");
    std::fs::create_dir(&disk).expect("mkdir");
    // Lies in our scratch, which unmounts everything below it.
    command::succeed(
        command::command(&node.outside(), "mount").args(["-t", "tmpfs", "-o", "size=900m", "tmpfs"]).arg(&disk),
    );
    let data = disk.join("data").display().to_string();
    let mut small = Node::prepare(Setup { environment: vec![("CAIRN_DATA_DIR".into(), data)], ..Setup::default() });
    small.up();
    std::fs::write(small.mount().join("before"), b"kept").expect("write");
    let mut random = Random::new(4);
    let refusal = (0..1200).find_map(|i| {
        let path = small.mount().join(format!("f{i}"));
        std::fs::write(&path, random.bytes(1 << 20)).and_then(|()| std::fs::File::open(&path)?.sync_all()).err()
    });
    assert_eq!(refusal.expect("1200 MiB don't fit on 900").kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(std::fs::read(small.mount().join("before")).expect("read"), b"kept");
    for entry in std::fs::read_dir(small.mount()).expect("list").flatten().skip(1) {
        std::fs::remove_file(entry.path()).expect("deleting works on a full disk");
    }
    small.down();
    small.up();
}
