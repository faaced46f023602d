//! The journal: a volume is opened over deltas that its own keys have wrapped around anything, looked at, and closed,
//! which makes a tree of whatever was taken in, or says why not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::{Block, DeviceKey, Ino, wrap};
use cairn_fs::ops::{Listing, Operations, Wait};
use cairn_fs::{FsError, Volume, VolumeConfig, VolumeOptions};
use cairn_store::{HeadStore, MemoryStore};

use super::blocks::keys;
use crate::input::Input;

const DELTAS_MAX: u64 = 4;

/// Deltas one after the other, each behind its length.
pub(crate) fn journal(data: &[u8]) {
    let (keys, store) = (keys(), Arc::new(MemoryStore::new()));
    let mut input = Input(data);
    for seq in 1..=DELTAS_MAX {
        if input.is_empty() {
            break;
        }
        let place = [&keys.volume().as_bytes()[..], &seq.to_le_bytes()].concat();
        let wrapped = wrap(keys.read().as_bytes(), "cairn journal delta", &place, input.piece());
        store.append_delta(&keys.volume(), seq, &Block::seal_bytes(wrapped)).expect("a delta of any bytes");
    }
    let opened = open(&store).expect("a journal keeps no volume from opening");
    let seen = look(&opened);
    // A state that contradicts itself makes no tree: then that is said, and the journal stays.
    if opened.close().is_err() {
        return;
    }
    drop(opened);
    // What a tree was made of is what was there before.
    let again = open(&store).expect("its own tree");
    assert_eq!(look(&again), seen);
}

fn open(store: &Arc<MemoryStore>) -> Result<Arc<Volume>, FsError> {
    Volume::open(VolumeConfig {
        keys: keys(),
        device: DeviceKey::from_bytes(&[9; 32]),
        store: store.clone(),
        heads: store.clone(),
        hints: store.clone(),
        options: VolumeOptions::default(),
    })
}

/// Names, numbers and sizes of the root's entries; the second word is the error where one can't be had.
fn look(volume: &Volume) -> Vec<(Vec<u8>, String)> {
    let wait = Wait::Until(Instant::now() + Duration::from_secs(5));
    let listed = volume.readdir(wait, Ino::ROOT, 0, 1000, Listing::Names);
    let told = |name: Vec<u8>| {
        let found = volume.lookup(wait, Ino::ROOT, &name);
        let text = match found {
            Ok(attr) => {
                let read = volume.readlink(wait, attr.ino).map(|target| target.len());
                volume.forget(attr.ino, 1);
                format!("{} {:?} {} {read:?}", attr.ino, attr.kind, attr.size)
            }
            Err(error) => format!("{error}"),
        };
        (name, text)
    };
    match listed {
        Ok(items) => items.into_iter().map(|item| told(item.name.to_vec())).collect(),
        Err(error) => vec![(Vec::new(), error.to_string())],
    }
}
