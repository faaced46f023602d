//! Collections over volumes that are being written to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::entry::Content;
use cairn_block::{BlockId, DeviceKey, FileType, Ino, MasterKey, VolumeKeys};
use cairn_fs::ops::{Caller, Handle, KillPriv, NewNode, OpenFlags, Operations, Wait};
use cairn_fs::{SweepError, Volume, VolumeConfig, VolumeOptions, read_root, sweep, tree};
use cairn_store::{
    Ask, BlockStore, Collection, Collector, HeadStore, HintStore, MemoryStore, Progress, StoreError, SweepOptions,
    SweepReport,
};

pub(crate) fn wait() -> Wait {
    Wait::Until(Instant::now() + Duration::from_secs(20))
}

pub(crate) fn keys() -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([3; 32]), b"collecting")
}

pub(crate) fn open<S: BlockStore + HeadStore + HintStore + 'static>(store: &Arc<S>) -> Arc<Volume> {
    let config = VolumeConfig {
        keys: keys(),
        device: DeviceKey::from_bytes(&[5; 32]),
        store: store.clone(),
        heads: store.clone(),
        hints: store.clone(),
        options: VolumeOptions::default(),
    };
    Volume::open(config).expect("the volume opens")
}

/// Bytes that nothing compresses.
pub(crate) fn noise(len: usize, seed: &str) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("cairn-fs tests/it/collecting.rs")
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.into()
}

pub(crate) fn create(volume: &Volume, name: &str) -> (Ino, Handle) {
    let node = NewNode { kind: FileType::Regular, mode: 0o644, umask: 0, rdev: 0, target: Bytes::new() };
    let ino = volume.create(wait(), &Caller::NODE, Ino::ROOT, name.as_bytes(), node).expect("create").ino;
    let flags = OpenFlags { read: true, write: true, truncate: false, kill_priv: KillPriv::Keep };
    (ino, volume.open(wait(), ino, flags).expect("open"))
}

pub(crate) fn write(volume: &Volume, ino: Ino, offset: usize, data: &Bytes) {
    let written = volume.write(wait(), ino, offset as u64, data.clone(), KillPriv::Keep).expect("write");
    assert_eq!(written as usize, data.len());
}

/// Nobody knows the file any more, as after `cairn put`.
pub(crate) fn let_go(volume: &Volume, (ino, handle): (Ino, Handle)) {
    volume.release(handle);
    volume.forget(ino, 1);
}

pub(crate) fn read(volume: &Volume, name: &str) -> Bytes {
    let attr = volume.lookup(wait(), Ino::ROOT, name.as_bytes()).expect("the file is there");
    volume.read(wait(), attr.ino, 0, attr.size as u32).expect("it can be read").into_bytes()
}

/// A store in which something happens in the middle of a collection: when the first block is marked.
struct Midway<'a> {
    store: &'a MemoryStore,
    happens: Arc<dyn Fn() + Send + Sync>,
}

impl Collector for Midway<'_> {
    fn begin_collection(&self) -> Result<Box<dyn Collection>, StoreError> {
        let collection = self.store.begin_collection()?;
        Ok(Box::new(Marking { collection, happens: Some(self.happens.clone()) }))
    }
}

struct Marking {
    collection: Box<dyn Collection>,
    happens: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Collection for Marking {
    fn mark(&mut self, id: &BlockId) {
        if let Some(happens) = self.happens.take() {
            happens();
        }
        self.collection.mark(id);
    }

    fn is_marked(&self, id: &BlockId) -> bool {
        self.collection.is_marked(id)
    }

    fn sweep(
        self: Box<Self>,
        options: SweepOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SweepReport, StoreError> {
        self.collection.sweep(options, progress)
    }
}

fn collect(volume: &Arc<Volume>, collector: &dyn Collector) -> SweepReport {
    let options = SweepOptions::default();
    sweep(&[Arc::clone(volume)], collector, &|| Some(Vec::new()), options, &mut |_| {}).expect("the collection ends").1
}

#[test]
fn what_a_flush_lands_while_heads_are_marked_stays() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let_go(&volume, create(&volume, "first"));
    volume.flush().expect("a head to mark");
    let data = noise(300_000, "second");
    let file = create(&volume, "second");
    write(&volume, file.0, 0, &data);
    // Its chunks are in the log before the collection begins, and no head knows them.
    volume.sync_all().expect("sync");
    let_go(&volume, file);
    let landing = volume.clone();
    let happens = Arc::new(move || drop(landing.flush().expect("flush")));
    collect(&volume, &Midway { store: &store, happens });
    volume.close().expect("close");
    let again = open(&store);
    assert_eq!(read(&again, "second"), data);
}

#[test]
fn what_a_restore_takes_over_while_heads_are_marked_stays() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let data = noise(300_000, "restored");
    let file = create(&volume, "file");
    write(&volume, file.0, 0, &data);
    let_go(&volume, file);
    volume.flush().expect("flush");
    let was = volume.history().expect("history").pop().expect("a head");
    let root = read_root(&was, volume.reader()).expect("its root");
    volume.unlink(wait(), &Caller::NODE, Ino::ROOT, b"file").expect("unlink");
    volume.flush().expect("flush");
    // Nothing that is marked holds the file: its head goes before the collection begins.
    volume.drop_snapshot(&was).expect("dropped");
    let restoring = volume.clone();
    let happens = Arc::new(move || {
        restoring.restore(&root, b"", b"", &mut |_| {}).expect("restored");
    });
    collect(&volume, &Midway { store: &store, happens });
    volume.close().expect("close");
    assert_eq!(read(&open(&store), "file"), data);
}

#[test]
fn nothing_is_removed_where_a_volume_came_meanwhile() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let file = create(&volume, "of no head");
    write(&volume, file.0, 0, &noise(200_000, "joined"));
    let_go(&volume, file);
    volume.flush().expect("flush");
    volume.unlink(wait(), &Caller::NODE, Ino::ROOT, b"of no head").expect("unlink");
    volume.flush().expect("flush");
    let before = store.block_ids();
    let joined = sweep(&[volume], store.as_ref(), &|| None, SweepOptions::default(), &mut |_| {});
    assert!(matches!(joined, Err(SweepError::Joined)));
    assert_eq!(store.block_ids(), before);
}

#[test]
fn what_the_journal_refers_to_stays_until_it_is_trimmed() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let (ino, _handle) = create(&volume, "log");
    // Still open: the end of the stream is parked for the journal and kept in memory for the next chunk.
    let data = noise(50_000, "log");
    write(&volume, ino, 0, &data);
    volume.sync_all().expect("sync");
    collect(&volume, store.as_ref());
    store.sync().expect("what was removed stays removed");
    drop(volume);
    store.crash();
    let again = open(&store);
    assert_eq!(read(&again, "log"), data);
}

#[test]
fn a_stream_that_is_synced_in_small_steps_is_written_about_twice() {
    const STEP: usize = 4096;
    const STEPS: usize = 160;
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let data = noise(STEP * STEPS, "steps");
    let (ino, handle) = create(&volume, "steps");
    for at in (0..data.len()).step_by(STEP) {
        write(&volume, ino, at, &data.slice(at..at + STEP));
        volume.sync_all().expect("sync");
    }
    let_go(&volume, (ino, handle));
    volume.flush().expect("flush");
    let stats = volume.activity().sealed;
    let sealed = stats.chunks.bytes + stats.parked.bytes;
    // Once as it came, once in chunks, and a little for what a flush in between had to cut early.
    assert!(sealed < 3 * data.len() as u64, "{sealed} bytes sealed for {}", data.len());
    assert_eq!(read(&volume, "steps"), data);
}

#[test]
fn what_is_overwritten_while_the_end_grows_is_in_the_journal() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let data = noise(120_000, "before");
    let patch = noise(2_000, "patch");
    let (ino, _handle) = create(&volume, "both");
    write(&volume, ino, 0, &data.slice(..50_000));
    volume.sync_all().expect("sync");
    write(&volume, ino, 1_000, &patch);
    write(&volume, ino, 50_000, &data.slice(50_000..));
    volume.sync_all().expect("sync");
    drop(volume);
    store.crash();
    let again = open(&store);
    let expected = [&data[..1_000], &patch, &data[3_000..]].concat();
    assert_eq!(read(&again, "both"), expected);
}

#[test]
fn steps_make_the_chunks_that_one_write_makes() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let data = noise(900_000, "both");
    let (whole, handle) = create(&volume, "whole");
    write(&volume, whole, 0, &data);
    let_go(&volume, (whole, handle));
    let (steps, handle) = create(&volume, "steps");
    for (turn, at) in (0..data.len()).step_by(30_000).enumerate() {
        write(&volume, steps, at, &data.slice(at..data.len().min(at + 30_000)));
        if turn % 3 == 0 {
            // Into the journal, without a flush that would make a tree of it.
            volume.sync_all().expect("sync");
        }
    }
    let_go(&volume, (steps, handle));
    let head = volume.flush().expect("flush").expect("a head");
    let root = read_root(&head, volume.reader()).expect("its root");
    let content = |path: &[u8]| {
        let mut nodes = volume.reader().nodes(Ask::now(Duration::from_secs(5)));
        match tree::record_at(&mut nodes, keys().names(), &root, path).expect("a record").content {
            Content::File(root) => root,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(content(b"/whole"), content(b"/steps"));
}
