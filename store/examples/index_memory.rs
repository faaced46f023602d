//! How much memory the index takes for many blocks: indexes synthetic ids through the real index, looks some up,
//! and prints what the process holds.
//!
//! `cargo run --release -p cairn-store --features disk --example index_memory -- [BLOCKS] [DIR]`

use std::error::Error;
use std::time::Instant;

use cairn_block::BlockId;
use cairn_store::disk::{DiskOptions, IndexBench};

const BLOCKS: u64 = 10_000_000;
const LOOKUPS: u64 = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let blocks = args.next().map_or(Ok(BLOCKS), |n| n.parse())?;
    let dir = tempfile::tempdir_in(args.next().unwrap_or_else(|| ".".into()))?;
    println!("before: VmRSS {} MiB", resident_mib()?);
    let mut index = IndexBench::create(&dir.path().join("index"), &DiskOptions::default())?;
    let started = Instant::now();
    for n in 0..blocks {
        index.add(id(n))?;
    }
    index.flush()?;
    let rate = blocks as f64 / started.elapsed().as_secs_f64();
    println!("{blocks} blocks indexed, {rate:.0}/s: VmRSS {} MiB", resident_mib()?);
    look_up(&index, blocks, "here", 0)?;
    look_up(&index, blocks, "missing", 1 << 60)?;
    println!("after lookups: VmRSS {} MiB, peak {} MiB", resident_mib()?, status_mib("VmHWM:")?);
    Ok(())
}

fn look_up(index: &IndexBench, blocks: u64, what: &str, from: u64) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut found = 0;
    for n in 0..LOOKUPS {
        // A stride that is prime to any count of blocks: neighbours in time are nowhere near in the index.
        found += u64::from(index.has(&id(from + n * 7919 % blocks))?);
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64;
    println!("{LOOKUPS} lookups, {what}: {found} found, {micros:.1} µs each");
    Ok(())
}

fn id(n: u64) -> BlockId {
    BlockId::of(&n.to_le_bytes())
}

fn resident_mib() -> Result<u64, Box<dyn Error>> {
    status_mib("VmRSS:")
}

fn status_mib(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
