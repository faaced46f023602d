//! The crate from outside: trees against their models.

mod file_tree;
mod map_tree;
mod memory;
