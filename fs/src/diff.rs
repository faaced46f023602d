//! What differs between two states of a volume, path by path.
//!
//! A file or directory that has the same inode elsewhere was renamed; a name that leads to another inode of the same kind was
//! modified, as editors do it that save by renaming. Of a directory only its own attributes count: what happened in it is
//! told of the names in it.
//!
//! The changes are gathered first, because a rename has two ends, and told in the order of their paths. Should they be
//! too many for memory, they are told as they are met, and renames as a removal and an addition.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use cairn_block::{
    Content, DirKey, DirRoot, Entry, EntryError, FileType, Ino, Nodes, Record, TreeError, VolumeRoot, map_tree,
};

use crate::changes::{Changes, ChangesError, NameChange, Place};
use crate::reader::{Lifted, ReadError};
use crate::tree::{dir_root, list, record_of};

/// What gathered changes may take in memory; some half a million changed files.
pub const DIFF_BYTES_MAX: usize = 256 << 20;

/// Entries read at a time on a search.
const WINDOW: usize = 512;

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path from the root of the volume; where it was if it is gone.
    pub path: Bytes,
    /// How it differs.
    pub what: What,
    /// What was there.
    pub old: Option<Facts>,
    /// What is there.
    pub new: Option<Facts>,
}

/// The kind and size of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The inode.
    pub ino: Ino,
    /// Its kind.
    pub kind: FileType,
    /// Bytes; of a directory, entries.
    pub size: u64,
}

/// How something differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another, or not as it was.
    Modified {
        /// What it holds differs.
        data: bool,
        /// Its attributes differ.
        meta: bool,
    },
    /// It is of another kind.
    TypeChanged,
    /// It was elsewhere, and may have been modified as well.
    Renamed {
        /// Where.
        from: Bytes,
        /// What it holds differs.
        data: bool,
        /// Its attributes differ.
        meta: bool,
    },
}

/// Why a comparison ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// One of the trees could not be read, or is none.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// Whoever was told had enough.
    #[error("the comparison was stopped")]
    Stopped,
}

impl From<ReadError> for DiffError {
    fn from(error: ReadError) -> Self {
        Self::Changes(error.into())
    }
}

impl From<TreeError> for DiffError {
    fn from(error: TreeError) -> Self {
        ReadError::from(error).into()
    }
}

impl From<EntryError> for DiffError {
    fn from(error: EntryError) -> Self {
        ReadError::from(error).into()
    }
}

/// Tells `tell` what differs between two trees. It can stop.
pub fn diff<N>(
    nodes: &mut N,
    before: &VolumeRoot,
    after: &VolumeRoot,
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<(), DiffError>
where
    N: Nodes<Error = ReadError>,
{
    diff_within(nodes, before, after, DIFF_BYTES_MAX, tell)
}

/// The same, in about so many bytes of memory.
pub fn diff_within<N>(
    nodes: &mut N,
    before: &VolumeRoot,
    after: &VolumeRoot,
    bytes_max: usize,
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<(), DiffError>
where
    N: Nodes<Error = ReadError>,
{
    match Changes::between_within(nodes, before, after, bytes_max) {
        Ok(changes) => gathered(nodes, &changes, after, tell),
        Err(ChangesError::TooMany { .. }) => as_met(nodes, before, after, tell),
        Err(error) => Err(error.into()),
    }
}

fn gathered<N>(
    nodes: &mut N,
    changes: &Changes,
    after: &VolumeRoot,
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<(), DiffError>
where
    N: Nodes<Error = ReadError>,
{
    let mut account = Account { changes, told: Vec::new() };
    let renamed = account.names();
    let unplaced = account.inodes(&renamed);
    let told: HashSet<Bytes> = account.told.iter().map(|change| change.path.clone()).collect();
    for (path, ino) in names_of(nodes, after, unplaced)? {
        if !told.contains(&path) {
            account.modified(path, ino);
        }
    }
    account.told.sort_by(|a, b| a.path.cmp(&b.path));
    account.told.into_iter().try_for_each(|change| said(tell, change))
}

fn said(tell: &mut dyn FnMut(Change) -> ControlFlow<()>, change: Change) -> Result<(), DiffError> {
    match tell(change) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DiffError::Stopped),
    }
}

/// One of the two states.
#[derive(Clone, Copy)]
enum State {
    Before,
    After,
}

/// Turns changes into paths.
struct Account<'a> {
    changes: &'a Changes,
    told: Vec<Change>,
}

impl Account<'_> {
    /// Tells of the names that changed. Returns the inodes that are told of with that.
    fn names(&mut self) -> BTreeSet<Ino> {
        let mut gone: BTreeMap<Ino, Vec<&Place>> = BTreeMap::new();
        let mut here: BTreeMap<Ino, Vec<&Place>> = BTreeMap::new();
        for (place, NameChange { old, new }) in &self.changes.names {
            old.iter().for_each(|child| gone.entry(child.ino).or_default().push(place));
            new.iter().for_each(|child| here.entry(child.ino).or_default().push(place));
        }
        let mut came: BTreeMap<&Place, &Place> = BTreeMap::new();
        let mut left: BTreeSet<&Place> = BTreeSet::new();
        for (ino, olds) in &gone {
            for (old, new) in olds.iter().zip(here.get(ino).into_iter().flatten()) {
                came.insert(new, old);
                left.insert(old);
            }
        }
        for (place, change) in &self.changes.names {
            let from = came.get(place).copied();
            self.name(place, *change, from, left.contains(place));
        }
        here.into_keys().collect()
    }

    /// Tells of one name: where what it leads to came from, and whether what it led to only left.
    fn name(&mut self, place: &Place, change: NameChange, from: Option<&Place>, has_left: bool) {
        let old = change.old.filter(|_| !has_left).map(|child| (child.ino, self.changes.record_before(child.ino)));
        let new = change.new.map(|child| (child.ino, self.changes.record_after(child.ino)));
        let [old_facts, new_facts] = [&old, &new].map(|side| side.and_then(|(_, record)| record.map(facts)));
        let state = if new.is_some() { State::After } else { State::Before };
        let what = match (from, old, new) {
            (Some(from), _, Some((ino, _))) => {
                let (data, meta) = self.difference(ino);
                What::Renamed { from: self.path(from, State::Before), data, meta }
            }
            (None, Some((_, old)), Some((_, new))) => replacement(old, new),
            (None, None, Some(_)) => What::Added,
            (_, Some(_), None) => What::Removed,
            (_, None, None) => return,
        };
        let old = match (&what, new) {
            (What::Renamed { .. }, Some((ino, _))) => self.changes.record_before(ino).map(facts),
            _ => old_facts,
        };
        self.told.push(Change { path: self.path(place, state), what, old, new: new_facts });
    }

    /// Tells of the inodes that changed in place. Returns those whose names aren't known.
    fn inodes(&mut self, told: &BTreeSet<Ino>) -> HashSet<Ino> {
        let mut unplaced = HashSet::new();
        for (&ino, change) in &self.changes.inodes {
            // A linked inode may have names beside those that were told of.
            let is_told = told.contains(&ino) && !self.changes.linked_new.contains(&ino);
            if is_told || change.old.is_none() || change.new.is_none() {
                continue;
            }
            if self.difference(ino) == (false, false) {
                continue;
            }
            let home = self.changes.homes.get(&ino).and_then(|home| home.new.as_ref());
            match home {
                Some(home) => self.modified(self.path(home, State::After), ino),
                None if ino == Ino::ROOT => self.modified(Bytes::from_static(b"/"), ino),
                None => drop(unplaced.insert(ino)),
            }
        }
        unplaced
    }

    fn modified(&mut self, path: Bytes, ino: Ino) {
        let (data, meta) = self.difference(ino);
        let [old, new] =
            [self.changes.record_before(ino), self.changes.record_after(ino)].map(|record| record.map(facts));
        self.told.push(Change { path, what: What::Modified { data, meta }, old, new });
    }

    /// Whether an inode holds something else, and whether its attributes differ.
    fn difference(&self, ino: Ino) -> (bool, bool) {
        match (self.changes.record_before(ino), self.changes.record_after(ino)) {
            (Some(old), Some(new)) => difference(old, new),
            _ => (false, false),
        }
    }

    /// A path in one of the states: up through the homes of the directories, which were all met on the way down.
    fn path(&self, place: &Place, state: State) -> Bytes {
        let mut names = vec![&place.name];
        let mut dir = place.parent;
        while names.len() <= self.changes.homes.len() {
            let home = self.changes.homes.get(&dir).and_then(|home| match state {
                State::Before => home.old.as_ref(),
                State::After => home.new.as_ref(),
            });
            let Some(home) = home else { break };
            names.push(&home.name);
            dir = home.parent;
        }
        let mut path = Vec::new();
        for name in names.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path.into()
    }
}

fn facts(record: &Record) -> Facts {
    let size = match &record.content {
        Content::Dir(root) => root.count,
        _ => record.attr.size,
    };
    Facts { ino: record.attr.ino, kind: record.attr.kind, size }
}

/// Whether two records hold different things, and have different attributes. Access and change times are left out: they follow
/// from everything else; and of directories the time of the last modification, which follows from their names.
fn difference(old: &Record, new: &Record) -> (bool, bool) {
    let is_dir = matches!((&old.content, &new.content), (Content::Dir(_), Content::Dir(_)));
    let data = !is_dir && (old.content != new.content || old.attr.size != new.attr.size);
    let attributes = |record: &Record| {
        let attr = &record.attr;
        (attr.mode, attr.uid, attr.gid, attr.rdev, (!is_dir).then_some(attr.mtime))
    };
    (data, attributes(old) != attributes(new) || old.xattrs != new.xattrs)
}

/// What became of a name that leads to another inode now.
fn replacement(old: Option<&Record>, new: Option<&Record>) -> What {
    match (old, new) {
        (Some(old), Some(new)) if old.attr.kind != new.attr.kind => What::TypeChanged,
        (Some(old), Some(new)) => {
            let (data, meta) = difference(old, new);
            What::Modified { data, meta }
        }
        _ => What::Modified { data: true, meta: true },
    }
}

/// The paths of linked inodes: nothing leads from an inode to its names, so the tree is searched.
fn names_of<N>(nodes: &mut N, root: &VolumeRoot, wanted: HashSet<Ino>) -> Result<Vec<(Bytes, Ino)>, DiffError>
where
    N: Nodes<Error = ReadError>,
{
    let mut found = Vec::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    let mut waiting = vec![(Bytes::from_static(b"/"), dir_root(&root.root).clone())];
    while let Some((path, dir)) = waiting.pop() {
        let mut from = Bound::Unbounded;
        loop {
            let entries = list(nodes, &dir, from.as_ref().map(|key: &Bytes| &key[..]), WINDOW)?;
            let Some((last, _)) = entries.last() else { break };
            from = Bound::Excluded(last.encoded().clone());
            for (key, value) in entries {
                match Entry::decode(&value)? {
                    Entry::Link { ino, .. } if wanted.contains(&ino) => found.push((below(&path, key.name()), ino)),
                    Entry::Own(record) if record.attr.kind == FileType::Directory => {
                        waiting.push((below(&path, key.name()), dir_root(&record).clone()));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}

/// Compares directory by directory and tells at once, without looking for renames.
fn as_met<N>(
    nodes: &mut N,
    before: &VolumeRoot,
    after: &VolumeRoot,
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<(), DiffError>
where
    N: Nodes<Error = ReadError>,
{
    let roots = (dir_root(&before.root).clone(), dir_root(&after.root).clone());
    let mut waiting: Vec<(Bytes, DirRoot, DirRoot)> = vec![(Bytes::from_static(b"/"), roots.0, roots.1)];
    let mut linked_paths: HashSet<Bytes> = HashSet::new();
    while let Some((dir, old, new)) = waiting.pop() {
        // What links lead to is looked up after the walk, which has the nodes.
        let mut links = Vec::new();
        map_tree::diff(&mut Lifted::<_, DiffError>::new(nodes), &old, &new, |key, old, new| {
            let path = below(&dir, DirKey::from_encoded(key)?.name());
            match (decode(old)?, decode(new)?) {
                (Side::Linked(old), new) => links.push((path, Side::Linked(old), new)),
                (old, Side::Linked(new)) => links.push((path, old, Side::Linked(new))),
                (Side::Own(old), Side::Own(new)) => {
                    waiting.extend(descend(&path, old.as_ref(), new.as_ref()));
                    met(tell, path, old.as_ref(), new.as_ref())?;
                }
            }
            Ok(())
        })?;
        for (path, old, new) in links {
            let (old, new) = (behind(nodes, before, old)?, behind(nodes, after, new)?);
            waiting.extend(descend(&path, old.as_ref(), new.as_ref()));
            linked_paths.insert(path.clone());
            met(tell, path, old.as_ref(), new.as_ref())?;
        }
    }
    let linked = changed_links(nodes, before, after)?;
    for (path, ino) in names_of(nodes, after, linked)?.into_iter().filter(|(path, _)| !linked_paths.contains(path)) {
        let link = || Side::Linked(Entry::Link { ino, kind: FileType::Regular });
        let (old, new) = (behind(nodes, before, link())?, behind(nodes, after, link())?);
        met(tell, path, old.as_ref(), new.as_ref())?;
    }
    Ok(())
}

/// The linked inodes that are in both states and differ. Where only they changed, no entry did.
fn changed_links<N>(nodes: &mut N, before: &VolumeRoot, after: &VolumeRoot) -> Result<HashSet<Ino>, DiffError>
where
    N: Nodes<Error = ReadError>,
{
    let mut changed = HashSet::new();
    map_tree::diff(nodes, &before.links, &after.links, |_, old, new| {
        if let (Some(_), Some(new)) = (old, new) {
            changed.insert(Record::decode(&new)?.attr.ino);
        }
        Ok(())
    })?;
    Ok(changed)
}

/// What a name leads to in one of the states.
enum Side {
    Own(Option<Record>),
    Linked(Entry),
}

fn decode(value: Option<Bytes>) -> Result<Side, EntryError> {
    Ok(match value.map(|value| Entry::decode(&value)).transpose()? {
        None => Side::Own(None),
        Some(Entry::Own(record)) => Side::Own(Some(record)),
        Some(link) => Side::Linked(link),
    })
}

fn behind<N>(nodes: &mut N, root: &VolumeRoot, side: Side) -> Result<Option<Record>, DiffError>
where
    N: Nodes<Error = ReadError>,
{
    match side {
        Side::Own(record) => Ok(record),
        Side::Linked(link) => Ok(record_of(nodes, root, link)?),
    }
}

/// The directories below a name that have to be compared, if what it leads to is one in either state.
fn descend(path: &Bytes, old: Option<&Record>, new: Option<&Record>) -> Option<(Bytes, DirRoot, DirRoot)> {
    let empty = DirRoot::EMPTY;
    let [old, new] = [old, new].map(|record| record.map_or(&empty, dir_root));
    (old != new).then(|| (path.clone(), old.clone(), new.clone()))
}

/// Tells of a name whose inode was looked at in both states, unless it only has other things below it.
fn met(
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
    path: Bytes,
    old: Option<&Record>,
    new: Option<&Record>,
) -> Result<(), DiffError> {
    let what = match (old, new) {
        (None, Some(_)) => What::Added,
        (Some(_), None) => What::Removed,
        (old, new) => replacement(old, new),
    };
    if what == (What::Modified { data: false, meta: false }) || (old.is_none() && new.is_none()) {
        return Ok(());
    }
    said(tell, Change { path, what, old: old.map(facts), new: new.map(facts) })
}

fn below(dir: &[u8], name: &[u8]) -> Bytes {
    [dir.strip_suffix(b"/").unwrap_or(dir), b"/", name].concat().into()
}
