//! Everything that a volume shows, and what a kernel has cached of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_block::{FileType, Ino, Timestamp, VolumeRoot};
use cairn_fs::ops::{Listing, Operations};
use cairn_fs::verify::{CheckOptions, Checker, Event, Scope};
use cairn_fs::{FsError, Touched, read_root};

use super::device::{Device, keys, wait};

/// What a path shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) ino: Ino,
    kind: FileType,
    mode: u16,
    nlink: u32,
    mtime: Timestamp,
    pub(super) text: Vec<u8>,
}

/// All paths.
pub(super) fn look(device: &Device) -> BTreeMap<String, Shown> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![(Ino::ROOT, String::new())];
    while let Some((dir, path)) = dirs.pop() {
        for item in device.volume.readdir(wait(), dir, 0, usize::MAX, Listing::Names).expect("a listing") {
            let attr = device.volume.lookup(wait(), dir, &item.name).expect("what is listed");
            let path = format!("{path}/{}", String::from_utf8_lossy(&item.name));
            let text = match attr.kind {
                FileType::Regular => {
                    device.volume.read(wait(), attr.ino, 0, 1 << 20).expect("bytes").into_bytes().to_vec()
                }
                _ => Vec::new(),
            };
            assert_eq!(attr.ino, item.ino, "{path} has two numbers");
            let shown =
                Shown { ino: attr.ino, kind: attr.kind, mode: attr.mode, nlink: attr.nlink, mtime: attr.mtime, text };
            all.insert(path.clone(), shown);
            if attr.kind == FileType::Directory {
                dirs.push((attr.ino, path));
            } else {
                device.volume.forget(attr.ino, 1);
            }
        }
        if dir != Ino::ROOT {
            device.volume.forget(dir, 1);
        }
    }
    all
}

/// The tree that a device has, without its own counter.
pub(super) fn root(device: &Device) -> VolumeRoot {
    let head = device.volume.flush().expect("a flush").expect("a head");
    VolumeRoot { next_ino: 2, ..read_root(&head, device.volume.reader()).expect("a root") }
}

/// Nothing is wrong with the tree.
pub(super) fn check(device: &Device) {
    let mut watch = |event| {
        if let Event::Finding(finding) = event {
            panic!("{finding}");
        }
        std::ops::ControlFlow::Continue(())
    };
    let keys = keys();
    // A device that has nothing yet has no tree.
    let Some(head) = device.volume.flush().expect("a flush") else { return };
    let mut root = read_root(&head, device.volume.reader()).expect("a root");
    // The head may be another device's, which knows nothing of what this one gave out since.
    root.next_ino = 1 << 62;
    // Also brings every chunk here.
    let options = CheckOptions { data: true, ..CheckOptions::default() };
    let mut checker = Checker::new(device.volume.reader(), keys.names(), options, &mut watch);
    checker.volume_root(&root, Scope::Whole).expect("a check");
}

/// What a kernel has in its caches: names, those that are not there too, and what files hold.
pub(super) struct Cached {
    names: BTreeMap<(Ino, Bytes), Option<Ino>>,
    texts: BTreeMap<Ino, Vec<u8>>,
    held: Vec<Ino>,
}

impl Cached {
    /// Caches everything, and that the names in `absent` are not there.
    pub(super) fn all(device: &Device, absent: &[&str]) -> Cached {
        let mut cached = Cached { names: BTreeMap::new(), texts: BTreeMap::new(), held: Vec::new() };
        let mut dirs = vec![Ino::ROOT];
        while let Some(dir) = dirs.pop() {
            let items = device.volume.readdir(wait(), dir, 0, usize::MAX, Listing::Names).expect("a listing");
            let listed = items.into_iter().map(|item| item.name);
            for name in listed.chain(absent.iter().map(|name| Bytes::copy_from_slice(name.as_bytes()))) {
                let found = match device.volume.lookup(wait(), dir, &name) {
                    Ok(attr) => {
                        cached.held.push(attr.ino);
                        match attr.kind {
                            FileType::Directory if !cached.names.contains_key(&(dir, name.clone())) => {
                                dirs.push(attr.ino)
                            }
                            FileType::Regular => {
                                let text = device.volume.read(wait(), attr.ino, 0, 1 << 20).expect("bytes");
                                cached.texts.insert(attr.ino, text.into_bytes().to_vec());
                            }
                            _ => {}
                        }
                        Some(attr.ino)
                    }
                    Err(FsError::NotFound) => None,
                    Err(error) => panic!("{error}"),
                };
                cached.names.insert((dir, name), found);
            }
        }
        cached
    }

    /// Forgets what it is told to. All else must still be so.
    pub(super) fn hold_against(mut self, device: &Device, touched: &[Touched]) {
        for touched in touched {
            match touched {
                Touched::Name { parent, name } => drop(self.names.remove(&(*parent, name.clone()))),
                Touched::Inode(ino) => drop(self.texts.remove(ino)),
            }
        }
        for ((parent, name), was) in &self.names {
            let now = match device.volume.lookup(wait(), *parent, name) {
                Ok(attr) => {
                    device.volume.forget(attr.ino, 1);
                    Some(attr.ino)
                }
                // The directory is gone: nobody gets to the name any more.
                Err(FsError::Stale) => continue,
                Err(FsError::NotFound) => None,
                Err(error) => panic!("{error} at {parent}/{name:?}, which was {was:?}"),
            };
            assert_eq!(now, *was, "a stale name {name:?} in {parent}");
        }
        for (ino, was) in &self.texts {
            let now = device.volume.read(wait(), *ino, 0, 1 << 20).expect("a file that is referred to").into_bytes();
            assert_eq!(now, was, "stale pages of {ino}");
        }
        self.held.iter().for_each(|ino| device.volume.forget(*ino, 1));
    }
}
