//! Paths in a volume: finding an inode, making the directories on the way, listing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{Attr, FileType, Ino};
use cairn_fs::error::FsError;
use cairn_fs::ops::{Caller, DirItem, Handle, Listing, NewNode, OpenFlags, Operations, Wait};

use crate::errors::{Failure, Kind, Outcome};
use crate::text;

/// How long one operation may wait for the disk before it is called stuck.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Entries asked for at once: some 100 KiB of answers.
const LIST_ENTRIES: usize = 1024;
/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// A deadline for one operation from now.
pub(crate) fn wait() -> Wait {
    Wait::Until(Instant::now() + OPERATION_TIMEOUT)
}

/// An inode that was looked up; it is given back when this is dropped.
pub(crate) struct Found<'v> {
    volume: &'v dyn Operations,
    /// As of the look-up.
    pub(crate) attr: Attr,
}

impl<'v> Found<'v> {
    /// Takes over the reference that an operation returned with `attr`.
    pub(crate) fn adopt(volume: &'v dyn Operations, attr: Attr) -> Self {
        Self { volume, attr }
    }

    /// The inode.
    pub(crate) fn ino(&self) -> Ino {
        self.attr.ino
    }

    /// The volume it is in.
    pub(crate) fn volume(&self) -> &'v dyn Operations {
        self.volume
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.attr.kind == FileType::Directory
    }
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        self.volume.forget(self.attr.ino, 1);
    }
}

/// An open file; its handle is released when this is dropped.
pub(crate) struct Opened<'v> {
    volume: &'v dyn Operations,
    handle: Handle,
}

impl<'v> Opened<'v> {
    /// Opens a file.
    pub(crate) fn file(volume: &'v dyn Operations, ino: Ino, flags: OpenFlags) -> Result<Self, FsError> {
        Ok(Self { volume, handle: volume.open(wait(), ino, flags)? })
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.volume.release(self.handle);
    }
}

/// The names of a path: empty ones and `.` are nothing, `..` goes up as far as the root.
pub(crate) fn names(path: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

/// A path from its names, as it is shown: always from the root.
pub(crate) fn joined(names: &[&[u8]]) -> Vec<u8> {
    let mut path = Vec::new();
    for name in names {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() { b"/".to_vec() } else { path }
}

/// Whether a symbolic link at the end of a path is meant, or what it leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastLink {
    Itself,
    Followed,
}

/// Follows `path`, through symbolic links on the way but not at the end. `None` where there is nothing.
pub(crate) fn find<'v>(volume: &'v dyn Operations, path: &[u8]) -> Outcome<Option<Found<'v>>> {
    walk(volume, path, LastLink::Itself)
}

fn walk<'v>(volume: &'v dyn Operations, path: &[u8], last: LastLink) -> Outcome<Option<Found<'v>>> {
    let failed = |error: FsError| Failure::from(error).while_(format!("looking for {}", text::shown(path)));
    let mut pending: Vec<Vec<u8>> = names(path).into_iter().rev().map(<[u8]>::to_vec).collect();
    let mut trail = vec![look_up(volume, Ino::ROOT, b".").map_err(failed)?];
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == b".." {
            if trail.len() > 1 {
                trail.pop();
            }
            continue;
        }
        let directory = trail.last().map_or(Ino::ROOT, Found::ino);
        let next = match look_up(volume, directory, &name) {
            Err(FsError::NotFound | FsError::NotDirectory) => return Ok(None),
            found => found.map_err(failed)?,
        };
        if next.attr.kind == FileType::Symlink && (!pending.is_empty() || last == LastLink::Followed) {
            links += 1;
            if links > LINKS_MAX {
                return Err(failed(FsError::Loop));
            }
            let target = volume.readlink(wait(), next.ino()).map_err(failed)?;
            if target.starts_with(b"/") {
                trail.truncate(1);
            }
            let steps = target.split(|byte| *byte == b'/').filter(|step| !step.is_empty() && *step != b".");
            pending.extend(steps.rev().map(<[u8]>::to_vec));
            continue;
        }
        trail.push(next);
    }
    Ok(trail.pop())
}

/// Follows `path` to something that has to be there.
pub(crate) fn expect<'v>(volume: &'v dyn Operations, path: &[u8]) -> Outcome<Found<'v>> {
    find(volume, path)?.ok_or_else(|| nothing_at(path))
}

/// Follows `path`, through a symbolic link at the end as well.
pub(crate) fn find_followed<'v>(volume: &'v dyn Operations, path: &[u8]) -> Outcome<Option<Found<'v>>> {
    walk(volume, path, LastLink::Followed)
}

/// What a path that leads nowhere is told.
pub(crate) fn nothing_at(path: &[u8]) -> Failure {
    Failure::new(Kind::NotFound, format!("there is no {} in the volume", text::shown(path)))
        .hint("`cairn ls` lists what is there; PATH@SNAPSHOT looks into the past")
}

/// The directory at `path`, made with those above it where it is missing; `made` hears of each.
pub(crate) fn make_directories<'v>(
    volume: &'v dyn Operations,
    path: &[u8],
    caller: &Caller,
    made: &mut dyn FnMut(Ino, &[u8]),
) -> Outcome<Found<'v>> {
    let names = names(path);
    let failed = |upto: usize, error: FsError| {
        Failure::from(error).while_(format!("making {}", text::shown(&joined(&names[..=upto]))))
    };
    let mut here = look_up(volume, Ino::ROOT, b".")?;
    for (index, name) in names.iter().enumerate() {
        here = match look_up(volume, here.ino(), name) {
            Err(FsError::NotFound) => {
                let new = make_directory(volume, here.ino(), name, 0o755, caller);
                made(here.ino(), name);
                new
            }
            found => found,
        }
        .map_err(|error| failed(index, error))?;
        if !here.is_directory() {
            return Err(failed(index, FsError::NotDirectory));
        }
    }
    Ok(here)
}

/// One entry of a directory.
pub(crate) fn look_up<'v>(volume: &'v dyn Operations, directory: Ino, name: &[u8]) -> Result<Found<'v>, FsError> {
    volume.lookup(wait(), directory, name).map(|attr| Found::adopt(volume, attr))
}

/// A new directory.
pub(crate) fn make_directory<'v>(
    volume: &'v dyn Operations,
    parent: Ino,
    name: &[u8],
    mode: u16,
    caller: &Caller,
) -> Result<Found<'v>, FsError> {
    let node = NewNode { kind: FileType::Directory, mode, umask: 0, rdev: 0, target: Bytes::new() };
    volume.create(wait(), caller, parent, name, node).map(|attr| Found::adopt(volume, attr))
}

/// Hands every entry of a directory to `visit`, with its attributes where `listing` asks for them.
///
/// References that [`Listing::Referenced`] takes belong to `visit`.
pub(crate) fn list(
    volume: &dyn Operations,
    directory: Ino,
    listing: Listing,
    mut visit: impl FnMut(DirItem) -> Outcome<()>,
) -> Outcome<()> {
    let mut cookie = 0;
    loop {
        let items = volume.readdir(wait(), directory, cookie, LIST_ENTRIES, listing)?;
        let Some(last) = items.last() else { return Ok(()) };
        cookie = last.cookie;
        let mut items = items.into_iter();
        for item in items.by_ref() {
            if let Err(failure) = visit(item) {
                items.filter(|item| item.attr.is_some()).for_each(|item| volume.forget(item.ino, 1));
                return Err(failure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_names() {
        assert_eq!(names(b"/a//b/./c/../d/"), [b"a".as_slice(), b"b", b"d"]);
        assert!(names(b"/../..").is_empty());
        assert_eq!(joined(&names(b"a/b")), b"/a/b");
        assert_eq!(joined(&[]), b"/");
    }
}
