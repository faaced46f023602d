//! The reader under every order of its threads: one load for all who want a block, nobody pays for another's deadline, and
//! nothing is left behind.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{Block, BlockId, Compression, Kind, MasterKey, Ref, VolumeKeys, seal};
use cairn_store::testing::schedules;
use cairn_store::{Ask, BlockStore, Priority, Put, StoreError};
use shuttle::rand::Rng;

use super::{ReadError, ReaderOptions, TreeReader};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread;

const THREADS: usize = 3;
const TEXT: &[u8] = b"wanted by many";

fn sample() -> (Block, Ref) {
    static SAMPLE: LazyLock<(Block, Ref)> = LazyLock::new(|| {
        let keys = VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"schedules");
        let sealed = seal(keys.convergence(), Kind::Data, TEXT, Compression::Probe).expect("a chunk");
        (sealed.block, sealed.reference)
    });
    SAMPLE.clone()
}

/// One block, or none. Takes its time, and has none for who is late.
struct Slow {
    block: Option<Block>,
    gets: AtomicU64,
}

impl BlockStore for Slow {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        thread::yield_now();
        if ask.remaining().is_zero() {
            return Err(StoreError::Timeout { op: "get", waited: Duration::ZERO });
        }
        Ok(self.block.clone().filter(|block| block.id() == *id))
    }

    fn put(&self, _: &Block) -> Result<Put, StoreError> {
        Ok(Put::Known)
    }

    fn has(&self, _: &BlockId) -> Result<bool, StoreError> {
        Ok(self.block.is_some())
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.has(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// An ask that is late already, or never.
fn ask(is_late: bool) -> Ask {
    let hour = Duration::from_secs(3600);
    let deadline = if is_late { Instant::now() } else { Instant::now() + hour };
    Ask { deadline, priority: Priority::Now }
}

#[test]
fn one_load_serves_all_who_want_a_block() {
    schedules("single flight", || {
        let mut random = shuttle::rand::thread_rng();
        let is_missing = random.gen_range(0..4) == 0;
        let lateness: Vec<bool> = (0..THREADS).map(|_| random.gen_range(0..3) == 0).collect();
        let (block, reference) = sample();
        let store = Arc::new(Slow { block: (!is_missing).then_some(block), gets: AtomicU64::new(0) });
        let options = ReaderOptions { nodes_bytes_max: 1 << 10, chunks_bytes_max: 4 << 20, idle_bytes_max: 0 };
        let reader = Arc::new(TreeReader::new(store.clone(), options));
        let threads: Vec<_> = lateness
            .iter()
            .map(|is_late| {
                let (reader, reference, is_late) = (reader.clone(), reference.clone(), *is_late);
                thread::spawn(move || judge(reader.chunk(&reference, ask(is_late)), is_late, is_missing))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        if !is_missing && lateness.iter().all(|is_late| !is_late) {
            assert_eq!(store.gets.load(Ordering::SeqCst), 1, "loaded more than once");
        }
        assert!(reader.flights.is_empty(), "a flight was left behind");
    });
}

fn judge(result: Result<Bytes, ReadError>, is_late: bool, is_missing: bool) {
    match result {
        Ok(text) => assert!(text == TEXT && !is_missing),
        Err(ReadError::Missing { .. }) => assert!(is_missing, "it is there"),
        Err(ReadError::Store(StoreError::Timeout { .. })) => assert!(is_late, "another one's deadline passed"),
        Err(error) => panic!("{error}"),
    }
}
