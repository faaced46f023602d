//! The crate judged from outside, in one binary.

mod model;
mod mount;
mod versions;
