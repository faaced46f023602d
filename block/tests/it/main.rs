//! The crate from outside: trees against their models, sealing against whatever comes, the format against a second reader.

mod bombs;
mod entry;
mod file_tree;
mod format;
mod map_tree;
mod memory;
mod sealing;
mod vectors;
