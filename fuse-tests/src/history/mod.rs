//! A workload whose every step is known, and the judge of what a crash left of it.
//!
//! Several workers change one directory each, one system call per step, and note when each call started and ended
//! (a counter shared by all). The notes live in this process, outside of what is tested. After a crash the judge asks:
//!
//! 1. Is each directory a state that its worker went through: the first `p` steps, all of them, and nothing else?
//! 2. Is everything there that had ended before an `fsync` that succeeded had started, by whichever worker?
//! 3. Is the whole a prefix: if a step is there, so is every step that had ended before it started?
//!
//! [`model`] is what a directory should look like after a step, [`step`] how a step is chosen and made.

mod judge;
mod model;
mod step;

pub use judge::Verdict;
pub use model::Model;
pub use step::Step;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Random;

/// A step that was begun, and when.
#[derive(Debug, Clone)]
pub struct Note {
    /// What was asked for.
    pub step: Step,
    /// The shared counter before the call.
    pub started: u64,
    /// The shared counter after a call that succeeded; `None` for the call that the crash cut off.
    pub ended: Option<u64>,
}

/// All that one worker did in its directory, from the very first step on.
#[derive(Debug, Clone, Default)]
struct Diary {
    notes: Vec<Note>,
}

/// The workload so far, over any number of crashes.
#[derive(Debug)]
pub struct History {
    root: PathBuf,
    diaries: Vec<Diary>,
    clock: AtomicU64,
    seed: u64,
}

impl History {
    /// A workload of `workers` directories below `root`, which has to be on the filesystem under test.
    pub fn new(root: &Path, workers: usize, seed: u64) -> std::io::Result<History> {
        for worker in 0..workers {
            std::fs::create_dir_all(folder(root, worker))?;
        }
        File::open(root)?.sync_all()?;
        Ok(History {
            root: root.to_path_buf(),
            diaries: vec![Diary::default(); workers],
            clock: AtomicU64::new(0),
            seed,
        })
    }

    /// Works until `stop` is set or the filesystem dies under it. Any other failure of a step is an answer too: its text.
    pub fn work(&mut self, stop: &AtomicBool) -> Result<(), String> {
        self.seed = self.seed.wrapping_add(1);
        let (root, clock, seed) = (&self.root, &self.clock, self.seed);
        std::thread::scope(|scope| {
            let workers: Vec<_> = self
                .diaries
                .iter_mut()
                .enumerate()
                .map(|(worker, diary)| {
                    let random = Random::new(seed.wrapping_mul(1_000).wrapping_add(worker as u64));
                    scope.spawn(move || diary.work(&folder(root, worker), random, clock, stop))
                })
                .collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker doesn't panic"))
        })
    }

    /// How many steps were begun.
    pub fn len(&self) -> usize {
        self.diaries.iter().map(|diary| diary.notes.len()).sum()
    }

    /// Whether nothing was done yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Diary {
    fn work(&mut self, root: &Path, mut random: Random, clock: &AtomicU64, stop: &AtomicBool) -> Result<(), String> {
        let mut model = Model::after(self.notes.iter().map(|note| &note.step));
        while !stop.load(Ordering::Relaxed) {
            let step = Step::choose(&model, &mut random);
            let started = clock.fetch_add(1, Ordering::SeqCst);
            let outcome = step.make(root);
            let ended = outcome.is_ok().then(|| clock.fetch_add(1, Ordering::SeqCst));
            self.notes.push(Note { step: step.clone(), started, ended });
            match outcome {
                Ok(()) => model.apply(&step),
                // A write that was cut off tells how far it came; the next call tells that the node is gone.
                Err(error) if is_death(&error) || File::open(root).and_then(|root| root.sync_all()).is_err() => {
                    return Ok(());
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(format!("{step:?} failed: {error}"));
                }
            }
        }
        Ok(())
    }
}

/// What a call says when the process behind the mount is gone.
fn is_death(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let deaths = [Errno::NOTCONN, Errno::CONNABORTED, Errno::IO, Errno::NODEV];
    error.raw_os_error().is_some_and(|code| deaths.iter().any(|death| death.raw_os_error() == code))
}

fn folder(root: &Path, worker: usize) -> PathBuf {
    root.join(format!("worker-{worker}"))
}
