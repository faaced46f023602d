//! Why the shards of a group are where they are.

use cairn_block::{DeviceId, PlacementKey};

use super::{Anchors, Ranking};
use crate::code::{Code, Numbers};

/// An anchor that was considered for a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: DeviceId,
    /// Its zone.
    pub zone: String,
    /// Its place among all anchors for this group, from 1.
    pub rank: usize,
    /// What it is ranked by; lower is better.
    pub score: f64,
}

/// Where a group belongs, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The holder of each shard; none where there are fewer anchors than shards.
    pub holders: Vec<Option<Candidate>>,
    /// Anchors that rank above the last holder and hold nothing, because their zone has [`Explanation::zone_cap`]
    /// shards already; best first.
    pub zone_full: Vec<Candidate>,
    /// The best of those that hold nothing because all shards were taken before their turn.
    pub next: Option<Candidate>,
    /// The most shards that one zone was allowed.
    pub zone_cap: usize,
    /// Anchors that were ranked.
    pub anchors: usize,
}

/// As [`place`](super::place), with the reasons.
pub fn explain(key: &PlacementKey, group: u64, code: Code, anchors: &Anchors) -> Explanation {
    let ranking = Ranking::draw(key, group, code, anchors);
    let choice = ranking.choose(anchors, anchors.zone_cap(code), code.total());
    let candidate = |rank: usize, at: usize| {
        let anchor = anchors.list()[at];
        let zone = anchors.zones()[anchor.zone].clone();
        Candidate { node: anchor.node, zone, rank: rank + 1, score: ranking.scores[at] }
    };
    let mut ranks = vec![0; ranking.order.len()];
    for (rank, at) in ranking.order.iter().enumerate() {
        ranks[*at] = rank;
    }
    let considered = choice.taken.len() + choice.passed.len();
    Explanation {
        holders: ranking
            .assign(&choice.taken, code)
            .into_iter()
            .map(|at| at.map(|at| candidate(ranks[at], at)))
            .collect(),
        zone_full: choice.passed.iter().map(|at| candidate(ranks[*at], *at)).collect(),
        next: ranking.order.get(considered).map(|at| candidate(considered, *at)),
        zone_cap: choice.zone_cap,
        anchors: ranking.order.len(),
    }
}
