//! Nodes that keep to the protocol.

use cairn_store::{Place, Put};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_comes_from_whoever_has_it_over_each_transport() {
    for transports in [Transports::Both, Transports::Quic, Transports::Tcp] {
        let (a, b) = (Node::over(1, transports).await, Node::over(2, transports).await);
        join(&[&a, &b]).await;
        let router = b.router();
        for len in [0, 1, 70_000, 1 << 20] {
            let wanted = block(len as u32, len);
            a.store.put(&wanted).expect("put");
            let found = get(&router, wanted.id(), PATIENCE).await.expect("fetched");
            assert_eq!(found, Some(wanted.clone()), "{transports:?} {len}");
            assert!(b.store.has(&wanted.id()).expect("has"), "it is kept");
        }
        assert_eq!(router.stats().blocks, 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_member_has_is_not_there_and_a_member_that_is_away_makes_that_an_error() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    join(&[&a, &b]).await;
    let (router, nowhere) = (b.router(), block(1, 100).id());
    assert_eq!(get(&router, nowhere, PATIENCE).await.expect("all said so"), None);
    let a_id = a.id();
    a.net.end().await;
    let error = get(&router, nowhere, Duration::from_secs(2)).await.expect_err("a member may have it");
    let told = format!("{}", std::error::Error::source(&error).expect("a report"));
    assert!(told.contains(&a_id.device().short()), "the report names who was asked: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_and_a_revoked_member_get_nothing() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    let (kept, later) = (block(1, 5000), block(2, 5000));
    a.store.put(&kept).expect("put");
    a.store.put(&later).expect("put");
    // B takes A for a member; A has never heard of B.
    b.net.set_members([a.id().device()]).await;
    b.net.know(a.id(), vec![a.address]).await;
    connected(&b.net, 1).await;
    let router = b.router();
    assert!(get(&router, kept.id(), Duration::from_secs(2)).await.is_err());
    a.net.set_members([b.id().device()]).await;
    let start = Instant::now();
    while get(&router, kept.id(), Duration::from_secs(2)).await.ok().flatten().is_none() {
        assert!(start.elapsed() < PATIENCE, "a member gets what it asks for");
    }
    a.net.set_members([]).await;
    assert!(get(&router, later.id(), Duration::from_secs(2)).await.is_err());
    assert!(!b.store.has(&later.id()).expect("has"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_want_one_block_make_one_request() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    join(&[&a, &b]).await;
    let wanted = block(1, 1 << 20);
    a.store.put(&wanted).expect("put");
    let router = b.router();
    let all = (0..20).map(|_| get(&router, wanted.id(), PATIENCE));
    for found in futures::future::join_all(all).await {
        assert_eq!(found.expect("fetched").as_ref(), Some(&wanted));
    }
    assert_eq!(router.stats().blocks, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_blocks_come_at_the_same_time() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    join(&[&a, &b]).await;
    let blocks: Vec<Block> = (0..400).map(|n| block(n, 20_000)).collect();
    for block in &blocks {
        a.store.put(block).expect("put");
    }
    let router = b.router();
    let all = blocks.iter().map(|block| get(&router, block.id(), PATIENCE));
    for (found, wanted) in futures::future::join_all(all).await.into_iter().zip(&blocks) {
        assert_eq!(found.expect("fetched").as_ref(), Some(wanted));
    }
    assert!(a.net.strikes_of(&b.id()).is_empty() && b.net.strikes_of(&a.id()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block_is_repaired_from_elsewhere() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    join(&[&a, &b]).await;
    let (lost, hurt) = (block(1, 3000), block(2, 3000));
    a.store.put(&hurt).expect("put");
    for block in [&lost, &hurt] {
        assert_eq!(b.store.put(block).expect("put"), Put::New);
        b.store.damage(&block.id());
    }
    let router = b.router();
    assert_eq!(get(&router, hurt.id(), PATIENCE).await.expect("repaired"), Some(hurt.clone()));
    assert_eq!(b.store.get(&hurt.id(), Ask::now(PATIENCE)).expect("sound again"), Some(hurt));
    let error = get(&router, lost.id(), Duration::from_secs(2)).await.expect_err("nobody else has it");
    assert!(matches!(error, StoreError::Damaged { place: Place::Memory | Place::Log { .. }, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_elsewhere_is_found_again() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    join(&[&a, &b]).await;
    a.net.end().await;
    let a = Node::start(1).await;
    a.net.set_members([b.id().device()]).await;
    // It knows where B is; B only learns where A is now.
    a.net.know(b.id(), vec![b.address]).await;
    connected(&a.net, 1).await;
    let wanted = block(7, 10_000);
    a.store.put(&wanted).expect("put");
    let (router, start) = (b.router(), Instant::now());
    while get(&router, wanted.id(), Duration::from_secs(2)).await.ok().flatten().is_none() {
        assert!(start.elapsed() < PATIENCE, "the connection that A made serves B as well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_says_which_blocks_it_has() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    join(&[&a, &b]).await;
    // More than one message holds.
    let blocks: Vec<_> = (0..300).map(|seed| block(seed, 100)).collect();
    for block in blocks.iter().step_by(3) {
        b.store.put(block).expect("put");
    }
    let ids: Vec<_> = blocks.iter().map(cairn_block::Block::id).collect();
    let has = a.net.has(b.id(), &ids).await.expect("an answer");
    assert_eq!(has, (0..300).map(|number| number % 3 == 0).collect::<Vec<_>>());
    let stranger = Node::start(3).await;
    assert!(a.net.has(stranger.id(), &ids[..1]).await.is_err());
}
