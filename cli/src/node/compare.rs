//! What differs between two states of a volume, as paths.

use cairn_block::{FileType, Ino, Record};
use cairn_fs::changes::{Changes, Place};

use crate::control::routes::Change;
use crate::text::Name;

/// Deeper than any path that a program can name.
const DEPTH_MAX: usize = 4096;

/// Which state a path is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// The differences below `prefix` by path, in its order.
pub(super) fn by_path(changes: &Changes, prefix: &[u8]) -> Vec<Change> {
    let names = changes.names.iter().filter_map(|(place, change)| {
        let size = |record: Option<&Record>| {
            record.filter(|record| record.attr.kind != FileType::Directory).map(|record| record.attr.size)
        };
        let before = change.old.and_then(|child| size(changes.record_before(child.ino)));
        let after = change.new.and_then(|child| size(changes.record_after(child.ino)));
        let (word, side) = match (change.old, change.new) {
            (None, _) => ("added", Side::After),
            (Some(_), None) => ("removed", Side::Before),
            (Some(_), Some(_)) => ("changed", Side::After),
        };
        Some(Change {
            change: word.to_owned(),
            path: Name(path(changes, place, side)?),
            size_before: before,
            size_after: after,
        })
    });
    let inodes = changes.inodes.iter().filter_map(|(ino, change)| {
        let (Some(old), Some(new)) = (&change.old, &change.new) else { return None };
        let word = difference(old, new)?;
        let home = changes.homes.get(ino)?.new.as_ref();
        let path = match home {
            Some(place) => path(changes, place, Side::After)?,
            None if *ino == Ino::ROOT => b"/".to_vec(),
            None => return None,
        };
        let size = |record: &Record| (record.attr.kind != FileType::Directory).then_some(record.attr.size);
        Some(Change { change: word.to_owned(), path: Name(path), size_before: size(old), size_after: size(new) })
    });
    let mut all: Vec<Change> = names.chain(inodes).filter(|change| is_below(&change.path.0, prefix)).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    // A name that leads to another inode now is one change, not two.
    all.dedup_by(|later, first| later.path == first.path);
    all
}

/// The word for how an inode differs; `None` for a directory in which only others changed.
fn difference(old: &Record, new: &Record) -> Option<&'static str> {
    let is_directory = new.attr.kind == FileType::Directory;
    if !is_directory && old.content != new.content {
        return Some("changed");
    }
    let attributes = |record: &Record| (record.attr.mode, record.attr.uid, record.attr.gid, record.attr.rdev);
    let times = |record: &Record| (!is_directory).then_some(record.attr.mtime);
    (attributes(old) != attributes(new) || times(old) != times(new) || old.xattrs != new.xattrs).then_some("attributes")
}

/// The path of a place: up through the homes of the directories above it. `None` where one of them wasn't met.
fn path(changes: &Changes, place: &Place, side: Side) -> Option<Vec<u8>> {
    let mut names = vec![place.name.clone()];
    let mut above = place.parent;
    while above != Ino::ROOT {
        let home = changes.homes.get(&above)?;
        let place = match side {
            Side::Before => home.old.as_ref().or(home.new.as_ref()),
            Side::After => home.new.as_ref().or(home.old.as_ref()),
        }?;
        names.push(place.name.clone());
        above = place.parent;
        if names.len() > DEPTH_MAX {
            return None;
        }
    }
    let mut path = Vec::new();
    for name in names.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    Some(path)
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_whole_path() {
        assert!(is_below(b"/a/b", b"/") && is_below(b"/a/b", b"/a") && is_below(b"/a", b"/a"));
        assert!(!is_below(b"/ab", b"/a"));
    }
}
