//! The disk store under every order of its threads: what was acknowledged is durable, and whoever wants a block that a
//! collection is about to take has it.
//!
//! A real log in a directory in memory, an index of maps, and a witness at the place where the log calls the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use cairn_block::Block;
use shuttle::rand::Rng;
use tempfile::TempDir;

use super::inner::Place;
use super::{DiskOptions, DiskStore};
use crate::sync::{Mutex, thread};
use crate::testing::{ask, block, device, schedules, volume};
use crate::{BlockStore, Collector, HeadStore, SweepOptions};

/// How much of each segment the disk has confirmed.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    durable: Mutex<BTreeMap<PathBuf, u64>>,
}

impl Witness {
    /// A sync covers what the file holds when it begins. Others go on while it runs.
    pub(crate) fn sync(&self, file: &File, path: &Path) {
        let len = file.metadata().expect("metadata").len();
        thread::yield_now();
        let mut durable = self.durable.lock();
        let known = durable.entry(path.to_owned()).or_default();
        *known = len.max(*known);
    }
}

/// A store in memory: two records fill a segment.
struct Ground {
    dir: TempDir,
    store: Arc<DiskStore>,
}

fn options() -> DiskOptions {
    DiskOptions { segment_bytes: 8 << 10, reserve_bytes: 0, ..DiskOptions::default() }
}

fn sample(n: usize) -> Block {
    static SAMPLES: LazyLock<Vec<Block>> = LazyLock::new(|| (0..12).map(|n| block(n, 3000)).collect());
    SAMPLES[n].clone()
}

impl Ground {
    fn new() -> Ground {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
        let store = Arc::new(DiskStore::open(dir.path(), options()).expect("a new store"));
        Ground { dir, store }
    }

    /// Fails unless the disk has confirmed the block where it lies.
    fn assert_durable(store: &DiskStore, wanted: &Block) {
        let Ok(Some(Place::At(at))) = store.inner.find(&wanted.id()) else {
            panic!("a block that was synced is only in memory");
        };
        let log = &store.inner.log;
        let durable = log.device.witness.durable.lock().get(&log.segments.path(at.segment)).copied();
        let end = u64::from(at.offset + at.len);
        assert!(durable.is_some_and(|durable| end <= durable), "acknowledged up to {end}, durable up to {durable:?}");
    }

    /// Power fails: what the disk has not confirmed is gone. Returns the store as it is opened again.
    fn lose_power(self) -> (TempDir, DiskStore) {
        let Ground { dir, store } = self;
        let durable = std::mem::take(&mut *store.inner.log.device.witness.durable.lock());
        Arc::into_inner(store).expect("all threads are done").kill();
        for entry in std::fs::read_dir(dir.path().join("log")).expect("the log") {
            let path = entry.expect("an entry").path();
            let len = durable.get(&path).copied().unwrap_or(0);
            let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a segment");
            let written = file.metadata().expect("metadata").len();
            file.set_len(len.min(written)).expect("cut");
        }
        let store = DiskStore::open(dir.path(), options()).expect("opened again");
        (dir, store)
    }
}

fn get(store: &DiskStore, wanted: &Block) -> Option<Block> {
    store.get(&wanted.id(), ask()).expect("get")
}

#[test]
fn what_a_shared_sync_acknowledges_is_durable() {
    schedules("group commit", || {
        let ground = Ground::new();
        // One schedule in three has a disk that fails once.
        let fails_in = shuttle::rand::thread_rng().gen_range(0..12_u64);
        if fails_in < 4 {
            ground.store.faults().sync_in.store(fails_in, std::sync::atomic::Ordering::SeqCst);
        }
        let threads: Vec<_> = (0..3)
            .map(|n| {
                let store = ground.store.clone();
                thread::spawn(move || put_and_sync(&store, n))
            })
            .collect();
        let acknowledged: Vec<Block> =
            threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect();
        let (_dir, store) = ground.lose_power();
        for wanted in &acknowledged {
            assert_eq!(get(&store, wanted).as_ref(), Some(wanted), "acknowledged and lost");
        }
    });
}

/// Two blocks of its own and one that all put; says which were acknowledged.
fn put_and_sync(store: &DiskStore, n: usize) -> Vec<Block> {
    let mut acknowledged = Vec::new();
    for wanted in [sample(n), sample(11), sample(3 + n)] {
        // A segment that can't be begun is the only thing that a single failure may refuse.
        let Ok(_) = store.put(&wanted) else { continue };
        assert_eq!(get(store, &wanted).as_ref(), Some(&wanted), "put and not there");
        if store.sync().is_ok() {
            Ground::assert_durable(store, &wanted);
            acknowledged.push(wanted);
        }
    }
    acknowledged
}

#[test]
fn whoever_wants_a_block_while_a_collection_runs_has_it() {
    schedules("put and claim against a collection", || {
        let ground = Ground::new();
        let store = &ground.store;
        for n in 0..5 {
            store.put(&sample(n)).expect("put");
        }
        store.append_delta(&volume(1), 1, &sample(5)).expect("append_delta");
        store.put_head(&volume(1), &device(1), 1, &Bytes::from_static(b"head")).expect("put_head");
        store.sync().expect("sync");
        let mut collection = store.begin_collection().expect("begin");
        collection.mark(&sample(0).id());
        let sweep = thread::spawn(move || collection.sweep(SweepOptions::default(), &mut |_| {}).expect("sweep"));
        let wants = [Want::Put, Want::Claim].map(|want| {
            let store = store.clone();
            thread::spawn(move || want.play(&store))
        });
        // A reader, meanwhile: what was marked never goes.
        assert_eq!(get(store, &sample(0)), Some(sample(0)));
        assert_eq!(get(store, &sample(5)), Some(sample(5)), "a journal's");
        wants.into_iter().for_each(|thread| thread.join().expect("a thread"));
        sweep.join().expect("the sweep");
        let kept = [0, 1, 2, 5, 6].map(sample);
        for wanted in &kept {
            assert_eq!(get(store, wanted).as_ref(), Some(wanted), "wanted and collected");
        }
        store.sync().expect("sync");
        let (_dir, store) = ground.lose_power();
        for wanted in &kept {
            assert_eq!(get(&store, wanted).as_ref(), Some(wanted), "wanted, and lost with the power");
        }
        assert_eq!(store.heads(&volume(1)).expect("heads").len(), 1);
    });
}

/// What another thread wants while it is swept.
#[derive(Clone, Copy)]
enum Want {
    /// A block that is garbage, and one that is new.
    Put,
    /// Another one that is garbage: claimed, or put if it is gone.
    Claim,
}

impl Want {
    fn play(self, store: &DiskStore) {
        match self {
            Want::Put => {
                store.put(&sample(1)).expect("put");
                assert_eq!(get(store, &sample(1)), Some(sample(1)), "put and gone");
                store.put(&sample(6)).expect("put");
            }
            Want::Claim => {
                if !store.claim(&sample(2).id()).expect("claim") {
                    store.put(&sample(2)).expect("put");
                }
                assert_eq!(get(store, &sample(2)), Some(sample(2)), "claimed and gone");
            }
        }
    }
}
