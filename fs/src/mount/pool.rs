//! Threads for operations that may wait.
//!
//! The dispatch threads read the kernel's queue and must never block; whatever may block comes here. Threads are started
//! when there is work and none is free, up to a bound, and end when nothing comes for a while. When every thread is busy
//! work queues; when the queue is full the answer is written here: the job is handed back and its caller is told "busy".
//! A job that hangs costs its thread and nothing else: its reply is taken away by the deadline, not by us.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, thread};

/// Work to be done once.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may queue: more than the kernel sends in the background (128), and room for a thousand callers besides.
pub(super) const QUEUE_MAX: usize = 1024;

/// An idle thread stays this long: longer than the pauses of a program that reads file after file.
const IDLE: Duration = Duration::from_secs(10);

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolLimits {
    pub(super) workers_max: usize,
    pub(super) queue_max: usize,
    pub(super) idle: Duration,
}

impl PoolLimits {
    pub(super) fn new(workers_max: usize) -> Self {
        Self { workers_max, queue_max: QUEUE_MAX, idle: IDLE }
    }
}

/// The pool. Dropping it lets the threads end by themselves; [`Pool::close`] waits for them.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    limits: PoolLimits,
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    workers: usize,
    idle: usize,
    closing: bool,
}

impl Pool {
    pub(super) fn new(limits: PoolLimits) -> Self {
        let shared = Shared { limits, state: Mutex::default(), work: Condvar::new(), ended: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Queues a job, or hands it back when the pool is full or closing.
    pub(super) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut state = self.shared.state.lock();
        if state.closing || state.queue.len() >= self.shared.limits.queue_max {
            return Err(job);
        }
        state.queue.push_back(job);
        if state.queue.len() > state.idle && state.workers < self.shared.limits.workers_max {
            self.start_worker(&mut state)?;
        }
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// One thread more. Without any thread the job can't stay queued; with some, they will come to it.
    fn start_worker(&self, state: &mut State) -> Result<(), Job> {
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name("cairn-worker".into()).spawn(move || shared.work());
        match spawned {
            Ok(_) => state.workers += 1,
            Err(error) => {
                tracing::warn!(%error, workers = state.workers, "no further worker could be started");
                if state.workers == 0 {
                    return state.queue.pop_back().map_or(Ok(()), Err);
                }
            }
        }
        Ok(())
    }

    /// Takes no more work, drops what queues, and waits up to `limit` for the threads. Returns how many are stuck.
    pub(super) fn close(&self, limit: Duration) -> usize {
        let until = Instant::now() + limit;
        let dropped = self.shared.begin_close();
        drop(dropped); // Jobs hold replies, and replies answer when dropped: not under the lock.
        let mut state = self.shared.state.lock();
        while state.workers > 0 {
            if self.shared.ended.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.workers
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.shared.begin_close());
    }
}

impl Shared {
    fn begin_close(&self) -> VecDeque<Job> {
        let mut state = self.state.lock();
        state.closing = true;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.work.notify_all();
        queue
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            // Operations catch their own panics and answer; this only keeps the count of workers right.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the mount's pool panicked outside of its operation");
            }
        }
        self.state.lock().workers -= 1;
        self.ended.notify_all();
    }

    /// The next job, or `None` when this thread should end.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.closing {
                return None;
            }
            state.idle += 1;
            let waited = self.work.wait_for(&mut state, self.limits.idle);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn small(workers_max: usize, queue_max: usize) -> Pool {
        Pool::new(PoolLimits { workers_max, queue_max, idle: Duration::from_millis(50) })
    }

    /// Occupies a worker until the sender is dropped.
    fn plug(pool: &Pool) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        let job = move || {
            let _ = started.send(());
            let _ = receiver.recv();
        };
        assert!(pool.submit(Box::new(job)).is_ok());
        running.recv_timeout(SOON).unwrap();
        sender
    }

    #[test]
    fn jobs_run_beside_one_that_hangs() {
        let pool = small(2, 8);
        let _plug = plug(&pool);
        let (sender, receiver) = mpsc::channel();
        for n in 0..4 {
            let sender = sender.clone();
            assert!(pool.submit(Box::new(move || sender.send(n).unwrap())).is_ok());
        }
        let mut seen: Vec<_> = (0..4).map(|_| receiver.recv_timeout(SOON).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn a_full_queue_hands_the_job_back() {
        let pool = small(1, 1);
        let plug = plug(&pool);
        assert!(pool.submit(Box::new(|| {})).is_ok(), "the queue has one place");
        assert!(pool.submit(Box::new(|| {})).is_err(), "and no second");
        drop(plug);
        assert_eq!(pool.close(SOON), 0);
    }

    #[test]
    fn workers_never_exceed_their_bound_and_idle_ones_end() {
        let pool = small(3, 64);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..32 {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let job = move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
            };
            assert!(pool.submit(Box::new(job)).is_ok());
        }
        let until = Instant::now() + SOON;
        while pool.shared.state.lock().workers > 0 {
            assert!(Instant::now() < until, "idle workers must end");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[test]
    fn closing_counts_the_stuck_and_drops_the_queued() {
        let pool = small(1, 8);
        let plug = plug(&pool);
        let token = Arc::new(());
        let held = Arc::clone(&token);
        assert!(pool.submit(Box::new(move || drop(held))).is_ok());
        assert_eq!(pool.close(Duration::from_millis(20)), 1);
        assert_eq!(Arc::strong_count(&token), 1, "the queued job is gone");
        assert!(pool.submit(Box::new(|| {})).is_err(), "a closed pool takes nothing");
        drop(plug);
        assert_eq!(pool.close(SOON), 0);
    }

    #[test]
    fn a_panicking_job_costs_no_worker() {
        let pool = small(1, 8);
        assert!(pool.submit(Box::new(|| panic!("on purpose"))).is_ok());
        let (sender, receiver) = mpsc::channel();
        assert!(pool.submit(Box::new(move || sender.send(()).unwrap())).is_ok());
        receiver.recv_timeout(SOON).unwrap();
    }
}
