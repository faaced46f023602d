//! Directory listings: `.` and `..`, and how many entries to ask the volume for.
//!
//! The library doesn't say how large the kernel's buffer is, and kernels differ between 4 KiB and the caller's own size. An
//! entry that doesn't fit was looked up in vain, one that is missing costs a further request; so the size asked for follows
//! what the last buffers took.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::FsError;
use crate::ops::{COOKIE_MIN, DirItem, Listing, Operations, Wait};
use bytes::Bytes;
use cairn_block::{FileType, Ino};

/// A page holds about this many entries with their attributes.
const ASK_MIN: usize = 24;

/// Bounds what one request keeps in memory; 512 entries are the price of 20 requests of the smallest buffer.
const ASK_MAX: usize = 512;

const COOKIE_DOT: u64 = 1;
const COOKIE_DOT_DOT: u64 = 2;
const _: () = assert!(COOKIE_DOT_DOT < COOKIE_MIN);

/// How many entries to ask for next.
#[derive(Debug)]
pub(super) struct ListingSize(AtomicUsize);

impl Default for ListingSize {
    fn default() -> Self {
        Self(AtomicUsize::new(ASK_MIN))
    }
}

impl ListingSize {
    pub(super) fn ask(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Learns that `fitted` of `offered` entries found room. Directories smaller than asked teach nothing.
    pub(super) fn learn(&self, offered: usize, fitted: usize) {
        let asked = self.ask();
        let next = if fitted < offered {
            fitted + 1
        } else if offered >= asked {
            asked * 2
        } else {
            return;
        };
        self.0.store(next.clamp(ASK_MIN, ASK_MAX), Ordering::Relaxed);
    }
}

/// The entries after `offset`, which is 0, one of the two dots' cookies, or a cookie of the volume.
pub(super) fn list(
    ops: &dyn Operations,
    wait: Wait,
    ino: Ino,
    offset: u64,
    count_max: usize,
    listing: Listing,
) -> Result<Vec<DirItem>, FsError> {
    let mut dots = Vec::new();
    if offset < COOKIE_DOT {
        dots.push(dot(".", COOKIE_DOT, ino));
    }
    if offset < COOKIE_DOT_DOT {
        let parent = ops.lookup(wait, ino, b"..")?.ino;
        ops.forget(parent, 1);
        dots.push(dot("..", COOKIE_DOT_DOT, parent));
    }
    let cookie = if offset < COOKIE_MIN { 0 } else { offset };
    let items = ops.readdir(wait, ino, cookie, count_max, listing)?;
    if dots.is_empty() {
        return Ok(items);
    }
    dots.extend(items);
    Ok(dots)
}

fn dot(name: &'static str, cookie: u64, ino: Ino) -> DirItem {
    DirItem { ino, cookie, name: Bytes::from_static(name.as_bytes()), kind: FileType::Directory, attr: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_asked_for_follows_the_kernel_s_buffer() {
        let size = ListingSize::default();
        for _ in 0..10 {
            size.learn(size.ask(), size.ask());
        }
        assert_eq!(size.ask(), ASK_MAX, "everything fits: ask for more");
        size.learn(ASK_MAX, 100);
        assert_eq!(size.ask(), 101, "100 fit: one more, to learn of growth");
        size.learn(3, 3);
        assert_eq!(size.ask(), 101, "a small directory says nothing");
    }
}
