//! The power goes out at any moment, whatever the disk had written by then: nothing acknowledged is lost, nothing is half.

use cairn_fuse_tests::rigs::bench;
use cairn_fuse_tests::rigs::prove::{Plan, Tally, prove};
use cairn_fuse_tests::rigs::short_sequences::{scripts, some_of_three, up_to_two};
use cairn_fuse_tests::rigs::store_work::StoreWork;
use cairn_fuse_tests::rigs::volume_work::VolumeWork;
use cairn_fuse_tests::{Random, Scale, figure, promise, skip};

/// How the filesystem below is mounted, in turn: with more and with less order between data and names.
const MOUNTS: [&str; 3] = ["data=ordered", "data=writeback", "nodelalloc"];

fn plan(seed: u64, number: usize, cuts: usize) -> Plan {
    Plan { seed, cuts, recoveries: Scale::pick(1, 4), mount: MOUNTS[number % MOUNTS.len()] }
}

fn told(workloads: usize, tally: Tally, seed: u64) -> String {
    let Tally { requests, cuts, torn, in_recovery, promises } = tally;
    format!(
        "{cuts} cuts over {workloads} workloads ({torn} amid writes, {in_recovery} during recovery, {requests} requests): {promises} promises kept, 0 lost, 0 partial; seed {seed}"
    )
}

#[test]
fn a_cut_loses_nothing_that_a_store_acknowledged() {
    if let Some(why) = bench::missing() {
        skip!("{why}");
    }
    let seed = Random::seed_of_this_run();
    let (workloads, cuts) = Scale::pick((3, 24), (12, 130));
    let mut all = Tally::default();
    for number in 0..workloads {
        let seed = seed.wrapping_add(number as u64);
        // Small segments are full soon, large ones hold everything; one thread keeps its order, several share syncs.
        let segment_bytes = [64 << 10, 512 << 10, 4 << 20][number % 3];
        let lanes = [3, 1, 4, 2][number % 4];
        let mut work = StoreWork::new(seed, lanes, Scale::pick(80, 160), segment_bytes, number % 4 != 3);
        all += prove(&mut work, &plan(seed, number, cuts));
    }
    assert!(all.promises > all.cuts && all.torn > 0, "too little happened to judge: {all:?}");
    figure!("{}", told(workloads, all, seed));
}

#[test]
fn a_cut_leaves_a_prefix_of_each_volume_with_everything_fsynced() {
    promise!("A crash leaves a prefix of history");
    promise!("What fsync has confirmed survives");
    if let Some(why) = bench::missing() {
        skip!("{why}");
    }
    let seed = Random::seed_of_this_run();
    let (workloads, cuts) = Scale::pick((2, 24), (8, 130));
    let mut all = Tally::default();
    for number in 0..workloads {
        let seed = seed.wrapping_add(number as u64);
        let mut work = VolumeWork::by_chance(seed, 1 + number % 3, Scale::pick(120, 250), 1 + number % 3);
        all += prove(&mut work, &plan(seed, number + 1, cuts));
    }
    assert!(all.promises > all.cuts && all.torn > 0, "too little happened to judge: {all:?}");
    figure!("{}", told(workloads, all, seed));
}

#[test]
fn every_short_sequence_of_operations_survives_a_cut() {
    promise!("A crash leaves a prefix of history");
    if let Some(why) = bench::missing() {
        skip!("{why}");
    }
    let seed = Random::seed_of_this_run();
    let mut random = Random::new(seed);
    let mut sequences = up_to_two();
    let all_of_two = sequences.len();
    let (twos, threes, volumes, cuts) = Scale::pick((60, 20, 6, 30), (all_of_two, 600, 12, 900));
    while sequences.len() > twos {
        sequences.swap_remove(random.below(sequences.len() as u64) as usize);
    }
    sequences.extend(some_of_three(threes, &mut random));
    let mut work = VolumeWork::by_script("short sequences", seed, scripts(&sequences, volumes));
    let tally = prove(&mut work, &plan(seed, 0, cuts));
    assert!(tally.promises > tally.cuts, "too little happened to judge: {tally:?}");
    figure!(
        "{twos} of {all_of_two} sequences of one and two operations and {threes} of three: {}",
        told(1, tally, seed)
    );
}
