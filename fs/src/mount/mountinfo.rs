//! The kernel's own list of mounts, read without touching any of them: a dead or stuck filesystem can't make it hang.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountEntry {
    /// Unique among the mounts that exist now.
    pub(super) id: u64,
    /// Minor device number; FUSE names its connection by it.
    pub(super) minor: u32,
    /// `major:minor` as sysfs spells it.
    pub(super) device: String,
    /// Where it is mounted.
    pub(super) path: PathBuf,
    /// Type, with its subtype.
    pub(super) kind: String,
    /// Source.
    pub(super) source: String,
}

impl MountEntry {
    pub(super) fn is_fuse(&self) -> bool {
        self.kind == "fuse" || self.kind == "fuseblk" || self.kind.starts_with("fuse.")
    }
}

/// The mounts of this process, in the order they were made.
#[derive(Debug)]
pub(super) struct MountTable(Vec<MountEntry>);

impl MountTable {
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read(MOUNTINFO)?))
    }

    fn parse(text: &[u8]) -> Self {
        Self(text.split(|&b| b == b'\n').filter_map(parse_line).collect())
    }

    /// What is seen at exactly this path: of mounts that lie over each other, the last.
    pub(super) fn top_at(&self, path: &Path) -> Option<&MountEntry> {
        self.0.iter().rev().find(|entry| entry.path == path)
    }
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, where the number of fields
/// before the lone dash varies. Lines that aren't of this form are skipped.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&b| b == b' ');
    let id = text(fields.next()?)?.parse().ok()?;
    let device = text(fields.nth(1)?)?.to_owned();
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let mut tail = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = text(tail.next()?)?.to_owned();
    let source = String::from_utf8_lossy(&unescape(tail.next()?)).into_owned();
    let minor = device.split_once(':')?.1.parse().ok()?;
    Some(MountEntry { id, minor, device, path, kind, source })
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

/// The kernel writes space, tab, newline and backslash as three octal digits after a backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(text)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        40 22 0:55 / /mnt/my\\040photos rw,nosuid,nodev,relatime shared:2 master:3 - fuse.cairn photos rw,user_id=0\n\
        41 40 0:56 / /mnt/my\\040photos rw - tmpfs tmpfs rw\n\
        not a line of the table\n";

    #[test]
    fn spaces_in_paths_and_optional_fields_are_understood() {
        let table = MountTable::parse(TABLE);
        let entry = &table.0[1];
        assert_eq!(entry.path, Path::new("/mnt/my photos"));
        assert_eq!((entry.kind.as_str(), entry.source.as_str()), ("fuse.cairn", "photos"));
        assert_eq!((entry.minor, entry.device.as_str()), (55, "0:55"));
        assert!(entry.is_fuse());
    }

    #[test]
    fn the_last_mount_at_a_path_is_the_one_that_is_seen() {
        let table = MountTable::parse(TABLE);
        assert_eq!(table.top_at(Path::new("/mnt/my photos")).unwrap().id, 41);
        assert_eq!(table.top_at(Path::new("/mnt")), None);
    }

    #[test]
    fn the_real_table_has_a_root() {
        assert!(MountTable::read().unwrap().top_at(Path::new("/")).is_some());
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape(b"a\\134b\\9\\"), b"a\\b\\9\\");
    }
}
