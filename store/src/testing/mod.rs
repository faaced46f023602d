//! What every store is judged by. Only with the `testing` feature, for dev-dependencies.
//!
//! - [`contract`]: named claims, each run on a fresh store.
//! - [`model`]: random operations, crashes included, held against a specification that knows what may be lost.
//!
//! To judge an implementation, hand both a way to make one, and implement [`Rig`] for its crashes.

pub mod contract;
pub mod model;
mod rig;
mod samples;
mod spec;

pub use rig::{MemoryRig, Rig};
pub use samples::{ask, block, device, volume};
