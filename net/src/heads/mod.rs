//! Heads among the nodes that share volumes: pushed as they are made, and made up for when two nodes meet.
//!
//! Which volumes two nodes share nobody else can tell: each is called by a tag that takes its locate key to compute, another
//! one for each pair and direction. `docs/WIRE.md` has the messages.

mod exchange;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cairn_block::{DeviceId, UntrustedHead, VolumeId};
use cairn_store::StoredHead;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::talk::{Heard, Talk};
use crate::wire::heads::{HeadTag, HeadsMessage};
use exchange::{Exchange, Todo};

/// How often it is looked whether a peer has read what it was told, while there is more for it.
const PUMP_EVERY: Duration = Duration::from_millis(5);
/// What could not be kept is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Messages that wait for one peer. Two devices that meet after years have a thousand heads of each device for each other; a
/// peer that asks for everything again and again and reads nothing gets no more than this.
const OUTBOX_MAX: usize = 16 << 10;

/// A node's heads, as the program keeps them. Its calls may block.
pub trait HeadsBook: Send + Sync {
    /// Every volume that this node knows, and what `sender` calls it towards `receiver`: [`HeadTag::of`].
    fn tags(&self, sender: &DeviceId, receiver: &DeviceId) -> Vec<(VolumeId, HeadTag)>;

    /// The heads that are kept, ascending by device and number.
    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, String>;

    /// Verifies a head and keeps it. What is kept is durable.
    fn take(&self, volume: &VolumeId, head: &UntrustedHead) -> Taken;
}

/// What became of a head from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is kept.
    New {
        /// Whose it is.
        device: DeviceId,
        /// Its number.
        seq: u64,
    },
    /// It was here.
    Known {
        /// Whose it is.
        device: DeviceId,
        /// Its number.
        seq: u64,
    },
    /// No node of ours passes on such a head; the peer is to blame.
    Refused(String),
    /// This node is to blame.
    Failed(String),
}

/// Tells the exchange what happened here. Never waits.
#[derive(Clone, Default)]
pub struct HeadsBell(Arc<Rung>);

#[derive(Default)]
struct Rung {
    news: Mutex<News>,
    rung: Notify,
}

/// What happened here since the task looked.
#[derive(Default)]
struct News {
    /// Volumes of which this node made heads.
    grown: BTreeSet<VolumeId>,
    /// Whether other volumes are known than before.
    is_renamed: bool,
}

impl HeadsBell {
    /// This node made heads of a volume, and they are durable.
    pub fn grown(&self, volume: VolumeId) {
        self.0.news.lock().grown.insert(volume);
        self.0.rung.notify_one();
    }

    /// This node knows other volumes than before.
    pub fn renamed(&self) {
        self.0.news.lock().is_renamed = true;
        self.0.rung.notify_one();
    }
}

/// Starts the exchange.
pub(crate) fn start(
    me: DeviceId,
    book: Arc<dyn HeadsBook>,
    strikes: Arc<Strikes>,
    talk: Talk<HeadsMessage>,
    heard: mpsc::Receiver<Heard<HeadsMessage>>,
    bell: HeadsBell,
) -> JoinHandle<()> {
    let exchange = Arc::new(Mutex::new(Exchange::new(me, book)));
    let task = Task { exchange, strikes, talk, bell, outboxes: HashMap::new() };
    tokio::spawn(task.run(heard))
}

struct Task {
    /// Held by one step at a time, which may block: steps run where that harms nobody.
    exchange: Arc<Mutex<Exchange>>,
    strikes: Arc<Strikes>,
    talk: Talk<HeadsMessage>,
    bell: HeadsBell,
    /// What peers are still to be told. A new device is told of many heads, more than a lane takes at once.
    outboxes: HashMap<NodeId, VecDeque<HeadsMessage>>,
}

impl Task {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard<HeadsMessage>>) {
        let mut pump = tokio::time::interval(PUMP_EVERY);
        pump.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let bell = self.bell.clone();
        loop {
            tokio::select! {
                heard = heard.recv() => match heard {
                    None => return,
                    Some(Heard::Opened(peer)) => {
                        self.outboxes.remove(&peer);
                        self.step(move |exchange| exchange.connected(peer)).await;
                    }
                    Some(Heard::Closed(peer)) => {
                        self.outboxes.remove(&peer);
                        self.exchange.lock().gone(&peer);
                    }
                    Some(Heard::Said(peer, message)) => {
                        let strike = self.step(move |exchange| exchange.heard(peer, message)).await;
                        if let Some(reason) = strike {
                            self.strikes.strike(peer, reason);
                        }
                    }
                },
                () = bell.0.rung.notified() => {
                    let news = std::mem::take(&mut *bell.0.news.lock());
                    if news.is_renamed {
                        self.step(Exchange::renamed).await;
                    }
                    for volume in news.grown {
                        self.step(move |exchange| exchange.grown(&volume)).await;
                    }
                }
                _ = pump.tick(), if !self.outboxes.is_empty() => {}
            }
            self.pump();
        }
    }

    /// Runs a step where it may block, and puts what it wants said into the outboxes.
    async fn step(&mut self, step: impl FnOnce(&mut Exchange) -> Todo + Send + 'static) -> Option<String> {
        let exchange = Arc::clone(&self.exchange);
        let Ok(todo) = tokio::task::spawn_blocking(move || step(&mut exchange.lock())).await else {
            tracing::error!("a step of the exchange of heads failed");
            return None;
        };
        for (peer, message) in todo.send {
            let outbox = self.outboxes.entry(peer).or_default();
            if outbox.len() < OUTBOX_MAX {
                outbox.push_back(message);
            }
        }
        if todo.is_short {
            let bell = self.bell.clone();
            tokio::spawn(async move {
                tokio::time::sleep(ASK_AGAIN).await;
                bell.renamed();
            });
        }
        todo.strike
    }

    /// Says as much as lanes take.
    fn pump(&mut self) {
        let talk = &self.talk;
        self.outboxes.retain(|peer, outbox| {
            for message in outbox.drain(..talk.room(peer).min(outbox.len())) {
                talk.say(peer, message);
            }
            !outbox.is_empty()
        });
    }
}
