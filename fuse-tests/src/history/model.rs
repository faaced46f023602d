//! What a worker's directory should look like after each of its steps.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::Step;
use super::step::{XATTR, content};
use crate::tree::{Seen, Tree, digest_of, digest_of_xattrs};
use crate::{Random, tree};

/// Type bits of `st_mode`.
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;

/// The state of a directory: names, and the files behind them.
#[derive(Debug, Clone, Default)]
pub struct Model {
    names: BTreeMap<String, Named>,
    files: Vec<FileState>,
}

#[derive(Debug, Clone)]
enum Named {
    /// An index into the files; hard links share it.
    File(usize),
    Folder,
    Symlink(String),
}

#[derive(Debug, Clone)]
struct FileState {
    bytes: Vec<u8>,
    /// Digest of `bytes`, kept so that a state is compared without reading every file again.
    digest: u64,
    mode: u32,
    xattrs: BTreeMap<OsString, Vec<u8>>,
}

impl Model {
    /// The state after `steps`, from an empty directory.
    pub fn after<'a>(steps: impl Iterator<Item = &'a Step>) -> Model {
        let mut model = Model::default();
        steps.for_each(|step| model.apply(step));
        model
    }

    /// Makes the change of `step`, which was chosen for this state.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { path } => {
                self.names.insert(path.clone(), Named::File(self.files.len()));
                self.files.push(FileState {
                    bytes: Vec::new(),
                    digest: digest_of(b""),
                    mode: 0o644,
                    xattrs: BTreeMap::new(),
                });
            }
            Step::Write { path, offset, len, seed } => {
                self.change(path, |bytes| overwrite(bytes, *offset as usize, &content(*seed, *len)))
            }
            Step::Append { path, len, seed } => {
                self.change(path, |bytes| bytes.extend_from_slice(&content(*seed, *len)))
            }
            Step::Truncate { path, size } => self.change(path, |bytes| bytes.resize(*size as usize, 0)),
            Step::PunchHole { path, offset, len } => {
                self.change(path, |bytes| punch(bytes, *offset as usize, *len as usize))
            }
            Step::Chmod { path, mode } => self.file(path).mode = *mode,
            Step::SetXattr { path, value } => drop(self.file(path).xattrs.insert(XATTR.into(), value.clone())),
            Step::Rename { from, to } => self.rename(from, to),
            Step::Exchange { left, right } => {
                let (l, r) = (self.names[left].clone(), self.names[right].clone());
                self.names.insert(left.clone(), r);
                self.names.insert(right.clone(), l);
            }
            Step::Link { from, to } => drop(self.names.insert(to.clone(), self.names[from].clone())),
            Step::Symlink { target, path } => drop(self.names.insert(path.clone(), Named::Symlink(target.clone()))),
            Step::Unlink { path } | Step::RemoveFolder { path } => drop(self.names.remove(path)),
            Step::MakeFolder { path } => drop(self.names.insert(path.clone(), Named::Folder)),
            Step::Fsync { .. } | Step::Sync => {}
        }
    }

    /// As an observer would see it.
    pub fn tree(&self) -> Tree {
        let paths = self.names.iter().map(|(path, named)| (PathBuf::from(path), self.seen(named)));
        Tree(paths.collect())
    }

    fn seen(&self, named: &Named) -> Seen {
        match named {
            Named::Folder => {
                Seen { mode: FOLDER | 0o755, links: 0, size: 0, content: 0, xattrs: digest_of_xattrs(&BTreeMap::new()) }
            }
            Named::Symlink(target) => Seen {
                mode: SYMLINK | 0o777,
                links: 1,
                size: target.len() as u64,
                content: digest_of(target.as_bytes()),
                xattrs: 0,
            },
            Named::File(index) => {
                let file = &self.files[*index];
                let links =
                    self.names.values().filter(|other| matches!(other, Named::File(i) if i == index)).count() as u64;
                let xattrs = tree::digest_of_xattrs(&file.xattrs);
                Seen { mode: FILE | file.mode, links, size: file.bytes.len() as u64, content: file.digest, xattrs }
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        // Two names of one file: rename does nothing, says POSIX.
        if let (Some(Named::File(a)), Some(Named::File(b))) = (self.names.get(from), self.names.get(to))
            && a == b
        {
            return;
        }
        if let Some(moved) = self.names.remove(from) {
            self.names.insert(to.to_owned(), moved);
        }
    }

    fn file(&mut self, path: &str) -> &mut FileState {
        match &self.names[path] {
            Named::File(index) => &mut self.files[*index],
            other => unreachable!("steps on files are chosen for files, not for {other:?}"),
        }
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.file(path);
        change(&mut file.bytes);
        file.digest = digest_of(&file.bytes);
    }

    pub(super) fn size(&self, path: &str) -> u64 {
        match self.names.get(path) {
            Some(Named::File(index)) => self.files[*index].bytes.len() as u64,
            _ => 0,
        }
    }

    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    pub(super) fn any_file(&self, random: &mut Random) -> Option<(String, u64)> {
        let files: Vec<_> = self
            .names
            .iter()
            .filter_map(|(path, named)| match named {
                Named::File(index) => Some((path, self.files[*index].bytes.len() as u64)),
                _ => None,
            })
            .collect();
        (!files.is_empty()).then(|| *random.choose(&files)).map(|(path, size)| (path.clone(), size))
    }

    /// Something that `unlink` takes.
    pub(super) fn any_leaf(&self, random: &mut Random) -> Option<String> {
        let leaves: Vec<_> = self.names.iter().filter(|(_, named)| !matches!(named, Named::Folder)).collect();
        (!leaves.is_empty()).then(|| random.choose(&leaves).0.clone())
    }

    /// A name that is not taken, in any of the folders.
    pub(super) fn free_name(&self, random: &mut Random) -> String {
        loop {
            let name = format!("{}n{}", self.any_prefix(random), random.below(10_000));
            if !self.names.contains_key(&name) {
                return name;
            }
        }
    }

    /// Where a file may be renamed to: a free name, or another file that it replaces.
    pub(super) fn any_target(&self, random: &mut Random) -> String {
        match random.below(2) {
            0 => self.any_file(random).map(|(path, _)| path),
            _ => None,
        }
        .unwrap_or_else(|| self.free_name(random))
    }

    /// A name for a new folder; at most a handful, one level deep.
    pub(super) fn free_folder(&self, random: &mut Random) -> Option<String> {
        let name = format!("d{}", random.below(6));
        (!self.names.contains_key(&name)).then_some(name)
    }

    pub(super) fn empty_folder(&self, random: &mut Random) -> Option<String> {
        let is_empty = |folder: &str| !self.names.keys().any(|path| path.starts_with(&format!("{folder}/")));
        let folders: Vec<_> =
            self.names.iter().filter(|(path, named)| matches!(named, Named::Folder) && is_empty(path)).collect();
        (!folders.is_empty()).then(|| random.choose(&folders).0.clone())
    }

    fn any_prefix(&self, random: &mut Random) -> String {
        let folders: Vec<_> = self.names.iter().filter(|(_, named)| matches!(named, Named::Folder)).collect();
        match folders.is_empty() || random.below(2) == 0 {
            true => String::new(),
            false => format!("{}/", random.choose(&folders).0),
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    if bytes.len() < offset + new.len() {
        bytes.resize(offset + new.len(), 0);
    }
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

fn punch(bytes: &mut [u8], offset: usize, len: usize) {
    let end = (offset + len).min(bytes.len());
    if offset < end {
        bytes[offset..end].fill(0);
    }
}
