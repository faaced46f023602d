//! The mount judged from outside. See `docs/SEMANTICS.md` for what is promised; each test of a promise names it.
//!
//! * `arrows`: which crate may know which.
//! * `ops`: small files by operation. They hold on any good filesystem: `CAIRN_TEST_DIR=DIR` tries them there.
//! * `judges`: pjdfstest and fsx, the judges of others, with their checked-in verdicts in `judges/`.
//! * `programs`: git, cargo, SQLite, rsync, tar, editors.
//! * `costs`: requests, blocks and bytes per call, which load can't disturb.
//! * `compat`: a data directory of an earlier state opens; a newer one is refused unwritten.
//! * `others`: another user of the machine tries. `supply`: what is linked.
//! * one module for each further row of the acceptance table; `CAIRN_SCALE=full` gives their full size.

mod arrows;
mod at_rest;
mod bad_input;
mod bigdir;
mod bigfile;
mod circle;
mod collections;
mod compat;
mod costs;
mod crash;
mod device_errors;
mod faults;
mod first_use;
mod judges;
mod limits;
mod memory;
mod mounting;
mod ops;
mod ordinals;
mod others;
mod power;
mod programs;
mod restart;
mod semantics;
mod snapshots;
mod supply;
mod sweep;
mod wrong_disk;
