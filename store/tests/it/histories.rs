//! Random histories over the model. A store on a disk is played the same ones.

use cairn_store::Store;
use cairn_store::testing::model::{self, Op};
use cairn_store::testing::{MemoryRig, Rig};
use proptest::prelude::*;

/// Long enough for several collections and crashes; longer ones find nothing more and shrink slowly.
const STEPS_MAX: usize = 80;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_history_shows_only_what_it_may(history in model::histories(STEPS_MAX)) {
        model::check(&mut MemoryRig::new(), &history);
    }
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
}

#[test]
#[should_panic(expected = "block 1 is here: false")]
fn a_store_that_loses_synced_blocks_is_found_out() {
    let history = [Op::Put(1), Op::Sync, Op::Put(2), Op::Crash(0)];
    model::check(&mut LyingRig(MemoryRig::new()), &history);
}
