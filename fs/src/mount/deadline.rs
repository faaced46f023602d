//! One thread that takes replies away from operations that are late.
//!
//! A stuck worker can't be stopped, so it must not own the reply: the reply lies in a slot that worker and timer share, and
//! whoever comes first takes it. Operations that end in time leave the list when their [`Watch`] is dropped, so the list is
//! as long as what is under way and no longer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// Something that can be late.
pub(super) trait Expire: Send + Sync {
    /// The deadline passed. Called once at most, without locks held.
    fn expire(&self);
}

type Key = (Instant, u64);

/// The list and its thread, which ends when this is dropped.
pub(super) struct Deadlines {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: BTreeMap<Key, Weak<dyn Expire>>,
    next: u64,
    /// When the thread looks again by itself; `None` while it waits to be told.
    alarm: Option<Instant>,
    closing: bool,
}

/// Keeps an entry in the list; dropping it takes the entry out.
pub(super) struct Watch {
    key: Key,
    shared: Arc<Shared>,
}

impl Deadlines {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("cairn-deadline".into()).spawn(move || own.run())?;
        Ok(Self { shared })
    }

    /// Calls `expire` on `target` at `at`, unless the watch or the target is dropped before.
    pub(super) fn watch(&self, at: Instant, target: Weak<dyn Expire>) -> Watch {
        let mut state = self.shared.state.lock();
        let key = (at, state.next);
        state.next += 1;
        state.pending.insert(key, target);
        // Most deadlines come after those that were set before: waking the thread for each would cost more than the
        // operation.
        let is_earlier = state.alarm.is_none_or(|alarm| at < alarm);
        drop(state);
        if is_earlier {
            self.shared.changed.notify_one();
        }
        Watch { key, shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Deadlines {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state.lock().pending.remove(&self.key);
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.closing {
            let Some((&(at, _), _)) = state.pending.first_key_value() else {
                state.alarm = None;
                self.changed.wait(&mut state);
                continue;
            };
            if Instant::now() < at {
                state.alarm = Some(at);
                self.changed.wait_until(&mut state, at);
                continue;
            }
            let late = state.pending.pop_first().and_then(|(_, target)| target.upgrade());
            MutexGuard::unlocked(&mut state, || {
                if let Some(target) = late {
                    target.expire();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    struct Bell(Mutex<mpsc::Sender<&'static str>>, &'static str);

    impl Expire for Bell {
        fn expire(&self) {
            let _ = self.0.lock().send(self.1);
        }
    }

    fn bell(sender: &mpsc::Sender<&'static str>, name: &'static str) -> Arc<dyn Expire> {
        Arc::new(Bell(Mutex::new(sender.clone()), name))
    }

    #[test]
    fn the_late_ring_in_order_and_the_finished_do_not() {
        let deadlines = Deadlines::start().unwrap();
        let (sender, receiver) = mpsc::channel();
        let now = Instant::now();
        let bells = [bell(&sender, "second"), bell(&sender, "first"), bell(&sender, "finished")];
        let _second = deadlines.watch(now + Duration::from_millis(80), Arc::downgrade(&bells[0]));
        let _first = deadlines.watch(now + Duration::from_millis(40), Arc::downgrade(&bells[1]));
        drop(deadlines.watch(now + Duration::from_millis(20), Arc::downgrade(&bells[2])));
        let wait = Duration::from_secs(10);
        assert_eq!(receiver.recv_timeout(wait), Ok("first"));
        assert_eq!(receiver.recv_timeout(wait), Ok("second"));
        assert!(receiver.recv_timeout(Duration::from_millis(60)).is_err());
        assert!(deadlines.shared.state.lock().pending.is_empty());
    }
}
