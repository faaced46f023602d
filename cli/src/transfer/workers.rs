//! A bounded crew: one producer, a few workers, a short queue between them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::errors::Outcome;

/// Jobs that wait. Each holds an open file at most, so that the queue stays far below a limit of 1,024 descriptors.
const JOBS_MAX: usize = 128;

/// The queue's end that the producer holds.
pub(super) struct Jobs<J>(SyncSender<J>);

impl<J> Jobs<J> {
    /// Hands a job over; waits while the queue is full. Returns `false` when the workers have stopped.
    pub(super) fn give(&self, job: J) -> bool {
        self.0.send(job).is_ok()
    }
}

/// Runs `produce` on this thread and `work` on `count` others until all jobs are done. The first failure of either stops
/// everything and is returned.
pub(super) fn run<J: Send>(
    count: usize,
    produce: impl FnOnce(&Jobs<J>) -> Outcome<()>,
    work: impl Fn(J) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let (sender, receiver) = sync_channel(JOBS_MAX);
    // Owned by the workers alone: when the last one stops, the producer's next job is refused instead of waiting for ever.
    let receiver = std::sync::Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count.max(1))
            .map(|_| {
                let (receiver, work) = (receiver.clone(), &work);
                scope.spawn(move || work_until_done(&receiver, work))
            })
            .collect();
        drop(receiver);
        let jobs = Jobs(sender);
        let produced = produce(&jobs);
        drop(jobs);
        let worked = workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        produced.and(worked)
    })
}

fn work_until_done<J>(receiver: &Mutex<Receiver<J>>, work: &impl Fn(J) -> Outcome<()>) -> Outcome<()> {
    loop {
        // The lock is held only while waiting for one job; the others then wait here instead.
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => work(job)?,
            Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::{Failure, Kind};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_job_is_done_once() {
        let sum = AtomicU64::new(0);
        run(
            3,
            |jobs| {
                assert!((1..=1000u64).all(|job| jobs.give(job)));
                Ok(())
            },
            |job| {
                sum.fetch_add(job, Ordering::Relaxed);
                Ok(())
            },
        )
        .expect("nothing fails");
        assert_eq!(sum.into_inner(), 500_500);
    }

    #[test]
    fn a_worker_that_fails_stops_the_producer() {
        let failed = run(
            2,
            |jobs| {
                while jobs.give(()) {}
                Ok(())
            },
            |()| Err(Failure::new(Kind::Interrupted, "stop")),
        );
        assert_eq!(failed.expect_err("it failed").kind, Kind::Interrupted);
    }
}
