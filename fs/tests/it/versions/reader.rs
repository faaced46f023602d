//! The reader: one load for many, bounded memory, and errors that name the block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use cairn_block::{Block, BlockId, BlockKey, Kind, Nodes, Ref, Sink};
use cairn_fs::reader::{Patience, ReadError, ReaderOptions, TreeReader};
use cairn_store::{Ask, BlockStore, MemoryStore, Priority, Put, StoreError};

use super::sketch::{Op, Sketch};
use super::world::World;

/// A store that takes its time, counts, and answers with a timeout when the ask has none left.
struct Slow {
    inner: Arc<MemoryStore>,
    delay: Duration,
    gets: AtomicU64,
}

impl BlockStore for Slow {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.delay.min(ask.remaining()));
        if ask.remaining().is_zero() {
            return Err(StoreError::Timeout { op: "get", waited: self.delay });
        }
        self.inner.get(id, ask)
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        self.inner.put(block)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.inner.has(id)
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.inner.claim(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }
}

fn slow(world: &World, delay_ms: u64, options: ReaderOptions) -> (Arc<Slow>, TreeReader) {
    let delay = Duration::from_millis(delay_ms);
    let store = Arc::new(Slow { inner: Arc::clone(&world.store), delay, gets: AtomicU64::new(0) });
    (Arc::clone(&store), TreeReader::new(store, options))
}

fn soon() -> Ask {
    Ask::now(Duration::from_secs(30))
}

fn at_once<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(count);
    let (barrier, work) = (&barrier, &work);
    std::thread::scope(|scope| {
        let run = |index| {
            scope.spawn(move || {
                barrier.wait();
                work(index)
            })
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn many_who_want_one_chunk_load_it_once() {
    let world = World::new();
    let chunk = world.sink().put(Kind::Data, b"wanted").unwrap();
    let (store, reader) = slow(&world, 50, ReaderOptions::default());
    for result in at_once(8, |_| reader.chunk(&chunk, soon())) {
        assert_eq!(result.unwrap(), "wanted");
    }
    assert_eq!(store.gets.load(Ordering::SeqCst), 1);
}

#[test]
fn an_impatient_leader_does_not_fail_those_who_can_wait() {
    let world = World::new();
    let chunk = world.sink().put(Kind::Data, b"wanted").unwrap();
    let (_, reader) = slow(&world, 100, ReaderOptions::default());
    let results = at_once(4, |index| {
        let timeout = if index == 0 { Duration::from_millis(20) } else { Duration::from_secs(30) };
        (index, reader.chunk(&chunk, Ask::now(timeout)))
    });
    for (index, result) in results {
        assert_eq!(result.is_ok(), index > 0, "{index}: {result:?}");
    }
}

#[test]
fn a_follower_gives_up_at_its_own_deadline() {
    let world = World::new();
    let chunk = world.sink().put(Kind::Data, b"wanted").unwrap();
    let (_, reader) = slow(&world, 400, ReaderOptions::default());
    let results = at_once(2, |index| {
        std::thread::sleep(Duration::from_millis(50 * index as u64));
        let begun = std::time::Instant::now();
        let timeout = Duration::from_millis(if index == 0 { 30_000 } else { 50 });
        (reader.chunk(&chunk, Ask::now(timeout)).is_ok(), begun.elapsed())
    });
    assert!(results[0].0 && !results[1].0);
    assert!(results[1].1 < Duration::from_millis(300), "{:?}", results[1].1);
}

#[test]
fn a_missing_block_is_missing_for_all_who_wait() {
    let world = World::new();
    let chunk = world.sink().put(Kind::Data, b"wanted").unwrap();
    let reader = world.reader_without(&[chunk.id]);
    for result in at_once(4, |_| reader.chunk(&chunk, soon())) {
        assert!(matches!(result, Err(ReadError::Missing { id }) if id == chunk.id));
    }
}

#[test]
fn a_ref_with_another_key_length_or_kind_is_damaged_and_gets_nothing_from_the_cache() {
    let world = World::new();
    let chunk = world.sink().put(Kind::Data, b"wanted").unwrap();
    let reader = world.reader_without(&[]);
    assert!(reader.chunk(&chunk, soon()).is_ok());
    let forged =
        [Ref { key: BlockKey::from_bytes([0; 32]), ..chunk.clone() }, Ref { len: chunk.len + 1, ..chunk.clone() }];
    for forged in forged {
        assert!(matches!(reader.chunk(&forged, soon()), Err(ReadError::Damaged { id, .. }) if id == chunk.id));
        assert!(reader.cached_chunk(&forged).is_none());
    }
    assert!(matches!(reader.map_node(&chunk, 0, soon()), Err(ReadError::Damaged { .. })));
    assert!(matches!(reader.xattrs(&chunk, soon()), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_node_is_read_at_its_own_level_only() {
    let world = World::new();
    let root = Sketch::new().after(&[Op::Mkdir { dir: 0, name: 0 }]).plant(&world);
    let node = cairn_fs::tree::dir_root(&root.root).root.clone().unwrap();
    let reader = world.reader_without(&[]);
    assert!(reader.map_node(&node, 0, soon()).is_ok());
    assert!(matches!(reader.map_node(&node, 1, soon()), Err(ReadError::Damaged { .. })));
    assert!(matches!(reader.file_node(&node, 0, soon()), Err(ReadError::Damaged { .. })));
}

#[test]
fn what_is_not_in_memory_would_wait_and_what_is_does_not() {
    let world = World::new();
    let root = Sketch::new().after(&[Op::Mkdir { dir: 0, name: 0 }]).plant(&world);
    let node = cairn_fs::tree::dir_root(&root.root).root.clone().unwrap();
    let reader = world.reader_without(&[]);
    assert!(matches!(reader.cached_nodes().map(&node, 0), Err(ReadError::WouldWait { id }) if id == node.id));
    reader.map_node(&node, 0, soon()).unwrap();
    assert!(reader.cached_nodes().map(&node, 0).is_ok());
    assert!(reader.patient_nodes(Patience::None).map(&node, 0).is_ok());
    assert!(reader.cached_map_node(&node).is_some());
}

#[test]
fn caches_stay_within_their_bounds_and_shrink_to_a_floor() {
    let world = World::new();
    let options = ReaderOptions { nodes_bytes_max: 1 << 20, chunks_bytes_max: 4 << 20, idle_bytes_max: 1 << 20 };
    let (_, reader) = slow(&world, 0, options);
    for index in 0..200_u32 {
        let chunk = world.sink().put(Kind::Data, &index.to_le_bytes().repeat(10_000)).unwrap();
        reader.chunk(&chunk, soon()).unwrap();
        assert!(reader.cached_bytes() <= 5 << 20);
    }
    assert!(reader.cached_bytes() > 2 << 20);
    reader.shrink();
    assert!(reader.cached_bytes() <= 2 << 20);
}

#[test]
fn background_work_leaves_no_trace_in_the_caches() {
    let world = World::new();
    let chunk = world.sink().put(Kind::Data, b"wanted").unwrap();
    let reader = world.reader_without(&[]);
    let ask = Ask { priority: Priority::Background, ..soon() };
    assert_eq!(reader.chunk(&chunk, ask).unwrap(), Bytes::from_static(b"wanted"));
    assert!(reader.cached_chunk(&chunk).is_none());
}
