//! What is kept when not everything can be.
//!
//! ```text
//! ask ──> Interest (who asked for what, lately) ──┐
//!                                                 ├──> Policy (what stays) ──> CacheStore (the bytes)
//! put ────────────────────────────────────────────┘
//! ```
//! [`Policy`] is a byte-weighted W-TinyLFU: the new enter a small window; to get past it they must be wanted more than
//! what they would push out. So a scan of any length passes through the window and leaves the rest alone. It
//! is generic over key and value: a memory cache keeps its values in it, [`CacheStore`] only the ids.
//!
//! What counts as interest is decided by who asks ([`Requester`]): a peer counts once per block however often it asks, so
//! that nobody can pin blocks in another's cache by repeating themselves.
//!
//! The ceiling is hard: it is never exceeded, not even while a block comes in. It can only name a cache:
//! [`CacheBacking`], through which blocks are evicted, is not implemented by an own store.

mod backing;
mod interest;
mod policy;
#[cfg(all(test, shuttle))]
mod schedules;
mod store;

pub use backing::{CacheBacking, MemoryBacking};
pub use interest::Requester;
pub use policy::{Policy, PolicyOptions};
pub use store::{CacheStats, CacheStore};
