//! Inode numbers: who may give out which, so that devices that don't hear of each other never give out the same one.
//!
//! ```text
//! bit 61 = 0   24 bits of the device id ‖ 37 bits that the device counts     24 bits of zeros: volumes from before ranges
//! bit 61 = 1   18 bits of zeros ‖ 43 bits of a hash                           given by merges, alike on every device
//! ```

use std::ops::Range;

use crate::id::{DeviceId, Ino};
use crate::limits::INO_LIMIT;

/// Bits that a device counts: a thousand files made every second, for four years.
pub const INO_COUNTER_BITS: u32 = 37;

/// Marks numbers that a merge gave.
const MERGED_BIT: u64 = INO_LIMIT >> 1;

/// Bits of a merge's numbers. Few enough that what is in front of the counter is one of few, too; among ten thousand files that
/// merges set apart two have the same with a chance of one in a hundred thousand.
const MERGED_BITS: u32 = INO_COUNTER_BITS + 6;

/// The numbers that a device gives out. Two devices share a range with a chance of one in sixteen million; what comes of that
/// is what came of all numbers before there were ranges: the merge gives one of two files another number.
#[must_use]
pub fn ino_range(device: &DeviceId) -> Range<u64> {
    let bytes = device.as_bytes();
    // Small numbers are those of volumes that are older than ranges.
    let prefix = u64::from_be_bytes([0, 0, 0, 0, 0, bytes[0], bytes[1], bytes[2]]).max(1);
    prefix << INO_COUNTER_BITS..(prefix + 1) << INO_COUNTER_BITS
}

/// How many numbers of its range were given out before `number`.
#[must_use]
pub fn ino_counter(number: u64) -> u64 {
    number & ((1 << INO_COUNTER_BITS) - 1)
}

/// Whether two numbers were given out by the same counter, so that one of them came later.
#[must_use]
pub fn is_same_ino_range(a: u64, b: u64) -> bool {
    (a | b) & MERGED_BIT == 0 && a >> INO_COUNTER_BITS == b >> INO_COUNTER_BITS
}

/// The `attempt`th number for what a merge has to set apart. It follows from what that is, so that every device which
/// merges gives the same one.
#[must_use]
pub fn merged_ino(what: &[u8], attempt: u64) -> Ino {
    let mut hasher = blake3::Hasher::new_derive_key("cairn 2026-11 merged inode number");
    hasher.update(&attempt.to_le_bytes()).update(what);
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    Ino::new(MERGED_BIT | u64::from_le_bytes(bytes) & ((1 << MERGED_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_apart_and_below_the_limit() {
        let device = |byte| DeviceId::from_bytes([byte; 32]);
        for (a, b) in [(0, 1), (1, 2), (7, 255)] {
            let (a, b) = (ino_range(&device(a)), ino_range(&device(b)));
            assert!(a.end <= b.start, "{a:?} {b:?}");
            assert!(a.start >= 1 << INO_COUNTER_BITS && b.end <= MERGED_BIT);
            assert!(is_same_ino_range(a.start, a.end - 1) && !is_same_ino_range(a.start, b.start));
        }
    }

    #[test]
    fn merged_numbers_follow_from_what_they_are_for() {
        let number = merged_ino(b"a", 0);
        assert_eq!(number, merged_ino(b"a", 0));
        assert_ne!(number, merged_ino(b"a", 1));
        assert_ne!(number, merged_ino(b"b", 0));
        assert!((MERGED_BIT..INO_LIMIT).contains(&number.get()));
        assert!(!is_same_ino_range(number.get(), number.get()));
    }
}
