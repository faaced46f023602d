//! The crate judged from outside, in one binary.

mod mount;
