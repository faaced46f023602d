//! `put` and `get` of at least a gibibyte of real data, beside restic's `backup` and `restore` of the same, once.

use std::path::Path;
use std::time::Duration;

use cairn_fuse_tests::peers::archivers::{self, Archiver, timed};
use cairn_fuse_tests::peers::real_data;
use cairn_fuse_tests::tree::assert_same;
use cairn_fuse_tests::{Scratch, speed};

const BYTES: u64 = 1 << 30;

/// Measures both and prints a table.
pub(crate) fn run() {
    let scratch = Scratch::new();
    let source = scratch.path().join("source");
    let bytes = real_data::gather(&source, BYTES);
    println!("  {:<10} {:>10} {:>10} {:>12}", "", "in MiB/s", "out MiB/s", "stored MiB");
    let of = |make: archivers::Make| round(make, &source);
    let cairn = of(archivers::cairn).print("cairn", bytes);
    if !cairn_fuse_tests::command::exists("restic") {
        println!("  restic is not installed: nothing to compare with");
        return;
    }
    let restic = of(archivers::restic).print("restic", bytes);
    let ratio = |ours: Duration, theirs: Duration| theirs.as_secs_f64() / ours.as_secs_f64();
    let (put, get) = (ratio(cairn.put, restic.put), ratio(cairn.get, restic.get));
    println!("  {:<10} {put:>10.2} {get:>10.2}   of {} MiB", "ratio", bytes >> 20);
}

struct Took {
    put: Duration,
    get: Duration,
    stored: u64,
}

/// Both ways with cold caches, and what came back compared.
fn round(make: archivers::Make, source: &Path) -> Took {
    let place = Scratch::new();
    let mut archiver: Box<dyn Archiver> = make(place.path());
    speed::drop_caches();
    let put = timed(|| archiver.ingest(source));
    let stored = archiver.stored();
    let back = place.folder("back");
    speed::drop_caches();
    let mut restored = back.clone();
    let get = timed(|| restored = archiver.restore(&back));
    assert_same(source, &restored);
    Took { put, get, stored }
}

impl Took {
    fn print(self, name: &str, bytes: u64) -> Took {
        let rate = |took: Duration| bytes as f64 / 1_048_576.0 / took.as_secs_f64();
        let stored = self.stored as f64 / 1_048_576.0;
        println!("  {name:<10} {:>10.0} {:>10.0} {stored:>12.0}", rate(self.put), rate(self.get));
        self
    }
}
