//! A data directory that an earlier state of the project wrote, and what it holds.
//!
//! `fuse-tests/fixtures/<name>.tar` is the directory, without what is made again at every start; `<name>.txt` is what its
//! mount shows, line by line. The program `fixture` writes both; the test module `compat` opens them.

use std::path::{Path, PathBuf};

use crate::command;

/// Every fixture, oldest first. A release adds one and never changes another.
pub const NAMES: [&str; 1] = ["2026-11"];

/// The passphrase that locks the second key file of each.
pub const PASSPHRASE: &str = "a passphrase that is no secret";

/// One line for each name below a directory: all that a program can see of it, contents by their digest. `.snapshots` is
/// left out at the root, and shown by itself.
const LISTING: &str = r#"
import hashlib, os, stat, sys
def digest(path, size):
    h, at = hashlib.sha256(), 0
    with open(path, "rb") as f:
        while at < size:
            try: start = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError: break
            end = os.lseek(f.fileno(), start, os.SEEK_HOLE)
            h.update(b"%d %d " % (start, end)); f.seek(start); h.update(f.read(end - start)); at = end
    return h.hexdigest()[:32]
def line(path, shown):
    s = os.lstat(path); kind = stat.S_IFMT(s.st_mode)
    said = [repr(shown), oct(s.st_mode), s.st_uid, s.st_gid, s.st_ino, s.st_mtime_ns, s.st_rdev]
    if kind != stat.S_IFDIR: said += [s.st_size, s.st_nlink]
    if kind == stat.S_IFREG: said.append(digest(path, s.st_size))
    if kind == stat.S_IFLNK: said.append(repr(os.readlink(path)))
    said += ["%s=%s" % (n, os.getxattr(path, n, follow_symlinks=False).hex()[:200]) for n in sorted(os.listxattr(path, follow_symlinks=False))]
    print(*said)
root = os.fsencode(sys.argv[1])
for folder, folders, files in os.walk(root):
    if folder == root and b".snapshots" in folders: folders.remove(b".snapshots")
    folders.sort()
    for name in sorted(folders + files):
        path = os.path.join(folder, name)
        line(path, path[len(root):])
"#;

/// What is seen below a directory.
#[track_caller]
pub fn listing(root: &Path) -> String {
    let mut python = command::command(Path::new("/"), "python3");
    command::succeed(python.args(["-c", LISTING]).arg(root))
}

/// Where fixtures are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}
