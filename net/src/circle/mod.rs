//! The circle on a node: what it believes, what it tells the others, how members come and go.
//!
//! One task, the keeper (`keeper/`), owns all of it: it takes orders from the program and messages from members, one after
//! the other. Before a new epoch is acted on it is saved, by the shelf that the program gives. What needs no I/O is apart:
//! changes (`change.rs`), the runs of epochs that are being fetched (`runs.rs`), addresses (`addresses.rs`).

mod addresses;
mod change;
mod inviting;
mod joining;
mod keeper;
mod runs;
mod view;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use cairn_block::DeviceId;
use cairn_block::circle::{Chain, Choice, EpochError, UntrustedEpoch};
use thiserror::Error;

pub use change::Change;
pub use inviting::{Invite, InviteOffer, InviteState};
pub use joining::{JoinFailure, Joined};
pub use view::{CircleView, OutOfReach, Standing};

pub(crate) use inviting::serve_guests;
pub(crate) use joining::join;
pub(crate) use keeper::{Keeper, Orders};

/// A circle as it is kept between two starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedCircle {
    /// The newest epochs, oldest first, as they were signed. Never empty, at most [`cairn_block::limits::EPOCHS_KEPT`].
    pub epochs: Vec<Bytes>,
    /// What a person chose. Without it the next rival undoes the choice.
    pub choice: Option<Choice>,
    /// Where members were found or told to be, the best address first.
    pub addresses: BTreeMap<DeviceId, Vec<SocketAddr>>,
}

impl SavedCircle {
    fn of(chain: &Chain, addresses: BTreeMap<DeviceId, Vec<SocketAddr>>) -> SavedCircle {
        let epochs = chain.run(chain.oldest().number).map(|epoch| epoch.bytes().clone()).collect();
        SavedCircle { epochs, choice: chain.choice().copied(), addresses }
    }

    /// What a node is in it.
    pub fn standing(&self, node: &DeviceId) -> Result<Standing, EpochError> {
        Ok(Standing::of(&self.chain()?, node))
    }

    /// The epochs, verified: the last one is trusted because it was kept.
    pub(crate) fn chain(&self) -> Result<Chain, EpochError> {
        let mut chain = chain_of(&self.epochs)?;
        self.choice.into_iter().for_each(|choice| chain.keep_choice(choice));
        Ok(chain)
    }
}

/// A chain of epochs whose last one comes from somebody trusted.
fn chain_of(epochs: &[Bytes]) -> Result<Chain, EpochError> {
    let run = epochs.iter().map(|epoch| UntrustedEpoch::new(epoch.clone())).collect::<Result<Vec<_>, _>>()?;
    let newest = epochs.last().map_or([0; 32], |epoch| *blake3::hash(epoch).as_bytes());
    Chain::from_run(&run, &newest)
}

/// Where a circle is kept. Calls may block; they come one at a time, and in the order in which things happened.
pub trait CircleShelf: Send + Sync {
    /// Keeps this in the place of what was kept before, durably when it returns. The error is for people.
    fn save(&self, circle: &SavedCircle) -> Result<(), String>;
}

/// Why the circle wasn't changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CircleError {
    /// There is none.
    #[error("this node is in no circle")]
    NoCircle,
    /// There is one already.
    #[error("this node is in a circle already")]
    InCircle,
    /// Only owners sign.
    #[error("this node is no owner of the circle: only owners change it")]
    NotOwner,
    /// Nobody has this key.
    #[error("the circle has no such member")]
    NoSuchMember,
    /// Somebody has this key.
    #[error("this node is a member already")]
    AlreadyMember,
    /// The key was revoked.
    #[error("this node was revoked: it never comes back under the same key")]
    Revoked,
    /// Another member is called so.
    #[error("another member is called {0:?}")]
    NameTaken(String),
    /// Nobody would be left to sign.
    #[error("the last owner can't go: make another member an owner first")]
    LastOwner,
    /// The epoch would break a rule.
    #[error("the circle can't be changed so: {0}")]
    Epoch(#[from] EpochError),
    /// It couldn't be kept, so it wasn't done.
    #[error("the change can't be saved, so it was not made: {0}")]
    NotSaved(String),
    /// There is an invitation.
    #[error("an invitation is open already")]
    InvitationOpen,
    /// The secret of an invitation is too long.
    #[error("the secret of an invitation has at most 1024 bytes")]
    SecretTooLong,
    /// No random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// What was given after joining.
    #[error("the circle that was given is without this node, or its inviter is no owner of it")]
    NotOurs,
    /// Of no branch that was seen.
    #[error("no epoch with this hash was seen")]
    NoSuchEpoch,
    /// It has ended.
    #[error("the node no longer talks to others")]
    Ended,
}
