//! Runs a workload once, and judges the disk at many cuts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bench::Bench;
use super::cuts::{self, PowerCut};
use super::disk::{Disk, Witness};
use super::replay::{Replay, copy_sparse};
use super::write_log::WriteLog;
use crate::{Random, command};

/// Cuts of one recovery that was itself cut.
const CUTS_OF_A_RECOVERY: usize = 4;

/// Something that works on a disk and can tell afterwards what a disk must show.
pub trait Work {
    /// What it does.
    fn name(&self) -> String;

    /// Works below `dir` and notes what is acknowledged, each with what `witness` counts by then.
    fn run(&mut self, dir: &Path, witness: &Witness);

    /// Opens what a power cut left in `dir`, on a disk that has kept its first `kept` requests. Gives how many promises
    /// it found kept; `Err` names one that is broken. Can be asked again about what it left itself.
    fn judge(&self, dir: &Path, kept: u64) -> Result<usize, String>;
}

/// How thoroughly.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Chooses the cuts. Threads race, so a log is not repeated by it: see `CAIRN_KEEP` for evidence that stays.
    pub seed: u64,
    /// Cuts at most.
    pub cuts: usize,
    /// Recoveries that are cut as well, at some moments each.
    pub recoveries: usize,
    /// Options of the filesystem below.
    pub mount: &'static str,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that the device saw.
    pub requests: usize,
    /// Cuts, all told.
    pub cuts: usize,
    /// Of those, the ones with a part of the writes that no flush had covered.
    pub torn: usize,
    /// Of those, the ones while a recovery was under way.
    pub in_recovery: usize,
    /// Promises that were found kept, each counted at every cut after it.
    pub promises: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.requests += other.requests;
        self.cuts += other.cuts;
        self.torn += other.torn;
        self.in_recovery += other.in_recovery;
        self.promises += other.promises;
    }
}

/// Runs `work` on a fresh disk, cuts the power at many moments and has each disk judged. Panics at the first that shows
/// what it must not.
pub fn prove(work: &mut dyn Work, plan: &Plan) -> Tally {
    let bench = Bench::new();
    let (image, base) = (bench.format("disk.img"), bench.path("base.img"));
    copy_sparse(&image, &base).expect("a copy of the empty disk");
    let disk = Disk::recorded(&bench, &image, "disk", plan.mount);
    work.run(&disk.root(), &disk.witness());
    let log = disk.finish();
    std::fs::remove_file(&image).expect("an image of ours");
    let mut random = Random::new(plan.seed);
    let cuts = cuts::choose(&log, plan.cuts, &mut random);
    let court = Court { bench: &bench, work, plan };
    let mut tally = Tally { requests: log.entries().len(), ..Tally::default() };
    let every = (cuts.len() / plan.recoveries.max(1)).max(1);
    let mut replay = Replay::new(&log, &base, bench.path("durable.img")).expect("a disk to replay on");
    for (number, cut) in cuts.iter().enumerate() {
        let crashed = bench.path("crashed.img");
        replay.crash_image(cut, &crashed).expect("a crash image");
        if plan.recoveries > 0 && number % every == every / 2 {
            tally += court.cut_the_recovery(&crashed, cut, &mut random);
        }
        let promises = court.judge(&crashed, cut.durable as u64).unwrap_or_else(|e| {
            let kept = court.keep(&log, &base, cut);
            panic!("{}, seed {}, {cut:?}: {e}{kept}", court.work.name(), plan.seed)
        });
        tally += Tally { cuts: 1, torn: usize::from(!cut.is_plain()), promises, ..Tally::default() };
    }
    tally
}

struct Court<'a> {
    bench: &'a Bench,
    work: &'a dyn Work,
    plan: &'a Plan,
}

impl Court<'_> {
    fn judge(&self, image: &Path, kept: u64) -> Result<usize, String> {
        let mounted = self.bench.mount(image, "crashed.mnt", self.plan.mount);
        self.judge_mounted(mounted.path(), kept)
    }

    fn judge_mounted(&self, dir: &Path, kept: u64) -> Result<usize, String> {
        let verdict = catch_unwind(AssertUnwindSafe(|| self.work.judge(dir, kept)));
        verdict.unwrap_or_else(|panic| Err(format!("panicked: {}", words_of(panic.as_ref()))))
    }

    /// Lets the work recover on a disk that is recorded, and cuts the power again meanwhile.
    fn cut_the_recovery(&self, crashed: &Path, cut: &PowerCut, random: &mut Random) -> Tally {
        let (image, base) = (self.bench.path("second.img"), self.bench.path("second-base.img"));
        for copy in [&image, &base] {
            copy_sparse(crashed, copy).expect("a copy of the crashed disk");
        }
        let disk = Disk::recorded(self.bench, &image, "second", self.plan.mount);
        let kept = cut.durable as u64;
        let fail = |when: &dyn std::fmt::Debug, e: String| -> ! {
            panic!("{}, seed {}, {cut:?}, recovery cut at {when:?}: {e}", self.work.name(), self.plan.seed)
        };
        if let Err(e) = self.judge_mounted(&disk.root(), kept) {
            fail(&"its end", e);
        }
        let log = disk.finish();
        // The ground that we stand on: if ext4 itself were broken by our replay, nothing above would prove anything.
        command::succeed(Command::new("e2fsck").args(["-fn"]).arg(&image));
        let mut tally = Tally::default();
        let mut replay = Replay::new(&log, &base, self.bench.path("second-durable.img")).expect("a disk to replay on");
        for second in cuts::choose(&log, CUTS_OF_A_RECOVERY, random) {
            replay.crash_image(&second, &image).expect("a crash image");
            let promises = self.judge(&image, kept).unwrap_or_else(|e| fail(&second, e));
            let torn = usize::from(!second.is_plain());
            tally += Tally { cuts: 1, torn, in_recovery: 1, promises, ..Tally::default() };
        }
        tally
    }

    /// Keeps the disk as the cut left it in the directory `CAIRN_KEEP`, if that is set.
    fn keep(&self, log: &WriteLog, base: &Path, cut: &PowerCut) -> String {
        let Some(dir) = std::env::var_os("CAIRN_KEEP").map(PathBuf::from) else {
            return "\n(CAIRN_KEEP=DIR keeps the disk that was found)".to_owned();
        };
        let image = dir.join(format!("{}-{}.img", self.work.name().replace(' ', "-"), cut.durable));
        let mut replay = Replay::new(log, base, self.bench.path("again.img")).expect("a disk to replay on");
        replay.crash_image(cut, &image).expect("a crash image");
        format!("\nkept: {}", image.display())
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
