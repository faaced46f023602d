//! Random histories over the model. A store on a disk is played the same ones.

use cairn_store::Store;
use cairn_store::testing::model::{self, Mix, Op, Reopen};
use cairn_store::testing::{Extent, MemoryRig, Rig, explore};

const MIX: Mix = Mix { reopen_every: 15 };
/// A second of the gate.
const SHORT: Extent = Extent { runs: 400, steps: 80 };
const FULL: Extent = Extent { runs: 1000, steps: 10_000 };

#[test]
fn every_history_shows_only_what_it_may() {
    let step = |random: &mut _| MIX.step(random);
    explore("the store in memory", (SHORT, FULL), step, |history| model::check(&mut MemoryRig::new(), history));
}

/// A disk that loses what it said was durable.
struct LyingRig(MemoryRig);

impl Rig for LyingRig {
    fn store(&self) -> &dyn Store {
        self.0.store()
    }

    fn crash(&mut self, luck: u64) {
        self.0.crash(luck);
        self.0.lose(&model::sample(1).id());
    }

    fn reopen(&mut self, how: Reopen) {
        self.0.reopen(how);
    }
}

#[test]
#[should_panic(expected = "block 1 is here: Not")]
fn a_store_that_loses_synced_blocks_is_found_out() {
    let history = [Op::Put(1), Op::Sync, Op::Put(2), Op::Crash(0)];
    model::check(&mut LyingRig(MemoryRig::new()), history);
}
