//! Is this a place to mount on? Refuses with a sentence that says what to do, and clears away what a crash left.
//!
//! A node that dies leaves its mount behind: every access says "transport endpoint is not connected". Nothing can adopt
//! such a mount, so it is detached and mounted anew; programs that still hold files in it keep their errors.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::bounded::within;
use super::device::unmount_by_helper;
use super::error::MountError;
use super::mountinfo::{MountEntry, MountTable};
use super::options::SUBTYPE;

/// A mount that doesn't answer a `stat` for so long is not asked further.
const PROBE: Duration = Duration::from_secs(5);

/// Dead mounts may lie on each other, one per crash; more than this and something else is wrong.
const DEAD_MAX: usize = 64;

/// Makes `path` ready to be mounted on and returns it in its canonical form. `guarded` are directories that must neither
/// contain nor be contained: those of the store.
///
/// # Errors
/// Each [`MountError`] names the place and what to do about it.
pub fn prepare(path: &Path, guarded: &[PathBuf]) -> Result<PathBuf, MountError> {
    let path = canonical(path)?;
    clear_dead(&path)?;
    let metadata = std::fs::symlink_metadata(&path).map_err(|source| absent_or("stat", &path, source))?;
    if !metadata.is_dir() {
        return Err(MountError::NotDirectory { path });
    }
    // Before looking inside: the store's own files would make it "not empty", which is the smaller half of the truth.
    for store in guarded {
        check_apart(&path, store)?;
    }
    let mut entries = std::fs::read_dir(&path).map_err(MountError::io("read", &path))?;
    if entries.next().is_some() {
        return Err(MountError::NotEmpty { path });
    }
    Ok(path)
}

fn absent_or(op: &'static str, path: &Path, source: io::Error) -> MountError {
    if source.kind() == io::ErrorKind::NotFound {
        MountError::Absent { path: path.to_owned() }
    } else {
        MountError::Io { op, path: path.to_owned(), source }
    }
}

/// The path as the mount table has it. The last component may be a dead mount, so only its parent is resolved, unless it
/// is a link or ends in `..`.
fn canonical(path: &Path) -> Result<PathBuf, MountError> {
    let whole = |path: &Path| path.canonicalize().map_err(|source| absent_or("resolve", path, source));
    let Some(name) = path.file_name() else {
        return whole(path);
    };
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return whole(path),
    };
    let joined = parent.canonicalize().map_err(|source| absent_or("resolve", parent, source))?.join(name);
    let known = MountTable::read().is_ok_and(|table| table.top_at(&joined).is_some());
    if known { Ok(joined) } else { whole(&joined) }
}

/// What answers at a mount point.
#[derive(Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Dead,
    Silent,
}

/// Detaches dead mounts of ours, one after the other; refuses living ones and strangers.
fn clear_dead(path: &Path) -> Result<(), MountError> {
    for _ in 0..DEAD_MAX {
        let table = MountTable::read().map_err(MountError::io("read the mount table for", path))?;
        let Some(entry) = table.top_at(path) else {
            return Ok(());
        };
        judge(path, entry, probe(path, entry))?;
        tracing::warn!(path = %path.display(), source = entry.source, "detaching a dead mount");
        detach(path)?;
    }
    Err(MountError::Silent { path: path.to_owned() })
}

/// Whether the mount at the path may be detached.
fn judge(path: &Path, entry: &MountEntry, life: Life) -> Result<(), MountError> {
    let path = path.to_owned();
    let kind = entry.kind.clone();
    match life {
        Life::Dead if is_ours(entry) => Ok(()),
        Life::Dead => Err(MountError::DeadStranger { path, kind }),
        Life::Silent => Err(MountError::Silent { path }),
        Life::Alive => Err(MountError::Mounted { path, kind, source_name: entry.source.clone() }),
    }
}

fn is_ours(entry: &MountEntry) -> bool {
    entry.kind.strip_prefix("fuse.") == Some(SUBTYPE)
}

/// Only FUSE mounts are touched: others don't die, and network filesystems may hang. The question must reach the other end:
/// of a dead mount too the kernel knows, for as long as it was told, what a plain `stat` asks.
fn probe(path: &Path, entry: &MountEntry) -> Life {
    if !entry.is_fuse() {
        return Life::Alive;
    }
    let own = path.to_owned();
    let ask = move || statx(CWD, own, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
    match within("cairn-probe", PROBE, ask) {
        None => Life::Silent,
        Some(Err(Errno::NOTCONN | Errno::CONNABORTED)) => Life::Dead,
        Some(_) => Life::Alive,
    }
}

/// Whether nobody answers at a FUSE mount any more, for good.
pub(super) fn is_dead(path: &Path, entry: &MountEntry) -> bool {
    probe(path, entry) == Life::Dead
}

fn detach(path: &Path) -> Result<(), MountError> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    match rustix::mount::unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => unmount_by_helper(path, true),
        Err(errno) => Err(MountError::io("detach", path)(errno)),
    }
}

/// Compared by path, and by device and inode for stores that are reached by another way, such as a bind mount.
fn check_apart(path: &Path, store: &Path) -> Result<(), MountError> {
    let Ok(store) = store.canonicalize() else {
        return Ok(()); // Not there yet: then nothing is in it, and the path check below can't be fooled by it either.
    };
    let path = path.to_owned();
    if has_ancestor(&path, &store) {
        return Err(MountError::InsideStore { path, store });
    }
    if has_ancestor(&store, &path) {
        return Err(MountError::HoldsStore { path, store });
    }
    Ok(())
}

fn has_ancestor(path: &Path, ancestor: &Path) -> bool {
    let wanted = identity(ancestor);
    path.ancestors().any(|place| place == ancestor || (wanted.is_some() && identity(place) == wanted))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    fn entry(kind: &str) -> MountEntry {
        MountEntry {
            id: 1,
            minor: 1,
            device: "0:1".into(),
            path: "/m".into(),
            kind: kind.into(),
            source: "photos".into(),
        }
    }

    #[test]
    fn an_empty_directory_is_accepted_in_its_canonical_form() {
        let (_dir, path) = dir();
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::os::unix::fs::symlink(path.join("a/b"), path.join("link")).unwrap();
        assert_eq!(prepare(&path.join("a/../a/b"), &[]).unwrap(), path.join("a/b"));
        assert_eq!(prepare(&path.join("link"), &[]).unwrap(), path.join("a/b"));
    }

    #[test]
    fn absent_files_and_full_directories_are_refused_with_advice() {
        let (_dir, path) = dir();
        let advice = |at: &Path| prepare(at, &[]).unwrap_err().to_string();
        assert!(advice(&path.join("none")).contains("mkdir -p"));
        assert!(advice(&path.join("none/deeper")).contains("mkdir -p"));
        std::fs::write(path.join("file"), b"x").unwrap();
        assert!(advice(&path.join("file")).contains("not a directory"));
        assert!(advice(&path).contains("not empty"));
    }

    #[test]
    fn a_volume_can_neither_lie_in_its_store_nor_hold_it() {
        let (_dir, path) = dir();
        let (store, inside) = (path.join("store"), path.join("store/blocks/mnt"));
        std::fs::create_dir_all(&inside).unwrap();
        let guarded = [store.clone()];
        assert!(matches!(prepare(&inside, &guarded), Err(MountError::InsideStore { .. })));
        assert!(matches!(prepare(&store, &guarded), Err(MountError::InsideStore { .. })));
        assert!(matches!(prepare(&path, &guarded), Err(MountError::HoldsStore { .. })));
        std::fs::create_dir(path.join("store2")).unwrap();
        assert!(prepare(&path.join("store2"), &guarded).is_ok(), "a common prefix of names is no relation");
    }

    #[test]
    fn only_dead_mounts_of_ours_may_be_detached() {
        let at = Path::new("/m");
        assert!(judge(at, &entry("fuse.cairn"), Life::Dead).is_ok());
        let refused = |kind, life| judge(at, &entry(kind), life).unwrap_err().to_string();
        assert!(refused("fuse.sshfs", Life::Dead).contains("fusermount3 -uz /m"));
        assert!(refused("fuse.cairn", Life::Alive).contains("umount /m"));
        assert!(refused("fuse.cairn", Life::Silent).contains("does not answer"));
        assert!(refused("ext4", Life::Alive).contains("already a mount point of ext4"));
    }

    #[test]
    fn the_root_of_the_machine_is_a_living_mount() {
        assert!(matches!(prepare(Path::new("/"), &[]), Err(MountError::Mounted { .. })));
    }
}
