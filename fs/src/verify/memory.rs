//! What a check remembers: which blocks it has seen, which numbers are taken, how many names a linked inode has.

use std::collections::{BTreeMap, HashMap, HashSet};

use cairn_block::{BlockId, Ino};

/// Blocks that are remembered as seen, 16 bytes each. More of them are looked at again where they are shared.
const SEEN_MAX: usize = 16 << 20;
/// Numbers of one page of [`Numbers`].
const PAGE: u64 = 4096;

/// Blocks that were looked at. Eight bytes of each id are kept: at the bound, one block in a hundred thousand such checks is
/// taken for another, and passed over.
#[derive(Default)]
pub(super) struct Seen {
    prints: HashSet<u64>,
}

impl Seen {
    /// Remembers a block. `true` if it was not known.
    pub(super) fn insert(&mut self, id: &BlockId) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
        let print = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if self.prints.len() >= SEEN_MAX {
            return !self.prints.contains(&print);
        }
        self.prints.insert(print)
    }
}

/// A set of inode numbers: a bit each, as they are handed out in sequence.
#[derive(Default)]
pub(super) struct Numbers {
    pages: BTreeMap<u64, Box<[u64; (PAGE / 64) as usize]>>,
}

impl Numbers {
    /// Puts a number in. `true` if it was not there.
    pub(super) fn insert(&mut self, ino: Ino) -> bool {
        let (page, bit) = (ino.get() / PAGE, ino.get() % PAGE);
        let words = self.pages.entry(page).or_insert_with(|| Box::new([0; (PAGE / 64) as usize]));
        let word = &mut words[(bit / 64) as usize];
        let is_new = *word & 1 << (bit % 64) == 0;
        *word |= 1 << (bit % 64);
        is_new
    }
}

/// What belongs to one tree.
#[derive(Default)]
pub(super) struct Inodes {
    /// All numbers in use.
    pub(super) numbers: Numbers,
    /// Names of each linked inode.
    pub(super) links: HashMap<Ino, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut numbers = Numbers::default();
        for ino in [1, 63, 64, 4095, 4096, u64::MAX] {
            assert!(numbers.insert(Ino::new(ino)), "{ino}");
            assert!(!numbers.insert(Ino::new(ino)), "{ino}");
        }
        assert!(numbers.insert(Ino::new(2)));
    }

    #[test]
    fn a_block_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.insert(&BlockId::of(b"a")) && !seen.insert(&BlockId::of(b"a")));
        assert!(seen.insert(&BlockId::of(b"b")));
    }
}
