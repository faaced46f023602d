//! Half of a store is deleted and collected: the room comes back, and nobody who reads or writes meanwhile notices.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, Random, Scale, command, figure};

const FILE_BYTES: usize = 4 << 20;
/// A collection may keep a few segments that are not worth rewriting.
const GIVEN_BACK_PERCENT_MIN: u64 = 45;
/// No read and no write waits longer than this for a collection; a machine that pauses longer by itself, measured before
/// the collection, is forgiven that much.
const PAUSE_MAX: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(3600);

#[test]
fn half_is_given_back_and_nobody_notices() {
    let files = Scale::pick(96, 2_560);
    let seed = Random::seed_of_this_run();
    let node = Node::start_with(Setup { patience: Some(PATIENCE), ..Setup::default() });
    // Neighbours in the log: every segment is half garbage afterwards, the worst case for whoever rewrites them.
    write_files(&node.mount(), files, seed);
    let kept: Vec<PathBuf> = (1..files).step_by(2).map(|n| file(&node.mount(), n)).collect();
    for n in (0..files).step_by(2) {
        std::fs::remove_file(file(&node.mount(), n)).expect("remove");
    }
    node.say(&["forget", "--automatic"]);
    let before = disk_bytes(&node);

    let calm = watched(&node.mount(), &kept, seed, || std::thread::sleep(Scale::pick(2, 10) * Duration::from_secs(1)));
    let mut took = Duration::ZERO;
    let busy = watched(&node.mount(), &kept, seed + 1, || {
        let started = Instant::now();
        command::succeed(&mut node.cairn(&["gc"]));
        took = started.elapsed();
    });
    // What the watchers themselves wrote and removed goes with a second one.
    node.say(&["forget", "--automatic"]);
    node.say(&["gc"]);
    let after = disk_bytes(&node);
    let percent = (before.saturating_sub(after)) * 100 / before;
    figure!(
        "{} MiB, half of it deleted: {percent} % given back in {took:.1?}; worst read {:.1?} (before {:.1?}), \
         worst write {:.1?} (before {:.1?}), {} reads and {} writes meanwhile",
        before >> 20,
        busy.worst_read,
        calm.worst_read,
        busy.worst_write,
        calm.worst_write,
        busy.reads,
        busy.writes
    );
    assert!(percent >= GIVEN_BACK_PERCENT_MIN, "seed {seed}: {percent} % of {before} bytes came back");
    if Scale::of_this_run() == Scale::Full {
        assert!(busy.worst_read <= PAUSE_MAX.max(calm.worst_read), "seed {seed}: a read waited {:?}", busy.worst_read);
        assert!(
            busy.worst_write <= PAUSE_MAX.max(calm.worst_write),
            "seed {seed}: a write waited {:?}",
            busy.worst_write
        );
    }
    for n in (1..files).step_by(2) {
        let found = std::fs::read(file(&node.mount(), n)).expect("read");
        assert!(found == contents(seed, n), "seed {seed}: file {n} has other bytes");
    }
    every_block_is_explained(&node);
    node.say(&["check", "--data"]);
}

/// Nothing is in the store that `why` can't explain, and every explanation names who needs the block.
fn every_block_is_explained(node: &Node) {
    let text = node.say(&["why", "--blocks", "--json"]);
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (report, uses) = rows.split_last().expect("a report at the end");
    let needed = report["needed"].as_u64().expect("a count");
    let unexplained: Vec<_> = uses.iter().filter(|row| row["role"] == "nothing").collect();
    assert!(unexplained.is_empty(), "{} blocks that nothing needs, the first {}", unexplained.len(), unexplained[0]);
    assert_eq!(report["unneeded"], 0);
    assert!(uses.iter().all(|row| row["volume"].is_string()));
    figure!("every one of {needed} blocks that survived is explained");
}

fn file(mount: &Path, n: u64) -> PathBuf {
    mount.join(format!("file-{n}"))
}

fn contents(seed: u64, n: u64) -> Vec<u8> {
    Random::new(seed ^ n << 32).bytes(FILE_BYTES)
}

fn write_files(mount: &Path, files: u64, seed: u64) {
    for n in 0..files {
        std::fs::write(file(mount, n), contents(seed, n)).expect("write");
    }
    File::open(mount).and_then(|root| root.sync_all()).expect("fsync");
}

fn disk_bytes(node: &Node) -> u64 {
    let text =
        command::succeed(command::command(&node.outside(), "du").args(["-s", "--block-size=1"]).arg(node.log_folder()));
    text.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("du prints bytes")
}

/// What happened to those who read and wrote while something ran.
#[derive(Debug, Default)]
struct Seen {
    reads: u64,
    worst_read: Duration,
    writes: u64,
    worst_write: Duration,
}

/// Reads and writes at the pace of a program that has other things to do, while `work` runs.
fn watched(mount: &Path, kept: &[PathBuf], seed: u64, work: impl FnOnce()) -> Seen {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| probe(&done, seed, |random| read_once(kept, random)));
        let writer = scope.spawn(|| probe(&done, seed + 7, |random| write_once(mount, random)));
        work();
        done.store(true, Ordering::Relaxed);
        let (reads, worst_read) = reader.join().expect("the reader");
        let (writes, worst_write) = writer.join().expect("the writer");
        Seen { reads, worst_read, writes, worst_write }
    })
}

fn probe(done: &AtomicBool, seed: u64, mut once: impl FnMut(&mut Random)) -> (u64, Duration) {
    let (mut random, mut count, mut worst) = (Random::new(seed), 0, Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        let started = Instant::now();
        once(&mut random);
        worst = worst.max(started.elapsed());
        count += 1;
        std::thread::sleep(Duration::from_millis(1 + random.below(4)));
    }
    (count, worst)
}

/// A page from anywhere, past the kernel's cache.
fn read_once(kept: &[PathBuf], random: &mut Random) {
    let path = random.choose(kept);
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(direct).open(path).expect("open");
    let at = random.below((FILE_BYTES / 4096) as u64) * 4096;
    file.read_exact_at(&mut [0; 4096], at).expect("read");
}

/// A small file, written and removed again.
fn write_once(mount: &Path, random: &mut Random) {
    let path = mount.join(format!("probe-{}", random.below(64)));
    let bytes = random.bytes(16 << 10);
    File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("write");
    if random.below(2) == 0 {
        std::fs::remove_file(&path).expect("remove");
    }
}
