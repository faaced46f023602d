//! The steps of a history, and how they are drawn.

use super::explore::Random;

/// Different blocks in a history: few, so that they meet again.
pub const BLOCKS: usize = 12;
/// Volumes, devices, head numbers and dedup keys in a history.
pub(super) const VOLUMES: u8 = 3;
const DEVICES: u8 = 2;
const HEADS: u64 = 4;
pub(super) const HINTS: u8 = 4;

/// The place of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct HeadKey {
    pub volume: u8,
    pub device: u8,
    pub seq: u64,
}

/// What a rig can do to its store besides asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reopen {
    /// Closes in order and opens again.
    Closed,
    /// The same, with the index deleted in between.
    WithoutIndex,
    /// Stays open, and makes its index anew.
    Rebuilt,
}

/// What is asked of a disk that has begun to fail.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Strain {
    pub put: Vec<usize>,
    pub append: Option<(u8, usize)>,
    /// Ends in a crash, not in a disk that works again.
    pub crash: Option<u64>,
}

/// One step of a history. Blocks are numbers below [`BLOCKS`].
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Op {
    Put(usize),
    PutFromReserve(usize),
    Claim(usize),
    Sync,
    /// Part of what was not synced survives, as the bits say.
    Crash(u64),
    Reopen(Reopen),
    /// A collection: what it marks; what others put or claim before it sweeps; what they put while it sweeps.
    Collect {
        marked: Vec<usize>,
        put: Vec<usize>,
        claimed: Vec<usize>,
        late: Vec<usize>,
        dry_run: bool,
    },
    /// A collection that is given up.
    Abandon {
        marked: Vec<usize>,
        put: Vec<usize>,
    },
    PutHead(HeadKey, u8),
    DropHead(HeadKey),
    /// Appends under the next number, after skipping some.
    Append {
        volume: u8,
        skip: u64,
        block: usize,
    },
    /// Appends under the number of the last record: refused.
    AppendAgain {
        volume: u8,
    },
    /// Trims all but the last few numbers.
    Trim {
        volume: u8,
        keep: u64,
    },
    Hint(u8, u8),
    /// The stored bytes of a block change behind the store's back.
    Damage(usize),
    Scrub,
    /// The disk takes no more than this.
    FullDisk {
        room: u64,
        strain: Strain,
    },
    /// One of the next syncs of the disk fails.
    BadSync {
        nth: u64,
        strain: Strain,
    },
    /// Every sync of the disk fails from now on.
    DeadDisk(Strain),
}

/// How often the steps that take long are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// One step in so many opens the store again, one way or the other.
    pub reopen_every: u64,
}

impl Mix {
    /// Draws a step.
    pub fn step(self, random: &mut Random) -> Op {
        if random.one_in(self.reopen_every) {
            return reopening(random);
        }
        match random.below(36) {
            0..8 => Op::Put(block(random)),
            8 => Op::PutFromReserve(block(random)),
            9..12 => Op::Claim(block(random)),
            12..15 => Op::Sync,
            15..17 => Op::Collect {
                marked: random.some(6, block),
                put: random.some(3, block),
                claimed: random.some(3, block),
                late: random.some(2, block),
                dry_run: random.one_in(4),
            },
            17 => Op::Abandon { marked: random.some(3, block), put: random.some(3, block) },
            18..21 => Op::PutHead(head_key(random), random.below(3) as u8),
            21..23 => Op::DropHead(head_key(random)),
            23..28 => Op::Append { volume: volume(random), skip: random.below(3), block: block(random) },
            28 => Op::AppendAgain { volume: volume(random) },
            29..32 => Op::Trim { volume: volume(random), keep: random.below(4) },
            32 => Op::Hint(random.below(HINTS.into()) as u8, random.below(5) as u8),
            33 => Op::Damage(block(random)),
            34 => Op::Scrub,
            _ if random.one_in(2) => Op::FullDisk { room: random.below(60_000), strain: strain(random) },
            _ => Op::BadSync { nth: 1 + random.below(4), strain: strain(random) },
        }
    }
}

fn reopening(random: &mut Random) -> Op {
    match random.below(8) {
        0..4 => Op::Crash(random.bits()),
        4 => Op::Reopen(Reopen::Closed),
        5 => Op::Reopen(Reopen::WithoutIndex),
        6 => Op::Reopen(Reopen::Rebuilt),
        _ => Op::DeadDisk(Strain { crash: Some(random.bits()), ..strain(random) }),
    }
}

fn strain(random: &mut Random) -> Strain {
    Strain {
        put: random.some(5, block),
        append: random.one_in(2).then(|| (volume(random), block(random))),
        crash: random.one_in(16).then(|| random.bits()),
    }
}

fn block(random: &mut Random) -> usize {
    random.below(BLOCKS as u64) as usize
}

fn volume(random: &mut Random) -> u8 {
    random.below(VOLUMES.into()) as u8
}

fn head_key(random: &mut Random) -> HeadKey {
    HeadKey { volume: volume(random), device: random.below(DEVICES.into()) as u8, seq: 1 + random.below(HEADS) }
}
