//! Joining: dialing an inviter whose key isn't known, and the exchange. Each step has its limit of time.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use cairn_block::DeviceKey;
use cairn_block::circle::{Epoch, Role};
use thiserror::Error;
use zeroize::Zeroizing;

use super::CircleError;
use super::keeper::{Adopts, Orders};
use crate::driver::{Driver, Over};
use crate::join::{Code, Ends, Grant, JoinError, Joining, Request};
use crate::lane::{Lane, LaneError};
use crate::node_id::NodeId;
use crate::wire::circle::ADDRESSES_MAX;
use crate::wire::join::{JoinMessage, Welcome};
use crate::wire::{Message, join::PAKE_BYTES};

/// How long one address may take over both transports: libp2p gives up a handshake after as long.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);
/// What QUIC has before TCP is tried beside it.
const QUIC_AHEAD: Duration = Duration::from_millis(700);
/// How long the inviter may take for its reply.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to sign, to save and to send the circle, over a slow line.
const WELCOME_PATIENCE: Duration = Duration::from_secs(60);

/// What came of joining.
pub struct Joined {
    /// Who invited.
    pub inviter: NodeId,
    /// What only the new member gets to know.
    pub secret: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joined({:?}, {})", self.inviter, if self.secret.is_some() { "a secret" } else { "no secret" })
    }
}

/// Why a node didn't join.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinFailure {
    /// No address was given.
    #[error("there is no address to join at")]
    NoAddress,
    /// Nobody could be connected with.
    #[error("nobody was reached: {}", told(.0))]
    NotReached(Vec<(SocketAddr, String)>),
    /// Somebody answers and doesn't invite.
    #[error(
        "{address} answers, but no invitation is open there: it was used, has expired, or was ended by wrong codes; or it is no node of Cairn"
    )]
    NoInvitation {
        /// Where.
        address: SocketAddr,
    },
    /// The code isn't that of the invitation.
    #[error("the code is wrong, or was used already; three wrong codes end an invitation")]
    WrongCode,
    /// It is too old.
    #[error("the code has expired: ask for a new one")]
    Expired,
    /// Another member is called so.
    #[error("another member is called {0:?}: take another name, the code is still good")]
    NameTaken(String),
    /// The key was a member's once.
    #[error("this node was a member once and was revoked: it needs a new device key")]
    Revoked,
    /// The circle can't take another member, or not this one.
    #[error("the circle doesn't take this node: ask its owner, whose log says why")]
    Refused,
    /// What this node wants to be called, or to be, can't be.
    #[error("{0}")]
    Request(String),
    /// It is in a circle.
    #[error(transparent)]
    Circle(#[from] CircleError),
    /// The other side isn't as it should be.
    #[error("the other node doesn't keep to the protocol: {0}")]
    Protocol(String),
    /// The line broke in the middle. Whether this node is a member now isn't known: with another code it can try again.
    #[error("the connection broke while joining: {0}; try again")]
    Broken(String),
}

fn told(tried: &[(SocketAddr, String)]) -> String {
    let told: Vec<String> = tried.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    told.join("; ")
}

impl Request {
    /// Whether an epoch may hold such a member.
    fn check(&self, key: &DeviceKey) -> Result<(), JoinFailure> {
        let founded = Epoch::found(key, vec![self.clone().member(key.id(), Role::Owner)]);
        founded.map(drop).map_err(|error| JoinFailure::Request(error.to_string()))
    }
}

/// Joins the circle of whoever invites at one of the addresses.
pub(crate) async fn join(
    driver: &Driver,
    orders: &Orders,
    key: &DeviceKey,
    (addresses, expect): (&[SocketAddr], Option<NodeId>),
    code: &Code,
    request: Request,
) -> Result<Joined, JoinFailure> {
    request.check(key)?;
    if addresses.is_empty() {
        return Err(JoinFailure::NoAddress);
    }
    let (mut tried, mut uninvited) = (Vec::new(), None);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        let inviter = match dial(driver, *address).await {
            Ok(inviter) if expect.is_none_or(|expected| expected == inviter) => inviter,
            Ok(other) => {
                driver.part(other).await;
                tried.push((*address, "another node is there".to_owned()));
                continue;
            }
            Err(why) => {
                tried.push((*address, why));
                continue;
            }
        };
        let asked = exchange(driver, inviter, code, &request).await;
        let granted = match asked {
            // Another address may be that of another node.
            Err(Failed::NoInvitation) => {
                driver.part(inviter).await;
                uninvited = Some(*address);
                continue;
            }
            Err(Failed::With(failure)) => {
                driver.part(inviter).await;
                return Err(failure);
            }
            Ok(granted) => granted,
        };
        let Grant { epochs, secret, whereabouts } = granted;
        orders.adopt(Adopts { epochs, whereabouts, inviter, address: *address }).await?;
        return Ok(Joined { inviter, secret });
    }
    Err(uninvited.map_or(JoinFailure::NotReached(tried), |address| JoinFailure::NoInvitation { address }))
}

/// Connects with whoever is there: by QUIC, and by TCP beside it where that takes long.
async fn dial(driver: &Driver, address: SocketAddr) -> Result<NodeId, String> {
    let transports = driver.transports();
    let quic = async {
        if !transports.has_quic() {
            return Err("QUIC is turned off".to_owned());
        }
        driver.dial(address, Over::Quic).await
    };
    let tcp = async {
        if !transports.has_tcp() {
            return Err("TCP is turned off".to_owned());
        }
        if transports.has_quic() {
            tokio::time::sleep(QUIC_AHEAD).await;
        }
        driver.dial(address, Over::Tcp).await
    };
    tokio::pin!(quic, tcp);
    let first = async {
        tokio::select! {
            quic_first = &mut quic => match quic_first {
                Ok(node) => Ok(node),
                Err(why) => tcp.await.map_err(|other| format!("{other} (TCP), {why} (QUIC)")),
            },
            tcp_first = &mut tcp => match tcp_first {
                Ok(node) => Ok(node),
                Err(why) => quic.await.map_err(|other| format!("{why} (TCP), {other} (QUIC)")),
            },
        }
    };
    tokio::time::timeout(DIAL_PATIENCE, first).await.unwrap_or_else(|_| Err("no answer".into()))
}

enum Failed {
    NoInvitation,
    With(JoinFailure),
}

impl From<JoinError> for Failed {
    fn from(error: JoinError) -> Self {
        Failed::With(match error {
            JoinError::WrongCode => JoinFailure::WrongCode,
            JoinError::Expired => JoinFailure::Expired,
            JoinError::Protocol => JoinFailure::Protocol(error.to_string()),
        })
    }
}

impl From<LaneError> for Failed {
    fn from(error: LaneError) -> Self {
        Failed::With(match error {
            LaneError::Protocol(error) => JoinFailure::Protocol(error.to_string()),
            other => JoinFailure::Broken(other.to_string()),
        })
    }
}

async fn exchange(driver: &Driver, inviter: NodeId, code: &Code, request: &Request) -> Result<Grant, Failed> {
    let ends = Ends { inviter: inviter.device(), joiner: driver.me().device() };
    let (joining, hello) = Joining::hello(code, ends)?;
    let Ok(stream) = driver.open(inviter, JoinMessage::PROTOCOL).await else { return Err(Failed::NoInvitation) };
    let mut lane = Lane::<JoinMessage>::new(stream);
    let reply = async {
        lane.send(&JoinMessage::Hello(hello)).await?;
        lane.flush().await?;
        lane.receive(REPLY_PATIENCE, JoinMessage::BODY_BYTES_MAX).await
    };
    let (pake, confirmation): ([u8; PAKE_BYTES], _) = match reply.await {
        Ok(Some(JoinMessage::Reply { pake, confirmation })) => (pake, confirmation),
        Ok(Some(JoinMessage::Welcome(welcome))) => return Err(Failed::With(refusal(&welcome, request))),
        Ok(Some(_)) => return Err(JoinError::Protocol.into()),
        Err(error @ LaneError::Protocol(_)) => return Err(error.into()),
        // The name of the protocol travels with the hello: this is how a node without an invitation says so.
        Ok(None) | Err(_) => return Err(Failed::NoInvitation),
    };
    let (asking, confirmation, sealed) = joining.reply(&pake, &confirmation, request)?;
    lane.send(&JoinMessage::Ask { confirmation, sealed }).await?;
    lane.flush().await?;
    match lane.receive(WELCOME_PATIENCE, JoinMessage::BODY_BYTES_MAX).await? {
        Some(JoinMessage::Welcome(Welcome::In(sealed))) => {
            let grant = asking.welcome(&sealed)?;
            let _ = lane.finish().await;
            Ok(grant)
        }
        Some(JoinMessage::Welcome(welcome)) => Err(Failed::With(refusal(&welcome, request))),
        Some(_) => Err(JoinError::Protocol.into()),
        None => Err(Failed::With(JoinFailure::Broken("the other node hung up".into()))),
    }
}

fn refusal(welcome: &Welcome, request: &Request) -> JoinFailure {
    match welcome {
        Welcome::WrongCode => JoinFailure::WrongCode,
        Welcome::Expired => JoinFailure::Expired,
        Welcome::NameTaken => JoinFailure::NameTaken(request.name.clone()),
        Welcome::Revoked => JoinFailure::Revoked,
        Welcome::Refused => JoinFailure::Refused,
        Welcome::In(_) => JoinFailure::Protocol("a welcome before it was asked for".into()),
    }
}
