//! Tests that need to see inside: faults of the disk, crashes that lose what was not synced, damage.

mod collect;
mod contract;
mod damage;
mod faults;
mod histories;
mod recovery;
mod rig;
mod sync;
