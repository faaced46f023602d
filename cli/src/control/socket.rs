//! Where the socket is, and how it is made private.
//!
//! A socket's path is limited to 107 bytes, a data directory's is not: both ends reach it through an open descriptor of
//! its directory (`/proc/self/fd/N/control.sock`), which is always short.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

const SOCKET_NAME: &str = "control.sock";

/// Why the node can't listen.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    /// The directory can't be made.
    #[error("can't prepare the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others may enter the directory.
    #[error("the socket's directory {} is open to others (mode {mode:04o})", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The socket can't be made.
    #[error("can't listen on {}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The socket's place for a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketPlace {
    directory: PathBuf,
}

/// A short path to the socket that holds as long as this does.
struct ShortPath {
    _directory: OwnedFd,
    path: PathBuf,
}

impl SocketPlace {
    /// The place for the node of this data directory.
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self { directory: data_dir.join("run") }
    }

    /// For people; it may be too long to connect to by itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(SOCKET_NAME)
    }

    /// Listens. A socket that is there already was left by a node that died: the caller holds the store's lock, and a
    /// node that lives holds it as well.
    pub(crate) fn listen(&self) -> Result<tokio::net::UnixListener, SocketError> {
        self.make_directory()?;
        let failed = |source| SocketError::Bind { path: self.path(), source };
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let short = self.short().map_err(failed)?;
        tokio::net::UnixListener::bind(&short.path).map_err(failed)
    }

    /// Connects to whoever listens; `None` where nobody does.
    pub(crate) async fn connect(&self) -> io::Result<Option<tokio::net::UnixStream>> {
        let connected = match self.short() {
            Ok(short) => tokio::net::UnixStream::connect(&short.path).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Takes the socket away at the end.
    pub(crate) fn remove(&self) {
        // A socket that stays is replaced by the next node.
        let _ = fs::remove_file(self.path());
    }

    fn make_directory(&self) -> Result<(), SocketError> {
        let failed = |source| SocketError::Directory { path: self.directory.clone(), source };
        match fs::DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let metadata = fs::symlink_metadata(&self.directory).map_err(failed)?;
        if !metadata.is_dir() || metadata.mode() & 0o077 != 0 {
            return Err(SocketError::NotPrivate { path: self.directory.clone(), mode: metadata.mode() & 0o7777 });
        }
        Ok(())
    }

    fn short(&self) -> io::Result<ShortPath> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()));
        Ok(ShortPath { _directory: directory, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn a_data_directory_of_any_length_has_a_socket_and_a_stale_one_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("x".repeat(120));
        fs::create_dir(&deep).expect("made");
        let place = SocketPlace::of(&deep);
        runtime().block_on(async {
            assert!(place.connect().await.expect("nobody is no error").is_none());
            drop(place.listen().expect("listens"));
            assert!(place.connect().await.expect("a stale socket is no error").is_none());
            let _listener = place.listen().expect("listens again");
            assert!(place.connect().await.expect("connects").is_some());
        });
        let mode = fs::metadata(deep.join("run")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let run = directory.path().join("run");
        fs::create_dir(&run).expect("made");
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("set");
        runtime().block_on(async {
            let refused = SocketPlace::of(directory.path()).listen();
            assert!(matches!(refused, Err(SocketError::NotPrivate { mode: 0o755, .. })));
        });
    }
}
