//! The mount, a directory of the disk and gocryptfs, measured in turns; the middle of the rounds counts.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::peers::gocryptfs;
use cairn_fuse_tests::speed::{self, Figure, Load, median};
use cairn_fuse_tests::{Node, Scratch};

/// What a ratio should be at least.
#[derive(Clone, Copy)]
enum Aim {
    Disk(f64),
    Gocryptfs(f64),
}

/// The aims, by the figure's name.
const AIMS: [(&str, Aim); 9] = [
    ("sequential write", Aim::Gocryptfs(1.0)),
    ("sequential read, cold", Aim::Gocryptfs(1.0)),
    ("sequential read, warm", Aim::Gocryptfs(1.0)),
    ("random write 4 KiB", Aim::Gocryptfs(2.0)),
    ("create 4 KiB", Aim::Gocryptfs(2.0)),
    ("stat, cold", Aim::Gocryptfs(2.0)),
    ("unlink", Aim::Gocryptfs(2.0)),
    ("mkdir", Aim::Gocryptfs(2.0)),
    ("append 4 KiB + fsync", Aim::Disk(0.5)),
];

/// Measures `rounds` times and prints the table.
pub(crate) fn run(rounds: usize, stream_mib: u64, files: u32) {
    let scratch = Scratch::new();
    let node = Node::start_with(Setup { patience: Some(Duration::from_secs(3600)), ..Setup::default() });
    let disk = scratch.folder_of_regions("disk");
    let gocryptfs = gocryptfs::mount(&scratch);
    if gocryptfs.is_none() {
        println!("  gocryptfs is not installed: nothing to compare with but the disk");
    }
    if !speed::drop_caches() {
        println!("  not root: the kernel's caches stay, and what is called cold is warm");
    }
    let places = [Some(disk), gocryptfs, Some(node.mount())];
    let mut measured: BTreeMap<(usize, &'static str), Vec<f64>> = BTreeMap::new();
    let mut shape: Vec<Figure> = Vec::new();
    for round in 0..rounds {
        for (index, place) in places.iter().enumerate() {
            let Some(place) = place else { continue };
            let load = Load { stream_mib, files, seed: round as u64 * 100 + index as u64 };
            let figures = speed::measure(place, load).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
            for figure in &figures {
                measured.entry((index, figure.name)).or_default().push(figure.value);
            }
            shape = figures;
        }
    }
    print(&shape, &measured);
}

fn print(shape: &[Figure], measured: &BTreeMap<(usize, &'static str), Vec<f64>>) {
    println!(
        "  {:<26} {:>6} {:>10} {:>10} {:>10} {:>8} {:>8}  aim",
        "", "", "disk", "gocryptfs", "cairn", "/disk", "/gocr."
    );
    for figure in shape {
        let [disk, gocryptfs, cairn] =
            [0, 1, 2].map(|index| median(measured.get(&(index, figure.name)).cloned().unwrap_or_default()));
        let (to_disk, to_gocryptfs) = (cairn / disk, cairn / gocryptfs);
        let aim = AIMS.iter().find(|(name, _)| *name == figure.name).map(|(_, aim)| match aim {
            Aim::Disk(bar) => verdict("disk", *bar, to_disk),
            Aim::Gocryptfs(bar) => verdict("gocryptfs", *bar, to_gocryptfs),
        });
        println!(
            "  {:<26} {:>6} {disk:>10.0} {gocryptfs:>10.0} {cairn:>10.0} {to_disk:>8.2} {to_gocryptfs:>8.2}  {}",
            figure.name,
            figure.unit,
            aim.unwrap_or_default()
        );
    }
}

fn verdict(whose: &str, bar: f64, ratio: f64) -> String {
    let met = if ratio.is_nan() {
        "not measured"
    } else if ratio >= bar {
        "met"
    } else {
        "MISSED"
    };
    format!(">= {bar} x {whose}: {met}")
}
