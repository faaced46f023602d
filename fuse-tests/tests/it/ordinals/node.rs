//! A node under faults: what `fsync` confirmed on its mount is there when it is started without them, and a node that
//! can't go on says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::rigs::injection::{self, Effect, Fault, spread};
use cairn_fuse_tests::{Node, Random, Scale, command, figure, promise, skip};

use super::{CALLS, effects};

/// Files that are written under a fault.
const FILES: u64 = 40;
/// Nodes that run beside each other.
const LANES: usize = 2;
/// How soon a store that takes no writes is seen to be so.
const VISIBLE: Duration = Duration::from_secs(1);

/// What a volume held, by what its operations answered.
#[derive(Default)]
struct Told {
    now: BTreeMap<String, u64>,
    confirmed: BTreeMap<String, u64>,
    /// Names that were touched since the last confirmation.
    open: BTreeSet<String>,
    /// Names of operations that failed: they may have been done all the same.
    doubtful: BTreeSet<String>,
    refusals: u64,
    read_only: bool,
}

fn content(n: u64) -> Vec<u8> {
    let len = [300, 5_000, 90_000, 20, 700_000, 150_000][(n % 6) as usize];
    Random::new(n).bytes(len)
}

impl Told {
    fn try_step(&mut self, mount: &Path, n: u64) -> std::io::Result<()> {
        self.step(mount, n).inspect_err(|_| {
            self.refusals += 1;
            self.doubtful.extend([format!("t{n}"), format!("f{n}"), format!("f{}", n.saturating_sub(2))]);
        })
    }

    fn is_open(&self, name: &str) -> bool {
        self.open.contains(name) || self.doubtful.contains(name)
    }

    /// One file more, under a name for the time being, then under its own; now and then an older one goes.
    fn step(&mut self, mount: &Path, n: u64) -> std::io::Result<()> {
        let (temporary, name) = (format!("t{n}"), format!("f{n}"));
        self.open.extend([temporary.clone(), name.clone()]);
        let mut file = OpenOptions::new().write(true).create_new(true).open(mount.join(&temporary))?;
        file.write_all(&content(n))?;
        file.sync_all()?;
        self.now.insert(temporary.clone(), n);
        self.confirm();
        self.open.extend([temporary.clone(), name.clone()]);
        std::fs::rename(mount.join(&temporary), mount.join(&name))?;
        self.now.remove(&temporary);
        self.now.insert(name, n);
        if n % 4 == 3 {
            let older = format!("f{}", n - 2);
            self.open.insert(older.clone());
            std::fs::remove_file(mount.join(&older))?;
            self.now.remove(&older);
        }
        if n.is_multiple_of(3) {
            File::open(mount)?.sync_all()?;
            self.confirm();
        }
        Ok(())
    }

    fn confirm(&mut self) {
        self.confirmed.clone_from(&self.now);
        self.open.clear();
    }

    /// What was confirmed is there as it was; what wasn't may be, up to a point, and holds nothing else.
    fn judge(&self, mount: &Path) -> Result<(), String> {
        for (name, n) in &self.confirmed {
            match std::fs::read(mount.join(name)) {
                Ok(bytes) if bytes == content(*n) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.is_open(name) => {}
                other => return Err(format!("{name}: {:?} of {} bytes", other.map(|b| b.len()), content(*n).len())),
            }
        }
        for entry in std::fs::read_dir(mount).map_err(|e| format!("no listing: {e}"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(Ok(n)) = name.get(1..).map(str::parse::<u64>) else {
                return Err(format!("{name} was never made"));
            };
            if !self.confirmed.contains_key(&name) && !self.is_open(&name) {
                return Err(format!("{name} is back"));
            }
            let bytes = std::fs::read(entry.path()).map_err(|e| format!("{name}: {e}"))?;
            if !content(n).starts_with(&bytes) {
                return Err(format!("{name} holds other bytes"));
            }
        }
        Ok(())
    }
}

/// The whole life of one node. Whether the fault struck.
fn live(fault: &Fault, tally: &Tally) -> Result<bool, String> {
    let mut node = Node::prepare(Setup { patience: Some(Duration::from_secs(240)), ..Setup::default() });
    let record = node.outside().join("record");
    let mut words = fault.prefix(&record);
    // The tracer is the child, so that the process we started becomes the node.
    words.insert(1, "-D".into());
    node.run_under(words);
    let mut told = Told::default();
    match node.try_up() {
        Ok(_) => work(&mut node, &mut told)?,
        Err(log) if log.contains("panicked") => return Err(log),
        Err(_) => drop(tally.no_start.fetch_add(1, Ordering::Relaxed)),
    }
    let (log, was_killed) = (node.log(), !node.is_running());
    node.kill();
    // A command that found no node has started one.
    node.ask(&["down"]);
    node.unmount_dead();
    // The tracer writes to the end after the node has ended.
    std::thread::sleep(Duration::from_millis(50));
    let has_struck = if fault.effect == Effect::Kill { was_killed } else { Fault::has_struck(&record) };
    tally.count(&told, has_struck);
    node.run_under(Vec::new());
    let again = |node: &Node, wrong: String| format!("{wrong}\nunder the fault:\n{log}\nafterwards:\n{}", node.log());
    node.try_up().map_err(|wrong| again(&node, wrong))?;
    told.judge(&node.mount()).map_err(|wrong| again(&node, wrong))?;
    let checked = node.ask(&["check", "--data"]);
    if !checked.status.success() {
        return Err(again(&node, command::transcript(&checked)));
    }
    Ok(has_struck)
}

fn work(node: &mut Node, told: &mut Told) -> Result<(), String> {
    let mut failed_in_a_row = 0;
    for n in 0..FILES {
        match told.try_step(&node.mount(), n) {
            Ok(()) => failed_in_a_row = 0,
            Err(_) if !node.is_running() => return Ok(()),
            Err(_) => failed_in_a_row += 1,
        }
        if n == FILES / 2 {
            // Heads and a collection, whatever they answer.
            node.ask(&["snapshot", "half"]);
            node.ask(&["gc"]);
        }
        if failed_in_a_row == 3 {
            let said = is_said(node);
            // Killed by the fault between two looks: then another one has answered.
            if node.is_running() {
                told.read_only |= said?;
            }
            return Ok(());
        }
    }
    Ok(())
}

/// A node that keeps failing says what it is, soon. Whether it says that its store takes no writes.
fn is_said(node: &Node) -> Result<bool, String> {
    let started = Instant::now();
    loop {
        let status = node.ask(&["status", "--json"]);
        let text = String::from_utf8_lossy(&status.stdout);
        let is_silent =
            !status.status.success() || text.contains("\"state\":\"ready\"") || text.contains("\"state\": \"ready\"");
        if !is_silent {
            return Ok(text.contains("read-only"));
        }
        if started.elapsed() > VISIBLE {
            return Err(format!(
                "files fail, and after {VISIBLE:?} nothing says why\n{}",
                command::transcript(&status)
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[derive(Debug, Default)]
struct Tally {
    struck: AtomicU64,
    refused: AtomicU64,
    read_only: AtomicU64,
    no_start: AtomicU64,
    confirmed: AtomicU64,
}

impl Tally {
    fn count(&self, told: &Told, has_struck: bool) {
        self.struck.fetch_add(u64::from(has_struck), Ordering::Relaxed);
        self.refused.fetch_add(u64::from(told.refusals > 0), Ordering::Relaxed);
        self.read_only.fetch_add(u64::from(told.read_only), Ordering::Relaxed);
        self.confirmed.fetch_add(told.confirmed.len() as u64, Ordering::Relaxed);
    }
}

/// Runs faults beside each other; gives what went wrong.
#[track_caller]
fn live_all(faults: Vec<Fault>) -> Tally {
    let (tally, wrong, queue) = (Tally::default(), Mutex::new(Vec::new()), Mutex::new(faults));
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(fault) = { queue.lock().expect("a lock").pop() } {
                    if let Err(what) = live(&fault, &tally) {
                        wrong.lock().expect("a lock").push(format!("{fault}: {what}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("a lock");
    assert!(wrong.is_empty(), "{} faults went wrong\n{}", wrong.len(), wrong.join("\n---\n"));
    assert!(tally.struck.load(Ordering::Relaxed) > 0, "no fault struck");
    tally
}

/// What the kernel asks is read and what wakes a thread is written: a node can't live without these.
fn is_of_the_disk(calls: &str) -> bool {
    !["read", "write"].contains(&calls)
}

fn errors() -> Vec<Fault> {
    let of = |(calls, errors): &(&'static str, &'static [&'static str])| {
        let calls = *calls;
        effects(errors).flat_map(move |effect| {
            spread(200).into_iter().map(move |ordinal| Fault { calls, effect, ordinal }).collect::<Vec<_>>()
        })
    };
    CALLS.iter().filter(|(calls, _)| is_of_the_disk(calls)).flat_map(of).collect()
}

#[test]
fn no_error_at_any_call_of_a_node_loses_what_fsync_confirmed() {
    promise!("A failed fsync is not forgotten");
    if let Err(reason) = injection::is_possible() {
        skip!("{reason}");
    }
    let all = errors();
    // Every so many, beginning at another one for each seed.
    let stride = Scale::pick(all.len() / 9, 1);
    let from = Random::new(Random::seed_of_this_run()).below(stride as u64) as usize;
    let chosen: Vec<_> = all.into_iter().skip(from).step_by(stride).collect();
    let count = chosen.len();
    let tally = live_all(chosen);
    figure!("{count} errors at ordinals of a node's calls: {tally:?}; nothing confirmed was lost, no silence");
}

#[test]
fn no_kill_at_any_call_of_a_node_loses_what_fsync_confirmed() {
    promise!("A crash leaves a prefix of history");
    if let Err(reason) = injection::is_possible() {
        skip!("{reason}");
    }
    let of = |(calls, _): &(&'static str, _)| {
        let calls = *calls;
        spread(200).into_iter().map(move |ordinal| Fault { calls, effect: Effect::Kill, ordinal }).collect::<Vec<_>>()
    };
    let all: Vec<_> = CALLS.iter().flat_map(of).collect();
    let stride = Scale::pick(all.len() / 6, 1);
    let from = Random::new(Random::seed_of_this_run()).below(stride as u64) as usize;
    let chosen: Vec<_> = all.into_iter().skip(from).step_by(stride).collect();
    let count = chosen.len();
    let tally = live_all(chosen);
    figure!("{count} kills at ordinals of a node's calls: {tally:?}; nothing confirmed was lost");
}
