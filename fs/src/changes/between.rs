//! Reading the changes off two trees.
//!
//! Directories are compared in pairs, by inode: a pair whose trees are equal is not even opened. A directory that is met on
//! one side only waits for its other half, which a rename may have put anywhere; only when nothing else is left to compare
//! is it taken to be new, or gone, and everything in it with it. Should its other half turn up after that, the two halves
//! cancel out name by name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_block::{DirKey, DirRoot, Entry, EntryError, FileType, Ino, Nodes, Record, TreeError, VolumeRoot, map_tree};

use super::{Changes, Child, InodeChange, Place};
use crate::reader::{Lifted, ReadError};
use crate::tree::{compact, dir_root};

/// What changes may take in memory. Two states further apart than this, some two million changed files, are not compared in
/// one piece.
pub const CHANGES_BYTES_MAX: usize = 1 << 30;

/// What an entry costs beyond the bytes of its record: its places in four maps.
const ENTRY_BYTES: usize = 400;

/// Why two trees could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// One of them could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// One of them is no tree.
    #[error("inode {ino} has two places in one tree")]
    TwoPlaces {
        /// The inode.
        ino: Ino,
    },
    /// They differ in more than fits into memory.
    #[error("the changes take more than {bytes_max} bytes")]
    TooMany {
        /// What they may take.
        bytes_max: usize,
    },
}

impl From<TreeError> for ChangesError {
    fn from(error: TreeError) -> Self {
        ReadError::from(error).into()
    }
}

impl From<EntryError> for ChangesError {
    fn from(error: EntryError) -> Self {
        ReadError::from(error).into()
    }
}

impl Changes {
    /// What leads from one state of a volume to another.
    pub fn between<N>(nodes: &mut N, before: &VolumeRoot, after: &VolumeRoot) -> Result<Changes, ChangesError>
    where
        N: Nodes<Error = ReadError>,
    {
        Changes::between_within(nodes, before, after, CHANGES_BYTES_MAX)
    }

    /// The same, in so many bytes of memory.
    pub fn between_within<N>(
        nodes: &mut N,
        before: &VolumeRoot,
        after: &VolumeRoot,
        bytes_max: usize,
    ) -> Result<Changes, ChangesError>
    where
        N: Nodes<Error = ReadError>,
    {
        let nodes = &mut Lifted::new(nodes);
        let mut comparison = Comparison { bytes_max, ..Comparison::default() };
        comparison.links(nodes, before, after)?;
        comparison.root(&before.root, &after.root);
        while let Some((dir, old, new)) = comparison.next_pair() {
            map_tree::diff(nodes, &old, &new, |key, before, after| comparison.entry(dir, key, before, after))?;
        }
        comparison.linked_by_name(nodes, before, after)?;
        let mut changes = comparison.changes;
        changes.next_ino = after.next_ino;
        changes.drop_unchanged();
        Ok(changes)
    }

    /// Drops what turned out to be the same on both sides.
    fn drop_unchanged(&mut self) {
        self.names.retain(|_, change| change.old != change.new);
        let children = self.names.values().flat_map(|change| [change.old, change.new]).flatten();
        let named: BTreeSet<Ino> = children.map(|child| child.ino).collect();
        // The same record may have gone to the link table: a file that got a name and lost it between two ticks of the clock.
        let (linked_old, linked_new) = (&self.linked_old, &self.linked_new);
        let is_moved = |ino: &Ino| linked_old.contains(ino) != linked_new.contains(ino);
        self.inodes.retain(|ino, change| change.old != change.new || named.contains(ino) || is_moved(ino));
    }
}

/// A comparison under way.
#[derive(Default)]
struct Comparison {
    changes: Changes,
    pairs: Vec<(Ino, DirRoot, DirRoot)>,
    /// Directories met on one side only so far.
    old_dirs: BTreeMap<Ino, DirRoot>,
    new_dirs: BTreeMap<Ino, DirRoot>,
    bytes: usize,
    bytes_max: usize,
}

impl Comparison {
    fn links<N>(&mut self, nodes: &mut N, before: &VolumeRoot, after: &VolumeRoot) -> Result<(), ChangesError>
    where
        N: Nodes<Error = ChangesError>,
    {
        map_tree::diff(nodes, &before.links, &after.links, |_, before, after| {
            self.spend([&before, &after])?;
            for (value, is_old) in [(before, true), (after, false)] {
                let Some(value) = value else { continue };
                let record = compact(Record::decode(&value)?);
                let ino = record.attr.ino;
                let change = self.changes.inodes.entry(ino).or_default();
                if is_old {
                    self.changes.linked_old.insert(ino);
                    change.old = Some(record);
                } else {
                    self.changes.linked_new.insert(ino);
                    change.new = Some(record);
                }
            }
            Ok(())
        })
    }

    /// Looks up the linked inodes of which only names differ: whoever counts names has to know them, too. A record that says
    /// nothing of a rename is rare with programs, whose clock goes on, and usual with merges.
    fn linked_by_name<N>(&mut self, nodes: &mut N, before: &VolumeRoot, after: &VolumeRoot) -> Result<(), ChangesError>
    where
        N: Nodes<Error = ChangesError>,
    {
        let children = self.changes.names.values().flat_map(|change| [change.old, change.new]).flatten();
        let unmet: BTreeSet<Ino> =
            children.map(|child| child.ino).filter(|ino| !self.changes.inodes.contains_key(ino)).collect();
        for ino in unmet {
            let values =
                [&before.links, &after.links].map(|links| map_tree::get(nodes, links, &VolumeRoot::link_key(ino)));
            let [old, new] = values;
            let (old, new) = (old?, new?);
            self.spend([&old, &new])?;
            let decode = |value: Option<Bytes>| value.map(|value| Record::decode(&value).map(compact)).transpose();
            let (old, new) = (decode(old)?, decode(new)?);
            if old.is_some() || new.is_some() {
                self.changes.inodes.insert(ino, InodeChange { old, new });
            }
        }
        Ok(())
    }

    fn root(&mut self, old: &Record, new: &Record) {
        if old != new {
            let change = self.changes.inodes.entry(Ino::ROOT).or_default();
            change.old = Some(old.clone());
            change.new = Some(new.clone());
            self.pairs.push((Ino::ROOT, dir_root(old).clone(), dir_root(new).clone()));
        }
    }

    /// The next two directories to compare. Halves that found each other go first, so that as little as possible is taken
    /// for new or gone that was only moved.
    fn next_pair(&mut self) -> Option<(Ino, DirRoot, DirRoot)> {
        if let Some(pair) = self.pairs.pop() {
            return Some(pair);
        }
        let whole = self.old_dirs.keys().find(|ino| self.new_dirs.contains_key(ino)).copied();
        if let Some(ino) = whole {
            let halves = self.old_dirs.remove(&ino).zip(self.new_dirs.remove(&ino));
            return halves.map(|(old, new)| (ino, old, new));
        }
        if let Some((ino, new)) = self.new_dirs.pop_first() {
            return Some((ino, DirRoot::EMPTY, new));
        }
        self.old_dirs.pop_first().map(|(ino, old)| (ino, old, DirRoot::EMPTY))
    }

    /// Takes note of one entry that differs.
    fn entry(
        &mut self,
        parent: Ino,
        key: Bytes,
        before: Option<Bytes>,
        after: Option<Bytes>,
    ) -> Result<(), ChangesError> {
        self.spend([&before, &after])?;
        let name = Bytes::copy_from_slice(DirKey::from_encoded(key)?.name());
        let place = Place { parent, name };
        let old = before.map(|value| Entry::decode(&value)).transpose()?;
        let new = after.map(|value| Entry::decode(&value)).transpose()?;
        let [old_child, new_child] = [&old, &new].map(|entry| entry.as_ref().map(child_of));
        if old_child != new_child {
            let change = self.changes.names.entry(place.clone()).or_default();
            change.old = change.old.or(old_child);
            change.new = change.new.or(new_child);
        }
        if let (Some(Entry::Own(old)), Some(Entry::Own(new))) = (&old, &new)
            && old.attr.kind == FileType::Directory
            && old_child == new_child
        {
            self.pairs.push((old.attr.ino, dir_root(old).clone(), dir_root(new).clone()));
        } else {
            self.hold(&old, &new);
        }
        if let Some(entry) = old {
            self.note_old(&place, entry)?;
        }
        if let Some(entry) = new {
            self.note_new(&place, entry)?;
        }
        Ok(())
    }

    /// Keeps directories until their other half is found.
    fn hold(&mut self, old: &Option<Entry>, new: &Option<Entry>) {
        for (entry, dirs) in [(old, &mut self.old_dirs), (new, &mut self.new_dirs)] {
            if let Some(Entry::Own(record)) = entry
                && record.attr.kind == FileType::Directory
            {
                dirs.insert(record.attr.ino, dir_root(record).clone());
            }
        }
    }

    fn note_old(&mut self, place: &Place, entry: Entry) -> Result<(), ChangesError> {
        let ino = entry.ino();
        match entry {
            Entry::Own(record) => {
                settle(&mut self.changes.homes.entry(ino).or_default().old, place, ino)?;
                self.changes.inodes.entry(ino).or_default().old = Some(compact(record));
            }
            Entry::Link { .. } => drop(self.changes.linked_old.insert(ino)),
        }
        Ok(())
    }

    fn note_new(&mut self, place: &Place, entry: Entry) -> Result<(), ChangesError> {
        let ino = entry.ino();
        match entry {
            Entry::Own(record) => {
                settle(&mut self.changes.homes.entry(ino).or_default().new, place, ino)?;
                self.changes.inodes.entry(ino).or_default().new = Some(compact(record));
            }
            Entry::Link { .. } => drop(self.changes.linked_new.insert(ino)),
        }
        Ok(())
    }

    fn spend(&mut self, values: [&Option<Bytes>; 2]) -> Result<(), ChangesError> {
        let values = values.into_iter().flatten().map(Bytes::len).sum::<usize>();
        self.bytes += values + ENTRY_BYTES;
        if self.bytes > self.bytes_max {
            return Err(ChangesError::TooMany { bytes_max: self.bytes_max });
        }
        Ok(())
    }
}

fn child_of(entry: &Entry) -> Child {
    Child { ino: entry.ino(), kind: entry.kind() }
}

/// Sets the one place of an inode.
fn settle(home: &mut Option<Place>, place: &Place, ino: Ino) -> Result<(), ChangesError> {
    if home.as_ref().is_some_and(|other| other != place) {
        return Err(ChangesError::TwoPlaces { ino });
    }
    *home = Some(place.clone());
    Ok(())
}
