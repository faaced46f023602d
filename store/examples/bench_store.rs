//! What the disk store does per second, beside what the disk does.
//!
//! `cargo run --release -p cairn-store --features disk,testing --example bench_store -- [--json] [DIR]`

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::Block;
use cairn_store::disk::{DiskOptions, DiskStore};
use cairn_store::{Ask, BlockStore};

const BLOCK_BYTES: usize = 256 << 10;
/// Enough for the disk's own pace to show behind the write buffer.
const BLOCKS: u64 = 2048;
const SMALL_BYTES: usize = 4096;
const SYNCS: u64 = 1000;
const SMALL_PUTS: u64 = 50_000;
const WAITERS: u64 = 16;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_json = args.iter().any(|arg| arg == "--json");
    let here = tempfile::tempdir_in(args.iter().find(|arg| !arg.starts_with("--")).map_or(".", |dir| dir))?;
    let mut figures = Vec::new();
    let bare = bare_syncs(&here.path().join("bare"))?;
    figures.extend(percentiles("bare_append_sync_4k", bare));
    figures.push(("bare_write_mb_s".into(), bare_writes(&here.path().join("bare"))?));
    let store = DiskStore::open(here.path().join("store"), DiskOptions::default())?;
    figures.extend(percentiles("store_append_sync_4k", store_syncs(&store)?));
    figures.push((format!("store_append_sync_{WAITERS}_waiters_per_s"), shared_syncs(&store)?));
    figures.push(("put_4k_per_s".into(), small_puts(&store)?));
    streams(&store, here.path(), &mut figures)?;
    let started = Instant::now();
    store.close()?;
    figures.push(("close_ms".into(), millis(started.elapsed())));
    let started = Instant::now();
    let store = DiskStore::open(here.path().join("store"), DiskOptions::default())?;
    figures.push(("open_ms".into(), millis(started.elapsed())));
    let started = Instant::now();
    store.rebuild_index()?;
    let bytes = store.stats().log_bytes as f64;
    figures.push(("rebuild_index_mb_s".into(), bytes / 1e6 / started.elapsed().as_secs_f64()));
    print(&figures, is_json);
    Ok(())
}

fn print(figures: &[(String, f64)], is_json: bool) {
    if is_json {
        let fields: Vec<_> = figures.iter().map(|(name, value)| format!("\"{name}\":{value:.1}")).collect();
        println!("{{{}}}", fields.join(","));
        return;
    }
    for (name, value) in figures {
        println!("{name:36} {value:12.1}");
    }
}

fn content(n: u64, bytes: usize) -> Bytes {
    let mut content = vec![0; bytes];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut content);
    Bytes::from(content)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn percentiles(name: &str, mut times: Vec<Duration>) -> Vec<(String, f64)> {
    times.sort();
    let micros = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e6;
    let per_second = times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
    vec![
        (format!("{name}_p50_us"), micros(50)),
        (format!("{name}_p99_us"), micros(99)),
        (format!("{name}_per_s"), per_second),
    ]
}

/// The disk's own: append 4 KiB, `fdatasync`.
fn bare_syncs(path: &Path) -> Result<Vec<Duration>> {
    let file = File::create(path)?;
    let content = content(0, SMALL_BYTES);
    let mut times = Vec::new();
    for n in 0..SYNCS {
        let started = Instant::now();
        file.write_all_at(&content, n * SMALL_BYTES as u64)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(times)
}

/// The disk's own: as many bytes as the store is given, then one `fdatasync`.
fn bare_writes(path: &Path) -> Result<f64> {
    let time = bare_fill(path)?;
    std::fs::remove_file(path)?;
    Ok(megabytes(BLOCKS) / time.as_secs_f64())
}

fn bare_fill(path: &Path) -> Result<Duration> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let contents: Vec<_> = (0..16).map(|n| content(n, BLOCK_BYTES)).collect();
    let started = Instant::now();
    for n in 0..BLOCKS {
        file.write_all_at(&contents[n as usize % 16], n * BLOCK_BYTES as u64)?;
    }
    file.sync_data()?;
    Ok(started.elapsed())
}

fn megabytes(blocks: u64) -> f64 {
    blocks as f64 * BLOCK_BYTES as f64 / 1e6
}

fn store_syncs(store: &DiskStore) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for n in 0..SYNCS {
        let block = Block::seal_bytes(content(n, SMALL_BYTES));
        let started = Instant::now();
        store.put(&block)?;
        store.sync()?;
        times.push(started.elapsed());
    }
    Ok(times)
}

fn shared_syncs(store: &DiskStore) -> Result<f64> {
    let started = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let waiters: Vec<_> = (0..WAITERS)
            .map(|waiter| {
                scope.spawn(move || {
                    for n in 0..SYNCS / 4 {
                        store.put(&Block::seal_bytes(content((waiter + 1) << 32 | n, SMALL_BYTES)))?;
                        store.sync()?;
                    }
                    Ok::<_, cairn_store::StoreError>(())
                })
            })
            .collect();
        for waiter in waiters {
            waiter.join().map_err(|_| "a waiter panicked")??;
        }
        Ok(())
    })?;
    Ok((WAITERS * (SYNCS / 4)) as f64 / started.elapsed().as_secs_f64())
}

/// What a get is made of: a read from the page cache into fresh memory, and BLAKE3. Of another file, all cached.
fn bare_reads(here: &Path, ids: &[cairn_block::BlockId]) -> Result<f64> {
    let path = here.join("bare");
    bare_fill(&path)?;
    let file = File::open(&path)?;
    let started = Instant::now();
    for n in 0..ids.len() as u64 {
        let mut bytes = vec![0; BLOCK_BYTES];
        file.read_exact_at(&mut bytes, n * BLOCK_BYTES as u64)?;
        std::hint::black_box(blake3::hash(&bytes));
    }
    let rate = megabytes(BLOCKS) / started.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

fn small_puts(store: &DiskStore) -> Result<f64> {
    let blocks: Vec<_> = (0..SMALL_PUTS).map(|n| Block::seal_bytes(content(1 << 40 | n, SMALL_BYTES))).collect();
    let started = Instant::now();
    for block in &blocks {
        store.put(block)?;
    }
    store.sync()?;
    Ok(SMALL_PUTS as f64 / started.elapsed().as_secs_f64())
}

fn streams(store: &DiskStore, here: &Path, figures: &mut Vec<(String, f64)>) -> Result<()> {
    // Made beforehand, so that only the store is measured.
    let blocks: Vec<_> = (0..BLOCKS).map(|n| Block::seal_bytes(content(1 << 50 | n, BLOCK_BYTES))).collect();
    let started = Instant::now();
    for block in &blocks {
        store.put(block)?;
    }
    store.sync()?;
    figures.push(("put_256k_mb_s".into(), megabytes(BLOCKS) / started.elapsed().as_secs_f64()));
    let ids: Vec<_> = blocks.iter().map(Block::id).collect();
    drop(blocks);
    store.checkpoint()?;
    let started = Instant::now();
    for id in &ids {
        store.get(id, Ask::now(Duration::from_secs(10)))?.ok_or("a block is gone")?;
    }
    figures.push(("get_256k_cached_mb_s".into(), megabytes(BLOCKS) / started.elapsed().as_secs_f64()));
    figures.push(("bare_read_verify_256k_mb_s".into(), bare_reads(here, &ids)?));
    let started = Instant::now();
    for id in &ids {
        store.has(id)?;
    }
    figures.push(("has_per_s".into(), ids.len() as f64 / started.elapsed().as_secs_f64()));
    Ok(())
}
