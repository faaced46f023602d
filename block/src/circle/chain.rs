//! What a node believes about its circle: the newest epochs, and how others get in.

use std::collections::VecDeque;
use std::sync::Arc;

use super::epoch::{Epoch, UntrustedEpoch};
use super::error::EpochError;
use super::rivals::{Fork, Reason, Verdict, judge};
use crate::codec::check_bound;
use crate::limits::EPOCHS_KEPT;

/// What an offer came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// All of it was known.
    Known,
    /// It goes on from the newest epoch: that many are new.
    Accepted(usize),
    /// Whoever offered has epochs that are missing here: their run from this number on, please.
    Behind {
        /// Where the run should begin.
        from: u64,
    },
    /// It begins below the epochs that are kept; if it is another past, only a person can choose it.
    Below,
    /// A rival of epochs that are known here.
    Fork(Fork),
}

/// An epoch that a person chose. It has to be kept with the epochs, or the next offer undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// The hash of the epoch that followed it here and was not wanted.
    pub unwanted: Option<[u8; 32]>,
}

/// The newest epochs of a circle, each the one before the next.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Never empty, at most [`EPOCHS_KEPT`], oldest first.
    kept: VecDeque<Arc<Epoch>>,
    choice: Option<Choice>,
}

impl Chain {
    /// Begins with an epoch that was verified as a first one or by a trusted hash.
    pub fn new(start: Epoch) -> Self {
        Chain { kept: VecDeque::from([Arc::new(start)]), choice: None }
    }

    /// Begins with a run of epochs whose last one has a trusted hash, which vouches for those before it. With some of them
    /// a node that was invited can follow a rival of the epoch that it was invited with.
    pub fn from_run(run: &[UntrustedEpoch], trusted: &[u8; 32]) -> Result<Self, EpochError> {
        check_run(run)?;
        match (run.first(), run.last()) {
            (Some(first), Some(last)) if last.hash == *trusted => {
                let mut chain = Chain::new(first.verify_hash(&first.hash)?);
                let rest = verify_run(&chain.kept[0], &run[1..])?;
                chain.kept.extend(rest);
                Ok(chain)
            }
            (_, last) => Err(EpochError::OtherHash { number: last.map_or(0, |last| last.number) }),
        }
    }

    /// What a person chose last.
    pub const fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// Holds on to what a person chose before this chain was read back.
    pub const fn keep_choice(&mut self, choice: Choice) {
        self.choice = Some(choice);
    }

    /// The epoch that counts.
    pub fn newest(&self) -> &Arc<Epoch> {
        &self.kept[self.kept.len() - 1]
    }

    /// The oldest epoch that is kept.
    pub fn oldest(&self) -> &Arc<Epoch> {
        &self.kept[0]
    }

    /// An epoch that is kept.
    pub fn get(&self, number: u64) -> Option<&Arc<Epoch>> {
        let at = number.checked_sub(self.oldest().number)?;
        self.kept.get(usize::try_from(at).ok()?)
    }

    /// What a peer that asked for the run from `from` on is sent; empty if that is below what is kept.
    pub fn run(&self, from: u64) -> impl Iterator<Item = &Arc<Epoch>> {
        let is_kept = from >= self.oldest().number;
        self.kept.iter().filter(move |epoch| is_kept && epoch.number >= from)
    }

    /// Takes a run of epochs, each the one before the next, at most [`EPOCHS_KEPT`]. On an error nothing has changed.
    pub fn offer(&mut self, run: &[UntrustedEpoch]) -> Result<Offer, EpochError> {
        let new = self.skip_known(run)?;
        let Some(first) = new.first() else {
            return Ok(Offer::Known);
        };
        if first.number > self.newest().number + 1 {
            return Ok(Offer::Behind { from: self.newest().number + 1 });
        }
        let Some(base) = first.number.checked_sub(1).and_then(|number| self.get(number)).cloned() else {
            return Ok(Offer::Below);
        };
        if first.previous != *base.hash() {
            let lowest = self.oldest().number + 1;
            return Ok(if first.number > lowest { Offer::Behind { from: lowest } } else { Offer::Below });
        }
        let theirs = verify_run(&base, new)?;
        let ours: Vec<_> = self.run(base.number + 1).cloned().collect();
        if self.chosen_against(&base, &theirs) {
            let (verdict, reason) = (Verdict::Stayed, Reason::Chosen);
            return Ok(Offer::Fork(Fork { verdict, reason, ours, theirs }));
        }
        if ours.is_empty() {
            let count = theirs.len();
            self.replace_after(base.number, theirs);
            return Ok(Offer::Accepted(count));
        }
        let (verdict, reason) = judge(&base, &ours, &theirs);
        if verdict == Verdict::Switched {
            self.replace_after(base.number, theirs.clone());
        }
        Ok(Offer::Fork(Fork { verdict, reason, ours, theirs }))
    }

    /// Goes over to a run whatever [`Chain::offer`] says of it: a person chose its last epoch, by its hash. It may be an
    /// older one of this chain. What it replaces is given back, oldest first. A run that follows none of the kept epochs
    /// replaces them all. From then on no branch without the chosen epoch is followed.
    pub fn adopt(&mut self, run: &[UntrustedEpoch], chosen: &[u8; 32]) -> Result<Vec<Arc<Epoch>>, EpochError> {
        let new = self.skip_known(run)?;
        let Some(last) = run.last().filter(|last| last.hash == *chosen) else {
            return Err(EpochError::OtherHash { number: run.last().map_or(0, |last| last.number) });
        };
        let mut choice = Choice { number: last.number, hash: *chosen, unwanted: None };
        let Some(first) = new.first() else {
            let replaced = self.replace_after(last.number, Vec::new());
            choice.unwanted = replaced.first().map(|epoch| *epoch.hash());
            self.choice = Some(choice);
            return Ok(replaced);
        };
        let base = first.number.checked_sub(1).and_then(|number| self.get(number)).cloned();
        let replaced = match base.filter(|base| *base.hash() == first.previous) {
            Some(base) => {
                let theirs = verify_run(&base, new)?;
                self.replace_after(base.number, theirs)
            }
            None => {
                let other = Chain::from_run(run, chosen)?;
                std::mem::replace(&mut self.kept, other.kept).into()
            }
        };
        self.choice = Some(choice);
        Ok(replaced)
    }

    /// Whether a person chose an epoch that a branch behind `base` is without, or what it begins with not.
    fn chosen_against(&self, base: &Epoch, branch: &[Arc<Epoch>]) -> bool {
        self.choice.is_some_and(|choice| {
            let begins = branch.first().map(|epoch| *epoch.hash());
            let at = branch.iter().find(|epoch| epoch.number == choice.number);
            let is_without = base.number < choice.number && at.is_none_or(|epoch| *epoch.hash() != choice.hash);
            let is_known = self.get(choice.number).is_some();
            is_known && (is_without || (*base.hash() == choice.hash && begins == choice.unwanted))
        })
    }

    /// Checks that the run is one, of this circle, and leaves out everything up to the last epoch that is known.
    fn skip_known<'a>(&self, run: &'a [UntrustedEpoch]) -> Result<&'a [UntrustedEpoch], EpochError> {
        check_run(run)?;
        let wanted = self.newest().circle;
        if let Some(other) = run.iter().find(|epoch| epoch.circle != wanted) {
            return Err(EpochError::OtherCircle { wanted, found: other.circle });
        }
        let is_known =
            |epoch: &&UntrustedEpoch| self.get(epoch.number).is_some_and(|known| *known.hash() == epoch.hash);
        // The run may begin below what is kept: what is before a known epoch is known too.
        let known = run.iter().rposition(|epoch| is_known(&epoch)).map_or(0, |at| at + 1);
        Ok(&run[known..])
    }

    /// Puts `epochs` behind the one with this number, and gives back what was there.
    fn replace_after(&mut self, number: u64, epochs: Vec<Arc<Epoch>>) -> Vec<Arc<Epoch>> {
        let stays = self.kept.iter().take_while(|epoch| epoch.number <= number).count();
        let replaced = self.kept.split_off(stays).into();
        self.kept.extend(epochs);
        while self.kept.len() > EPOCHS_KEPT {
            self.kept.pop_front();
        }
        replaced
    }
}

fn check_run(run: &[UntrustedEpoch]) -> Result<(), EpochError> {
    check_bound("run of epochs", run.len() as u64, EPOCHS_KEPT as u64)?;
    for pair in run.windows(2) {
        if pair[1].number != pair[0].number + 1 {
            return Err(EpochError::NotNext { wanted: pair[0].number + 1, found: pair[1].number });
        }
        if pair[1].previous != pair[0].hash {
            return Err(EpochError::OtherPast { number: pair[1].number });
        }
    }
    Ok(())
}

fn verify_run(base: &Arc<Epoch>, run: &[UntrustedEpoch]) -> Result<Vec<Arc<Epoch>>, EpochError> {
    let mut verified: Vec<Arc<Epoch>> = Vec::with_capacity(run.len());
    for epoch in run {
        let before = verified.last().unwrap_or(base);
        let next = Arc::new(epoch.verify_after(before)?);
        verified.push(next);
    }
    Ok(verified)
}
