//! The exchange of heads, without lanes: books in memory, messages carried by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::{BlockId, BlockKey, Head, HeadFields, HeadKind, MasterKey, Ref, Rights};
use cairn_block::{DeviceId, DeviceKey, UntrustedHead, VolumeId, VolumeKeys};
use cairn_store::StoredHead;
use parking_lot::Mutex;

use super::exchange::{Exchange, Todo};
use super::{HeadsBook, Taken};
use crate::node_id::NodeId;
use crate::wire::heads::{HeadTag, HeadsMessage};

/// Heads of volumes by the number that their keys are made of.
#[derive(Default)]
struct Book {
    volumes: Mutex<Vec<u8>>,
    heads: Mutex<BTreeMap<(VolumeId, DeviceId, u64), Bytes>>,
}

fn keys(volume: u8) -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([9; 32]), &[volume])
}

fn head(volume: u8, device: u8, seq: u64) -> Bytes {
    let (keys, device) = (keys(volume), DeviceKey::from_bytes(&[device; 32]));
    let cert = keys.certify(device.id(), Rights::WRITE);
    let root = Ref { id: BlockId::of(b"sealed"), key: BlockKey::from_bytes([7; 32]), len: 9 };
    let time = cairn_block::Timestamp { secs: 1, nanos: 0 };
    let fields = HeadFields {
        seq,
        previous: [u8::from(seq > 1); 32],
        vector: Vec::new(),
        time,
        delta_upto: 0,
        root,
        kind: HeadKind::Automatic,
        label: None,
    };
    Head::sign(fields, &keys, &device, &cert).expect("a head")
}

impl HeadsBook for Book {
    fn tags(&self, sender: &DeviceId, receiver: &DeviceId) -> Vec<(VolumeId, HeadTag)> {
        let volumes = self.volumes.lock().clone();
        let tag = |volume| {
            let keys = keys(volume);
            (keys.volume(), HeadTag::of(&keys.read().keep().locate(), sender, receiver))
        };
        volumes.into_iter().map(tag).collect()
    }

    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, String> {
        let heads = self.heads.lock();
        let of_volume = heads.iter().filter(|((of, ..), _)| of == volume);
        Ok(of_volume
            .map(|((_, device, seq), bytes)| StoredHead { device: *device, seq: *seq, bytes: bytes.clone() })
            .collect())
    }

    fn take(&self, volume: &VolumeId, head: &UntrustedHead) -> Taken {
        let volumes = self.volumes.lock().clone();
        let Some(keys) = volumes.into_iter().map(keys).find(|keys| keys.volume() == *volume) else {
            return Taken::Failed("no such volume".into());
        };
        match head.verify(&keys.volume_public(), keys.read(), *volume) {
            Err(error) => Taken::Refused(error.to_string()),
            Ok(verified) => {
                let (device, seq) = (verified.device, verified.seq);
                match self.heads.lock().insert((*volume, device, seq), head.as_sent().clone()) {
                    None => Taken::New { device, seq },
                    Some(_) => Taken::Known { device, seq },
                }
            }
        }
    }
}

/// Nodes with their books, and what is on its way between them.
struct World {
    nodes: Vec<(NodeId, Arc<Book>, Exchange)>,
    under_way: VecDeque<(usize, usize, HeadsMessage)>,
    carried: usize,
    strikes: Vec<(usize, String)>,
}

impl World {
    fn new(count: u8) -> World {
        let node = |seed: u8| {
            let id = NodeId::new(DeviceKey::from_bytes(&[seed; 32]).id()).expect("a key");
            let book = Arc::new(Book::default());
            let exchange = Exchange::new(id.device(), book.clone());
            (id, book, exchange)
        };
        let nodes = (1..=count).map(node).collect();
        World { nodes, under_way: VecDeque::new(), carried: 0, strikes: Vec::new() }
    }

    /// Nodes that all know one volume.
    fn sharing(count: u8, volume: u8) -> World {
        let mut world = World::new(count);
        (0..usize::from(count)).for_each(|node| world.know(node, volume));
        world
    }

    fn know(&mut self, node: usize, volume: u8) {
        self.nodes[node].1.volumes.lock().push(volume);
        self.act(node, Exchange::renamed);
    }

    fn connect(&mut self, a: usize, b: usize) {
        for (one, other) in [(a, b), (b, a)] {
            let peer = self.nodes[other].0;
            self.act(one, |exchange| exchange.connected(peer));
        }
    }

    /// A head appears at a node, and goes wherever it goes.
    fn make(&mut self, node: usize, volume: u8, device: u8, seq: u64) {
        self.put(node, volume, device, seq);
        let id = keys(volume).volume();
        self.act(node, |exchange| exchange.grown(&id));
    }

    fn put(&mut self, node: usize, volume: u8, device: u8, seq: u64) {
        let by = DeviceKey::from_bytes(&[device; 32]).id();
        self.nodes[node].1.heads.lock().insert((keys(volume).volume(), by, seq), head(volume, device, seq));
    }

    fn act(&mut self, node: usize, act: impl FnOnce(&mut Exchange) -> Todo) {
        let todo = act(&mut self.nodes[node].2);
        self.strikes.extend(todo.strike.map(|reason| (node, reason)));
        for (to, message) in todo.send {
            let to = self.nodes.iter().position(|(id, ..)| *id == to).expect("a node of ours");
            self.under_way.push_back((node, to, message));
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.under_way.pop_front() {
            self.carried += 1;
            assert!(self.carried < 10_000, "it has no end");
            let from = self.nodes[from].0;
            self.act(to, |exchange| exchange.heard(from, message));
        }
    }

    fn has(&self, node: usize, volume: u8) -> Vec<(DeviceId, u64)> {
        let heads = self.nodes[node].1.heads(&keys(volume).volume()).expect("heads");
        heads.into_iter().map(|head| (head.device, head.seq)).collect()
    }
}

#[test]
fn who_meets_makes_up_for_what_was_missed() {
    let mut world = World::sharing(2, 7);
    (1..=5).for_each(|seq| world.put(0, 7, 1, seq));
    (1..=3).for_each(|seq| world.put(1, 7, 2, seq));
    world.connect(0, 1);
    world.settle();
    assert_eq!(world.has(0, 7).len(), 8);
    assert_eq!(world.has(0, 7), world.has(1, 7));
}

#[test]
fn a_new_head_goes_on_to_those_who_are_not_connected_with_its_maker() {
    let mut world = World::sharing(3, 7);
    world.connect(0, 1);
    world.connect(1, 2);
    world.settle();
    world.carried = 0;
    world.make(0, 7, 1, 1);
    world.settle();
    assert_eq!(world.has(2, 7).len(), 1, "by way of the one in the middle");
    assert_eq!(world.carried, 2, "each lane carries it once, and none back");
}

#[test]
fn a_volume_that_becomes_known_later_is_made_up_for() {
    let mut world = World::new(2);
    world.know(0, 7);
    world.put(0, 7, 1, 1);
    world.connect(0, 1);
    world.settle();
    assert!(world.has(1, 7).is_empty(), "it doesn't know the volume");
    world.put(1, 7, 2, 1);
    world.know(1, 7);
    world.settle();
    assert_eq!(world.has(0, 7).len(), 2);
    assert_eq!(world.has(0, 7), world.has(1, 7));
}

#[test]
fn who_lacks_the_key_gets_nothing_and_is_not_blamed() {
    let mut world = World::new(2);
    world.know(0, 7);
    world.know(1, 8);
    world.put(0, 7, 1, 1);
    world.connect(0, 1);
    world.settle();
    assert!(world.has(1, 7).is_empty() && world.has(1, 8).is_empty());
    assert!(world.strikes.is_empty(), "{:?}", world.strikes);
}

#[test]
fn a_head_that_does_not_verify_is_a_strike_and_goes_no_further() {
    let mut world = World::sharing(3, 7);
    world.connect(0, 1);
    world.connect(1, 2);
    world.settle();
    let (liar, victim) = (world.nodes[0].0, world.nodes[1].0);
    let tags = world.nodes[0].1.tags(&liar.device(), &victim.device());
    let mut bytes = head(7, 1, 1).to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    let message = HeadsMessage::Head { tag: tags[0].1, head: UntrustedHead::new(bytes).expect("short") };
    world.under_way.push_back((0, 1, message));
    world.settle();
    assert_eq!(world.strikes.len(), 1);
    assert!(world.has(1, 7).is_empty() && world.has(2, 7).is_empty());
}

#[test]
fn of_a_long_history_the_newest_part_is_told() {
    let mut world = World::sharing(2, 7);
    (1..=1200).for_each(|seq| world.put(0, 7, 1, seq));
    world.connect(0, 1);
    world.settle();
    let has = world.has(1, 7);
    assert_eq!((has.len(), has[0].1, has[1023].1), (1024, 177, 1200));
}
