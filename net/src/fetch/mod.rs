//! Getting a block from whoever has it: the likely fastest first, a second one where it is late, every byte verified.

mod figures;
mod line;
mod turns;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::limits::CDC_BYTES_AVG;
use cairn_block::{Block, BlockId};
use cairn_store::Ask;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use thiserror::Error;

use crate::driver::Driver;
use crate::lanes::OpenError;
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use figures::HedgeBudget;
use line::{Line, Tools};
use turns::{Turn, Turns};

/// What is expected of a block whose length nobody knows.
const BYTES_GUESS: u64 = CDC_BYTES_AVG as u64;

/// Why a peer gave no block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It doesn't have the block.
    #[error("it doesn't have it")]
    Missing,
    /// Its copy is damaged.
    #[error("its copy is damaged")]
    Damaged,
    /// It has too much to do, and asks to be asked again after this time.
    #[error("it is busy")]
    Busy(Duration),
    /// It sent other bytes, or other things than it was asked for.
    #[error("it sent wrong bytes")]
    Wrong,
    /// It wasn't asked: it misbehaved too often of late.
    #[error("it misbehaved too often and is not asked")]
    Shunned,
    /// It can't be reached.
    #[error("{0}")]
    Unreachable(OpenError),
    /// The line broke, or nothing came.
    #[error("{0}")]
    Broken(String),
    /// It had not answered when the time was up.
    #[error("it had not answered when the time was up")]
    Late,
}

/// Why a block could not be fetched: who was asked, and what each said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    /// The block.
    pub id: BlockId,
    /// Every member, and why it gave nothing.
    pub peers: Vec<(NodeId, Refusal)>,
    /// The time it took to find out.
    pub took: Duration,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} was not given within {:?}", self.id, self.took)?;
        if self.peers.is_empty() {
            return f.write_str(": no other node is known");
        }
        for (n, (peer, refusal)) in self.peers.iter().enumerate() {
            write!(f, "{}{}: {refusal}", if n == 0 { "; " } else { ", " }, peer.device().short())?;
        }
        Ok(())
    }
}

impl std::error::Error for FetchError {}

/// Counts since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FetchStats {
    /// Blocks that came.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests made because another one was late.
    pub hedges: u64,
    /// Requests that brought nothing.
    pub refused: u64,
}

/// Fetches blocks from members.
pub(crate) struct Fetcher {
    tools: Arc<Tools>,
    lines: Mutex<HashMap<NodeId, Arc<Line>>>,
    budget: Mutex<HedgeBudget>,
    stats: Mutex<FetchStats>,
}

impl Fetcher {
    pub(crate) fn new(driver: Driver, strikes: Arc<Strikes>) -> Self {
        Fetcher {
            tools: Arc::new(Tools { driver, strikes, peers: Mutex::default() }),
            lines: Mutex::default(),
            budget: Mutex::new(HedgeBudget::new()),
            stats: Mutex::default(),
        }
    }

    pub(crate) fn stats(&self) -> FetchStats {
        *self.stats.lock()
    }

    /// The block, from the first member that gives the right bytes. None if every member says that it has none.
    pub(crate) async fn fetch(&self, id: BlockId, ask: Ask) -> Result<Option<Block>, FetchError> {
        let start = Instant::now();
        let members: Vec<NodeId> = self.tools.driver.doorman().members().into_iter().collect();
        let (shunned, askable): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| self.tools.strikes.is_shunned(member));
        let mut said: HashMap<NodeId, Refusal> = shunned.into_iter().map(|peer| (peer, Refusal::Shunned)).collect();
        let mut turns = Turns::new(self.ranked(&askable, start));
        let mut asked = FuturesUnordered::new();
        self.budget.lock().earn();
        let deadline = tokio::time::Instant::from_std(ask.deadline);
        let (mut hedge_at, mut last) = (deadline, None);
        // Once a second request had to be put off for want of budget, the next one is no hedge: the first peer has failed.
        let mut is_overdue = false;
        let mut begins = None;
        loop {
            if asked.is_empty() && begins.is_none() {
                match turns.next() {
                    Turn::Ask(peer) => begins = Some(peer),
                    Turn::Again(at) if at < ask.deadline => {
                        tokio::time::sleep_until(at.into()).await;
                        continue;
                    }
                    Turn::Again(_) | Turn::Nobody => break,
                }
            }
            if let Some(peer) = begins.take() {
                asked.push(self.from(peer, id, ask));
                (hedge_at, last, is_overdue) = (self.hedge_at(&peer), Some(peer), false);
            }
            tokio::select! {
                Some((peer, answer)) = asked.next() => match answer {
                    Ok(block) => {
                        self.tools.peers.lock().reached(peer, true, Instant::now());
                        let mut stats = self.stats.lock();
                        stats.blocks += 1;
                        stats.bytes += block.len() as u64;
                        return Ok(Some(block));
                    }
                    Err(refusal) => {
                        self.stats.lock().refused += 1;
                        let now = Instant::now();
                        let is_reached = !matches!(refusal, Refusal::Unreachable(_));
                        let away = self.tools.peers.lock().reached(peer, is_reached, now);
                        turns.refused(peer, &refusal, away, now);
                        said.insert(peer, refusal);
                    }
                },
                () = tokio::time::sleep_until(hedge_at), if hedge_at < deadline => {
                    if let Some(late) = last.take() {
                        self.tools.peers.lock().late(late, Instant::now());
                    }
                    let left = turns.fresh();
                    if left == 0 {
                        hedge_at = deadline;
                    } else if is_overdue || self.budget.lock().spend() {
                        self.stats.lock().hedges += 1;
                        if let Turn::Ask(peer) = turns.next() {
                            begins = Some(peer);
                        }
                    } else {
                        is_overdue = true;
                        let share = ask.remaining() / (left as u32 + 1);
                        hedge_at = tokio::time::Instant::now() + share;
                    }
                }
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        for peer in askable {
            said.entry(peer).or_insert(Refusal::Late);
        }
        if !said.is_empty() && said.values().all(|refusal| *refusal == Refusal::Missing) {
            return Ok(None);
        }
        let mut peers: Vec<_> = said.into_iter().collect();
        peers.sort_by_key(|(peer, _)| *peer);
        Err(FetchError { id, peers, took: start.elapsed() })
    }

    fn hedge_at(&self, peer: &NodeId) -> tokio::time::Instant {
        tokio::time::Instant::now() + self.tools.peers.lock().hedge_after(peer)
    }

    fn ranked(&self, members: &[NodeId], now: Instant) -> Vec<NodeId> {
        let mut peers = self.tools.peers.lock();
        for (peer, round_trip) in self.tools.driver.pings() {
            peers.pinged(peer, round_trip);
        }
        // Seldom: only where somebody is known who is asked no more.
        let mut lines = self.lines.lock();
        if peers.count().max(lines.len()) > members.len() {
            let members: HashSet<NodeId> = members.iter().copied().collect();
            peers.keep(&members);
            lines.retain(|peer, _| members.contains(peer));
        }
        drop(lines);
        peers.ranked(members, BYTES_GUESS, now)
    }

    async fn from(&self, peer: NodeId, id: BlockId, ask: Ask) -> (NodeId, Result<Block, Refusal>) {
        let line = {
            let mut lines = self.lines.lock();
            Arc::clone(lines.entry(peer).or_insert_with(|| Line::new(peer, Arc::clone(&self.tools))))
        };
        (peer, line.want(id, ask).await)
    }
}
