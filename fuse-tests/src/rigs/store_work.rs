//! A store under several threads: puts of many sizes, heads, journals, collections, checkpoints, and opening again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_block::{Block, BlockId, DeviceId, VolumeId};
use cairn_store::disk::{DiskOptions, DiskStore};
use cairn_store::{Ask, BlockStore, Collector, HeadStore, Scrubber, StoreError, SweepOptions};

use super::Over;
use super::disk::Witness;
use super::facts::{Diary, Fact, Value};
use super::prove::Work;
use crate::Random;

/// Longer than any sound store takes for one block.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a head here; its content tells one from another.
const HEAD_BYTES: usize = 300;
/// The device of all heads.
const DEVICE: DeviceId = DeviceId::from_bytes([5; 32]);

/// What a store is put through.
#[derive(Debug, Clone)]
pub struct StoreWork {
    /// Chooses the steps.
    pub seed: u64,
    /// Steps of each thread between opening the store and closing it.
    pub steps: usize,
    /// How often it is opened.
    pub openings: usize,
    /// Size of a segment.
    pub segment_bytes: u64,
    /// Whether collections run meanwhile.
    pub collects: bool,
    /// What each thread does.
    pub lanes: Vec<Lane>,
}

impl StoreWork {
    /// Work of `lanes` threads.
    pub fn new(seed: u64, lanes: u8, steps: usize, segment_bytes: u64, collects: bool) -> StoreWork {
        let lanes = (0..lanes).map(|number| Lane::new(seed, number)).collect();
        StoreWork { seed, steps, openings: 2, segment_bytes, collects, lanes }
    }

    /// How its store is set up.
    pub fn options(&self) -> DiskOptions {
        DiskOptions {
            segment_bytes: self.segment_bytes,
            reserve_bytes: 2 << 20,
            index_cache_bytes: 1 << 20,
            ..DiskOptions::default()
        }
    }

    /// Opens its store in `dir`.
    pub fn open(&self, dir: &Path) -> Result<DiskStore, String> {
        open_store(dir, &self.options())
    }

    /// All blocks that have to be there if everything was acknowledged.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.lanes
            .iter()
            .flat_map(|lane| lane.blocks.iter().zip(&lane.is_wanted))
            .filter(|(_, is)| **is)
            .map(|(b, _)| b)
    }

    /// Everything that can be seen, lane by lane.
    fn look(&self, store: &DiskStore) -> Result<Vec<BTreeMap<Fact, Value>>, String> {
        self.lanes.iter().map(|lane| lane.look(store)).collect()
    }

    fn rounds(&mut self, store: &DiskStore, seen: &(dyn Fn() -> u64 + Sync)) {
        let (steps, collects) = (self.steps, self.collects);
        let live = Live::default();
        live.0.lock().expect("no thread panicked").extend(self.lanes.iter().flat_map(Lane::wanted));
        let done = AtomicBool::new(false);
        let seed = self.seed;
        std::thread::scope(|scope| {
            let (live, done) = (&live, &done);
            let over = Over(done);
            let caretaker = scope.spawn(move || caretake(store, live, done, collects, Random::new(seed ^ 0xca4e)));
            let workers: Vec<_> = self
                .lanes
                .iter_mut()
                .map(|lane| scope.spawn(move || (0..steps).try_for_each(|_| lane.step(store, live, seen))))
                .collect();
            for worker in workers {
                let worked = worker.join().expect("a lane doesn't panic");
                worked.unwrap_or_else(|e| panic!("a sound disk refuses: {}", told(&e)));
            }
            drop(over);
            caretaker.join().expect("the caretaker doesn't panic");
        });
    }

    /// Judges an open store, without a word about what is expected of a closed one.
    pub fn judge_open(&self, store: &DiskStore, kept: u64) -> Result<usize, String> {
        if !store.damage().is_empty() {
            return Err(format!("damage where there is none: {:?}, {:?}", store.damage(), store.open_report()));
        }
        let found = self.look(store)?;
        let mut promises = 0;
        for (lane, found) in self.lanes.iter().zip(&found) {
            promises += lane.diary.judge(found, kept).map_err(|e| format!("lane {}: {e}", lane.number))?;
        }
        let scrubbed = store.scrub(&mut |_| ()).map_err(|e| format!("scrub: {}", told(&e)))?;
        if !scrubbed.damaged.is_empty() {
            return Err(format!("a scrub finds {:?}", scrubbed.damaged));
        }
        Ok(promises)
    }
}

impl Work for StoreWork {
    fn name(&self) -> String {
        let collects = if self.collects { " collected" } else { "" };
        format!("store of {} threads {} KiB segments{collects}", self.lanes.len(), self.segment_bytes >> 10)
    }

    fn run(&mut self, dir: &Path, witness: &Witness) {
        for _ in 0..self.openings {
            let store = self.open(dir).unwrap_or_else(|e| panic!("{e}"));
            self.rounds(&store, &|| witness.count());
            store.close().unwrap_or_else(|e| panic!("a sound disk refuses: {}", told(&e)));
        }
    }

    fn judge(&self, dir: &Path, kept: u64) -> Result<usize, String> {
        let store = self.open(dir)?;
        let promises = self.judge_open(&store, kept)?;
        let found = self.look(&store)?;
        let blocks = store.stats().blocks;
        if kept.is_multiple_of(3) {
            // The index is what the log says.
            store.rebuild_index().map_err(|e| format!("the index isn't rebuilt: {}", told(&e)))?;
            if self.look(&store)? != found || store.stats().blocks != blocks {
                return Err(format!("a new index differs: {} blocks, not {blocks}", store.stats().blocks));
            }
        }
        // It goes on taking and keeping.
        let probe = Block::seal_bytes(Random::new(kept).bytes(3000));
        let taken = store.put(&probe).and_then(|_| store.sync()).and_then(|()| store.close());
        taken.map_err(|e| format!("it takes nothing any more: {}", told(&e)))?;
        // What was found once is found again.
        let store = self.open(dir)?;
        if !store.has(&probe.id()).map_err(|e| told(&e))? || self.look(&store)? != found {
            return Err("opening it a second time shows another state".to_owned());
        }
        Ok(promises)
    }
}

/// Blocks that no collection may take.
#[derive(Debug, Default)]
pub struct Live(Mutex<BTreeSet<BlockId>>);

impl Live {
    fn insert(&self, id: BlockId) {
        self.0.lock().expect("no thread panicked").insert(id);
    }

    fn remove(&self, id: &BlockId) {
        self.0.lock().expect("no thread panicked").remove(id);
    }
}

/// Collections and checkpoints while others work.
fn caretake(store: &DiskStore, live: &Live, done: &AtomicBool, collects: bool, mut random: Random) {
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(2 + random.below(12)));
        let cared = match random.below(10) {
            0..=6 if collects => collect(store, live),
            9 => store.rebuild_index(),
            _ => store.checkpoint(),
        };
        cared.unwrap_or_else(|e| panic!("a sound disk refuses: {}", told(&e)));
    }
}

fn collect(store: &DiskStore, live: &Live) -> Result<(), StoreError> {
    let mut collection = store.begin_collection()?;
    // After the beginning, so that whoever begins to want a block later is protected by putting it.
    let wanted: Vec<_> = live.0.lock().expect("no thread panicked").iter().copied().collect();
    wanted.iter().for_each(|id| collection.mark(id));
    collection.sweep(SweepOptions::default(), &mut |_| ()).map(drop)
}

/// One thread: a volume of its own, and blocks that nobody else has.
#[derive(Debug, Clone)]
pub struct Lane {
    number: u8,
    random: Random,
    /// What it did.
    pub diary: Diary,
    blocks: Vec<Block>,
    is_wanted: Vec<bool>,
    head: u64,
    delta: u64,
    journal: Vec<(u64, usize)>,
}

impl Lane {
    fn new(seed: u64, number: u8) -> Lane {
        Lane {
            number,
            random: Random::new(seed.wrapping_mul(31).wrapping_add(number.into())),
            diary: Diary::default(),
            blocks: Vec::new(),
            is_wanted: Vec::new(),
            head: 0,
            delta: 0,
            journal: Vec::new(),
        }
    }

    fn volume(&self) -> VolumeId {
        VolumeId::from_bytes([self.number + 1; 16])
    }

    fn wanted(&self) -> impl Iterator<Item = BlockId> {
        self.blocks.iter().zip(&self.is_wanted).filter(|(_, wanted)| **wanted).map(|(block, _)| block.id())
    }

    /// One change, or a sync. `seen` tells what the device had seen when it was acknowledged. After an error it is open
    /// what became of the change.
    pub fn step(&mut self, store: &DiskStore, live: &Live, seen: &(dyn Fn() -> u64 + Sync)) -> Result<(), StoreError> {
        match self.random.below(100) {
            0..=44 => {
                let number = self.new_block();
                self.put(store, live, number)
            }
            45..=49 => self.some_block().map_or(Ok(()), |number| self.put(store, live, number)),
            50..=54 => {
                self.release(live);
                Ok(())
            }
            55..=57 => self.claim(store, live),
            58..=67 => self.append(store),
            68..=71 => self.trim(store),
            72..=77 => self.put_head(store),
            _ => self.sync(store, seen),
        }
    }

    /// Has everything so far acknowledged.
    pub fn sync(&mut self, store: &DiskStore, seen: &(dyn Fn() -> u64 + Sync)) -> Result<(), StoreError> {
        let upto = self.diary.len();
        store.sync()?;
        self.diary.acknowledge(upto, seen());
        Ok(())
    }

    fn done<T>(&mut self, fact: Fact, value: Value, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.diary.note(fact, if result.is_ok() { value } else { Value::Any });
        result
    }

    fn new_block(&mut self) -> usize {
        let bytes = match self.random.below(20) {
            0..=11 => 100 + self.random.below(4_000),
            12..=17 => 4_000 + self.random.below(60_000),
            18 => 60_000 + self.random.below(200_000),
            _ => 500 + self.random.below(600_000),
        };
        self.blocks.push(Block::seal_bytes(self.random.bytes(bytes as usize)));
        self.is_wanted.push(false);
        self.blocks.len() - 1
    }

    fn some_block(&mut self) -> Option<usize> {
        let count = self.blocks.len() as u64;
        let number = (count > 0).then(|| self.random.below(count) as usize)?;
        // What is in the journal lives by other rules.
        (!self.journal.iter().any(|(_, block)| *block == number)).then_some(number)
    }

    fn put(&mut self, store: &DiskStore, live: &Live, number: usize) -> Result<(), StoreError> {
        let block = self.blocks[number].clone();
        live.insert(block.id());
        let put = store.put(&block);
        self.is_wanted[number] = put.is_ok();
        self.done(Fact::Block(number), Value::Is(0), put).map(drop)
    }

    fn release(&mut self, live: &Live) {
        let Some(number) = self.some_block().filter(|number| self.is_wanted[*number]) else { return };
        // First the note: the next moment it may be gone.
        self.diary.note(Fact::Block(number), Value::Any);
        self.is_wanted[number] = false;
        live.remove(&self.blocks[number].id());
    }

    fn claim(&mut self, store: &DiskStore, live: &Live) -> Result<(), StoreError> {
        let Some(number) = self.some_block() else { return Ok(()) };
        let id = self.blocks[number].id();
        live.insert(id);
        let claimed = store.claim(&id)?;
        if claimed {
            self.diary.note(Fact::Block(number), Value::Is(0));
            self.is_wanted[number] = true;
        } else {
            // If it was wanted, the judge will miss it.
            live.remove(&id);
        }
        Ok(())
    }

    fn append(&mut self, store: &DiskStore) -> Result<(), StoreError> {
        let number = self.new_block();
        self.delta += 1 + self.random.below(2);
        let appended = store.append_delta(&self.volume(), self.delta, &self.blocks[number]);
        self.journal.push((self.delta, number));
        let delta = self.delta;
        let appended = self.done(Fact::Delta(delta), Value::Is(number as u64), appended);
        self.done(Fact::Block(number), Value::Is(0), appended)
    }

    fn trim(&mut self, store: &DiskStore) -> Result<(), StoreError> {
        let upto = self.delta.saturating_sub(self.random.below(6));
        let trimmed = store.trim_deltas(&self.volume(), upto);
        let worked = trimmed.is_ok();
        let (gone, kept) = self.journal.iter().copied().partition(|(seq, _)| *seq <= upto);
        self.journal = kept;
        let gone: Vec<(u64, usize)> = gone;
        for (seq, number) in gone {
            self.diary.note(Fact::Delta(seq), if worked { Value::Absent } else { Value::Any });
            self.diary.note(Fact::Block(number), Value::Any);
        }
        trimmed
    }

    fn put_head(&mut self, store: &DiskStore) -> Result<(), StoreError> {
        self.head += 1;
        let (seq, tag) = (self.head, self.random.below(250));
        let put = store.put_head(&self.volume(), &DEVICE, seq, &vec![tag as u8; HEAD_BYTES].into());
        self.done(Fact::Head(seq), Value::Is(tag), put)?;
        if seq > 3 && self.random.below(2) == 0 {
            let dropped = store.drop_heads(&self.volume(), &[(DEVICE, seq - 3)]);
            self.done(Fact::Head(seq - 3), Value::Absent, dropped)?;
        }
        Ok(())
    }

    /// Everything of this lane that the store shows. `Err` for what no store may show.
    fn look(&self, store: &DiskStore) -> Result<BTreeMap<Fact, Value>, String> {
        let mut found = BTreeMap::new();
        for (number, block) in self.blocks.iter().enumerate() {
            let got =
                store.get(&block.id(), Ask::now(PATIENCE)).map_err(|e| format!("block {number}: {}", told(&e)))?;
            let has = store.has(&block.id()).map_err(|e| told(&e))?;
            match got {
                Some(got) if got.bytes() != block.bytes() => return Err(format!("block {number} has other bytes")),
                got if got.is_some() != has => return Err(format!("block {number}: has says {has}, get disagrees")),
                Some(_) => drop(found.insert(Fact::Block(number), Value::Is(0))),
                None => {}
            }
        }
        for head in store.heads(&self.volume()).map_err(|e| told(&e))? {
            let tag = head.bytes.first().copied().unwrap_or_default();
            if head.bytes[..] != [tag; HEAD_BYTES] {
                return Err(format!("head {} has other bytes", head.seq));
            }
            found.insert(Fact::Head(head.seq), Value::Is(tag.into()));
        }
        for (seq, id) in store.deltas(&self.volume(), 0).map_err(|e| told(&e))? {
            let number = self.blocks.iter().position(|block| block.id() == id);
            let number = number.ok_or_else(|| format!("delta {seq} has a block that was never stored"))?;
            if !found.contains_key(&Fact::Block(number)) {
                return Err(format!("delta {seq} has no block"));
            }
            found.insert(Fact::Delta(seq), Value::Is(number as u64));
        }
        Ok(found)
    }
}

/// An error with its causes.
pub fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Opens the store in a directory.
pub fn open_store(dir: &Path, options: &DiskOptions) -> Result<DiskStore, String> {
    DiskStore::open(dir.join("store"), options.clone()).map_err(|e| format!("the store doesn't open: {}", told(&e)))
}
