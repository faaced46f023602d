//! Every message reads back as it was, and nothing else reads as one.
//!
//! The golden vectors are in `net/tests/vectors/messages.json`; `CAIRN_WRITE_VECTORS=1` writes them anew.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::{Block, BlockId, CircleId, DeviceId, LocateKey, PackId, UntrustedHead, VolumeId};
use cairn_store::Priority;
use proptest::prelude::*;

use super::blocks::{BlocksMessage, Found};
use super::circle::{CircleMessage, Whereabouts};
use super::heads::{HeadTag, HeadsMessage};
use super::join::{JoinMessage, Welcome};
use super::shards::{Answered, Kept, ShardName, ShardsMessage};
use super::*;

fn id(n: u8) -> BlockId {
    BlockId::from_bytes([n; 32])
}

fn urgency() -> Urgency {
    Urgency { priority: Priority::Ahead, deadline: Duration::from_millis(1500) }
}

fn name(n: u8) -> ShardName {
    ShardName { pack: PackId::from_bytes([n; 32]), index: n }
}

fn tag() -> HeadTag {
    HeadTag::of(&LocateKey::from_bytes([1; 32]), &DeviceId::from_bytes([2; 32]), &DeviceId::from_bytes([3; 32]))
}

fn about_blocks() -> Vec<BlocksMessage> {
    let answer = |index, found| BlocksMessage::Answer { index, found };
    vec![
        BlocksMessage::Get { urgency: urgency(), budget: 1 << 20, ids: vec![id(2), id(1)] },
        BlocksMessage::Has(vec![id(1)]),
        BlocksMessage::Holds(vec![true, false, false, true, true, false, false, false, true]),
        answer(0, Found::Here(Block::seal_bytes(&b"sealed"[..]).into())),
        answer(1, Found::Missing),
        answer(2, Found::Busy(Duration::from_millis(250))),
        answer(3, Found::Damaged),
        answer(255, Found::OverBudget),
    ]
}

fn about_shards() -> Vec<ShardsMessage> {
    let (volume, soon) = (VolumeId::from_bytes([9; 16]), Duration::from_secs(1));
    let kept = [
        Kept::Durable,
        Kept::Already,
        Kept::NoRoom { used: 10, quota: 11 },
        Kept::Busy(soon),
        Kept::WrongBytes,
        Kept::NotMember,
    ];
    let answered =
        [Answered::Here(Bytes::from_static(b"cells")), Answered::Missing, Answered::Busy(soon), Answered::Damaged];
    let mut all = vec![
        ShardsMessage::Keep {
            volume,
            generation: 7,
            descriptor: Bytes::from_static(b"descriptor"),
            index: 3,
            shard: Bytes::from_static(b"shard"),
        },
        ShardsMessage::Give { name: name(1), urgency: urgency(), first: 3, count: 4 },
        ShardsMessage::Prove { name: name(1), group: 77, deadline: soon },
        ShardsMessage::List { volume, after: None, count: 10 },
        ShardsMessage::List { volume, after: Some(name(4)), count: 1024 },
        ShardsMessage::Listed(vec![]),
        ShardsMessage::Listed(vec![name(1), name(2)]),
    ];
    all.extend(kept.map(ShardsMessage::Kept));
    all.extend(answered.iter().cloned().map(ShardsMessage::Given));
    all.extend(answered.into_iter().map(ShardsMessage::Proven));
    all
}

fn about_heads() -> Vec<HeadsMessage> {
    let device = DeviceId::from_bytes([5; 32]);
    vec![
        HeadsMessage::Have { tag: tag(), newest: vec![] },
        HeadsMessage::Have { tag: tag(), newest: vec![(device, 3), (DeviceId::from_bytes([6; 32]), 1)] },
        HeadsMessage::Head { tag: tag(), head: UntrustedHead::new(&b"head"[..]).expect("short") },
    ]
}

fn about_the_circle() -> Vec<CircleMessage> {
    vec![
        CircleMessage::Tip { circle: CircleId::from_bytes([1; 16]), number: 5, hash: [2; 32] },
        CircleMessage::Want { from: 1, count: 16 },
        CircleMessage::Epoch(Bytes::from_static(b"epoch")),
        CircleMessage::Whereabouts(Whereabouts::new()),
        CircleMessage::Whereabouts(Whereabouts::from([
            (DeviceId::from_bytes([5; 32]), vec![address("192.0.2.1:4242"), address("[2001:db8::1]:4243")]),
            (DeviceId::from_bytes([6; 32]), vec![address("127.0.0.1:1")]),
        ])),
    ]
}

fn address(text: &str) -> std::net::SocketAddr {
    text.parse().expect("an address")
}

fn about_joining() -> Vec<JoinMessage> {
    vec![
        JoinMessage::Hello([1; 33]),
        JoinMessage::Reply { pake: [2; 33], confirmation: [3; 32] },
        JoinMessage::Ask { confirmation: [4; 32], sealed: Bytes::from_static(b"sealed") },
        JoinMessage::Welcome(Welcome::In(Bytes::from_static(b"sealed"))),
        JoinMessage::Welcome(Welcome::WrongCode),
        JoinMessage::Welcome(Welcome::Expired),
        JoinMessage::Welcome(Welcome::Refused),
        JoinMessage::Welcome(Welcome::NameTaken),
        JoinMessage::Welcome(Welcome::Revoked),
    ]
}

/// Each message as a vector, after it was read back and cut short at every length.
fn examples<M: Message + Debug>(messages: Vec<M>, ends_open: impl Fn(&M) -> bool) -> Vec<serde_json::Value> {
    let example = |message: &M| {
        let body = message.encode().joined();
        assert!(body.len() <= M::BODY_BYTES_MAX);
        let back = M::decode(&body).unwrap_or_else(|error| panic!("{message:?}: {error}"));
        assert_eq!(format!("{back:?}"), format!("{message:?}"));
        assert_eq!(back.encode().joined(), body);
        if !ends_open(message) {
            let short = (0..body.len()).find(|len| M::decode(&body.slice(..*len)).is_ok());
            assert_eq!(short, None, "{message:?} is whole before its end");
            let long = Bytes::from([&body[..], &[0]].concat());
            assert!(M::decode(&long).is_err(), "{message:?} goes on after its end");
        }
        let hex = data_encoding::HEXLOWER.encode(&body);
        serde_json::json!({ "protocol": M::PROTOCOL, "message": format!("{message:?}"), "body": hex })
    };
    messages.iter().map(example).collect()
}

fn refused<M: Message + Debug>(why: &str, body: &[u8]) -> serde_json::Value {
    let decoded = M::decode(&Bytes::copy_from_slice(body));
    assert!(decoded.is_err(), "{why}: {decoded:?}");
    serde_json::json!({ "protocol": M::PROTOCOL, "why": why, "body": data_encoding::HEXLOWER.encode(body) })
}

fn body<M: Message>(message: M) -> Vec<u8> {
    message.encode().joined().to_vec()
}

fn malformed() -> Vec<serde_json::Value> {
    let get = |ids| body(BlocksMessage::Get { urgency: urgency(), budget: 1, ids });
    let altered = |mut body: Vec<u8>, at: usize, byte: u8| {
        body[at] = byte;
        body
    };
    let device = DeviceId::from_bytes([5; 32]);
    let have = |newest| body(HeadsMessage::Have { tag: tag(), newest });
    let entry = |addresses: &[u8]| [&[5; 32][..], addresses].concat();
    let one = |addresses: &[u8]| [&[4, 1, 0][..], &entry(addresses)].concat();
    vec![
        refused::<BlocksMessage>("no tag", &[]),
        refused::<BlocksMessage>("an unknown tag", &[9]),
        refused::<BlocksMessage>("wants of nothing", &get(vec![])),
        refused::<BlocksMessage>("one want twice", &get(vec![id(1), id(1)])),
        refused::<BlocksMessage>(
            "257 wants",
            &get((0..257).map(|n| BlockId::of(&[n as u8, (n >> 8) as u8])).collect()),
        ),
        refused::<BlocksMessage>("an unknown priority", &altered(get(vec![id(1)]), 1, 3)),
        refused::<BlocksMessage>("no time", &[&[1, 0, 0, 0, 0, 0][..], &get(vec![id(1)])[6..]].concat()),
        refused::<BlocksMessage>("a budget of more than a pack", &altered(get(vec![id(1)]), 9, 2)),
        refused::<BlocksMessage>("bits beyond the last", &[3, 1, 0, 0b11]),
        refused::<BlocksMessage>(
            "a block of a megabyte and a byte",
            &[&[4, 0, 0, 0][..], &vec![0; (1 << 20) + 1]].concat()[..8].repeat(1 << 18),
        ),
        refused::<ShardsMessage>(
            "no cells",
            &body(ShardsMessage::Give { name: name(1), urgency: urgency(), first: 0, count: 0 }),
        ),
        refused::<ShardsMessage>(
            "cells beyond the longest shard",
            &body(ShardsMessage::Give { name: name(1), urgency: urgency(), first: 255, count: 2 }),
        ),
        refused::<ShardsMessage>("a list that descends", &body(ShardsMessage::Listed(vec![name(2), name(1)]))),
        refused::<ShardsMessage>("a list with one name twice", &body(ShardsMessage::Listed(vec![name(1), name(1)]))),
        refused::<HeadsMessage>("head 0", &have(vec![(device, 0)])),
        refused::<HeadsMessage>("one device twice", &have(vec![(device, 1), (device, 2)])),
        refused::<HeadsMessage>("devices that descend", &have(vec![(DeviceId::from_bytes([6; 32]), 1), (device, 1)])),
        refused::<CircleMessage>("epoch 0", &body(CircleMessage::Want { from: 0, count: 1 })),
        refused::<CircleMessage>("17 epochs", &body(CircleMessage::Want { from: 1, count: 17 })),
        refused::<CircleMessage>("whereabouts of more than there are", &[4, 1, 0]),
        refused::<CircleMessage>(
            "whereabouts of 257",
            &[&[4, 1, 1][..], &entry(&[1, 4, 1, 2, 3, 4, 1, 0]).repeat(257)].concat(),
        ),
        refused::<CircleMessage>("no address", &one(&[0])),
        refused::<CircleMessage>("nine addresses", &one(&[&[9][..], &[4, 1, 2, 3, 4, 1, 0].repeat(9)].concat())),
        refused::<CircleMessage>("an address of an unknown family", &one(&[1, 5, 1, 2, 3, 4, 1, 0])),
        refused::<CircleMessage>("port 0", &one(&[1, 4, 1, 2, 3, 4, 0, 0])),
        refused::<CircleMessage>("an address that stands for all", &one(&[1, 4, 0, 0, 0, 0, 1, 0])),
        refused::<CircleMessage>(
            "one member twice",
            &[&[4, 2, 0][..], &entry(&[1, 4, 1, 2, 3, 4, 1, 0]).repeat(2)].concat(),
        ),
        refused::<JoinMessage>("an unknown welcome", &[4, 6]),
    ]
}

#[test]
fn messages_are_what_the_vectors_say() {
    // These end with bytes of any number, so that only their parts tell whether they are whole.
    let mut valid = examples(about_blocks(), |m| matches!(m, BlocksMessage::Answer { found: Found::Here(_), .. }));
    valid.extend(examples(about_shards(), |m| {
        use ShardsMessage::{Given, Keep, Proven};
        matches!(m, Keep { .. } | Given(Answered::Here(_)) | Proven(Answered::Here(_)))
    }));
    valid.extend(examples(about_heads(), |_| false));
    valid.extend(examples(about_the_circle(), |m| matches!(m, CircleMessage::Epoch(_))));
    valid.extend(examples(about_joining(), |m| {
        matches!(m, JoinMessage::Ask { .. } | JoinMessage::Welcome(Welcome::In(_)))
    }));
    let about = "Messages of docs/WIRE.md: bodies, without the length in front.";
    // The long one says only that it is refused.
    let malformed: Vec<_> =
        malformed().into_iter().filter(|v| v["body"].as_str().is_some_and(|b| b.len() < 20_000)).collect();
    let document = serde_json::json!({ "about": about, "valid": valid, "malformed": malformed });
    let text = serde_json::to_string_pretty(&document).expect("text") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/messages.json");
    if std::env::var_os("CAIRN_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
        std::fs::write(&path, text).expect("write");
        return;
    }
    let golden = std::fs::read_to_string(&path).expect("the vectors");
    let differs = golden.lines().zip(text.lines()).find(|(golden, made)| golden != made);
    assert_eq!((differs, golden.len()), (None, text.len()), "{} is not what the code makes", path.display());
}

#[test]
fn a_length_beyond_the_longest_message_is_refused_before_anything_is_read() {
    assert!(body_bytes(u32::MAX.to_le_bytes(), JoinMessage::BODY_BYTES_MAX).is_err());
    let longest = BlocksMessage::BODY_BYTES_MAX as u32;
    assert_eq!(body_bytes(longest.to_le_bytes(), BlocksMessage::BODY_BYTES_MAX), Ok(longest as usize));
    assert!(body_bytes((longest + 1).to_le_bytes(), BlocksMessage::BODY_BYTES_MAX).is_err());
}

#[test]
fn a_volume_has_another_tag_in_each_direction_and_between_each_two() {
    let (key, a, b, c) = (LocateKey::from_bytes([1; 32]), [1; 32], [2; 32], [3; 32]);
    let tag = |key: &LocateKey, from, to| HeadTag::of(key, &DeviceId::from_bytes(from), &DeviceId::from_bytes(to));
    let tags = [tag(&key, a, b), tag(&key, b, a), tag(&key, a, c), tag(&LocateKey::from_bytes([2; 32]), a, b)];
    for (n, one) in tags.iter().enumerate() {
        assert!(!tags[..n].contains(one));
    }
    assert_eq!(tags[0], tag(&key, a, b));
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic_and_what_decodes_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fn try_all<M: Message>(body: &Bytes) {
            if let Ok(message) = M::decode(body) {
                assert_eq!(message.encode().joined(), body);
            }
        }
        for tag in 0..9 {
            let body = Bytes::from([&[tag], &bytes[..]].concat());
            try_all::<BlocksMessage>(&body);
            try_all::<ShardsMessage>(&body);
            try_all::<HeadsMessage>(&body);
            try_all::<CircleMessage>(&body);
            try_all::<JoinMessage>(&body);
        }
    }
}
