//! What an earlier state wrote is read by every later one, exactly; what a newer one wrote is left as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, command, figure, fixture, skip};

/// A home whose data directory is a fixture's.
fn unpacked(name: &str, setup: Setup) -> Node {
    let node = Node::prepare(setup);
    std::fs::create_dir_all(node.data()).expect("a data directory");
    std::fs::set_permissions(node.data(), std::fs::Permissions::from_mode(0o700)).expect("our own");
    let tar = fixture::folder().join(format!("{name}.tar"));
    command::succeed(command::command(&node.data(), "tar").arg("--same-owner").arg("-xpf").arg(tar));
    node
}

/// What the fixture's mount showed, by title.
fn expected(name: &str) -> BTreeMap<String, String> {
    let path = fixture::folder().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parts = text.split("== ").skip(1).filter_map(|part| part.split_once('\n'));
    parts.map(|(title, lines)| (title.to_owned(), lines.to_owned())).collect()
}

#[track_caller]
fn assert_shows(node: &Node, name: &str) {
    for (title, lines) in expected(name) {
        let path = if title == "now" { node.mount() } else { node.mount().join(".snapshots").join(&title) };
        let shown = fixture::listing(&path.join(""));
        let differing = lines.lines().zip(shown.lines()).find(|(wanted, shown)| wanted != shown);
        assert_eq!(differing, None, "{name}, {title}\n{}", node.log());
        assert_eq!(lines.lines().count(), shown.lines().count(), "{name}, {title}");
    }
}

#[test]
fn what_earlier_states_wrote_is_read_exactly_and_can_be_gone_on_with() {
    if !command::is_root() {
        skip!("the fixtures have devices and owners");
    }
    for name in fixture::NAMES {
        let mut node = unpacked(name, Setup::default());
        node.up();
        assert_shows(&node, name);
        let checked = node.say(&["check", "--data"]);
        std::fs::write(node.mount().join("written by this state"), b"new").expect("write");
        node.down();
        // Without its index, which is the one part that another library reads.
        std::fs::remove_dir_all(node.index()).expect("the index");
        node.up();
        assert_eq!(std::fs::read(node.mount().join("written by this state")).expect("read"), b"new");
        std::fs::remove_file(node.mount().join("written by this state")).expect("removed");
        assert_shows(&node, name);
        let lines: usize = expected(name).values().map(|lines| lines.lines().count()).sum();
        figure!("{name}: {lines} names read as they were, {}", checked.lines().last().unwrap_or_default());
    }
}

#[test]
fn a_key_that_was_locked_earlier_opens_with_its_passphrase() {
    if !command::is_root() {
        skip!("the fixtures have devices and owners");
    }
    for name in fixture::NAMES {
        let mut node = unpacked(name, Setup::default());
        std::fs::rename(node.data().join("node.key.locked"), node.data().join("node.key")).expect("the locked key");
        let log = node.try_up().expect_err("no passphrase was given");
        assert!(log.contains("passphrase"), "{log}");
        let passphrase = node.outside().join("passphrase");
        std::fs::write(&passphrase, format!("{}\n", fixture::PASSPHRASE)).expect("written");
        std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).expect("our own");
        let shown = node.say(&["cat", "/last", "--passphrase-file", &passphrase.display().to_string()]);
        assert_eq!(shown, "written last\n");
        node.say(&["down"]);
    }
}

/// Everything of a directory: bytes, modes, and when each was last changed.
fn everything(root: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64, Vec<u8>)> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(path) = open.pop() {
        let metadata = std::fs::symlink_metadata(&path).expect("there");
        if metadata.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("listed").map(|entry| entry.expect("an entry").path()));
        }
        let bytes = if metadata.is_file() { std::fs::read(&path).expect("read") } else { Vec::new() };
        let (at, nanos) = (metadata.ctime(), metadata.ctime_nsec());
        found.insert(path, (metadata.mode(), metadata.ino(), at, nanos, bytes));
    }
    found
}

/// Raises the version in a header and puts its checksum right.
fn raise(path: &Path, version_at: u64, checksum_at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("opened");
    file.write_all_at(&2_u32.to_le_bytes(), version_at).expect("written");
    let mut bytes = vec![0; checksum_at as usize];
    file.read_exact_at(&mut bytes, 0).expect("read");
    file.write_all_at(&crc32c(&bytes).to_le_bytes(), checksum_at).expect("written");
}

/// CRC-32C, bit by bit: the definition, so that this test needs nobody's word.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Makes a data directory one of a newer release.
type Raise<'a> = &'a dyn Fn(&Node);

#[test]
fn what_a_newer_release_wrote_is_refused_and_not_a_byte_is_written() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    if !command::is_root() {
        skip!("the fixtures have devices and owners");
    }
    let segment = |node: &Node| node.log_folder().join("00000001.seg");
    let key = |node: &Node| {
        let path = node.data().join("node.key");
        let text = std::fs::read_to_string(&path).expect("a key");
        std::fs::write(&path, text.replace("\"cairn_node_key\":1", "\"cairn_node_key\":2")).expect("written");
    };
    let volumes = |node: &Node| {
        let file = std::fs::OpenOptions::new().write(true).open(node.data().join("volumes")).expect("opened");
        file.write_all_at(&[2], 0).expect("written");
    };
    let format = |node: &Node| raise(&node.data().join("own/format"), 8, 28);
    let header = |node: &Node| raise(&segment(node), 8, 64);
    let without_lock = |node: &Node| {
        std::fs::remove_file(node.data().join("own/lock")).expect("a lock");
        raise(&segment(node), 8, 64);
    };
    let cases: [(&str, Raise<'_>); 5] = [
        ("the format file", &format),
        ("a segment", &header),
        ("a segment of a store that was never opened here", &without_lock),
        ("the key file", &key),
        ("the list of volumes", &volumes),
    ];
    for (what, raise) in cases {
        let mut node = unpacked(fixture::NAMES[0], Setup::default());
        raise(&node);
        let before = everything(&node.data());
        let log = node.try_up().expect_err(what);
        assert!(log.contains("newer") || log.contains("this release reads up to"), "{what}: {log}");
        let after = everything(&node.data());
        let changed: Vec<_> =
            after.iter().filter(|(path, seen)| before.get(*path) != Some(seen)).map(|(path, _)| path).collect();
        assert!(before.len() == after.len() && changed.is_empty(), "{what}: {changed:?} changed");
    }
}
