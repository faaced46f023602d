//! A process that is killed at any moment loses nothing that it acknowledged.
//!
//! The child is this test binary again: it writes to a store and says on a pipe what was synced. The parent kills it
//! after a while, also while it opens and recovers, then opens the store itself and looks for everything it was told.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cairn_store::disk::{DiskOptions, DiskStore};
use cairn_store::testing::{ask, block, volume};
use cairn_store::{BlockStore, HeadStore};

/// Kills of a quick run. `CAIRN_KILLS` asks for more.
const KILLS: u64 = 50;
/// Opening after a kill may take this long, and a second more for each GiB of log behind the last checkpoint.
const OPEN_MAX: Duration = Duration::from_secs(2);
const DIR: &str = "CAIRN_KILL_DIR";
const ROUND: &str = "CAIRN_KILL_ROUND";
const PER_ROUND: u64 = 1_000_000;

fn options() -> DiskOptions {
    DiskOptions { segment_bytes: 512 << 10, reserve_bytes: 1 << 20, ..DiskOptions::default() }
}

/// Sizes on both sides of what is buffered and what is written directly.
fn bytes(n: u64) -> usize {
    [200, 4000, 60_000, 900, 33_000][n as usize % 5]
}

/// Not a test by itself: the process that is killed.
#[test]
fn child() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else { return };
    let first = round.parse::<u64>().expect("a number") * PER_ROUND;
    let store = DiskStore::open(dir, options()).expect("open");
    say("opened\n");
    let store = &store;
    let seq = store.deltas(&volume(1), 0).expect("deltas").last().map_or(0, |(seq, _)| *seq);
    std::thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                for n in (first + lane..first + PER_ROUND).step_by(2) {
                    store.put(&block(n, bytes(n))).expect("put");
                    if lane == 0 {
                        store.append_delta(&volume(1), seq + 1 + n - first, &block(n, bytes(n))).expect("append");
                    }
                    if n % 3 == 0 {
                        store.sync().expect("sync");
                        say(&format!("ack {n}\n"));
                    }
                    if lane == 1 && n % 101 == 0 {
                        store.checkpoint().expect("checkpoint");
                    }
                }
            });
        }
    });
}

/// One write: a line is on the pipe whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("the parent");
}

/// Runs the child for a while. Returns what it acknowledged, and whether it got so far as to have the store open.
fn run_and_kill(dir: &Path, round: u64, alive: Duration) -> (Vec<u64>, bool) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let killer = std::thread::spawn(move || {
        std::thread::sleep(alive);
        child.kill().expect("kill");
        child.wait().expect("wait")
    });
    // libtest writes its own words before ours, without a line's end.
    let lines: Vec<_> = output.lines().map_while(Result::ok).collect();
    let acknowledged = lines.iter().filter_map(|line| line.rsplit_once("ack ")?.1.parse().ok()).collect();
    killer.join().expect("the killer");
    (acknowledged, lines.iter().any(|line| line.ends_with("opened")))
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_minus_nine() {
    let kills = std::env::var("CAIRN_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let dir = tempfile::tempdir().expect("a directory");
    let store_dir = dir.path().join("store");
    let (mut acknowledged, mut while_opening, mut slowest) = (Vec::new(), 0, Duration::ZERO);
    let mut luck = blake3::Hasher::new_derive_key("cairn-store tests/it/kill.rs").finalize_xof();
    for round in 0..kills {
        let mut byte = [0];
        luck.fill(&mut byte);
        // Every fourth life is over while the store is being opened, or soon after.
        let luck = u64::from(byte[0]);
        let alive = Duration::from_millis(if round % 4 == 3 { 1 + luck % 20 } else { 20 + 2 * luck });
        let (new, was_open) = run_and_kill(&store_dir, round, alive);
        acknowledged.extend(&new);
        while_opening += u32::from(!was_open);
        let begun = Instant::now();
        let store = DiskStore::open(&store_dir, options()).expect("reopened");
        slowest = slowest.max(begun.elapsed());
        let gib = store.open_report().bytes_replayed as f64 / f64::from(1 << 30);
        let bar = OPEN_MAX + Duration::from_secs_f64(gib);
        assert!(begun.elapsed() <= bar, "round {round}: opening took {:?}, the bar is {bar:?}", begun.elapsed());
        for &n in &new {
            let wanted = block(n, bytes(n));
            assert_eq!(store.get(&wanted.id(), ask()).expect("get"), Some(wanted), "round {round}: {n}");
        }
        assert_eq!(store.damage(), [], "round {round}");
        if round % 10 == 9 {
            // What the pages of a killed process left is durable once it was seen.
            store.rebuild_index().expect("rebuild");
        }
        let journal = store.deltas(&volume(1), 0).expect("deltas");
        for (_, id) in journal {
            assert!(store.has(&id).expect("has"), "round {round}: a journal record without its block");
        }
    }
    let store = DiskStore::open(&store_dir, options()).expect("reopened");
    for &n in &acknowledged {
        assert!(store.has(&block(n, bytes(n)).id()).expect("has"), "{n}");
    }
    println!(
        "{kills} kills, {while_opening} of them while it opened, {} acknowledgements, none lost; slowest open {slowest:?}",
        acknowledged.len()
    );
    assert!(!acknowledged.is_empty());
}
