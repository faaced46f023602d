//! Symmetric keys: each its own type, each derived with a context of its own.
//!
//! ```text
//! master (24 words) ─ volume name ─> write ──> read ──> keep ──> locate
//!                                      │         ├──> convergence, dedup, names, heads
//!                                      └──> signing (Ed25519)
//! ```
//! Each arrow is one way: whoever holds a key can compute what is right of it and nothing to its left.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

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
    /// The key of one block; part of every ref to it.
    BlockKey
}

/// Refs are copied between nodes, so their keys are too.
impl Clone for BlockKey {
    fn clone(&self) -> Self {
        BlockKey(self.0)
    }
}

secret! {
    /// Sorts the names of directories: a holder can't guess names from the order or the shape of a tree.
    NameKey
}

impl NameKey {
    /// The keyed hash of a name.
    pub fn hash(&self, name: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, name).as_bytes()
    }
}
