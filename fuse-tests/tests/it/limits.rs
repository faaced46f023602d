//! A node in a world that is too small: a full disk, no inodes, few descriptors, small files, little memory. The caller gets
//! the system's own error, nothing that was confirmed is lost, deleting, collecting and unmounting work, and the node says
//! how it is.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::rigs::limits::{LittleMemory, limited, small_disk};
use cairn_fuse_tests::{Node, Random, Scale, command, figure, promise, skip};
use rustix::io::Errno;

/// How soon a node says that it can't go on as usual.
const VISIBLE: Duration = Duration::from_secs(1);
/// What a program may meet on a disk without room.
const NO_ROOM: ErrorKind = ErrorKind::StorageFull;

/// A node whose data lies on a disk of its own.
fn node_on(disk: &Path, under: Vec<String>) -> Node {
    let data = disk.join("data").display().to_string();
    let environment = vec![("CAIRN_DATA_DIR".to_owned(), data)];
    let mut node = Node::prepare(Setup { environment, under, ..Setup::default() });
    node.up();
    node
}

/// Confirmed files: their names say what is in them.
struct Kept(Vec<u64>);

impl Kept {
    fn content(n: u64) -> Vec<u8> {
        Random::new(n).bytes(200 + (n as usize % 7) * 20_000)
    }

    /// Writes and confirms `count` more.
    #[track_caller]
    fn write(&mut self, node: &Node, count: u64) {
        for _ in 0..count {
            self.try_write(node).unwrap_or_else(|e| panic!("{e}\n{}", node.log()));
        }
    }

    fn try_write(&mut self, node: &Node) -> std::io::Result<()> {
        let n = self.0.len() as u64;
        write_synced(&node.mount().join(format!("kept{n}")), &Self::content(n))?;
        self.0.push(n);
        Ok(())
    }

    #[track_caller]
    fn assert_there(&self, node: &Node) {
        for n in &self.0 {
            let found = std::fs::read(node.mount().join(format!("kept{n}")));
            let found = found.unwrap_or_else(|e| panic!("kept{n}: {e}\n{}", node.log()));
            assert!(found == Self::content(*n), "kept{n} has other bytes");
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Fills the volume until it refuses; gives the refusal and how many files were taken.
fn fill(node: &Node, bytes: usize, files_max: u64) -> (Option<std::io::Error>, u64) {
    let mut random = Random::new(4);
    for n in 0..files_max {
        if let Err(error) = write_synced(&node.mount().join(format!("fill{n}")), &random.bytes(bytes)) {
            return (Some(error), n);
        }
    }
    (None, files_max)
}

fn delete_filling(node: &Node) {
    for entry in std::fs::read_dir(node.mount()).expect("list").flatten() {
        if entry.file_name().to_string_lossy().starts_with("fill") {
            std::fs::remove_file(entry.path()).unwrap_or_else(|e| panic!("deleting doesn't work: {e}\n{}", node.log()));
        }
    }
    // History holds what was deleted: it has to go as well, however full the disk is.
    node.say(&["forget", "--automatic"]);
}

/// `cairn status` says one of `words`, within a second; `cairn doctor` works too.
#[track_caller]
fn assert_said(node: &Node, words: &[&str]) {
    let started = Instant::now();
    loop {
        let status = node.ask(&["status"]);
        let text = command::transcript(&status).to_lowercase();
        if words.iter().any(|word| text.contains(word)) {
            break;
        }
        assert!(started.elapsed() < VISIBLE, "status says none of {words:?}\n{text}\n{}", node.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let doctor = command::transcript(&node.ask(&["doctor"]));
    assert!(doctor.contains("disk"), "{doctor}");
}

/// Room is made, and everything works as before; then the node ends in order and starts again.
#[track_caller]
fn assert_recovers(node: &mut Node, kept: &mut Kept) {
    kept.assert_there(node);
    delete_filling(node);
    let free = |node: &Node| node.json(&["status"])["store"]["disk_free_bytes"].as_u64().unwrap_or(0);
    let before = free(node);
    node.say(&["gc"]);
    figure!("{} MiB free when full, {} after deleting and collecting", before >> 20, free(node) >> 20);
    let started = Instant::now();
    while let Err(error) = kept.try_write(node) {
        assert_eq!(error.kind(), NO_ROOM, "{error}");
        assert!(started.elapsed() < Duration::from_secs(20), "no write after room was made: {error}\n{}", node.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    kept.assert_there(node);
    node.down();
    node.up();
    kept.assert_there(node);
    node.say(&["check", "--data"]);
}

#[test]
fn a_disk_without_bytes_refuses_deletes_collects_and_unmounts() {
    promise!("Space is told truthfully");
    if !command::is_root() {
        skip!("only root may mount a small disk");
    }
    let home = Node::prepare(Setup::default());
    let disk = home.outside().join("disk");
    small_disk(&disk, "size=300m");
    let mut node = node_on(&disk, Vec::new());
    let mut kept = Kept(Vec::new());
    kept.write(&node, 20);
    let (refusal, taken) = fill(&node, 1 << 20, 600);
    let refusal = refusal.unwrap_or_else(|| panic!("600 MiB don't fit on 300\n{}", node.log()));
    assert_eq!(refusal.kind(), NO_ROOM, "{refusal}");
    assert!(taken > 100, "only {taken} MiB fit on 300");
    // Somebody else takes the rest as well.
    let last = File::create(disk.join("others")).expect("create");
    let mut bytes = 0;
    while last.write_all_at(&[1; 4096], bytes).is_ok() {
        bytes += 4096;
    }
    assert_said(&node, &["full"]);
    assert!(write_synced(&node.mount().join("fill-more"), &[1; 500_000]).is_err());
    kept.assert_there(&node);
    // What was refused is still in the node's memory, and there is no room for it: it doesn't end as if all were saved.
    let down = node.ask(&["down"]);
    assert!(!down.status.success(), "{}\n{}", command::transcript(&down), node.log());
    assert!(command::transcript(&down).contains("no room"), "{}", command::transcript(&down));
    assert!(node.is_running(), "it ended all the same\n{}", node.log());
    kept.assert_there(&node);
    delete_filling(&node);
    node.say(&["gc"]);
    node.down();
    node.up();
    assert_recovers(&mut node, &mut kept);
}

#[test]
fn a_disk_without_inodes_refuses_deletes_collects_and_unmounts() {
    promise!("Space is told truthfully");
    if !command::is_root() {
        skip!("only root may mount a small disk");
    }
    let home = Node::prepare(Setup::default());
    let disk = home.outside().join("disk");
    small_disk(&disk, "size=2g,nr_inodes=400");
    let mut node = node_on(&disk, Vec::new());
    let mut kept = Kept(Vec::new());
    kept.write(&node, 20);
    let others = disk.join("others");
    std::fs::create_dir(&others).expect("mkdir");
    let refusal = (0..400).find_map(|n| File::create(others.join(n.to_string())).err());
    assert_eq!(refusal.expect("400 inodes don't last").kind(), NO_ROOM);
    // A segment more can't be made; what it needs room for is refused.
    let (refusal, taken) = fill(&node, 4 << 20, 150);
    let refusal = refusal.unwrap_or_else(|| panic!("600 MiB went into one segment\n{}", node.log()));
    assert_eq!(refusal.kind(), NO_ROOM, "after {taken} files: {refusal}\n{}", node.log());
    assert_said(&node, &["full"]);
    kept.assert_there(&node);
    delete_filling(&node);
    node.say(&["gc"]);
    node.down();
    node.up();
    kept.assert_there(&node);
    std::fs::remove_dir_all(&others).expect("remove");
    assert_recovers(&mut node, &mut kept);
}

#[test]
fn a_node_with_few_descriptors_works_or_says_so() {
    let mut node = Node::start_with(Setup { under: limited("nofile=64:64"), ..Setup::default() });
    let mut kept = Kept(Vec::new());
    kept.write(&node, Scale::pick(60, 600));
    // Programs hold more files open than the node may: they aren't the node's.
    let open: Vec<_> = (0..200).map(|n| File::create(node.mount().join(format!("open{n}"))).expect("create")).collect();
    open.iter().for_each(|file| file.write_all_at(b"x", 0).expect("write"));
    let large = Random::new(5).bytes(64 << 20);
    write_synced(&node.mount().join("large"), &large).unwrap_or_else(|e| panic!("{e}\n{}", node.log()));
    // Many clients at once: some are refused, the node stays.
    let clients: Vec<_> =
        (0..80).filter_map(|_| std::os::unix::net::UnixStream::connect(socket(&node)?).ok()).collect();
    std::thread::sleep(Duration::from_millis(300));
    kept.write(&node, 20);
    drop(clients);
    let started = Instant::now();
    while !node.ask(&["status"]).status.success() {
        assert!(started.elapsed() < Duration::from_secs(5), "no status any more\n{}", node.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    node.say(&["gc"]);
    node.say(&["check", "--data"]);
    assert!(std::fs::read(node.mount().join("large")).expect("read") == large);
    kept.assert_there(&node);
    drop(open);
    node.down();
    node.up();
    kept.assert_there(&node);
}

/// The node's control socket.
fn socket(node: &Node) -> Option<std::path::PathBuf> {
    let found = command::succeed(command::command(&node.home(), "find").args([".", "-type", "s"]));
    found.lines().next().map(|line| node.home().join(line))
}

#[test]
fn a_limit_on_the_size_of_files_ends_no_node() {
    let mib = 48;
    let mut node = Node::start_with(Setup { under: limited(&format!("fsize={}", mib << 20)), ..Setup::default() });
    let mut kept = Kept(Vec::new());
    // The reserve alone is larger than a file may be here: the node may refuse, with the system's words.
    let first = (0..20).find_map(|_| kept.try_write(&node).err());
    let (refusal, taken) = fill(&node, 2 << 20, 60);
    for error in first.iter().chain(&refusal) {
        let code = error.raw_os_error().map(Errno::from_raw_os_error);
        assert!([Some(Errno::FBIG), Some(Errno::NOSPC)].contains(&code), "{error}\n{}", node.log());
        assert_said(&node, &["full", "failed", "read-only"]);
    }
    assert!(node.is_running(), "the node has ended\n{}", node.log());
    kept.assert_there(&node);
    figure!("files of at most {mib} MiB: {} small and {taken} large files taken, then {refusal:?}", kept.0.len());
    delete_filling(&node);
    node.ask(&["gc"]);
    node.kill();
    node.run_under(Vec::new());
    node.up();
    kept.assert_there(&node);
    node.say(&["check", "--data"]);
}

#[test]
fn a_node_with_little_memory_lives_through_much_writing() {
    let memory = match LittleMemory::new(256 << 20) {
        Ok(memory) => memory,
        Err(reason) => skip!("{reason}"),
    };
    let mut node = Node::start_with(Setup { under: memory.words(), ..Setup::default() });
    let mut kept = Kept(Vec::new());
    let megabytes = Scale::pick(500, 8_000);
    let mut random = Random::new(8);
    let chunk = random.bytes(1 << 20);
    let mut file = File::create(node.mount().join("stream")).expect("create");
    let mut written = Vec::new();
    for n in 0..megabytes {
        // Different bytes each time, made cheaply.
        let mut bytes = chunk.clone();
        bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= n as u8);
        let head = u64::to_le_bytes(n);
        bytes[..8].copy_from_slice(&head);
        file.write_all(&bytes).unwrap_or_else(|e| panic!("MiB {n}: {e}\n{}", node.log()));
        written.push(head);
        if n % 25 == 24 {
            kept.write(&node, 5);
        }
    }
    file.sync_all().unwrap_or_else(|e| panic!("{e}\n{}", node.log()));
    assert!(node.is_running(), "the node has ended\n{}", node.log());
    assert_eq!(memory.kills(), 0, "the kernel ended somebody for want of memory");
    kept.assert_there(&node);
    let file = File::open(node.mount().join("stream")).expect("open");
    for (n, head) in written.iter().enumerate() {
        let mut found = [0; 8];
        file.read_exact_at(&mut found, (n as u64) << 20).expect("read");
        assert_eq!(&found, head, "MiB {n}");
    }
    figure!("{megabytes} MiB written within 256 MiB of memory: peak {} MiB", node.memory_kib("VmHWM") >> 10);
    drop(file);
    node.say(&["gc"]);
    node.down();
    node.up();
    kept.assert_there(&node);
    node.kill();
}
