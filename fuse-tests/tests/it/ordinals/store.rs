//! A store under faults. What it acknowledged is told through a pipe; afterwards another process, without faults, opens the
//! store and looks for all of it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_fuse_tests::rigs::injection::{self, Effect, Fault, spread};
use cairn_fuse_tests::rigs::syncs;
use cairn_fuse_tests::{Random, Scale, Scratch, command, figure, report, skip};

use super::{CALLS, effects};

/// Steps of the workload: enough for two hundred syncs and writes of the thread that works, collections included.
const STEPS: u64 = 260;
/// Ordinals of each call that are given each error.
const ERROR_ORDINALS: u64 = 200;
/// Ordinals at which the process is killed: of all calls together, two thousand and more.
const KILL_ORDINALS: u64 = 400;
/// What the loader of programs ends with when it can't read a library.
const NOT_LOADED: i32 = 127;
/// Cases that run beside each other.
const LANES: usize = 2;

/// The example of the store that does the work.
fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().expect("the path of this program");
    let program = own.ancestors().nth(2).expect("target/release").join("examples/store_work");
    program.is_file().then_some(program)
}

macro_rules! program {
    () => {
        match (program(), injection::is_possible()) {
            (_, Err(reason)) => skip!("{reason}"),
            (None, _) => skip!(
                "the store's example store_work was not built: `cargo test --workspace` and `make prove ROW=ordinals` build it"
            ),
            (Some(program), Ok(())) => program,
        }
    };
}

/// One store and everything it said.
struct Case<'a> {
    program: &'a Path,
    scratch: Scratch,
    said: String,
    runs: u64,
}

impl<'a> Case<'a> {
    fn new(program: &'a Path) -> Case<'a> {
        Case { program, scratch: Scratch::in_memory(), said: String::new(), runs: 0 }
    }

    fn store(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    /// Works under a fault. Whether it struck, be it before the program was even loaded.
    fn run(&mut self, fault: &Fault) -> Result<bool, String> {
        let record = self.scratch.path().join("record");
        let _ = std::fs::remove_file(&record);
        let mut work = fault.command(&record, self.program);
        work.arg("run").arg(self.store()).args([self.runs.to_string(), STEPS.to_string()]);
        self.runs += 1;
        let output = command::run(&mut work);
        self.said += &String::from_utf8_lossy(&output.stdout);
        if output.status.code() == Some(NOT_LOADED) {
            return Ok(true);
        }
        let was_killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
        if !(output.status.success() || was_killed && fault.effect == Effect::Kill) {
            return Err(format!("{fault}: ended with {}\n{}", output.status, command::transcript(&output)));
        }
        if let Some(wrong) = syncs::unfounded(&String::from_utf8_lossy(&std::fs::read(&record).unwrap_or_default())) {
            return Err(format!("a false acknowledgement: {wrong}"));
        }
        Ok(was_killed || Fault::has_struck(&record))
    }

    /// Opens the store without faults and looks for everything.
    fn check(&self) -> Result<(), String> {
        let said = self.scratch.path().join("said");
        std::fs::write(&said, &self.said).expect("write");
        let mut check = Command::new(self.program);
        check.arg("check").arg(self.store()).stdin(Stdio::from(std::fs::File::open(&said).expect("open")));
        let output = command::run(&mut check);
        if output.status.success() {
            return Ok(());
        }
        let errors: Vec<_> = self.said.lines().filter(|line| line.starts_with("e ")).take(8).collect();
        Err(format!("{}\nit had said {errors:#?}", command::transcript(&output)))
    }
}

/// What many cases came to.
#[derive(Debug, Default)]
struct Tally {
    struck: AtomicU64,
    refused: AtomicU64,
    read_only: AtomicU64,
    again: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn count(&self, case: &Case<'_>) {
        self.struck.fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(u64::from(case.said.contains("\ne ") || case.said.starts_with("e ")), Ordering::Relaxed);
        self.read_only.fetch_add(u64::from(case.said.contains("\nr\n")), Ordering::Relaxed);
    }

    /// Said at once: a long form goes on for a while.
    fn wrong(&self, what: String) {
        report::say(&what);
        self.wrong.lock().expect("a lock").push(what);
    }

    #[track_caller]
    fn assert_right(&self) {
        let wrong = self.wrong.lock().expect("a lock");
        assert!(wrong.is_empty(), "{} cases went wrong\n{}", wrong.len(), wrong.join("\n---\n"));
        assert!(self.struck.load(Ordering::Relaxed) > 0, "no fault struck");
    }
}

/// Runs series of ordinals beside each other; a series ends where its workload makes no more such calls.
fn run_all(series: Vec<Vec<Fault>>, tally: &Tally, one: impl Fn(&Fault) -> Result<bool, String> + Sync) {
    let queue = Mutex::new(series);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(faults) = { queue.lock().expect("a lock").pop() } {
                    for fault in faults {
                        match one(&fault) {
                            Ok(true) => {}
                            Ok(false) => break,
                            Err(wrong) => tally.wrong(format!("{fault}: {wrong}")),
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn no_error_at_any_call_becomes_a_false_acknowledgement() {
    let program = program!();
    let series = CALLS.iter().flat_map(|(calls, errors)| {
        effects(errors).map(|effect| {
            let ordinals = Scale::pick(sample(calls, effect), (1..=ERROR_ORDINALS).collect());
            ordinals.into_iter().map(|ordinal| Fault { calls, effect, ordinal }).collect()
        })
    });
    let tally = Tally::default();
    run_all(series.collect(), &tally, |fault| {
        let mut case = Case::new(&program);
        let has_struck = case.run(fault)?;
        if has_struck {
            tally.count(&case);
        }
        case.check().map(|()| has_struck)
    });
    tally.assert_right();
    figure!(
        "{} errors at ordinals of {} calls: 0 false acknowledgements; {} were told to the caller, {} left the store \
         read-only and saying so",
        tally.struck.load(Ordering::Relaxed),
        CALLS.len(),
        tally.refused.load(Ordering::Relaxed),
        tally.read_only.load(Ordering::Relaxed)
    );
}

/// A few ordinals, other ones for each call and effect.
fn sample(calls: &str, effect: Effect) -> Vec<u64> {
    let salt = format!("{calls}{effect:?}").bytes().map(u64::from).sum::<u64>();
    let mut random = Random::new(salt);
    vec![1 + random.below(4), 5 + random.below(30)]
}

#[test]
fn a_kill_at_any_call_loses_nothing_acknowledged() {
    let program = program!();
    let series = CALLS.iter().map(|(calls, _)| {
        let ordinals =
            Scale::pick(spread(100).into_iter().step_by(4).collect(), (1..=KILL_ORDINALS).collect::<Vec<_>>());
        ordinals.into_iter().map(|ordinal| Fault { calls, effect: Effect::Kill, ordinal }).collect()
    });
    let tally = Tally::default();
    run_all(series.collect(), &tally, |fault| {
        let mut case = Case::new(&program);
        let has_struck = case.run(fault)?;
        if !has_struck {
            return case.check().map(|()| false);
        }
        tally.count(&case);
        if fault.ordinal / 3 % 2 == 1 {
            // And again, soon after the start: while it recovers.
            let soon = Fault { ordinal: 1 + fault.ordinal % 23, ..*fault };
            tally.again.fetch_add(u64::from(case.run(&soon)?), Ordering::Relaxed);
        }
        case.check().map(|()| true)
    });
    tally.assert_right();
    let (kills, again) = (tally.struck.load(Ordering::Relaxed), tally.again.load(Ordering::Relaxed));
    let what = "at system calls while it worked";
    figure!("{} kills: {kills} {what}, {again} during the recovery from them; 0 lost", kills + again);
    if Scale::of_this_run() == Scale::Full && kills + again < 2000 {
        report::left_out(
            "ordinals::store",
            &format!("the workload makes only {} calls to be killed at", kills + again),
        );
    }
}
