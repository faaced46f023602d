//! What the rest of the program sees of the circle.

use std::sync::Arc;

use cairn_block::DeviceId;
use cairn_block::circle::{Chain, Choice, Epoch, Fork, Role};

/// A circle as a node sees it now.
#[derive(Debug, Clone)]
pub struct CircleView {
    /// The epoch that counts.
    pub newest: Arc<Epoch>,
    /// What this node is in it.
    pub standing: Standing,
    /// Rival branches that were seen since the node started, the newest last: evidence, and what has to be done again.
    pub forks: Vec<Arc<Fork>>,
    /// What a person chose last.
    pub choice: Option<Choice>,
    /// A member has an epoch that can't be followed from here.
    pub out_of_reach: Option<OutOfReach>,
}

/// What a node is in its circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A member.
    Member(Role),
    /// No member any more.
    Removed {
        /// The name of the owner who signed that.
        by: String,
        /// The number of the epoch that says so.
        number: u64,
        /// It never comes back under the same key.
        is_revoked: bool,
    },
}

/// A member says that it has an epoch, and none that lead there from here: this node was away for too long. Not proven; if it is
/// true, the node needs an invitation again, or a person who chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfReach {
    /// Who says so.
    pub told_by: DeviceId,
    /// The number of that epoch.
    pub number: u64,
}

impl Standing {
    pub(super) fn of(chain: &Chain, me: &DeviceId) -> Standing {
        let newest = chain.newest();
        if let Some(member) = newest.member(me) {
            return Standing::Member(member.role);
        }
        // The one behind the last one with this node; where it was only on a branch that lost, whoever signed last says so.
        let last = chain.run(chain.oldest().number).filter(|epoch| epoch.member(me).is_some()).last();
        let removing = last.and_then(|last| chain.get(last.number + 1)).unwrap_or(newest);
        let before = chain.get(removing.number.saturating_sub(1)).unwrap_or(removing);
        let by = before.member(&removing.signer).map_or_else(|| removing.signer.short(), |owner| owner.name.clone());
        Standing::Removed { by, number: removing.number, is_revoked: newest.is_revoked(me) }
    }

    /// Whether the node is in.
    pub fn is_member(&self) -> bool {
        matches!(self, Standing::Member(_))
    }
}
