//! Dedup hints: which sealed block a chunk became. Lossy by contract, so nothing here can fail.

use bytes::Bytes;

/// The most bytes of one hint. A sealed reference takes about 140; longer values are not kept.
pub const HINT_BYTES_MAX: usize = 256;

/// A bounded map that may forget anything at any time and can be rebuilt.
pub trait HintStore: Send + Sync {
    /// The value last put under `key`, if it was not forgotten.
    fn hint(&self, key: &[u8; 32]) -> Option<Bytes>;

    /// Remembers `value` for a while. Values over [`HINT_BYTES_MAX`] are passed over.
    fn put_hint(&self, key: [u8; 32], value: Bytes);
}
