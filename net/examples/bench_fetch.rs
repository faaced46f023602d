//! Blocks from one node to another on loopback, verified, beside a raw stream over the same transport.
//!
//! `cargo run --release -p cairn-net --features bench --example bench_fetch`; a number of MiB may follow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cairn_block::circle::{Class, Role};
use cairn_block::{Block, BlockId, DeviceKey};
use cairn_net::bench::raw_stream;
use cairn_net::join::Request;
use cairn_net::{CircleShelf, InviteOffer, Net, NetOptions, Router, SavedCircle, Transports};
use cairn_store::{Ask, BlockStore, MemoryStore};

const BLOCK_BYTES: usize = 256 << 10;
const READERS: usize = 16;
const ROUNDS: usize = 3;

/// The circle ends with the bench.
struct Nowhere;

impl CircleShelf for Nowhere {
    fn save(&self, _: &SavedCircle) -> Result<(), String> {
        Ok(())
    }
}

fn main() {
    let mib: usize = std::env::args().nth(1).and_then(|mib| mib.parse().ok()).unwrap_or(512);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let blocks: Vec<Block> = (0..(mib << 20) / BLOCK_BYTES).map(block).collect();
    println!("{mib} MiB in blocks of {} KiB, {READERS} readers, medians of {ROUNDS}", BLOCK_BYTES >> 10);
    for transports in [Transports::Quic, Transports::Tcp] {
        let raw = median((0..ROUNDS).map(|_| {
            let took = runtime.block_on(raw_stream(transports, (mib << 20) as u64)).expect("a raw stream");
            mib as f64 / took.as_secs_f64()
        }));
        let (mut rates, mut times) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (took, mut each) = fetch_all(&runtime, transports, &blocks);
            rates.push(mib as f64 / took.as_secs_f64());
            times.append(&mut each);
        }
        let fetched = median(rates.into_iter());
        times.sort_unstable();
        println!(
            "  {transports:?}: raw stream {raw:.0} MiB/s, fetched {fetched:.0} MiB/s, {:.2} of it; one block alone p50 {:?} p99 {:?}",
            fetched / raw,
            times[times.len() / 2],
            times[times.len() * 99 / 100],
        );
    }
}

fn block(n: usize) -> Block {
    let mut bytes = vec![0; BLOCK_BYTES];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut bytes);
    Block::seal_bytes(bytes)
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The time for all blocks by many readers, and for some of them one after the other.
fn fetch_all(runtime: &tokio::runtime::Runtime, transports: Transports, blocks: &[Block]) -> (Duration, Vec<Duration>) {
    let holder_store = Arc::new(MemoryStore::new());
    blocks.iter().for_each(|block| {
        holder_store.put(block).expect("put");
    });
    let options = NetOptions { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], transports };
    let (holder, reader, router) = runtime.block_on(async {
        let start = |seed: u8, store| {
            let key = DeviceKey::from_bytes(&[seed; 32]);
            Net::start(&key, &options, store, None, Arc::new(Nowhere), None).expect("a node")
        };
        let (holder, reader) = (start(1, holder_store), start(2, Arc::new(MemoryStore::new())));
        let named = |name: &str| Request { name: name.into(), zone: "home".into(), capacity: 0, class: Class::Anchor };
        holder.found(named("holder")).await.expect("a circle");
        let invite = holder.invite(InviteOffer::of(Role::Member)).await.expect("an invitation");
        let address = holder.listening(1).await.expect("it listens");
        reader.join(&address, None, &invite.code, named("reader")).await.expect("it joins");
        while !reader.peers().await.expect("it runs").iter().any(|peer| peer.is_connected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let router = Arc::new(reader.router(Arc::new(MemoryStore::new())));
        (holder, reader, router)
    });
    let (alone, together) = blocks.split_at(64);
    let each = alone.iter().map(|block| get(&router, &block.id())).collect();
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while let Some(block) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    get(&router, &block.id());
                }
            });
        }
    });
    let took = start.elapsed().mul_f64(blocks.len() as f64 / together.len() as f64);
    runtime.block_on(async {
        holder.end().await;
        reader.end().await;
    });
    (took, each)
}

fn get(router: &Router, id: &BlockId) -> Duration {
    let start = Instant::now();
    let found = router.get(id, Ask::now(Duration::from_secs(30))).expect("fetched");
    assert!(found.is_some(), "the holder has it");
    start.elapsed()
}
