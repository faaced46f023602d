//! Finding things in a volume's tree: entries by name, records behind links, inodes by path.

use std::ops::Bound;

use bytes::Bytes;
use cairn_block::{
    Content, DirKey, DirRoot, Entry, EntryError, FileType, NameKey, Nodes, Record, VolumeRoot, map_tree,
};

/// The empty directory, and that of an inode which is none.
static EMPTY: DirRoot = DirRoot::EMPTY;

/// Why something was not found on a path.
#[derive(Debug, thiserror::Error)]
pub enum PathError<E> {
    /// No entry has this name.
    #[error("no such file or directory")]
    NotFound,
    /// Something on the way is not a directory.
    #[error("not a directory")]
    NotDirectory,
    /// The tree could not be read.
    #[error(transparent)]
    Read(#[from] E),
}

/// The tree of a directory; empty for anything else.
#[must_use]
pub fn dir_root(record: &Record) -> &DirRoot {
    match &record.content {
        Content::Dir(root) => root,
        _ => &EMPTY,
    }
}

/// The entry of a directory with this name.
pub fn entry<N>(nodes: &mut N, dir: &DirRoot, key: &DirKey) -> Result<Option<Entry>, N::Error>
where
    N: Nodes<Error: From<EntryError>>,
{
    let value = map_tree::get(nodes, dir, key.as_ref())?;
    Ok(value.map(|value| Entry::decode(&value)).transpose()?)
}

/// The record behind an entry: its own, or the link table's. `None` if the table lacks it.
pub fn record_of<N>(nodes: &mut N, root: &VolumeRoot, entry: Entry) -> Result<Option<Record>, N::Error>
where
    N: Nodes<Error: From<EntryError>>,
{
    match entry {
        Entry::Own(record) => Ok(Some(record)),
        Entry::Link { ino, .. } => {
            let value = map_tree::get(nodes, &root.links, &VolumeRoot::link_key(ino))?;
            Ok(value.map(|value| Record::decode(&value)).transpose()?)
        }
    }
}

/// The entry at a path whose names are separated by slashes; empty names and dots are passed over. `None` is the root
/// directory, which no entry leads to.
pub fn resolve<N>(
    nodes: &mut N,
    names: &NameKey,
    root: &VolumeRoot,
    path: &[u8],
) -> Result<Option<Entry>, PathError<N::Error>>
where
    N: Nodes<Error: From<EntryError>>,
{
    let mut found: Option<Entry> = None;
    for name in components(path) {
        let dir = match &found {
            None => &root.root,
            Some(Entry::Own(record)) if record.attr.kind == FileType::Directory => record,
            Some(_) => return Err(PathError::NotDirectory),
        };
        let key = DirKey::new(names, name).map_err(|_| PathError::NotFound)?;
        found = Some(entry(nodes, dir_root(dir), &key)?.ok_or(PathError::NotFound)?);
    }
    Ok(found)
}

/// The record at a path; see [`resolve`].
pub fn record_at<N>(
    nodes: &mut N,
    names: &NameKey,
    root: &VolumeRoot,
    path: &[u8],
) -> Result<Record, PathError<N::Error>>
where
    N: Nodes<Error: From<EntryError>>,
{
    match resolve(nodes, names, root, path)? {
        None => Ok(root.root.clone()),
        Some(entry) => record_of(nodes, root, entry)?.ok_or(PathError::NotFound),
    }
}

/// Up to `count_max` entries of a directory from a position on, with their keys.
pub fn list<N>(
    nodes: &mut N,
    dir: &DirRoot,
    from: Bound<&[u8]>,
    count_max: usize,
) -> Result<Vec<(DirKey, Bytes)>, N::Error>
where
    N: Nodes<Error: From<EntryError>>,
{
    let found = map_tree::range(nodes, dir, from, count_max)?;
    let keyed = found.into_iter().map(|(key, value)| Ok((DirKey::from_encoded(key)?, value)));
    Ok(keyed.collect::<Result<_, EntryError>>()?)
}

/// The same record in memory of its own: as it is decoded, a few bytes of it would keep a whole node.
#[must_use]
pub fn compact(record: Record) -> Record {
    record.encode().and_then(|bytes| Record::decode(&bytes)).unwrap_or(record)
}

/// The names of a path.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}
