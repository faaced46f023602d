//! One peer's line: wants that wait while requests are under way go together in the next one.
//!
//! A want that comes alone goes at once. Under load a stream carries many, so that opening it costs little of each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::{Block, BlockId};
use cairn_store::{Ask, Priority};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::figures::Peers;
use super::{BYTES_GUESS, Refusal};
use crate::driver::Driver;
use crate::lane::{Lane, LaneError};
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::wire::blocks::{BlocksMessage, Found};
use crate::wire::{BUDGET_BYTES_MAX, DEADLINE_MAX, Message, Urgency};

/// Requests to one peer at a time; it answers at most 64.
const REQUESTS_MAX: usize = 8;
/// Wants in one request: so many of the largest blocks fit its budget.
const BATCH_MAX: usize = 16;

/// What requests need, whoever they go to.
pub(super) struct Tools {
    pub(super) driver: Driver,
    pub(super) strikes: Arc<Strikes>,
    pub(super) peers: Mutex<Peers>,
}

type Answer = Result<Block, Refusal>;

struct Want {
    id: BlockId,
    ask: Ask,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Waiting {
    wants: VecDeque<Want>,
    requests: usize,
}

/// The line to one peer.
pub(super) struct Line {
    peer: NodeId,
    tools: Arc<Tools>,
    waiting: Mutex<Waiting>,
}

impl Line {
    pub(super) fn new(peer: NodeId, tools: Arc<Tools>) -> Arc<Line> {
        Arc::new(Line { peer, tools, waiting: Mutex::default() })
    }

    /// Asks the peer. Dropping the future gives the want up: it isn't sent if it wasn't yet.
    pub(super) async fn want(self: &Arc<Self>, id: BlockId, ask: Ask) -> Answer {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut waiting = self.waiting.lock();
            waiting.wants.push_back(Want { id, ask, answer });
            let begins = waiting.requests < REQUESTS_MAX;
            waiting.requests += usize::from(begins);
            begins
        };
        if begins {
            tokio::spawn(Arc::clone(self).work());
        }
        let _flight = InFlight::new(&self.tools.peers, self.peer);
        answered.await.unwrap_or_else(|_| Err(Refusal::Broken("the request was given up".into())))
    }

    /// Makes one request after the other until nothing waits.
    async fn work(self: Arc<Self>) {
        while let Some(batch) = self.batch() {
            self.request(batch).await;
        }
    }

    /// The next wants that somebody still waits for; none, and the worker ends, if there are none.
    fn batch(&self) -> Option<Vec<Want>> {
        let mut waiting = self.waiting.lock();
        let mut batch: Vec<Want> = Vec::new();
        while batch.len() < BATCH_MAX
            && let Some(want) = waiting.wants.pop_front()
        {
            // One id is asked for once in a request: who wants it again asks in the next one.
            if batch.iter().any(|other| other.id == want.id) {
                waiting.wants.push_front(want);
                break;
            }
            if !want.answer.is_closed() {
                batch.push(want);
            }
        }
        if batch.is_empty() {
            waiting.requests -= 1;
            return None;
        }
        Some(batch)
    }

    async fn request(&self, batch: Vec<Want>) {
        let urgency = Urgency {
            priority: batch.iter().map(|want| want.ask.priority).min().unwrap_or(Priority::Now),
            deadline: batch.iter().map(|want| want.ask.remaining()).max().unwrap_or_default().min(DEADLINE_MAX),
        };
        let ids = batch.iter().map(|want| want.id).collect();
        let mut wants: Vec<Option<Want>> = batch.into_iter().map(Some).collect();
        let asked = self.ask(&mut wants, urgency, ids).await;
        let refusal = match asked {
            Ok(()) => Refusal::Broken("it hung up".into()),
            Err(refusal) => refusal,
        };
        for want in wants.into_iter().flatten() {
            let _ = want.answer.send(Err(refusal.clone()));
        }
    }

    /// Takes wants out as they are answered; what is left then shares the way it ended.
    async fn ask(&self, wants: &mut [Option<Want>], urgency: Urgency, ids: Vec<BlockId>) -> Result<(), Refusal> {
        let stream = self.tools.driver.open(self.peer, BlocksMessage::PROTOCOL).await.map_err(Refusal::Unreachable)?;
        let mut lane = Lane::<BlocksMessage>::new(stream);
        let mut since = Instant::now();
        let request = BlocksMessage::Get { urgency, budget: BUDGET_BYTES_MAX, ids };
        let sent = async {
            lane.send(&request).await?;
            lane.finish().await
        };
        sent.await.map_err(|error| self.refusal(error))?;
        let until = Instant::now() + urgency.deadline;
        while wants.iter().flatten().any(|want| !want.answer.is_closed()) {
            let patience = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let message = lane.receive(patience).await.map_err(|error| self.refusal(error))?;
            let Some(message) = message else { return Ok(()) };
            let BlocksMessage::Answer { index, found } = message else {
                return Err(self.wrong("an answer to something else".into()));
            };
            let Some(want) = wants.get_mut(usize::from(index)).and_then(Option::take) else {
                return Err(self.wrong("an answer to a want that wasn't made".into()));
            };
            let answer = self.judge(&want.id, found);
            if let Ok(block) = &answer {
                self.tools.peers.lock().answered(self.peer, block.len() as u64, since.elapsed());
            }
            let is_wrong = answer == Err(Refusal::Wrong);
            let _ = want.answer.send(answer);
            if is_wrong {
                // Nothing more is heard of it in this request.
                return Err(Refusal::Wrong);
            }
            since = Instant::now();
        }
        Ok(())
    }

    fn judge(&self, id: &BlockId, found: Found) -> Answer {
        match found {
            Found::Here(block) => block.verify(id).map_err(|error| self.wrong(error.to_string())),
            Found::Missing => Err(Refusal::Missing),
            Found::Damaged => Err(Refusal::Damaged),
            Found::Busy(retry) => {
                self.tools.peers.lock().busy(self.peer, Instant::now() + retry);
                Err(Refusal::Busy)
            }
            // A batch of the largest blocks fits the budget.
            Found::OverBudget => Err(self.wrong("blocks over a budget that holds as many".into())),
        }
    }

    fn wrong(&self, reason: String) -> Refusal {
        self.tools.strikes.strike(self.peer, reason);
        Refusal::Wrong
    }

    fn refusal(&self, error: LaneError) -> Refusal {
        match error {
            error if error.is_misbehaviour() => self.wrong(error.to_string()),
            LaneError::Silent(_) => Refusal::Late,
            error => Refusal::Broken(error.to_string()),
        }
    }
}

/// Counts a want as under way until it is dropped, however it ends.
struct InFlight<'a>(&'a Mutex<Peers>, NodeId);

impl<'a> InFlight<'a> {
    fn new(peers: &'a Mutex<Peers>, peer: NodeId) -> Self {
        peers.lock().asked(peer, BYTES_GUESS);
        InFlight(peers, peer)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.lock().ended(self.1, BYTES_GUESS);
    }
}
