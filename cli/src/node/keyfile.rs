//! `node.key`: the master key and the device key, sealed, in one small file that only its owner may read.
//!
//! ```json
//! {"cairn_node_key": 1, "lock": {"argon2id": {"memory_kib": 65536, "passes": 3, "lanes": 4, "salt": "…"}}, "sealed": "…"}
//! ```
//! Without a passphrase the lock is `{"open": {"key": "…"}}`: the key lies beside what it seals, so the file's mode is all
//! that guards it, and the seal still tells a damaged file from a good one. The version and the lock are authenticated
//! with the contents: nobody can weaken the parameters of a file without breaking it.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use cairn_block::{DeviceKey, MasterKey, unwrap, wrap};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::durable::{Existing, write_private};
use super::passphrase::Passphrase;
use crate::text::{from_hex, to_hex};

/// The newest version of the file that this release reads, and the one it writes.
const VERSION: u64 = 1;
/// What the wrapped bytes are for; part of what is authenticated.
const PURPOSE: &str = "node key";
/// RFC 9106's second recommended option: 64 MiB, 3 passes, 4 lanes.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 4;
/// A file that asks for more than these is hostile or broken, and must not take the machine down.
const ARGON2_MEMORY_KIB_MAX: u32 = 4 * 1024 * 1024;
const ARGON2_PASSES_MAX: u32 = 64;
const ARGON2_LANES_MAX: u32 = 64;
const SALT_BYTES: usize = 16;
/// A real file has some 400 bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Bits that let anybody but the owner in.
const OTHERS_MAY: u32 = 0o077;

/// What the file keeps.
pub(crate) struct NodeKeys {
    /// Everything of the node's volumes is derived from it; the 24 words are it.
    pub(crate) master: MasterKey,
    /// This node's own.
    pub(crate) device: DeviceKey,
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKeys(..)")
    }
}

/// Why the file can't be used.
#[derive(Debug, Error)]
pub(crate) enum KeyFileError {
    /// It can't be read.
    #[error("can't read the key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It can't be written.
    #[error("can't write the key file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others may read or change it.
    #[error("the key file {} is open to others (mode {mode:04o})", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user.
    #[error("the key file {} belongs to user {owner}", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// A newer release wrote it.
    #[error("the key file {} has version {found}; this release reads up to {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// It isn't a key file, or it is damaged.
    #[error("the key file {} is damaged: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What doesn't fit.
        reason: &'static str,
    },
    /// The passphrase doesn't open it. A damaged file reads the same: the two can't be told apart.
    #[error("the passphrase does not open {}", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// It has a passphrase, and there was none.
    #[error("the key file {} is locked with a passphrase", path.display())]
    NeedsPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// There is a key already.
    #[error("there is a key already: {}", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The key derivation failed: no memory.
    #[error("deriving a key from the passphrase: {source}")]
    Derivation {
        /// What it said.
        source: argon2::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson {
    cairn_node_key: u64,
    lock: LockJson,
    sealed: String,
}

/// Read first, so that a newer file is named as newer whatever else it holds.
#[derive(Deserialize)]
struct VersionJson {
    cairn_node_key: u64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LockJson {
    Open { key: String },
    Argon2id { memory_kib: u32, passes: u32, lanes: u32, salt: String },
}

impl Drop for LockJson {
    fn drop(&mut self) {
        if let Self::Open { key } = self {
            key.zeroize();
        }
    }
}

/// A key file that was read and not opened yet.
pub(crate) struct KeyFile {
    path: PathBuf,
    lock: LockJson,
    sealed: Vec<u8>,
}

impl KeyFile {
    /// Reads and checks everything but the seal. `None` where there is no file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, KeyFileError> {
        let text = match read_private(path) {
            Err(KeyFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        Self::parse(path, &text).map(Some)
    }

    /// What the bytes of a file say. `path` is for the messages.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self, KeyFileError> {
        let malformed = |reason| KeyFileError::Malformed { path: path.into(), reason };
        let version: VersionJson = serde_json::from_slice(text).map_err(|_| malformed("it is not a key file"))?;
        if version.cairn_node_key > VERSION {
            return Err(KeyFileError::Newer { path: path.into(), found: version.cairn_node_key });
        }
        let file: FileJson = serde_json::from_slice(text).map_err(|_| malformed("a field is missing or wrong"))?;
        if file.cairn_node_key != VERSION {
            return Err(malformed("there is no such version"));
        }
        let sealed = from_hex(&file.sealed).ok_or_else(|| malformed("`sealed` is not hexadecimal"))?;
        Ok(Self { path: path.into(), lock: file.lock, sealed })
    }

    /// Whether a passphrase is needed.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.lock, LockJson::Argon2id { .. })
    }

    /// Opens the seal. A passphrase for an open file is ignored: it may come from a setting that outlived it.
    pub(crate) fn unlock(&self, passphrase: Option<&Passphrase>) -> Result<NodeKeys, KeyFileError> {
        let path = || self.path.clone();
        if self.is_locked() && passphrase.is_none() {
            return Err(KeyFileError::NeedsPassphrase { path: path() });
        }
        let key = self.lock.key(passphrase, &self.path)?;
        let opened = unwrap(&key, PURPOSE, &self.lock.authenticated(), &self.sealed).map_err(|_| {
            if self.is_locked() {
                KeyFileError::WrongPassphrase { path: path() }
            } else {
                KeyFileError::Malformed { path: path(), reason: "its seal is broken" }
            }
        })?;
        NodeKeys::from_plain(&opened)
            .ok_or_else(|| KeyFileError::Malformed { path: path(), reason: "it holds something else" })
    }

    /// Writes a file for these keys, under a passphrase or open.
    pub(crate) fn write(
        path: &Path,
        keys: &NodeKeys,
        passphrase: Option<&Passphrase>,
        existing: Existing,
    ) -> Result<(), KeyFileError> {
        let lock = LockJson::fresh(passphrase.is_some());
        let key = lock.key(passphrase, path)?;
        let sealed = wrap(&key, PURPOSE, &lock.authenticated(), &keys.to_plain());
        let file = FileJson { cairn_node_key: VERSION, lock, sealed: to_hex(&sealed) };
        let mut text = Zeroizing::new(serde_json::to_vec(&file).expect("texts and numbers serialise"));
        text.push(b'\n');
        write_private(path, &text, existing).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.into() },
            _ => KeyFileError::Write { path: path.into(), source },
        })
    }
}

impl LockJson {
    fn fresh(with_passphrase: bool) -> Self {
        if with_passphrase {
            Self::Argon2id {
                memory_kib: ARGON2_MEMORY_KIB,
                passes: ARGON2_PASSES,
                lanes: ARGON2_LANES,
                salt: to_hex(&random::<SALT_BYTES>()),
            }
        } else {
            Self::Open { key: to_hex(&*Zeroizing::new(random::<32>())) }
        }
    }

    /// The bytes that the seal authenticates beside its contents: the version and the whole lock.
    fn authenticated(&self) -> Vec<u8> {
        match self {
            Self::Open { .. } => format!("{VERSION} open"),
            Self::Argon2id { memory_kib, passes, lanes, salt } => {
                format!("{VERSION} argon2id {memory_kib} {passes} {lanes} {salt}")
            }
        }
        .into_bytes()
    }

    /// The key that the seal was made with.
    fn key(&self, passphrase: Option<&Passphrase>, path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
        let malformed = |reason| KeyFileError::Malformed { path: path.into(), reason };
        match self {
            Self::Open { key } => {
                let bytes = Zeroizing::new(from_hex(key).ok_or_else(|| malformed("`key` is not hexadecimal"))?);
                let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed("`key` is not 32 bytes"))?;
                Ok(Zeroizing::new(bytes))
            }
            Self::Argon2id { memory_kib, passes, lanes, salt } => {
                let passphrase = passphrase.ok_or_else(|| KeyFileError::NeedsPassphrase { path: path.into() })?;
                let bounded =
                    *memory_kib <= ARGON2_MEMORY_KIB_MAX && *passes <= ARGON2_PASSES_MAX && *lanes <= ARGON2_LANES_MAX;
                let salt = from_hex(salt).filter(|_| bounded).ok_or_else(|| malformed("its lock is out of bounds"))?;
                let parameters = Params::new(*memory_kib, *passes, *lanes, Some(32))
                    .map_err(|_| malformed("its lock is out of bounds"))?;
                let mut key = Zeroizing::new([0; 32]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
                    .hash_password_into(passphrase.as_bytes(), &salt, &mut *key)
                    .map_err(|source| KeyFileError::Derivation { source })?;
                Ok(key)
            }
        }
    }
}

impl NodeKeys {
    /// Keys for a new node.
    pub(crate) fn generate() -> Self {
        Self { master: MasterKey::generate(), device: DeviceKey::generate() }
    }

    fn to_plain(&self) -> Zeroizing<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(64));
        plain.extend_from_slice(self.master.as_bytes());
        plain.extend_from_slice(self.device.as_bytes());
        plain
    }

    fn from_plain(plain: &[u8]) -> Option<Self> {
        let (master, device) = plain.split_at_checked(32)?;
        let device: Zeroizing<[u8; 32]> = Zeroizing::new(device.try_into().ok()?);
        Some(Self { master: MasterKey::from_bytes(master.try_into().ok()?), device: DeviceKey::from_bytes(&device) })
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// The bytes of a file that is ours and nobody else's. It is checked after it was opened, so that what is checked is
/// what is read.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.into(), source };
    // A pipe without a writer must not make the node wait; a link may lead to a key on another disk.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata: fs::Metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyFileError::Malformed { path: path.into(), reason: "it is not a plain file" });
    }
    let us = rustix::process::geteuid();
    if metadata.uid() != us.as_raw() && !us.is_root() {
        return Err(KeyFileError::NotOurs { path: path.into(), owner: metadata.uid() });
    }
    if metadata.mode() & OTHERS_MAY != 0 {
        return Err(KeyFileError::OpenToOthers { path: path.into(), mode: metadata.mode() & 0o7777 });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.as_bytes().to_vec()).expect("not empty")
    }

    fn written(passphrase: Option<&Passphrase>) -> (tempfile::TempDir, PathBuf, NodeKeys) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("node.key");
        let keys = NodeKeys::generate();
        KeyFile::write(&path, &keys, passphrase, Existing::Keep).expect("written");
        (directory, path, keys)
    }

    fn read(path: &Path) -> KeyFile {
        KeyFile::read(path).expect("readable").expect("there")
    }

    #[test]
    fn an_open_key_opens_and_is_private() {
        let (_directory, path, keys) = written(None);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let file = read(&path);
        assert!(!file.is_locked());
        assert_eq!(file.unlock(None).expect("open").master.as_bytes(), keys.master.as_bytes());
    }

    #[test]
    fn a_locked_key_needs_its_passphrase() {
        let right = passphrase("correct horse");
        let (_directory, path, keys) = written(Some(&right));
        let file = read(&path);
        assert!(file.is_locked());
        assert!(matches!(file.unlock(None), Err(KeyFileError::NeedsPassphrase { .. })));
        assert!(matches!(file.unlock(Some(&passphrase("wrong"))), Err(KeyFileError::WrongPassphrase { .. })));
        assert_eq!(file.unlock(Some(&right)).expect("right").device.id(), keys.device.id());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_directory, path, _) = written(None);
        for mode in [0o640, 0o604, 0o620, 0o700 | 0o001] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            assert!(matches!(KeyFile::read(&path), Err(KeyFileError::OpenToOthers { .. })), "{mode:o}");
        }
    }

    #[test]
    fn any_changed_byte_of_the_file_is_noticed() {
        let (_directory, path, _) = written(None);
        let good = fs::read(&path).expect("readable");
        for index in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[index] ^= 1;
            write_private(&path, &bad, Existing::Replace).expect("written");
            let opened = KeyFile::read(&path).map(|file| file.expect("there").unlock(None));
            assert!(!matches!(opened, Ok(Ok(_))), "byte {index} ({:?})", char::from(good[index]));
        }
    }

    #[test]
    fn a_newer_version_is_named_and_left_alone() {
        let (_directory, path, _) = written(None);
        write_private(&path, br#"{"cairn_node_key": 9, "anything": []}"#, Existing::Replace).expect("written");
        assert!(matches!(KeyFile::read(&path), Err(KeyFileError::Newer { found: 9, .. })));
    }

    #[test]
    fn a_hostile_lock_is_refused_before_memory_is_asked_for() {
        let (_directory, path, _) = written(None);
        let text = r#"{"cairn_node_key":1,"lock":{"argon2id":{"memory_kib":4294967295,"passes":1,"lanes":1,"salt":"00000000000000000000000000000000"}},"sealed":"00"}"#;
        write_private(&path, text.as_bytes(), Existing::Replace).expect("written");
        assert!(matches!(read(&path).unlock(Some(&passphrase("x"))), Err(KeyFileError::Malformed { .. })));
    }

    #[test]
    fn there_is_no_file_and_that_is_no_error() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(KeyFile::read(&directory.path().join("node.key")).expect("no error").is_none());
    }
}
