//! The device below the store's filesystem fails: the nth write or flush, all from the nth on, or every read of a sector.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cairn_fuse_tests::rigs::bench::{self, Bench};
use cairn_fuse_tests::rigs::disk::Disk;
use cairn_fuse_tests::rigs::fault::{Fault, Request, When};
use cairn_fuse_tests::rigs::replay::copy_sparse;
use cairn_fuse_tests::rigs::store_work::{Live, StoreWork, told};
use cairn_fuse_tests::{Random, Scale, command, figure, skip};
use cairn_store::disk::DiskStore;
use cairn_store::{BlockStore, Scrubber, StoreError};
use rustix::io::Errno;

/// A failure shows itself, or is mended, within this.
const VISIBLE_WITHIN: Duration = Duration::from_secs(1);
/// Steps of each lane while the device fails: so many that the last of the requests that are made to fail is reached.
fn steps() -> usize {
    Scale::pick(50, 250)
}

/// How the filesystem below is mounted.
const MOUNT: &str = "data=ordered";

/// A disk with a store that was closed in order, and what it must hold.
struct Base {
    bench: Bench,
    image: PathBuf,
    work: StoreWork,
}

impl Base {
    fn new(seed: u64) -> Base {
        let bench = Bench::new();
        let image = bench.format("base.img");
        let mut work = StoreWork::new(seed, 2, 40, 512 << 10, false);
        {
            let mounted = bench.mount(&image, "base.mnt", MOUNT);
            let store = work.open(mounted.path()).expect("a new store");
            work_through(&mut work, &store).0.expect("a sound disk");
            store.close().expect("a sound disk");
        }
        Base { bench, image, work }
    }

    /// Works while the device fails, then looks at the disk with sound eyes. `Err` says what is wrong.
    fn survive(&self, fault: &Fault) -> Result<Outcome, String> {
        let image = self.bench.path("trial.img");
        copy_sparse(&self.image, &image).expect("a copy");
        let mut disk = Disk::fragile(&self.bench, &image, "trial", MOUNT);
        let mut work = self.work.clone();
        let store = work.open(&disk.root())?;
        disk.fail(Some(fault));
        let (first, slowest) = work_through(&mut work, &store);
        let outcome = match first {
            Ok(()) => Outcome::Unnoticed,
            Err(_) if store.health().read_only.is_some() => Outcome::ReadOnly,
            Err(_) if store.sync().is_ok() => Outcome::WentOn,
            Err(error) if error.is_full() => Outcome::Full,
            Err(error) => return Err(format!("neither goes on nor says that it can't: {}", told(&error))),
        };
        if slowest > VISIBLE_WITHIN {
            return Err(format!("{outcome:?} only after {slowest:?}"));
        }
        drop(store);
        // A filesystem that gave up stays so until it is mounted again; nothing of the page cache outlives that.
        drop(disk);
        let mounted = self.bench.mount(&image, "trial-after.mnt", MOUNT);
        let store = work.open(mounted.path())?;
        work.judge_open(&store, u64::MAX)?;
        store.close().map_err(|e| format!("doesn't close on a sound disk: {}", told(&e)))?;
        Ok(outcome)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The filesystem below had no need to tell anyone.
    Unnoticed,
    /// A call failed, a later sync did not.
    WentOn,
    /// It takes no writes, and says so.
    ReadOnly,
    /// It says that there is no room.
    Full,
}

/// Lets every lane work in turn. Gives the first failure, and how long it took at most from a failed sync until a sync
/// succeeded, the store said that it is read-only, or that the disk is full.
fn work_through(work: &mut StoreWork, store: &DiskStore) -> (Result<(), StoreError>, Duration) {
    let (mut first, mut slowest) = (Ok(()), Duration::ZERO);
    let live = Live::default();
    for _ in 0..steps() {
        for lane in &mut work.lanes {
            if let Err(error) = lane.step(store, &live, &|| 0) {
                slowest = slowest.max(until_visible(store, &error));
                first = first.and(Err(error));
            }
        }
    }
    for lane in &mut work.lanes {
        first = first.and(lane.sync(store, &|| 0));
    }
    (first, slowest)
}

fn until_visible(store: &DiskStore, error: &StoreError) -> Duration {
    let started = Instant::now();
    while started.elapsed() <= VISIBLE_WITHIN {
        if store.health().read_only.is_some() || error.is_full() || store.sync().is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

#[test]
fn a_device_that_fails_never_makes_the_store_confirm_what_it_lost() {
    if let Some(why) = bench::missing() {
        skip!("{why}");
    }
    let seed = Random::seed_of_this_run();
    let base = Base::new(seed);
    let nths = |short: &[u32]| -> Vec<u32> { Scale::pick(short.to_vec(), (1..=200).collect()) };
    let froms = Scale::pick(vec![1, 6], (1..=40).collect());
    let (mut trials, mut outcomes) = (0, [0; 4]);
    for (request, errno, short) in [
        (Request::Write, Errno::IO, &[1, 2, 3, 5, 9, 17, 33][..]),
        (Request::Write, Errno::NOSPC, &[1, 4, 16]),
        (Request::Flush, Errno::IO, &[1, 4, 16]),
    ] {
        let whens = nths(short).into_iter().map(When::Nth).chain(froms.iter().copied().map(When::From));
        for when in whens {
            let fault = Fault { request, when, errno };
            let outcome = base.survive(&fault).unwrap_or_else(|e| panic!("seed {seed}, {fault:?}: {e}"));
            trials += 1;
            outcomes[outcome as usize] += 1;
        }
    }
    let [unnoticed, went_on, read_only, full] = outcomes;
    assert!(unnoticed * 2 < trials, "the faults did too little: {outcomes:?}");
    // Which requests carry the store's own bytes is for the filesystem to say; among many some do.
    assert!(went_on > 0 || Scale::of_this_run() == Scale::Short, "it never went on elsewhere: {outcomes:?}");
    figure!(
        "{trials} faults of the device: {went_on} times it went on elsewhere, {read_only} times read-only, {full} times full, {unnoticed} times without effect; 0 false acknowledgements, all visible within {VISIBLE_WITHIN:?}; seed {seed}"
    );
}

/// The sectors of a file, in runs.
fn sectors(path: &Path) -> Vec<std::ops::Range<u64>> {
    let listing = command::succeed(Command::new("filefrag").args(["-b512", "-v"]).arg(path));
    let runs = listing.lines().filter_map(|line| {
        // `ext: logical..: physical..physical: length: flags`
        let physical = line.split(':').nth(2)?;
        let (from, to) = physical.split_once("..")?;
        Some(from.trim().parse().ok()?..to.trim().parse::<u64>().ok()? + 1)
    });
    runs.collect()
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("store/log")).expect("the log of a store").flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[test]
fn a_sector_that_cannot_be_read_costs_what_lies_there_and_only_while_it_cannot() {
    if let Some(why) = bench::missing() {
        skip!("{why}");
    }
    let seed = Random::seed_of_this_run();
    let base = Base::new(seed);
    let mut random = Random::new(seed);
    let (mut failed, mut served) = (0, 0);
    for trial in 0..Scale::pick(3, 40) {
        let image = base.bench.path("trial.img");
        copy_sparse(&base.image, &image).expect("a copy");
        let mut disk = Disk::fragile(&base.bench, &image, "trial", MOUNT);
        let runs: Vec<_> = segments(&disk.root()).iter().flat_map(|path| sectors(path)).collect();
        let run = random.choose(&runs).clone();
        let sector = run.start + random.below(run.end - run.start);
        disk.fail(Some(&Fault { request: Request::Read, when: When::At(sector), errno: Errno::IO }));
        let fail = |what: String| -> ! { panic!("seed {seed}, trial {trial}, sector {sector}: {what}") };
        let store = base.work.open(&disk.root()).unwrap_or_else(|e| fail(e));
        for block in base.work.blocks() {
            match store.get(&block.id(), cairn_store::Ask::now(Duration::from_secs(10))) {
                Ok(Some(found)) if found.bytes() == block.bytes() => served += 1,
                Ok(found) => fail(format!("a wrong answer: {:?}", found.map(|block| block.id()))),
                Err(_) => failed += 1,
            }
        }
        drop(store);
        // The sector answers again: a scrub finds that everything on it reads well after all.
        disk.fail(None);
        let store = base.work.open(&disk.root()).unwrap_or_else(|e| fail(e));
        store.scrub(&mut |_| ()).unwrap_or_else(|e| fail(told(&e)));
        base.work.judge_open(&store, u64::MAX).unwrap_or_else(|e| fail(e));
    }
    assert!(failed > 0, "no read failed");
    figure!(
        "reads of bad sectors: {failed} refused, {served} served, 0 wrong; all back after a scrub when the sectors were; seed {seed}"
    );
}
