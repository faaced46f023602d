//! A conversation with every member that is connected: one lane to each, opened again when it breaks.
//!
//! What this node says goes over the lane that it opened, what a peer says over the one that the peer opened; so nobody has to
//! agree on whose lane counts. A lane that was opened anew begins with nothing: whoever hears [`Heard::Opened`] says everything
//! that the peer has to know. That makes every loss harmless, also the deliberate one: a peer that doesn't read what it is told
//! has its lane cut, and is told the newest state on the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::Stream;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use crate::driver::Driver;
use crate::lane::{Lane, write};
use crate::lanes::{Arrivals, Arrived};
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::wire::Message;

/// Messages that wait for one peer: a run of epochs and what is said beside it. A lane with more is cut.
const QUEUE_MAX: usize = 64;
/// Messages that were heard and that nobody has taken yet; peers wait then, each in turn.
const HEARD_MAX: usize = 16;
/// How long a peer may take for one message, to read it or to send it, once it has begun.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(30);
/// The first wait before a lane is opened again; each further one is twice as long.
const REOPEN_FIRST: Duration = Duration::from_millis(250);
/// The longest wait. A peer that opens a lane of its own ends it at once.
const REOPEN_MAX: Duration = Duration::from_secs(30);
/// A lane that lasted for this long was a good one: the waits begin anew.
const STEADY: Duration = Duration::from_secs(10);

/// What happens in a conversation.
#[derive(Debug)]
pub(crate) enum Heard<M> {
    /// There is a new lane to this member: it was told nothing yet.
    Opened(NodeId),
    /// A member said something.
    Said(NodeId, M),
    /// There is no lane to this peer any more. What was said last may not have arrived. May be told twice.
    Closed(NodeId),
}

/// One protocol's conversation with all members. Ends when the last handle and the receiver of what is heard are gone, or with
/// the task that [`Talk::start`] gives.
pub(crate) struct Talk<M>(Arc<Inner<M>>);

struct Inner<M> {
    driver: Driver,
    strikes: Arc<Strikes>,
    lines: Mutex<HashMap<NodeId, Line<M>>>,
    heard: mpsc::Sender<Heard<M>>,
}

/// A lane that this node speaks on.
struct Line<M> {
    queue: mpsc::Sender<M>,
    /// Dropping it ends the lane at once, in the middle of a message too.
    _held: oneshot::Sender<()>,
}

impl<M> Clone for Talk<M> {
    fn clone(&self) -> Self {
        Talk(Arc::clone(&self.0))
    }
}

impl<M: Message + Send + 'static> Talk<M> {
    /// Starts talking with whoever is connected and a member. `arrivals` are the streams of this protocol. Whoever takes what
    /// is heard never waits for a peer: [`Talk::say`] doesn't.
    pub(crate) fn start(
        driver: Driver,
        strikes: Arc<Strikes>,
        arrivals: Arrivals,
    ) -> (Talk<M>, mpsc::Receiver<Heard<M>>, JoinHandle<()>) {
        let (heard, hears) = mpsc::channel(HEARD_MAX);
        let talk = Talk(Arc::new(Inner { driver, strikes, lines: Mutex::default(), heard }));
        let task = tokio::spawn(talk.clone().run(arrivals));
        (talk, hears, task)
    }

    /// Says something to a member. False where there is no lane to it now, or was: [`Heard::Opened`] follows the next one.
    pub(crate) fn say(&self, peer: &NodeId, message: M) -> bool {
        let mut lines = self.0.lines.lock();
        let Some(line) = lines.get(peer) else { return false };
        if line.queue.try_send(message).is_ok() {
            return true;
        }
        // It has ended, or the peer doesn't read.
        tracing::debug!(%peer, protocol = M::PROTOCOL, "a lane was cut");
        lines.remove(peer);
        false
    }

    /// How many messages a lane to a member takes now without being cut.
    pub(crate) fn room(&self, peer: &NodeId) -> usize {
        self.0.lines.lock().get(peer).map_or(0, |line| line.queue.capacity())
    }

    /// Members that there is a lane to now.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        self.0.lines.lock().keys().copied().collect()
    }

    async fn run(self, mut arrivals: Arrivals) {
        let mut ties = self.0.driver.ties();
        let mut sides = HashMap::<NodeId, Sides>::new();
        // Ends all of them with itself.
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                changed = ties.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let members = ties.borrow_and_update().clone();
                    let is_here = |peer: &NodeId| members.get(peer).is_some_and(|tie| tie.is_member);
                    let gone: Vec<NodeId> = sides.keys().filter(|peer| !is_here(peer)).copied().collect();
                    for peer in gone {
                        sides.remove(&peer).into_iter().for_each(Sides::end);
                        self.0.lines.lock().remove(&peer);
                        if !self.tell(Heard::Closed(peer)).await {
                            return;
                        }
                    }
                    for peer in members.keys().filter(|peer| is_here(peer)) {
                        sides.entry(*peer).or_insert_with(|| self.both(*peer, &mut tasks));
                    }
                }
                arrived = arrivals.recv() => {
                    let Some(Arrived { peer, stream }) = arrived else { return };
                    // It may come before the news that the peer is connected.
                    if self.0.driver.doorman().is_member(&peer) && !self.0.strikes.is_shunned(&peer) {
                        let side = sides.entry(peer).or_insert_with(|| self.both(peer, &mut tasks));
                        let listens = tasks.spawn(self.clone().listen(peer, stream));
                        // The newest counts: the one before may be dead and not know it.
                        side.listens.replace(listens).inspect(AbortHandle::abort);
                        side.nudge.notify_one();
                    }
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Begins to speak with a peer.
    fn both(&self, peer: NodeId, tasks: &mut JoinSet<()>) -> Sides {
        let nudge = Arc::<Notify>::default();
        let speaks = tasks.spawn(self.clone().speak(peer, Arc::clone(&nudge)));
        Sides { nudge, speaks, listens: None }
    }

    async fn tell(&self, heard: Heard<M>) -> bool {
        self.0.heard.send(heard).await.is_ok()
    }

    /// Keeps a lane to a peer, for as long as it is a member that is connected.
    async fn speak(self, peer: NodeId, nudge: Arc<Notify>) {
        let mut wait = REOPEN_FIRST;
        loop {
            let begun = Instant::now();
            if let Ok(stream) = self.0.driver.open(peer, M::PROTOCOL).await {
                let ((queue, carried), (held, cut)) = (mpsc::channel(QUEUE_MAX), oneshot::channel());
                let ours = queue.downgrade();
                self.0.lines.lock().insert(peer, Line { queue, _held: held });
                if !self.tell(Heard::Opened(peer)).await {
                    return;
                }
                tokio::select! {
                    _ = cut => {}
                    carried = carry(stream, carried) => if let Err(reason) = carried {
                        self.0.strikes.strike(peer, reason);
                    }
                }
                {
                    let mut lines = self.0.lines.lock();
                    // The one that was kept until now, if it wasn't cut.
                    let is_ours = |now: &Line<M>| ours.upgrade().is_some_and(|queue| queue.same_channel(&now.queue));
                    if lines.get(&peer).is_some_and(is_ours) {
                        lines.remove(&peer);
                    }
                }
                if !self.tell(Heard::Closed(peer)).await {
                    return;
                }
            }
            if begun.elapsed() >= STEADY {
                wait = REOPEN_FIRST;
            }
            // A peer that speaks to us takes us for a member.
            if tokio::time::timeout(wait, nudge.notified()).await.is_ok() {
                wait = REOPEN_FIRST;
                // Not faster than this, whatever a peer does.
                tokio::time::sleep(REOPEN_FIRST).await;
            } else {
                wait = (wait * 2).min(REOPEN_MAX);
            }
        }
    }

    /// Takes what a peer says, until it has finished or says what no node of ours does.
    async fn listen(self, peer: NodeId, stream: Stream) {
        let mut lane = Lane::<M>::new(stream);
        loop {
            let said = lane.next(MESSAGE_PATIENCE, M::BODY_BYTES_MAX).await;
            // What was underway when its membership ended counts no more.
            if !self.0.driver.doorman().is_member(&peer) || self.0.strikes.is_shunned(&peer) {
                return;
            }
            match said {
                Ok(Some(message)) => {
                    if !self.tell(Heard::Said(peer, message)).await {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    if error.is_misbehaviour() {
                        self.0.strikes.strike(peer, error.to_string());
                    }
                    tracing::debug!(%peer, %error, protocol = M::PROTOCOL, "a lane ended");
                    return;
                }
            }
        }
    }
}

/// Both sides of a conversation with one member.
struct Sides {
    nudge: Arc<Notify>,
    speaks: AbortHandle,
    listens: Option<AbortHandle>,
}

impl Sides {
    fn end(self) {
        self.speaks.abort();
        self.listens.inspect(AbortHandle::abort);
    }
}

/// Carries messages to a peer until the lane ends; an error is something that no node of ours does.
async fn carry<M: Message>(stream: Stream, mut queue: mpsc::Receiver<M>) -> Result<(), String> {
    let (mut reads, mut writes) = stream.split();
    let mut byte = [0; 1];
    loop {
        tokio::select! {
            message = queue.recv() => {
                let Some(message) = message else { return Ok(()) };
                let body = message.encode();
                let sent = async {
                    write(&mut writes, body).await?;
                    writes.flush().await
                };
                match tokio::time::timeout(MESSAGE_PATIENCE, sent).await {
                    Ok(Ok(())) => {}
                    _ => return Ok(()),
                }
            }
            // Nothing comes this way but the end.
            read = reads.read(&mut byte) => {
                return match read {
                    Ok(count) if count > 0 => Err("it answers on a lane that only we speak on".into()),
                    _ => Ok(()),
                };
            }
        }
    }
}
