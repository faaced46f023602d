//! How often each key was wanted lately, in a fixed number of bytes for any number of keys.
//!
//! Two sketches. *Seen* is a Bloom filter of keys, and of (key, peer) pairs: a pair lets each peer count once per key, and
//! a key's first ask leaves its mark there alone. *Counts* is a count-min sketch of 4-bit counters for what was asked for
//! more than once: a scan cannot crowd it. Both may overestimate, never underestimate. After
//! [`Interest::sample`] counted asks the counts are halved and what was seen is forgotten, so that
//! yesterday's favourites make room.

use std::hash::{BuildHasher, Hash, RandomState};

/// Who asks. Decides whether the ask counts as interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Requester {
    /// This node's own programs: every ask counts.
    Own,
    /// A peer, by a number that is its own: counts once per key until the counts age.
    Peer(u64),
    /// Scrub, repair, whatever runs in the background: never counts.
    Nobody,
}

/// Rows of the count-min sketch; the estimate is the least of them.
const ROWS: usize = 4;
/// Counters of one row per expected entry; more make collisions rarer.
const COUNTERS_PER_ENTRY: usize = 4;
/// Sixteen 4-bit counters fit a word.
const COUNTERS_PER_WORD: usize = 16;
/// The highest count; more interest than this makes no difference.
const COUNT_MAX: u64 = 15;
/// Counted asks per expected entry before the counts age.
const SAMPLE_PER_ENTRY: u64 = 10;
/// Bits of the Bloom filter per counted ask, which may leave two marks: with [`SEEN_PROBES`], at most 1 in 40 first asks is
/// taken for a repeat, just before the filter is cleared.
const SEEN_BITS_PER_ASK: u64 = 16;
/// Bits set per mark.
const SEEN_PROBES: u64 = 4;
/// The fewest and the most entries the sketches are sized for: 40 KiB and 160 MiB.
const ENTRIES_MIN: u64 = 1 << 10;
const ENTRIES_MAX: u64 = 1 << 22;

/// The recent interest in keys.
pub(super) struct Interest {
    /// Seeded at random: nobody outside can aim at a counter.
    hasher: RandomState,
    counts: Vec<u64>,
    row_words: usize,
    seen: Vec<u64>,
    counted: u64,
    sample: u64,
}

impl Interest {
    /// Sized for a cache of about `entries`.
    pub(super) fn new(entries: u64) -> Self {
        let entries = entries.clamp(ENTRIES_MIN, ENTRIES_MAX).next_power_of_two();
        let row_words = entries as usize * COUNTERS_PER_ENTRY / COUNTERS_PER_WORD;
        let sample = entries * SAMPLE_PER_ENTRY;
        let seen_bits = (sample * SEEN_BITS_PER_ASK).next_power_of_two();
        Self {
            hasher: RandomState::new(),
            counts: vec![0; row_words * ROWS],
            row_words,
            seen: vec![0; (seen_bits / 64) as usize],
            counted: 0,
            sample,
        }
    }

    pub(super) fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Notes an ask for the key of this hash. `false` if it does not count.
    pub(super) fn note(&mut self, hash: u64, requester: Requester) -> bool {
        let counts = match requester {
            Requester::Own => true,
            Requester::Peer(peer) => {
                let pair = self.hasher.hash_one((hash, peer));
                self.see(pair)
            }
            Requester::Nobody => false,
        };
        if counts {
            match (self.see(hash), self.least_count(hash)) {
                (true, 0) => {}
                (false, 0) => self.add(hash, 2),
                _ => self.add(hash, 1),
            }
            self.counted += 1;
            if self.counted >= self.sample {
                self.age();
            }
        }
        counts
    }

    /// About how many asks counted for the key lately, at most 15.
    pub(super) fn estimate(&self, hash: u64) -> u64 {
        self.least_count(hash).max(u64::from(self.is_seen(hash)))
    }

    fn least_count(&self, hash: u64) -> u64 {
        (0..ROWS).map(|row| self.count(self.slot(hash, row))).min().unwrap_or(0)
    }

    /// Raises the key's count, which touches its lowest counters only: the others were raised by other keys.
    fn add(&mut self, hash: u64, asks: u64) {
        let raised = (self.least_count(hash) + asks).min(COUNT_MAX);
        for row in 0..ROWS {
            let slot = self.slot(hash, row);
            let missing = raised.saturating_sub(self.count(slot));
            self.counts[slot.word] += missing << slot.shift;
        }
    }

    fn count(&self, slot: Slot) -> u64 {
        self.counts[slot.word] >> slot.shift & COUNT_MAX
    }

    /// The key's counter in a row: double hashing over a power of two.
    fn slot(&self, hash: u64, row: usize) -> Slot {
        let mixed = probe(hash, row as u64) as usize;
        let counter = mixed % (self.row_words * COUNTERS_PER_WORD);
        Slot {
            word: row * self.row_words + counter / COUNTERS_PER_WORD,
            shift: (counter % COUNTERS_PER_WORD * 4) as u32,
        }
    }

    /// Marks a key or pair. Whether it is the first time since the last ageing.
    fn see(&mut self, hash: u64) -> bool {
        let is_first = !self.is_seen(hash);
        for n in 0..SEEN_PROBES {
            let (word, mask) = self.mark(hash, n);
            self.seen[word] |= mask;
        }
        is_first
    }

    fn is_seen(&self, hash: u64) -> bool {
        (0..SEEN_PROBES).all(|n| {
            let (word, mask) = self.mark(hash, n);
            self.seen[word] & mask != 0
        })
    }

    /// The `n`th bit of a key or pair.
    fn mark(&self, hash: u64, n: u64) -> (usize, u64) {
        let bit = probe(hash, n) as usize % (self.seen.len() * 64);
        (bit / 64, 1 << (bit % 64))
    }

    fn age(&mut self) {
        const LOW_THREE_BITS: u64 = 0x7777_7777_7777_7777;
        for word in &mut self.counts {
            *word = *word >> 1 & LOW_THREE_BITS;
        }
        self.seen.fill(0);
        self.counted /= 2;
    }
}

/// One counter: a word and a shift within it.
#[derive(Clone, Copy)]
struct Slot {
    word: usize,
    shift: u32,
}

/// The `n`th of a family of hashes made from one: SplitMix64's finish, since plain double hashing cancels out where
/// its two halves meet.
fn probe(hash: u64, n: u64) -> u64 {
    let mut z = hash.wrapping_add((n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(interest: &mut Interest, key: u64, requester: Requester) -> bool {
        let hash = interest.hash(&key);
        interest.note(hash, requester)
    }

    fn estimate(interest: &Interest, key: u64) -> u64 {
        interest.estimate(interest.hash(&key))
    }

    #[test]
    fn one_peer_asking_a_hundred_times_counts_once() {
        let mut interest = Interest::new(1000);
        let counted = (0..100).filter(|_| ask(&mut interest, 7, Requester::Peer(1))).count();
        assert_eq!(counted, 1);
        assert_eq!(estimate(&interest, 7), 1);
    }

    #[test]
    fn different_peers_count_one_each() {
        let mut interest = Interest::new(1000);
        for peer in 0..5 {
            ask(&mut interest, 7, Requester::Peer(peer));
            ask(&mut interest, 7, Requester::Peer(peer));
        }
        assert_eq!(estimate(&interest, 7), 5);
    }

    #[test]
    fn own_asks_count_each_and_background_asks_never() {
        let mut interest = Interest::new(1000);
        for _ in 0..3 {
            assert!(ask(&mut interest, 7, Requester::Own));
            assert!(!ask(&mut interest, 7, Requester::Nobody));
        }
        assert_eq!(estimate(&interest, 7), 3);
    }

    #[test]
    fn counts_saturate() {
        let mut interest = Interest::new(1000);
        for _ in 0..100 {
            ask(&mut interest, 7, Requester::Own);
        }
        assert_eq!(estimate(&interest, 7), COUNT_MAX);
    }

    #[test]
    fn interest_ages_and_a_peer_may_count_again() {
        let mut interest = Interest::new(ENTRIES_MIN);
        for _ in 0..8 {
            ask(&mut interest, 7, Requester::Own);
        }
        assert!(ask(&mut interest, 7, Requester::Peer(1)));
        assert!(!ask(&mut interest, 7, Requester::Peer(1)));
        for key in 0..interest.sample {
            ask(&mut interest, 1_000_000 + key, Requester::Own);
        }
        assert!((4..=5).contains(&estimate(&interest, 7)), "halved, give or take a collision");
        assert!(ask(&mut interest, 7, Requester::Peer(1)));
    }

    #[test]
    fn estimates_are_never_low_and_seldom_high() {
        let mut interest = Interest::new(4096);
        for key in 0..4096_u64 {
            for _ in 0..=key % 3 {
                ask(&mut interest, key, Requester::Own);
            }
        }
        let estimates = (0..4096_u64).map(|key| (key % 3 + 1, estimate(&interest, key)));
        assert!(estimates.clone().all(|(real, estimate)| estimate >= real));
        let high = estimates.filter(|(real, estimate)| estimate > real).count();
        assert!(high < 4096 / 50, "{high} of 4096 are too high");
    }

    /// Fails if the probes of one key are not independent of each other.
    #[test]
    fn a_scan_leaves_estimates_as_they_are() {
        let mut interest = Interest::new(1000);
        for key in (0..4).flat_map(|_| 0..700) {
            ask(&mut interest, key, Requester::Own);
        }
        let scan = 1_000_000..1_007_000;
        for key in scan.clone() {
            ask(&mut interest, key, Requester::Own);
        }
        let hot_high = (0..700).filter(|key| estimate(&interest, *key) > 4).count();
        let scan_high = scan.filter(|key| estimate(&interest, *key) > 1).count();
        assert!(hot_high < 7, "{hot_high} of 700 are too high");
        assert!(scan_high < 70, "{scan_high} of 7000 are too high");
    }
}
