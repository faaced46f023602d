//! When a fault strikes, and what it does to the call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;

use crate::StoreError;

/// Each call that can be made to fail, named as its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Call {
    Get,
    Put,
    Has,
    Claim,
    Sync,
    PutHead,
    Heads,
    DropHeads,
    AppendDelta,
    Deltas,
    TrimDeltas,
    Volumes,
    Hint,
    PutHint,
    BeginCollection,
    Sweep,
    Scrub,
    Evict,
    Contents,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`.
    Io,
    /// `ENOSPC`.
    Full,
    /// `EMFILE`.
    TooManyFiles,
    /// A timeout, at once.
    Timeout,
    /// It takes this much longer. A get that is late by then times out.
    Delay(Duration),
    /// A get's bytes are damaged on their way. Other calls carry no bytes out and go on unharmed.
    Damage,
    /// It hangs: a get until its deadline, others until [`Faults::release`].
    Stuck,
}

/// Which calls a fault strikes.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// `None` is every call.
    call: Option<Call>,
    when: When,
    fault: Fault,
    is_done_first: bool,
}

#[derive(Debug, Clone, Copy)]
enum When {
    /// The one call of this number, counted from 1 since the rule was added.
    Nth(u64),
    /// That call and all after it.
    From(u64),
    /// Each call with this chance.
    PerMille(u64),
}

impl Rule {
    /// Strikes the `n`th such call from now on, counted from 1.
    pub fn nth(call: Call, n: u64, fault: Fault) -> Self {
        Self::new(Some(call), When::Nth(n), fault)
    }

    /// Strikes the `n`th such call from now on, and all after it: a disk that has filled up, or died.
    pub fn from(call: Call, n: u64, fault: Fault) -> Self {
        Self::new(Some(call), When::From(n), fault)
    }

    /// Strikes such calls with a chance of `per_mille` in a thousand.
    pub fn by_chance(call: Call, per_mille: u64, fault: Fault) -> Self {
        Self::new(Some(call), When::PerMille(per_mille), fault)
    }

    /// Strikes the `n`th call of any kind from now on: for trying every ordinal of a workload in turn.
    pub fn nth_of_any(n: u64, fault: Fault) -> Self {
        Self::new(None, When::Nth(n), fault)
    }

    /// The call does its work and fails nevertheless: its caller cannot know.
    pub fn although_done(self) -> Self {
        Self { is_done_first: true, ..self }
    }

    fn new(call: Option<Call>, when: When, fault: Fault) -> Self {
        Self { call, when, fault, is_done_first: false }
    }
}

/// The schedule of a [`FaultyStore`](crate::FaultyStore). Clones are handles to the same schedule.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

struct Shared {
    schedule: Mutex<Schedule>,
    released: Condvar,
}

struct Schedule {
    rules: Vec<(Rule, u64)>,
    calls: HashMap<Call, u64>,
    struck: u64,
    random: u64,
    releases: u64,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        let schedule = Schedule { rules: Vec::new(), calls: HashMap::new(), struck: 0, random: seed, releases: 0 };
        Self { shared: Arc::new(Shared { schedule: Mutex::new(schedule), released: Condvar::new() }) }
    }

    /// Adds a rule. Where several strike the same call, the first added does.
    pub fn add(&self, rule: Rule) {
        self.shared.schedule.lock().rules.push((rule, 0));
    }

    /// Removes all rules, and lets go what is stuck.
    pub fn clear(&self) {
        self.shared.schedule.lock().rules.clear();
        self.release();
    }

    /// Lets every call that is stuck go on.
    pub fn release(&self) {
        self.shared.schedule.lock().releases += 1;
        self.shared.released.notify_all();
    }

    /// How often this was called.
    pub fn calls(&self, call: Call) -> u64 {
        self.shared.schedule.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// How many calls of any kind there were.
    pub fn calls_of_any(&self) -> u64 {
        self.shared.schedule.lock().calls.values().sum()
    }

    /// How many calls were struck.
    pub fn struck(&self) -> u64 {
        self.shared.schedule.lock().struck
    }

    /// Counts a call and decides what happens to it.
    pub(super) fn strike(&self, call: Call) -> Strike<'_> {
        let rule = self.shared.schedule.lock().decide(call);
        Strike { faults: self, call, rule }
    }

    /// Blocks until a release, or the deadline if there is one.
    fn wait(&self, deadline: Option<Instant>) {
        let mut schedule = self.shared.schedule.lock();
        let releases = schedule.releases;
        while schedule.releases == releases {
            match deadline {
                None => self.shared.released.wait(&mut schedule),
                Some(deadline) => {
                    if self.shared.released.wait_until(&mut schedule, deadline).timed_out() {
                        return;
                    }
                }
            }
        }
    }
}

impl Schedule {
    fn decide(&mut self, call: Call) -> Option<Rule> {
        *self.calls.entry(call).or_default() += 1;
        let mut struck = None;
        for (rule, count) in &mut self.rules {
            if rule.call.is_some_and(|wanted| wanted != call) {
                continue;
            }
            *count += 1;
            let strikes = match rule.when {
                When::Nth(n) => *count == n,
                When::From(n) => *count >= n,
                When::PerMille(chance) => next_random(&mut self.random) % 1000 < chance,
            };
            if strikes {
                struck = struck.or(Some(*rule));
            }
        }
        self.struck += u64::from(struck.is_some());
        struck
    }
}

/// SplitMix64: enough for a schedule, and the same on every machine.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What was decided for one call.
pub(super) struct Strike<'a> {
    faults: &'a Faults,
    call: Call,
    rule: Option<Rule>,
}

impl Strike<'_> {
    pub(super) fn is(&self, fault: Fault) -> bool {
        self.rule.is_some_and(|rule| rule.fault == fault)
    }

    /// Runs the call, or keeps it from running, as was decided.
    pub(super) fn around<T>(
        &self,
        deadline: Option<Instant>,
        run: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(rule) = self.rule else {
            return run();
        };
        if let Some(error) = self.error_of(rule.fault) {
            if rule.is_done_first {
                run()?;
            }
            return Err(error);
        }
        let begun = Instant::now();
        self.hold(rule.fault, deadline);
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(self.timeout(begun.elapsed()));
        }
        run()
    }

    fn error_of(&self, fault: Fault) -> Option<StoreError> {
        let system = |errno: Errno| StoreError::io("reach", "the faulty store", errno.into());
        match fault {
            Fault::Io => Some(system(Errno::IO)),
            Fault::Full => Some(system(Errno::NOSPC)),
            Fault::TooManyFiles => Some(system(Errno::MFILE)),
            Fault::Timeout => Some(self.timeout(Duration::ZERO)),
            Fault::Delay(_) | Fault::Damage | Fault::Stuck => None,
        }
    }

    /// Takes the time that the fault takes, at most until the deadline.
    fn hold(&self, fault: Fault, deadline: Option<Instant>) {
        match fault {
            Fault::Delay(delay) => {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                std::thread::sleep(left.map_or(delay, |left| left.min(delay)));
            }
            Fault::Stuck => self.faults.wait(deadline),
            _ => {}
        }
    }

    fn timeout(&self, waited: Duration) -> StoreError {
        let op = match self.call {
            Call::Get => "get",
            Call::Put => "put",
            Call::Sync => "sync",
            _ => "the call",
        };
        StoreError::Timeout { op, waited }
    }
}
