//! What lies where in a node's data directory.
//!
//! ```text
//! node.key    the keys, sealed (keyfile.rs)
//! volumes     the names of the volumes, sealed (volumes.rs)
//! own/        the store
//! run/        the control socket
//! ```

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::durable::create_private_directory;
use crate::control::socket::SocketPlace;
use crate::errors::{Failure, Kind, Outcome};
use crate::text::shell_quoted;

/// Bits that let anybody but the owner change what is in a directory.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// A node's data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The directory at `path`, whether it is there or not.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes it where it is missing. One that others may change is refused: they could exchange the key and the store in it.
    pub(crate) fn create(&self) -> Outcome<()> {
        let shown = self.0.display();
        create_private_directory(&self.0)
            .map_err(|error| Failure::from(error).while_(format!("making the data directory {shown}")))?;
        let metadata = std::fs::metadata(&self.0)
            .map_err(|error| Failure::from(error).while_(format!("looking at the data directory {shown}")))?;
        let us = rustix::process::geteuid();
        if metadata.uid() != us.as_raw() && !us.is_root() {
            let message = format!("the data directory {shown} belongs to user {}", metadata.uid());
            return Err(Failure::new(Kind::Denied, message).hint("use one of your own: --data-dir DIR"));
        }
        if metadata.mode() & OTHERS_MAY_WRITE != 0 {
            let message =
                format!("others may change the data directory {shown} (mode {:04o})", metadata.mode() & 0o7777);
            return Err(Failure::new(Kind::Denied, message).hint(format!("chmod 700 {}", shell_quoted(&self.0))));
        }
        Ok(())
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

    /// What is known of the circle.
    pub(crate) fn circle_file(&self) -> PathBuf {
        self.0.join("circle")
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> SocketPlace {
        SocketPlace::of(&self.0)
    }
}
