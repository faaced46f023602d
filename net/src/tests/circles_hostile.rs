//! Strangers, men in the middle and members that don't keep to the protocol, against nodes of a circle.

use cairn_block::circle::{Member, Role, UntrustedEpoch};
use futures::{AsyncReadExt, AsyncWriteExt};

use super::circles::{Peer, circle, request};
use super::*;
use crate::driver::{Driver, Over};
use crate::lane::Lane;
use crate::lanes::{Arrivals, Doorman};
use crate::wire::Message;
use crate::wire::blocks::BlocksMessage;
use crate::wire::circle::{ADDRESSES_MAX, CircleMessage, WHEREABOUTS_MAX, Whereabouts};
use crate::wire::heads::HeadsMessage;
use crate::wire::join::JoinMessage;
use crate::{Change, InviteOffer, InviteState, JoinFailure};

/// A node of the transport alone.
async fn bare(seed: u8) -> (Driver, Arrivals, Arrivals) {
    let mut doorman = Doorman::default();
    let circle = doorman.for_members(CircleMessage::PROTOCOL);
    let guests = doorman.for_guests(JoinMessage::PROTOCOL);
    doorman.admit_guests(true);
    let key = DeviceKey::from_bytes(&[seed; 32]);
    let (driver, _) = Driver::start(&key, &options(Transports::Both), doorman).expect("a node");
    (driver, circle, guests)
}

/// Whether a stream of this protocol is let in: who refuses it ends it.
async fn opens(driver: &Driver, peer: NodeId, protocol: &'static str) -> bool {
    let Ok(mut stream) = driver.open(peer, protocol).await else { return false };
    // The beginning of a message: who serves it waits for the rest.
    if stream.write_all(&[1]).await.is_err() || stream.flush().await.is_err() {
        return false;
    }
    let mut byte = [0; 1];
    tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte)).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_opens_nothing_but_joining_and_that_only_while_somebody_is_invited() {
    let peers = circle(1).await;
    let (stranger, ..) = bare(9).await;
    let there = stranger.dial(peers[0].address, Over::Tcp).await.expect("it listens");
    assert_eq!(there, peers[0].id());
    for protocol in [BlocksMessage::PROTOCOL, CircleMessage::PROTOCOL, HeadsMessage::PROTOCOL, JoinMessage::PROTOCOL] {
        assert!(!opens(&stranger, there, protocol).await, "{protocol}");
    }
    let _invite = peers[0].net.invite(InviteOffer::of(Role::Member)).await.expect("an invitation");
    for protocol in [BlocksMessage::PROTOCOL, CircleMessage::PROTOCOL, HeadsMessage::PROTOCOL] {
        assert!(!opens(&stranger, there, protocol).await, "{protocol}");
    }
    assert!(opens(&stranger, there, JoinMessage::PROTOCOL).await);
    peers[0].net.withdraw().await;
    assert!(!opens(&stranger, there, JoinMessage::PROTOCOL).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_open_nothing_are_sent_away() {
    let peers = circle(1).await;
    let (stranger, ..) = bare(9).await;
    stranger.dial(peers[0].address, Over::Quic).await.expect("it listens");
    connected(&peers[0].net, 1).await;
    let start = Instant::now();
    while peers[0].net.peers().await.expect("it runs").iter().any(|peer| peer.is_connected) {
        assert!(start.elapsed() < PATIENCE, "it stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_man_in_the_middle_with_keys_of_his_own_gets_nothing() {
    let (a, b) = (Peer::start(1).await, Peer::start(2).await);
    a.net.found(request("attic")).await.expect("a circle");
    let mut invite = a.net.invite(InviteOffer::of(Role::Member)).await.expect("an invitation");
    let (middle, _, mut guests) = bare(9).await;
    let middle_at = middle.listening(1).await.expect("it listens")[0];
    let inviter = middle.dial(a.address, Over::Tcp).await.expect("A listens");
    // Passes on every byte, in both directions.
    let passes = tokio::spawn(async move {
        let joiner = guests.recv().await.expect("somebody comes").stream;
        let to_inviter = middle.open(inviter, JoinMessage::PROTOCOL).await.expect("an invitation is open");
        let ((mut from_b, mut to_b), (mut from_a, mut to_a)) = (joiner.split(), to_inviter.split());
        let there = async {
            let count = futures::io::copy(&mut from_b, &mut to_a).await;
            let _ = to_a.close().await;
            count
        };
        let back = async {
            let count = futures::io::copy(&mut from_a, &mut to_b).await;
            let _ = to_b.close().await;
            count
        };
        tokio::join!(there, back)
    });
    let failure = b.net.join(&[middle_at], None, &invite.code, request("cellar")).await.expect_err("it is not A");
    assert_eq!(failure, JoinFailure::WrongCode);
    passes.abort();
    assert_eq!(a.view().newest.members.len(), 1);
    let left = |state: &InviteState| *state == InviteState::Open { tries_left: 2 };
    tokio::time::timeout(PATIENCE, invite.state.wait_for(left)).await.expect("it cost a try").expect("it runs");
    b.net.join(&[a.address], None, &invite.code, request("cellar")).await.expect("the code is still good");
}

/// A circle of two and a member of it that does what the test says.
async fn with_a_liar() -> (Peer, Peer, Driver) {
    let mut peers = circle(2).await;
    let (liar, circle, _) = bare(9).await;
    // It takes streams, so that it seems to listen, and reads nothing.
    tokio::spawn(async move {
        let mut streams = circle;
        let mut kept = Vec::new();
        while let Some(arrived) = streams.recv().await {
            kept.push(arrived);
        }
    });
    let add = Change::Add { node: liar.me().device(), request: request("liar"), role: Role::Member };
    let epoch = peers[0].net.propose(add).await.expect("signed");
    let hash = *epoch.hash();
    peers[1].sees("the liar", |view| *view.newest.hash() == hash).await;
    let (b, a) = (peers.pop().expect("two"), peers.pop().expect("two"));
    liar.set_members(HashSet::from([a.id(), b.id()])).await;
    liar.know(a.id(), vec![a.address]).await;
    let start = Instant::now();
    while !a.net.peers().await.expect("it runs").iter().any(|peer| peer.node == liar.me() && peer.is_connected) {
        assert!(start.elapsed() < PATIENCE, "the liar is not connected");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (a, b, liar)
}

async fn lane(liar: &Driver, to: &Peer) -> Lane<CircleMessage> {
    Lane::new(liar.open(to.id(), CircleMessage::PROTOCOL).await.expect("a member may"))
}

async fn says(lane: &mut Lane<CircleMessage>, message: CircleMessage) {
    lane.send(&message).await.expect("send");
    lane.flush().await.expect("flush");
}

async fn strikes(a: &Peer, liar: &Driver, count: usize) {
    let start = Instant::now();
    while a.net.strikes_of(&liar.me()).len() < count {
        assert!(start.elapsed() < PATIENCE, "{:?}", a.net.strikes_of(&liar.me()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_that_are_none_are_strikes_and_change_nothing() {
    let (a, b, liar) = with_a_liar().await;
    let newest = a.view().newest.clone();
    let liar_key = DeviceKey::from_bytes(&[9; 32]);
    // Signed by a member that is no owner; the rules of signing are those of the liar.
    let mut members: Vec<Member> = newest.members.clone();
    members.iter_mut().for_each(|member| member.role = Role::Owner);
    let owner = DeviceKey::from_bytes(&[1; 32]);
    let good = newest.next(members, newest.revoked.clone(), &owner).expect("signed");
    let mut forged = good.to_vec();
    let at = forged.len() - 64 - 32;
    forged[at..at + 32].copy_from_slice(liar_key.id().as_bytes());
    let number = UntrustedEpoch::new(good.clone()).expect("an epoch").number();
    let mut altered = good.to_vec();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    for (count, bad) in [forged, altered].into_iter().enumerate() {
        let mut lane = lane(&liar, &a).await;
        let hash = *blake3::hash(&bad).as_bytes();
        says(&mut lane, CircleMessage::Tip { circle: newest.circle, number, hash }).await;
        says(&mut lane, CircleMessage::Epoch(bad.into())).await;
        strikes(&a, &liar, count + 1).await;
    }
    // A third one: what is no epoch at all. From then on it is not listened to.
    let mut third = lane(&liar, &a).await;
    says(&mut third, CircleMessage::Epoch(bytes::Bytes::from_static(b"junk"))).await;
    strikes(&a, &liar, 3).await;
    assert_eq!(a.view().newest, newest);
    let epoch = a.net.propose(Change::Zone(b.id().device(), "x".into())).await.expect("signed");
    let hash = *epoch.hash();
    b.sees("the next epoch", |view| *view.newest.hash() == hash).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promises_that_are_not_kept_hold_nothing_up() {
    let (a, b, liar) = with_a_liar().await;
    let newest = a.view().newest.clone();
    let mut lane = lane(&liar, &a).await;
    // Epochs that it doesn't have, nearby and far away, of this circle and another.
    says(&mut lane, CircleMessage::Tip { circle: newest.circle, number: 1 << 50, hash: [6; 32] }).await;
    let far = a.sees("the far one", |view| view.out_of_reach.is_some()).await.out_of_reach;
    assert_eq!(far.map(|far| (far.told_by, far.number)), Some((liar.me().device(), 1 << 50)));
    for number in [newest.number + 40, newest.number + 1, newest.number] {
        says(&mut lane, CircleMessage::Tip { circle: newest.circle, number, hash: [7; 32] }).await;
    }
    let circle = cairn_block::CircleId::from_bytes([3; 16]);
    says(&mut lane, CircleMessage::Tip { circle, number: 9, hash: [8; 32] }).await;
    for from in [1, newest.number, 1 << 50] {
        says(&mut lane, CircleMessage::Want { from, count: 16 }).await;
    }
    let epoch = a.net.propose(Change::Zone(b.id().device(), "x".into())).await.expect("signed");
    let hash = *epoch.hash();
    b.sees("the next epoch", |view| *view.newest.hash() == hash).await;
    assert_eq!(a.view().newest, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_whereabouts_keeps_nobody_apart() {
    let (a, b, liar) = with_a_liar().await;
    let mut lane = lane(&liar, &a).await;
    let nobody = |n: u32| cairn_block::DeviceId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
    for round in 0..200u16 {
        let mut told: Whereabouts =
            (0..WHEREABOUTS_MAX as u32 - 1).map(|n| (nobody(n), vec![([127, 0, 0, 1], 1 + round).into()])).collect();
        let of_b = (0..ADDRESSES_MAX as u16).map(|n| ([127, 0, 0, 1], 1 + round * 8 + n).into());
        told.insert(b.id().device(), of_b.collect());
        if lane.send(&CircleMessage::Whereabouts(told)).await.is_err() {
            break;
        }
    }
    let _ = lane.flush().await;
    let flooded = |address: &SocketAddr| address.port() < 2000;
    let start = Instant::now();
    let known = loop {
        let known = a.net.peers().await.expect("it runs");
        // More of the same is being read meanwhile.
        if known.iter().any(|peer| peer.addresses.iter().any(flooded)) && start.elapsed() > Duration::from_secs(1) {
            break known;
        }
        assert!(start.elapsed() < PATIENCE, "nothing of it was used, so nothing is tested: {known:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(known.len() <= 3, "only members are kept: {}", known.len());
    let of_b = known.iter().find(|peer| peer.node == b.id()).expect("B");
    assert!(of_b.is_connected && of_b.addresses.len() <= ADDRESSES_MAX, "{of_b:?}");
    assert_eq!(of_b.addresses[0], b.address, "B's own word stands before all of it: {of_b:?}");
    let last = of_b.addresses.iter().filter(|address| flooded(address)).map(SocketAddr::port).max().expect("some");
    assert!(last <= 30 * 8, "of {last} ports, those of thirty lists are taken");
    let epoch = a.net.propose(Change::Zone(b.id().device(), "x".into())).await.expect("signed");
    let hash = *epoch.hash();
    b.sees("the next epoch", |view| *view.newest.hash() == hash).await;
}
