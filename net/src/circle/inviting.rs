//! Inviting: the answers to those who ask to join. What is decided, the keeper decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::DeviceId;
use cairn_block::circle::Role;
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use super::keeper::{Asks, Orders, Reply};
use crate::join::{CODE_LASTS, Code, Ends, Invitation, JoinError};
use crate::lane::{Lane, LaneError};
use crate::lanes::{Arrivals, Arrived};
use crate::strikes::Strikes;
use crate::wire::join::{ASKED_BYTES_MAX, JoinMessage, Welcome};

/// Exchanges at a time: one more than an invitation has tries.
const EXCHANGES_MAX: usize = 4;
/// How long the other side may take for a message, over a slow line.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(10);

/// What is offered to who joins by a code.
pub struct InviteOffer {
    /// What the new member may do, whatever it asks for.
    pub role: Role,
    /// Something that only the new member gets to know, at most 1 KiB: such as the master key, for another device of the same
    /// person.
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// How long the code is good, at most [`CODE_LASTS`].
    pub lasts: Duration,
}

impl InviteOffer {
    /// An offer without a secret, for as long as can be.
    pub const fn of(role: Role) -> InviteOffer {
        InviteOffer { role, secret: None, lasts: CODE_LASTS }
    }
}

/// How an invitation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviteState {
    /// Nobody has come yet.
    Open {
        /// Wrong codes that it survives, and one more.
        tries_left: u8,
    },
    /// Somebody was taken.
    Joined {
        /// The new member.
        node: DeviceId,
        /// Its name.
        name: String,
    },
    /// It ended by wrong codes.
    Spoiled,
    /// It is too old.
    Expired,
    /// It was taken back, or the node ended.
    Withdrawn,
}

/// An open invitation.
#[derive(Debug)]
pub struct Invite {
    /// What to type at the other node.
    pub code: Code,
    /// Until when.
    pub expires: Instant,
    /// How it stands. When the sender is gone, so is the node.
    pub state: watch::Receiver<InviteState>,
}

/// An invitation as the keeper has it.
pub(super) struct Open {
    pub(super) invitation: Invitation,
    pub(super) offer: InviteOffer,
    pub(super) told: watch::Sender<InviteState>,
    /// Exchanges that were answered and haven't ended.
    pub(super) under_way: usize,
    /// Counts the invitations of this node.
    pub(super) round: u64,
}

impl Open {
    /// Whether it has ended without anybody: how.
    pub(super) fn ended(&self, now: Instant) -> Option<InviteState> {
        match self.invitation.check(now) {
            Err(JoinError::Expired) => Some(InviteState::Expired),
            // The last try may be the right one.
            _ if self.invitation.tries_left() == 0 && self.under_way == 0 => Some(InviteState::Spoiled),
            _ => None,
        }
    }
}

/// Answers whoever asks to join, until nothing more can come.
pub(crate) async fn serve_guests(mut arrivals: Arrivals, orders: Orders, strikes: Arc<Strikes>, me: DeviceId) {
    let turns = Arc::new(Semaphore::new(EXCHANGES_MAX));
    while let Some(arrived) = arrivals.recv().await {
        if strikes.is_shunned(&arrived.peer) {
            continue;
        }
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else { continue };
        let (orders, strikes) = (orders.clone(), Arc::clone(&strikes));
        tokio::spawn(async move {
            let _turn = turn;
            let peer = arrived.peer;
            let ends = Ends { inviter: me, joiner: peer.device() };
            if let Err(error) = exchange(arrived, ends, &orders).await {
                tracing::debug!(%peer, %error, "who asked to join went, or was sent away");
                if error.is_misbehaviour() {
                    strikes.strike(peer, error.to_string());
                }
            }
        });
    }
}

async fn exchange(arrived: Arrived, ends: Ends, orders: &Orders) -> Result<(), LaneError> {
    let mut lane = Lane::<JoinMessage>::new(arrived.stream);
    let unexpected = || LaneError::Protocol(cairn_block::DecodeError::invalid("message about joining", "not now"));
    let hello = match lane.receive(MESSAGE_PATIENCE, ASKED_BYTES_MAX).await? {
        Some(JoinMessage::Hello(hello)) => hello,
        Some(_) => return Err(unexpected()),
        None => return Ok(()),
    };
    let Reply { pake, confirmation, begun } = match orders.hello(ends, hello).await {
        Ok(reply) => reply,
        Err(JoinError::Protocol) => return Err(unexpected()),
        Err(JoinError::Expired) => return last(lane, Welcome::Expired).await,
        Err(JoinError::WrongCode) => return last(lane, Welcome::WrongCode).await,
    };
    // From here on the exchange is counted until it has ended, however it does.
    let round = begun.round;
    let talked = async {
        lane.send(&JoinMessage::Reply { pake, confirmation }).await?;
        lane.flush().await?;
        match lane.receive(MESSAGE_PATIENCE, ASKED_BYTES_MAX).await? {
            Some(JoinMessage::Ask { confirmation, sealed }) => Ok(Some((confirmation, sealed))),
            Some(_) => Err(unexpected()),
            None => Ok(None),
        }
    };
    let welcome = match talked.await {
        Ok(Some((confirmation, sealed))) => orders.ask(Asks { ends, begun, confirmation, sealed }).await,
        Ok(None) => {
            orders.exchange_ended(round).await;
            return Ok(());
        }
        Err(error) => {
            orders.exchange_ended(round).await;
            return Err(error);
        }
    };
    match welcome {
        Some(welcome) => last(lane, welcome).await,
        None => Err(unexpected()),
    }
}

/// Says the last word, and waits until it was heard.
async fn last(mut lane: Lane<JoinMessage>, welcome: Welcome) -> Result<(), LaneError> {
    lane.send(&JoinMessage::Welcome(welcome)).await?;
    lane.finish().await?;
    // Resetting the stream at once might overtake it.
    let _ = lane.receive(MESSAGE_PATIENCE, 0).await;
    Ok(())
}
