//! `/cairn/heads/1`: what is new in the volumes that two nodes share, named so that a third can't tell which they are.

use bytes::Bytes;
use cairn_block::limits::{DEVICES_MAX, HEAD_BYTES_MAX, SEQ_LIMIT};
use cairn_block::{DecodeError, DeviceId, LocateKey, Reader, UntrustedHead, Writer};

use super::{Body, Message, shared, unknown};

const HAVE: u8 = 1;
const HEAD: u8 = 2;

const TAG_PURPOSE: &[u8] = b"cairn 2026-11 head tag";

/// How a volume is named between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeadTag([u8; 16]);

impl HeadTag {
    /// The name of the volume with this key in what `sender` tells `receiver`.
    pub fn of(locate: &LocateKey, sender: &DeviceId, receiver: &DeviceId) -> HeadTag {
        let mut hasher = blake3::Hasher::new_keyed(locate.as_bytes());
        hasher.update(TAG_PURPOSE).update(sender.as_bytes()).update(receiver.as_bytes());
        let mut tag = [0; 16];
        hasher.finalize_xof().fill(&mut tag);
        HeadTag(tag)
    }
}

/// One message.
#[derive(Debug, Clone)]
pub enum HeadsMessage {
    /// The newest head of each device that the sender has, ascending by device.
    Have {
        /// The volume.
        tag: HeadTag,
        /// Devices and numbers.
        newest: Vec<(DeviceId, u64)>,
    },
    /// A head, not verified.
    Head {
        /// The volume.
        tag: HeadTag,
        /// Its bytes.
        head: UntrustedHead,
    },
}

impl Message for HeadsMessage {
    const PROTOCOL: &'static str = "/cairn/heads/1";
    const BODY_BYTES_MAX: usize = 1 + 16 + 2 + HEAD_BYTES_MAX;

    fn encode(&self) -> Body {
        let mut out = Writer::with_capacity(64);
        match self {
            HeadsMessage::Have { tag, newest } => {
                out.u8(HAVE).raw(&tag.0).u16(newest.len() as u16);
                for (device, seq) in newest {
                    out.raw(device.as_bytes()).u64(*seq);
                }
            }
            HeadsMessage::Head { tag, head } => {
                out.u8(HEAD).raw(&tag.0).u16(head.as_sent().len() as u16);
                return Body::with(out, head.as_sent());
            }
        }
        Body::of(out)
    }

    fn decode(body: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let kind = input.u8("message")?;
        let tag = HeadTag(input.array("tag of a volume")?);
        let message = match kind {
            HAVE => HeadsMessage::Have { tag, newest: decode_newest(&mut input)? },
            HEAD => {
                let bytes = shared(body, input.bytes16("head", HEAD_BYTES_MAX)?);
                let head = UntrustedHead::new(bytes).map_err(|_| DecodeError::invalid("head", "too long"))?;
                HeadsMessage::Head { tag, head }
            }
            _ => return Err(unknown("message about heads")),
        };
        input.finish("message about heads")?;
        Ok(message)
    }
}

fn seq(input: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match input.u64_max("number of a head", SEQ_LIMIT - 1)? {
        0 => Err(DecodeError::invalid("number of a head", "they start at 1")),
        seq => Ok(seq),
    }
}

fn decode_newest(input: &mut Reader<'_>) -> Result<Vec<(DeviceId, u64)>, DecodeError> {
    let count = input.count16("newest heads", DEVICES_MAX, 32 + 8)?;
    let one = |input: &mut Reader<'_>| Ok((DeviceId::from_bytes(input.array("device")?), seq(input)?));
    let newest = (0..count).map(|_| one(input)).collect::<Result<Vec<_>, DecodeError>>()?;
    if newest.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(DecodeError::invalid("newest heads", "devices are not ascending"));
    }
    Ok(newest)
}
