//! `make bench`: every speed that is claimed, beside what it is compared with, in one run on one machine.
//!
//! 1. the sealing pipeline beside the limit computed from its primitives (an example of the block crate),
//! 2. `put` and `get` of real data beside restic,
//! 3. the mount beside a directory of the disk and gocryptfs, taking turns.
//!
//! A figure that misses its aim is marked, it doesn't fail the run: machines are noisy, and the ratio is what counts.
//! `bench [ROUNDS] [MIB] [FILES]`.

mod backup;
mod beside;
mod sealing;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let number = |at: usize, default: u64| numbers.get(at).copied().unwrap_or(default);
    println!("Sealing, per core");
    sealing::run();
    println!("\nput and get beside restic");
    backup::run();
    println!("\nThe mount beside the disk and gocryptfs");
    let files = u32::try_from(number(2, 3_000)).unwrap_or(u32::MAX);
    beside::run(number(0, 3) as usize, number(1, 256), files);
}
