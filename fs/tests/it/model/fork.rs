//! Two devices that part from one state and meet again: what both did is merged, and nothing of it is lost.

use std::sync::Arc;
use std::time::Duration;

use cairn_block::{
    Compression, DeviceId, DeviceKey, Head, HeadFields, HeadKind, Kind, Ref, Rights, Sink, VolumeRoot, head_hash, seal,
};
use cairn_fs::changes::Changes;
use cairn_fs::merge::{Side, TreeAncestor, merge};
use cairn_fs::read_root;
use cairn_fs::reader::{Patience, ReadError, TreeReader};
use cairn_store::{Ask, BlockStore, HeadStore, MemoryStore, Priority, Store};

use super::rig::{Rig, keys};
use super::tree::Tree;

/// The other device, on a store of its own.
pub(super) struct Forked {
    pub(super) rig: Rig,
    pub(super) tree: Tree,
    store: Arc<MemoryStore>,
    base: Head,
    base_tree: Tree,
}

/// What a merge has to keep.
pub(super) struct Rules {
    base: Tree,
    sides: [Tree; 2],
    /// Which side has the very tree of the base, times and all.
    unchanged: [bool; 2],
}

fn ask() -> Ask {
    Ask::now(Duration::from_secs(60))
}

/// Copies what one store has of the volume to another. Other devices' heads stay where they are.
fn copy_blocks(from: &dyn Store, ids: &[cairn_block::BlockId], to: &dyn BlockStore) {
    for id in ids {
        if let Some(block) = from.get(id, ask()).expect("a sound block") {
            to.put(&block).expect("a put");
        }
    }
    to.sync().expect("a sync");
}

/// Another device gets all that this one has. `None` if there is nothing yet.
pub(super) fn fork(rig: &Rig, store: &dyn Store, tree: &Tree) -> Option<Forked> {
    let base = rig.head()?;
    let copy = Arc::new(MemoryStore::new());
    copy_tree(rig, store, &base, &*copy);
    let bytes = store.heads(&keys().volume()).expect("heads");
    let bytes = bytes.into_iter().find(|head| head.device == base.device && head.seq == base.seq)?.bytes;
    copy.put_head(&keys().volume(), &base.device, base.seq, &bytes).expect("a head");
    copy.sync().expect("a sync");
    let rig = Rig::open(copy.clone(), [4; 32]);
    // It counts in a range of its own.
    let forked = Tree { highest: super::tree::ROOT, ..tree.clone() };
    Some(Forked { rig, tree: forked, store: copy, base, base_tree: tree.clone() })
}

/// Copies the tree of a head: what a collection that keeps nothing else would mark.
fn copy_tree(rig: &Rig, store: &dyn Store, head: &Head, to: &dyn BlockStore) {
    let ids = blocks_of(rig.volume.reader(), head);
    copy_blocks(store, &ids, to);
}

fn blocks_of(reader: &TreeReader, head: &Head) -> Vec<cairn_block::BlockId> {
    let listing = Listing::default();
    let ids = listing.ids.clone();
    let mut marker = cairn_fs::collect::Marker::new(reader, Box::new(listing));
    marker.head(&head.root).expect("a tree that can be walked");
    ids.lock().expect("unpoisoned").iter().copied().collect()
}

/// A collection that only notes what is marked.
#[derive(Default)]
struct Listing {
    ids: Arc<std::sync::Mutex<std::collections::BTreeSet<cairn_block::BlockId>>>,
}

impl cairn_store::Collection for Listing {
    fn mark(&mut self, id: &cairn_block::BlockId) {
        self.ids.lock().expect("unpoisoned").insert(*id);
    }

    fn is_marked(&self, id: &cairn_block::BlockId) -> bool {
        self.ids.lock().expect("unpoisoned").contains(id)
    }

    fn sweep(
        self: Box<Self>,
        _: cairn_store::SweepOptions,
        _: &mut dyn FnMut(cairn_store::Progress),
    ) -> Result<cairn_store::SweepReport, cairn_store::StoreError> {
        Ok(cairn_store::SweepReport::default())
    }
}

impl Forked {
    /// Merges into the first device's store, and makes a head of it there. Its volume is closed.
    pub(super) fn merge_into(self, rig: &Rig, store: &dyn Store, tree: &Tree) -> Rules {
        let here = rig.head().expect("a head");
        let there = self.rig.head().expect("a head");
        copy_blocks(&*self.store, &blocks_of(self.rig.volume.reader(), &there), store);
        let reader = rig.volume.reader();
        let [base, ours, theirs] =
            [&self.base, &here, &there].map(|head| read_root(head, reader).expect("the root of a head"));
        let unchanged = [ours == base, theirs == base];
        let sides = [side(1, reader, &base, &ours), side(2, reader, &base, &theirs)];
        let swapped = [sides[1].clone(), sides[0].clone()];
        let root = merged(reader, store, &base, sides);
        assert_eq!(root, merged(reader, store, &base, swapped), "the order of the sides matters");
        let root = Sealing { store }.put(Kind::Root, &root.encode().expect("a root")).expect("a put");
        sign(rig, store, &here, &there, root);
        Rules { base: self.base_tree, sides: [tree.clone(), self.tree], unchanged }
    }
}

fn side(rank: u8, reader: &TreeReader, base: &VolumeRoot, root: &VolumeRoot) -> Side {
    let mut nodes = reader.patient_nodes(Patience::Each(Priority::Now, Duration::from_secs(60)));
    let changes = Changes::between(&mut nodes, base, root).expect("changes");
    Side { rank: (DeviceId::from_bytes([rank; 32]), 1), device_name: format!("device{rank}"), changes }
}

fn merged(reader: &TreeReader, store: &dyn Store, base: &VolumeRoot, sides: [Side; 2]) -> VolumeRoot {
    let keys = keys();
    let mut ancestor = TreeAncestor { reader, root: base, names: keys.names(), patience: Patience::Until(ask()) };
    let merged = merge(&mut ancestor, sides).expect("a merge");
    let mut nodes = reader.patient_nodes(Patience::Each(Priority::Now, Duration::from_secs(60)));
    merged.changes.apply(&mut nodes, &mut Sealing { store }, keys.names(), base).expect("a tree of the merge")
}

/// The first device signs the merge, on top of both heads.
fn sign(rig: &Rig, store: &dyn Store, here: &Head, there: &Head, root: Ref) {
    let (keys, device) = (keys(), DeviceKey::from_bytes(&rig.device));
    let kept = store.heads(&keys.volume()).expect("heads");
    let previous = kept.iter().find(|head| head.device == here.device && head.seq == here.seq).expect("our head");
    let mut vector = here.vector.clone();
    vector.retain(|(device, _)| *device != there.device);
    vector.push((there.device, there.seq));
    vector.sort();
    let fields = HeadFields {
        seq: here.seq + 1,
        previous: head_hash(&previous.bytes),
        vector,
        time: here.time,
        delta_upto: here.delta_upto,
        root,
        kind: HeadKind::Automatic,
        label: None,
    };
    let cert = keys.certify(device.id(), Rights::WRITE);
    let bytes = Head::sign(fields, &keys, &device, &cert).expect("a signed head");
    store.sync().expect("a sync");
    store.put_head(&keys.volume(), &device.id(), here.seq + 1, &bytes).expect("a head");
    store.sync().expect("a sync");
}

/// Seals into a store.
struct Sealing<'a> {
    store: &'a dyn Store,
}

impl Sink for Sealing<'_> {
    type Error = ReadError;

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, ReadError> {
        let sealed = seal(keys().convergence(), kind, payload, Compression::Probe).expect("a chunk");
        self.store.put(&sealed.block)?;
        Ok(sealed.reference)
    }
}

impl Rules {
    pub(super) fn check(&self, merged: &Tree) {
        for (side, is_alone) in self.sides.iter().zip([self.unchanged[1], self.unchanged[0]]) {
            for content in side.contents() {
                let is_new = !self.base.contents().any(|known| known == content);
                let is_kept = merged.contents().any(|kept| kept == content);
                assert!(!is_new || is_kept, "a content of {} bytes that one side wrote is lost", content.size);
            }
            if is_alone {
                let difference = side.difference(merged, true);
                assert!(difference.is_none(), "a merge with nothing changed {difference:?}");
            }
        }
    }
}
