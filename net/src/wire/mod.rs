//! What nodes say to each other, as bytes: `docs/WIRE.md` has the tables.
//!
//! Pure: a body in, a message out, and back. Reading a body from a stream, with its length checked first, is the driver's part.
//! Decoding never allocates more than the body warrants and never trusts a count.

pub mod blocks;
pub mod circle;
pub mod heads;
pub mod join;
pub mod shards;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use cairn_block::{DecodeError, Reader, Writer};
use cairn_store::Priority;

/// Bytes in front of a body: its length.
pub const LENGTH_BYTES: usize = 4;
/// Wants in one request: a window of read-ahead.
pub const WANTS_MAX: usize = 256;
/// Bytes of blocks in the answers to one request: one pack.
pub const BUDGET_BYTES_MAX: u32 = 16 << 20;
/// The longest time an answer can be of use.
pub const DEADLINE_MAX: Duration = Duration::from_secs(600);
/// The longest time a busy peer may ask for.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// A message of one of our protocols.
pub trait Message: Sized {
    /// The protocol's name: what both ends agree on before the first message.
    const PROTOCOL: &'static str;
    /// The longest body, in bytes.
    const BODY_BYTES_MAX: usize;

    /// The body.
    fn encode(&self) -> Body;

    /// The message that a body is. The body stays shared: large parts are slices of it.
    fn decode(body: &Bytes) -> Result<Self, DecodeError>;
}

/// A body on its way out: what was encoded, and a large part that is sent from where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Comes first.
    pub head: Bytes,
    /// Comes last; often nothing.
    pub tail: Bytes,
}

impl Body {
    fn of(head: Writer) -> Body {
        Body { head: head.into_bytes(), tail: Bytes::new() }
    }

    fn with(head: Writer, tail: &Bytes) -> Body {
        Body { head: head.into_bytes(), tail: tail.clone() }
    }

    /// Its length as it is sent in front.
    pub fn length(&self) -> [u8; LENGTH_BYTES] {
        ((self.head.len() + self.tail.len()) as u32).to_le_bytes()
    }

    /// Both parts in one buffer.
    pub fn joined(&self) -> Bytes {
        if self.tail.is_empty() { self.head.clone() } else { [&self.head[..], &self.tail[..]].concat().into() }
    }
}

/// The length in front of a body, refused where no message that may come now is as long.
pub fn body_bytes(length: [u8; LENGTH_BYTES], bytes_max: usize) -> Result<usize, DecodeError> {
    let mut input = Reader::new(&length);
    let max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
    Ok(input.u32_max("length of a message", max)? as usize)
}

/// How urgently, and for how long, an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Urgency {
    /// Who waits.
    pub priority: Priority,
    /// How long an answer is of use, in whole milliseconds up to [`DEADLINE_MAX`].
    pub deadline: Duration,
}

impl Urgency {
    const BYTES: usize = 1 + 4;

    fn encode(self, out: &mut Writer) {
        let priority = match self.priority {
            Priority::Now => 0,
            Priority::Ahead => 1,
            Priority::Background => 2,
        };
        out.u8(priority).u32(millis(self.deadline, DEADLINE_MAX));
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let priority = match input.u8("priority")? {
            0 => Priority::Now,
            1 => Priority::Ahead,
            2 => Priority::Background,
            _ => return Err(DecodeError::invalid("priority", "it is not known")),
        };
        Ok(Urgency { priority, deadline: duration(input, "deadline", DEADLINE_MAX)? })
    }
}

/// Milliseconds as they are sent: at least one, and no more than the bound.
fn millis(time: Duration, max: Duration) -> u32 {
    u32::try_from(time.clamp(Duration::from_millis(1), max).as_millis()).unwrap_or(u32::MAX)
}

fn duration(input: &mut Reader<'_>, what: &'static str, max: Duration) -> Result<Duration, DecodeError> {
    match input.u32_max(what, millis(max, max))? {
        0 => Err(DecodeError::invalid(what, "no time at all")),
        millis => Ok(Duration::from_millis(millis.into())),
    }
}

/// A part of a body that shares its memory.
fn shared(body: &Bytes, part: &[u8]) -> Bytes {
    body.slice_ref(part)
}

fn unknown(what: &'static str) -> DecodeError {
    DecodeError::invalid(what, "the tag is not known")
}
