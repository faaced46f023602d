//! From the disk into a volume.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_block::{FileType, Ino, Timestamp};
use cairn_fs::error::FsError;
use cairn_fs::ops::{
    Caller, Change, KillPriv, NewNode, OpenFlags, Operations, RenameFlags, SetAttr, SetXattr, TimeOrNow,
};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType as LocalType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::tree::{self, Found, Opened, wait};
use super::workers::{self, Jobs};
use super::{CopyReport, PIECE_BYTES, Tally, lock, not_whole};
use crate::control::events::Reporter;
use crate::errors::{Failure, Kind, Outcome};
use crate::text::Name;

/// One extended attribute; the kernel's own limit.
const XATTR_BYTES_MAX: usize = 64 << 10;
/// The names of a usual file's attributes fit into this.
const XATTR_BYTES_USUAL: usize = 1 << 10;
/// Bits of a mode that a file can keep.
const MODE_BITS: u32 = 0o7777;

/// What to copy, and how.
pub(crate) struct PutOrder {
    /// Absolute paths on the disk.
    pub(crate) sources: Vec<PathBuf>,
    /// Where to, in the volume.
    pub(crate) target: Vec<u8>,
    /// Files at the same time.
    pub(crate) workers: usize,
    /// Directories that are left out: this node's store and mounts, which would copy themselves into themselves.
    pub(crate) left_out: Vec<PathBuf>,
    /// Where the volume is mounted.
    pub(crate) own_mounts: Vec<PathBuf>,
}

/// What a file or directory of the disk is, whatever the path that leads to it.
type Identity = (u64, u64);

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// Hears of every change that somebody may have cached: those in directories that were there before.
pub(crate) type Tell<'a> = &'a (dyn Fn(&Change) + Sync);

/// Copies; see the module's parent for what is kept.
pub(crate) fn put(
    volume: &dyn Operations,
    order: &PutOrder,
    tell: Tell<'_>,
    reporter: &Reporter,
) -> Outcome<CopyReport> {
    let tally = Tally::new(reporter);
    let targets = place(volume, order, tell)?;
    workers::run(
        order.workers,
        |jobs| {
            let found = |paths: &[PathBuf]| -> Vec<Stat> {
                paths.iter().filter_map(|path| statat(CWD, path, AtFlags::empty()).ok()).collect()
            };
            let mut walk = Walk {
                volume,
                tell,
                tally: &tally,
                jobs,
                links: HashMap::new(),
                left_out: found(&order.left_out).iter().map(identity).collect(),
                own_devices: found(&order.own_mounts).iter().map(|stat| stat.st_dev).collect(),
                targets: targets.iter().map(|(_, directory, _)| directory.found.ino()).collect(),
            };
            targets.iter().try_for_each(|(source, directory, name)| walk.source(source, directory, name))
        },
        |job: FileJob<'_>| job.run(&tally),
    )?;
    drop(targets);
    Ok(tally.report())
}

type Placed<'o, 'v> = (&'o Path, Arc<TargetDir<'v>>, Vec<u8>);

/// Where each source goes: into a directory that is there, or under the last name of the target.
fn place<'o, 'v>(volume: &'v dyn Operations, order: &'o PutOrder, tell: Tell<'v>) -> Outcome<Vec<Placed<'o, 'v>>> {
    let caller = Caller { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw(), pid: 0 };
    let names = tree::names(&order.target);
    let is_directory = match tree::find(volume, &order.target)? {
        Some(found) => found.is_directory(),
        None => order.sources.len() > 1 || order.target.ends_with(b"/"),
    };
    if !is_directory && order.sources.len() > 1 {
        return Err(Failure::new(Kind::Refused, "several sources need a directory as their target"));
    }
    let (above, last) = match names.split_last() {
        Some((last, above)) if !is_directory => (above, Some(last.to_vec())),
        _ => (names.as_slice(), None),
    };
    let mut made = |parent, name: &[u8]| tell(&Change::Entry { parent, name: Bytes::copy_from_slice(name) });
    let found = tree::make_directories(volume, &tree::joined(above), &caller, &mut made)?;
    let directory = Arc::new(TargetDir { found, finish: None, tell: Some(tell) });
    let place_one = |source: &'o PathBuf| {
        let name = last.clone().or_else(|| source.file_name().map(|name| Name::from(name).0)).ok_or_else(|| {
            Failure::new(Kind::Usage, "the root directory needs a name in the volume")
                .hint("name a target that doesn't exist yet")
        })?;
        Ok((source.as_path(), directory.clone(), name))
    };
    order.sources.iter().map(place_one).collect()
}

/// A directory of the volume that things are being copied into. Whoever copies something into it holds a share; the last
/// one to let go sets its mode and times.
pub(super) struct TargetDir<'v> {
    found: Found<'v>,
    finish: Option<Finish<'v>>,
    /// For a directory that was there before: who has to hear of changes in it.
    tell: Option<Tell<'v>>,
}

struct Finish<'v> {
    set: SetAttr,
    tally: &'v Tally<'v>,
    source: PathBuf,
    _parent: Arc<TargetDir<'v>>,
}

impl<'v> TargetDir<'v> {
    /// A name in it leads elsewhere now.
    fn changed(&self, name: &[u8]) {
        if let Some(tell) = self.tell {
            tell(&Change::Entry { parent: self.found.ino(), name: Bytes::copy_from_slice(name) });
        }
    }
}

impl Drop for TargetDir<'_> {
    fn drop(&mut self) {
        if let Some(tell) = self.tell {
            tell(&Change::Inode(self.found.ino()));
        }
        let Some(finish) = &self.finish else { return };
        match self.found.volume().setattr(wait(), &Caller::NODE, self.found.ino(), finish.set) {
            Ok(_) => finish.tally.directory_done(),
            // Nobody listening is noticed by whoever copies next.
            Err(error) => drop(finish.tally.trouble(finish.source.as_path(), error)),
        }
    }
}

/// The walker's state.
struct Walk<'j, 'a> {
    volume: &'a dyn Operations,
    tell: Tell<'a>,
    tally: &'a Tally<'a>,
    jobs: &'j Jobs<FileJob<'a>>,
    /// Files with several links that were seen, and how many of their links weren't.
    links: HashMap<Identity, (Arc<Mutex<Linked<'a>>>, u64)>,
    left_out: Vec<Identity>,
    /// Filesystems that are mounts of the volume that is being copied into, where `targets` are seen as what they are.
    own_devices: Vec<u64>,
    /// Directories that are being copied into.
    targets: HashSet<Ino>,
}

/// A file of which several names are being copied: the first is the file, the rest are links to it once it is whole.
enum Linked<'v> {
    /// It isn't whole yet; these names wait for it, each with the path that it is named by if it can't be made.
    Waiting(Vec<(Arc<TargetDir<'v>>, Vec<u8>, PathBuf)>),
    /// It is there.
    There(Found<'v>),
    /// It couldn't be copied, and was named.
    Failed,
}

/// A directory of the disk, to be copied into one of the volume.
struct Visit<'a> {
    source: PathBuf,
    directory: OwnedFd,
    target: Arc<TargetDir<'a>>,
}

impl<'a> Walk<'_, 'a> {
    /// Copies one source with everything below it.
    fn source(&mut self, source: &Path, target: &Arc<TargetDir<'a>>, name: &[u8]) -> Outcome<()> {
        let mut visits = Vec::new();
        // What was named on the command line may be a link to what is meant; below it, links are copied as links.
        match statat(CWD, source, AtFlags::empty()) {
            Ok(stat) => self.entry(CWD, source, source, target, name, &stat, &mut visits)?,
            Err(error) => self.tally.trouble(source, error)?,
        }
        while let Some(visit) = visits.pop() {
            self.directory(visit, &mut visits)?;
        }
        Ok(())
    }

    fn directory(&mut self, visit: Visit<'a>, visits: &mut Vec<Visit<'a>>) -> Outcome<()> {
        let entries = match Dir::read_from(&visit.directory) {
            Ok(entries) => entries,
            Err(error) => return self.tally.trouble(visit.source.as_path(), error),
        };
        for entry in entries {
            self.tally.check()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.tally.trouble(visit.source.as_path(), error),
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let source = visit.source.join(Name::from(name).to_path());
            let stat = statat(&visit.directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            match stat {
                Ok(stat) => {
                    let local = Name::from(name).to_path();
                    self.entry(visit.directory.as_fd(), &local, &source, &visit.target, name, &stat, visits)?;
                }
                // Removed since it was listed: as if it had never been there.
                Err(Errno::NOENT) => {}
                Err(error) => self.tally.trouble(source.as_path(), error)?,
            }
        }
        Ok(())
    }

    /// One entry; a failure of its own is named, and only a client that is gone ends the walk.
    #[allow(clippy::too_many_arguments)] // Two sides with a directory and a name each, and what was found out about one.
    fn entry(
        &mut self,
        local_directory: impl AsFd + Copy,
        local: &Path,
        source: &Path,
        target: &Arc<TargetDir<'a>>,
        name: &[u8],
        stat: &Stat,
        visits: &mut Vec<Visit<'a>>,
    ) -> Outcome<()> {
        if self.left_out.contains(&identity(stat)) {
            let failure = Failure::new(Kind::Refused, "left out: it is this node's own store or mount");
            return self.tally.trouble(source, failure);
        }
        if self.own_devices.contains(&stat.st_dev) && self.targets.contains(&Ino::new(stat.st_ino)) {
            let failure = Failure::new(Kind::Refused, "left out: it is being copied into");
            return self.tally.trouble(source, failure);
        }
        let copied = match LocalType::from_raw_mode(stat.st_mode) {
            LocalType::Directory => {
                self.make_directory(local_directory, local, source, target, name).map(|visit| visits.extend(visit))
            }
            LocalType::RegularFile => self.file(local_directory, local, source, target, name, stat),
            kind => self.special(kind, local_directory, local, target, name, stat),
        };
        match copied {
            Err(failure) if failure.kind != Kind::Interrupted => self.tally.trouble(source, failure),
            copied => copied,
        }
    }

    fn make_directory(
        &mut self,
        local_directory: impl AsFd,
        local: &Path,
        source: &Path,
        target: &Arc<TargetDir<'a>>,
        name: &[u8],
    ) -> Outcome<Option<Visit<'a>>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | as_it_was_seen(local);
        let directory = openat(local_directory, local, flags, Mode::empty())?;
        // What is copied is what is described, whatever had the name before.
        let stat = &fstat(&directory)?;
        let parent = target.found.ino();
        let (found, existed) = match tree::make_directory(self.volume, parent, name, mode_of(stat), &owner_of(stat)) {
            Err(FsError::Exists) => (tree::look_up(self.volume, parent, name)?, true),
            made => (made?, false),
        };
        target.changed(name);
        if !found.is_directory() {
            return Err(FsError::NotDirectory.into());
        }
        copy_xattrs(self.volume, &directory, found.ino())?;
        let finish = Finish {
            set: attributes_of(stat, None),
            tally: self.tally,
            source: source.to_owned(),
            _parent: target.clone(),
        };
        let tell = existed.then_some(self.tell);
        self.targets.insert(found.ino());
        let target = Arc::new(TargetDir { found, finish: Some(finish), tell });
        Ok(Some(Visit { source: source.to_owned(), directory, target }))
    }

    fn file(
        &mut self,
        local_directory: impl AsFd,
        local: &Path,
        source: &Path,
        target: &Arc<TargetDir<'a>>,
        name: &[u8],
        stat: &Stat,
    ) -> Outcome<()> {
        if self.further_link(source, target, name, stat)? {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOATIME | OFlags::NONBLOCK | as_it_was_seen(local);
        let file = match openat(&local_directory, local, flags, Mode::empty()) {
            // Only the owner may leave the access time alone.
            Err(Errno::PERM) => openat(&local_directory, local, flags - OFlags::NOATIME, Mode::empty())?,
            opened => opened?,
        };
        // What is copied is what is described, whatever had the name before.
        let stat = &fstat(&file)?;
        if LocalType::from_raw_mode(stat.st_mode) != LocalType::RegularFile {
            return Err(Failure::new(Kind::Refused, "it was exchanged while it was being copied"));
        }
        let node = self.new_node(target, name, FileType::Regular, stat, Bytes::new())?;
        let mut links = None;
        if stat.st_nlink > 1 {
            let found = tree::look_up(self.volume, node.found.ino(), b".")?;
            let linked = Arc::new(Mutex::new(Linked::Waiting(Vec::new())));
            #[allow(clippy::useless_conversion)] // The count is narrower on other machines.
            let further = u64::from(stat.st_nlink) - 1;
            self.links.insert(identity(stat), (linked.clone(), further));
            links = Some((linked, found));
        }
        self.tally.found_bytes(u64::try_from(stat.st_size).unwrap_or(0));
        let (file, set) = (File::from(file), attributes_of(stat, None));
        let job = FileJob { file, source: source.to_owned(), set, node, links };
        if self.jobs.give(job) { Ok(()) } else { Err(Failure::new(Kind::Interrupted, "the copy was stopped")) }
    }

    /// Gives a file that was copied already one more name, or lets the name wait until the file is whole.
    fn further_link(&mut self, source: &Path, target: &Arc<TargetDir<'a>>, name: &[u8], stat: &Stat) -> Outcome<bool> {
        let key = identity(stat);
        let Some((linked, left)) = self.links.get_mut(&key) else { return Ok(false) };
        let linked = linked.clone();
        *left -= 1;
        if *left == 0 {
            self.links.remove(&key);
        }
        match &mut *lock(&linked) {
            Linked::There(found) => link_over(self.volume, found.ino(), target, name)?,
            Linked::Waiting(waiting) => waiting.push((target.clone(), name.to_vec(), source.to_owned())),
            Linked::Failed => return Err(not_whole()),
        }
        self.tally.other_done();
        Ok(true)
    }

    fn special(
        &mut self,
        kind: LocalType,
        local_directory: impl AsFd,
        local: &Path,
        target: &Arc<TargetDir<'a>>,
        name: &[u8],
        stat: &Stat,
    ) -> Outcome<()> {
        let (kind, link) = match kind {
            LocalType::Symlink => {
                (FileType::Symlink, Bytes::from(readlinkat(local_directory, local, Vec::new())?.into_bytes()))
            }
            LocalType::Fifo => (FileType::Fifo, Bytes::new()),
            LocalType::Socket => (FileType::Socket, Bytes::new()),
            LocalType::CharacterDevice => (FileType::Char, Bytes::new()),
            LocalType::BlockDevice => (FileType::Block, Bytes::new()),
            _ => return Err(Failure::new(Kind::Refused, "a file of an unknown type")),
        };
        let node = self.new_node(target, name, kind, stat, link)?;
        self.volume.setattr(wait(), &Caller::NODE, node.found.ino(), attributes_of(stat, None))?;
        node.keep()?;
        self.tally.other_done();
        Ok(())
    }

    /// Makes a node under a name that may be taken: what has the name now is replaced in one step when the copy is whole.
    fn new_node(
        &self,
        target: &Arc<TargetDir<'a>>,
        name: &[u8],
        kind: FileType,
        stat: &Stat,
        link: Bytes,
    ) -> Outcome<NewFile<'a>> {
        let parent = target.found.ino();
        let rdev = u32::try_from(stat.st_rdev).unwrap_or(0);
        let node = NewNode { kind, mode: mode_of(stat), umask: 0, rdev, target: link };
        let make = |name: &[u8]| self.volume.create(wait(), &owner_of(stat), parent, name, node.clone());
        let (attr, replaces) = match make(name) {
            Err(FsError::Exists) => {
                let temporary = temporary_name(name);
                match make(&temporary) {
                    Err(FsError::Exists) => {
                        self.volume.unlink(wait(), &Caller::NODE, parent, &temporary)?;
                        (make(&temporary)?, Some(temporary))
                    }
                    made => (made?, Some(temporary)),
                }
            }
            made => (made?, None),
        };
        let found = Found::adopt(self.volume, attr);
        Ok(NewFile { found, parent: target.clone(), name: name.to_vec(), temporary: replaces, kept: false })
    }
}

/// A node under construction: it is removed again unless it is kept.
struct NewFile<'v> {
    found: Found<'v>,
    parent: Arc<TargetDir<'v>>,
    name: Vec<u8>,
    temporary: Option<Vec<u8>>,
    kept: bool,
}

impl NewFile<'_> {
    fn keep(mut self) -> Result<(), FsError> {
        if let Some(temporary) = &self.temporary {
            let (parent, flags) = (self.parent.found.ino(), RenameFlags::default());
            self.found.volume().rename(wait(), &Caller::NODE, parent, temporary, parent, &self.name, flags)?;
        }
        self.parent.changed(&self.name);
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let name = self.temporary.as_ref().unwrap_or(&self.name);
            // What stays is half a file that was already named as a trouble.
            let _ = self.found.volume().unlink(wait(), &Caller::NODE, self.parent.found.ino(), name);
        }
    }
}

/// One file's contents, for a worker.
struct FileJob<'v> {
    file: File,
    source: PathBuf,
    set: SetAttr,
    node: NewFile<'v>,
    /// The names that wait for it, and the file itself for them.
    links: Option<(Arc<Mutex<Linked<'v>>>, Found<'v>)>,
}

impl FileJob<'_> {
    fn run(mut self, tally: &Tally<'_>) -> Outcome<()> {
        let (source, links) = (self.source.clone(), self.links.take());
        let copied = self.copy(tally);
        let linked = links.map_or(Ok(()), |(linked, found)| settle_links(&linked, found, copied.is_ok(), tally));
        let named = match copied {
            Err(failure) if failure.kind != Kind::Interrupted => tally.trouble(source.as_path(), failure),
            copied => copied,
        };
        named.and(linked)
    }

    fn copy(self, tally: &Tally<'_>) -> Outcome<()> {
        let (volume, ino) = (self.node.found.volume(), self.node.found.ino());
        // While it is open the volume doesn't take where it was cut off by a flush for the end of the file: what is put
        // again then falls into the same chunks. What comes in one piece needs none of this.
        let is_large = self.file.metadata()?.len() > PIECE_BYTES as u64;
        let flags = OpenFlags { read: false, write: true, truncate: false, kill_priv: KillPriv::Keep };
        let _opened = if is_large { Some(Opened::file(volume, ino, flags)?) } else { None };
        let size = copy_contents(volume, &self.file, ino, tally)?;
        copy_xattrs(volume, &self.file, ino)?;
        // A hole at the end has no bytes that would make the file as long as it is.
        volume.setattr(wait(), &Caller::NODE, ino, SetAttr { size: Some(size), ..self.set })?;
        self.node.keep()?;
        tally.file_done();
        Ok(())
    }
}

/// Makes the names that waited for a file, or names them as failed.
fn settle_links<'v>(linked: &Mutex<Linked<'v>>, found: Found<'v>, is_whole: bool, tally: &Tally<'_>) -> Outcome<()> {
    let (volume, ino) = (found.volume(), found.ino());
    let settled = if is_whole { Linked::There(found) } else { Linked::Failed };
    let mut linked = lock(linked);
    let Linked::Waiting(waiting) = std::mem::replace(&mut *linked, settled) else { return Ok(()) };
    waiting.iter().try_for_each(|(target, name, source)| {
        let made = if is_whole { link_over(volume, ino, target, name) } else { Err(not_whole()) };
        made.or_else(|failure| tally.trouble(source.as_path(), failure))
    })
}

/// One more name for a file, in place of what has that name, in one step.
fn link_over(volume: &dyn Operations, ino: Ino, target: &TargetDir<'_>, name: &[u8]) -> Outcome<()> {
    let parent = target.found.ino();
    let link = |name: &[u8]| volume.link(wait(), &Caller::NODE, ino, parent, name);
    let unlink = |name: &[u8]| volume.unlink(wait(), &Caller::NODE, parent, name);
    let linked = match link(name) {
        Err(FsError::Exists) => {
            let temporary = temporary_name(name);
            let linked = match link(&temporary) {
                Err(FsError::Exists) => {
                    unlink(&temporary)?;
                    link(&temporary)?
                }
                linked => linked?,
            };
            let flags = RenameFlags::default();
            let renamed = volume.rename(wait(), &Caller::NODE, parent, &temporary, parent, name, flags);
            // Renaming a name over another of the same file does nothing and leaves both.
            let _ = unlink(&temporary);
            let found = Found::adopt(volume, linked);
            renamed?;
            found
        }
        linked => Found::adopt(volume, linked?),
    };
    drop(linked);
    target.changed(name);
    Ok(())
}

/// What was named may be a link to what is meant. What was found below it is no link, and must not have become one.
fn as_it_was_seen(local: &Path) -> OFlags {
    if local.is_absolute() { OFlags::empty() } else { OFlags::NOFOLLOW }
}

/// Copies the data between the holes and returns the file's size.
fn copy_contents(volume: &dyn Operations, file: &File, ino: Ino, tally: &Tally<'_>) -> Outcome<u64> {
    let mut offset = 0;
    while let Some((start, end)) = next_data(file, offset)? {
        offset = start;
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let piece = read_piece(file, offset, wanted)?;
            if piece.is_empty() {
                // Cut while it was read; what there is was copied.
                return Ok(offset);
            }
            let length = piece.len() as u64;
            volume.write(wait(), ino, offset, piece, KillPriv::Keep)?;
            offset += length;
            tally.copied(length)?;
        }
    }
    Ok(file.metadata()?.len().max(offset))
}

/// The next range that isn't a hole.
fn next_data(file: &File, offset: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A filesystem without holes: all of it is data, and reading finds the end.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            let size = file.metadata()?.len();
            return Ok((offset < size).then_some((offset, size)));
        }
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end)))
}

fn read_piece(file: &File, offset: u64, wanted: usize) -> io::Result<Bytes> {
    // Not zeroed first: for large files that costs as much as the reading.
    let mut buffer = Vec::with_capacity(wanted);
    while buffer.len() < wanted {
        let at = offset + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    buffer.truncate(wanted);
    Ok(buffer.into())
}

/// Copies the extended attributes that mean something on another machine.
fn copy_xattrs(volume: &dyn Operations, file: impl AsFd, ino: Ino) -> Outcome<()> {
    // Most files have none or few: room for all that there could be is made for those that need it.
    let mut names = vec![0; XATTR_BYTES_USUAL];
    let mut listed = rustix::fs::flistxattr(&file, names.as_mut_slice());
    if listed == Err(Errno::RANGE) {
        names.resize(XATTR_BYTES_MAX, 0);
        listed = rustix::fs::flistxattr(&file, names.as_mut_slice());
    }
    let length = match listed {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Labels are this machine's policy, not the file's.
        if name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; XATTR_BYTES_MAX];
        match rustix::fs::fgetxattr(&file, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                volume.setxattr(wait(), ino, name, value.into(), SetXattr::Any, KillPriv::Keep)?;
            }
            // Gone since it was listed, or not ours to read.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn mode_of(stat: &Stat) -> u16 {
    (stat.st_mode & MODE_BITS) as u16
}

fn owner_of(stat: &Stat) -> Caller {
    Caller { uid: stat.st_uid, gid: stat.st_gid, pid: 0 }
}

fn attributes_of(stat: &Stat, size: Option<u64>) -> SetAttr {
    let time = |secs: i64, nanos| TimeOrNow::Time(Timestamp { secs, nanos });
    SetAttr {
        mode: Some(mode_of(stat)),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        size,
        atime: Some(time(stat.st_atime, stat.st_atime_nsec as u32)),
        mtime: Some(time(stat.st_mtime, stat.st_mtime_nsec as u32)),
        ..SetAttr::NONE
    }
}

/// A name beside `name` that nobody uses: names of 255 bytes are cut to make room.
fn temporary_name(name: &[u8]) -> Vec<u8> {
    let keep = name.len().min(200);
    [b".".as_slice(), &name[..keep], format!(".put-{:016x}", hash(name)).as_bytes()].concat()
}

/// Tells long names with the same start apart.
fn hash(name: &[u8]) -> u64 {
    u64::from_le_bytes(blake3::hash(name).as_bytes()[..8].try_into().expect("8 of 32 bytes"))
}
