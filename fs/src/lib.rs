//! Placeholder map; see the modules.
pub mod error;
pub mod ops;
