//! Symmetric keys: each its own type, each derived with a context of its own.
//!
//! ```text
//! master ── volume name ──> write ──> read ──> keep ──> locate
//!                             │         │       └──> packs
//!                             │         └──> convergence, dedup, names, heads
//!                             └──> signing (Ed25519) ──> volume public key ──> volume id
//! ```
//! Each arrow is one way: whoever holds a key can compute what it points to and nothing it comes from.

use std::fmt;

use ed25519_dalek::SigningKey;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::device::{DeviceCert, Rights};
use crate::id::{DeviceId, VolumeId};

/// The contexts of `BLAKE3.derive_key`; FORMAT.md has the same table.
mod context {
    pub(super) const WRITE: &str = "cairn 2026-11 volume write key";
    pub(super) const READ: &str = "cairn 2026-11 volume read key";
    pub(super) const KEEP: &str = "cairn 2026-11 volume keep key";
    pub(super) const LOCATE: &str = "cairn 2026-11 volume locate key";
    pub(super) const PLACEMENT: &str = "cairn 2026-11 placement key";
    pub(super) const SIGNING: &str = "cairn 2026-11 volume signing seed";
    pub(super) const VOLUME_ID: &str = "cairn 2026-11 volume id";
    pub(super) const CONVERGENCE: &str = "cairn 2026-11 convergence key";
    pub(super) const DEDUP: &str = "cairn 2026-11 dedup key";
    pub(super) const NAMES: &str = "cairn 2026-11 name key";
    pub(super) const HEADS: &str = "cairn 2026-11 head key";
    pub(super) const PACKS: &str = "cairn 2026-11 pack key";
}

/// What every 32-byte secret has: wiped on drop, silent in debug output, compared in constant time.
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The key with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                $name(bytes)
            }

            /// The bytes. Handle them as what they are.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}
    };
}

secret! {
    /// The root of everything one person owns; 24 words write it down.
    MasterKey
}

secret! {
    /// Lets its holder sign for a volume: certify devices, and derive all that follows.
    WriteKey
}

secret! {
    /// Lets its holder open the trees of a volume.
    ReadKey
}

secret! {
    /// Lets its holder verify, repair and collect the packs of a volume without opening a tree.
    KeepKey
}

secret! {
    /// Lets its holder compute where the packs of a volume are.
    LocateKey
}

secret! {
    /// Ranks the nodes of a circle for each group of packs; outsiders can't.
    PlacementKey
}

secret! {
    /// Turns a chunk into its block key. Whoever holds it can test a guess of a chunk's contents.
    ConvergenceKey
}

secret! {
    /// Finds chunks that are known already: keys the index of dedup hints and seals its values.
    DedupKey
}

secret! {
    /// Sorts the names of directories: a holder can't guess names from the order or the shape of a tree.
    NameKey
}

secret! {
    /// Seals what of a head is for readers only.
    HeadKey
}

secret! {
    /// Seals what says where in a pack its blocks lie.
    PackKey
}

secret! {
    /// The key of one block; part of every ref to it.
    BlockKey
}

/// Refs are copied between nodes, so their keys are too.
impl Clone for BlockKey {
    fn clone(&self) -> Self {
        BlockKey(self.0)
    }
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Self {
        MasterKey(random())
    }
}

impl NameKey {
    /// The keyed hash of a name.
    pub fn hash(&self, name: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, name).as_bytes()
    }
}

impl WriteKey {
    fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(&derive(context::SIGNING, &self.0))
    }

    /// The key that opens what this one signs for.
    pub fn read(&self) -> ReadKey {
        ReadKey(derive(context::READ, &self.0))
    }
}

impl ReadKey {
    /// The key for those who repair and collect.
    pub fn keep(&self) -> KeepKey {
        KeepKey(derive(context::KEEP, &self.0))
    }

    pub(crate) fn heads(&self) -> HeadKey {
        HeadKey(derive(context::HEADS, &self.0))
    }
}

impl KeepKey {
    /// The key for those who only look for holders.
    pub fn locate(&self) -> LocateKey {
        LocateKey(derive(context::LOCATE, &self.0))
    }

    pub(crate) fn packs(&self) -> PackKey {
        PackKey(derive(context::PACKS, &self.0))
    }
}

impl LocateKey {
    /// The key that placement is computed with.
    pub fn placement(&self) -> PlacementKey {
        PlacementKey(derive(context::PLACEMENT, &self.0))
    }
}

/// Every key of one volume, derived once.
pub struct VolumeKeys {
    volume: VolumeId,
    write: WriteKey,
    read: ReadKey,
    keep: KeepKey,
    signing: SigningKey,
    convergence: ConvergenceKey,
    dedup: DedupKey,
    names: NameKey,
}

impl VolumeKeys {
    /// The keys of the volume that `master` owns under `volume_name`.
    pub fn derive(master: &MasterKey, volume_name: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context::WRITE);
        hasher.update(&master.0).update(volume_name);
        let write = WriteKey(*hasher.finalize().as_bytes());
        hasher.zeroize();
        Self::from_write(write)
    }

    /// The keys that follow from a write key.
    pub fn from_write(write: WriteKey) -> Self {
        let signing = write.signing();
        let read = write.read();
        VolumeKeys {
            volume: volume_id(&signing.verifying_key().to_bytes()),
            keep: read.keep(),
            convergence: ConvergenceKey(derive(context::CONVERGENCE, &read.0)),
            dedup: DedupKey(derive(context::DEDUP, &read.0)),
            names: NameKey(derive(context::NAMES, &read.0)),
            write,
            read,
            signing,
        }
    }

    /// The volume's id.
    pub const fn volume(&self) -> VolumeId {
        self.volume
    }

    /// The public half of [`VolumeKeys::signing`]: verifies certificates, and thereby heads.
    pub fn volume_public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The key all others follow from.
    pub const fn write(&self) -> &WriteKey {
        &self.write
    }

    /// Opens trees.
    pub const fn read(&self) -> &ReadKey {
        &self.read
    }

    /// Verifies, repairs, collects.
    pub const fn keep(&self) -> &KeepKey {
        &self.keep
    }

    /// Signs certificates.
    pub const fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Turns chunks into block keys.
    pub const fn convergence(&self) -> &ConvergenceKey {
        &self.convergence
    }

    /// Finds known chunks.
    pub const fn dedup(&self) -> &DedupKey {
        &self.dedup
    }

    /// Sorts names.
    pub const fn names(&self) -> &NameKey {
        &self.names
    }

    /// Lets `device` sign heads of this volume, within `rights`.
    pub fn certify(&self, device: DeviceId, rights: Rights) -> DeviceCert {
        DeviceCert::sign(&self.signing, device, rights)
    }
}

impl fmt::Debug for VolumeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VolumeKeys({}, ..)", self.volume.short())
    }
}

/// The id of the volume with this public key: it names the key, so a reader can't be given another one.
pub fn volume_id(volume_public: &[u8; 32]) -> VolumeId {
    let hash = derive(context::VOLUME_ID, volume_public);
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    VolumeId::from_bytes(id)
}

fn derive(context: &str, material: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(context, material)
}

/// Random bytes of the kernel.
///
/// Panics when it has none: every key and nonce made without them could be guessed, so going on is worse.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> VolumeKeys {
        VolumeKeys::derive(&MasterKey::from_bytes([1; 32]), b"home")
    }

    #[test]
    fn the_same_words_and_name_give_the_same_keys() {
        assert_eq!(keys().read(), keys().read());
        assert_eq!(keys().volume(), keys().volume());
        assert_eq!(keys().volume_public(), keys().volume_public());
    }

    #[test]
    fn another_name_or_master_gives_other_keys() {
        let other_name = VolumeKeys::derive(&MasterKey::from_bytes([1; 32]), b"work");
        let other_master = VolumeKeys::derive(&MasterKey::from_bytes([2; 32]), b"home");
        assert_ne!(keys().write(), other_name.write());
        assert_ne!(keys().write(), other_master.write());
        assert_ne!(keys().volume(), other_name.volume());
    }

    #[test]
    fn no_two_keys_of_a_volume_are_equal() {
        let keys = keys();
        let (locate, packs) = (keys.keep().locate(), keys.keep().packs());
        let all = [
            keys.write().as_bytes(),
            keys.read().as_bytes(),
            keys.keep().as_bytes(),
            locate.as_bytes(),
            packs.as_bytes(),
            keys.signing().as_bytes(),
            keys.convergence().as_bytes(),
            keys.dedup().as_bytes(),
            keys.names().as_bytes(),
        ];
        for (n, key) in all.iter().enumerate() {
            assert!(!all[..n].contains(key));
        }
    }

    #[test]
    fn a_reader_derives_what_readers_need() {
        let keys = keys();
        let read = ReadKey::from_bytes(*keys.read().as_bytes());
        assert_eq!(&read.keep(), keys.keep());
        assert_eq!(&keys.write().read(), keys.read());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        assert_eq!(format!("{:?}", MasterKey::generate()), "MasterKey(..)");
        assert_eq!(format!("{:?}", keys()), format!("VolumeKeys({}, ..)", keys().volume().short()));
    }

    #[test]
    fn generated_keys_differ() {
        assert_ne!(MasterKey::generate(), MasterKey::generate());
    }
}
