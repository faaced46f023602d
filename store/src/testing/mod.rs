//! What every store is judged by. Only with the `testing` feature, for dev-dependencies.
//!
//! - [`contract`]: named claims, each run on a fresh store.
//! - [`model`]: random operations, crashes included, held against a specification that knows what may be lost.
//! - [`explore`](fn@explore): random histories by seed, for this model and others.
//!
//! To judge an implementation, hand both a way to make one, and implement [`Rig`] for its crashes.

pub mod contract;
mod explore;
pub mod model;
mod op;
mod rig;
mod samples;
#[cfg(shuttle)]
mod schedules;
mod spec;

pub use explore::{Extent, Random, explore};
pub use rig::{Fault, MemoryRig, Rig};
pub use samples::{ask, block, device, volume};
#[cfg(shuttle)]
pub use schedules::schedules;
