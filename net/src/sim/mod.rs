//! A circle in virtual time: placement, repair and manifests on many nodes, under faults that a seed chooses.
//!
//! Devices upload packs, adopt each other's, delete and publish manifests; nodes store, sync, report, repair and drop. Messages
//! are late, lost or blocked in one direction; nodes crash and lose what they had not synced, are away for a day, come
//! back, or come back with an empty disk. At most m of them are gone at once. The nodes run the very code of this crate.
//!
//! [`run`] plays one seed and says what it found: see [`Violation`]. [`Guards`] take a measure out, to show that the checks
//! notice.

mod checks;
mod device;
mod faults;
mod network;
mod node;
mod world;

use std::time::Duration;

pub use checks::Violation;

/// Measures that can be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// A node syncs before it acknowledges.
    pub sync_before_ack: bool,
    /// Nodes repair.
    pub repair: bool,
    /// A pack goes after two manifests of every device, and holds count.
    pub two_generations: bool,
    /// Holders tell each other of holds, and one that was away waits for that before it drops anything.
    pub share_holds: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Guards { sync_before_ack: true, repair: true, two_generations: true, share_holds: true }
    }
}

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Chooses everything else.
    pub seed: u64,
    /// Nodes that store; at least 5.
    pub nodes: usize,
    /// Hours of virtual time; the last [`QUIET_HOURS`] are without faults.
    pub hours: u64,
    /// Measures that are in place.
    pub guards: Guards,
    /// Whether [`Outcome::log`] is kept.
    pub log: bool,
}

/// The hours at the end in which nothing fails and redundancy has to come back.
pub const QUIET_HOURS: u64 = 36;

impl Options {
    /// Ten days of eight nodes.
    pub fn of_seed(seed: u64) -> Self {
        Options { seed, nodes: 8, hours: 240, guards: Guards::default(), log: false }
    }
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Steps of the simulation.
    pub steps: u64,
    /// Packs that every holder acknowledged.
    pub acknowledged: usize,
    /// Packs that a device took over from another one.
    pub adopted: usize,
    /// Shards that were made again.
    pub made: usize,
    /// Shards that were dropped because nobody needed them.
    pub dropped: usize,
    /// Crashes, those with a lost disk among them.
    pub crashes: usize,
    /// Disks lost.
    pub wiped: usize,
    /// Directions between two nodes that were blocked for a while.
    pub blocked: usize,
    /// What should never happen, in the order in which it did.
    pub violations: Vec<Violation>,
    /// Lines for people, if they were asked for.
    pub log: Vec<String>,
}

/// Plays one seed to its end.
pub fn run(options: Options) -> Outcome {
    world::World::new(options).run()
}

/// Virtual time, in milliseconds.
type Time = u64;

const MINUTE: Time = 60_000;
const HOUR: Time = 60 * MINUTE;

const fn duration(time: Time) -> Duration {
    Duration::from_millis(time)
}

/// A pack by its number.
type Pack = u64;

/// Numbers go in steps, so that there are many groups with few packs each.
const PACK_STEP: u64 = 16;

/// Who sends or is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Node(usize),
    Device(usize),
}
