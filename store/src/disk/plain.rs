//! Files that are the store's own: plain ones, under no other name.
//!
//! A store directory may have been in other hands: a disk that comes back, a backup that is unpacked. A link in it must not
//! lead the node to write, cut or make anything elsewhere, and a pipe must not make it wait. So no file of the store is
//! reached through a symbolic link, and one with a second name, which may lie anywhere, is read but not written.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Neither follows a link nor waits for the other end of a pipe.
const CAREFUL: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Opens a plain file for reading.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    checked(OpenOptions::new().read(true), path)
}

/// Opens a plain file with no other name for writing.
pub(crate) fn open_writable(path: &Path) -> io::Result<File> {
    let file = checked(OpenOptions::new().read(true).write(true), path)?;
    if is_shared(&file.metadata()?) { Err(not_ours()) } else { Ok(file) }
}

/// The same; makes it where it is missing, and anew where something else has its name.
pub(crate) fn open_or_replace(path: &Path) -> io::Result<File> {
    match open_writable(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if is_in_the_way(path) => {
            tracing::warn!(path = %path.display(), %error, "what lies here is no file of the store: it is replaced");
            remove(path)?;
        }
        opened => return opened,
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a plain file that is only held, never written: under whatever other names. Makes it where it is missing, and anew
/// where something else has its name.
pub(crate) fn open_to_hold(path: &Path) -> io::Result<File> {
    match open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => open_or_replace(path),
        Err(_) if std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) => open_or_replace(path),
        opened => opened,
    }
}

/// Up to `max` bytes of a plain file.
pub(crate) fn read(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes whatever has this name; never what a link leads to.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        _ => std::fs::remove_file(path),
    }
}

/// Whether a directory is one, and holds nothing but plain files under no other name.
pub(crate) fn is_plain_directory(path: &Path) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.is_dir() {
        return Ok(false);
    }
    for entry in std::fs::read_dir(path)? {
        // A file that goes in between is none.
        let Ok(metadata) = entry?.metadata() else { continue };
        if !metadata.is_file() || is_shared(&metadata) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file is still what its name leads to.
pub(crate) fn is_named(file: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let (held, named) = (file.metadata().map(identity), std::fs::symlink_metadata(path).map(identity));
    held.is_ok_and(|held| named.is_ok_and(|named| held == named))
}

fn checked(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(CAREFUL.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_ours()) }
}

fn is_shared(metadata: &Metadata) -> bool {
    metadata.nlink() > 1
}

/// Something is there that the store would not have made.
fn is_in_the_way(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file() || is_shared(&metadata))
}

fn not_ours() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "it is not a plain file of the store's own")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode};

    #[test]
    fn links_and_pipes_are_neither_read_nor_written_and_are_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let (outside, path) = (dir.path().join("outside"), dir.path().join("path"));
        std::fs::write(&outside, b"precious").expect("written");
        let pipe = || Ok(rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from(0o600), 0)?);
        let plant: [(&str, &dyn Fn() -> io::Result<()>); 4] = [
            ("a link", &|| symlink(&outside, &path)),
            ("a second name", &|| std::fs::hard_link(&outside, &path)),
            ("a pipe", &pipe),
            ("a directory", &|| std::fs::create_dir(&path)),
        ];
        for (what, plant) in plant {
            plant().expect(what);
            assert!(open_writable(&path).is_err(), "{what}");
            assert_eq!(read(&path, 100).is_ok(), what == "a second name");
            open_or_replace(&path).expect(what).set_len(0).expect(what);
            assert_eq!(std::fs::read(&outside).expect("there"), b"precious", "{what}");
            remove(&path).expect(what);
        }
    }
}
