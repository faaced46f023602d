//! What the keeper is told by the program, and by those who answer guests.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::circle::Epoch;
use tokio::sync::{mpsc, oneshot};

use crate::circle::{Change, CircleError, Invite, InviteOffer};
use crate::join::{Asked, Ends, JoinError, Request};
use crate::node_id::NodeId;
use crate::wire::circle::Whereabouts;
use crate::wire::join::{CONFIRMATION_BYTES, PAKE_BYTES, Welcome};

/// Orders that wait for the keeper; it saves between two of them, which takes a moment.
const ORDERS_MAX: usize = 64;

type Answer<T> = oneshot::Sender<T>;
pub(in crate::circle) type Replied = Result<Reply, JoinError>;

/// What answers a *hello*.
pub(in crate::circle) struct Reply {
    pub(in crate::circle) pake: [u8; PAKE_BYTES],
    pub(in crate::circle) confirmation: [u8; CONFIRMATION_BYTES],
    pub(in crate::circle) begun: Begun,
}

/// An exchange that was begun, waiting for the *ask*.
pub(in crate::circle) struct Begun {
    pub(super) asked: Asked,
    /// The invitation that it is of: what was begun under one is nothing to the next.
    pub(in crate::circle) round: u64,
}

pub(super) enum Order {
    Found(Request, Answer<Result<Arc<Epoch>, CircleError>>),
    Propose(Change, Answer<Result<Arc<Epoch>, CircleError>>),
    Choose([u8; 32], Answer<Result<Arc<Epoch>, CircleError>>),
    Invite(InviteOffer, Answer<Result<Invite, CircleError>>),
    Withdraw,
    Hello(Ends, [u8; PAKE_BYTES], Answer<Replied>),
    Ask(Asks, Answer<Option<Welcome>>),
    ExchangeEnded(u64),
    Adopt(Adopts, Answer<Result<(), CircleError>>),
    End(Answer<()>),
}

/// An *ask* as it came.
pub(in crate::circle) struct Asks {
    pub(in crate::circle) ends: Ends,
    pub(in crate::circle) begun: Begun,
    pub(in crate::circle) confirmation: [u8; CONFIRMATION_BYTES],
    pub(in crate::circle) sealed: Bytes,
}

/// A circle that this node was taken into.
pub(in crate::circle) struct Adopts {
    pub(in crate::circle) epochs: Vec<Bytes>,
    pub(in crate::circle) whereabouts: Whereabouts,
    pub(in crate::circle) inviter: NodeId,
    pub(in crate::circle) address: SocketAddr,
}

/// What the keeper is told by the program.
#[derive(Clone)]
pub(crate) struct Orders(mpsc::Sender<Order>);

/// What comes of orders, for [`Keeper::run`].
pub(crate) struct Taken(pub(super) mpsc::Receiver<Order>);

impl Orders {
    pub(crate) fn new() -> (Orders, Taken) {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        (Orders(orders), Taken(taken))
    }

    async fn give<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.0.send(order(answer)).await.ok()?;
        answered.await.ok()
    }

    pub(crate) async fn found(&self, request: Request) -> Result<Arc<Epoch>, CircleError> {
        self.give(|answer| Order::Found(request, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn propose(&self, change: Change) -> Result<Arc<Epoch>, CircleError> {
        self.give(|answer| Order::Propose(change, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn choose(&self, hash: [u8; 32]) -> Result<Arc<Epoch>, CircleError> {
        self.give(|answer| Order::Choose(hash, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn invite(&self, offer: InviteOffer) -> Result<Invite, CircleError> {
        self.give(|answer| Order::Invite(offer, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn withdraw(&self) {
        let _ = self.0.send(Order::Withdraw).await;
    }

    pub(crate) async fn end(&self) {
        let _ = self.give(Order::End).await;
    }

    pub(in crate::circle) async fn hello(&self, ends: Ends, hello: [u8; PAKE_BYTES]) -> Replied {
        self.give(|answer| Order::Hello(ends, hello, answer)).await.unwrap_or(Err(JoinError::WrongCode))
    }

    /// The answer to an *ask*; none where it is what no node of ours sends. The exchange has ended with it.
    pub(in crate::circle) async fn ask(&self, asks: Asks) -> Option<Welcome> {
        self.give(|answer| Order::Ask(asks, answer)).await.unwrap_or(Some(Welcome::Refused))
    }

    pub(in crate::circle) async fn exchange_ended(&self, round: u64) {
        let _ = self.0.send(Order::ExchangeEnded(round)).await;
    }

    pub(in crate::circle) async fn adopt(&self, adopts: Adopts) -> Result<(), CircleError> {
        self.give(|answer| Order::Adopt(adopts, answer)).await.unwrap_or(Err(CircleError::Ended))
    }
}
