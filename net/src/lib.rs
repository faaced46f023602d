//! The network's decisions: who holds what, how safe that is, what is made again and what may go.
//!
//! Nothing here does I/O or reads a clock. Each decision is a function, or a state machine that is told what happened and
//! the time, and answers with what to do; so ten thousand nodes of it run in virtual time. This crate does not know that
//! files exist: it moves packs and shards, by their numbers and ids.
//!
//! Where to start:
//! - [`placement`]: which nodes hold the shards of a group of packs. Every node computes the same.
//! - [`policy`]: what a directory asks for, and whether the circle can give it.
//! - [`durability`]: how likely it is that data can't be read, or is lost; what an acknowledgement promises.
//! - [`repair`]: which shards are made again, by whom and when.
//! - [`manifest`]: when a pack may go.

pub mod code;
pub mod durability;
pub mod manifest;
pub mod placement;
pub mod policy;
pub mod repair;

pub use code::{Code, SHARDS_MAX};
pub use placement::{Anchors, Placement, place};
pub use policy::{Chosen, Circle, Policy, Unmet};
