//! How close sealing comes to its own primitives, per core, measured in the same run on the same bytes.
//!
//! `cargo run --release -p cairn-block --example bench_seal -- [--json] [--mib N] [DIR...]`
//!
//! Sealing here is all that a writer computes: cut, probe, compress, hash to a key, encrypt, hash to an id. The limit is
//! what the primitives alone would need for the same bytes: cutting and compressing the raw ones, the rest for what is
//! stored. The figure is bytes of input per second of this thread's CPU time, so a busy machine doesn't show.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_block::keys::ConvergenceKey;
use cairn_block::{Compression, Kind, chunker, seal};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};

/// Each figure is the median of so many rounds; the primitives and the pipeline take turns.
const ROUNDS: usize = 9;
const MIB_DEFAULT: usize = 64;
/// Text that most machines have.
const DIRS_DEFAULT: [&str; 3] = [env!("CARGO_MANIFEST_DIR"), "/usr/include", "/usr/share/doc"];
const LEVEL: i32 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let reports =
        [measure("incompressible", &random(options.bytes))?, measure("text", &text(&options.dirs, options.bytes)?)?];
    for report in &reports {
        if options.json {
            println!("{}", report.to_json());
        } else {
            print!("{}", report.to_text());
        }
    }
    Ok(())
}

struct Options {
    json: bool,
    bytes: usize,
    dirs: Vec<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut options = Options { json: false, bytes: MIB_DEFAULT << 20, dirs: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--mib" => {
                    options.bytes = arguments.next().ok_or("--mib wants a number")?.parse::<usize>()? << 20;
                }
                flag if flag.starts_with('-') => return Err(format!("{flag} is not known").into()),
                dir => options.dirs.push(dir.into()),
            }
        }
        if options.dirs.is_empty() {
            options.dirs = DIRS_DEFAULT.iter().map(PathBuf::from).collect();
        }
        Ok(options)
    }
}

/// The same bytes in each run.
fn random(bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut data);
    data
}

/// The files under `dirs` one after the other, up to `bytes`.
fn text(dirs: &[PathBuf], bytes: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut data = Vec::new();
    for dir in dirs {
        append_files(dir, bytes, &mut data);
    }
    if data.len() < 1 << 20 {
        return Err(format!("less than 1 MiB of text in {dirs:?}: name other directories").into());
    }
    data.truncate(bytes);
    Ok(data)
}

fn append_files(path: &Path, bytes: usize, data: &mut Vec<u8>) {
    // What can't be read is passed over: this is only a sample of real files.
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().collect();
    paths.sort_by_key(fs::DirEntry::path);
    for entry in paths {
        if data.len() >= bytes {
            return;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => append_files(&entry.path(), bytes, data),
            Ok(kind) if kind.is_file() => data.extend(fs::read(entry.path()).unwrap_or_default()),
            _ => {}
        }
    }
}

struct Report {
    name: &'static str,
    raw: usize,
    stored: usize,
    chunks: usize,
    /// Name and median time over all chunks.
    primitives: Vec<(&'static str, Duration)>,
    sealing: Duration,
}

fn measure(name: &'static str, data: &[u8]) -> Result<Report, Box<dyn Error>> {
    let key = ConvergenceKey::from_bytes([1; 32]);
    let chunks: Vec<_> = chunker::cut(data).collect();
    let stored = stored_lens(&key, data, &chunks)?;
    let mut work = Work { data, chunks: &chunks, stored: &stored, scratch: vec![0; 2 << 20] };
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut times: [Vec<Duration>; 6] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(timed(|| {
            black_box(chunker::cut(data).count());
        }));
        times[1].push(timed(|| {
            work.each_stored(|bytes| {
                black_box(blake3::keyed_hash(key.as_bytes(), bytes));
            })
        }));
        times[2].push(timed(|| work.each_compressed(&mut compressor)));
        times[3].push(timed(|| work.each_stored(encrypt)));
        times[4].push(timed(|| {
            work.each_stored(|bytes| {
                black_box(blake3::hash(bytes));
            })
        }));
        times[5].push(timed(|| {
            for chunk in chunker::cut(data) {
                black_box(seal(&key, Kind::Data, &data[chunk], Compression::Probe).ok());
            }
        }));
    }
    let [cut, keyed, zstd, cipher, hash, sealing] = times.map(median);
    Ok(Report {
        name,
        raw: data.len(),
        stored: stored.iter().sum(),
        chunks: chunks.len(),
        primitives: vec![("cut", cut), ("keyed hash", keyed), ("zstd", zstd), ("cipher", cipher), ("hash", hash)],
        sealing,
    })
}

fn stored_lens(key: &ConvergenceKey, data: &[u8], chunks: &[Range<usize>]) -> Result<Vec<usize>, Box<dyn Error>> {
    let mut lens = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        lens.push(seal(key, Kind::Data, &data[chunk.clone()], Compression::Probe)?.block.len());
    }
    Ok(lens)
}

/// The chunks of one input, for primitives to work on.
struct Work<'a> {
    data: &'a [u8],
    chunks: &'a [Range<usize>],
    stored: &'a [usize],
    scratch: Vec<u8>,
}

impl Work<'_> {
    /// Hands over as many bytes as each sealed block has, in a buffer that is warm, as it is in the pipeline.
    fn each_stored(&mut self, mut primitive: impl FnMut(&mut [u8])) {
        for len in self.stored {
            primitive(&mut self.scratch[..*len]);
        }
    }

    /// Compresses those chunks that sealing compressed.
    fn each_compressed(&mut self, compressor: &mut zstd::bulk::Compressor<'_>) {
        for (chunk, stored) in self.chunks.iter().zip(self.stored) {
            if *stored < chunk.len() {
                let frame = compressor.compress_to_buffer(&self.data[chunk.clone()], &mut self.scratch[..]);
                black_box(frame.ok());
            }
        }
    }
}

fn encrypt(bytes: &mut [u8]) {
    let cipher = ChaCha20Poly1305::new(&[1; 32].into());
    black_box(cipher.encrypt_inout_detached(&[0; 12].into(), &[], bytes.into()).ok());
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

impl Report {
    fn mb_per_s(&self, time: Duration) -> f64 {
        self.raw as f64 / 1e6 / time.as_secs_f64().max(1e-9)
    }

    fn limit(&self) -> Duration {
        self.primitives.iter().map(|(_, time)| *time).sum()
    }

    /// Primitives that had any work: incompressible data leaves zstd without.
    fn used(&self) -> impl Iterator<Item = &(&'static str, Duration)> {
        self.primitives.iter().filter(|(_, time)| *time > Duration::from_micros(100))
    }

    fn share(&self) -> f64 {
        self.limit().as_secs_f64() / self.sealing.as_secs_f64()
    }

    fn to_text(&self) -> String {
        let stored = 100.0 * self.stored as f64 / self.raw as f64;
        let mut text =
            format!("{}: {:.1} MB in {} chunks, {stored:.1} % stored\n", self.name, self.raw as f64 / 1e6, self.chunks);
        for (name, time) in self.used() {
            let part = 100.0 * time.as_secs_f64() / self.limit().as_secs_f64();
            text += &format!("  {name:<12}{:>8.0} MB/s {part:>5.1} %\n", self.mb_per_s(*time));
        }
        text += &format!("  {:<12}{:>8.0} MB/s\n", "limit", self.mb_per_s(self.limit()));
        text += &format!(
            "  {:<12}{:>8.0} MB/s, {:.2} of the limit\n",
            "sealing",
            self.mb_per_s(self.sealing),
            self.share()
        );
        text
    }

    fn to_json(&self) -> serde_json::Value {
        let primitives: serde_json::Map<_, _> =
            self.used().map(|(name, time)| ((*name).to_owned(), self.mb_per_s(*time).round().into())).collect();
        serde_json::json!({
            "bench": "seal",
            "data": self.name,
            "bytes": self.raw,
            "stored_bytes": self.stored,
            "chunks": self.chunks,
            "primitives_mb_per_s": primitives,
            "limit_mb_per_s": self.mb_per_s(self.limit()).round(),
            "sealing_mb_per_s": self.mb_per_s(self.sealing).round(),
            "share_of_limit": (self.share() * 1000.0).round() / 1000.0,
        })
    }
}
