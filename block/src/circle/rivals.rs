//! Which of two branches of a chain counts. Everybody who sees both comes to the same answer.

use std::collections::HashSet;
use std::sync::Arc;

use super::epoch::Epoch;
use crate::id::DeviceId;

/// What became of a branch that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It won: the chain is on it now.
    Switched,
    /// It lost.
    Stayed,
    /// Each branch takes the right to sign from somebody who signed the other: a person has to decide.
    Split,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A signer of the losing branch is no owner any more in the winning one, or in both each.
    Condemned,
    /// One branch is longer.
    Longer,
    /// They are equally long, and one begins with the lower hash.
    LowerHash,
}

/// Two branches that follow the same epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// What became of the branch that was offered.
    pub verdict: Verdict,
    /// What decided.
    pub reason: Reason,
    /// The branch that the chain was on, oldest first.
    pub ours: Vec<Arc<Epoch>>,
    /// The branch that was offered, oldest first.
    pub theirs: Vec<Arc<Epoch>>,
}

impl Fork {
    /// Epochs that no longer count, oldest first. Whoever signed one makes its change again on top of the branch that
    /// won. None where a person has to decide.
    pub fn lost(&self) -> &[Arc<Epoch>] {
        match self.verdict {
            Verdict::Switched => &self.ours,
            Verdict::Stayed => &self.theirs,
            Verdict::Split => &[],
        }
    }
}

/// Judges two branches, neither of them empty, that follow `base`.
pub(super) fn judge(base: &Epoch, ours: &[Arc<Epoch>], theirs: &[Arc<Epoch>]) -> (Verdict, Reason) {
    match (condemns(base, ours, theirs), condemns(base, theirs, ours)) {
        (true, true) => return (Verdict::Split, Reason::Condemned),
        (true, false) => return (Verdict::Stayed, Reason::Condemned),
        (false, true) => return (Verdict::Switched, Reason::Condemned),
        (false, false) => {}
    }
    let won = |theirs_wins| if theirs_wins { Verdict::Switched } else { Verdict::Stayed };
    if ours.len() != theirs.len() {
        return (won(theirs.len() > ours.len()), Reason::Longer);
    }
    let first = |branch: &[Arc<Epoch>]| branch.first().map(|epoch| *epoch.hash());
    (won(first(theirs) < first(ours)), Reason::LowerHash)
}

/// Whether somebody loses the right to sign in `branch` and signed an epoch of `other`.
fn condemns(base: &Epoch, branch: &[Arc<Epoch>], other: &[Arc<Epoch>]) -> bool {
    let mut lost: HashSet<DeviceId> = HashSet::new();
    let mut before = base;
    for epoch in branch {
        lost.extend(before.owners().map(|owner| owner.node).filter(|owner| !epoch.is_owner(owner)));
        before = epoch;
    }
    other.iter().any(|epoch| lost.contains(&epoch.signer))
}
