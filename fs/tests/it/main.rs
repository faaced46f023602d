//! The crate judged from outside, in one binary.

mod collecting;
mod hostile;
mod model;
mod mount;
mod versions;
