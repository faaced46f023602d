//! A disk that is really full: a small tmpfs. Needs the right to mount; without it the test says so and passes.

use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_block::Block;
use cairn_store::disk::{DiskOptions, DiskStore};
use cairn_store::testing::{ask, block, volume};
use cairn_store::{BlockStore, Collector, HeadStore, SweepOptions};

const DISK_MIB: u64 = 96;

/// A tmpfs, unmounted when dropped.
struct SmallDisk {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("disk");
        std::fs::create_dir(&path).expect("create");
        let size = format!("size={DISK_MIB}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self { path, _dir: dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn open(dir: &Path) -> DiskStore {
    let options = DiskOptions { segment_bytes: 4 << 20, reserve_bytes: 6 << 20, ..DiskOptions::default() };
    DiskStore::open(dir, options).expect("open")
}

fn fill(store: &DiskStore, from: u64) -> Vec<Block> {
    let mut kept = Vec::new();
    for n in from.. {
        let block = block(n, 100_000);
        match store.put(&block) {
            Ok(_) => kept.push(block),
            Err(error) => {
                assert!(error.is_full(), "{error}");
                return kept;
            }
        }
    }
    unreachable!("the disk has an end")
}

fn sweep(store: &DiskStore, kept: &[Block]) {
    let mut collection = store.begin_collection().expect("begin");
    kept.iter().for_each(|block| collection.mark(&block.id()));
    collection.sweep(SweepOptions::default(), &mut |_| {}).expect("sweep");
}

#[test]
fn a_full_disk_syncs_journals_collects_closes_and_opens() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: no right to mount a tmpfs");
        return;
    };
    let dir = disk.path.join("store");
    let mut store = open(&dir);
    for round in 0..4 {
        let blocks = fill(&store, round * 10_000);
        assert!(blocks.len() > 400, "round {round}: only {}", blocks.len());
        store.sync().expect("what was accepted becomes durable");
        // Deleting a file is a journal record.
        for seq in 1..=100 {
            store.append_delta(&volume(1), round * 100 + seq, &block(round << 32 | seq, 2000)).expect("append_delta");
        }
        store.sync().expect("sync");
        store.trim_deltas(&volume(1), (round + 1) * 100).expect("trim_deltas");
        if round % 2 == 1 {
            store.close().expect("a full store closes");
            store = open(&dir);
        }
        let kept: Vec<_> = blocks.iter().step_by(7).cloned().collect();
        sweep(&store, &kept);
        sweep(&store, &kept);
        for block in &kept {
            assert_eq!(store.get(&block.id(), ask()).expect("get").as_ref(), Some(block));
        }
        let bytes = store.stats().log_bytes;
        assert!(bytes < DISK_MIB << 18, "round {round}: {bytes} bytes are still taken");
    }
}
