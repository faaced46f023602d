//! What an idle node takes.

use std::time::Duration;

use cairn_fuse_tests::{Node, Random, figure};

/// The bar of the acceptance table.
const IDLE_KIB_MAX: u64 = 80 << 10;

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
