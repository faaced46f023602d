//! What a directory tree looks like from outside, in a form that two of them can be compared in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is seen of one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// How many names it has; 0 for directories, whose count differs between filesystems.
    pub links: u64,
    /// Size in bytes; 0 for directories.
    pub size: u64,
    /// Digest of the bytes of a file, or of the target of a symbolic link.
    pub content: u64,
    /// Digest of the `user.` attributes, names and values.
    pub xattrs: u64,
}

/// A tree: everything below a directory, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree(pub BTreeMap<PathBuf, Seen>);

impl Tree {
    /// Looks at everything below `root`.
    pub fn of(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree::default();
        tree.add(root, Path::new(""))?;
        Ok(tree)
    }

    fn add(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(root.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let seen = look(&entry.path())?;
            let is_folder = entry.file_type()?.is_dir();
            self.0.insert(path.clone(), seen);
            if is_folder {
                self.add(root, &path)?;
            }
        }
        Ok(())
    }

    /// The paths that differ, at most `limit` of them, with both sides.
    pub fn differences<'a>(&'a self, other: &'a Tree, limit: usize) -> Vec<Difference<'a>> {
        let paths = self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path)));
        let differing = paths.map(|path| Difference { path, left: self.0.get(path), right: other.0.get(path) });
        differing.filter(|difference| difference.left != difference.right).take(limit).collect()
    }
}

/// One path that two trees disagree on.
#[derive(Clone, Copy)]
pub struct Difference<'a> {
    path: &'a Path,
    left: Option<&'a Seen>,
    right: Option<&'a Seen>,
}

impl fmt::Debug for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())?;
        writeln!(f, "    left  {:?}", self.left)?;
        writeln!(f, "    right {:?}", self.right)
    }
}

/// Panics with the first differences unless both directories hold the same.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    let tree = |path: &Path| Tree::of(path).unwrap_or_else(|e| panic!("can't read {}: {e}", path.display()));
    let (left_tree, right_tree) = (tree(left), tree(right));
    let differences = left_tree.differences(&right_tree, 10);
    assert!(
        differences.is_empty(),
        "{} (left) and {} (right) differ:\n{differences:#?}",
        left.display(),
        right.display()
    );
}

fn look(path: &Path) -> io::Result<Seen> {
    let meta = std::fs::symlink_metadata(path)?;
    let (links, size) = if meta.is_dir() { (0, 0) } else { (meta.nlink(), meta.len()) };
    let content = if meta.is_file() {
        digest_of_file(path)?
    } else if meta.is_symlink() {
        digest_of(std::fs::read_link(path)?.as_os_str().as_bytes())
    } else {
        meta.rdev()
    };
    let xattrs = if meta.is_symlink() { 0 } else { digest_of_xattrs(&user_xattrs(path)?) };
    Ok(Seen { mode: meta.mode(), links, size, content, xattrs })
}

/// The digest used for contents. Not cryptographic: it faces accidents, not opponents.
pub fn digest_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The digest of a set of attributes in order of their names.
pub fn digest_of_xattrs(xattrs: &BTreeMap<OsString, Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    xattrs.hash(&mut hasher);
    hasher.finish()
}

fn digest_of_file(path: &Path) -> io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut hasher = DefaultHasher::new();
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.write(&buffer[..n]),
        }
    }
}

/// The attributes that any user may set; what a security module adds is not ours to compare.
pub fn user_xattrs(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let filled = match rustix::fs::llistxattr(path, &mut names) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        other => other?,
    };
    names.truncate(filled);
    let names = names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    let mut xattrs = BTreeMap::new();
    for name in names {
        let mut value = vec![0; 64 << 10];
        let filled = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(filled);
        xattrs.insert(OsString::from_vec(name.to_vec()), value);
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_a_difference() {
        let dir = tempfile::tempdir().expect("a directory");
        let (left, right) = (dir.path().join("l"), dir.path().join("r"));
        for side in [&left, &right] {
            std::fs::create_dir_all(side.join("d")).expect("mkdir");
            std::fs::write(side.join("d/f"), b"same").expect("write");
        }
        assert_same(&left, &right);
        std::fs::write(right.join("d/f"), b"sane").expect("write");
        let (left, right) = (Tree::of(&left).expect("left"), Tree::of(&right).expect("right"));
        assert_eq!(left.differences(&right, 10).len(), 1);
    }
}
