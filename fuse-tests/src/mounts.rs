//! The kernel's list of mounts, and getting rid of one: always possible, even under a dead or stuck node.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One line of the kernel's mount table.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// `fuse.cairn`, `ext4`, …
    pub kind: String,
    /// The name that the filesystem gave as its source.
    pub source: String,
    /// The minor number of its device: the name of the FUSE connection.
    pub minor: u32,
}

/// All mounts, oldest first.
pub fn all() -> Vec<Mount> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(parse).collect()
}

/// The topmost mount on exactly `path`.
pub fn at(path: &Path) -> Option<Mount> {
    all().into_iter().rev().find(|mount| mount.path == path)
}

/// The mounts on `path` and below it, topmost first.
pub fn below(path: &Path) -> Vec<Mount> {
    all().into_iter().rev().filter(|mount| mount.path.starts_with(path)).collect()
}

/// Takes a mount away: first its connection, so that nobody waits in it for ever, then its place in the tree.
pub fn remove(mount: &Mount) {
    if mount.kind.starts_with("fuse") {
        let _ = std::fs::write(format!("/sys/fs/fuse/connections/{}/abort", mount.minor), "1");
    }
    if rustix::mount::unmount(&mount.path, rustix::mount::UnmountFlags::DETACH).is_err() {
        let _ = Command::new("fusermount3").arg("-uz").arg(&mount.path).output();
    }
}

fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let minor = left.nth(2)?.split_once(':')?.1.parse().ok()?;
    let path = PathBuf::from(unescape(left.nth(1)?));
    let mut right = right.split(' ');
    let kind = right.next()?.to_owned();
    Some(Mount { path, kind, source: unescape(right.next()?), minor })
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => plain.push_str(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_escapes_is_read() {
        let line = "98 27 0:46 / /tmp/a\\040b rw,nosuid shared:5 - fuse.cairn my\\040volume rw,user_id=0";
        let mount = parse(line).expect("a mount");
        assert_eq!(mount.path, Path::new("/tmp/a b"));
        assert_eq!((mount.kind.as_str(), mount.source.as_str(), mount.minor), ("fuse.cairn", "my volume", 46));
    }
}
