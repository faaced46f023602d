//! What nodes say to each other. What a decoder accepts, the encoder writes, byte for byte.

use bytes::Bytes;
use cairn_block::CircleId;
use cairn_block::circle::UntrustedEpoch;
use cairn_net::wire::Message;
use cairn_net::wire::blocks::BlocksMessage;
use cairn_net::wire::circle::CircleMessage;
use cairn_net::wire::heads::HeadsMessage;
use cairn_net::wire::join::JoinMessage;
use cairn_net::wire::shards::ShardsMessage;

/// The protocols, in the order in which the first byte of an input names them.
pub(crate) const PROTOCOLS: [&str; 5] = [
    BlocksMessage::PROTOCOL,
    ShardsMessage::PROTOCOL,
    HeadsMessage::PROTOCOL,
    CircleMessage::PROTOCOL,
    JoinMessage::PROTOCOL,
];

/// The number of a protocol, and a message of it.
pub(crate) fn message(data: &[u8]) {
    let Some((protocol, body)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    match protocol % 5 {
        0 => read::<BlocksMessage>(&body),
        1 => read::<ShardsMessage>(&body),
        2 => read::<HeadsMessage>(&body),
        3 => read::<CircleMessage>(&body),
        _ => read::<JoinMessage>(&body),
    }
}

fn read<M: Message>(body: &Bytes) {
    if let Ok(message) = M::decode(body) {
        assert_eq!(message.encode().joined(), body);
    }
}

/// An epoch of a circle: nobody signs one by chance.
pub(crate) fn epoch(data: &[u8]) {
    if let Ok(epoch) = UntrustedEpoch::new(Bytes::copy_from_slice(data)) {
        let _ = epoch.verify_first(CircleId::from_bytes([0; 16]));
    }
}
