//! The moments at which the power may go, and what had reached the platter by then.
//!
//! Everything before the last flush that ended is there. Of what came after it, any part may be: a disk writes in the order
//! that suits it, and cuts a write between two sectors.

use super::write_log::{Entry, SECTOR, WriteLog};
use crate::Random;

/// The ext4 superblock. Filesystems rely on it being written whole, so it is not cut in two.
const SUPERBLOCK: std::ops::Range<u64> = 1024..2048;

/// One cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerCut {
    /// So many entries of the log are there, all of them.
    pub durable: usize,
    /// And these after them: which, and how many bytes of it.
    pub loose: Vec<(usize, u64)>,
}

impl PowerCut {
    /// Whether anything is there that no flush has covered.
    pub fn is_plain(&self) -> bool {
        self.loose.is_empty()
    }
}

/// What lies between two flushes.
struct Epoch {
    durable: usize,
    loose: Vec<usize>,
}

/// At most `most` cuts of a log, in its order: right after flushes, and with parts of what followed one. Where there are
/// more, chance chooses.
pub fn choose(log: &WriteLog, most: usize, random: &mut Random) -> Vec<PowerCut> {
    let epochs = epochs(log.entries());
    let mut cuts: Vec<PowerCut> =
        epochs.iter().map(|epoch| PowerCut { durable: epoch.durable, loose: Vec::new() }).collect();
    let restless: Vec<&Epoch> = epochs.iter().filter(|epoch| !epoch.loose.is_empty()).collect();
    if !restless.is_empty() {
        // A third right after flushes, the rest in the middle of things.
        thin(&mut cuts, most / 3, random);
        let plain = cuts.len();
        for n in plain..most {
            // Each epoch in turn before any comes twice.
            let epoch = match n - plain < restless.len() && most - plain >= restless.len() {
                true => restless[n - plain],
                false => *random.choose(&restless),
            };
            cuts.push(PowerCut { durable: epoch.durable, loose: some_of(log.entries(), &epoch.loose, random) });
        }
    }
    thin(&mut cuts, most, random);
    cuts.sort_by_key(|cut| cut.durable);
    cuts
}

fn epochs(entries: &[Entry]) -> Vec<Epoch> {
    let mut epochs = vec![Epoch { durable: 0, loose: Vec::new() }];
    for (index, entry) in entries.iter().enumerate() {
        if entry.is_flush {
            epochs.push(Epoch { durable: index + 1, loose: Vec::new() });
        } else if entry.len > 0 {
            epochs.last_mut().expect("there is a first").loose.push(index);
        }
    }
    epochs
}

/// Some of the writes, in order; of one of them only the beginning.
fn some_of(entries: &[Entry], loose: &[usize], random: &mut Random) -> Vec<(usize, u64)> {
    // The cut comes somewhere among them, and before it few, half or nearly all have made it.
    let until = 1 + random.below(loose.len() as u64) as usize;
    let percent = *random.choose(&[20, 50, 80, 100]);
    let torn = random.below(until as u64) as usize;
    let mut kept = Vec::new();
    for (n, &index) in loose[..until].iter().enumerate() {
        let entry = entries[index];
        if entry.is_durable {
            kept.push((index, entry.len));
        } else if n == torn && is_divisible(&entry) {
            kept.push((index, SECTOR * random.below(entry.len / SECTOR)));
        } else if random.below(100) < percent {
            kept.push((index, entry.len));
        }
    }
    kept
}

fn is_divisible(entry: &Entry) -> bool {
    entry.len > SECTOR && (entry.offset >= SUPERBLOCK.end || entry.offset + entry.len <= SUPERBLOCK.start)
}

/// Leaves `most`, spread by chance.
fn thin(cuts: &mut Vec<PowerCut>, most: usize, random: &mut Random) {
    while cuts.len() > most {
        cuts.swap_remove(random.below(cuts.len() as u64) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_covers_what_came_before_it_and_nothing_else() {
        let write = Entry { offset: 8192, len: 4096, is_flush: false, is_durable: false, data_at: 0 };
        let flush = Entry { len: 0, is_flush: true, ..write };
        let epochs = epochs(&[write, write, flush, write]);
        let seen: Vec<_> = epochs.iter().map(|epoch| (epoch.durable, epoch.loose.clone())).collect();
        assert_eq!(seen, [(0, vec![0, 1]), (3, vec![3])]);
    }
}
