//! Nodes among each other: who they are, how they connect, how blocks get from one to another, who holds what.
//!
//! libp2p stays in here: nothing of it is in the public API. One task owns the swarm ([`Net`] is the handle to it); bytes
//! never pass through that task. The crate doesn't know that files exist: it moves sealed blocks, packs and shards.
//!
//! ```text
//! Router::get ─> own store ─miss─> fetch: whom to ask, whom else when it is late ─> lane ─> peer
//! peer's lane ─> doorman: may it? ─> serve: a bounded number of reads ─> store
//! ```
//!
//! Who the members are, the circle says ([`Net::circle`]): its keeper takes the epochs that owners sign, passes them on, and
//! lets new members in by a code. Heads of volumes go to the members that share them ([`HeadsBook`]).
//!
//! Decisions do no I/O and read no clock. Each is a function, or a state machine that is told what happened and the time, and
//! answers with what to do; so ten thousand nodes of it run in virtual time:
//! - [`placement`]: which nodes hold the shards of a group of packs. Every node computes the same.
//! - [`policy`]: what a directory asks for, and whether the circle can give it.
//! - [`durability`]: how likely it is that data can't be read, or is lost; what an acknowledgement promises.
//! - [`repair`]: which shards are made again, by whom and when.
//! - [`manifest`]: when a pack may go.
//! - [`join`]: a code for a membership.
//! - `sim` (feature `sim`): all of it on many nodes, under faults, in virtual time.

#[cfg(feature = "bench")]
pub mod bench;
mod circle;
pub mod code;
mod driver;
pub mod durability;
mod fetch;
mod heads;
mod holders;
pub mod join;
mod lane;
mod lanes;
pub mod manifest;
mod net;
mod node_id;
pub mod placement;
pub mod policy;
pub mod repair;
mod router;
mod serve;
#[cfg(feature = "sim")]
pub mod sim;
mod strikes;
mod talk;
#[cfg(test)]
mod tests;
pub mod wire;

pub use cairn_block::Code;
pub use circle::{
    Change, CircleError, CircleShelf, CircleView, Invite, InviteOffer, InviteState, JoinFailure, Joined, OutOfReach,
    SavedCircle, Standing,
};
pub use code::SHARDS_MAX;
pub use driver::{NetError, NetOptions, PeerState, Transports};
pub use fetch::{FetchError, FetchStats, Refusal};
pub use heads::{HeadsBell, HeadsBook, Taken};
pub use lane::LaneError;
pub use lanes::OpenError;
pub use net::Net;
pub use node_id::NodeId;
pub use placement::{Anchors, Placement, place};
pub use policy::{Chosen, Circle, Policy, Unmet};
pub use router::Router;
pub use strikes::{Strike, Strikes};
