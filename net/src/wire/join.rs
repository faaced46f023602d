//! `/cairn/join/1`: a code for a membership, in four messages. What is in the sealed parts is [`crate::join`]'s.

use bytes::Bytes;
use cairn_block::limits::{EPOCH_BYTES_MAX, EPOCHS_KEPT};
use cairn_block::{DecodeError, Reader, WRAP_BYTES, Writer};

use super::circle::WHEREABOUTS_BYTES_MAX;
use super::{Body, Message, shared, unknown};

/// Bytes of a SPAKE2 message: a point of the curve, and which side it is of.
pub const PAKE_BYTES: usize = 33;
/// Bytes of a confirmation.
pub const CONFIRMATION_BYTES: usize = 32;
/// The longest sealed request: two texts of 64 bytes, a capacity and a class, with room.
const ASK_BYTES_MAX: usize = 256 + WRAP_BYTES;
/// Bytes of all epochs in a welcome: all that are kept of a circle of a thousand, five of the largest.
pub const WELCOME_EPOCHS_BYTES_MAX: usize = 16 << 20;
/// The longest secret in a welcome: a key or two with what is said about them.
pub const SECRET_BYTES_MAX: usize = 1024;
/// The longest sealed welcome: epochs, each with its length, a secret, whereabouts.
const WELCOME_BYTES_MAX: usize =
    1 + EPOCHS_KEPT * 4 + WELCOME_EPOCHS_BYTES_MAX + 2 + SECRET_BYTES_MAX + WHEREABOUTS_BYTES_MAX + WRAP_BYTES;
/// The longest message that the inviter is sent: it takes no welcome.
pub const ASKED_BYTES_MAX: usize = 1 + CONFIRMATION_BYTES + ASK_BYTES_MAX;

const _: () = assert!(EPOCH_BYTES_MAX <= WELCOME_EPOCHS_BYTES_MAX);

const HELLO: u8 = 1;
const REPLY: u8 = 2;
const ASK: u8 = 3;
const WELCOME: u8 = 4;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinMessage {
    /// From who joins: the first half of the exchange.
    Hello([u8; PAKE_BYTES]),
    /// From who invites: the second half, and a proof of the key.
    Reply {
        /// The second half.
        pake: [u8; PAKE_BYTES],
        /// The proof.
        confirmation: [u8; CONFIRMATION_BYTES],
    },
    /// From who joins: a proof of the key, and what it wants to be.
    Ask {
        /// The proof.
        confirmation: [u8; CONFIRMATION_BYTES],
        /// Sealed.
        sealed: Bytes,
    },
    /// From who invites.
    Welcome(Welcome),
}

/// How a request to join ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    /// Here is the circle and what belongs to it, sealed.
    In(Bytes),
    /// The code was wrong, or was used, or there is no invitation.
    WrongCode,
    /// The invitation has expired.
    Expired,
    /// The owner said no, or the circle can't take this member.
    Refused,
    /// Another member has this name. The invitation is still open.
    NameTaken,
    /// The key was a member's once and was revoked: it never is one again.
    Revoked,
}

impl Message for JoinMessage {
    const PROTOCOL: &'static str = "/cairn/join/1";
    const BODY_BYTES_MAX: usize = 1 + 1 + WELCOME_BYTES_MAX;

    fn encode(&self) -> Body {
        let mut out = Writer::with_capacity(128);
        match self {
            JoinMessage::Hello(pake) => {
                out.u8(HELLO).raw(pake);
            }
            JoinMessage::Reply { pake, confirmation } => {
                out.u8(REPLY).raw(pake).raw(confirmation);
            }
            JoinMessage::Ask { confirmation, sealed } => {
                out.u8(ASK).raw(confirmation);
                return Body::with(out, sealed);
            }
            JoinMessage::Welcome(welcome) => {
                out.u8(WELCOME);
                match welcome {
                    Welcome::In(sealed) => {
                        out.u8(0);
                        return Body::with(out, sealed);
                    }
                    Welcome::WrongCode => out.u8(1),
                    Welcome::Expired => out.u8(2),
                    Welcome::Refused => out.u8(3),
                    Welcome::NameTaken => out.u8(4),
                    Welcome::Revoked => out.u8(5),
                };
            }
        }
        Body::of(out)
    }

    fn decode(body: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let message = match input.u8("message")? {
            HELLO => JoinMessage::Hello(input.array("half of an exchange")?),
            REPLY => JoinMessage::Reply {
                pake: input.array("half of an exchange")?,
                confirmation: input.array("confirmation")?,
            },
            ASK => JoinMessage::Ask {
                confirmation: input.array("confirmation")?,
                sealed: sealed(body, &mut input, ASK_BYTES_MAX)?,
            },
            WELCOME => JoinMessage::Welcome(match input.u8("welcome")? {
                0 => Welcome::In(sealed(body, &mut input, WELCOME_BYTES_MAX)?),
                1 => Welcome::WrongCode,
                2 => Welcome::Expired,
                3 => Welcome::Refused,
                4 => Welcome::NameTaken,
                5 => Welcome::Revoked,
                _ => return Err(unknown("welcome")),
            }),
            _ => return Err(unknown("message about joining")),
        };
        input.finish("message about joining")?;
        Ok(message)
    }
}

fn sealed(body: &Bytes, input: &mut Reader<'_>, max: usize) -> Result<Bytes, DecodeError> {
    cairn_block::codec::check_bound("sealed part", input.left() as u64, max as u64)?;
    Ok(shared(body, input.rest()))
}
