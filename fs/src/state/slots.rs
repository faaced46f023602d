//! Which inodes memory holds: references, loading, letting go.

use super::*;
use cairn_block::entry::DirKey;

impl State {
    /// The node, which the caller made sure is in memory.
    pub(super) fn node(&self, ino: Ino) -> Option<&Node> {
        self.slots.get(&ino)?.node.as_deref()
    }

    pub(super) fn node_mut(&mut self, ino: Ino) -> Option<&mut Node> {
        self.slots.get_mut(&ino)?.node.as_deref_mut()
    }

    pub(super) fn dir_mut(&mut self, ino: Ino) -> Option<&mut Dir> {
        self.node_mut(ino)?.dir_mut()
    }

    /// Brings an inode that the kernel knows into memory.
    pub(super) fn load(&mut self, ino: Ino) -> Step<()> {
        let slot = self.slots.get(&ino).ok_or(FsError::Stale)?;
        if slot.node.is_some() {
            return Ok(());
        }
        let (record, key) = match slot.place {
            Place::Linked => (self.linked_record(ino)?, Bytes::new()),
            Place::Child { parent, hash } => self.record_by_hash(parent, hash, ino)?,
            Place::Root | Place::Orphan => return Err(FsError::Stale.into()),
        };
        self.install(ino, node_of(record, key));
        Ok(())
    }

    /// Loads an inode and hands it out.
    pub(super) fn loaded(&mut self, ino: Ino) -> Step<&mut Node> {
        self.load(ino)?;
        Ok(self.node_mut(ino).ok_or(FsError::Stale)?)
    }

    /// Loads a directory and hands it out.
    pub(super) fn loaded_dir(&mut self, ino: Ino) -> Step<&mut Dir> {
        Ok(self.loaded(ino)?.dir_mut().ok_or(FsError::NotDirectory)?)
    }

    /// Loads a regular file and hands it out.
    pub(super) fn loaded_file(&mut self, ino: Ino) -> Step<(&mut cairn_block::entry::Attr, &mut File)> {
        let node = self.loaded(ino)?;
        match &mut node.body {
            Body::File(file) => Ok((&mut node.attr, file)),
            Body::Dir(_) => Err(FsError::IsDirectory.into()),
            _ => Err(FsError::Invalid.into()),
        }
    }

    /// Puts a node into its slot.
    pub(super) fn install(&mut self, ino: Ino, node: Node) {
        if let Some(slot) = self.slots.get_mut(&ino)
            && slot.node.replace(Box::new(node)).is_none()
        {
            self.resident += 1;
        }
    }

    /// Makes a slot for an inode that was just found or made.
    pub(super) fn admit(&mut self, ino: Ino, place: Place, node: Option<Node>) {
        if let Place::Child { parent, .. } = place
            && let Some(slot) = self.slots.get_mut(&parent)
        {
            slot.kids += 1;
        }
        self.resident += usize::from(node.is_some());
        self.slots.insert(ino, Slot { refs: 0, kids: 0, place, node: node.map(Box::new) });
    }

    /// Moves an inode to another place; `key` is its encoded name there.
    pub(super) fn move_to(&mut self, ino: Ino, place: Place, key: Bytes) {
        if let Place::Child { parent, .. } = place
            && let Some(slot) = self.slots.get_mut(&parent)
        {
            slot.kids += 1;
        }
        let Some(slot) = self.slots.get_mut(&ino) else { return };
        let was = std::mem::replace(&mut slot.place, place);
        if let Some(node) = slot.node.as_deref_mut() {
            node.key = key;
        }
        if let Place::Child { parent, .. } = was {
            self.lose_kid(parent);
        }
    }

    fn lose_kid(&mut self, parent: Ino) {
        if let Some(slot) = self.slots.get_mut(&parent) {
            slot.kids -= 1;
        }
        self.release_slot(parent);
    }

    /// One more lookup reference.
    pub(super) fn refer(&mut self, ino: Ino) {
        if let Some(slot) = self.slots.get_mut(&ino) {
            slot.refs += 1;
        }
    }

    /// Gives back lookup references.
    pub(crate) fn forget(&mut self, ino: Ino, count: u64) {
        let Some(slot) = self.slots.get_mut(&ino) else { return };
        let floor = u64::from(ino == Ino::ROOT);
        slot.refs = slot.refs.saturating_sub(count).max(floor);
        self.release_slot(ino);
    }

    /// Keeps a file alive for one more handle.
    pub(crate) fn open(&mut self, ino: Ino) -> Step<()> {
        self.loaded(ino)?.opens += 1;
        Ok(())
    }

    /// Gives a handle back. True when it was the last one of a file that changed.
    pub(crate) fn close(&mut self, ino: Ino) -> bool {
        let Some(node) = self.node_mut(ino) else { return false };
        node.opens -= 1;
        let last = node.opens == 0;
        self.release_slot(ino);
        last && self.dirty.contains(&ino)
    }

    /// Inodes that this device made so far, and how many more it may.
    pub(crate) fn inodes_made(&self) -> (u64, u64) {
        (self.next_ino - self.numbers.start, self.numbers.end - self.next_ino)
    }

    /// Drops a slot, and then its parents', that nobody needs any more.
    pub(super) fn release_slot(&mut self, ino: Ino) {
        let mut at = ino;
        while let Some(slot) = self.slots.get(&at) {
            let used = slot.refs > 0 || slot.kids > 0 || slot.place == Place::Root;
            let held = slot.node.as_ref().is_some_and(|n| n.opens > 0 || n.flushing);
            let orphan = slot.place == Place::Orphan;
            let changed = self.dirty.contains(&at) || self.accessed.contains(&at);
            if used || held || (!orphan && changed) {
                return;
            }
            self.dirty.remove(&at);
            self.accessed.remove(&at);
            let Some(slot) = self.slots.remove(&at) else { return };
            if let Some(node) = slot.node {
                self.resident -= 1;
                if let Some(file) = node.file() {
                    self.memory_bytes -= memory_of(file);
                }
            }
            let Place::Child { parent, .. } = slot.place else { return };
            match self.slots.get_mut(&parent) {
                Some(slot) => slot.kids -= 1,
                None => return,
            }
            at = parent;
        }
    }

    /// Lets go of nodes that nobody uses when memory holds too many.
    pub(crate) fn shed(&mut self) {
        if self.resident <= RESIDENT_NODES_MAX {
            return;
        }
        for (ino, slot) in &mut self.slots {
            let Some(node) = slot.node.as_ref() else { continue };
            let free = slot.kids == 0 && node.opens == 0 && !node.flushing && slot.place != Place::Orphan;
            if free && *ino != Ino::ROOT && !self.dirty.contains(ino) && !self.accessed.contains(ino) {
                slot.node = None;
                self.resident -= 1;
                if self.resident <= RESIDENT_NODES_MAX / 2 {
                    return;
                }
            }
        }
    }

    /// Finds a record in its parent's tree by the hash of its name and its number.
    fn record_by_hash(&mut self, parent: Ino, hash: u64, ino: Ino) -> Step<(Record, Bytes)> {
        let base = self.loaded_dir(parent)?.base.clone();
        let prefix = hash.to_be_bytes();
        let mut from = std::ops::Bound::Included(Bytes::copy_from_slice(&prefix[1..]));
        loop {
            let bound = from.as_ref().map(|b| &b[..]);
            let found = map_tree::range(&mut self.resident_nodes(), &base, bound, 4)?;
            let Some((last, _)) = found.last() else { return Err(FsError::Stale.into()) };
            let last = last.clone();
            for (key, value) in found {
                if key[..7] != prefix[1..] {
                    return Err(FsError::Stale.into());
                }
                if let Entry::Own(record) = decode_entry(parent, &value, base.root.as_ref())?
                    && record.attr.ino == ino
                {
                    return Ok((record, key));
                }
            }
            from = std::ops::Bound::Excluded(last);
        }
    }

    /// The encoded key of a valid name.
    pub(super) fn key(&self, name: &[u8]) -> Step<Bytes> {
        use cairn_block::limits::NAME_BYTES_MAX;
        if name.len() > NAME_BYTES_MAX {
            return Err(FsError::NameTooLong.into());
        }
        let valid = !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|b| matches!(b, b'/' | 0));
        if !valid {
            return Err(FsError::InvalidName.into());
        }
        let key = DirKey::new(self.keys.names(), name).map_err(|_| FsError::InvalidName)?;
        Ok(key.into_encoded())
    }
}

/// Bytes of a file that only memory holds.
pub(super) fn memory_of(file: &File) -> u64 {
    file.layer.memory_bytes() + file.flushing.as_ref().map_or(0, |l| l.memory_bytes())
}

/// The 56-bit hash at the front of an encoded key.
pub(super) fn hash_of(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[1..].copy_from_slice(&key[..7]);
    u64::from_be_bytes(bytes)
}
