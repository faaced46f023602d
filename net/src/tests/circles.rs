//! Circles of real nodes: founded, joined, changed, partitioned.

use cairn_block::circle::{Class, Epoch, Role, Verdict};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::*;
use crate::join::{CODE_LASTS, Code, Request};
use crate::{Change, CircleError, CircleView, InviteOffer, InviteState, JoinFailure, NetError, Standing};

/// A shelf in memory, which may refuse.
#[derive(Default)]
pub(super) struct Shelf {
    saved: Mutex<Option<SavedCircle>>,
    is_broken: std::sync::atomic::AtomicBool,
}

impl CircleShelf for Shelf {
    fn save(&self, circle: &SavedCircle) -> Result<(), String> {
        if self.is_broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err("the disk is full".into());
        }
        *self.saved.lock() = Some(circle.clone());
        Ok(())
    }
}

/// A node that keeps its circle.
pub(super) struct Peer {
    pub(super) net: Net,
    shelf: Arc<Shelf>,
    pub(super) address: SocketAddr,
    seed: u8,
}

impl Peer {
    pub(super) async fn start(seed: u8) -> Peer {
        Peer::with(seed, Arc::default()).await
    }

    async fn with(seed: u8, shelf: Arc<Shelf>) -> Peer {
        let saved = shelf.saved.lock().clone();
        let key = DeviceKey::from_bytes(&[seed; 32]);
        let store = Arc::new(MemoryStore::new());
        let net = Net::start(&key, &options(Transports::Both), store, saved, shelf.clone(), None).expect("a node");
        let address = net.listening(1).await.expect("it listens")[0];
        Peer { net, shelf, address, seed }
    }

    /// Ends it; what it kept stays.
    async fn stop(self) -> (u8, Arc<Shelf>) {
        self.net.end().await;
        (self.seed, self.shelf)
    }

    pub(super) fn id(&self) -> NodeId {
        self.net.me()
    }

    pub(super) fn view(&self) -> Arc<CircleView> {
        self.net.circle().borrow().clone().expect("a circle")
    }

    /// Waits until its circle is as it should be.
    pub(super) async fn sees(&self, what: &str, is_so: impl Fn(&CircleView) -> bool) -> Arc<CircleView> {
        let mut circle = self.net.circle();
        let wait = circle.wait_for(|view| view.as_ref().is_some_and(|view| is_so(view)));
        let seen = tokio::time::timeout(PATIENCE, wait).await;
        let Ok(seen) = seen.map(|seen| seen.expect("it runs").clone()) else {
            panic!("node {} never sees {what}: {:?}", self.seed, self.net.circle().borrow());
        };
        seen.expect("a circle")
    }

    async fn reaches(&self, epoch: &Epoch) {
        let hash = *epoch.hash();
        self.sees("the epoch", |view| *view.newest.hash() == hash).await;
    }

    /// Waits until it is connected with all of them.
    async fn meets(&self, others: &[&Peer]) {
        let start = Instant::now();
        loop {
            let peers = self.net.peers().await.expect("it runs");
            let is_here = |other: &&Peer| peers.iter().any(|peer| peer.node == other.id() && peer.is_connected);
            if others.iter().all(is_here) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "node {} has not met all: {peers:?}", self.seed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn invites(&self, joiner: &Peer, role: Role) {
        let invite = self.net.invite(InviteOffer::of(role)).await.expect("an invitation");
        let request = request(&format!("node {}", joiner.seed));
        joiner.net.join(&[self.address], None, &invite.code, request).await.expect("it joins");
    }
}

pub(super) fn request(name: &str) -> Request {
    Request { name: name.into(), zone: "home".into(), capacity: 1 << 30, class: Class::Anchor }
}

/// A code that differs in its digits.
fn other_code(code: &Code) -> Code {
    let digits: u32 = code.reveal()[..4].parse().expect("digits");
    Code::parse(&format!("{:04}{}", (digits + 1) % 10_000, &code.reveal()[4..])).expect("a code")
}

/// A circle of as many nodes, the first one its founder; all were invited by it.
pub(super) async fn circle(count: u8) -> Vec<Peer> {
    let first = Peer::start(1).await;
    first.net.found(request("node 1")).await.expect("a circle");
    let mut peers = vec![first];
    for seed in 2..=count {
        let joiner = Peer::start(seed).await;
        peers[0].invites(&joiner, Role::Member).await;
        peers.push(joiner);
    }
    peers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_invited_joins_with_the_role_that_was_offered_and_gets_the_secret() {
    let (a, b) = (Peer::start(1).await, Peer::start(2).await);
    assert_eq!(a.net.invite(InviteOffer::of(Role::Member)).await.expect_err("no circle"), CircleError::NoCircle);
    a.net.found(request("attic")).await.expect("a circle");
    assert_eq!(a.net.found(request("attic")).await.expect_err("one is enough"), CircleError::InCircle);
    let secret = Zeroizing::new(b"the master key".to_vec());
    let offer = InviteOffer { role: Role::StorageOnly, secret: Some(secret.clone()), lasts: CODE_LASTS };
    let mut invite = a.net.invite(offer).await.expect("an invitation");
    let second = a.net.invite(InviteOffer::of(Role::Member)).await;
    assert_eq!(second.expect_err("one at a time"), CircleError::InvitationOpen);
    let nobody: SocketAddr = ([127, 0, 0, 1], 1).into();
    let joined = b.net.join(&[nobody, a.address], None, &invite.code, request("cellar")).await.expect("it joins");
    assert_eq!((joined.inviter, joined.secret), (a.id(), Some(secret)));
    let state = InviteState::Joined { node: b.id().device(), name: "cellar".into() };
    tokio::time::timeout(PATIENCE, invite.state.wait_for(|now| *now == state)).await.expect("in time").expect("told");
    for peer in [&a, &b] {
        let newest = &peer.view().newest;
        assert_eq!((newest.number, newest.members.len()), (2, 2));
        assert_eq!(newest.member(&b.id().device()).expect("a member").role, Role::StorageOnly);
        let saved = peer.shelf.saved.lock().clone().expect("saved");
        assert_eq!(saved.epochs.last(), Some(newest.bytes()));
    }
    a.meets(&[&b]).await;
    b.meets(&[&a]).await;
    // The code was used.
    let c = Peer::start(3).await;
    let again = c.net.join(&[a.address], None, &invite.code, request("roof")).await;
    assert_eq!(again.expect_err("it was used"), JoinFailure::NoInvitation { address: a.address });
    assert!(c.net.circle().borrow().is_none() && c.shelf.saved.lock().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_wrong_codes_end_an_invitation() {
    let (a, b) = (Peer::start(1).await, Peer::start(2).await);
    a.net.found(request("attic")).await.expect("a circle");
    let mut invite = a.net.invite(InviteOffer::of(Role::Member)).await.expect("an invitation");
    let wrong = other_code(&invite.code);
    for left in [2, 1, 0] {
        let failure = b.net.join(&[a.address], None, &wrong, request("cellar")).await.expect_err("it is wrong");
        assert_eq!(failure, JoinFailure::WrongCode);
        let told = |state: &InviteState| match state {
            InviteState::Open { tries_left } => *tries_left == left,
            state => left == 0 && *state == InviteState::Spoiled,
        };
        tokio::time::timeout(PATIENCE, invite.state.wait_for(told)).await.expect("in time").expect("it is told");
    }
    let spoiled = tokio::time::timeout(PATIENCE, invite.state.wait_for(|state| *state == InviteState::Spoiled)).await;
    spoiled.expect("in time").expect("it is told");
    let right = b.net.join(&[a.address], None, &invite.code, request("cellar")).await;
    assert_eq!(right.expect_err("it has ended"), JoinFailure::NoInvitation { address: a.address });
    assert_eq!(a.view().newest.members.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invitation_expires_or_is_taken_back_and_says_so() {
    let (a, b) = (Peer::start(1).await, Peer::start(2).await);
    a.net.found(request("attic")).await.expect("a circle");
    let offer = InviteOffer { lasts: Duration::from_millis(100), ..InviteOffer::of(Role::Member) };
    let mut invite = a.net.invite(offer).await.expect("an invitation");
    let expired = tokio::time::timeout(PATIENCE, invite.state.wait_for(|state| *state == InviteState::Expired)).await;
    expired.expect("in time").expect("it is told");
    let late = b.net.join(&[a.address], None, &invite.code, request("cellar")).await;
    assert_eq!(late.expect_err("too late"), JoinFailure::NoInvitation { address: a.address });
    let invite = a.net.invite(InviteOffer::of(Role::Member)).await.expect("another one");
    a.net.withdraw().await;
    let late = b.net.join(&[a.address], None, &invite.code, request("cellar")).await;
    assert_eq!(late.expect_err("too late"), JoinFailure::NoInvitation { address: a.address });
    assert_eq!(*invite.state.borrow(), InviteState::Withdrawn);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_join_at_the_same_time_with_one_code_one_is_taken() {
    let (a, b, c) = (Peer::start(1).await, Peer::start(2).await, Peer::start(3).await);
    a.net.found(request("attic")).await.expect("a circle");
    let invite = a.net.invite(InviteOffer::of(Role::Member)).await.expect("an invitation");
    let at = [a.address];
    let both = tokio::join!(
        b.net.join(&at, None, &invite.code, request("cellar")),
        c.net.join(&at, None, &invite.code, request("roof")),
    );
    assert_eq!(usize::from(both.0.is_ok()) + usize::from(both.1.is_ok()), 1, "{both:?}");
    assert_eq!(a.view().newest.members.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_costs_nothing_and_a_failure_says_what_to_do() {
    let (a, b) = (Peer::start(1).await, Peer::start(2).await);
    a.net.found(request("attic")).await.expect("a circle");
    let invite = a.net.invite(InviteOffer::of(Role::Member)).await.expect("an invitation");
    for _ in 0..4 {
        let failure = b.net.join(&[a.address], None, &invite.code, request("attic")).await.expect_err("it is taken");
        assert_eq!(failure, JoinFailure::NameTaken("attic".into()));
    }
    let failure = b.net.join(&[a.address], None, &invite.code, request(" x")).await.expect_err("no name");
    assert!(matches!(failure, JoinFailure::Request(_)), "{failure}");
    let nobody: SocketAddr = ([127, 0, 0, 1], 1).into();
    let failure = b.net.join(&[nobody, b.address], None, &invite.code, request("b")).await.expect_err("nobody");
    let told = failure.to_string();
    assert!(told.contains("127.0.0.1:1: nothing listens there") && told.contains("this node itself"), "{told}");
    let expected = Some(NodeId::new(DeviceKey::from_bytes(&[9; 32]).id()).expect("a key"));
    let failure = b.net.join(&[a.address], expected, &invite.code, request("b")).await.expect_err("another one");
    assert!(failure.to_string().contains("another node is there"), "{failure}");
    b.net.join(&[a.address], Some(a.id()), &invite.code, request("cellar")).await.expect("it joins");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joined_by_one_finds_all_and_finds_them_again_elsewhere() {
    let peers = circle(3).await;
    let [a, b, c] = &peers[..] else { panic!("three") };
    for (one, others) in [(a, [b, c]), (b, [a, c]), (c, [a, b])] {
        one.meets(&others).await;
        one.sees("three", |view| view.newest.members.len() == 3).await;
    }
    // Ended and started again, all of them at other ports but for what B and C remember of A.
    let mut kept = Vec::new();
    for peer in peers {
        kept.push(peer.stop().await);
    }
    for (_, shelf) in &kept {
        let saved = shelf.saved.lock().clone().expect("saved");
        assert_eq!(saved.epochs.len(), 3);
        assert!(!saved.addresses.is_empty(), "addresses are saved at the end at the latest");
    }
    let mut again = Vec::new();
    for (seed, shelf) in kept {
        if let Some(first) = again.first() {
            let (first, saved): (&Peer, _) = (first, &mut *shelf.saved.lock());
            let addresses = &mut saved.as_mut().expect("saved").addresses;
            addresses.insert(first.id().device(), vec![first.address]);
        }
        again.push(Peer::with(seed, shelf).await);
    }
    let [a, b, c] = &again[..] else { panic!("three") };
    for (one, others) in [(a, [b, c]), (b, [a, c]), (c, [a, b])] {
        one.meets(&others).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_everybody_and_only_owners_make_any() {
    let peers = circle(3).await;
    let [a, b, c] = &peers[..] else { panic!("three") };
    let device = |peer: &Peer| peer.id().device();
    assert_eq!(b.net.propose(Change::Name(device(b), "x".into())).await.expect_err("no owner"), CircleError::NotOwner);
    let refused = [
        (Change::Name(device(b), "node 3".into()), CircleError::NameTaken("node 3".into())),
        (Change::Role(device(a), Role::Member), CircleError::LastOwner),
        (Change::Remove { node: device(a), is_revoked: false }, CircleError::LastOwner),
        (Change::Capacity(cairn_block::DeviceId::from_bytes([7; 32]), 1), CircleError::NoSuchMember),
    ];
    for (change, why) in refused {
        assert_eq!(a.net.propose(change).await.expect_err("refused"), why);
    }
    a.shelf.is_broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let unsaved = a.net.propose(Change::Name(device(b), "cellar".into())).await.expect_err("it can't be saved");
    assert_eq!(unsaved, CircleError::NotSaved("the disk is full".into()));
    assert_eq!(a.view().newest.number, 3);
    a.shelf.is_broken.store(false, std::sync::atomic::Ordering::Relaxed);
    for change in [
        Change::Name(device(b), "cellar".into()),
        Change::Role(device(b), Role::Owner),
        Change::Zone(device(c), "office".into()),
        Change::Class(device(c), Class::Roaming),
        Change::Capacity(device(c), 0),
    ] {
        let epoch = a.net.propose(change).await.expect("signed");
        for peer in &peers {
            peer.reaches(&epoch).await;
        }
    }
    let epoch = b.net.propose(Change::Role(device(a), Role::Member)).await.expect("B is an owner now");
    a.reaches(&epoch).await;
    assert_eq!(a.view().standing, Standing::Member(Role::Member));
    assert_eq!(c.view().newest.member(&device(c)).map(|m| (m.capacity, m.class)), Some((0, Class::Roaming)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_during_three_epochs_catches_up() {
    let mut peers = circle(3).await;
    let c = peers.pop().expect("three").stop().await;
    let mut last = None;
    for n in 0..3 {
        let change = Change::Name(peers[1].id().device(), format!("name {n}"));
        last = Some(peers[0].net.propose(change).await.expect("signed"));
    }
    let c = Peer::with(c.0, c.1).await;
    c.reaches(&last.expect("three")).await;
    assert_eq!(c.shelf.saved.lock().as_ref().expect("saved").epochs.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_revoked_is_cut_off_and_told_by_whom_now_or_when_it_comes_back() {
    let mut peers = circle(4).await;
    let [away, b] = [3, 1].map(|at| peers.remove(at));
    let device = b.id().device();
    b.meets(&[&peers[0], &peers[1]]).await;
    let away_device = away.id().device();
    let away = away.stop().await;
    for node in [device, away_device] {
        let epoch = peers[0].net.propose(Change::Remove { node, is_revoked: true }).await.expect("signed");
        peers[1].reaches(&epoch).await;
    }
    let is_removed = |number| {
        move |view: &CircleView| view.standing == Standing::Removed { by: "node 1".into(), number, is_revoked: true }
    };
    b.sees("that it was removed", is_removed(5)).await;
    let away = Peer::with(away.0, away.1).await;
    away.sees("that it was removed", is_removed(6)).await;
    // It is shown nothing that came after it.
    assert_eq!(b.view().newest.number, 5);
    let start = Instant::now();
    loop {
        let peers = peers[0].net.peers().await.expect("it runs");
        match peers.iter().any(|peer| [device, away_device].contains(&peer.node.device()) && peer.is_connected) {
            false => break,
            true => assert!(start.elapsed() < PATIENCE, "they are connected: {peers:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Under the same key it never comes back.
    let invite = peers[0].net.invite(InviteOffer::of(Role::Member)).await.expect("an invitation");
    let failure = b.net.join(&[peers[0].address], None, &invite.code, request("b")).await.expect_err("it is revoked");
    assert_eq!(failure, JoinFailure::Revoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rivals_of_two_owners_in_a_partition_end_in_one_chain_everywhere() {
    let mut peers = circle(3).await;
    let device = peers[1].id().device();
    let epoch = peers[0].net.propose(Change::Role(device, Role::Owner)).await.expect("signed");
    for peer in &peers {
        peer.reaches(&epoch).await;
    }
    let (c, b) = (peers.pop().expect("C"), peers.pop().expect("B"));
    let (b, c) = (b.stop().await, c.stop().await);
    let ours = peers[0].net.propose(Change::Zone(device, "one".into())).await.expect("signed");
    let a = peers.pop().expect("A").stop().await;
    let b = Peer::with(b.0, b.1).await;
    b.net.propose(Change::Zone(device, "two".into())).await.expect("signed");
    let theirs = b.net.propose(Change::Zone(device, "three".into())).await.expect("signed");
    let (a, c) = (Peer::with(a.0, a.1).await, Peer::with(c.0, c.1).await);
    // Their ports are new: one of them says where it is.
    a.net.know(b.id(), vec![b.address]).await;
    c.net.know(b.id(), vec![b.address]).await;
    for peer in [&a, &b, &c] {
        peer.reaches(&theirs).await;
    }
    let seen = a.sees("a fork", |view| !view.forks.is_empty()).await;
    assert_eq!(seen.forks[0].verdict, Verdict::Switched);
    assert_eq!(seen.forks[0].lost()[0].hash(), ours.hash());
    // The longer one won; a person may want the other one nevertheless.
    let chosen = a.net.choose(*ours.hash()).await.expect("it was seen");
    assert_eq!((chosen.hash(), a.view().choice.map(|choice| choice.hash)), (ours.hash(), Some(*ours.hash())));
    assert_eq!(a.net.choose([1; 32]).await.expect_err("nobody has seen it"), CircleError::NoSuchEpoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_taken_on_a_branch_that_lost_is_told_and_may_be_invited_again() {
    let mut peers = circle(2).await;
    let device = peers[1].id().device();
    let epoch = peers[0].net.propose(Change::Role(device, Role::Owner)).await.expect("signed");
    peers[1].reaches(&epoch).await;
    let b = peers.pop().expect("B").stop().await;
    let (a, d) = (peers.pop().expect("A"), Peer::start(4).await);
    a.invites(&d, Role::Member).await;
    let a = a.stop().await;
    let b = Peer::with(b.0, b.1).await;
    b.net.propose(Change::Zone(device, "two".into())).await.expect("signed");
    let longer = b.net.propose(Change::Zone(device, "three".into())).await.expect("signed");
    // A is where D looks for it no more; it knows both.
    let a = Peer::with(a.0, a.1).await;
    a.net.know(d.id(), vec![d.address]).await;
    a.meets(&[&d]).await;
    a.net.know(b.id(), vec![b.address]).await;
    a.reaches(&longer).await;
    let told = d.sees("that it is out", |view| !view.standing.is_member()).await;
    let by = Standing::Removed { by: "node 2".into(), number: longer.number, is_revoked: false };
    assert_eq!((&told.standing, told.newest.hash()), (&by, longer.hash()));
    a.invites(&d, Role::Member).await;
    assert_eq!(d.view().newest.members.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_never_heard_its_welcome_is_welcomed_again_as_what_it_is() {
    let mut peers = circle(2).await;
    let b = peers.pop().expect("B");
    b.net.end().await;
    // The same key with nothing kept.
    let b = Peer::start(2).await;
    peers[0].invites(&b, Role::Owner).await;
    assert_eq!(peers[0].view().newest.number, 2, "nothing was signed");
    assert_eq!(b.view().standing, Standing::Member(Role::Member));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_circle_that_was_altered_is_refused_with_a_reason() {
    let a = Peer::start(1).await;
    a.net.found(request("attic")).await.expect("a circle");
    a.net.propose(Change::Zone(a.id().device(), "x".into())).await.expect("signed");
    let saved = a.shelf.saved.lock().clone().expect("saved");
    let start = |saved| {
        let (key, store) = (DeviceKey::from_bytes(&[1; 32]), Arc::new(MemoryStore::new()));
        Net::start(&key, &options(Transports::Both), store, Some(saved), Arc::new(Shelf::default()), None)
    };
    let mut altered = saved.clone();
    altered.epochs.swap(0, 1);
    let without = SavedCircle { epochs: Vec::new(), ..saved.clone() };
    let mut changed = saved.clone();
    let mut bytes = changed.epochs[1].to_vec();
    bytes[100] ^= 1;
    changed.epochs[1] = bytes.into();
    for bad in [altered, without, changed] {
        let error = start(bad).err().expect("it is no circle");
        assert!(matches!(error, NetError::SavedCircle(_)), "{error}");
    }
    assert!(start(saved).is_ok());
}
