//! Random histories by seed, for whoever holds something against a model.
//!
//! A seed makes a history, one step after the other, so that a short history is the beginning of a long one. What fails is
//! cut to the steps up to the failure, thinned out as far as it still fails, and shown with the seed that plays it again:
//! `CAIRN_SEED=…`.

use std::cell::Cell;
use std::fmt::Debug;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a failing history is thinned out. What is left after that is short enough to read, or never will be.
const THINNING_TIME_MAX: Duration = Duration::from_secs(60);
/// Steps shown of a history that did not fail again.
const TAIL_SHOWN: usize = 40;

/// How many histories, and how long each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Histories, each with a seed of its own.
    pub runs: u64,
    /// Steps of each.
    pub steps: usize,
}

impl Extent {
    /// `full` if `CAIRN_SCALE` is `full`, else `short`.
    pub fn pick(short: Extent, full: Extent) -> Extent {
        match std::env::var("CAIRN_SCALE").as_deref() {
            Ok("full") => full,
            Ok("short") | Err(_) => short,
            Ok(other) => panic!("CAIRN_SCALE is `{other}`: it can be `short` or `full`"),
        }
    }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that always gives the same sequence for `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..end`; `end` must not be zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Up to `len_max` things.
    pub fn some<T>(&mut self, len_max: u64, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..self.below(len_max + 1)).map(|_| make(self)).collect()
    }
}

/// Plays histories. `step` makes the next step of one; `play` carries the steps out and panics at a difference.
///
/// The long extent is played on all cores. With `CAIRN_SEED` set only that history is played, as long as the longer of the
/// two extents makes it.
pub fn explore<S: Clone + Debug>(
    name: &str,
    (short, full): (Extent, Extent),
    step: impl Fn(&mut Random) -> S + Sync,
    play: impl Fn(&mut dyn Iterator<Item = S>) + Sync,
) {
    let fixed = std::env::var("CAIRN_SEED").ok().map(|seed| seed.parse().expect("CAIRN_SEED is a number"));
    let extent = match fixed {
        Some(_) => Extent { runs: 1, steps: short.steps.max(full.steps) },
        None => Extent::pick(short, full),
    };
    let first = fixed.unwrap_or_else(seed_of_the_clock);
    println!("{name}: {} histories of {} steps, seeds from {first}", extent.runs, extent.steps);
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    // The first failure that any thread met; the others finish the history they are at.
    let failed = Mutex::new(None);
    let work = || {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= extent.runs {
                return;
            }
            let seed = first.wrapping_add(run);
            let mut random = Random::new(seed);
            let history: Vec<S> = (0..extent.steps).map(|_| step(&mut random)).collect();
            if let Some(taken) = failure(&history, &play, false) {
                next.store(extent.runs, Ordering::Relaxed);
                lock(&failed).get_or_insert((seed, taken));
            }
        }
    };
    let is_full = extent.runs == full.runs;
    let threads = if is_full { thread::available_parallelism().map_or(1, NonZero::get) } else { 1 };
    thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    if let Some((seed, taken)) = *lock(&failed) {
        let mut random = Random::new(seed);
        let failing: Vec<S> = (0..taken).map(|_| step(&mut random)).collect();
        report(name, seed, &failing, &play);
    }
    println!("{name}: no difference in {:.1} s", begun.elapsed().as_secs_f64());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn seed_of_the_clock() -> u64 {
    // Few digits are easier to copy; a billion runs are further apart than this.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_micros() as u64 % 1_000_000_000_000)
}

/// How many steps were taken when it failed; `None` if it did not.
fn failure<S: Clone>(history: &[S], play: &impl Fn(&mut dyn Iterator<Item = S>), quietly: bool) -> Option<usize> {
    let taken = Cell::new(0);
    let mut steps = history.iter().cloned().inspect(|_| taken.set(taken.get() + 1));
    let was_quiet = QUIET.replace(quietly);
    hush();
    let result = catch_unwind(AssertUnwindSafe(|| play(&mut steps)));
    QUIET.set(was_quiet);
    result.is_err().then(|| taken.get())
}

fn report<S: Clone + Debug>(name: &str, seed: u64, failing: &[S], play: &impl Fn(&mut dyn Iterator<Item = S>)) -> ! {
    println!("{name}: seed {seed} fails at step {} of its history; thinning it out", failing.len());
    let short = thin_out(failing, play);
    if failure(&short, play, false).is_none() {
        let tail = &failing[failing.len().saturating_sub(TAIL_SHOWN)..];
        panic!("{name}: CAIRN_SEED={seed} failed, but not again. Its last {} steps were {tail:#?}", tail.len());
    }
    panic!("{name}: CAIRN_SEED={seed} plays it again. What is left of {} steps fails too: {short:#?}", failing.len());
}

/// Leaves out whatever is not needed for a failure: halves first, single steps last.
fn thin_out<S: Clone>(failing: &[S], play: &impl Fn(&mut dyn Iterator<Item = S>)) -> Vec<S> {
    let begun = Instant::now();
    let mut left = failing.to_vec();
    let mut len = left.len() / 2;
    while len > 0 {
        let mut at = 0;
        while at < left.len() && begun.elapsed() < THINNING_TIME_MAX {
            let mut without = left.clone();
            without.drain(at..(at + len).min(left.len()));
            match failure(&without, play, true) {
                Some(taken) => {
                    without.truncate(taken);
                    left = without;
                }
                None => at += len,
            }
        }
        len /= 2;
    }
    left
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics of a thread that is thinning out are expected, and not shown.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                shown(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_history_is_thinned_out_to_what_fails() {
        // Fails at the first 7 that comes after a 3.
        let play = |steps: &mut dyn Iterator<Item = u64>| {
            let mut armed = false;
            for step in steps {
                assert!(!(armed && step == 7));
                armed |= step == 3;
            }
        };
        let mut random = Random::new(1);
        let history: Vec<u64> = (0..1000).map(|_| random.below(10)).collect();
        let taken = failure(&history, &play, true).expect("it fails");
        assert_eq!(history[taken - 1], 7);
        assert_eq!(thin_out(&history[..taken], &play), [3, 7]);
    }

    #[test]
    fn a_history_is_the_beginning_of_a_longer_one_of_its_seed() {
        let make = |steps: usize| {
            let mut random = Random::new(42);
            (0..steps).map(|_| random.bits()).collect::<Vec<_>>()
        };
        assert_eq!(make(10)[..], make(20)[..10]);
    }
}
