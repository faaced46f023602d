//! The desk under every order of worker, deadline and close: each request is answered once, and what was made for a request
//! that nobody waits for any more is given back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::{Attr, Ino};
use cairn_store::testing::schedules;
use shuttle::rand::Rng;

use super::counts::RequestKind;
use super::desk::{Answer, Desk};
use crate::error::FsError;
use crate::ops::{
    Allocate, Caller, DirItem, Handle, KillPriv, Listing, NewNode, OpenFlags, Operations, Pieces, Place, RenameFlags,
    Seek, SetAttr, SetXattr, StatFs, Wait,
};
use crate::sync::{Condvar, Mutex, thread};

const REQUESTS: usize = 3;
/// In a schedule, time stands still: this never passes.
const FOREVER: Duration = Duration::from_secs(3600);

/// What became of all requests.
#[derive(Default)]
struct Outcomes {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    made: usize,
    sent: usize,
    undone: usize,
    refused: usize,
    dropped: usize,
}

impl Outcomes {
    fn note(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
        self.changed.notify_all();
    }

    fn wait_for_answers(&self) {
        let mut counts = self.counts.lock();
        while counts.sent + counts.refused + counts.dropped < REQUESTS {
            self.changed.wait(&mut counts);
        }
    }
}

/// A reply object. Dropped without an answer it answers by itself, as the library's do.
struct Slip {
    outcomes: Arc<Outcomes>,
    is_answered: bool,
}

/// What an operation made for its caller, such as a handle.
struct Made {
    outcomes: Arc<Outcomes>,
}

impl Answer for Slip {
    type Value = Made;

    fn send(mut self, _: &Desk, _: Made) {
        assert!(!std::mem::replace(&mut self.is_answered, true));
        self.outcomes.note(|counts| counts.sent += 1);
    }

    fn refuse(mut self, error: &FsError) {
        assert!(matches!(error, FsError::TimedOut | FsError::Busy), "{error}");
        assert!(!std::mem::replace(&mut self.is_answered, true));
        self.outcomes.note(|counts| counts.refused += 1);
    }

    fn undo(_: &Desk, made: Made) {
        made.outcomes.note(|counts| counts.undone += 1);
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if !self.is_answered {
            self.outcomes.note(|counts| counts.dropped += 1);
        }
    }
}

/// Waits, and makes something.
fn work(outcomes: Arc<Outcomes>) -> impl Fn(&dyn Operations, Wait) -> Result<Made, FsError> + Send + 'static {
    move |_, wait| {
        if wait == Wait::Never {
            return Err(FsError::WouldWait);
        }
        thread::yield_now();
        outcomes.note(|counts| counts.made += 1);
        Ok(Made { outcomes: outcomes.clone() })
    }
}

#[test]
fn every_request_is_answered_once_and_nothing_that_was_made_is_lost() {
    schedules("worker against deadline", || {
        let mut random = shuttle::rand::thread_rng();
        let is_late = random.gen_range(0..2) == 0;
        let closes_early = random.gen_range(0..3) == 0;
        let workers_max = random.gen_range(1..3);
        let deadline = if is_late { Duration::ZERO } else { FOREVER };
        let desk = Desk::new(Arc::new(Nothing), deadline, workers_max).expect("a desk");
        let outcomes = Arc::new(Outcomes::default());
        let threads: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let (desk, outcomes) = (desk.clone(), outcomes.clone());
                let slip = Slip { outcomes: outcomes.clone(), is_answered: false };
                thread::spawn(move || desk.answer(RequestKind::Lookup, slip, work(outcomes)))
            })
            .collect();
        if closes_early {
            desk.close(FOREVER);
        }
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        outcomes.wait_for_answers();
        assert_eq!(desk.close(FOREVER), 0, "a worker is stuck");
        let counts = *outcomes.counts.lock();
        assert_eq!(counts.sent + counts.refused + counts.dropped, REQUESTS, "{counts:?}");
        assert_eq!(counts.made, counts.sent + counts.undone, "{counts:?}");
        assert!(is_late || closes_early || counts.sent == REQUESTS, "{counts:?}");
    });
}

/// A volume that is never asked.
struct Nothing;

type Answered<T> = Result<T, FsError>;

#[rustfmt::skip]
impl Operations for Nothing {
    fn lookup(&self, _: Wait, _: Ino, _: &[u8]) -> Answered<Attr> { Err(FsError::Unsupported) }
    fn forget(&self, _: Ino, _: u64) {}
    fn getattr(&self, _: Wait, _: Ino) -> Answered<Attr> { Err(FsError::Unsupported) }
    fn setattr(&self, _: Wait, _: &Caller, _: Ino, _: SetAttr) -> Answered<Attr> { Err(FsError::Unsupported) }
    fn readlink(&self, _: Wait, _: Ino) -> Answered<Bytes> { Err(FsError::Unsupported) }
    fn create(&self, _: Wait, _: &Caller, _: Ino, _: &[u8], _: NewNode) -> Answered<Attr> { Err(FsError::Unsupported) }
    fn unlink(&self, _: Wait, _: &Caller, _: Ino, _: &[u8]) -> Answered<()> { Err(FsError::Unsupported) }
    fn rmdir(&self, _: Wait, _: &Caller, _: Ino, _: &[u8]) -> Answered<()> { Err(FsError::Unsupported) }
    fn rename(&self, _: Wait, _: &Caller, _: Ino, _: &[u8], _: Ino, _: &[u8], _: RenameFlags) -> Answered<()> {
        Err(FsError::Unsupported)
    }
    fn link(&self, _: Wait, _: &Caller, _: Ino, _: Ino, _: &[u8]) -> Answered<Attr> { Err(FsError::Unsupported) }
    fn open(&self, _: Wait, _: Ino, _: OpenFlags) -> Answered<Handle> { Err(FsError::Unsupported) }
    fn release(&self, _: Handle) {}
    fn read(&self, _: Wait, _: Ino, _: u64, _: u32) -> Answered<Pieces> { Err(FsError::Unsupported) }
    fn write(&self, _: Wait, _: Ino, _: u64, _: Bytes, _: KillPriv) -> Answered<u32> { Err(FsError::Unsupported) }
    fn fallocate(&self, _: Wait, _: Ino, _: Allocate, _: u64, _: u64, _: KillPriv) -> Answered<()> {
        Err(FsError::Unsupported)
    }
    fn seek(&self, _: Wait, _: Ino, _: u64, _: Seek) -> Answered<u64> { Err(FsError::Unsupported) }
    fn copy_range(&self, _: Wait, _: Place, _: Place, _: u64, _: KillPriv) -> Answered<u64> {
        Err(FsError::Unsupported)
    }
    fn readdir(&self, _: Wait, _: Ino, _: u64, _: usize, _: Listing) -> Answered<Vec<DirItem>> {
        Err(FsError::Unsupported)
    }
    fn getxattr(&self, _: Wait, _: Ino, _: &[u8]) -> Answered<Bytes> { Err(FsError::Unsupported) }
    fn setxattr(&self, _: Wait, _: Ino, _: &[u8], _: Bytes, _: SetXattr, _: KillPriv) -> Answered<()> {
        Err(FsError::Unsupported)
    }
    fn listxattr(&self, _: Wait, _: Ino) -> Answered<Vec<Bytes>> { Err(FsError::Unsupported) }
    fn removexattr(&self, _: Wait, _: Ino, _: &[u8]) -> Answered<()> { Err(FsError::Unsupported) }
    fn fsync(&self, _: Ino) -> Answered<()> { Err(FsError::Unsupported) }
    fn sync_all(&self) -> Answered<()> { Err(FsError::Unsupported) }
    fn statfs(&self) -> Answered<StatFs> { Err(FsError::Unsupported) }
}
