//! Where a request is worked on: first at once from memory, else by the pool, always with an answer in time.
//!
//! ```text
//! kernel ─> dispatch thread ── Wait::Never ──> answered                    (most requests)
//!                          └── WouldWait ────> pool ── Wait::Until ──> answered
//!                                                └ deadline ─────────> ETIMEDOUT, what comes later is undone
//! ```
//!
//! A request has exactly one reply object. While the pool has the work, the object lies in a [`Slot`] that the worker and
//! the deadline share: whoever takes it answers. A result that finds the slot empty is given back to the volume: the
//! kernel never heard of that lookup reference or handle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::Level;

use super::counts::{Counters, Counts, RequestKind, add};
use super::deadline::{Deadlines, Expire};
use super::linger::Linger;
use super::listing::ListingSize;
use super::pool::{Pool, PoolLimits};
use crate::error::FsError;
use crate::ops::{Operations, Wait};
use crate::sync::Mutex;

/// A reply object of some kind of request.
pub(super) trait Answer: Send + 'static {
    /// What it carries back.
    type Value: Send + 'static;

    /// Answers with a value.
    fn send(self, desk: &Desk, value: Self::Value);

    /// Answers with an error.
    fn refuse(self, error: &FsError);

    /// Gives back to the volume what a value holds, when nobody is left to be told.
    fn undo(_desk: &Desk, _value: Self::Value) {}
}

/// Everything that working on requests takes.
pub(super) struct Desk {
    ops: Arc<dyn Operations>,
    pool: Pool,
    deadlines: Deadlines,
    deadline: Duration,
    counters: Counters,
    linger: OnceLock<Linger>,
    /// How many entries the kernel's buffers took, of names and of names with attributes.
    pub(super) names: ListingSize,
    pub(super) entries: ListingSize,
}

impl Desk {
    pub(super) fn new(ops: Arc<dyn Operations>, deadline: Duration, workers_max: usize) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            ops,
            pool: Pool::new(PoolLimits::new(workers_max)),
            deadlines: Deadlines::start()?,
            deadline,
            counters: Counters::default(),
            linger: OnceLock::new(),
            names: ListingSize::default(),
            entries: ListingSize::default(),
        }))
    }

    /// From here on a thread that has answered stays awake for a moment.
    pub(super) fn linger(&self, linger: Linger) {
        // There is one device to a desk.
        let _ = self.linger.set(linger);
    }

    pub(super) fn ops(&self) -> &dyn Operations {
        &*self.ops
    }

    pub(super) fn ops_shared(&self) -> Arc<dyn Operations> {
        Arc::clone(&self.ops)
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// See [`Pool::close`].
    pub(super) fn close(&self, limit: Duration) -> usize {
        self.pool.close(limit)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// Counts a request that is answered without asking the volume.
    pub(super) fn count(&self, kind: RequestKind) {
        self.counters.request(kind);
    }

    /// Answers from memory, or lets the pool answer. `work` is called again after it said [`FsError::WouldWait`].
    pub(super) fn answer<A: Answer>(
        self: &Arc<Self>,
        kind: RequestKind,
        reply: A,
        work: impl Fn(&dyn Operations, Wait) -> Result<A::Value, FsError> + Send + 'static,
    ) {
        self.count(kind);
        match self.guard(kind, || work(self.ops(), Wait::Never)) {
            Err(FsError::WouldWait) => self.hand_over(kind, reply, work),
            result => {
                self.reply(kind, reply, result);
                self.linger.get().inspect(|linger| linger.wait());
            }
        }
    }

    /// Lets the pool answer what is known to wait, or to take long.
    pub(super) fn answer_later<A: Answer>(
        self: &Arc<Self>,
        kind: RequestKind,
        reply: A,
        work: impl FnOnce(&dyn Operations, Wait) -> Result<A::Value, FsError> + Send + 'static,
    ) {
        self.count(kind);
        self.hand_over(kind, reply, work);
    }

    /// What is in memory, for whoever can do without it: a panic is logged and goes no further.
    pub(super) fn look<T>(
        &self,
        kind: RequestKind,
        look: impl FnOnce(&dyn Operations) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        self.guard(kind, || look(self.ops()))
    }

    /// For what has no reply and no result: a panic is logged and goes no further.
    pub(super) fn tell(&self, kind: RequestKind, work: impl FnOnce(&dyn Operations)) {
        let _ = self.guard(kind, || {
            work(self.ops());
            Ok(())
        });
    }

    fn hand_over<A: Answer>(
        self: &Arc<Self>,
        kind: RequestKind,
        reply: A,
        work: impl FnOnce(&dyn Operations, Wait) -> Result<A::Value, FsError> + Send + 'static,
    ) {
        add(&self.counters.waited);
        let until = Instant::now() + self.deadline;
        let slot = Arc::new(Slot { kind, reply: Mutex::new(Some(reply)), desk: Arc::clone(self) });
        let late: Arc<dyn Expire> = slot.clone();
        let watch = self.deadlines.watch(until, Arc::downgrade(&late));
        let own = Arc::clone(&slot);
        let job = move || {
            let _watch = watch;
            own.work(until, work);
        };
        if self.pool.submit(Box::new(job)).is_err() {
            add(&self.counters.refused);
            slot.fail(&FsError::Busy);
        }
    }

    fn reply<A: Answer>(&self, kind: RequestKind, reply: A, result: Result<A::Value, FsError>) {
        match result {
            Ok(value) => reply.send(self, value),
            Err(error) => {
                log(kind, &error);
                reply.refuse(&error);
            }
        }
    }

    fn guard<T>(&self, kind: RequestKind, call: impl FnOnce() -> Result<T, FsError>) -> Result<T, FsError> {
        catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
            add(&self.counters.panicked);
            Err(FsError::Panicked { op: kind.name() })
        })
    }
}

/// Logged here, where it is handled: the caller gets a number, the log says which block of what.
fn log(kind: RequestKind, error: &FsError) {
    let op = kind.name();
    match error.level() {
        Level::ERROR => tracing::error!(op, error = %Chain(error), "a file operation failed"),
        Level::WARN => tracing::warn!(op, error = %Chain(error), "a file operation failed"),
        _ => tracing::trace!(op, %error, "refused"),
    }
}

/// An error with everything that caused it, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A reply that a worker and a deadline both may take.
struct Slot<A: Answer> {
    kind: RequestKind,
    reply: Mutex<Option<A>>,
    desk: Arc<Desk>,
}

impl<A: Answer> Slot<A> {
    fn work(&self, until: Instant, work: impl FnOnce(&dyn Operations, Wait) -> Result<A::Value, FsError>) {
        if self.reply.lock().is_none() {
            return; // The deadline passed in the queue: nothing was done, nothing has to be.
        }
        let result = self.desk.guard(self.kind, || work(self.desk.ops(), Wait::Until(until)));
        match (self.take(), result) {
            (Some(reply), result) => self.desk.reply(self.kind, reply, result),
            (None, Ok(value)) => A::undo(&self.desk, value),
            (None, Err(error)) => log(self.kind, &error),
        }
    }

    fn take(&self) -> Option<A> {
        self.reply.lock().take()
    }

    fn fail(&self, error: &FsError) {
        if let Some(reply) = self.take() {
            log(self.kind, error);
            reply.refuse(error);
        }
    }
}

impl<A: Answer> Expire for Slot<A> {
    fn expire(&self) {
        add(&self.desk.counters.timed_out);
        self.fail(&FsError::TimedOut);
    }
}
