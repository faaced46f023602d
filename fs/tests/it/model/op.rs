//! The steps of a history, and how they are drawn.

use cairn_fs::ops::{Allocate, SetXattr};
use cairn_store::testing::Random;

pub(super) const NAMES: [&str; 5] = ["a", "b", "c", "dir", "long-name-that-hashes-elsewhere"];

/// Up to three names deep, by their places in [`NAMES`].
pub(super) type Path = Vec<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rename {
    Plain,
    NoReplace,
    Exchange,
    Whiteout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Dir,
    Link,
    Pipe,
    Device,
}

/// A file by one of its names, or one of those that are open, if there is any.
#[derive(Clone, Debug)]
pub(super) enum Which {
    At(Path),
    Open(u8),
}

/// What a program can do.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(Path, Kind),
    Write(Which, u32, u32, u8),
    Truncate(Which, u32),
    Allocate(Which, Allocate, u32, u32),
    Copy(Which, Which, u32, u32, u32),
    Rename(Path, Path, Rename),
    Link(Path, Path),
    Remove(Path),
    SetXattr(Path, u8, u32, SetXattr),
    RemoveXattr(Path, u8),
    Chmod(Path, u16),
    Chown(Path, u32),
    SetTime(Path, i64),
    Open(Path),
    Close(u8),
    Read(Which, u32, u32),
    Seek(Which, u32),
    Sync,
    Flush,
    Thin,
    Collect,
    /// Everything is compared.
    Compare,
    Snapshot,
    ReadSnapshot(u8),
    DropSnapshot(u8),
    Restore(u8),
    /// A part of a snapshot, to some place.
    RestorePart(u8, Path, Path),
    /// What this device does and what another one does meanwhile, until they merge.
    Fork(Vec<Op>, Vec<Op>),
    Reopen,
    Crash(u64),
}

/// How often what takes long is drawn: one step in so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    compare: u64,
    reopen: u64,
    history: u64,
    fork: Option<u64>,
}

impl Mix {
    pub(super) const MEMORY: Mix = Mix { compare: 100, reopen: 60, history: 25, fork: Some(500) };
    /// Opening a store on disk takes as long as thousands of steps.
    pub(super) const DISK: Mix = Mix { compare: 100, reopen: 250, history: 40, fork: None };

    pub(super) fn step(self, random: &mut Random) -> Op {
        if random.one_in(self.compare) {
            Op::Compare
        } else if random.one_in(self.reopen) {
            if random.one_in(3) { Op::Reopen } else { Op::Crash(random.bits()) }
        } else if random.one_in(self.history) {
            history(random)
        } else if self.fork.is_some_and(|every| random.one_in(every)) {
            Op::Fork(random.some(16, change), random.some(16, change))
        } else {
            ordinary(random)
        }
    }
}

fn history(random: &mut Random) -> Op {
    let n = random.bits() as u8;
    match random.below(12) {
        0..2 => Op::Snapshot,
        2..4 => Op::ReadSnapshot(n),
        4 => Op::DropSnapshot(n),
        5 => Op::Restore(n),
        6..8 => Op::RestorePart(n, path(random), path(random)),
        8..10 => Op::Thin,
        _ => Op::Collect,
    }
}

fn ordinary(random: &mut Random) -> Op {
    match random.below(40) {
        0..2 => Op::Sync,
        2..4 => Op::Flush,
        4..7 => Op::Read(which(random), at(random), len(random)),
        7 => Op::Seek(which(random), at(random)),
        8 => Op::Open(path(random)),
        9 => Op::Close(random.bits() as u8),
        _ => change(random),
    }
}

/// Changes files or names.
fn change(random: &mut Random) -> Op {
    match random.below(31) {
        0..5 => Op::Create(path(random), kind(random)),
        5..11 => Op::Write(which(random), at(random), len(random), random.bits() as u8),
        11..13 => Op::Truncate(which(random), at(random)),
        13..16 => Op::Allocate(which(random), allocate(random), at(random), len(random)),
        16..18 => Op::Copy(which(random), which(random), at(random), at(random), len(random)),
        18..22 => Op::Rename(path(random), path(random), rename(random)),
        22..24 => Op::Link(path(random), path(random)),
        24..26 => Op::Remove(path(random)),
        26 => Op::SetXattr(path(random), random.below(4) as u8, random.below(1500) as u32, set(random)),
        27 => Op::RemoveXattr(path(random), random.below(4) as u8),
        28 => Op::Chmod(path(random), random.below(0o1000) as u16),
        29 => Op::Chown(path(random), random.below(3) as u32),
        _ => Op::SetTime(path(random), random.below(1 << 33) as i64 - (1 << 32)),
    }
}

fn path(random: &mut Random) -> Path {
    let depth = [1, 1, 1, 1, 2, 2, 3][random.below(7) as usize];
    (0..depth).map(|_| random.below(NAMES.len() as u64) as u8).collect()
}

fn which(random: &mut Random) -> Which {
    if random.one_in(5) { Which::Open(random.bits() as u8) } else { Which::At(path(random)) }
}

fn at(random: &mut Random) -> u32 {
    match random.below(8) {
        0 => 0,
        1..6 => random.below(5_000) as u32,
        6 => random.below(60_000) as u32,
        _ => random.below(400_000) as u32,
    }
}

fn len(random: &mut Random) -> u32 {
    match random.below(64) {
        0 => 1 + random.below(700_000) as u32,
        1..7 => 1 + random.below(60_000) as u32,
        _ => 1 + random.below(3_000) as u32,
    }
}

fn kind(random: &mut Random) -> Kind {
    match random.below(10) {
        0..5 => Kind::File,
        5..8 => Kind::Dir,
        8 => Kind::Link,
        _ if random.one_in(2) => Kind::Pipe,
        _ => Kind::Device,
    }
}

fn rename(random: &mut Random) -> Rename {
    match random.below(8) {
        0..4 => Rename::Plain,
        4 => Rename::NoReplace,
        5..7 => Rename::Exchange,
        _ => Rename::Whiteout,
    }
}

fn allocate(random: &mut Random) -> Allocate {
    match random.below(8) {
        0 => Allocate::Reserve,
        1 => Allocate::ReserveKeepSize,
        2..6 => Allocate::PunchHole,
        6 => Allocate::Zero,
        _ => Allocate::ZeroKeepSize,
    }
}

fn set(random: &mut Random) -> SetXattr {
    match random.below(6) {
        0 => SetXattr::Create,
        1 => SetXattr::Replace,
        _ => SetXattr::Any,
    }
}
