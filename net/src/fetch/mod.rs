//! Getting a block from whoever has it: the likely fastest first, a second one where it is late, every byte verified.

mod figures;

use std::collections::HashMap;
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
use tokio::sync::Semaphore;

use crate::driver::Driver;
use crate::lane::{Lane, LaneError};
use crate::lanes::OpenError;
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::wire::blocks::{BlocksMessage, Found};
use crate::wire::{BUDGET_BYTES_MAX, DEADLINE_MAX, Message, Urgency};
use figures::{HedgeBudget, Peers};

/// Streams open to one peer at a time; it answers at most 64. More wants wait here, where their deadline is known.
const LANES_PER_PEER_MAX: usize = 32;

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
    /// It has too much to do.
    #[error("it is busy")]
    Busy,
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
    driver: Driver,
    strikes: Arc<Strikes>,
    peers: Mutex<Peers>,
    budget: Mutex<HedgeBudget>,
    lanes: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
    stats: Mutex<FetchStats>,
}

impl Fetcher {
    pub(crate) fn new(driver: Driver, strikes: Arc<Strikes>) -> Self {
        Fetcher {
            driver,
            strikes,
            peers: Mutex::default(),
            budget: Mutex::new(HedgeBudget::new()),
            lanes: Mutex::default(),
            stats: Mutex::default(),
        }
    }

    pub(crate) fn stats(&self) -> FetchStats {
        *self.stats.lock()
    }

    /// The block, from the first member that gives the right bytes. None if every member says that it has none.
    pub(crate) async fn fetch(&self, id: BlockId, ask: Ask) -> Result<Option<Block>, FetchError> {
        let start = Instant::now();
        let members: Vec<NodeId> = self.driver.doorman().members().into_iter().collect();
        let (shunned, askable): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| self.strikes.is_shunned(member));
        let mut refusals: Vec<_> = shunned.into_iter().map(|peer| (peer, Refusal::Shunned)).collect();
        let mut next = self.ranked(&askable, start).into_iter();
        let mut asked = FuturesUnordered::new();
        let mut waiting = Vec::new();
        self.budget.lock().earn();
        let deadline = tokio::time::Instant::from_std(ask.deadline);
        let mut hedge_at = deadline;
        loop {
            if asked.is_empty() {
                match next.next() {
                    Some(peer) => {
                        hedge_at = tokio::time::Instant::now() + self.peers.lock().hedge_after(&peer);
                        waiting.push(peer);
                        asked.push(self.from(peer, id, ask));
                    }
                    None => break,
                }
            }
            tokio::select! {
                Some((peer, answer)) = asked.next() => {
                    waiting.retain(|waits| *waits != peer);
                    match answer {
                        Ok(block) => {
                            let mut stats = self.stats.lock();
                            stats.blocks += 1;
                            stats.bytes += block.len() as u64;
                            return Ok(Some(block));
                        }
                        Err(refusal) => {
                            self.stats.lock().refused += 1;
                            refusals.push((peer, refusal));
                        }
                    }
                }
                () = tokio::time::sleep_until(hedge_at), if hedge_at < deadline => {
                    hedge_at = deadline;
                    if next.len() > 0 && self.budget.lock().spend()
                        && let Some(peer) = next.next()
                    {
                        self.stats.lock().hedges += 1;
                        waiting.push(peer);
                        asked.push(self.from(peer, id, ask));
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    refusals.extend(waiting.drain(..).map(|peer| (peer, Refusal::Late)));
                    break;
                }
            }
        }
        let all_said_so = refusals.iter().all(|(_, refusal)| *refusal == Refusal::Missing);
        if all_said_so && next.len() == 0 && !refusals.is_empty() {
            return Ok(None);
        }
        Err(FetchError { id, peers: refusals, took: start.elapsed() })
    }

    fn ranked(&self, members: &[NodeId], now: Instant) -> Vec<NodeId> {
        let mut peers = self.peers.lock();
        for (peer, round_trip) in self.driver.pings() {
            peers.pinged(peer, round_trip);
        }
        peers.ranked(members, BYTES_GUESS, now)
    }

    async fn from(&self, peer: NodeId, id: BlockId, ask: Ask) -> (NodeId, Result<Block, Refusal>) {
        let start = Instant::now();
        let flight = InFlight::new(self, peer);
        let answer = self.ask(peer, id, ask).await;
        drop(flight);
        if let Ok(block) = &answer {
            self.peers.lock().answered(peer, block.len() as u64, start.elapsed());
        }
        (peer, answer)
    }

    async fn ask(&self, peer: NodeId, id: BlockId, ask: Ask) -> Result<Block, Refusal> {
        let turns = {
            let mut lanes = self.lanes.lock();
            Arc::clone(lanes.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(LANES_PER_PEER_MAX))))
        };
        // Never closed; whoever waits too long is told so by the deadline around this.
        let _turn = turns.acquire().await.map_err(|_| Refusal::Busy)?;
        let stream = self.driver.open(peer, BlocksMessage::PROTOCOL).await.map_err(Refusal::Unreachable)?;
        let mut lane = Lane::<BlocksMessage>::new(stream);
        let urgency = Urgency { priority: ask.priority, deadline: ask.remaining().min(DEADLINE_MAX) };
        let request = BlocksMessage::Get { urgency, budget: BUDGET_BYTES_MAX, ids: vec![id] };
        let answer = async {
            lane.send(&request).await?;
            lane.finish().await?;
            lane.receive(ask.remaining()).await
        };
        let answer: Result<Option<BlocksMessage>, LaneError> = answer.await;
        let wrong = |reason: String| {
            self.strikes.strike(peer, reason);
            Err(Refusal::Wrong)
        };
        match answer {
            Ok(Some(BlocksMessage::Answer { index: 0, found })) => match found {
                Found::Here(block) => block.verify(&id).or_else(|error| wrong(error.to_string())),
                Found::Missing => Err(Refusal::Missing),
                Found::Damaged => Err(Refusal::Damaged),
                Found::Busy(retry) => {
                    self.peers.lock().busy(peer, Instant::now() + retry);
                    Err(Refusal::Busy)
                }
                // One block always fits the whole budget.
                Found::OverBudget => wrong("a block over a budget that holds every block".into()),
            },
            Ok(Some(_)) => wrong("an answer to something else".into()),
            Ok(None) => Err(Refusal::Broken("it hung up".into())),
            Err(error) if error.is_misbehaviour() => wrong(error.to_string()),
            Err(LaneError::Silent(_)) => Err(Refusal::Late),
            Err(error) => Err(Refusal::Broken(error.to_string())),
        }
    }
}

/// Counts a request as under way until it is dropped, however it ends.
struct InFlight<'a>(&'a Fetcher, NodeId);

impl<'a> InFlight<'a> {
    fn new(fetcher: &'a Fetcher, peer: NodeId) -> Self {
        fetcher.peers.lock().asked(peer, BYTES_GUESS);
        InFlight(fetcher, peer)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.peers.lock().ended(self.1, BYTES_GUESS);
    }
}
