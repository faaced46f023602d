//! What lies where in a node's data directory.
//!
//! ```text
//! node.key    the keys, sealed (keyfile.rs)
//! volumes     the names of the volumes, sealed (volumes.rs)
//! own/        the store
//! run/        the control socket
//! ```

use std::path::{Path, PathBuf};

use super::durable::create_private_directory;
use crate::control::socket::SocketPlace;
use crate::errors::{Failure, Outcome};

/// A node's data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The directory at `path`, whether it is there or not.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes it where it is missing.
    pub(crate) fn create(&self) -> Outcome<()> {
        create_private_directory(&self.0)
            .map_err(|error| Failure::from(error).while_(format!("making the data directory {}", self.0.display())))
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The key file.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.0.join("node.key")
    }

    /// The list of volumes.
    pub(crate) fn volumes_file(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// The store.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("own")
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> SocketPlace {
        SocketPlace::of(&self.0)
    }
}
