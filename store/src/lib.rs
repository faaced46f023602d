//! Where blocks are kept. A store sees sealed bytes under their ids, and signed heads; it never sees a key or a
//! plaintext, and does not know that files or networks exist.
//!
//! Where to start:
//! - [`BlockStore`]: the joint between whoever needs a block and wherever it is.
//! - [`HeadStore`], [`HintStore`], [`Collector`], [`Scrubber`]: what an own store does besides; [`Store`] is all of
//!   them together.
//! - [`StoreError`]: what can go wrong, and what a caller can ask about it.
//! - [`MemoryStore`]: the model of all of it, stricter than a disk. Read it first.
//! - [`cache`]: the policy that decides what a bounded cache keeps, and a block store that lives under it.
//!
//! [`FaultyStore`] wraps any of them and fails by schedule. The `testing` feature exports the contract that every
//! implementation is held to, and a harness that drives one against a specification through crashes.

mod block_store;
pub mod cache;
mod collector;
#[cfg(feature = "disk")]
pub mod disk;
mod error;
pub mod faulty;
mod head_store;
mod hint_store;
mod memory;
mod progress;
mod scrubber;
#[cfg(not(shuttle))]
mod sync;
#[cfg(shuttle)]
pub mod sync;
#[cfg(feature = "testing")]
pub mod testing;

pub use block_store::{Ask, BlockStore, Priority, Put};
pub use collector::{Collection, Collector, SweepOptions, SweepReport};
pub use error::{Limit, Place, ReadOnlyReason, StoreError};
pub use faulty::FaultyStore;
pub use head_store::{HeadStore, StoredHead};
pub use hint_store::{HINT_BYTES_MAX, HintStore};
pub use memory::MemoryStore;
pub use progress::Progress;
pub use scrubber::{Damage, ScrubReport, Scrubber};

/// An own store: everything a volume and its keeper need.
pub trait Store: BlockStore + HeadStore + HintStore + Collector + Scrubber {}

impl<S: BlockStore + HeadStore + HintStore + Collector + Scrubber + ?Sized> Store for S {}
