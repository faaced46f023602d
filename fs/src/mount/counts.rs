//! What was asked at a mount, counted by kind: the same on a slow machine and a fast one, so that costs can be tested.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the kinds once: the enum, the list of all, and the kernel's word for each.
macro_rules! request_kinds {
    ($($kind:ident = $name:literal),+ $(,)?) => {
        /// A kind of request that the kernel sends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // Each is the kernel's word for it.
        pub enum RequestKind { $($kind),+ }

        impl RequestKind {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [RequestKind] = &[$(RequestKind::$kind),+];

            /// The kernel's word, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(RequestKind::$kind => $name),+ }
            }
        }
    };
}

request_kinds! {
    Lookup = "lookup",
    Forget = "forget",
    Getattr = "getattr",
    Setattr = "setattr",
    Readlink = "readlink",
    Mknod = "mknod",
    Mkdir = "mkdir",
    Symlink = "symlink",
    Unlink = "unlink",
    Rmdir = "rmdir",
    Rename = "rename",
    Link = "link",
    Open = "open",
    Create = "create",
    Read = "read",
    Write = "write",
    Flush = "flush",
    Release = "release",
    Fsync = "fsync",
    Opendir = "opendir",
    Readdir = "readdir",
    Readdirplus = "readdirplus",
    Releasedir = "releasedir",
    Fsyncdir = "fsyncdir",
    Statfs = "statfs",
    Setxattr = "setxattr",
    Getxattr = "getxattr",
    Listxattr = "listxattr",
    Removexattr = "removexattr",
    Access = "access",
    Ioctl = "ioctl",
    Fallocate = "fallocate",
    Lseek = "lseek",
    CopyFileRange = "copy_file_range",
}

const KINDS: usize = RequestKind::ALL.len();

/// What happened at a mount so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Requests of the kernel, forgets not counted: those it sends when it likes, many in one.
    pub requests: u64,
    /// Of these, handed to the pool.
    pub waited: u64,
    /// Of these, answered by their deadline.
    pub timed_out: u64,
    /// Refused because the pool was full.
    pub refused: u64,
    /// Operations that panicked.
    pub panicked: u64,
    by_kind: [u64; KINDS],
}

impl Counts {
    /// How many of one kind; of forgets, the inodes in them.
    #[must_use]
    pub fn of(&self, kind: RequestKind) -> u64 {
        self.by_kind[kind as usize]
    }

    /// The kinds that came at all.
    pub fn by_kind(&self) -> impl Iterator<Item = (RequestKind, u64)> {
        RequestKind::ALL.iter().map(|kind| (*kind, self.of(*kind))).filter(|(_, count)| *count > 0)
    }
}

/// The counters behind [`Counts`].
pub(super) struct Counters {
    by_kind: [AtomicU64; KINDS],
    pub(super) waited: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) panicked: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            by_kind: std::array::from_fn(|_| zero()),
            waited: zero(),
            timed_out: zero(),
            refused: zero(),
            panicked: zero(),
        }
    }
}

impl Counters {
    pub(super) fn request(&self, kind: RequestKind) {
        add(&self.by_kind[kind as usize]);
    }

    pub(super) fn read(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let by_kind = std::array::from_fn(|kind| get(&self.by_kind[kind]));
        let all: u64 = by_kind.iter().sum();
        Counts {
            requests: all - by_kind[RequestKind::Forget as usize],
            waited: get(&self.waited),
            timed_out: get(&self.timed_out),
            refused: get(&self.refused),
            panicked: get(&self.panicked),
            by_kind,
        }
    }
}

/// One more.
pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_apart_and_forgets_are_no_requests() {
        let counters = Counters::default();
        for kind in [RequestKind::Lookup, RequestKind::Lookup, RequestKind::Forget, RequestKind::CopyFileRange] {
            counters.request(kind);
        }
        let counts = counters.read();
        assert_eq!(counts.requests, 3);
        assert_eq!(counts.of(RequestKind::Lookup), 2);
        let named: Vec<_> = counts.by_kind().map(|(kind, count)| (kind.name(), count)).collect();
        assert_eq!(named, [("lookup", 2), ("forget", 1), ("copy_file_range", 1)]);
    }
}
