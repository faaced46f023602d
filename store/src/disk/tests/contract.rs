//! The promises of every store, and random histories, on disk.

use proptest::prelude::*;

use super::rig::{DiskRig, options};
use crate::Store;
use crate::disk::DiskStore;
use crate::testing::{contract, model};

/// A history opens the index several times, so there are fewer of them than of the model's.
const HISTORIES: u32 = 30;
const STEPS_MAX: usize = 60;

#[test]
fn the_disk_store_keeps_the_contract() {
    let mut dirs = Vec::new();
    contract::run(&mut || {
        let dir = tempfile::tempdir().expect("a directory");
        let store = DiskStore::open(dir.path(), options()).expect("a new store");
        dirs.push(dir);
        Box::new(store) as Box<dyn Store>
    });
}

#[test]
fn the_disk_store_keeps_the_contract_through_crashes() {
    contract::run_crashes(&mut || Box::new(DiskRig::new()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: HISTORIES, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_history_shows_only_what_it_may(history in model::histories(STEPS_MAX)) {
        model::check(&mut DiskRig::new(), &history);
    }
}
