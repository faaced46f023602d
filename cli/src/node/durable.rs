//! Small private files that are replaced whole: a crash leaves the old one or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What happens to a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and the write fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// Writes a file that only its owner may read: temporary file, sync, rename, sync of the directory. Who writes into the
/// same directory meanwhile waits: two at once would rename each other's temporary file.
pub(crate) fn write_private(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(parent)?;
    // Held until the directory is closed.
    directory.lock()?;
    let temporary = temporary_beside(path);
    // One left by a crash is ours to replace.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_and_sync(&temporary, bytes).and_then(|()| {
        let flags = match existing {
            Existing::Replace => RenameFlags::empty(),
            Existing::Keep => RenameFlags::NOREPLACE,
        };
        Ok(renameat_with(CWD, &temporary, CWD, path, flags)?)
    });
    if written.is_err() {
        // What failed is the news; a temporary file that stays is removed by the next write.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    directory.sync_all()
}

/// A directory, with those above it, that only its owner may enter.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_is_private_whole_and_not_replaced_by_accident() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a");
        write_private(&path, b"one", Existing::Keep).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let again = write_private(&path, b"two", Existing::Keep).expect_err("kept");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("readable"), b"one");
        write_private(&path, b"two", Existing::Replace).expect("replaced");
        assert_eq!(fs::read(&path).expect("readable"), b"two");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn of_many_who_write_a_new_file_one_does_and_knows_it() {
        let directory = tempfile::tempdir().expect("a directory");
        for round in 0..50 {
            let path = directory.path().join(round.to_string());
            let write = |writer: u8| write_private(&path, &[writer; 4096], Existing::Keep);
            let outcomes = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
                writers.into_iter().map(|writer| writer.join().expect("it ends")).collect::<Vec<_>>()
            });
            let kept = fs::read(&path).expect("readable");
            for (writer, outcome) in (0..).zip(outcomes) {
                match outcome {
                    Ok(()) => assert_eq!(kept, [writer; 4096], "who was told that it is written finds its own"),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::AlreadyExists),
                }
            }
        }
    }
}
