//! What an idle node takes, and the index of a large store.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use cairn_fuse_tests::{Node, Random, Scale, Scratch, command, figure, skip};

/// Bars of the acceptance table.
const IDLE_KIB_MAX: u64 = 80 << 10;
const INDEX_MIB_MAX: u64 = 256;
/// The log's tail is synced and the caches rest within this.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn an_idle_node_is_small() {
    let mut node = Node::start();
    // It has worked before it rests: caches are warm, the overlay was flushed.
    let mut random = Random::new(6);
    for i in 0..300 {
        std::fs::write(node.mount().join(format!("f{i}")), random.bytes(10_000)).expect("write");
    }
    std::fs::write(node.mount().join("large"), random.bytes(64 << 20)).expect("write");
    assert_eq!(std::fs::read(node.mount().join("large")).expect("read").len(), 64 << 20);
    let busy = node.memory_kib("VmHWM");
    node.down();
    node.up();
    std::fs::read_dir(node.mount()).expect("list").for_each(drop);
    std::thread::sleep(Duration::from_secs(3));
    let idle = node.memory_kib("VmRSS");
    figure!("idle node: {} MiB resident (bar 80), peak while working {} MiB", idle >> 10, busy >> 10);
    assert!(idle <= IDLE_KIB_MAX, "{idle} KiB");
}

#[test]
fn what_a_burst_took_is_given_back() {
    let node = Node::start();
    let mut random = Random::new(7);
    let mut file = File::create(node.mount().join("stream")).expect("create");
    (0..300).for_each(|_| file.write_all(&random.bytes(1 << 20)).expect("write"));
    file.sync_all().expect("fsync");
    let peak = node.memory_kib("VmHWM");
    let start = Instant::now();
    while node.memory_kib("VmRSS") > IDLE_KIB_MAX {
        assert!(start.elapsed() < GIVEN_BACK_WITHIN, "{} KiB are still in use", node.memory_kib("VmRSS"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = start.elapsed();
    figure!("300 MiB streamed in: peak {} MiB, below 80 MiB after {took:.1?}", peak >> 10);
}

#[test]
fn a_large_index_stays_small_in_memory() {
    let blocks = Scale::pick(500_000, 10_000_000);
    // An example of the store: it alone can index ids without the blocks behind them.
    let own = std::env::current_exe().expect("the path of this program");
    let examples = own.ancestors().nth(2).expect("target/release").join("examples");
    let program = examples.join("index_memory");
    if !program.is_file() {
        skip!(
            "the store's example index_memory was not built: `cargo test --workspace` and `make accept-memory` build it"
        );
    }
    let place = Scratch::new();
    let mut run = Command::new(program);
    run.arg(blocks.to_string()).arg(place.path());
    let output = command::run_for(&mut run, Duration::from_secs(3600));
    let text = String::from_utf8_lossy(&output.stdout);
    let resident = text
        .lines()
        .find_map(|line| line.strip_prefix("after lookups: VmRSS ")?.split(' ').next()?.parse::<u64>().ok());
    let resident = resident.unwrap_or_else(|| panic!("no figure in\n{}", command::transcript(&output)));
    figure!("index of {blocks} blocks: {resident} MiB resident (bar {INDEX_MIB_MAX} for 10,000,000)");
    assert!(resident <= INDEX_MIB_MAX, "{text}");
}
