//! Handing everything that changed to a flush, and taking the new tree from it.

use super::layer::Source;
use super::*;
use cairn_block::entry::{Attr, Content, DirRoot, MapRoot};

/// An inode as it was at the freeze.
#[derive(Debug)]
pub(crate) struct FrozenNode {
    /// Its attributes.
    pub(crate) attr: Attr,
    /// Its extended attributes.
    pub(crate) xattrs: Attributes,
    /// What it holds.
    pub(crate) body: FrozenBody,
}

/// What a frozen inode holds.
#[derive(Debug)]
pub(crate) enum FrozenBody {
    /// A file; its changes are in `flushing`.
    File(Box<File>),
    /// A directory's tree and what changed in it.
    Dir(DirRoot, Changes),
    /// A symbolic link's target.
    Symlink(Bytes),
    /// A fifo, socket or device.
    Special,
}

/// Everything that differs from the tree, at one moment.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// The inodes.
    pub(crate) nodes: HashMap<Ino, FrozenNode>,
    /// Directories among them, children before parents; the root is the last.
    pub(crate) dirs: Vec<Ino>,
    /// The link table's tree.
    pub(crate) links_base: MapRoot,
    /// Whether an inode is in the link table, for those that changed; sorted.
    pub(crate) links: Vec<(Ino, bool)>,
    /// The number that the next new inode gets.
    pub(crate) next_ino: u64,
}

/// What a flush made of it.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    /// New contents of files and directories, with the bytes allocated.
    pub(crate) contents: HashMap<Ino, (Content, u64)>,
    /// The link table's new tree.
    pub(crate) links: Option<MapRoot>,
}

impl Frozen {
    /// Replaces buffers by where they are stored now.
    pub(crate) fn settle(&mut self, ino: Ino, offset: u64, was: &Bytes, now: &super::layer::Piece) {
        if let Some(FrozenBody::File(file)) = self.nodes.get_mut(&ino).map(|node| &mut node.body)
            && let Some(layer) = &mut file.flushing
        {
            layer.settle(offset, was, now);
        }
    }
}

impl State {
    /// Takes everything that differs from the tree. The journal has to have all of it, or get it in
    /// the same step; and no other flush may be under way.
    pub(crate) fn freeze(&mut self) -> Frozen {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.insert(Ino::ROOT);
        let mut nodes = HashMap::with_capacity(dirty.len());
        for ino in dirty {
            let Some(slot) = self.slots.get_mut(&ino) else { continue };
            let Some(node) = slot.node.as_deref_mut() else { continue };
            if slot.place == Place::Orphan {
                continue;
            }
            node.flushing = true;
            nodes.insert(ino, freeze_node(node));
        }
        let mut dirs: Vec<(usize, Ino)> = nodes
            .iter()
            .filter(|(_, node)| matches!(node.body, FrozenBody::Dir(..)))
            .map(|(ino, _)| (self.depth(*ino), *ino))
            .collect();
        dirs.sort_unstable_by(|a, b| b.cmp(a));
        let changes = std::mem::take(&mut self.links.changes);
        let mut links: Vec<(Ino, bool)> = changes.iter().map(|(ino, present)| (*ino, *present)).collect();
        links.sort_unstable();
        self.links.flushing = Some(changes);
        Frozen {
            nodes,
            dirs: dirs.into_iter().map(|(_, ino)| ino).collect(),
            links_base: self.links.base.clone(),
            links,
            next_ino: self.next_ino,
        }
    }

    fn depth(&self, ino: Ino) -> usize {
        let mut depth = 0;
        let mut at = ino;
        while let Some(Place::Child { parent, .. }) = self.slots.get(&at).map(|s| &s.place) {
            depth += 1;
            at = *parent;
        }
        depth
    }

    /// Takes the new tree over.
    pub(crate) fn land(&mut self, frozen: &Frozen, mut folded: Folded) {
        if let Some(links) = folded.links.take() {
            self.links.base = links;
        }
        self.links.flushing = None;
        for (ino, was) in &frozen.nodes {
            let before = self.memory_in(*ino);
            let Some(node) = self.node_mut(*ino) else { continue };
            node.flushing = false;
            let content = folded.contents.remove(ino);
            match (&mut node.body, content) {
                (Body::Dir(dir), Some((Content::Dir(root), _))) => {
                    dir.base = root;
                    dir.flushing = None;
                }
                (Body::File(file), Some((content, allocated))) => {
                    node.attr.allocated = allocated;
                    land_file(file, was, content, allocated);
                }
                _ => {}
            }
            self.memory_bytes = self.memory_bytes - before + self.memory_in(*ino);
        }
        for ino in frozen.nodes.keys() {
            self.release_slot(*ino);
        }
        self.shed();
    }

    /// Takes everything back: the flush failed, the tree is the old one.
    pub(crate) fn thaw(&mut self, frozen: &Frozen) {
        if let Some(mut flushing) = self.links.flushing.take() {
            flushing.extend(self.links.changes.drain());
            self.links.changes = flushing;
        }
        for ino in frozen.nodes.keys() {
            let Some(slot) = self.slots.get_mut(ino) else { continue };
            let orphan = slot.place == Place::Orphan;
            let Some(node) = slot.node.as_deref_mut() else { continue };
            node.flushing = false;
            match &mut node.body {
                Body::Dir(dir) => {
                    let mut changes = dir.flushing.take().unwrap_or_default();
                    changes.append(&mut dir.changes);
                    dir.changes = changes;
                }
                Body::File(file) => {
                    let mut layer = file.flushing.take().unwrap_or_default();
                    layer.absorb(std::mem::take(&mut file.layer));
                    file.layer = layer;
                    file.flushing_bytes = 0;
                }
                _ => {}
            }
            if orphan {
                self.release_slot(*ino);
            } else {
                self.dirty.insert(*ino);
            }
        }
    }

    /// What a garbage collection has to keep beside the tree of the current head and what the journal refers to: refs of
    /// changes that are in memory only, and files that are open and have no name in any tree.
    pub(crate) fn live(&self) -> Live {
        let mut live = Live::default();
        for slot in self.slots.values() {
            let Some(node) = slot.node.as_deref() else { continue };
            if let Some(file) = node.file() {
                live.add_changes(file);
                // A content that was taken over is in no tree of ours before the next flush.
                if file.generation > 0
                    && let Content::File(root) = &file.base
                {
                    live.files.push(root.clone());
                }
            }
            if slot.place == Place::Orphan {
                live.add_nameless(node);
            }
        }
        live
    }
}

/// What memory refers to.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Single blocks.
    pub(crate) blocks: Vec<BlockId>,
    /// File trees.
    pub(crate) files: Vec<cairn_block::entry::FileRoot>,
}

impl Live {
    fn add_changes(&mut self, file: &File) {
        for layer in file.flushing.iter().chain([&file.layer]) {
            for (_, piece) in layer.iter() {
                if let Source::Stored { chunk, .. } = &piece.source {
                    self.blocks.push(chunk.id);
                }
            }
        }
    }

    fn add_nameless(&mut self, node: &Node) {
        if let Some(Content::File(root)) = node.file().map(|file| &file.base) {
            self.files.push(root.clone());
        }
        if let Attributes::Sealed(reference) = &node.xattrs {
            self.blocks.push(reference.id);
        }
    }
}

fn freeze_node(node: &mut Node) -> FrozenNode {
    let body = match &mut node.body {
        Body::File(file) => {
            file.flushing_bytes = file.layer.data_bytes();
            file.flushing = Some(std::mem::take(&mut file.layer));
            file.carried = None;
            FrozenBody::File(file.clone())
        }
        Body::Dir(dir) => {
            let changes = std::mem::take(&mut dir.changes);
            dir.flushing = Some(changes.clone());
            FrozenBody::Dir(dir.base.clone(), changes)
        }
        Body::Symlink(target) => FrozenBody::Symlink(target.clone()),
        Body::Special => FrozenBody::Special,
    };
    FrozenNode { attr: node.attr.clone(), xattrs: node.xattrs.clone(), body }
}

fn land_file(file: &mut File, was: &FrozenNode, content: Content, allocated: u64) {
    let FrozenBody::File(frozen) = &was.body else { return };
    if frozen.generation != file.generation {
        return;
    }
    *file = File {
        layer: std::mem::take(&mut file.layer),
        fixed: file.fixed,
        generation: file.generation,
        carried: file.carried.take(),
        ..File::new(content, was.attr.size, allocated)
    };
    // What was written since counts as fresh, and what was cut since does not count at all.
    let layer = std::mem::take(&mut file.layer);
    for (offset, piece) in layer.iter() {
        file.put(offset, piece.clone());
    }
}
