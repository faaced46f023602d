//! How fast packs are coded and given back, per core.
//!
//! `cargo run --release -p cairn-block --example bench_code -- [--json] [CODE...]`
//!
//! Figures are bytes of the body per second of this thread's CPU time: a busy machine doesn't show. Coding includes the ids
//! of all shards, giving back those of all that are there and the pack's.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use cairn_block::keys::KeepKey;
use cairn_block::{Code, PackBuilder, SizeClass, shard};

/// Each figure is the median of so many rounds.
const ROUNDS: usize = 15;
const CODES: [&str; 4] = ["2+1", "4+2", "4+4", "8+4"];

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, mut codes): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    if codes.is_empty() {
        codes = CODES.map(str::to_owned).into();
    }
    let pack = PackBuilder::new(SizeClass::M16).finish(&KeepKey::from_bytes([1; 32]));
    for text in codes {
        let code: Code = text.parse()?;
        let (descriptor, shards) = shard::encode(&pack, code)?;
        // As many data shards as may be lost.
        let lost = usize::from(code.m().min(code.k()));
        let given: Vec<_> = shards.iter().enumerate().map(|(n, shard)| (n >= lost).then(|| shard.clone())).collect();
        let encode = median(|| _ = black_box(shard::encode(&pack, code)));
        let decode = median(|| _ = black_box(shard::reconstruct(&descriptor, &given)));
        let per_second = |time: Duration| (pack.body().len() as f64 / 1e6 / time.as_secs_f64().max(1e-9)).round();
        let (encode, decode) = (per_second(encode), per_second(decode));
        if flags.iter().any(|flag| flag == "--json") {
            let report = serde_json::json!({
                "bench": "code", "code": text, "lost": lost, "encode_mb_per_s": encode, "decode_mb_per_s": decode,
            });
            println!("{report}");
        } else {
            println!("{text}: encode {encode} MB/s, decode without {lost} data shards {decode} MB/s");
        }
    }
    Ok(())
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS).map(|_| timed(&mut work)).collect();
    times.sort();
    times[times.len() / 2]
}

/// CPU time of this thread.
fn timed(work: impl FnOnce()) -> Duration {
    let start = cpu_time();
    work();
    cpu_time().saturating_sub(start)
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
