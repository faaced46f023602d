//! One step of a worker: how it is chosen, and the one system call that makes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use super::Model;
use crate::Random;

/// Where the kernel may cut a write.
const PAGE: u64 = 4096;
/// Enough for several chunks of the smallest kind.
const WRITE_BYTES_MAX: u64 = 96 << 10;
/// Files stay small enough that a model of them is cheap.
const FILE_BYTES_MAX: u64 = 512 << 10;
/// More names than this, and removing is preferred.
const NAMES_MAX: usize = 60;

/// A change of a worker's directory, or a demand that the changes so far are kept. Paths are relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments of the calls they are named after")]
pub enum Step {
    Create {
        path: String,
    },
    Write {
        path: String,
        offset: u64,
        len: u64,
        seed: u64,
    },
    Append {
        path: String,
        len: u64,
        seed: u64,
    },
    Truncate {
        path: String,
        size: u64,
    },
    PunchHole {
        path: String,
        offset: u64,
        len: u64,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    SetXattr {
        path: String,
        value: Vec<u8>,
    },
    Rename {
        from: String,
        to: String,
    },
    Exchange {
        left: String,
        right: String,
    },
    Link {
        from: String,
        to: String,
    },
    Symlink {
        target: String,
        path: String,
    },
    Unlink {
        path: String,
    },
    MakeFolder {
        path: String,
    },
    RemoveFolder {
        path: String,
    },
    /// Everything before it must survive.
    Fsync {
        path: String,
    },
    /// The same, asked of the worker's folder. The kernel passes no `syncfs` on to FUSE filesystems.
    Sync,
}

/// The attribute that steps set.
pub(super) const XATTR: &str = "user.history";

impl Step {
    /// A step that is possible in `model`.
    pub(super) fn choose(model: &Model, random: &mut Random) -> Step {
        loop {
            if let Some(step) = Step::propose(model, random) {
                return step;
            }
        }
    }

    fn propose(model: &Model, random: &mut Random) -> Option<Step> {
        let dice = random.below(100);
        if model.names() > NAMES_MAX && dice < 50 {
            return Some(Step::Unlink { path: model.any_leaf(random)? });
        }
        Some(match dice {
            0..=13 => Step::Create { path: model.free_name(random) },
            14..=37 => {
                let (path, size) = model.any_file(random)?;
                let offset = random.below((size + 4096).min(FILE_BYTES_MAX - WRITE_BYTES_MAX));
                Step::Write { path, offset, len: some_len(random), seed: random.bits() }
            }
            38..=49 => {
                let (path, size) = model.any_file(random)?;
                if size > FILE_BYTES_MAX - WRITE_BYTES_MAX {
                    return None;
                }
                Step::Append { path, len: some_len(random), seed: random.bits() }
            }
            50..=54 => {
                let (path, size) = model.any_file(random)?;
                Step::Truncate { path, size: random.below(size + 10_000).min(FILE_BYTES_MAX) }
            }
            55..=57 => {
                let (path, size) = model.any_file(random)?;
                Step::PunchHole { path, offset: random.below(size + 1), len: 1 + random.below(40_000) }
            }
            58..=60 => Step::Chmod { path: model.any_file(random)?.0, mode: 0o600 | random.below(0o100) as u32 },
            61..=63 => {
                let len = random.below(300) as usize;
                Step::SetXattr { path: model.any_file(random)?.0, value: random.bytes(len) }
            }
            64..=73 => Step::Rename { from: model.any_file(random)?.0, to: model.any_target(random) },
            74..=75 => {
                let (left, right) = (model.any_file(random)?.0, model.any_file(random)?.0);
                if left == right {
                    return None;
                }
                Step::Exchange { left, right }
            }
            76..=78 => Step::Link { from: model.any_file(random)?.0, to: model.free_name(random) },
            79..=80 => {
                Step::Symlink { target: format!("nowhere/{}", random.below(1000)), path: model.free_name(random) }
            }
            81..=86 => Step::Unlink { path: model.any_leaf(random)? },
            87..=88 => Step::MakeFolder { path: model.free_folder(random)? },
            89 => Step::RemoveFolder { path: model.empty_folder(random)? },
            90..=98 => Step::Fsync { path: model.any_file(random)?.0 },
            _ => Step::Sync,
        })
    }

    /// The beginnings of a write that end where a page does.
    pub(super) fn parts(&self, model: &Model) -> Vec<Step> {
        let lens = |offset: u64, len: u64| {
            (offset / PAGE + 1..).map(move |page| page * PAGE - offset).take_while(move |part| *part < len)
        };
        match self {
            Step::Write { path, offset, len, seed } => {
                let part = |len| Step::Write { path: path.clone(), offset: *offset, len, seed: *seed };
                lens(*offset, *len).map(part).collect()
            }
            Step::Append { path, len, seed } => {
                let part = |len| Step::Append { path: path.clone(), len, seed: *seed };
                lens(model.size(path), *len).map(part).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether everything that ended before this step started must be there once it has succeeded.
    pub(super) fn keeps(&self) -> bool {
        matches!(self, Step::Fsync { .. } | Step::Sync)
    }

    /// Makes the change below `root`.
    pub(super) fn make(&self, root: &Path) -> io::Result<()> {
        let at = |path: &str| root.join(path);
        let writable = |path: &str| OpenOptions::new().write(true).open(at(path));
        match self {
            Step::Create { path } => drop(OpenOptions::new().write(true).create_new(true).open(at(path))?),
            Step::Write { path, offset, len, seed } => {
                all_at_once(writable(path)?.write_at(&content(*seed, *len), *offset)?, *len)?;
            }
            Step::Append { path, len, seed } => {
                let mut file = OpenOptions::new().append(true).open(at(path))?;
                all_at_once(file.write(&content(*seed, *len))?, *len)?;
            }
            Step::Truncate { path, size } => writable(path)?.set_len(*size)?,
            Step::PunchHole { path, offset, len } => {
                use rustix::fs::FallocateFlags;
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(writable(path)?, flags, *offset, *len)?;
            }
            Step::Chmod { path, mode } => std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(*mode))?,
            Step::SetXattr { path, value } => {
                rustix::fs::setxattr(at(path), XATTR, value, rustix::fs::XattrFlags::empty())?;
            }
            Step::Rename { from, to } => std::fs::rename(at(from), at(to))?,
            Step::Exchange { left, right } => {
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, at(left), here, at(right), rustix::fs::RenameFlags::EXCHANGE)?;
            }
            Step::Link { from, to } => std::fs::hard_link(at(from), at(to))?,
            Step::Symlink { target, path } => symlink(target, at(path))?,
            Step::Unlink { path } => std::fs::remove_file(at(path))?,
            Step::MakeFolder { path } => std::fs::create_dir(at(path))?,
            Step::RemoveFolder { path } => std::fs::remove_dir(at(path))?,
            Step::Fsync { path } => File::open(at(path))?.sync_all()?,
            Step::Sync => File::open(root)?.sync_all()?,
        }
        Ok(())
    }
}

/// The bytes that a write with this seed writes. Half of them compress.
pub(super) fn content(seed: u64, len: u64) -> Vec<u8> {
    match seed % 2 {
        0 => Random::new(seed).bytes(len as usize),
        _ => seed.to_le_bytes().iter().copied().cycle().take(len as usize).collect(),
    }
}

fn some_len(random: &mut Random) -> u64 {
    match random.below(10) {
        0..=4 => 1 + random.below(3_000),
        5..=8 => 1 + random.below(20_000),
        _ => 1 + random.below(WRITE_BYTES_MAX),
    }
}

fn all_at_once(written: usize, len: u64) -> io::Result<()> {
    match written as u64 == len {
        true => Ok(()),
        false => Err(io::Error::other(format!("a write of {len} bytes wrote {written}"))),
    }
}
