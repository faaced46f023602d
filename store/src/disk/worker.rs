//! What a store does while nobody waits: syncs that keep writers from running ahead of the disk, checkpoints, and giving
//! memory back after a burst of work.

use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use crate::StoreError;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex};

/// A burst of work is over when nothing has been asked for so long.
const REST_AFTER: Duration = Duration::from_secs(10);

/// What was asked for.
#[derive(Debug, Default, Clone, Copy)]
struct Wants {
    sync: bool,
    checkpoint: bool,
    stop: bool,
}

/// How the worker is told.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    wants: Mutex<Wants>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn sync(&self) {
        self.tell(|wants| wants.sync = true);
    }

    pub(crate) fn checkpoint(&self) {
        self.tell(|wants| wants.checkpoint = true);
    }

    fn tell(&self, want: impl FnOnce(&mut Wants)) {
        want(&mut self.wants.lock());
        self.changed.notify_one();
    }

    /// What is wanted; nothing, if nobody wanted anything for so long.
    fn wait(&self, rest_after: Option<Duration>) -> Option<Wants> {
        let mut wants = self.wants.lock();
        while !(wants.sync || wants.checkpoint || wants.stop) {
            match rest_after {
                None => self.changed.wait(&mut wants),
                Some(after) => {
                    if self.changed.wait_for(&mut wants, after).timed_out() {
                        return None;
                    }
                }
            }
        }
        Some(std::mem::take(&mut *wants))
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn start(inner: &Arc<Inner>) -> Result<Self, StoreError> {
        let worker = Arc::clone(inner);
        let thread = thread::Builder::new()
            .name("cairn-store".into())
            .spawn(move || run(&worker))
            .map_err(|source| StoreError::io("start the thread of", &inner.root, source))?;
        Ok(Self { inner: Arc::clone(inner), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inner.signal.tell(|wants| wants.stop = true);
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn run(inner: &Inner) {
    let mut rest_after = None;
    loop {
        let done = match inner.signal.wait(rest_after) {
            Some(wants) if wants.stop => return,
            Some(wants) => {
                rest_after = Some(REST_AFTER);
                if wants.checkpoint { inner.checkpoint_in_background() } else { inner.appender.sync() }
            }
            None => {
                rest_after = None;
                inner.rest()
            }
        };
        if let Err(error) = done {
            // Whoever syncs next is told; here it is only early.
            tracing::warn!(%error, "background work of the store failed");
        }
    }
}
