//! The crate judged from outside, in one binary.

mod collecting;
mod damage;
mod hostile;
mod model;
mod mount;
mod several;
mod versions;
