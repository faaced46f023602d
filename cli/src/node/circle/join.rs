//! Joining a circle: done by the command itself, before there is a node.
//!
//! The key that comes with another device's invitation takes the place of this node's own; so nothing may be sealed with that
//! yet, and no node may run. A machine that has volumes of its own keeps its key.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cairn_block::circle::Class;
use cairn_block::{DeviceKey, MasterKey};
use cairn_net::join::{Code, Request};
use cairn_net::{CircleShelf, JoinFailure, Net, SavedCircle};
use cairn_store::HeadStore;
use serde::Serialize;
use tokio::sync::watch;

use super::keyring::Keyring;
use super::options;
use super::shelf::CircleFile;
use crate::config::Settings;
use crate::control::routes::MemberWish;
use crate::errors::{Failure, Kind, Outcome};
use crate::node::durable::Existing;
use crate::node::keyfile::{KeyFile, NodeKeys};
use crate::node::layout::DataDir;
use crate::node::open::{self, lock};
use crate::node::passphrase::Passphrase;
use crate::node::volumes::VolumeNames;

/// How a join ended.
#[derive(Debug, Serialize)]
pub(crate) struct Joined {
    /// What this node is called.
    pub(crate) name: String,
    /// How many members there are.
    pub(crate) members: usize,
    /// Whether the key to the volumes of the one who invited came with it.
    pub(crate) has_volumes: bool,
    /// It came, and was not taken: this machine has volumes of its own, which only its own key opens.
    pub(crate) kept_own_key: bool,
}

/// Holds what is known of the circle until the key is in its place.
#[derive(Default)]
struct Held(Mutex<Option<SavedCircle>>);

impl CircleShelf for Held {
    fn save(&self, circle: &SavedCircle) -> Result<(), String> {
        *lock(&self.0) = Some(circle.clone());
        Ok(())
    }
}

/// Joins the circle of whoever is at one of the addresses and knows the code.
pub(crate) fn join(settings: &Settings, addresses: &[SocketAddr], typed: &str, wish: &MemberWish) -> Outcome<Joined> {
    let code = Code::parse(typed).ok_or_else(|| {
        Failure::new(Kind::Usage, "that is no code").hint("it looks like 1234-apple-river: four digits and two words")
    })?;
    let data_dir = DataDir::at(&settings.data_dir);
    let passphrase = match KeyFile::read(&data_dir.key_file())? {
        Some(key) if key.is_locked() => Passphrase::obtain(settings.passphrase_file.as_deref())?,
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Opened as a node opens it: its lock keeps others away, and it makes the key where there is none.
    let node = open::open(settings, passphrase.as_ref(), watch::channel(false).0)?;
    let file = CircleFile::at(data_dir.circle_file(), &node.keys.device);
    let me = node.keys.device.id();
    let is_member = |saved: SavedCircle| saved.standing(&me).is_ok_and(|standing| standing.is_member());
    if file.read()?.is_some_and(is_member) {
        return Err(Failure::new(Kind::Refused, "this node is in a circle already")
            .hint("`cairn circle` shows it; another node of this machine takes another --data-dir"));
    }
    let has_own = !node.store.volumes()?.is_empty();
    let (name, zone) = (wish.name.clone(), wish.zone.clone());
    let request = Request { name, zone, capacity: wish.capacity, class: Class::Anchor };
    let held = Arc::new(Held::default());
    let joined = runtime.block_on(async {
        let start = |addresses: &[SocketAddr]| {
            Net::start(&node.keys.device, &options(addresses), node.store.clone(), None, held.clone(), None)
        };
        // Where it will listen is told to the others; where that can't be had now, they hear of it later.
        let net = start(&settings.listen.addresses)
            .or_else(|_| start(&[]))
            .map_err(|error| Failure::of(Kind::Internal, &error))?;
        let joined = net.join(addresses, None, &code, request).await.map_err(|failure| refused(&failure));
        let members = net.circle().borrow().as_ref().map_or(0, |view| view.newest.members.len());
        net.end().await;
        joined.map(|joined| (joined, members))
    });
    let (joined, members) = joined?;
    let saved = lock(&held.0).take().ok_or_else(|| Failure::new(Kind::Internal, "nothing is known of the circle"))?;
    let keyring = joined.secret.as_ref().map(|secret| {
        Keyring::decode(secret).ok_or_else(|| {
            Failure::new(Kind::NewerVersion, "what the other machine gave can't be read by this release")
        })
    });
    let keyring = keyring.transpose()?;
    let kept_own_key = has_own && keyring.is_some();
    let keyring = keyring.filter(|_| !has_own);
    if let Some(keyring) = &keyring {
        take_key(&data_dir, keyring, &node.keys.device, passphrase.as_ref())?;
    }
    // Last: a node that has this file is a member, and by then it has its key.
    file.save(&saved).map_err(|reason| Failure::new(Kind::Internal, reason))?;
    Ok(Joined { name: wish.name.clone(), members, has_volumes: keyring.is_some(), kept_own_key })
}

/// Puts the key that was given into the place of this node's own, with which nothing was sealed yet.
fn take_key(data_dir: &DataDir, keyring: &Keyring, device: &DeviceKey, passphrase: Option<&Passphrase>) -> Outcome<()> {
    let names = data_dir.volumes_file();
    // The list is sealed with the key that goes, and names nothing that has content. First: a crash in between leaves a node
    // that opens, and joins again.
    if names.exists() {
        std::fs::remove_file(&names)?;
    }
    let master = MasterKey::from_bytes(*keyring.master.as_bytes());
    let keys = NodeKeys { master, device: DeviceKey::from_bytes(device.as_bytes()) };
    KeyFile::write(&data_dir.key_file(), &keys, passphrase, Existing::Replace)?;
    let mut names = VolumeNames::open(&names, &keyring.master)?;
    keyring.volumes.iter().try_for_each(|name| names.add(name))
}

fn refused(failure: &JoinFailure) -> Failure {
    let (kind, hint) = match failure {
        JoinFailure::NotReached(_) => (
            Kind::Busy,
            Some("`cairn invite` on the other machine prints its addresses; a firewall has to let UDP and TCP through"),
        ),
        JoinFailure::NoInvitation { .. } => {
            (Kind::Denied, Some("the code is good while `cairn invite` waits on the other machine"))
        }
        JoinFailure::WrongCode => (Kind::Denied, Some("look at the code again")),
        JoinFailure::Expired => (Kind::Denied, Some("`cairn invite` makes another code")),
        JoinFailure::NameTaken(_) => (Kind::Refused, Some("say what to call this machine: --name")),
        JoinFailure::Broken(_) => (Kind::Busy, None),
        JoinFailure::Request(_) | JoinFailure::NoAddress => (Kind::Usage, None),
        _ => (Kind::Denied, None),
    };
    Failure { hint: hint.map(str::to_owned), ..Failure::of(kind, failure) }
}
