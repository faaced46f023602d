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
    // A newer version is refused; and a state that contradicts itself has no head to close the gap with (docs/THREATS.md).
    let Ok(opened) = open(&store) else { return };
    look(&opened);
    // A state that contradicts itself makes no tree: then that is said, and the journal stays.
    if opened.close().is_err() {
        return;
    }
    drop(opened);
    // Names that led nowhere are gone now, so it need not look the same.
    look(&open(&store).expect("its own tree"));
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

/// Lists the root and asks for each of its entries. What is answered is the volume's affair; it answers.
fn look(volume: &Volume) {
    let wait = Wait::Until(Instant::now() + Duration::from_secs(5));
    for item in volume.readdir(wait, Ino::ROOT, 0, 1000, Listing::Names).into_iter().flatten() {
        if let Ok(attr) = volume.lookup(wait, Ino::ROOT, &item.name) {
            let _ = volume.readlink(wait, attr.ino);
            let _ = volume.read(wait, attr.ino, 0, 4096);
            volume.forget(attr.ino, 1);
        }
    }
}
