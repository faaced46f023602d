//! Snapshots through the port, beside the live volume they are of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{DeviceKey, FileType, Ino, MasterKey, VolumeKeys};
use cairn_fs::ops::{
    Caller, KillPriv, Listing, NewNode, OpenFlags, Operations, Place, RenameFlags, Seek, SetAttr, SetXattr, Wait,
};
use cairn_fs::snapshots::{Browsable, SNAPSHOTS_NAME, Snapshots};
use cairn_fs::{FsError, Volume, VolumeConfig, VolumeOptions};
use cairn_store::MemoryStore;

const READ: OpenFlags = OpenFlags { read: true, write: false, truncate: false, kill_priv: KillPriv::Keep };

fn soon() -> Wait {
    Wait::Until(Instant::now() + Duration::from_secs(30))
}

struct Mounted {
    volume: Arc<Volume>,
    tree: Browsable<Arc<Volume>>,
}

impl Mounted {
    fn new() -> Mounted {
        let keys = || VolumeKeys::derive(&MasterKey::from_bytes([3; 32]), b"snapshots");
        let store = Arc::new(MemoryStore::new());
        let volume = Volume::open(VolumeConfig {
            keys: keys(),
            device: DeviceKey::from_bytes(&[5; 32]),
            store: store.clone(),
            heads: store.clone(),
            hints: store,
            options: VolumeOptions::default(),
        })
        .unwrap();
        let history = {
            let volume = Arc::clone(&volume);
            move || volume.history()
        };
        let snapshots = Snapshots::new(Arc::clone(volume.reader()), Arc::new(keys()), Box::new(history));
        Mounted { tree: Browsable::new(Arc::clone(&volume), snapshots), volume }
    }

    fn make(&self, parent: Ino, name: &str, kind: FileType, target: &str) -> Ino {
        let target = Bytes::copy_from_slice(target.as_bytes());
        let node = NewNode { kind, mode: 0o755, umask: 0, rdev: 0, target };
        self.tree.create(soon(), &Caller::NODE, parent, name.as_bytes(), node).unwrap().ino
    }

    fn write(&self, ino: Ino, offset: u64, text: &[u8]) {
        self.tree.write(soon(), ino, offset, Bytes::copy_from_slice(text), KillPriv::Keep).unwrap();
    }

    fn read(&self, ino: Ino) -> Bytes {
        self.tree.read(soon(), ino, 0, 1 << 20).unwrap().into_bytes()
    }

    fn walk(&self, path: &str) -> Result<Ino, FsError> {
        path.split('/').try_fold(Ino::ROOT, |dir, name| Ok(self.tree.lookup(soon(), dir, name.as_bytes())?.ino))
    }

    fn names(&self, dir: Ino) -> Vec<String> {
        let mut names = Vec::new();
        let mut cookie = 0;
        loop {
            let items = self.tree.readdir(soon(), dir, cookie, 3, Listing::Names).unwrap();
            let Some(last) = items.last() else { return names };
            cookie = last.cookie;
            names.extend(items.iter().map(|item| String::from_utf8(item.name.to_vec()).unwrap()));
        }
    }

    /// A directory with a file, a linked file, a link and a label, then a named snapshot of it, then other contents.
    fn with_history() -> Mounted {
        let mounted = Mounted::new();
        let dir = mounted.make(Ino::ROOT, "dir", FileType::Directory, "");
        let file = mounted.make(dir, "file", FileType::Regular, "");
        mounted.write(file, 0, b"before");
        let large = mounted.make(dir, "large", FileType::Regular, "");
        mounted.write(large, 1 << 20, &[7; 300_000]);
        mounted.tree.link(soon(), &Caller::NODE, file, Ino::ROOT, b"linked").unwrap();
        mounted.make(dir, "link", FileType::Symlink, "../linked");
        let label = Bytes::from_static(b"yellow");
        mounted.tree.setxattr(soon(), file, b"user.colour", label, SetXattr::Any, KillPriv::Keep).unwrap();
        mounted.volume.snapshot(Some("good state")).unwrap();
        mounted.write(file, 0, b"after!");
        mounted.tree.unlink(soon(), &Caller::NODE, dir, b"large").unwrap();
        mounted
    }
}

#[test]
fn a_snapshot_shows_what_was() {
    let mounted = Mounted::with_history();
    let top = mounted.walk(".snapshots").unwrap();
    assert_eq!(top, Snapshots::top());
    let time = mounted.names(top).into_iter().find(|name| name.starts_with("20")).unwrap();
    let file = mounted.walk(&format!(".snapshots/{time}/dir/file")).unwrap();
    assert_eq!(mounted.read(file), "before");
    assert_eq!(mounted.read(mounted.walk("dir/file").unwrap()), "after!");
    let linked = mounted.walk(&format!(".snapshots/{time}/linked")).unwrap();
    assert_eq!(linked, file, "both names of a file are one inode there, too");
    assert_eq!(mounted.tree.getattr(soon(), file).unwrap().nlink, 2);
    let link = mounted.walk(&format!(".snapshots/{time}/dir/link")).unwrap();
    assert_eq!(mounted.tree.readlink(soon(), link).unwrap(), "../linked");
    assert_eq!(mounted.tree.getxattr(soon(), file, b"user.colour").unwrap(), "yellow");
    assert_eq!(mounted.tree.listxattr(soon(), file).unwrap(), ["user.colour"]);
    assert!(matches!(mounted.tree.getxattr(soon(), file, b"user.none"), Err(FsError::NoData)));
    let dir = mounted.walk(&format!(".snapshots/{time}/dir")).unwrap();
    let mut names = mounted.names(dir);
    names.sort();
    assert_eq!(names, ["file", "large", "link"]);
}

#[test]
fn a_label_is_a_link_to_the_snapshot() {
    let mounted = Mounted::with_history();
    let label = mounted.walk(".snapshots/good state").unwrap();
    let attr = mounted.tree.getattr(soon(), label).unwrap();
    assert_eq!(attr.kind, FileType::Symlink);
    let target = mounted.tree.readlink(soon(), label).unwrap();
    assert_eq!(attr.size, target.len() as u64);
    let target = String::from_utf8(target.to_vec()).unwrap();
    assert!(mounted.walk(&format!(".snapshots/{target}/dir/file")).is_ok());
}

#[test]
fn holes_read_as_zeros_and_are_found() {
    let mounted = Mounted::with_history();
    let target = mounted.tree.readlink(soon(), mounted.walk(".snapshots/good state").unwrap()).unwrap();
    let large = mounted.walk(&format!(".snapshots/{}/dir/large", String::from_utf8_lossy(&target))).unwrap();
    let around = mounted.tree.read(soon(), large, (1 << 20) - 2, 4).unwrap().into_bytes();
    assert_eq!(around, [0, 0, 7, 7].as_slice());
    let end = (1 << 20) + 300_000;
    assert_eq!(mounted.tree.read(soon(), large, end - 1, 100).unwrap().len(), 1);
    assert!(mounted.tree.read(soon(), large, end, 100).unwrap().is_empty());
    assert_eq!(mounted.tree.seek(soon(), large, 0, Seek::Data).unwrap(), 1 << 20);
    assert_eq!(mounted.tree.seek(soon(), large, 0, Seek::Hole).unwrap(), 0);
    assert_eq!(mounted.tree.seek(soon(), large, 1 << 20, Seek::Hole).unwrap(), end);
    assert!(matches!(mounted.tree.seek(soon(), large, end, Seek::Data), Err(FsError::NoData)));
}

#[test]
fn nothing_in_a_snapshot_can_be_changed() {
    let mounted = Mounted::with_history();
    let target = mounted.tree.readlink(soon(), mounted.walk(".snapshots/good state").unwrap()).unwrap();
    let dir = mounted.walk(&format!(".snapshots/{}/dir", String::from_utf8_lossy(&target))).unwrap();
    let file = mounted.tree.lookup(soon(), dir, b"file").unwrap().ino;
    let (tree, caller) = (&mounted.tree, &Caller::NODE);
    let node = || NewNode { kind: FileType::Regular, mode: 0o644, umask: 0, rdev: 0, target: Bytes::new() };
    let is_read_only = |result: Result<(), FsError>| assert!(matches!(result, Err(FsError::ReadOnly)), "{result:?}");
    is_read_only(tree.setattr(soon(), caller, file, SetAttr { mode: Some(0), ..SetAttr::NONE }).map(drop));
    is_read_only(tree.create(soon(), caller, dir, b"new", node()).map(drop));
    is_read_only(tree.unlink(soon(), caller, dir, b"file"));
    is_read_only(tree.rmdir(soon(), caller, dir, b"file"));
    is_read_only(tree.write(soon(), file, 0, Bytes::from_static(b"x"), KillPriv::Keep).map(drop));
    is_read_only(tree.open(soon(), file, OpenFlags { write: true, ..READ }).map(drop));
    is_read_only(tree.removexattr(soon(), file, b"user.colour"));
    is_read_only(tree.rename(soon(), caller, dir, b"file", dir, b"other", RenameFlags::default()));
    let across = tree.rename(soon(), caller, dir, b"file", Ino::ROOT, b"other", RenameFlags::default());
    assert!(matches!(across, Err(FsError::CrossDevice)));
    assert!(matches!(tree.link(soon(), caller, file, Ino::ROOT, b"other"), Err(FsError::CrossDevice)));
    let (source, target) = (Place { ino: file, offset: 0 }, Place { ino: Ino::ROOT, offset: 0 });
    assert!(tree.copy_range(soon(), source, target, 1, KillPriv::Keep).is_err());
    is_read_only(tree.rmdir(soon(), caller, Ino::ROOT, SNAPSHOTS_NAME));
    let taken = tree.create(soon(), caller, Ino::ROOT, SNAPSHOTS_NAME, node());
    assert!(matches!(taken, Err(FsError::Exists)));
    assert!(!mounted.names(Ino::ROOT).contains(&".snapshots".to_owned()), "it is not listed");
}

#[test]
fn dots_lead_up_to_the_live_root() {
    let mounted = Mounted::with_history();
    let target = mounted.tree.readlink(soon(), mounted.walk(".snapshots/good state").unwrap()).unwrap();
    let snapshot = format!(".snapshots/{}", String::from_utf8_lossy(&target));
    let root = mounted.walk(&snapshot).unwrap();
    assert_eq!(mounted.walk(&format!("{snapshot}/dir/..")).unwrap(), root);
    assert_eq!(mounted.walk(&format!("{snapshot}/dir/.")).unwrap(), mounted.walk(&format!("{snapshot}/dir")).unwrap());
    assert_eq!(mounted.walk(&format!("{snapshot}/..")).unwrap(), Snapshots::top());
    assert_eq!(mounted.walk(&format!("{snapshot}/../..")).unwrap(), Ino::ROOT);
}

#[test]
fn an_inode_that_was_forgotten_is_stale_until_it_is_looked_up_again() {
    let mounted = Mounted::with_history();
    let target = mounted.tree.readlink(soon(), mounted.walk(".snapshots/good state").unwrap()).unwrap();
    let snapshot = format!(".snapshots/{}", String::from_utf8_lossy(&target));
    let (root, dir) = (mounted.walk(&snapshot).unwrap(), mounted.walk(&format!("{snapshot}/dir")).unwrap());
    let file = mounted.tree.lookup(soon(), dir, b"large").unwrap().ino;
    let handle = mounted.tree.open(soon(), file, READ).unwrap();
    for ino in [root, dir, file] {
        mounted.tree.forget(ino, 100);
    }
    assert_eq!(mounted.read(file).len(), 1 << 20, "it is still open");
    assert_eq!(mounted.tree.snapshots().roots_in_use().len(), 1);
    mounted.tree.release(handle);
    assert!(mounted.tree.snapshots().roots_in_use().is_empty());
    assert!(matches!(mounted.tree.open(soon(), file, READ), Err(FsError::Stale)));
    assert_eq!(mounted.walk(&format!("{snapshot}/dir/large")).unwrap(), file, "its number is the same again");
    assert!(mounted.tree.open(soon(), file, READ).is_ok());
}

#[test]
fn what_is_asked_without_waiting_is_answered_from_memory_or_not_at_all() {
    let mounted = Mounted::with_history();
    let fresh = || mounted.tree.lookup(Wait::Never, Snapshots::top(), b"good state");
    assert!(matches!(fresh(), Err(FsError::WouldWait)));
    let label = mounted.walk(".snapshots/good state").unwrap();
    assert_eq!(fresh().unwrap().ino, label);
    let target = mounted.tree.readlink(Wait::Never, label).unwrap();
    let file = mounted.walk(&format!(".snapshots/{}/dir/file", String::from_utf8_lossy(&target))).unwrap();
    assert_eq!(mounted.tree.getattr(Wait::Never, file).unwrap().size, 6);
    assert_eq!(mounted.tree.read(Wait::Never, file, 0, 9).unwrap().into_bytes(), "before");
}

#[test]
fn listing_with_attributes_takes_a_reference_for_each() {
    let mounted = Mounted::with_history();
    let target = mounted.tree.readlink(soon(), mounted.walk(".snapshots/good state").unwrap()).unwrap();
    let dir = mounted.walk(&format!(".snapshots/{}/dir", String::from_utf8_lossy(&target))).unwrap();
    let items = mounted.tree.readdir(soon(), dir, 0, 100, Listing::Referenced).unwrap();
    assert_eq!(items.len(), 3);
    for item in &items {
        assert_eq!(mounted.tree.getattr(soon(), item.ino).unwrap(), *item.attr.as_ref().unwrap());
        mounted.tree.forget(item.ino, 1);
    }
    let tops = mounted.tree.readdir(soon(), Snapshots::top(), 0, 100, Listing::Referenced).unwrap();
    assert!(tops.len() >= 2 && tops.iter().all(|item| item.attr.is_some()));
}
