//! Why tells of every block of a path, and which store has it.

use cairn_fs::tree::PathError;
use cairn_fs::why::{Role, WhyError, why};
use cairn_store::{BlockStore, MemoryStore};

use super::sketch::{Op, Sketch};
use super::world::World;

fn planted(world: &World) -> cairn_block::VolumeRoot {
    let mut sketch = Sketch::new().after(&[Op::Mkdir { dir: 0, name: 0 }, Op::Create { dir: 1, name: 2, text: 1 }]);
    sketch.fill(3, world.file(4));
    sketch.plant(world)
}

#[test]
fn a_file_is_its_tree_and_its_chunks() {
    let world = World::new();
    let root = planted(&world);
    let elsewhere = MemoryStore::new();
    let stores: [&dyn BlockStore; 2] = [world.store.as_ref(), &elsewhere];
    let why = why(&world.reader, world.keys.names(), &root, b"/a/c.txt", &stores).unwrap();
    assert_eq!((why.blocks_count, why.extents, why.holes), (5, 4, 4));
    assert_eq!(why.blocks[0].role, Role::FileNode(0));
    assert!(why.blocks[1..].iter().all(|block| block.role == Role::Chunk && block.is_in == [true, false]));
    assert_eq!(why.blocks_in, [5, 0]);
    assert!(why.is_whole_in(0) && !why.is_whole_in(1));
    assert!(!why.is_linked);
}

#[test]
fn a_directory_is_its_own_nodes() {
    let world = World::new();
    let root = planted(&world);
    let why = why(&world.reader, world.keys.names(), &root, b"a", &[world.store.as_ref()]).unwrap();
    assert_eq!(why.blocks.iter().map(|block| block.role).collect::<Vec<_>>(), [Role::DirNode(0)]);
}

#[test]
fn a_lost_node_is_named_and_a_lost_chunk_is_counted() {
    let world = World::new();
    let root = planted(&world);
    let whole = why(&world.reader, world.keys.names(), &root, b"a/c.txt", &[world.store.as_ref()]).unwrap();
    let node = whole.blocks[0].id;
    let reader = world.reader_without(&[node]);
    let lost = why(&reader, world.keys.names(), &root, b"a/c.txt", &[reader.store().as_ref()]).unwrap();
    assert_eq!((lost.unreadable, lost.blocks_in), (vec![node], vec![0]));
    let reader = world.reader_without(&[whole.blocks[2].id]);
    let lost = why(&reader, world.keys.names(), &root, b"a/c.txt", &[reader.store().as_ref()]).unwrap();
    assert_eq!((lost.blocks_count, &lost.blocks_in[..]), (5, &[4][..]));
    assert!(!lost.is_whole_in(0));
}

#[test]
fn what_is_not_there_is_not_found() {
    let world = World::new();
    let root = planted(&world);
    let ask = |path: &[u8]| why(&world.reader, world.keys.names(), &root, path, &[]).err().unwrap();
    assert!(matches!(ask(b"a/x"), WhyError::Path(PathError::NotFound)));
    assert!(matches!(ask(b"a/c.txt/x"), WhyError::Path(PathError::NotDirectory)));
    assert!(matches!(ask(&[b'x'; 300]), WhyError::Path(PathError::NotFound)));
}
