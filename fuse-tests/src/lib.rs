//! The mount judged from outside: what a program sees, never what the code says of itself.
//!
//! Nothing here but the [`rigs`] links the filesystem. A [`Node`] is the built `cairn` binary with a home of its own in a temporary
//! directory; a [`Ground`] is a fresh directory to try operations in, on such a node's mount or, to judge the judge,
//! in any directory named by `CAIRN_TEST_DIR`. A [`History`] drives a workload and knows which trees a crash may leave.
//!
//! The most important types: [`Node`], [`Ground`], [`Scratch`], [`History`], [`Scale`].
//! Start reading at `tests/it/main.rs`; the harness cleans up after itself even when a test panics, and never touches
//! a mount, process or directory that it didn't create.

pub mod circle;
pub mod command;
pub mod costs;
pub mod fixture;
pub mod ground;
pub mod history;
pub mod mounts;
pub mod node;
pub mod peers;
pub mod random;
pub mod report;
pub mod rigs;
pub mod scale;
pub mod scratch;
pub mod speed;
pub mod toolbox;
pub mod tree;

pub use ground::Ground;
pub use history::History;
pub use node::{Node, Setup};
pub use random::Random;
pub use scale::Scale;
pub use scratch::Scratch;
