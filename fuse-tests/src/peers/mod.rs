//! Those beside whom we are measured, the data that all are given, and the tables of what came out.
//!
//! Everybody does the same work in turn, round by round, so that a slow minute of the machine hits all of them.

pub mod archivers;
pub mod gocryptfs;
pub mod machine;
pub mod real_data;
pub mod samples;

pub use archivers::Archiver;
pub use samples::{Better, Samples};
