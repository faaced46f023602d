//! A collection keeps what heads reach, and removes nothing when it can't see all of it.

use cairn_block::{BlockId, Kind, Sink};
use cairn_fs::collect::{CollectError, Marker};
use cairn_store::{BlockStore, Collector, SweepOptions};

use super::sketch::{Op, Sketch};
use super::world::World;

/// A volume with every kind of block: directory and link nodes, a file tree, attributes of their own.
fn rich(world: &World) -> Sketch {
    let mut sketch = Sketch::new().after(&[
        Op::Mkdir { dir: 0, name: 0 },
        Op::Create { dir: 1, name: 1, text: 1 },
        Op::Create { dir: 0, name: 2, text: 2 },
        Op::Link { file: 0, dir: 0, name: 4 },
        Op::Label { any: 3, key: 0, value: 1 },
        Op::Label { any: 3, key: 1, value: 1 },
        Op::Label { any: 3, key: 2, value: 1 },
    ]);
    sketch.fill(3, world.file(3));
    sketch.fill(4, world.file(5));
    sketch
}

fn sweep(marker: Marker<'_>) -> Result<u64, CollectError> {
    Ok(marker.sweep(SweepOptions::default(), &mut |_| {})?.blocks_removed)
}

#[test]
fn what_a_head_reaches_stays_and_the_rest_goes() {
    let world = World::new();
    let root = rich(&world).plant(&world);
    let head = world.seal_root(&root);
    let garbage = world.sink().put(Kind::Data, b"nobody refers to this").unwrap();
    let mut marker = Marker::new(&world.reader, world.store.begin_collection().unwrap());
    marker.head(&head).unwrap();
    assert!(sweep(marker).unwrap() >= 1);
    assert!(!world.store.has(&garbage.id).unwrap());
    let fresh = world.with_empty_caches();
    assert_eq!(Sketch::read(&fresh, &root).records.len(), 4);
    let mut marker = Marker::new(&fresh.reader, fresh.store.begin_collection().unwrap());
    marker.head(&head).unwrap();
    assert_eq!(sweep(marker).unwrap(), 0, "a second collection finds nothing");
}

#[test]
fn a_shared_subtree_is_marked_once() {
    let world = World::new();
    let sketch = rich(&world);
    let first = world.seal_root(&sketch.plant(&world));
    let second = world.seal_root(&sketch.clone().after(&[Op::Chmod { any: 0, mode: 1 }]).plant(&world));
    let mut marker = Marker::new(&world.reader, world.store.begin_collection().unwrap());
    marker.head(&first).unwrap();
    let once = marker.marked().blocks;
    marker.head(&second).unwrap();
    assert_eq!(marker.marked().blocks - once, 1, "the second head adds its root and nothing else");
}

#[test]
fn any_lost_node_stops_the_collection_by_name_and_nothing_is_removed() {
    let world = World::new();
    let head = world.seal_root(&rich(&world).plant(&world));
    let garbage = world.sink().put(Kind::Data, b"nobody refers to this").unwrap();
    let mut stopped = 0;
    for lost in blocks(&world) {
        let reader = world.reader_without(&[lost]);
        let mut marker = Marker::new(&reader, world.store.begin_collection().unwrap());
        match marker.head(&head) {
            // A chunk needs not be read to be marked.
            Ok(()) => continue,
            Err(CollectError::Tree { source, .. }) => assert_eq!(source.block(), Some(lost)),
            Err(error) => panic!("{error}"),
        }
        stopped += 1;
        assert!(matches!(sweep(marker), Err(CollectError::Incomplete)));
        assert!(world.store.has(&garbage.id).unwrap());
    }
    // The root, the nodes of two directories and the link table, and those of two files.
    assert_eq!(stopped, 6);
}

#[test]
fn what_memory_refers_to_is_marked_beside_the_heads() {
    let world = World::new();
    let (file, ..) = world.file(4);
    let parked = world.sink().put(Kind::Data, b"parked by the overlay").unwrap();
    let tree = rich(&world).plant(&world);
    let mut marker = Marker::new(&world.reader, world.store.begin_collection().unwrap());
    marker.file(&file).unwrap();
    marker.leaf(&parked.id);
    marker.volume_root(&tree).unwrap();
    sweep(marker).unwrap();
    assert!(world.store.has(&parked.id).unwrap() && world.store.has(&file.root.id).unwrap());
    Sketch::read(&world, &tree);
}

/// All blocks of the world's store.
pub(super) fn blocks(world: &World) -> Vec<BlockId> {
    world.put.lock().clone()
}
