//! What a store does while nobody waits: syncs that keep writers from running ahead of the disk, and checkpoints.

use std::sync::Arc;

use super::inner::Inner;
use crate::StoreError;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex};

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

    fn wait(&self) -> Wants {
        let mut wants = self.wants.lock();
        while !(wants.sync || wants.checkpoint || wants.stop) {
            self.changed.wait(&mut wants);
        }
        std::mem::take(&mut *wants)
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
    loop {
        let wants = inner.signal.wait();
        if wants.stop {
            return;
        }
        let done = if wants.checkpoint { inner.checkpoint_in_background() } else { inner.appender.sync() };
        if let Err(error) = done {
            // Whoever syncs next is told; here it is only early.
            tracing::warn!(%error, "background work of the store failed");
        }
    }
}
