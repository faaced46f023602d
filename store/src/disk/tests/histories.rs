//! Random histories on disk: crashes and reopens, damage, a disk that is full or fails, a quota.

use super::rig::{DiskRig, options};
use crate::disk::DiskOptions;
use crate::testing::model::{self, Mix};
use crate::testing::{Extent, explore};

/// Opens often, to meet every way of opening.
const RESTLESS: Mix = Mix { reopen_every: 15 };
/// Lives long between two opens, which cost most.
const STEADY: Mix = Mix { reopen_every: 250 };

/// Less than all blocks take, and more than journals need to go on.
const QUOTA_BYTES: u64 = 200_000;

fn play(name: &str, options: &DiskOptions, mix: Mix, extents: (Extent, Extent)) {
    let step = |random: &mut _| mix.step(random);
    explore(name, extents, step, |history| model::check(&mut DiskRig::with(options.clone()), history));
}

#[test]
fn every_history_shows_only_what_it_may() {
    let extents = (Extent { runs: 15, steps: 80 }, Extent { runs: 300, steps: 400 });
    play("the store on disk, opened often", &options(), RESTLESS, extents);
}

#[test]
fn every_long_history_shows_only_what_it_may() {
    let extents = (Extent { runs: 2, steps: 1000 }, Extent { runs: 1000, steps: 10_000 });
    play("the store on disk", &options(), STEADY, extents);
}

#[test]
fn a_quota_refuses_what_is_new_and_nothing_else() {
    let extents = (Extent { runs: 2, steps: 1000 }, Extent { runs: 50, steps: 10_000 });
    let options = DiskOptions { quota_bytes: Some(QUOTA_BYTES), ..options() };
    play("a store under a quota", &options, STEADY, extents);
}
