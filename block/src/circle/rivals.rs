//! Which of two branches of a chain counts. Everybody who sees both comes to the same answer.

use std::collections::HashMap;
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
    /// Each branch takes the right to sign from somebody whom the other one leaves it: a person has to decide.
    Split,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A signer of the losing branch lost that right in the winning one; or each branch has such a signer.
    Condemned,
    /// An owner lost the right to sign in the winning branch and not in the losing one; or each branch has such an owner.
    Deposed,
    /// A person chose an epoch that the losing branch is without.
    Chosen,
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
///
/// What one branch has over another it never loses by growing, and the other never gains it: losses only add up, and a
/// signature is held against the losses of that moment. So it doesn't matter in which pieces a branch is shown, and of
/// three branches none goes round in a circle with the others. See `docs/FORMAT.md`.
pub(super) fn judge(base: &Epoch, ours: &[Arc<Epoch>], theirs: &[Arc<Epoch>]) -> (Verdict, Reason) {
    match (over(base, ours, theirs), over(base, theirs, ours)) {
        (Some(Reason::Condemned), Some(Reason::Condemned)) => return (Verdict::Split, Reason::Condemned),
        (Some(_), Some(_)) => return (Verdict::Split, Reason::Deposed),
        (Some(reason), None) => return (Verdict::Stayed, reason),
        (None, Some(reason)) => return (Verdict::Switched, reason),
        (None, None) => {}
    }
    let won = |theirs_wins| if theirs_wins { Verdict::Switched } else { Verdict::Stayed };
    if ours.len() != theirs.len() {
        return (won(theirs.len() > ours.len()), Reason::Longer);
    }
    let first = |branch: &[Arc<Epoch>]| branch.first().map(|epoch| *epoch.hash());
    (won(first(theirs) < first(ours)), Reason::LowerHash)
}

/// What `branch` has over `other`, whatever their lengths.
fn over(base: &Epoch, branch: &[Arc<Epoch>], other: &[Arc<Epoch>]) -> Option<Reason> {
    let mut ours = Losses::default();
    for (before, epoch) in pairs(base, branch) {
        ours.count(before, epoch);
    }
    let mut theirs = Losses::default();
    let mut condemned = false;
    for (before, epoch) in pairs(base, other) {
        condemned |= ours.of(&epoch.signer) > theirs.of(&epoch.signer);
        theirs.count(before, epoch);
    }
    let deposed = || ours.0.iter().any(|(owner, times)| *times > theirs.of(owner)).then_some(Reason::Deposed);
    if condemned { Some(Reason::Condemned) } else { deposed() }
}

/// Each epoch of a branch with the one before.
fn pairs<'a>(base: &'a Epoch, branch: &'a [Arc<Epoch>]) -> impl Iterator<Item = (&'a Epoch, &'a Epoch)> {
    let before = std::iter::once(base).chain(branch.iter().map(|epoch| &**epoch));
    before.zip(branch.iter().map(|epoch| &**epoch))
}

/// How often each owner stopped being one.
#[derive(Default)]
struct Losses(HashMap<DeviceId, u32>);

impl Losses {
    /// More than one can be made an owner again.
    const REVOKED: u32 = u32::MAX;

    fn count(&mut self, before: &Epoch, epoch: &Epoch) {
        for owner in before.owners().filter(|owner| !epoch.is_owner(&owner.node)) {
            let times = self.0.entry(owner.node).or_default();
            *times = if epoch.is_revoked(&owner.node) { Self::REVOKED } else { *times + 1 };
        }
    }

    fn of(&self, node: &DeviceId) -> u32 {
        self.0.get(node).copied().unwrap_or(0)
    }
}
