//! Rigs that make the world around a store or a node fail on purpose.

pub mod injection;
pub mod limits;
