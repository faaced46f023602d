//! Conversations: everybody hears everybody, and whoever breaks off is found again.

use cairn_block::CircleId;
use futures::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::driver::Driver;
use crate::lanes::Doorman;
use crate::strikes::Strikes;
use crate::talk::{Heard, Talk};
use crate::wire::Message;
use crate::wire::circle::CircleMessage;

struct Talker {
    driver: Driver,
    strikes: Arc<Strikes>,
    talk: Talk<CircleMessage>,
    hears: mpsc::Receiver<Heard<CircleMessage>>,
    task: JoinHandle<()>,
    address: SocketAddr,
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Talker {
    async fn start(seed: u8) -> Talker {
        let mut doorman = Doorman::default();
        let arrivals = doorman.for_members(CircleMessage::PROTOCOL);
        let key = DeviceKey::from_bytes(&[seed; 32]);
        let (driver, _) = Driver::start(&key, &options(Transports::Both), doorman).expect("a node");
        let address = driver.listening(1).await.expect("it listens")[0];
        let strikes = Arc::<Strikes>::default();
        let (talk, hears, task) = Talk::start(driver.clone(), Arc::clone(&strikes), arrivals);
        Talker { driver, strikes, talk, hears, task, address }
    }

    fn id(&self) -> NodeId {
        self.driver.me()
    }

    async fn hear(&mut self) -> Heard<CircleMessage> {
        tokio::time::timeout(PATIENCE, self.hears.recv()).await.expect("something in time").expect("it runs")
    }

    /// Waits for a new lane to a peer.
    async fn opened(&mut self, peer: NodeId) {
        while !matches!(self.hear().await, Heard::Opened(opened) if opened == peer) {}
    }

    async fn hears_tip(&mut self, peer: NodeId, number: u64) {
        loop {
            if let Heard::Said(from, CircleMessage::Tip { number: told, .. }) = self.hear().await
                && (from, told) == (peer, number)
            {
                return;
            }
        }
    }
}

fn tip(number: u64) -> CircleMessage {
    CircleMessage::Tip { circle: CircleId::from_bytes([1; 16]), number, hash: [2; 32] }
}

async fn both(a: &Talker, b: &Talker) {
    a.driver.set_members(HashSet::from([b.id()])).await;
    b.driver.set_members(HashSet::from([a.id()])).await;
    a.driver.know(b.id(), vec![b.address]).await;
}

/// Says something until it is heard: a lane may end while both find each other.
async fn tells(from: &Talker, to: &mut Talker, number: u64) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "it is never heard");
        from.talk.say(&to.id(), tip(number));
        if tokio::time::timeout(Duration::from_millis(500), to.hears_tip(from.id(), number)).await.is_ok() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_says_the_other_hears_in_order_and_again_after_it_was_away() {
    let (mut a, mut b) = (Talker::start(1).await, Talker::start(2).await);
    both(&a, &b).await;
    a.opened(b.id()).await;
    b.opened(a.id()).await;
    for number in 1..20 {
        tells(&a, &mut b, number).await;
        tells(&b, &mut a, 100 + number).await;
    }
    b.driver.end().await;
    while !matches!(a.hear().await, Heard::Closed(_)) {}
    assert!(!a.talk.say(&b.id(), tip(1)) && a.talk.peers().is_empty());
    let mut b = Talker::start(2).await;
    b.driver.set_members(HashSet::from([a.id()])).await;
    b.driver.know(a.id(), vec![a.address]).await;
    a.opened(b.id()).await;
    tells(&a, &mut b, 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut_and_told_anew_and_keeps_nobody_waiting() {
    let (mut a, b) = (Talker::start(1).await, Talker::start(2).await);
    both(&a, &b).await;
    a.opened(b.id()).await;
    // B takes nothing of what it hears: its window fills, then the queue.
    let (start, large) = (Instant::now(), bytes::Bytes::from(vec![0; 1 << 20]));
    while a.talk.say(&b.id(), CircleMessage::Epoch(large.clone())) {
        assert!(start.elapsed() < PATIENCE, "it goes on without end");
        tokio::task::yield_now().await;
    }
    a.opened(b.id()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_heard_of_strangers_and_junk_is_a_strike() {
    let (mut a, mut b, c) = (Talker::start(1).await, Talker::start(2).await, Talker::start(3).await);
    both(&a, &b).await;
    // C takes A for a member; A has never heard of C.
    c.driver.set_members(HashSet::from([a.id()])).await;
    c.driver.know(a.id(), vec![a.address]).await;
    a.opened(b.id()).await;
    b.opened(a.id()).await;
    for bytes in [&u32::MAX.to_le_bytes()[..], &[1, 0, 0, 0, 99]] {
        let mut stream = b.driver.open(a.id(), CircleMessage::PROTOCOL).await.expect("open");
        stream.write_all(bytes).await.expect("write");
        stream.flush().await.expect("flush");
        let strikes = a.strikes.of(&b.id()).len();
        let start = Instant::now();
        while a.strikes.of(&b.id()).len() == strikes {
            assert!(start.elapsed() < PATIENCE, "no strike");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // The lane that works goes on, or is opened again.
    let start = Instant::now();
    let mut number = 0;
    loop {
        number += 1;
        b.talk.say(&a.id(), tip(number));
        match tokio::time::timeout(Duration::from_millis(300), a.hears.recv()).await {
            Ok(Some(Heard::Said(from, _))) => break assert_eq!(from, b.id()),
            _ => assert!(start.elapsed() < PATIENCE, "nothing is heard any more"),
        }
    }
    while let Ok(heard) = a.hears.try_recv() {
        assert!(!matches!(heard, Heard::Said(from, _) | Heard::Opened(from) if from == c.id()), "{heard:?}");
    }
}
