//! The node in its circle: invitations, membership, and volumes that several devices share.
//!
//! A node without a circle opens no socket. [`Node::start_circle`] runs when the node starts and knows a circle, or when it
//! founds one; from then on [`Blocks`](super::blocks::Blocks) fetches what is missing, new heads go to the other devices
//! ([`book`]), theirs are followed ([`follow`]), and what they put in is fetched ahead ([`mirror`]). What is known of the circle
//! is in one file ([`shelf`]).

mod book;
mod change;
mod conflicts;
mod follow;
pub(crate) mod join;
mod keyring;
mod mirror;
pub(crate) mod shelf;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_block::BlockId;
use cairn_block::circle::{Class, Member, Role, Verdict};
use cairn_net::{CircleView, Net, NetError, NetOptions, Standing, Transports};
use tokio::runtime::Handle;

use super::open::{Node, lock};
use crate::control::routes::{Circle, CopyStatus, Member as Shown, MemberClass};
use crate::errors::{Failure, Kind, Outcome};
use book::Book;
pub(crate) use change::{change, invite};
pub(crate) use conflicts::conflicts;
pub(super) use follow::Follower;
pub(super) use mirror::Mirror;
use mirror::Progress;
use shelf::CircleFile;

/// Blocks of one path that members are asked for: of 25 GiB or so.
pub(super) const ASKED_MAX: usize = 100_000;
/// How long a question to the network's own task may take: it does nothing that takes time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The node's end of the circle.
pub(super) struct Connected {
    pub(super) net: Net,
    /// Where its tasks run.
    pub(super) runtime: Handle,
}

impl Node {
    /// Starts to talk with others where a circle is known. Has to be called in the node's runtime.
    pub(super) fn start_known_circle(self: &Arc<Self>) -> Outcome<()> {
        let known = self.circle_file().read()?.is_some();
        if known { self.start_circle().map(drop) } else { Ok(()) }
    }

    /// Starts to talk with others, unless it does already.
    pub(super) fn start_circle(self: &Arc<Self>) -> Outcome<Arc<Connected>> {
        let mut circle = lock(&self.circle);
        if let Some(connected) = &*circle {
            return Ok(Arc::clone(connected));
        }
        let file = self.circle_file();
        let saved = file.read()?;
        let (key, shelf) = (&self.keys.device, Arc::new(file));
        let start = |options: &NetOptions| {
            let book = Arc::new(Book::of(self));
            Net::start(key, options, self.store.clone(), saved.clone(), shelf.clone(), Some(book))
        };
        let net = match start(&options(&self.listen.addresses)) {
            // Another node of this machine has the port, and nobody asked for this one.
            Err(NetError::Listen { address, reason }) if !self.listen.is_asked_for => {
                tracing::warn!(%address, reason, "listening on another port");
                let anywhere: Vec<_> =
                    self.listen.addresses.iter().map(|address| SocketAddr::new(address.ip(), 0)).collect();
                start(&options(&anywhere))
            }
            started => started,
        };
        let net =
            net.map_err(|error| Failure::of(Kind::Internal, &error).while_("starting to talk with the circle"))?;
        let bell = net.heads_bell();
        self.blocks.connect(net.router(self.store.clone()), move |volume| bell.grown(*volume));
        let connected = Arc::new(Connected { net, runtime: Handle::current() });
        *circle = Some(Arc::clone(&connected));
        drop(circle);
        // They waited for somebody to have things from.
        self.open_volumes().iter().filter_map(|(_, open)| open.mirror.as_ref()).for_each(Mirror::ring);
        Ok(connected)
    }

    /// The circle, if this node talks with one.
    pub(super) fn connected(&self) -> Option<Arc<Connected>> {
        lock(&self.circle).clone()
    }

    fn circle_file(&self) -> CircleFile {
        CircleFile::at(self.data_dir.circle_file(), &self.keys.device)
    }

    /// A volume has heads of other devices that it doesn't show yet.
    fn follow(&self, name: &str) {
        if let Some(open) = self.open_volume(name) {
            open.follower.as_ref().inspect(|follower| follower.ring());
            open.mirror.as_ref().inspect(|mirror| mirror.ring());
        }
    }

    /// What `cairn circle` shows.
    pub(crate) fn circle(&self) -> Outcome<Circle> {
        let Some(connected) = self.connected() else { return Ok(no_circle()) };
        let Some(view) = connected.net.circle().borrow().clone() else { return Ok(no_circle()) };
        let listening = connected.net.listening_now();
        let peers = connected.ask(connected.net.peers())?.map_err(|error| Failure::of(Kind::Busy, &error))?;
        let me = self.keys.device.id();
        let state = |member: &Member| match peers.iter().find(|peer| peer.node.device() == member.node) {
            _ if member.node == me => shown(member, "this"),
            None => shown(member, "away"),
            Some(peer) => {
                let strikes = connected.net.strikes_of(&peer.node);
                let round_trip = peer.round_trip.filter(|_| peer.is_connected);
                Shown {
                    round_trip_ms: round_trip.map(|time| time.as_secs_f64() * 1000.0),
                    addresses: peer.addresses.clone(),
                    trouble: peer.trouble.clone(),
                    strikes: strikes.iter().map(|strike| strike.reason.clone()).collect(),
                    ..shown(member, if peer.is_connected { "connected" } else { "away" })
                }
            }
        };
        let mut members: Vec<Shown> = view.newest.members.iter().map(state).collect();
        members.sort_by_key(|member| (member.state != "this", member.name.clone()));
        let fetched = self.blocks.router().map(|router| router.stats()).unwrap_or_default();
        Ok(Circle {
            circle: Some(view.newest.circle.to_string()),
            epoch: view.newest.number,
            members,
            listening,
            remarks: remarks(&view),
            copies: self.copies(),
            blocks_fetched: fetched.blocks,
            bytes_fetched: fetched.bytes,
        })
    }
}

impl Node {
    /// The names of the other members that are connected and say that they have all of these blocks, at most [`ASKED_MAX`].
    /// Without blocks nobody can be asked.
    pub(super) fn others_with(&self, ids: &[BlockId]) -> Outcome<Vec<String>> {
        let Some(connected) = self.connected().filter(|_| !ids.is_empty()) else { return Ok(Vec::new()) };
        let Some(view) = connected.net.circle().borrow().clone() else { return Ok(Vec::new()) };
        let peers = connected.ask(connected.net.peers())?.map_err(|error| Failure::of(Kind::Busy, &error))?;
        let mut names = Vec::new();
        for peer in peers.into_iter().filter(|peer| peer.is_connected) {
            let has = connected.runtime.block_on(connected.net.has(peer.node, ids));
            let has_all = has.is_ok_and(|has| has.into_iter().all(|has| has));
            let member = view.newest.member(&peer.node.device()).filter(|_| has_all);
            names.extend(member.map(|member| member.name.clone()));
        }
        Ok(names)
    }

    /// How far the copies of volumes are.
    fn copies(&self) -> Vec<CopyStatus> {
        let open = self.open_volumes().into_iter();
        let mirrors = open.filter_map(|(name, open)| Some((name, open.mirror?.progress())));
        let status =
            |(volume, Progress { is_whole, fetched, trouble })| CopyStatus { volume, is_whole, fetched, trouble };
        mirrors.map(status).collect()
    }
}

impl Connected {
    /// Waits for what the network's task answers. Never called on one of its workers.
    pub(super) fn ask<T>(&self, answer: impl Future<Output = T>) -> Outcome<T> {
        let answer = async { tokio::time::timeout(ANSWER_TIMEOUT, answer).await };
        self.runtime.block_on(answer).map_err(|_| Failure::new(Kind::Busy, "the network's task doesn't answer"))
    }
}

fn options(addresses: &[SocketAddr]) -> NetOptions {
    NetOptions { listen: addresses.to_vec(), transports: Transports::Both }
}

fn no_circle() -> Circle {
    Circle {
        circle: None,
        epoch: 0,
        members: Vec::new(),
        listening: Vec::new(),
        remarks: Vec::new(),
        copies: Vec::new(),
        blocks_fetched: 0,
        bytes_fetched: 0,
    }
}

fn remarks(view: &CircleView) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Standing::Removed { by, .. } = &view.standing {
        remarks.push(format!("this node was removed from the circle by {by}; what it has stays here"));
    }
    if let Some(far) = &view.out_of_reach {
        remarks.push(format!(
            "{} says that there is an epoch {}, and has none that lead there from here: if so, this node has to be invited again",
            far.told_by.short(),
            far.number
        ));
    }
    for fork in &view.forks {
        let lost: Vec<u64> = fork.lost().iter().map(|epoch| epoch.number).collect();
        remarks.push(match fork.verdict {
            Verdict::Split => {
                "two owners changed the circle at once, and nobody can tell whose change counts".to_owned()
            }
            _ => format!("two owners changed the circle at once; what does not count, by number of epoch: {lost:?}"),
        });
    }
    remarks
}

/// A member as it is shown, without what the connection tells.
fn shown(member: &Member, state: &str) -> Shown {
    Shown {
        name: member.name.clone(),
        node: member.node.to_string(),
        role: role_name(member.role).to_owned(),
        zone: member.zone.clone(),
        capacity: member.capacity,
        class: member.class.into(),
        state: state.to_owned(),
        round_trip_ms: None,
        addresses: Vec::new(),
        trouble: None,
        strikes: Vec::new(),
    }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Member => "member",
        Role::StorageOnly => "storage",
    }
}

impl From<Class> for MemberClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Anchor => MemberClass::Anchor,
            Class::Roaming => MemberClass::Roaming,
        }
    }
}

impl From<MemberClass> for Class {
    fn from(class: MemberClass) -> Self {
        match class {
            MemberClass::Anchor => Class::Anchor,
            MemberClass::Roaming => Class::Roaming,
        }
    }
}
