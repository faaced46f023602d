//! The driver of the ordinals rig: a fixed workload over a disk store, and the check of what it was told.
//!
//! ```text
//! store_work run DIR SEED STEPS     works, and says on standard output what the store has answered
//! store_work check DIR              reads what was said, opens the store and looks for all of it
//! ```
//! What is said goes out by `writev`, one line a call, and no other part of a store uses that call: faults can be injected
//! into all others. The reader keeps it, so that it outlives this process. The lines:
//!
//! | line | means |
//! |---|---|
//! | `o` `c` | the store was opened; was closed |
//! | `p N` `d SEQ N` `h SEQ` | block N, a journal record with block N, a head were accepted |
//! | `s` | a sync returned: all that was accepted before is acknowledged |
//! | `t SEQ` `x N` | the journal up to SEQ, block N is about to be given up |
//! | `e OP MESSAGE` | an operation failed |
//! | `r` | the store says that it is read-only |

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IoSlice};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use cairn_block::BlockId;
use cairn_store::disk::{DiskOptions, DiskStore};
use cairn_store::testing::{ask, block, device, volume};
use cairn_store::{BlockStore, Collector, HeadStore, Scrubber, StoreError, SweepOptions};

/// Between the numbers of two kinds of blocks.
const JOURNAL_BLOCKS: u64 = 1 << 40;

/// Of a store whose log is empty, and more for each GiB of log.
const OPEN_SECONDS_MAX: f64 = 2.0;

fn options() -> DiskOptions {
    // Segments of which a short run fills several, and a reserve that is cut when the disk says it is full.
    DiskOptions { segment_bytes: 256 << 10, reserve_bytes: 1 << 20, dead_percent_min: 20, ..DiskOptions::default() }
}

/// On both sides of what is buffered and what is written directly; one record larger than a segment's rest.
fn bytes_of(n: u64) -> usize {
    [100, 4000, 60_000, 900, 33_000, 200, 120_000, 12_000][(n % 8) as usize]
}

fn head(seq: u64) -> Bytes {
    Bytes::from(seq.to_le_bytes().repeat(30))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
    match (arguments.first().map(String::as_str), arguments.get(1), number(2), number(3)) {
        (Some("run"), Some(dir), Some(seed), Some(steps)) => run(Path::new(dir), seed, steps),
        (Some("check"), Some(dir), None, None) => match check(Path::new(dir)) {
            Ok(report) => println!("{report}"),
            Err(wrong) => {
                println!("WRONG: {wrong}");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            eprintln!("usage: store_work run DIR SEED STEPS | check DIR");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let line = format!("{line}\n");
    let written = rustix::io::writev(std::io::stdout(), &[IoSlice::new(line.as_bytes())]);
    assert_eq!(written, Ok(line.len()), "nobody listens");
}

/// A store at work.
struct Work<'a> {
    store: &'a DiskStore,
    /// Every block of the runs before this one: they stay.
    earlier: Vec<BlockId>,
    /// Blocks that were accepted and not given up.
    live: BTreeSet<u64>,
    journal: u64,
    heads: u64,
}

fn run(dir: &Path, seed: u64, steps: u64) {
    let store = match DiskStore::open(dir, options()) {
        Ok(store) => store,
        Err(error) => return say_error("open", &error),
    };
    say("o");
    let journal = store.deltas(&volume(1), 0).map_or(0, |deltas| deltas.last().map_or(0, |(seq, _)| *seq));
    let heads = store.heads(&volume(1)).map_or(0, |heads| heads.last().map_or(0, |head| head.seq));
    let runs_before = (0..seed).flat_map(|seed| (0..steps).map(move |step| (seed << 20) + step));
    let earlier = runs_before.map(|n| block(n, bytes_of(n)).id()).collect();
    let mut work = Work { store: &store, earlier, live: BTreeSet::new(), journal: journal.max(seed << 20), heads };
    for step in 0..steps {
        work.step((seed << 20) + step);
    }
    match store.close() {
        Ok(()) => say("c"),
        Err(error) => say_error("close", &error),
    }
}

impl Work<'_> {
    /// Goes on after an error: that is when a false acknowledgement would come.
    fn step(&mut self, n: u64) {
        if self.done("put", self.store.put(&block(n, bytes_of(n)))).is_some() {
            self.live.insert(n);
            say(&format!("p {n}"));
        }
        if n.is_multiple_of(3) {
            self.append(n);
        }
        if n.is_multiple_of(2) && self.done("sync", self.store.sync()).is_some() {
            say("s");
        }
        if n % 5 == 4 {
            // Reads what may be in memory or on the disk.
            let older = n - n % 16;
            let found = self.store.get(&block(older, bytes_of(older)).id(), ask());
            if let Some(Some(found)) = self.done("get", found) {
                assert_eq!(found, block(older, bytes_of(older)), "wrong bytes");
            }
        }
        match n % 40 {
            13 => drop(self.done("checkpoint", self.store.checkpoint())),
            27 => self.trim(),
            39 => self.collect(),
            _ => {}
        }
    }

    fn append(&mut self, n: u64) {
        let seq = self.journal + 1;
        if self.done("append", self.store.append_delta(&volume(1), seq, &block(JOURNAL_BLOCKS + n, 300))).is_some() {
            self.journal = seq;
            say(&format!("d {seq} {}", JOURNAL_BLOCKS + n));
        }
        let seq = self.heads + 1;
        if n.is_multiple_of(9)
            && self.done("head", self.store.put_head(&volume(1), &device(1), seq, &head(seq))).is_some()
        {
            self.heads = seq;
            say(&format!("h {seq}"));
        }
    }

    fn trim(&mut self) {
        let upto = self.journal.saturating_sub(2);
        say(&format!("t {upto}"));
        self.done("trim", self.store.trim_deltas(&volume(1), upto));
    }

    /// Gives up two blocks of three; what is left has to be copied.
    fn collect(&mut self) {
        let Some(mut collection) = self.done("begin", self.store.begin_collection()) else { return };
        self.earlier.iter().for_each(|id| collection.mark(id));
        let mut kept = BTreeSet::new();
        for n in std::mem::take(&mut self.live) {
            if n.is_multiple_of(3) {
                collection.mark(&block(n, bytes_of(n)).id());
                kept.insert(n);
            } else {
                say(&format!("x {n}"));
            }
        }
        self.live = kept;
        self.done("sweep", collection.sweep(SweepOptions::default(), &mut |_| {}));
        // Some come back at once: a tombstone must not take them.
        let back: Vec<_> = self.live.iter().rev().take(3).map(|n| n + 1).collect();
        for n in back {
            if self.done("put", self.store.put(&block(n, bytes_of(n)))).is_some() {
                self.live.insert(n);
                say(&format!("p {n}"));
            }
        }
    }

    fn done<T>(&self, op: &str, result: Result<T, StoreError>) -> Option<T> {
        result.inspect_err(|error| self.tell(op, error)).ok()
    }

    /// An error, and whether the store says of itself what the error says of it.
    fn tell(&self, op: &str, error: &StoreError) {
        say_error(op, error);
        let is_read_only = self.store.health().read_only.is_some();
        assert!(is_read_only || !matches!(error, StoreError::ReadOnly { .. }), "read-only, and its health is silent");
        if is_read_only {
            say("r");
        }
    }
}

fn say_error(op: &str, error: &StoreError) {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    say(&format!("e {op} {}", format!("{error}{source}").replace('\n', " ")));
}

/// What was acknowledged, by what was said.
#[derive(Default)]
struct Told {
    /// Accepted since the last sync.
    waiting: Vec<Fact>,
    blocks: BTreeSet<u64>,
    journal: BTreeMap<u64, u64>,
    heads: BTreeSet<u64>,
    /// Every block that was ever spoken of.
    known: BTreeSet<u64>,
    trimmed: u64,
}

enum Fact {
    Block(u64),
    Delta(u64, u64),
    Head(u64),
}

impl Told {
    fn read() -> Self {
        let mut told = Self::default();
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
            told.hear(kind, &numbers);
        }
        told
    }

    fn hear(&mut self, kind: &str, numbers: &[u64]) {
        match (kind, numbers) {
            // What was not synced before the end of a process may be gone.
            ("o", _) => self.waiting.clear(),
            ("p", [n]) => {
                self.known.insert(*n);
                self.waiting.push(Fact::Block(*n));
            }
            ("d", [seq, n]) => self.waiting.push(Fact::Delta(*seq, *n)),
            ("h", [seq]) => self.waiting.push(Fact::Head(*seq)),
            ("s" | "c", _) => self.acknowledge(),
            ("t", [upto]) => self.trimmed = self.trimmed.max(*upto),
            ("x", [n]) => {
                self.blocks.remove(n);
                self.waiting.retain(|fact| !matches!(fact, Fact::Block(waiting) if waiting == n));
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self) {
        for fact in std::mem::take(&mut self.waiting) {
            match fact {
                Fact::Block(n) => drop(self.blocks.insert(n)),
                Fact::Delta(seq, n) => drop(self.journal.insert(seq, n)),
                Fact::Head(seq) => drop(self.heads.insert(seq)),
            }
        }
    }

    /// Everything acknowledged is there, and nothing that is there is other than it was.
    fn compare(&self, store: &DiskStore) -> Result<(), String> {
        for n in &self.known {
            let wanted = block(*n, bytes_of(*n));
            match store.get(&wanted.id(), ask()) {
                Ok(Some(found)) if found == wanted => {}
                Ok(None) if !self.blocks.contains(n) => {}
                other => return Err(format!("block {n}: {:?}", other.map(|found| found.map(|_| "other bytes")))),
            }
        }
        let journal: BTreeMap<_, _> = store.deltas(&volume(1), 0).map_err(text)?.into_iter().collect();
        for (seq, n) in self.journal.iter().filter(|(seq, _)| **seq > self.trimmed) {
            if journal.get(seq) != Some(&block(*n, 300).id()) {
                return Err(format!("journal record {seq} is not there"));
            }
        }
        if let Some(id) = journal.values().find(|id| !matches!(store.get(id, ask()), Ok(Some(_)))) {
            return Err(format!("a journal record without its block {id}"));
        }
        let heads = store.heads(&volume(1)).map_err(text)?;
        for seq in &self.heads {
            if !heads.iter().any(|found| found.seq == *seq && found.bytes == head(*seq)) {
                return Err(format!("head {seq} is not there"));
            }
        }
        Ok(())
    }
}

fn text(error: StoreError) -> String {
    error.to_string()
}

fn check(dir: &Path) -> Result<String, String> {
    let told = Told::read();
    let begun = Instant::now();
    let mut store = DiskStore::open(dir, options()).map_err(text)?;
    let took = begun.elapsed();
    let gib = store.stats().log_bytes as f64 / (1u64 << 30) as f64;
    if took.as_secs_f64() > OPEN_SECONDS_MAX + gib {
        return Err(format!("opening {gib:.3} GiB took {took:?}"));
    }
    for round in ["opened", "made anew from the log", "closed and opened"] {
        match round {
            "made anew from the log" => store.rebuild_index().map_err(text)?,
            "closed and opened" => {
                store.close().map_err(text)?;
                store = DiskStore::open(dir, options()).map_err(text)?;
            }
            _ => {}
        }
        told.compare(&store).map_err(|wrong| format!("{round}: {wrong}"))?;
        if !store.damage().is_empty() || store.health().damaged_blocks > 0 {
            return Err(format!("{round}: damage {:?}", store.damage()));
        }
    }
    let scrubbed = store.scrub(&mut |_| {}).map_err(text)?;
    if !scrubbed.damaged.is_empty() {
        return Err(format!("a scrub finds {:?}", scrubbed.damaged));
    }
    store.put(&block(u64::MAX, 77)).and_then(|_| store.sync()).map_err(text)?;
    Ok(format!(
        "{} blocks {} deltas {} heads, open_ms {}",
        told.blocks.len(),
        told.journal.len(),
        told.heads.len(),
        took.as_millis()
    ))
}
