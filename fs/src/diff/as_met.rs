//! Telling of changes as they are met: in little memory, without renames.

use std::collections::HashSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use cairn_block::{DirKey, DirRoot, Entry, EntryError, FileType, Ino, Nodes, Record, VolumeRoot, map_tree};

use super::{Change, DiffError, What, below, facts, names_of, replacement, said};
use crate::reader::{Lifted, ReadError};
use crate::tree::{dir_root, record_of};

/// Compares directory by directory and tells at once, without looking for renames.
pub(super) fn as_met<N>(
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
