//! Finding an inode by its number alone: for file handles that outlived the kernel's caches, or a restart.
//!
//! The tree is sorted by names, so this is a walk over it, directory by directory, and takes as long as a
//! `find` over the whole volume. Handles whose inode is still known never come here.

use bytes::Bytes;
use cairn_block::entry::{Attr, Content, Entry};
use cairn_block::{DirKey, DirRoot, FileType, Ino, map_tree};
use cairn_store::{Ask, Priority};

use crate::error::FsError;
use crate::nodes::InodeNodes;
use crate::ops::{Operations, Wait};
use crate::tree::dir_root;
use crate::volume::Volume;

/// Entries looked at in one go.
const WINDOW: usize = 1024;

/// A directory on the way: its place in the list of those met, and its name.
struct Step {
    parent: usize,
    name: Bytes,
    root: DirRoot,
}

impl Volume {
    /// The attributes of an inode that nobody refers to at present, with one reference. `Stale` if there is none.
    pub(crate) fn lookup_number(&self, wait: Wait, ino: Ino) -> Result<Attr, FsError> {
        let Wait::Until(deadline) = wait else { return Err(FsError::WouldWait) };
        let ask = Ask { deadline, priority: Priority::Now };
        let root = self.flushed_root()?;
        let mut met = vec![Step { parent: 0, name: Bytes::new(), root: dir_root(&root.root).clone() }];
        let mut at = 0;
        while at < met.len() {
            if let Some(name) = self.scan(ino, ask, at, &mut met)? {
                return self.lookup_path(wait, &path_to(&met, at, name));
            }
            at += 1;
        }
        Err(FsError::Stale)
    }

    /// Looks through one directory; notes those below it. The name, if the inode is here.
    fn scan(&self, ino: Ino, ask: Ask, at: usize, met: &mut Vec<Step>) -> Result<Option<Bytes>, FsError> {
        let mut nodes = InodeNodes { reader: self.reader(), ino, ask };
        let root = std::mem::take(&mut met[at].root);
        let mut from = std::ops::Bound::Unbounded;
        loop {
            let bound = from.as_ref().map(|key: &Bytes| &key[..]);
            let window = map_tree::range(&mut nodes, &root, bound, WINDOW)?;
            let Some((last, _)) = window.last() else { return Ok(None) };
            from = std::ops::Bound::Excluded(last.clone());
            for (key, value) in window {
                let name = DirKey::from_encoded(key)?.name_bytes();
                let (number, kind) = Entry::peek(&value)?;
                if number == ino {
                    return Ok(Some(name));
                }
                if kind == FileType::Directory
                    && let Entry::Own(record) = Entry::decode(&value)?
                    && let Content::Dir(root) = record.content
                {
                    met.push(Step { parent: at, name, root });
                }
            }
        }
    }

    /// The inode at a path, with one reference.
    fn lookup_path(&self, wait: Wait, path: &[Bytes]) -> Result<Attr, FsError> {
        let mut attr = self.lookup(wait, Ino::ROOT, b".")?;
        for name in path {
            let next = self.lookup(wait, attr.ino, name);
            self.forget(attr.ino, 1);
            attr = next?;
        }
        Ok(attr)
    }
}

fn path_to(met: &[Step], mut at: usize, name: Bytes) -> Vec<Bytes> {
    let mut path = vec![name];
    while at > 0 {
        path.push(met[at].name.clone());
        at = met[at].parent;
    }
    path.reverse();
    path
}
