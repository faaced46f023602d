//! Files that are larger than anything else here.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, Random, Scale, figure};
use rustix::fs::{SeekFrom, seek};

/// Files that are overwritten in place are cut at this size.
const FIXED_CHUNK: u64 = 128 << 10;
/// Tree nodes, records and the head, per chunk that was touched.
const OVERHEAD_PER_CHUNK: u64 = 16 << 10;

#[test]
fn a_sparse_terabyte_is_a_file_like_any_other() {
    let mut node = Node::start();
    let path = node.mount().join("sparse");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("create");
    file.set_len(1 << 40).expect("1 TiB");
    // In a tree it is one hole, of which what is written later makes no data.
    node.say(&["snapshot", "empty"]);
    let islands: Vec<u64> = (0..40).map(|i| (i * i * 687_194_767) % ((1 << 40) - 4096)).collect();
    for (i, offset) in islands.iter().enumerate() {
        file.write_all_at(format!("island {i:03}").as_bytes(), *offset).expect("write");
    }
    file.sync_all().expect("fsync");
    let check = |file: &File| {
        assert_eq!(file.metadata().expect("stat").len(), 1 << 40);
        for (i, offset) in islands.iter().enumerate() {
            let mut seen = [0; 10];
            file.read_exact_at(&mut seen, *offset).expect("read");
            assert_eq!(seen, format!("island {i:03}").as_bytes());
        }
        let mut seen = [1; 4096];
        file.read_exact_at(&mut seen, (1 << 40) - 4096).expect("read of the end");
        assert!(seen.iter().all(|byte| *byte == 0));
    };
    check(&file);
    drop(file);
    node.down();
    node.up();
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("open");
    check(&file);

    // Walking over the holes finds each island once.
    let (mut at, mut found) = (0, 0);
    while let Ok(data) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(data)).expect("there is a hole behind");
        found += islands.iter().filter(|island| (data..at).contains(*island)).count();
    }
    assert_eq!(found, islands.len());
    let allocated = file.metadata().expect("stat").blocks() * 512;
    let log = log_bytes(&node);
    figure!("sparse 1 TiB with {} islands: {} KiB allocated, store {} KiB", islands.len(), allocated >> 10, log >> 10);
    assert!(allocated < 64 << 20 && log < 64 << 20);

    let started = Instant::now();
    file.set_len(1 << 20).expect("shrink");
    std::fs::remove_file(&path).expect("remove");
    assert!(started.elapsed() < Duration::from_secs(5), "shrinking took {:?}", started.elapsed());
}

#[test]
fn a_flush_rewrites_only_the_chunks_that_were_touched() {
    let (size, touches): (u64, u64) = Scale::pick((512 << 20, 200), (20 << 30, 2_000));
    let node = Node::start_with(Setup { patience: Some(Duration::from_secs(4 * 3600)), ..Setup::default() });
    let path = node.mount().join("image");
    let mut random = Random::new(13);
    let mut file = File::create(&path).expect("create");
    let started = Instant::now();
    for _ in 0..size >> 20 {
        file.write_all(&random.bytes(1 << 20)).expect("write");
    }
    file.sync_all().expect("fsync");
    figure!(
        "writing {} MiB of random bytes: {:.0} MiB/s",
        size >> 20,
        (size >> 20) as f64 / started.elapsed().as_secs_f64()
    );
    node.say(&["snapshot", "written"]);

    // A first round turns the touched parts of a stream into parts that are overwritten in place.
    let overwrite = |random: &mut Random| {
        let file = OpenOptions::new().write(true).open(&path).expect("open");
        let before = log_bytes(&node);
        let mut chunks = std::collections::BTreeSet::new();
        for _ in 0..touches {
            let offset = random.below(size / 4096) * 4096;
            chunks.insert(offset / FIXED_CHUNK);
            file.write_all_at(&random.bytes(4096), offset).expect("write");
        }
        file.sync_all().expect("fsync");
        drop(file);
        node.say(&["snapshot"]);
        (log_bytes(&node) - before, chunks.len() as u64)
    };
    let (first, _) = overwrite(&mut random);
    let (second, chunks) = overwrite(&mut random);
    // What the log takes before the flush: the written bytes themselves.
    let journal = touches * (4096 + 512);
    let per_chunk = second.saturating_sub(journal) / chunks;
    figure!(
        "{touches} random writes of 4 KiB into {} MiB: log grew {} MiB the first time, {} MiB the second, {} KiB per touched chunk",
        size >> 20,
        first >> 20,
        second >> 20,
        per_chunk >> 10
    );
    assert!(per_chunk <= FIXED_CHUNK + OVERHEAD_PER_CHUNK, "{per_chunk} bytes per chunk of {FIXED_CHUNK}");
    assert!(first <= journal + 2 * touches * ((1 << 20) + OVERHEAD_PER_CHUNK), "the first round rewrote {first} bytes");
}

fn log_bytes(node: &Node) -> u64 {
    let status = node.json(&["status"]);
    status["store"]["log_bytes"].as_u64().unwrap_or_else(|| panic!("no store.log_bytes in {status}"))
}
