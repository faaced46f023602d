//! `/cairn/blocks/1`: wants for blocks, and answers in the order they are ready.

use std::time::Duration;

use bytes::Bytes;
use cairn_block::limits::SEALED_BLOCK_BYTES_MAX;
use cairn_block::{BlockId, DecodeError, Reader, UnverifiedBlock, Writer};

use super::{BUDGET_BYTES_MAX, Body, Message, RETRY_MAX, Urgency, WANTS_MAX, duration, millis, shared, unknown};

const GET: u8 = 1;
const HAS: u8 = 2;
const HOLDS: u8 = 3;
const ANSWER: u8 = 4;

/// The longest request: all wants there may be.
pub const REQUEST_BYTES_MAX: usize = 1 + Urgency::BYTES + 4 + 2 + 32 * WANTS_MAX;

/// One message.
#[derive(Debug, Clone)]
pub enum BlocksMessage {
    /// The opener wants blocks.
    Get {
        /// How urgently.
        urgency: Urgency,
        /// Bytes of blocks that may be sent back, at most [`BUDGET_BYTES_MAX`].
        budget: u32,
        /// Which, at most [`WANTS_MAX`], none twice.
        ids: Vec<BlockId>,
    },
    /// The opener asks which of these the other one has; at most [`WANTS_MAX`].
    Has(Vec<BlockId>),
    /// For each id of a *has*, whether it is there.
    Holds(Vec<bool>),
    /// What became of one want.
    Answer {
        /// Which of the request's ids.
        index: u16,
        /// What became of it.
        found: Found,
    },
}

/// What became of a want.
#[derive(Debug, Clone)]
pub enum Found {
    /// Here it is: bytes that are not verified yet.
    Here(UnverifiedBlock),
    /// It isn't here.
    Missing,
    /// Not now: ask again after this time, at most [`RETRY_MAX`].
    Busy(Duration),
    /// It was here, and is damaged.
    Damaged,
    /// It doesn't fit what is left of the budget.
    OverBudget,
}

impl Message for BlocksMessage {
    const PROTOCOL: &'static str = "/cairn/blocks/1";
    const BODY_BYTES_MAX: usize = 1 + 2 + 1 + SEALED_BLOCK_BYTES_MAX;

    fn encode(&self) -> Body {
        let mut out = Writer::with_capacity(64);
        match self {
            BlocksMessage::Get { urgency, budget, ids } => {
                out.u8(GET);
                urgency.encode(&mut out);
                out.u32((*budget).min(BUDGET_BYTES_MAX));
                encode_ids(ids, &mut out);
            }
            BlocksMessage::Has(ids) => encode_ids(ids, out.u8(HAS)),
            BlocksMessage::Holds(holds) => {
                out.u8(HOLDS).u16(holds.len() as u16);
                let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
                holds.chunks(8).for_each(|bits| {
                    out.u8(byte(bits));
                });
            }
            BlocksMessage::Answer { index, found } => {
                out.u8(ANSWER).u16(*index);
                match found {
                    Found::Here(block) => {
                        out.u8(0);
                        return Body::with(out, block.as_sent());
                    }
                    Found::Missing => out.u8(1),
                    Found::Busy(retry) => out.u8(2).u32(millis(*retry, RETRY_MAX)),
                    Found::Damaged => out.u8(3),
                    Found::OverBudget => out.u8(4),
                };
            }
        }
        Body::of(out)
    }

    fn decode(body: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let message = match input.u8("message")? {
            GET => BlocksMessage::Get {
                urgency: Urgency::decode(&mut input)?,
                budget: input.u32_max("budget", BUDGET_BYTES_MAX)?,
                ids: decode_ids(&mut input)?,
            },
            HAS => BlocksMessage::Has(decode_ids(&mut input)?),
            HOLDS => BlocksMessage::Holds(decode_holds(&mut input)?),
            ANSWER => BlocksMessage::Answer {
                index: input.u16("index of an answer")?,
                found: decode_found(body, &mut input)?,
            },
            _ => return Err(unknown("message about blocks")),
        };
        input.finish("message about blocks")?;
        Ok(message)
    }
}

fn encode_ids(ids: &[BlockId], out: &mut Writer) {
    out.u16(ids.len() as u16);
    for id in ids {
        out.raw(id.as_bytes());
    }
}

fn decode_ids(input: &mut Reader<'_>) -> Result<Vec<BlockId>, DecodeError> {
    let count = input.count16("wants", WANTS_MAX, 32)?;
    let ids = (0..count).map(|_| input.array("want").map(BlockId::from_bytes)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted: Vec<_> = ids.iter().collect();
    sorted.sort_unstable();
    if ids.is_empty() || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(DecodeError::invalid("wants", "none, or one of them twice"));
    }
    Ok(ids)
}

fn decode_holds(input: &mut Reader<'_>) -> Result<Vec<bool>, DecodeError> {
    let count = usize::from(input.u16("holds")?);
    cairn_block::codec::check_bound("holds", count as u64, WANTS_MAX as u64)?;
    let bits = input.take("holds", count.div_ceil(8))?;
    let bit = |at: usize| bits[at / 8] >> (at % 8) & 1 == 1;
    if count == 0 || (count..bits.len() * 8).any(bit) {
        return Err(DecodeError::invalid("holds", "none, or bits beyond the last"));
    }
    Ok((0..count).map(bit).collect())
}

fn decode_found(body: &Bytes, input: &mut Reader<'_>) -> Result<Found, DecodeError> {
    Ok(match input.u8("status of an answer")? {
        0 => {
            let block = UnverifiedBlock::new(shared(body, input.rest()));
            Found::Here(block.map_err(|_| DecodeError::invalid("block", "longer than a block may be"))?)
        }
        1 => Found::Missing,
        2 => Found::Busy(duration(input, "retry", RETRY_MAX)?),
        3 => Found::Damaged,
        4 => Found::OverBudget,
        _ => return Err(unknown("status of an answer")),
    })
}
