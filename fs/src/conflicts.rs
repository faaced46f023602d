//! The conflicts of a volume: what merges put beside something, found by its name.
//!
//! Nothing else records them: a sibling that was removed or renamed is a conflict that was settled, by whatever program, on
//! whatever device. So this is a walk over the names of the whole tree, about a second for a million of them.

use std::ops::Bound;

use bytes::Bytes;
use cairn_block::{DirRoot, Entry, FileType, Ino};
use cairn_store::Ask;

use crate::error::FsError;
use crate::merge::{sibling_device, sibling_primary};
use crate::nodes::InodeNodes;
use crate::tree::{dir_root, list};
use crate::volume::{FLUSH_TIMEOUT, Volume};

/// Siblings that are listed; whoever has more looks again after settling some.
pub const CONFLICTS_MAX: usize = 10_000;

/// Entries looked at in one go.
const WINDOW: usize = 1024;

/// Something that a merge put beside something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// The path, from the root.
    pub path: Bytes,
    /// What it is beside: the path without the mark. A name that was long was cut for the mark's sake, and is so here.
    pub primary: Bytes,
    /// The first digits of the id of the device whose version it is.
    pub device: String,
    /// The inode.
    pub ino: Ino,
    /// Its kind.
    pub kind: FileType,
}

/// The conflicts of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// The siblings, in no particular order.
    pub siblings: Vec<Sibling>,
    /// There are no more.
    pub is_all: bool,
}

impl Volume {
    /// What merges put beside something, and nobody has removed or renamed since. What is unflushed is flushed first.
    pub fn conflicts(&self) -> Result<Conflicts, FsError> {
        let root = self.flushed_root()?;
        let mut found = Conflicts { siblings: Vec::new(), is_all: true };
        let mut dirs: Vec<(Ino, Bytes, DirRoot)> = vec![(Ino::ROOT, Bytes::new(), dir_root(&root.root).clone())];
        while let Some((ino, path, dir)) = dirs.pop() {
            let mut from = Bound::Unbounded;
            loop {
                let mut nodes = InodeNodes { reader: self.reader(), ino, ask: Ask::background(FLUSH_TIMEOUT) };
                let window = list(&mut nodes, &dir, from.as_ref().map(|key: &Bytes| &key[..]), WINDOW)?;
                let Some((last, _)) = window.last() else { break };
                from = Bound::Excluded(last.encoded().clone());
                for (key, value) in window {
                    let (child, kind) = Entry::peek(&value)?;
                    if let Some((device, primary)) = sibling_device(key.name()).zip(sibling_primary(key.name())) {
                        if found.siblings.len() == CONFLICTS_MAX {
                            found.is_all = false;
                            return Ok(found);
                        }
                        found.siblings.push(Sibling {
                            path: below(&path, key.name()),
                            primary: below(&path, &primary),
                            device: device.to_owned(),
                            ino: child,
                            kind,
                        });
                    }
                    if kind == FileType::Directory
                        && let Entry::Own(record) = Entry::decode(&value)?
                    {
                        dirs.push((child, below(&path, key.name()), dir_root(&record).clone()));
                    }
                }
            }
        }
        Ok(found)
    }
}

fn below(dir: &[u8], name: &[u8]) -> Bytes {
    [dir, b"/", name].concat().into()
}
