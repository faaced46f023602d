//! One peer's line: wants that wait while requests are under way go together in the next one.
//!
//! A want that comes alone goes at once. Under load a stream carries many, so that opening it costs little of each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use cairn_block::{Block, BlockId};
use cairn_store::{Ask, Priority};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::figures::Peers;
use super::{BYTES_GUESS, Refusal};
use crate::driver::Driver;
use crate::lane::{Lane, LaneError};
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::wire::blocks::{BlocksMessage, Found};
use crate::wire::{BUDGET_BYTES_MAX, DEADLINE_MAX, Message, Urgency};

/// Requests to one peer at a time; it answers at most 16.
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
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Want {
    fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }
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
    /// Somebody gave a want up: a request that nobody waits for any more ends.
    given_up: Notify,
}

impl Line {
    pub(super) fn new(peer: NodeId, tools: Arc<Tools>) -> Arc<Line> {
        Arc::new(Line { peer, tools, waiting: Mutex::default(), given_up: Notify::new() })
    }

    /// Asks the peer. Dropping the future gives the want up: it isn't sent if it wasn't yet, and a request that is for nobody else
    /// is cancelled.
    pub(super) async fn want(self: &Arc<Self>, id: BlockId, ask: Ask) -> Answer {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut waiting = self.waiting.lock();
            waiting.wants.retain(|want| !want.is_given_up());
            waiting.wants.push_back(Want { id, ask, since: Instant::now(), answer });
            let begins = waiting.requests < REQUESTS_MAX;
            waiting.requests += usize::from(begins);
            begins
        };
        if begins {
            tokio::spawn(Worker { line: Arc::clone(self), has_place: true }.work());
        }
        let _flight = InFlight::new(self);
        answered.await.unwrap_or_else(|_| Err(Refusal::Broken("the request was given up".into())))
    }

    /// The next wants that somebody still waits for. None if there are none, and then the worker's place is free at once: a want that
    /// comes right after gets a new one.
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
            if !want.is_given_up() {
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
        let start = Instant::now();
        let mut bytes = 0;
        let asked = tokio::time::timeout(urgency.deadline, self.ask(&mut wants, &mut bytes, urgency, ids)).await;
        self.tools.peers.lock().carried(self.peer, bytes, start.elapsed());
        let refusal = match asked {
            Ok(Ok(())) => Refusal::Broken("it hung up".into()),
            Ok(Err(refusal)) => refusal,
            Err(_) => Refusal::Late,
        };
        for want in wants.into_iter().flatten() {
            let _ = want.answer.send(Err(refusal.clone()));
        }
    }

    /// Takes wants out as they are answered; what is left then shares the way it ended.
    async fn ask(
        &self,
        wants: &mut [Option<Want>],
        bytes: &mut u64,
        urgency: Urgency,
        ids: Vec<BlockId>,
    ) -> Result<(), Refusal> {
        let stream = self.tools.driver.open(self.peer, BlocksMessage::PROTOCOL).await.map_err(Refusal::Unreachable)?;
        let mut lane = Lane::<BlocksMessage>::new(stream);
        let request = BlocksMessage::Get { urgency, budget: BUDGET_BYTES_MAX, ids };
        let sent = async {
            lane.send(&request).await?;
            lane.finish().await
        };
        sent.await.map_err(|error| self.refusal(error))?;
        loop {
            let receive = lane.receive(urgency.deadline, BlocksMessage::BODY_BYTES_MAX);
            tokio::pin!(receive);
            let message = loop {
                let given_up = self.given_up.notified();
                if wants.iter().flatten().all(Want::is_given_up) {
                    return Ok(());
                }
                tokio::select! {
                    message = &mut receive => break message,
                    () = given_up => {}
                }
            };
            let message = message.map_err(|error| self.refusal(error))?;
            let Some(message) = message else { return Ok(()) };
            let BlocksMessage::Answer { index, found } = message else {
                return Err(self.wrong("an answer to something else".into()));
            };
            let Some(want) = wants.get_mut(usize::from(index)).and_then(Option::take) else {
                return Err(self.wrong("an answer to a want that wasn't made".into()));
            };
            let answer = self.judge(&want.id, found);
            if let Ok(block) = &answer {
                *bytes += block.len() as u64;
                self.tools.peers.lock().waited(self.peer, want.since.elapsed());
            }
            let is_wrong = answer == Err(Refusal::Wrong);
            let _ = want.answer.send(answer);
            if is_wrong {
                // Nothing more is heard of it in this request.
                return Err(Refusal::Wrong);
            }
        }
    }

    fn judge(&self, id: &BlockId, found: Found) -> Answer {
        match found {
            Found::Here(block) => block.verify(id).map_err(|error| self.wrong(error.to_string())),
            Found::Missing => Err(Refusal::Missing),
            Found::Damaged => Err(Refusal::Damaged),
            Found::Busy(retry) => {
                self.tools.peers.lock().busy(self.peer, Instant::now() + retry);
                Err(Refusal::Busy(retry))
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

/// Makes one request after the other until nothing waits. Its place is free again however it ends.
struct Worker {
    line: Arc<Line>,
    has_place: bool,
}

impl Worker {
    async fn work(mut self) {
        while let Some(batch) = self.line.batch() {
            self.line.request(batch).await;
        }
        self.has_place = false;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.has_place {
            self.line.waiting.lock().requests -= 1;
        }
    }
}

/// Counts a want as under way until it is dropped, however it ends.
struct InFlight<'a>(&'a Line);

impl<'a> InFlight<'a> {
    fn new(line: &'a Line) -> Self {
        line.tools.peers.lock().asked(line.peer, BYTES_GUESS);
        InFlight(line)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.tools.peers.lock().ended(self.0.peer, BYTES_GUESS);
        self.0.given_up.notify_waiters();
    }
}
