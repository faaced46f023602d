//! Hostile trees inside a valid volume: every seal and signature holds, and what they seal is a lie.
//!
//! Whatever the lie, it is an error of the entry that it is about. The rest of the volume goes on working, nothing
//! panics, no work is without end, and memory stays bounded.

mod author;
mod names;
mod newer;
mod reader;
mod shapes;
mod sizes;
