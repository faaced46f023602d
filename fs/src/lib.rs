//! A filesystem over a store of blocks: a tree for what is settled, an overlay for what changed.
//!
//! The arrangement is Fossil's over Venti: a [`Volume`] is a root tree and the changes since. Changes are
//! journaled, folded into a new tree, and a signed head points to it; every head is a snapshot.
//! This crate knows no network: whatever implements the traits of `cairn-store` is a disk to it.
//!
//! Where to start: [`ops::Operations`] is what can be asked, [`Volume`] answers, `state/` is the machine
//! inside, `commit` and `journal` make changes durable, `fold` and `flush` make trees, [`reader`] reads them.
//! The kernel is reached in [`mount`] alone.
//!
//! Several devices: [`Volume::receive`] takes heads of others in, [`Volume::absorb`] brings the live state to what all known ones
//! come to.
//!
//! History: [`snapshots`] shows it, [`thinning`] and [`collect`] shorten it; [`changes`] is what lies between two states,
//! told by [`diff`](mod@diff) and joined by [`merge`](mod@merge); [`verify`] checks one of them.

mod absorb;
mod activity;
pub mod changes;
pub mod collect;
mod commit;
mod conflicts;
pub mod diff;
pub mod error;
mod fetch;
mod flush;
mod fold;
mod heads;
mod journal;
mod keeper;
mod known;
mod locate;
mod meet;
pub mod merge;
pub mod mount;
mod nodes;
mod operations;
pub mod ops;
pub mod reader;
mod receive;
mod restore;
mod sealer;
pub mod snapshots;
mod state;
mod sweep;
mod sync;
pub mod thinning;
pub mod tree;
pub mod verify;
mod volume;

pub use absorb::Absorbed;
pub use activity::Activity;
pub use conflicts::{CONFLICTS_MAX, Conflicts, Sibling};
pub use error::FsError;
pub use heads::read_root;
pub use receive::{ReceiveError, Received};
pub use restore::{Restored, Touched};
pub use sealer::{SealStats, Sealed};
pub use sweep::{InMemory, SweepError, sweep};
pub use volume::{Space, Trouble, Volume, VolumeConfig, VolumeOptions};
