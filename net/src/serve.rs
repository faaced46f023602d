//! Answering peers: blocks of a store, a bounded number of reads at a time, never a queue that somebody waits in.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_block::{BlockId, DecodeError, UnverifiedBlock};
use cairn_store::{Ask, BlockStore, StoreError};
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lane::{Lane, LaneError};
use crate::lanes::{Arrivals, Arrived};
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::wire::blocks::{BlocksMessage, Found, REQUEST_BYTES_MAX};

/// How long a peer may take to say what it wants.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// Reads of the store at a time: enough to keep a disk busy.
const READS_MAX: usize = 16;
/// Blocks of one request that are read ahead of the one being sent.
const READ_AHEAD: usize = 4;
/// How long a want waits for a read to begin; after that the peer asks elsewhere.
const QUEUE_MAX: Duration = Duration::from_millis(200);
/// What a busy node asks for.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Streams of one peer that are answered at a time. Each may hold [`READ_AHEAD`] blocks: 80 MiB for a peer that doesn't read.
const STREAMS_PER_PEER_MAX: usize = 16;
/// The longest that a peer may take to accept all answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    store: Arc<dyn BlockStore>,
    reads: Arc<Semaphore>,
    peers: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
    strikes: Arc<Strikes>,
}

impl Server {
    pub(crate) fn new(store: Arc<dyn BlockStore>, strikes: Arc<Strikes>) -> Arc<Self> {
        Arc::new(Server { store, reads: Arc::new(Semaphore::new(READS_MAX)), peers: Mutex::default(), strikes })
    }

    /// Answers whatever comes, until nothing more can.
    pub(crate) async fn run(self: Arc<Self>, mut arrivals: Arrivals) {
        while let Some(arrived) = arrivals.recv().await {
            if self.strikes.is_shunned(&arrived.peer) {
                continue;
            }
            let Some(turn) = self.turn(&arrived.peer) else {
                tracing::debug!(peer = %arrived.peer, "a stream too many was refused");
                continue;
            };
            tokio::spawn(Arc::clone(&self).blocks(arrived, turn));
        }
    }

    /// A turn to answer one stream; none if the peer has too many.
    fn turn(&self, peer: &NodeId) -> Option<OwnedSemaphorePermit> {
        let mut peers = self.peers.lock();
        // Peers that have none open are forgotten.
        peers.retain(|known, turns| known == peer || turns.available_permits() < STREAMS_PER_PEER_MAX);
        let turns = peers.entry(*peer).or_insert_with(|| Arc::new(Semaphore::new(STREAMS_PER_PEER_MAX)));
        Arc::clone(turns).try_acquire_owned().ok()
    }

    async fn blocks(self: Arc<Self>, arrived: Arrived, _turn: OwnedSemaphorePermit) {
        let peer = arrived.peer;
        let mut lane = Lane::<BlocksMessage>::new(arrived.stream);
        if let Err(error) = self.answer(&mut lane).await {
            if error.is_misbehaviour() {
                self.strikes.strike(peer, error.to_string());
            }
            tracing::debug!(%peer, %error, "a request was not answered to its end");
        }
    }

    async fn answer(&self, lane: &mut Lane<BlocksMessage>) -> Result<(), LaneError> {
        let request = lane.receive(REQUEST_PATIENCE, REQUEST_BYTES_MAX).await?;
        let patience = match &request {
            Some(BlocksMessage::Get { urgency, .. }) => urgency.deadline.min(ANSWER_PATIENCE),
            _ => ANSWER_PATIENCE,
        };
        // What comes later is of no use to whoever asked.
        let answered = tokio::time::timeout(patience, self.answer_to(lane, request)).await;
        answered.map_err(|_| LaneError::Silent(patience))?
    }

    async fn answer_to(&self, lane: &mut Lane<BlocksMessage>, request: Option<BlocksMessage>) -> Result<(), LaneError> {
        match request {
            None => Ok(()),
            Some(BlocksMessage::Has(ids)) => {
                let holds = self.look(ids).await;
                lane.send(&BlocksMessage::Holds(holds)).await?;
                lane.finish().await
            }
            Some(BlocksMessage::Get { urgency, budget, ids }) => {
                let ask = Ask { deadline: std::time::Instant::now() + urgency.deadline, priority: urgency.priority };
                let left = AtomicUsize::new(budget as usize);
                // The next ones are read while one is sent, and sent as they are ready.
                let reads = ids.into_iter().enumerate().map(|(index, id)| {
                    let left = &left;
                    async move {
                        match left.load(Ordering::Relaxed) {
                            0 => (index, Found::OverBudget),
                            _ => (index, self.read(id, ask).await),
                        }
                    }
                });
                let mut reads = stream::iter(reads).buffer_unordered(READ_AHEAD);
                while let Some((index, found)) = reads.next().await {
                    let room = left.load(Ordering::Relaxed);
                    let found = match found {
                        Found::Here(block) if block.as_sent().len() > room => Found::OverBudget,
                        found => found,
                    };
                    if let Found::Here(block) = &found {
                        left.store(room - block.as_sent().len(), Ordering::Relaxed);
                    }
                    lane.send(&BlocksMessage::Answer { index: index as u16, found }).await?;
                    lane.flush().await?;
                }
                lane.finish().await
            }
            Some(_) => Err(DecodeError::invalid("request for blocks", "it is an answer").into()),
        }
    }

    async fn look(&self, ids: Vec<BlockId>) -> Vec<bool> {
        let store = Arc::clone(&self.store);
        let count = ids.len();
        let looked = move || ids.iter().map(|id| store.has(id).unwrap_or(false)).collect();
        tokio::task::spawn_blocking(looked).await.unwrap_or_else(|_| vec![false; count])
    }

    async fn read(&self, id: BlockId, ask: Ask) -> Found {
        let busy = Found::Busy(RETRY_AFTER);
        let wait = tokio::time::timeout(QUEUE_MAX.min(ask.remaining()), Arc::clone(&self.reads).acquire_owned());
        let Ok(Ok(reading)) = wait.await else { return busy };
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || {
            let _reading = reading;
            store.get(&id, ask)
        });
        match read.await {
            Ok(Ok(Some(block))) => Found::Here(UnverifiedBlock::from(block)),
            Ok(Ok(None)) => Found::Missing,
            Ok(Err(StoreError::Damaged { .. })) => Found::Damaged,
            Ok(Err(StoreError::Timeout { .. })) => busy,
            Ok(Err(error)) => {
                tracing::warn!(%id, %error, "a block that a peer wants can't be read");
                busy
            }
            Err(_) => busy,
        }
    }
}
