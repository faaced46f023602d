//! Policies: what a directory asks for, and whether the circle can give it.

use std::fmt;
use std::str::FromStr;

use cairn_block::limits::{COPIES_MAX, PARITY_SHARDS_MAX};
use thiserror::Error;

use crate::code::{self, Code, CodeError, DATA, Numbers, SHARDS_MAX};
use crate::durability::unavailability;
use crate::placement::Anchors;

/// The chance of not being readable that `auto` accepts: an hour a year.
pub const TARGET: f64 = 1e-4;

/// What an anchor counts as until it was measured.
pub const UPTIME_PRIOR: f64 = 0.9;

/// The most that `auto` stores for each byte. Anchors that need more are no anchors.
pub const AUTO_OVERHEAD_MAX: f64 = 4.0;

/// What a directory asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// The cheapest code that the circle's anchors are good enough for.
    #[default]
    Auto,
    /// This code.
    Fixed(Code),
}

/// Text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{reason}; a policy can be auto, copies=1 to copies={COPIES_MAX}, or K+M with K of 1, 2, 4, 8 and M of 1 to {PARITY_SHARDS_MAX}"
)]
pub struct ParsePolicyError {
    #[from]
    reason: CodeError,
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        match text {
            "auto" => Ok(Policy::Auto),
            text => Ok(Policy::Fixed(text.parse()?)),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::Auto => f.write_str("auto"),
            Policy::Fixed(code) => code.fmt(f),
        }
    }
}

/// What a policy is held against.
#[derive(Debug, Clone, Copy)]
pub struct Circle<'a> {
    /// The nodes that carry redundancy.
    pub anchors: &'a Anchors,
    /// The measured chance of each to be up, in the order of [`Anchors::list`]; one that is missing or no number counts as
    /// [`UPTIME_PRIOR`].
    pub uptimes: &'a [f64],
    /// The chance of not being readable that `auto` accepts; usually [`TARGET`].
    pub target: f64,
}

/// A code for a circle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// The code.
    pub code: Code,
    /// The chance that a group can't be read, if the worst anchors hold it.
    pub unavailability: f64,
    /// Anchors beyond those that hold a group.
    pub spares: usize,
    /// Whether any one zone can be lost.
    pub survives_a_zone: bool,
}

/// A policy that a circle can't meet.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("{reason}{}", best.map_or(String::new(), |best| format!("; the best it can is {}", best.code)))]
pub struct Unmet {
    /// What it can do instead; none if it has no anchor.
    pub best: Option<Chosen>,
    /// Why.
    pub reason: Shortfall,
}

/// What a circle lacks for a policy.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum Shortfall {
    /// Nobody carries redundancy.
    #[error("the circle has no anchor")]
    NoAnchor,
    /// The code has more shards than there are anchors.
    #[error("{wanted} anchors are needed, and the circle has {found}")]
    TooFewAnchors {
        /// Shards of the code.
        wanted: usize,
        /// Anchors of the circle.
        found: usize,
    },
    /// Good, until a holder is lost: then there is no other anchor to put its shards on.
    #[error("no anchor is left where a lost shard could be made again")]
    NoSpare,
    /// The circle is too small to lose two holders at once.
    #[error("only one holder can be lost at a time")]
    OneLoss,
    /// The anchors are away too often.
    #[error("the anchors are away too often to be readable all but {target:e} of the time")]
    Uptime {
        /// The chance of not being readable that was asked for.
        target: f64,
    },
}

impl Policy {
    /// The code for a circle, or what it lacks.
    pub fn meets(self, circle: Circle<'_>) -> Result<Chosen, Unmet> {
        let candidates = Candidates::of(circle);
        if candidates.uptimes.is_empty() {
            return Err(Unmet { best: None, reason: Shortfall::NoAnchor });
        }
        match self {
            Policy::Auto => candidates.auto(),
            Policy::Fixed(code) => candidates.fixed(code),
        }
    }
}

struct Candidates<'a> {
    circle: Circle<'a>,
    /// Lowest first: a promise holds wherever placement puts a group.
    uptimes: Vec<f64>,
}

impl<'a> Candidates<'a> {
    fn of(circle: Circle<'a>) -> Self {
        let count = circle.anchors.list().len();
        let given = circle.uptimes.iter().copied().map(|uptime| if uptime.is_nan() { UPTIME_PRIOR } else { uptime });
        let mut uptimes: Vec<f64> = given.chain(std::iter::repeat(UPTIME_PRIOR)).take(count).collect();
        uptimes.sort_by(f64::total_cmp);
        Candidates { circle, uptimes }
    }

    fn chosen(&self, code: Code) -> Chosen {
        Chosen {
            code,
            unavailability: unavailability(code.data(), &self.uptimes[..code.total().min(self.uptimes.len())]),
            spares: self.uptimes.len().saturating_sub(code.total()),
            survives_a_zone: self.uptimes.len() >= code.total() && self.circle.anchors.zone_cap(code) <= code.parity(),
        }
    }

    /// Every code that fits, with at least that much parity and that many spares; cheapest first, of equally cheap ones
    /// with fewer data shards, since a repair reads k.
    fn codes(&self, m_min: u8, spares: usize) -> Vec<Chosen> {
        let all = DATA.iter().flat_map(|k| (m_min..=PARITY_SHARDS_MAX).flat_map(|m| code::of(*k, m)));
        let room = self.uptimes.len().saturating_sub(spares).min(SHARDS_MAX);
        let fits = all.filter(|code| code.total() <= room && code.overhead() <= AUTO_OVERHEAD_MAX);
        let mut fits: Vec<Chosen> = fits.map(|code| self.chosen(code)).collect();
        fits.sort_by(|a, b| a.code.overhead().total_cmp(&b.code.overhead()).then(a.code.k().cmp(&b.code.k())));
        fits
    }

    fn auto(&self) -> Result<Chosen, Unmet> {
        let target = self.circle.target;
        let good_enough = |m_min, spares| self.codes(m_min, spares).into_iter().find(|it| it.unavailability <= target);
        let unmet = |best, reason| Err(Unmet { best: Some(best), reason });
        if let Some(chosen) = good_enough(2, 1) {
            return Ok(chosen);
        }
        if let Some(chosen) = good_enough(2, 0) {
            return unmet(chosen, Shortfall::NoSpare);
        }
        if let Some(chosen) = good_enough(1, 0) {
            return unmet(chosen, Shortfall::OneLoss);
        }
        // Where two anchors are, one alone is never the best; of equally bad codes the one that can lose more is, and of those
        // the first, which is the cheapest.
        let m_min = u8::from(self.uptimes.len() > 1);
        let worse =
            |a: &Chosen, b: &Chosen| a.unavailability.total_cmp(&b.unavailability).then(b.code.m().cmp(&a.code.m()));
        let best = self.codes(m_min, 0).into_iter().min_by(worse);
        let reason = Shortfall::Uptime { target };
        Err(Unmet { best, reason })
    }

    fn fixed(&self, code: Code) -> Result<Chosen, Unmet> {
        let anchors = self.uptimes.len();
        if code.total() <= anchors {
            return Ok(self.chosen(code));
        }
        // Less parity if the data shards still fit with some; else as many copies as losses were to be survived.
        let fewer = u8::try_from(anchors.saturating_sub(code.data())).ok().filter(|m| *m > 0);
        let coded = fewer.and_then(|m| code::of(code.k(), m).ok());
        let copies = || Code::copies(u8::try_from(anchors.min(code.parity() + 1)).ok()?).ok();
        let best = coded.or_else(copies).map(|code| self.chosen(code));
        Err(Unmet { best, reason: Shortfall::TooFewAnchors { wanted: code.total(), found: anchors } })
    }
}

#[cfg(test)]
mod tests;
