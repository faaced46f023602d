//! `/cairn/circle/1`: epochs, so that all members know the same ones, and where members may be found.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use cairn_block::limits::{EPOCH_BYTES_MAX, SEQ_LIMIT};
use cairn_block::{CircleId, DecodeError, DeviceId, Reader, Writer};

use super::{Body, Message, shared, unknown};

const TIP: u8 = 1;
const WANT: u8 = 2;
const EPOCH: u8 = 3;
const WHEREABOUTS: u8 = 4;

/// Epochs in one *want*.
pub const EPOCHS_WANTED_MAX: u16 = 16;

/// Addresses of one member: a laptop moves, and what it told of old places is soon worth nothing.
pub const ADDRESSES_MAX: usize = 8;
/// Members in one message about whereabouts: who is connected with more tells of the rest in the next one.
pub const WHEREABOUTS_MAX: usize = 256;
/// The longest list of whereabouts.
pub(super) const WHEREABOUTS_BYTES_MAX: usize = 2 + WHEREABOUTS_MAX * (32 + 1 + ADDRESSES_MAX * ADDRESS_BYTES_MAX);
const ADDRESS_BYTES_MIN: usize = 1 + 4 + 2;
const ADDRESS_BYTES_MAX: usize = 1 + 16 + 2;

/// Where members may be found, the best address first: what was heard, not what is true.
pub type Whereabouts = BTreeMap<DeviceId, Vec<SocketAddr>>;

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
    /// Where members may be found.
    Whereabouts(Whereabouts),
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
            CircleMessage::Whereabouts(whereabouts) => {
                out.u8(WHEREABOUTS);
                encode_whereabouts(whereabouts, &mut out);
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
            WHEREABOUTS => CircleMessage::Whereabouts(decode_whereabouts(&mut input)?),
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

/// An address that a node can be dialed at: one of a host, with a port, that means the same to whoever reads it.
pub fn is_address(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_local = match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_local
}

/// What is beyond the bounds, or no address, is left out.
pub(crate) fn encode_whereabouts(whereabouts: &Whereabouts, out: &mut Writer) {
    let known = |addresses: &[SocketAddr]| -> Vec<SocketAddr> {
        addresses.iter().filter(|address| is_address(address)).take(ADDRESSES_MAX).copied().collect()
    };
    let told = whereabouts.iter().map(|(node, addresses)| (node, known(addresses)));
    let told: Vec<_> = told.filter(|(_, addresses)| !addresses.is_empty()).take(WHEREABOUTS_MAX).collect();
    out.u16(u16::try_from(told.len()).unwrap_or(u16::MAX));
    for (node, addresses) in told {
        out.raw(node.as_bytes()).u8(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
        for address in addresses {
            match address.ip() {
                IpAddr::V4(ip) => out.u8(4).raw(&ip.octets()),
                IpAddr::V6(ip) => out.u8(6).raw(&ip.octets()),
            };
            out.u16(address.port());
        }
    }
}

pub(crate) fn decode_whereabouts(input: &mut Reader<'_>) -> Result<Whereabouts, DecodeError> {
    let count = input.count16("whereabouts", WHEREABOUTS_MAX, 32 + 1 + ADDRESS_BYTES_MIN)?;
    let mut whereabouts = Whereabouts::new();
    for _ in 0..count {
        let node = DeviceId::from_bytes(input.array("member")?);
        if whereabouts.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return Err(DecodeError::invalid("whereabouts", "members are not ascending"));
        }
        let count = usize::from(input.u8("addresses of a member")?);
        if count == 0 || count > ADDRESSES_MAX {
            return Err(DecodeError::invalid("addresses of a member", "none, or too many"));
        }
        whereabouts.insert(node, (0..count).map(|_| decode_address(input)).collect::<Result<_, _>>()?);
    }
    Ok(whereabouts)
}

fn decode_address(input: &mut Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let ip: IpAddr = match input.u8("family of an address")? {
        4 => input.array::<4>("address")?.into(),
        6 => input.array::<16>("address")?.into(),
        _ => return Err(DecodeError::invalid("family of an address", "not known")),
    };
    let address = SocketAddr::new(ip, input.u16("port")?);
    if is_address(&address) { Ok(address) } else { Err(DecodeError::invalid("address", "nobody can be there")) }
}
