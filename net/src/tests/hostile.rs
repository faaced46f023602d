//! Peers that don't keep to the protocol: no wrong byte comes through, an honest one is found, the culprit is named.

use futures::AsyncWriteExt;
use libp2p::swarm::Stream;

use super::*;
use crate::driver::Driver;
use crate::lane::Lane;
use crate::lanes::Doorman;
use crate::wire::Message;
use crate::wire::blocks::{BlocksMessage, Found};

/// What a hostile peer does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// The right length, other bytes.
    WrongBytes,
    /// Half of the block, and the end.
    Truncates,
    /// A length of four gigabytes.
    HugeLength,
    /// One byte more than the largest message.
    Overlong,
    /// Nothing, ever.
    Stalls,
    /// A byte a second.
    Trickles,
    /// Hangs up.
    HangsUp,
    /// An answer to a want that wasn't made.
    OtherIndex,
    /// A request in place of an answer.
    Asks,
    /// Noise.
    Babbles,
    /// That it doesn't fit the budget.
    OverBudget,
    /// That it doesn't have it.
    Denies,
}

impl Does {
    const ALL: [Does; 12] = [
        Does::WrongBytes,
        Does::Truncates,
        Does::HugeLength,
        Does::Overlong,
        Does::Stalls,
        Does::Trickles,
        Does::HangsUp,
        Does::OtherIndex,
        Does::Asks,
        Does::Babbles,
        Does::OverBudget,
        Does::Denies,
    ];

    /// Whether it is something that no line and no load explains.
    fn is_provable(self) -> bool {
        use Does::*;
        matches!(self, WrongBytes | HugeLength | Overlong | OtherIndex | Asks | Babbles | OverBudget)
    }
}

/// A peer that does the same with everything it is asked.
async fn hostile(seed: u8, does: Does, member: NodeId) -> (Driver, SocketAddr) {
    let mut doorman = Doorman::default();
    let mut arrivals = doorman.for_members(BlocksMessage::PROTOCOL);
    let key = DeviceKey::from_bytes(&[seed; 32]);
    let (driver, _) = Driver::start(&key, &options(Transports::Both), doorman).expect("a node");
    driver.set_members(HashSet::from([member])).await;
    let address = driver.listening(1).await.expect("it listens")[0];
    tokio::spawn(async move {
        while let Some(arrived) = arrivals.recv().await {
            tokio::spawn(answer(arrived.stream, does));
        }
    });
    (driver, address)
}

async fn answer(mut stream: Stream, does: Does) {
    let sent = async {
        match does {
            Does::WrongBytes => said(&mut stream, Found::Here(block(99, 5000).into())).await,
            Does::Truncates => {
                stream.write_all(&5004u32.to_le_bytes()).await?;
                stream.write_all(&[4, 0, 0, 0]).await?;
                stream.write_all(&block(1, 5000).bytes()[..2500]).await?;
                stream.close().await
            }
            Does::HugeLength => stream.write_all(&u32::MAX.to_le_bytes()).await,
            Does::Overlong => stream.write_all(&(BlocksMessage::BODY_BYTES_MAX as u32 + 1).to_le_bytes()).await,
            Does::Stalls => {
                tokio::time::sleep(PATIENCE * 3).await;
                Ok(())
            }
            Does::Trickles => {
                for byte in 5004u32.to_le_bytes().into_iter().chain([4; 5004]) {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Does::HangsUp => stream.close().await,
            Does::OtherIndex => {
                let answer = BlocksMessage::Answer { index: 7, found: Found::Here(block(1, 5000).into()) };
                send(&mut stream, &answer).await
            }
            Does::Asks => send(&mut stream, &BlocksMessage::Has(vec![block(1, 5000).id()])).await,
            Does::Babbles => {
                stream.write_all(&100u32.to_le_bytes()).await?;
                stream.write_all(&[0xaa; 100]).await
            }
            Does::OverBudget => said(&mut stream, Found::OverBudget).await,
            Does::Denies => said(&mut stream, Found::Missing).await,
        }
    };
    let _: std::io::Result<()> = sent.await;
    let _ = stream.flush().await;
    // What was sent last is to arrive before the stream is reset.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn said(stream: &mut Stream, found: Found) -> std::io::Result<()> {
    send(stream, &BlocksMessage::Answer { index: 0, found }).await
}

async fn send(stream: &mut Stream, message: &BlocksMessage) -> std::io::Result<()> {
    let body = message.encode();
    stream.write_all(&body.length()).await?;
    stream.write_all(&body.joined()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_peer_makes_a_read_wrong_or_keeps_it_from_an_honest_one() {
    for (n, does) in Does::ALL.into_iter().enumerate() {
        let (reader, honest) = (Node::start(1).await, Node::start(2).await);
        let (liar, address) = hostile(100 + n as u8, does, reader.id()).await;
        let members = [reader.id().device(), honest.id().device(), liar.me().device()];
        reader.net.set_members(members).await;
        honest.net.set_members(members).await;
        reader.net.know(honest.id(), vec![honest.address]).await;
        reader.net.know(liar.me(), vec![address]).await;
        connected(&reader.net, 2).await;
        let router = reader.router();
        for n in 0..8 {
            let wanted = block(n, 5000);
            honest.store.put(&wanted).expect("put");
            let found = get(&router, wanted.id(), Duration::from_secs(8)).await;
            assert_eq!(found.expect("an honest one has it"), Some(wanted), "{does:?}");
        }
        assert!(reader.net.strikes_of(&honest.id()).is_empty(), "{does:?}: the honest one is blamed");
        let wanted = block(50, 5000);
        let nowhere = get(&router, wanted.id(), Duration::from_millis(1500)).await;
        match does {
            Does::Denies => assert_eq!(nowhere.expect("both said so"), None),
            _ => assert!(nowhere.is_err(), "{does:?}: nobody gave it, and not everybody said that there is none"),
        }
        assert_eq!(!reader.net.strikes_of(&liar.me()).is_empty(), does.is_provable(), "{does:?}");
        liar.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_stall_cost_little_and_never_a_read() {
    let (reader, honest) = (Node::start(1).await, Node::start(2).await);
    let (first, first_at) = hostile(100, Does::Stalls, reader.id()).await;
    let (second, second_at) = hostile(101, Does::Trickles, reader.id()).await;
    let members = [reader.id(), honest.id(), first.me(), second.me()].map(|node| node.device());
    reader.net.set_members(members).await;
    honest.net.set_members(members).await;
    for (node, address) in [(honest.id(), honest.address), (first.me(), first_at), (second.me(), second_at)] {
        reader.net.know(node, vec![address]).await;
    }
    connected(&reader.net, 3).await;
    let router = reader.router();
    let start = Instant::now();
    for n in 0..60 {
        let wanted = block(n, 5000);
        honest.store.put(&wanted).expect("put");
        let found = get(&router, wanted.id(), Duration::from_secs(10)).await;
        assert_eq!(found.expect("an honest one has it"), Some(wanted), "read {n}");
    }
    // A tenth of what it would take if every read waited for both.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(reader.net.strikes_of(&first.me()).is_empty(), "being slow is no lie");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lies_three_times_is_asked_no_more() {
    let reader = Node::start(1).await;
    let (liar, address) = hostile(100, Does::WrongBytes, reader.id()).await;
    reader.net.set_members([liar.me().device()]).await;
    reader.net.know(liar.me(), vec![address]).await;
    connected(&reader.net, 1).await;
    let router = reader.router();
    let mut told = Vec::new();
    for n in 0..5 {
        let error = get(&router, block(n, 5000).id(), Duration::from_secs(5)).await.expect_err("it lies");
        told.push(std::error::Error::source(&error).expect("a report").to_string());
    }
    assert!(told[..3].iter().all(|told| told.contains("wrong bytes")), "{told:?}");
    assert!(told[3..].iter().all(|told| told.contains("not asked")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_asks_nonsense_gets_strikes_and_then_no_answers() {
    let server = Node::start(1).await;
    let kept = block(1, 5000);
    server.store.put(&kept).expect("put");
    let (asker, _) = hostile(100, Does::Denies, server.id()).await;
    server.net.set_members([asker.me().device()]).await;
    asker.know(server.id(), vec![server.address]).await;
    connected(&server.net, 1).await;
    let nonsense: [&[u8]; 4] = [
        &u32::MAX.to_le_bytes(),
        &[1, 0, 0, 0, 0xff],
        // A *get* of nothing.
        &[12, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        // An answer.
        &[4, 0, 0, 0, 4, 0, 0, 1],
    ];
    for bytes in nonsense {
        let mut stream = asker.open(server.id(), BlocksMessage::PROTOCOL).await.expect("open");
        stream.write_all(bytes).await.expect("write");
        stream.close().await.ok();
        let answer =
            Lane::<BlocksMessage>::new(stream).receive(Duration::from_secs(5), BlocksMessage::BODY_BYTES_MAX).await;
        assert!(!matches!(answer, Ok(Some(_))), "{answer:?}");
    }
    assert_eq!(server.net.strikes_of(&asker.me()).len(), 3);
    let stream = asker.open(server.id(), BlocksMessage::PROTOCOL).await;
    if let Ok(stream) = stream {
        let mut lane = Lane::<BlocksMessage>::new(stream);
        let urgency = crate::wire::Urgency { priority: cairn_store::Priority::Now, deadline: PATIENCE };
        let get = BlocksMessage::Get { urgency, budget: 1 << 20, ids: vec![kept.id()] };
        let asked = async {
            lane.send(&get).await?;
            lane.finish().await?;
            lane.receive(Duration::from_secs(5), BlocksMessage::BODY_BYTES_MAX).await
        };
        assert!(!matches!(asked.await, Ok(Some(_))), "who is shunned is not served");
    }
}
