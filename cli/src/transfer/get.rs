//! From a volume onto the disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cairn_block::{Attr, FileType, Ino, Timestamp};
use cairn_fs::error::FsError;
use cairn_fs::ops::{DirItem, KillPriv, Listing, OpenFlags, Operations, Seek};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::tree::{self, Found, Opened, wait};
use super::workers::{self, Jobs};
use super::{CopyReport, PIECE_BYTES, Tally, lock, not_whole};
use crate::control::events::Reporter;
use crate::errors::{Failure, Kind, Outcome};
use crate::text::Name;

/// The set-user-id and set-group-id bits.
const SET_ID_BITS: u32 = 0o6000;

/// What to copy, and how.
pub(crate) struct GetOrder {
    /// Paths in the volume.
    pub(crate) sources: Vec<Vec<u8>>,
    /// An absolute path on the disk.
    pub(crate) target: PathBuf,
    /// Files at the same time.
    pub(crate) workers: usize,
}

/// Copies; see the module's parent for what is kept.
pub(crate) fn get(volume: &dyn Operations, order: &GetOrder, reporter: &Reporter) -> Outcome<CopyReport> {
    let tally = Tally::new(reporter);
    let placed = place(volume, order)?;
    workers::run(
        order.workers,
        |jobs| {
            let mut walk = Walk { volume, tally: &tally, jobs, links: HashMap::new() };
            placed.into_iter().try_for_each(|(source, target, name)| walk.source(source, &target, &name))
        },
        |job: FileJob<'_>| job.run(&tally),
    )?;
    Ok(tally.report())
}

type Placed<'v> = (Found<'v>, Arc<TargetDir<'v>>, PathBuf);

/// Where each source goes: into a directory that is there, or under the last name of the target.
fn place<'v>(volume: &'v dyn Operations, order: &GetOrder) -> Outcome<Vec<Placed<'v>>> {
    let target = &order.target;
    let into = order.sources.len() > 1 || target.is_dir() || target.as_os_str().as_encoded_bytes().ends_with(b"/");
    let directory = match target.parent() {
        Some(parent) if !into => parent,
        _ => target.as_path(),
    };
    let opened = open_directory(CWD, directory).map_err(|error| {
        Failure::from(error)
            .while_(format!("opening {}", directory.display()))
            .hint("the target is a directory that exists, or a new name in one that exists")
    })?;
    let shared = Arc::new(TargetDir { directory: opened, path: directory.to_owned(), is_new: false, finish: None });
    let place_one = |source: &Vec<u8>| {
        let found = tree::expect(volume, source)?;
        let name = if into {
            // The root of a volume has no name: its entries go where the target is.
            tree::names(source).last().map_or_else(|| PathBuf::from("."), |name| Name::from(*name).to_path())
        } else {
            target.file_name().map(PathBuf::from).unwrap_or_else(|| PathBuf::from("."))
        };
        Ok((found, shared.clone(), name))
    };
    order.sources.iter().map(place_one).collect()
}

/// A directory of the disk that things are being copied into. Whoever copies something into it holds a share; the last
/// one to let go sets its owner, mode and times.
pub(super) struct TargetDir<'v> {
    directory: OwnedFd,
    path: PathBuf,
    /// It was made by this copy: nothing in it can be replaced, and until it is whole nobody else may enter it.
    is_new: bool,
    finish: Option<Finish<'v>>,
}

struct Finish<'v> {
    source: Found<'v>,
    tally: &'v Tally<'v>,
    _parent: Arc<TargetDir<'v>>,
}

impl Drop for TargetDir<'_> {
    fn drop(&mut self) {
        let Some(finish) = &self.finish else { return };
        let source = &finish.source;
        let finished = copy_xattrs(source.volume(), source.ino(), &self.directory)
            .and_then(|()| set_attributes(&self.directory, &source.attr).map_err(Failure::from));
        match finished {
            Ok(()) => finish.tally.directory_done(),
            // Nobody listening is noticed by whoever copies next.
            Err(failure) => drop(finish.tally.trouble(self.path.as_path(), failure)),
        }
    }
}

/// A file of which several names are being copied: the first is the file, the rest are links to it once it is whole.
enum Linked<'v> {
    /// It isn't there yet; these names wait for it, each with a share of its directory.
    Waiting(Vec<(Arc<TargetDir<'v>>, PathBuf)>),
    /// It is there, under this name.
    There(PathBuf),
    /// It couldn't be copied, and was named.
    Failed,
}

/// The walker's state.
struct Walk<'j, 'a> {
    volume: &'a dyn Operations,
    tally: &'a Tally<'a>,
    jobs: &'j Jobs<FileJob<'a>>,
    links: HashMap<Ino, Arc<Mutex<Linked<'a>>>>,
}

/// A directory of the volume, to be copied into one of the disk.
type Visit<'a> = (Ino, Arc<TargetDir<'a>>);

impl<'a> Walk<'_, 'a> {
    fn source(&mut self, source: Found<'a>, target: &Arc<TargetDir<'a>>, name: &Path) -> Outcome<()> {
        let mut visits = Vec::new();
        self.entry(source, target, name, &mut visits)?;
        while let Some((directory, target)) = visits.pop() {
            self.directory(directory, &target, &mut visits)?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: Ino, target: &Arc<TargetDir<'a>>, visits: &mut Vec<Visit<'a>>) -> Outcome<()> {
        let volume = self.volume;
        let listed = tree::list(volume, directory, Listing::Referenced, |item: DirItem| {
            self.tally.check()?;
            let attr = match item.attr {
                Some(attr) => attr,
                None => volume.getattr(wait(), item.ino)?,
            };
            let name = Name(item.name.to_vec()).to_path();
            self.entry(Found::adopt(volume, attr), target, &name, visits)
        });
        match listed {
            Err(failure) if failure.kind != Kind::Interrupted => self.tally.trouble(target.path.as_path(), failure),
            listed => listed,
        }
    }

    /// One entry; a failure of its own is named, and only a client that is gone ends the walk.
    fn entry(
        &mut self,
        source: Found<'a>,
        target: &Arc<TargetDir<'a>>,
        name: &Path,
        visits: &mut Vec<Visit<'a>>,
    ) -> Outcome<()> {
        let copied = match source.attr.kind {
            FileType::Directory => self.make_directory(source, target, name).map(|visit| visits.push(visit)),
            FileType::Regular => self.file(source, target, name),
            _ => self.special(&source, target, name),
        };
        match copied {
            Err(failure) if failure.kind != Kind::Interrupted => {
                self.tally.trouble(target.path.join(name).as_path(), failure)
            }
            copied => copied,
        }
    }

    fn make_directory(&mut self, source: Found<'a>, target: &Arc<TargetDir<'a>>, name: &Path) -> Outcome<Visit<'a>> {
        let path = target.path.join(name);
        let is_target = name == Path::new(".");
        let mut is_new = false;
        if !is_target {
            // Private until it is whole: its own mode comes at the end.
            match rustix::fs::mkdirat(&target.directory, name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                made => {
                    made?;
                    is_new = true;
                }
            }
        }
        let directory = open_directory(&target.directory, name)?;
        let ino = source.ino();
        let finish = (!is_target).then(|| Finish { source, tally: self.tally, _parent: target.clone() });
        Ok((ino, Arc::new(TargetDir { directory, path, is_new, finish })))
    }

    fn file(&mut self, source: Found<'a>, target: &Arc<TargetDir<'a>>, name: &Path) -> Outcome<()> {
        let mut links = None;
        if source.attr.nlink > 1 {
            if let Some(linked) = self.links.get(&source.ino()) {
                return self.further_link(&linked.clone(), target, name);
            }
            let linked = Arc::new(Mutex::new(Linked::Waiting(Vec::new())));
            self.links.insert(source.ino(), linked.clone());
            links = Some(linked);
        }
        self.tally.found_bytes(source.attr.size);
        let job = FileJob { source, target: target.clone(), name: name.to_owned(), links };
        if self.jobs.give(job) { Ok(()) } else { Err(Failure::new(Kind::Interrupted, "the copy was stopped")) }
    }

    fn further_link(&self, linked: &Mutex<Linked<'a>>, target: &Arc<TargetDir<'a>>, name: &Path) -> Outcome<()> {
        let path = target.path.join(name);
        match &mut *lock(linked) {
            Linked::There(file) => link_over(file, &path)?,
            Linked::Waiting(waiting) => waiting.push((target.clone(), path)),
            Linked::Failed => return Err(not_whole()),
        }
        self.tally.other_done();
        Ok(())
    }

    fn special(&self, source: &Found<'a>, target: &TargetDir<'a>, name: &Path) -> Outcome<()> {
        let attr = &source.attr;
        let make = |name: &Path| -> Result<(), Failure> {
            if attr.kind == FileType::Symlink {
                let link = self.volume.readlink(wait(), source.ino())?;
                return Ok(rustix::fs::symlinkat(Name(link.to_vec()).to_path(), &target.directory, name)?);
            }
            let kind = match attr.kind {
                FileType::Fifo => rustix::fs::FileType::Fifo,
                FileType::Socket => rustix::fs::FileType::Socket,
                FileType::Char => rustix::fs::FileType::CharacterDevice,
                _ => rustix::fs::FileType::BlockDevice,
            };
            let mode = Mode::from_raw_mode(u32::from(attr.mode));
            Ok(rustix::fs::mknodat(&target.directory, name, kind, mode, u64::from(attr.rdev))?)
        };
        replace_at(&target.directory, name, make)?;
        let as_they_were = AtFlags::SYMLINK_NOFOLLOW;
        allow_denied(rustix::fs::chownat(&target.directory, name, owner(attr).0, owner(attr).1, as_they_were))?;
        rustix::fs::utimensat(&target.directory, name, &times(attr), as_they_were)?;
        self.tally.other_done();
        Ok(())
    }
}

/// One file's contents, for a worker.
struct FileJob<'v> {
    source: Found<'v>,
    target: Arc<TargetDir<'v>>,
    name: PathBuf,
    links: Option<Arc<Mutex<Linked<'v>>>>,
}

impl FileJob<'_> {
    fn run(self, tally: &Tally<'_>) -> Outcome<()> {
        let copied = self.copy(tally);
        let links = self.settle_links(copied.is_ok(), tally);
        let named = match copied {
            Err(failure) if failure.kind != Kind::Interrupted => {
                tally.trouble(self.target.path.join(&self.name).as_path(), failure)
            }
            copied => copied,
        };
        named.and(links)
    }

    /// Makes the names that waited for this file, or names them as failed.
    fn settle_links(&self, is_whole: bool, tally: &Tally<'_>) -> Outcome<()> {
        let Some(links) = &self.links else { return Ok(()) };
        let file = self.target.path.join(&self.name);
        let settled = if is_whole { Linked::There(file.clone()) } else { Linked::Failed };
        let mut links = lock(links);
        let Linked::Waiting(waiting) = std::mem::replace(&mut *links, settled) else { return Ok(()) };
        waiting.iter().try_for_each(|(_, path)| {
            let linked = if is_whole { link_over(&file, path) } else { Err(not_whole()) };
            linked.or_else(|failure| tally.trouble(path.as_path(), failure))
        })
    }

    fn copy(&self, tally: &Tally<'_>) -> Outcome<()> {
        let (volume, ino, directory) = (self.source.volume(), self.source.ino(), &self.target.directory);
        let flags = OpenFlags { read: true, write: false, truncate: false, kill_priv: KillPriv::Keep };
        let _opened = Opened::file(volume, ino, flags)?;
        make_at(&self.target, &self.name, |name| {
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = File::from(rustix::fs::openat(directory, name, create, Mode::RUSR | Mode::WUSR)?);
            copy_contents(volume, &self.source, &file, tally)?;
            copy_xattrs(volume, ino, &file)?;
            Ok(set_attributes(&file, &self.source.attr)?)
        })?;
        tally.file_done();
        Ok(())
    }
}

/// Copies the data between the holes.
fn copy_contents(volume: &dyn Operations, source: &Found<'_>, file: &File, tally: &Tally<'_>) -> Outcome<()> {
    let (ino, size) = (source.ino(), source.attr.size);
    let has_holes = source.attr.allocated < size;
    let (mut offset, mut written) = (0, 0);
    while offset < size {
        let mut end = size;
        if has_holes {
            offset = match volume.seek(wait(), ino, offset, Seek::Data) {
                Err(FsError::NoData) => break,
                start => start?,
            };
            end = volume.seek(wait(), ino, offset, Seek::Hole)?.min(size);
        }
        while offset < end {
            let wanted = u32::try_from(end - offset).unwrap_or(u32::MAX).min(PIECE_BYTES as u32);
            let pieces = volume.read(wait(), ino, offset, wanted)?;
            if pieces.is_empty() {
                // Cut while it was read; the size is set to what it was at the start, as cp does.
                break;
            }
            for piece in &pieces.0 {
                file.write_all_at(piece, offset)?;
                offset += piece.len() as u64;
            }
            written = offset;
            tally.copied(pieces.len() as u64)?;
        }
        offset = offset.max(end);
    }
    // A hole at the end, or a file that was cut meanwhile.
    if written != size {
        file.set_len(size)?;
    }
    Ok(())
}

/// Copies the extended attributes that this process may set.
fn copy_xattrs(volume: &dyn Operations, ino: Ino, file: impl AsFd) -> Outcome<()> {
    for name in volume.listxattr(wait(), ino)? {
        let value = volume.getxattr(wait(), ino, &name)?;
        match rustix::fs::fsetxattr(&file, name.as_ref(), &value, XattrFlags::empty()) {
            // Only root sets these, and not every filesystem keeps them; the contents are worth more than the label.
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if !name.starts_with(b"user.") => {}
            set => set?,
        }
    }
    Ok(())
}

/// Owner, mode and times, in the order in which none undoes another: chown clears the set-id bits.
fn set_attributes(file: impl AsFd, attr: &Attr) -> io::Result<()> {
    let (user, group) = owner(attr);
    allow_denied(rustix::fs::fchown(&file, user, group))?;
    let mut mode = u32::from(attr.mode);
    let stat = rustix::fs::fstat(&file)?;
    if mode & SET_ID_BITS != 0 && (stat.st_uid, stat.st_gid) != (attr.uid, attr.gid) {
        // Somebody else's program would run with the rights of whoever copies it.
        mode &= !SET_ID_BITS;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    rustix::fs::futimens(&file, &times(attr))?;
    Ok(())
}

/// Giving a file to somebody else is root's right; others keep what they copy, as with cp.
fn allow_denied(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::PERM) => Ok(()),
        result => result,
    }
}

fn owner(attr: &Attr) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attr.uid)), Some(Gid::from_raw(attr.gid)))
}

fn times(attr: &Attr) -> Timestamps {
    let time = |time: Timestamp| Timespec { tv_sec: time.secs, tv_nsec: i64::from(time.nanos) };
    Timestamps { last_access: time(attr.atime), last_modification: time(attr.mtime) }
}

/// Opens a directory without following a link in its last name: a link that lies in the way can't lead a copy elsewhere.
fn open_directory(above: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The target itself may be reached through links; it was named by the person.
    let flags = if path.is_absolute() { flags } else { flags | OFlags::NOFOLLOW };
    rustix::fs::openat(above, path, flags, Mode::empty())
}

/// Makes something under its own name in a directory that this copy made, and as [`replace_at`] does in others.
fn make_at(target: &TargetDir<'_>, name: &Path, make: impl Fn(&Path) -> Outcome<()>) -> Outcome<()> {
    if !target.is_new {
        return replace_at(&target.directory, name, make);
    }
    let made = make(name);
    if made.is_err() {
        // Nothing may be there; what failed before is the news.
        let _ = rustix::fs::unlinkat(&target.directory, name, AtFlags::empty());
    }
    made
}

/// Makes something under a temporary name and moves it over `name` when it is whole.
fn replace_at(directory: impl AsFd, name: &Path, make: impl Fn(&Path) -> Outcome<()>) -> Outcome<()> {
    let temporary = temporary_name(name);
    let made = match make(&temporary) {
        // Left by a copy that was killed.
        Err(failure) if failure.kind == Kind::Refused => {
            rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty())?;
            make(&temporary)
        }
        made => made,
    };
    let renamed = made.and_then(|()| Ok(rustix::fs::renameat(&directory, &temporary, &directory, name)?));
    if renamed.is_err() {
        // Nothing may be there; what failed before is the news.
        let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
    }
    renamed
}

/// One more name for a file, in place of what has that name.
fn link_over(file: &Path, path: &Path) -> Outcome<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(Kind::Internal, "a link without a name"));
    };
    let temporary = parent.join(temporary_name(Path::new(name)));
    std::fs::hard_link(file, &temporary)?;
    let renamed = std::fs::rename(&temporary, path);
    // Renaming a name over another of the same file does nothing and leaves both.
    let _ = std::fs::remove_file(&temporary);
    Ok(renamed?)
}

/// A name beside `name` that nobody uses: names of 255 bytes are cut to make room.
fn temporary_name(name: &Path) -> PathBuf {
    let bytes = name.as_os_str().as_encoded_bytes();
    let hash = blake3::hash(bytes).to_hex();
    Name([b".".as_slice(), &bytes[..bytes.len().min(200)], b".get-", &hash.as_bytes()[..16]].concat()).to_path()
}
