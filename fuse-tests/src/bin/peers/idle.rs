//! What a mount takes when nobody uses it: time of the processor, memory.

use std::path::Path;
use std::time::Duration;

use cairn_fuse_tests::peers::{Better, Samples, gocryptfs};
use cairn_fuse_tests::{Node, Random, Scratch};

use crate::page::{Aim, Part};
use crate::size::Size;

const PROCESSOR: &str = "processor, of one core";
const MEMORY: &str = "memory, resident";

/// Time that everybody gets to come to rest: caches are given back after ten idle seconds.
const REST: Duration = Duration::from_secs(15);

/// Measures each in turn, after the same work.
pub(crate) fn measure(size: &Size) -> Part {
    let scratch = Scratch::new();
    let node = Node::start();
    let mut watched: Vec<(&str, u32)> = Vec::new();
    if let Some(mount) = gocryptfs::mount(&scratch) {
        work(&mount);
        watched.extend(gocryptfs::process_of(&mount).map(|pid| ("gocryptfs", pid)));
    }
    work(&node.mount());
    watched.push(("cairn", node.pid()));
    let mut samples = Samples::of(watched.iter().map(|(name, _)| *name));
    std::thread::sleep(REST);
    let before: Vec<Duration> = watched.iter().map(|(_, pid)| processor_time(*pid)).collect();
    std::thread::sleep(size.idle);
    for (index, (_, pid)) in watched.iter().enumerate() {
        let used = processor_time(*pid).saturating_sub(before[index]);
        let percent = used.as_secs_f64() / size.idle.as_secs_f64() * 100.0;
        samples.note(index, PROCESSOR, "%", Better::Less, percent);
        samples.note(index, MEMORY, "MiB", Better::Less, resident_kib(*pid) as f64 / 1024.0);
    }
    let idle = samples.rows[0].median(samples.subject()).unwrap_or(f64::NAN);
    let verdict = if idle <= 1.0 { "met" } else { "**missed**" };
    Part {
        title: "Doing nothing",
        text: format!(
            "A mount that was used (300 files of 10 KB, 64 MiB read and written) and then left alone for {} s, watched for \
             {} s more. The aim is 1 % of a core at most: {verdict}.",
            REST.as_secs(),
            size.idle.as_secs()
        ),
        samples,
        aims: Vec::<Aim>::new(),
        remarks: Vec::new(),
        versions: Vec::new(),
    }
}

fn work(mount: &Path) {
    let mut random = Random::new(1);
    for number in 0..300 {
        std::fs::write(mount.join(format!("f{number}")), random.bytes(10_000)).expect("write");
    }
    std::fs::write(mount.join("large"), random.bytes(64 << 20)).expect("write");
    assert_eq!(std::fs::read(mount.join("large")).expect("read").len(), 64 << 20);
}

/// What a process has used so far, by itself and for the kernel.
fn processor_time(pid: u32) -> Duration {
    const TICKS_PER_SECOND: u64 = 100; // The kernel's unit towards programs, on every Linux.
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything, the fields after it don't.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
