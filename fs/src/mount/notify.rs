//! Telling the kernel what changed behind its back.
//!
//! The kernel takes inode and page locks to forget something, and a request that we haven't answered yet may hold them.
//! Hence the rules: never from a thread that answers requests, never under a lock that an operation wants, new state
//! visible first, and all of it over before unmounting. One thread sends; changes wait in a set, so that a hundred writes
//! to one file are one message; a full set makes the teller wait, as it has no request of the kernel to answer.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use cairn_block::Ino;
use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex};

use crate::ops::{Change, Watcher};

/// Changes that may wait. A restore of a large directory fills it and then goes at the kernel's pace.
const PENDING_MAX: usize = 8192;

/// Tells one mount of changes; cheap to clone.
#[derive(Clone)]
pub struct Invalidator {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The sender has something to do.
    work: Condvar,
    /// Tellers have room, or need wait no longer.
    room: Condvar,
}

#[derive(Default)]
struct State {
    pending: Pending,
    sending: bool,
    closed: bool,
}

/// Changes in the order they came, each once.
#[derive(Default)]
struct Pending {
    order: VecDeque<Change>,
    known: std::collections::HashSet<Change>,
}

impl Pending {
    fn push(&mut self, change: Change) {
        if self.known.insert(change.clone()) {
            self.order.push_back(change);
        }
    }

    fn pop(&mut self) -> Option<Change> {
        let change = self.order.pop_front()?;
        self.known.remove(&change);
        Some(change)
    }

    fn len(&self) -> usize {
        self.order.len()
    }
}

/// What delivers a change; the kernel, but for tests.
trait Sink: Send + 'static {
    fn deliver(&self, change: &Change) -> io::Result<()>;
}

impl Sink for Notifier {
    fn deliver(&self, change: &Change) -> io::Result<()> {
        let number = |ino: &Ino| INodeNo(ino.get());
        match change {
            // From 0 to the end: attributes and every page, and a directory's listing.
            Change::Inode(ino) => self.inval_inode(number(ino), 0, 0),
            Change::Entry { parent, name } => self.inval_entry(number(parent), OsStr::from_bytes(name)),
            // Unlike inval_entry this lets inotify see it.
            Change::Removed { parent, ino, name } => self.delete(number(parent), number(ino), OsStr::from_bytes(name)),
        }
    }
}

impl Invalidator {
    /// Starts the thread that sends.
    pub(super) fn start(notifier: Notifier) -> io::Result<(Self, JoinHandle<()>)> {
        Self::start_with(notifier)
    }

    fn start_with(sink: impl Sink) -> io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), room: Condvar::new() });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("cairn-notify".into()).spawn(move || own.run(&sink))?;
        Ok((Self { shared }, thread))
    }

    /// Returns when everything told so far has reached the kernel, or the mount is ending.
    pub fn settle(&self) {
        let mut state = self.shared.state.lock();
        while !state.closed && (state.sending || state.pending.len() > 0) {
            self.shared.room.wait(&mut state);
        }
    }

    /// Sends nothing more; what still waits is dropped, as the kernel is about to forget everything anyway.
    pub(super) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.pending = Pending::default();
        drop(state);
        self.shared.work.notify_all();
        self.shared.room.notify_all();
    }
}

impl Watcher for Invalidator {
    fn changed(&self, change: Change) {
        let mut state = self.shared.state.lock();
        while state.pending.len() >= PENDING_MAX && !state.closed {
            self.shared.room.wait(&mut state);
        }
        if !state.closed {
            state.pending.push(change);
            self.shared.work.notify_one();
        }
    }
}

impl Shared {
    fn run(&self, sink: &impl Sink) {
        while let Some(change) = self.next() {
            if let Err(error) = sink.deliver(&change) {
                // It forgot by itself, or is a kernel that can't be told: then it believes the old state until the time runs out.
                tracing::debug!(%error, ?change, "the kernel did not take a change");
            }
            self.state.lock().sending = false;
            self.room.notify_all();
        }
    }

    fn next(&self) -> Option<Change> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(change) = state.pending.pop() {
                state.sending = true;
                return Some(change);
            }
            self.work.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    /// Passes changes on, each only when a permit is there.
    struct Gate(mpsc::Sender<Change>, Mutex<mpsc::Receiver<()>>);

    impl Sink for Gate {
        fn deliver(&self, change: &Change) -> io::Result<()> {
            let _ = self.1.lock().recv();
            let _ = self.0.send(change.clone());
            Ok(())
        }
    }

    fn gate() -> (Invalidator, JoinHandle<()>, mpsc::Sender<()>, mpsc::Receiver<Change>) {
        let (permit, permits) = mpsc::channel();
        let (sender, receiver) = mpsc::channel();
        let (invalidator, thread) = Invalidator::start_with(Gate(sender, Mutex::new(permits))).unwrap();
        (invalidator, thread, permit, receiver)
    }

    #[test]
    fn changes_of_one_inode_that_wait_are_sent_once() {
        let (invalidator, thread, permits, seen) = gate();
        let other = Change::Entry { parent: Ino::ROOT, name: Bytes::from_static(b"a") };
        invalidator.changed(Change::Inode(Ino::new(9)));
        for _ in 0..100 {
            invalidator.changed(Change::Inode(Ino::new(7)));
            invalidator.changed(other.clone());
        }
        drop(permits); // From now on nothing is held back.
        invalidator.settle();
        let of = |n| Change::Inode(Ino::new(n));
        let got: Vec<_> = seen.try_iter().collect();
        assert!(got.ends_with(&[of(7), other]) && got[0] == of(9), "{got:?}");
        assert_eq!(got.len(), 3);
        invalidator.close();
        thread.join().unwrap();
    }

    #[test]
    fn closing_frees_everyone_who_waits() {
        let (invalidator, thread, permits, _seen) = gate();
        let teller = invalidator.clone();
        let (done, ended) = mpsc::channel();
        let telling = thread::spawn(move || {
            (0..PENDING_MAX as u64 + 2).for_each(|n| teller.changed(Change::Inode(Ino::new(n))));
            done.send(()).unwrap();
        });
        assert!(ended.recv_timeout(Duration::from_millis(100)).is_err(), "a full set makes the teller wait");
        invalidator.close();
        ended.recv_timeout(Duration::from_secs(10)).unwrap();
        telling.join().unwrap();
        drop(permits);
        thread.join().unwrap();
    }
}
