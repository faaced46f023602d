//! Tests that need to see inside: faults of the disk, crashes that lose what was not synced, damage.

mod collect;
mod contract;
mod damage;
mod faults;
mod flips;
mod histories;
mod mishaps;
mod recovery;
mod rig;
mod sync;
