//! The promises of every store, on disk.

use super::rig::{DiskRig, options};
use crate::Store;
use crate::disk::DiskStore;
use crate::testing::contract;

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
