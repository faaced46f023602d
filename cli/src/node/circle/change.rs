//! Inviting, changing and removing members.

use std::time::{Duration, Instant};

use cairn_block::DeviceId;
use cairn_block::circle::{Class, Role};
use cairn_net::join::Request;
use cairn_net::{Change, Invite, InviteOffer, InviteState};
use tokio::sync::watch;

use super::Connected;
use super::keyring::Keyring;
use crate::control::events::Reporter;
use crate::control::routes::{Circle, CircleOrder, Guest, Invitation, InviteOrder, Member as Shown, MemberWish};
use crate::errors::{Failure, Kind, Outcome};
use crate::node::open::Node;

/// How often it is looked whether whoever invited is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Opens an invitation, tells the code, and waits for whoever uses it. It ends with its command.
pub(crate) fn invite(node: &Node, order: InviteOrder, reporter: &Reporter) -> Outcome<Shown> {
    let connected = node.this()?.start_circle()?;
    let net = &connected.net;
    let is_member = net.circle().borrow().as_ref().is_some_and(|view| view.standing.is_member());
    if !is_member {
        connected.ask(net.found(request(order.founder)))?.map_err(|error| failed(&error))?;
    }
    let (role, secret) = match order.guest {
        Guest::Device => (Role::Owner, Some(Keyring::encode(&node.keys.master, &node.volume_names()))),
        Guest::Friend => (Role::Member, None),
        Guest::Storage => (Role::StorageOnly, None),
    };
    let offer = InviteOffer { secret, ..InviteOffer::of(role) };
    let Invite { code, expires, state } = connected.ask(net.invite(offer))?.map_err(|error| failed(&error))?;
    let _open = Open(&connected);
    reporter.item(&Invitation {
        code: code.reveal().to_owned(),
        addresses: net.listening_now(),
        seconds: expires.saturating_duration_since(Instant::now()).as_secs(),
    })?;
    wait(&connected, state, reporter)
}

/// Takes the invitation back when its command ends, however that does.
struct Open<'c>(&'c Connected);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // One that has ended already is no failure.
        let _ = self.0.ask(self.0.net.withdraw());
    }
}

fn wait(connected: &Connected, mut state: watch::Receiver<InviteState>, reporter: &Reporter) -> Outcome<Shown> {
    let over = |why: &str| {
        Err(Failure::new(Kind::Denied, format!("nobody has joined: {why}")).hint("`cairn invite` makes another code"))
    };
    loop {
        reporter.check()?;
        match state.borrow_and_update().clone() {
            InviteState::Open { .. } => {}
            InviteState::Joined { node, .. } => return joined(connected, node),
            InviteState::Spoiled => return over("three wrong codes were typed"),
            InviteState::Expired => return over("the code is too old"),
            InviteState::Withdrawn => return over("the invitation was taken back"),
        }
        let changed = async { tokio::time::timeout(LOOK_EVERY, state.changed()).await };
        if let Ok(Err(_)) = connected.runtime.block_on(changed) {
            return over("the node is ending");
        }
    }
}

fn request(wish: MemberWish) -> Request {
    Request { name: wish.name, zone: wish.zone, capacity: wish.capacity, class: Class::Anchor }
}

fn joined(connected: &Connected, node: DeviceId) -> Outcome<Shown> {
    let view = connected.net.circle().borrow().clone();
    let member = view.as_ref().and_then(|view| view.newest.member(&node));
    let member = member.ok_or_else(|| Failure::new(Kind::NotFound, "who has joined is no member any more"))?;
    Ok(super::shown(member, "connected"))
}

/// Changes the circle.
pub(crate) fn change(node: &Node, order: CircleOrder) -> Outcome<Circle> {
    let connected = node.connected().ok_or_else(|| {
        Failure::new(Kind::NotFound, "this node is in no circle")
            .hint("`cairn invite` makes one, `cairn join` gets into another")
    })?;
    for change in changes(&connected, order)? {
        connected.ask(connected.net.propose(change))?.map_err(|error| failed(&error))?;
    }
    node.circle()
}

fn changes(connected: &Connected, order: CircleOrder) -> Outcome<Vec<Change>> {
    let (member, name, zone, capacity, class) = match order {
        CircleOrder::Remove { member } => {
            return Ok(vec![Change::Remove { node: find(connected, &member)?, is_revoked: true }]);
        }
        CircleOrder::Set { member, name, zone, capacity, class } => (member, name, zone, capacity, class),
    };
    let node = find(connected, &member)?;
    let changes = [
        name.map(|name| Change::Name(node, name)),
        zone.map(|zone| Change::Zone(node, zone)),
        capacity.map(|bytes| Change::Capacity(node, bytes)),
        class.map(|class| Change::Class(node, class.into())),
    ];
    let changes: Vec<Change> = changes.into_iter().flatten().collect();
    if changes.is_empty() {
        return Err(Failure::new(Kind::Usage, "nothing to change was given")
            .hint("`cairn help circle set` lists what can be changed"));
    }
    Ok(changes)
}

/// The member that a word means: its name, its id, or the beginning of its id.
fn find(connected: &Connected, word: &str) -> Outcome<DeviceId> {
    let view = connected.net.circle().borrow().clone();
    let members = view.as_ref().map_or(&[][..], |view| &view.newest.members);
    let named = members.iter().find(|member| member.name == word);
    let mut by_id = members.iter().filter(|member| word.len() >= 8 && member.node.to_string().starts_with(word));
    let found = named.or_else(|| by_id.next().filter(|_| by_id.next().is_none()));
    found.map(|member| member.node).ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("there is no member {word}")).hint("`cairn circle` lists them")
    })
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::of(Kind::Refused, error)
}
