//! `/cairn/circle/1`: epochs, so that all members know the same ones.

use bytes::Bytes;
use cairn_block::limits::{EPOCH_BYTES_MAX, SEQ_LIMIT};
use cairn_block::{CircleId, DecodeError, Reader, Writer};

use super::{Body, Message, shared, unknown};

const TIP: u8 = 1;
const WANT: u8 = 2;
const EPOCH: u8 = 3;

/// Epochs in one *want*.
pub const EPOCHS_WANTED_MAX: u16 = 16;

/// Addresses of one member: a laptop moves, and what it told of old places is soon worth nothing.
pub const ADDRESSES_MAX: usize = 8;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CircleMessage {
    /// The sender's newest epoch.
    Tip {
        /// The circle.
        circle: CircleId,
        /// Its number.
        number: u64,
        /// Its hash.
        hash: [u8; 32],
    },
    /// Epochs that the sender lacks.
    Want {
        /// The first.
        from: u64,
        /// How many, from 1 to [`EPOCHS_WANTED_MAX`].
        count: u16,
    },
    /// An epoch, not verified.
    Epoch(Bytes),
}

impl Message for CircleMessage {
    const PROTOCOL: &'static str = "/cairn/circle/1";
    const BODY_BYTES_MAX: usize = 1 + EPOCH_BYTES_MAX;

    fn encode(&self) -> Body {
        let mut out = Writer::with_capacity(64);
        match self {
            CircleMessage::Tip { circle, number, hash } => {
                out.u8(TIP).raw(circle.as_bytes()).u64(*number).raw(hash);
            }
            CircleMessage::Want { from, count } => {
                out.u8(WANT).u64(*from).u16(*count);
            }
            CircleMessage::Epoch(epoch) => {
                out.u8(EPOCH);
                return Body::with(out, epoch);
            }
        }
        Body::of(out)
    }

    fn decode(body: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let message = match input.u8("message")? {
            TIP => CircleMessage::Tip {
                circle: CircleId::from_bytes(input.array("circle")?),
                number: number(&mut input)?,
                hash: input.array("hash of an epoch")?,
            },
            WANT => {
                let (from, count) = (number(&mut input)?, input.u16("epochs wanted")?);
                if count == 0 || count > EPOCHS_WANTED_MAX {
                    return Err(DecodeError::invalid("epochs wanted", "none, or too many"));
                }
                CircleMessage::Want { from, count }
            }
            EPOCH => {
                cairn_block::codec::check_bound("epoch", input.left() as u64, EPOCH_BYTES_MAX as u64)?;
                CircleMessage::Epoch(shared(body, input.rest()))
            }
            _ => return Err(unknown("message about the circle")),
        };
        input.finish("message about the circle")?;
        Ok(message)
    }
}

fn number(input: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match input.u64_max("number of an epoch", SEQ_LIMIT - 1)? {
        0 => Err(DecodeError::invalid("number of an epoch", "they start at 1")),
        number => Ok(number),
    }
}
