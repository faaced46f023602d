//! The names of the volumes that this node knows, sealed.
//!
//! A volume's keys follow from the master key and its name, so the names are all there is to remember. They are sealed
//! under a key of their own that follows from the master key: the list can be copied with the store.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cairn_block::{MasterKey, unwrap, wrap};
use zeroize::Zeroizing;

use super::durable::{Existing, write_private};
use crate::errors::{Failure, Kind, Outcome};

const PURPOSE: &str = "volume names";
const KEY_CONTEXT: &str = "cairn 2026-11 volume names key";
/// The first byte of the file.
const VERSION: u8 = 1;
/// What a list of 10,000 names has; a longer file is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The list, in memory and in its file.
pub(crate) struct VolumeNames {
    path: PathBuf,
    key: Zeroizing<[u8; 32]>,
    names: BTreeSet<String>,
}

impl VolumeNames {
    /// Reads the list; no file is an empty list.
    pub(crate) fn open(path: &Path, master: &MasterKey) -> Outcome<Self> {
        let key = Zeroizing::new(blake3::derive_key(KEY_CONTEXT, master.as_bytes()));
        let names = match std::fs::metadata(path).and_then(|metadata| {
            if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            std::fs::read(path)
        }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(Failure::from(error).while_(format!("reading {}", path.display()))),
            Ok(bytes) => {
                decode(&bytes, &key).map_err(|failure| failure.while_(format!("reading {}", path.display())))?
            }
        };
        Ok(Self { path: path.into(), key, names })
    }

    /// The names, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Adds a name and makes that durable.
    pub(crate) fn add(&mut self, name: &str) -> Outcome<()> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        let plain = Zeroizing::new(self.names.iter().map(String::as_str).collect::<Vec<_>>().join("\n"));
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&wrap(&self.key, PURPOSE, &[VERSION], plain.as_bytes()));
        write_private(&self.path, &bytes, Existing::Replace).map_err(|error| {
            self.names.remove(name);
            Failure::from(error).while_(format!("writing {}", self.path.display()))
        })
    }
}

/// The names in the bytes of a list.
pub(crate) fn decode(bytes: &[u8], key: &[u8; 32]) -> Outcome<BTreeSet<String>> {
    let damaged = || Failure::new(Kind::Damaged, "the list of volumes is damaged, or belongs to another key");
    match bytes.split_first() {
        Some((&VERSION, sealed)) => {
            let plain = unwrap(key, PURPOSE, &[VERSION], sealed).map_err(|_| {
                damaged()
                    .hint("move it away and mount each volume by its name once more; their contents are in the store")
            })?;
            let text = std::str::from_utf8(&plain).map_err(|_| damaged())?;
            Ok(text.split('\n').filter(|name| !name.is_empty()).map(str::to_owned).collect())
        }
        Some((&version, _)) if version > VERSION => Err(Failure::new(
            Kind::NewerVersion,
            format!("the list of volumes has version {version}; this release reads up to {VERSION}"),
        )),
        _ => Err(damaged()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> MasterKey {
        MasterKey::from_bytes([3; 32])
    }

    #[test]
    fn names_are_remembered_and_sealed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volumes");
        let mut names = VolumeNames::open(&path, &master()).expect("empty");
        names.add("photos").expect("added");
        names.add("main").expect("added");
        names.add("main").expect("twice is once");
        let again = VolumeNames::open(&path, &master()).expect("readable");
        assert_eq!(again.iter().collect::<Vec<_>>(), ["main", "photos"]);
        let bytes = std::fs::read(&path).expect("readable");
        assert!(!bytes.windows(6).any(|window| window == b"photos"));
    }

    #[test]
    fn a_list_of_another_key_or_with_a_changed_byte_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("volumes");
        VolumeNames::open(&path, &master()).expect("empty").add("photos").expect("added");
        let other = VolumeNames::open(&path, &MasterKey::from_bytes([4; 32])).err().expect("another key");
        assert_eq!(other.kind, Kind::Damaged);
        let mut bytes = std::fs::read(&path).expect("readable");
        bytes[0] = 9;
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(VolumeNames::open(&path, &master()).err().expect("newer").kind, Kind::NewerVersion);
    }
}
