//! Locks, atomics and threads.
//!
//! In every build that is used these are `parking_lot`'s and the system's. With `--cfg shuttle` they are those of a
//! scheduler that runs one thread at a time and tries out in which order they can follow each other; see
//! `scripts/schedules.sh`. So whatever threads share in this crate is imported from here.

// The disk store uses them all, the others some.
#[cfg(not(shuttle))]
#[cfg_attr(not(feature = "disk"), allow(unused_imports))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
#[cfg(not(shuttle))]
#[cfg_attr(not(feature = "disk"), allow(unused_imports))]
pub(crate) use std::{sync::atomic, thread};

#[cfg(shuttle)]
pub use explored::{Condvar, WaitTimeoutResult};
#[cfg(shuttle)]
pub use shuttle::{sync::atomic, thread};
#[cfg(shuttle)]
pub use shuttle_parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// What `shuttle_parking_lot` lacks.
#[cfg(shuttle)]
mod explored {
    use std::time::{Duration, Instant};

    use super::MutexGuard;

    /// A condition variable. It never wakes anybody by itself; time stands still for it, so that a deadline that has not
    /// passed when somebody begins to wait never does.
    #[derive(Debug, Default)]
    pub struct Condvar {
        /// How often it was rung: whoever waits notes it before the caller's lock is given back, so no ring is missed.
        rings: shuttle::sync::Mutex<u64>,
        rung: shuttle::sync::Condvar,
    }

    /// Whether a wait ended by its deadline.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct WaitTimeoutResult(bool);

    impl WaitTimeoutResult {
        /// Whether it did.
        pub fn timed_out(self) -> bool {
            self.0
        }
    }

    impl Condvar {
        /// Nobody waits.
        pub fn new() -> Self {
            Self::default()
        }

        /// Gives the lock back until somebody rings.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let mut rings = self.rings.lock().expect("unpoisoned");
            let before = *rings;
            MutexGuard::unlocked(guard, || {
                while *rings == before {
                    rings = self.rung.wait(rings).expect("unpoisoned");
                }
                drop(rings);
            });
        }

        /// The same, or not at all if the deadline has passed.
        pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> WaitTimeoutResult {
            let is_late = deadline <= Instant::now();
            if is_late {
                MutexGuard::unlocked(guard, shuttle::thread::yield_now);
            } else {
                self.wait(guard);
            }
            WaitTimeoutResult(is_late)
        }

        /// The same, for some time.
        pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> WaitTimeoutResult {
            self.wait_until(guard, Instant::now() + time)
        }

        /// Wakes one who waits.
        pub fn notify_one(&self) {
            *self.rings.lock().expect("unpoisoned") += 1;
            self.rung.notify_one();
        }

        /// Wakes all who wait.
        pub fn notify_all(&self) {
            *self.rings.lock().expect("unpoisoned") += 1;
            self.rung.notify_all();
        }
    }
}
