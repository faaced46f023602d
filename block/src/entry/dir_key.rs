//! Names as keys of a directory tree.

use bytes::Bytes;

use super::EntryError;
use crate::keys::NameKey;
use crate::limits::NAME_BYTES_MAX;

/// The key of an entry: a keyed 56-bit hash of the name, big-endian, then the name.
///
/// The order is that of the bytes: uniform whatever the names are, and the hash is a readdir position that stays
/// valid while entries come and go. Names whose hashes collide are told apart, and sorted, by the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirKey(Bytes);

impl DirKey {
    /// Bytes of the hash.
    pub const HASH_BYTES: usize = 7;

    /// The key of a name.
    pub fn new(key: &NameKey, name: &[u8]) -> Result<DirKey, EntryError> {
        check_name(name)?;
        let mut encoded = Vec::with_capacity(Self::HASH_BYTES + name.len());
        encoded.extend_from_slice(&hash(key, name));
        encoded.extend_from_slice(name);
        Ok(DirKey(encoded.into()))
    }

    /// Reads a key from a tree and checks its name. The hash is taken as it is: see [`verify`](Self::verify).
    pub fn from_encoded(encoded: Bytes) -> Result<DirKey, EntryError> {
        check_name(encoded.get(Self::HASH_BYTES..).unwrap_or_default())?;
        Ok(DirKey(encoded))
    }

    /// Checks that the hash is that of the name.
    pub fn verify(&self, key: &NameKey) -> Result<(), EntryError> {
        if self.encoded()[..Self::HASH_BYTES] != hash(key, self.name()) {
            return Err(EntryError::KeyHash);
        }
        Ok(())
    }

    /// The smallest key that can have this hash or a greater one: where reading on from a readdir position starts.
    pub fn first_with_hash(hash56: u64) -> [u8; Self::HASH_BYTES] {
        let [_, hash @ ..] = hash56.to_be_bytes();
        hash
    }

    /// The hash, below 2⁵⁶.
    pub fn hash56(&self) -> u64 {
        self.0[..Self::HASH_BYTES].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.0[Self::HASH_BYTES..]
    }

    /// The name, sharing memory with the key.
    pub fn name_bytes(&self) -> Bytes {
        self.0.slice(Self::HASH_BYTES..)
    }

    /// The key as a tree holds it.
    pub fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// The key as a tree holds it.
    pub fn into_encoded(self) -> Bytes {
        self.0
    }
}

impl AsRef<[u8]> for DirKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn hash(key: &NameKey, name: &[u8]) -> [u8; DirKey::HASH_BYTES] {
    let mut hash = [0; DirKey::HASH_BYTES];
    hash.copy_from_slice(&key.hash(name)[..DirKey::HASH_BYTES]);
    hash
}

/// Refuses what can't be the name of a directory entry. Any other bytes can: names need not be UTF-8.
pub fn check_name(name: &[u8]) -> Result<(), EntryError> {
    let refuse = |reason| Err(EntryError::Name { len: name.len(), reason });
    match name {
        [] => refuse("is empty"),
        b"." | b".." => refuse("is . or .."),
        _ if name.len() > NAME_BYTES_MAX => refuse("is too long"),
        _ if name.contains(&b'/') || name.contains(&0) => refuse("has a slash or a NUL"),
        _ => Ok(()),
    }
}
