//! What a node believes about its circle: the newest epochs, and how others get in.

use std::collections::VecDeque;
use std::sync::Arc;

use super::epoch::{Epoch, UntrustedEpoch};
use super::error::EpochError;
use super::rivals::{Fork, Verdict, judge};
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

/// The newest epochs of a circle, each the one before the next.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Never empty, at most [`EPOCHS_KEPT`], oldest first.
    kept: VecDeque<Arc<Epoch>>,
}

impl Chain {
    /// Begins with an epoch that was verified as a first one or by a trusted hash.
    pub fn new(start: Epoch) -> Self {
        Chain { kept: VecDeque::from([Arc::new(start)]) }
    }

    /// The epoch that counts.
    pub fn newest(&self) -> &Arc<Epoch> {
        &self.kept[self.kept.len() - 1]
    }

    /// An epoch that is kept.
    pub fn get(&self, number: u64) -> Option<&Arc<Epoch>> {
        let at = number.checked_sub(self.oldest())?;
        self.kept.get(usize::try_from(at).ok()?)
    }

    /// What a peer that asked for the run from `from` on is sent; empty if that is below what is kept.
    pub fn run(&self, from: u64) -> impl Iterator<Item = &Arc<Epoch>> {
        let is_kept = from >= self.oldest();
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
            let lowest = self.oldest() + 1;
            return Ok(if first.number > lowest { Offer::Behind { from: lowest } } else { Offer::Below });
        }
        let theirs = verify_run(&base, new)?;
        let ours: Vec<_> = self.run(base.number + 1).cloned().collect();
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

    /// Goes over to a run whatever [`Chain::offer`] says of it: a person chose its last epoch, by its hash. What it replaces
    /// is given back, oldest first. A run that follows none of the kept epochs replaces them all.
    pub fn adopt(&mut self, run: &[UntrustedEpoch], chosen: &[u8; 32]) -> Result<Vec<Arc<Epoch>>, EpochError> {
        let new = self.skip_known(run)?;
        let (Some(first), Some(last)) = (new.first(), new.last()) else {
            return Ok(Vec::new());
        };
        if last.hash != *chosen {
            return Err(EpochError::OtherHash { number: last.number });
        }
        let base = first.number.checked_sub(1).and_then(|number| self.get(number)).cloned();
        match base.filter(|base| *base.hash() == first.previous) {
            Some(base) => {
                let theirs = verify_run(&base, new)?;
                Ok(self.replace_after(base.number, theirs))
            }
            None => {
                // The chosen hash vouches for the last one, and its past for those before it.
                let start = Arc::new(first.verify_hash(&first.hash)?);
                let rest = verify_run(&start, &new[1..])?;
                let mut replaced = std::mem::replace(&mut self.kept, VecDeque::from([start]));
                self.replace_after(first.number, rest);
                Ok(replaced.drain(..).collect())
            }
        }
    }

    fn oldest(&self) -> u64 {
        self.kept[0].number
    }

    /// Checks that the run is one, of this circle, and leaves out what it begins with that is known.
    fn skip_known<'a>(&self, run: &'a [UntrustedEpoch]) -> Result<&'a [UntrustedEpoch], EpochError> {
        check_bound("run of epochs", run.len() as u64, EPOCHS_KEPT as u64)?;
        let wanted = self.newest().circle;
        if let Some(other) = run.iter().find(|epoch| epoch.circle != wanted) {
            return Err(EpochError::OtherCircle { wanted, found: other.circle });
        }
        for pair in run.windows(2) {
            if pair[1].number != pair[0].number + 1 {
                return Err(EpochError::NotNext { wanted: pair[0].number + 1, found: pair[1].number });
            }
            if pair[1].previous != pair[0].hash {
                return Err(EpochError::OtherPast { number: pair[1].number });
            }
        }
        let is_known =
            |epoch: &&UntrustedEpoch| self.get(epoch.number).is_some_and(|known| *known.hash() == epoch.hash);
        let known = run.iter().take_while(is_known).count();
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

fn verify_run(base: &Arc<Epoch>, run: &[UntrustedEpoch]) -> Result<Vec<Arc<Epoch>>, EpochError> {
    let mut verified: Vec<Arc<Epoch>> = Vec::with_capacity(run.len());
    for epoch in run {
        let before = verified.last().unwrap_or(base);
        let next = Arc::new(epoch.verify_after(before)?);
        verified.push(next);
    }
    Ok(verified)
}
