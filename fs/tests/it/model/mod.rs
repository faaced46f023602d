//! A volume against a reference that is maps, over random histories: everything that files and names can do, with flushes,
//! snapshots, restores, thinning and collections in between, restarts, crashes, and merges with what another device did.
//!
//! - [`op`]: the steps, and how they are drawn. [`tree`] and [`content`]: the reference.
//! - [`rig`]: the volume; [`backing`]: what it lies on, and how that crashes.
//! - [`play`]: both side by side. [`fork`]: two devices that part and meet again.
//!
//! After a crash the volume has to be some earlier state of the reference, and none before the last sync. The keeper of a
//! volume works by the clock, so a seed repeats the steps and not each schedule.

mod backing;
mod claims;
mod content;
mod fork;
mod op;
mod play;
mod rig;
mod tree;

use cairn_store::testing::{Extent, explore};

use backing::{Backing, DiskBacking, MemoryBacking};
use op::{Mix, Op};
use play::Play;

fn run(backing: Box<dyn Backing>, ops: &mut dyn Iterator<Item = Op>) {
    let mut play = Play::new(backing);
    for op in ops {
        play.step(&op);
    }
    play.end();
}

#[test]
fn a_volume_is_a_map_whatever_happens() {
    let extents = (Extent { runs: 12, steps: 1_000 }, Extent { runs: 1_000, steps: 10_000 });
    let step = |random: &mut _| Mix::MEMORY.step(random);
    explore("a volume in memory", extents, step, |ops| run(Box::new(MemoryBacking::new()), ops));
}

#[test]
fn a_volume_on_disk_is_a_map_whatever_happens() {
    let extents = (Extent { runs: 2, steps: 500 }, Extent { runs: 20, steps: 10_000 });
    let step = |random: &mut _| Mix::DISK.step(random);
    explore("a volume on disk", extents, step, |ops| run(Box::new(DiskBacking::new()), ops));
}
