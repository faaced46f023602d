//! Staying awake for a moment after an answer: whoever got it often asks again at once, and to be woken for that takes longer
//! than most answers.
//!
//! By `make bench` on two idle cores, cold stat and small random writes gain a third and more by it; with every core busy nothing
//! is gained. A thread that waited in vain rests for the next requests, and longer each time, so that programs with other things to do
//! between two requests lose next to nothing to it.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// How long a thread stays awake: about as long as it takes to put it to sleep and wake it.
const AWAKE: Duration = Duration::from_micros(50);

/// After so many waits in vain in a row a thread rests for the longest time, which is 63 requests: then it costs less than a
/// microsecond a request.
const MISSES_MAX: u32 = 6;

const NOT_AT_ALL: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Whether it has been worth it of late.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Worth {
    /// Waits in vain since the last that was not.
    misses: u32,
    /// Requests after which it is tried again.
    rest: u32,
}

impl Worth {
    /// Whether to stay awake this time; if so, what comes of it is to be told.
    fn is_worth_it(&mut self) -> bool {
        let is_over = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        is_over
    }

    fn came(&mut self, came: bool) {
        self.misses = if came { 0 } else { (self.misses + 1).min(MISSES_MAX) };
        self.rest = (1 << self.misses) - 1;
    }
}

thread_local! {
    static WORTH: Cell<Worth> = const { Cell::new(Worth { misses: 0, rest: 0 }) };
}

/// The kernel's end of a mount, to look whether a request waits there.
pub(super) struct Linger {
    device: OwnedFd,
}

impl Linger {
    pub(super) const fn on(device: OwnedFd) -> Self {
        Self { device }
    }

    /// Comes back when a request waits, or after a moment.
    pub(super) fn wait(&self) {
        let mut worth = WORTH.get();
        if worth.is_worth_it() {
            let start = Instant::now();
            let came = loop {
                if self.is_asked() {
                    break true;
                }
                if start.elapsed() > AWAKE {
                    break false;
                }
                std::hint::spin_loop();
            };
            worth.came(came);
        }
        WORTH.set(worth);
    }

    /// Also true if the device fails: then the one who reads it finds out.
    fn is_asked(&self) -> bool {
        let mut device = [PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN)];
        !matches!(poll(&mut device, Some(&NOT_AT_ALL)), Ok(0))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_in_vain_is_tried_ever_more_seldom() {
        let mut worth = Worth::default();
        let tries = |worth: &mut Worth, requests: u32| {
            let mut tries = 0;
            for _ in 0..requests {
                if worth.is_worth_it() {
                    worth.came(false);
                    tries += 1;
                }
            }
            tries
        };
        assert_eq!(tries(&mut worth, 3), 2, "the first, and the one after a rest of one");
        let in_the_long_run = tries(&mut worth, 64_000);
        assert!((1_000..1_010).contains(&in_the_long_run), "{in_the_long_run}");
        // One that is not in vain makes up for all.
        while !worth.is_worth_it() {}
        worth.came(true);
        assert_eq!(worth, Worth::default());
        assert!(worth.is_worth_it());
    }

    #[test]
    fn a_request_ends_the_wait_and_none_ends_it_too() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let linger = Linger::on(reader.into());
        let start = Instant::now();
        linger.wait();
        assert!(start.elapsed() >= AWAKE, "nobody asked");
        assert_eq!(WORTH.get(), Worth { misses: 1, rest: 1 });
        writer.write_all(b"?").expect("room");
        linger.wait();
        assert_eq!(WORTH.get().misses, 1, "it rested");
        linger.wait();
        assert_eq!(WORTH.get(), Worth::default());
    }
}
