//! Diff, merge, collection, checks and snapshots, over real trees in a store in memory.

mod changes;
mod check;
mod collect;
mod diff;
mod merge;
mod reader;
mod sketch;
mod snapshots;
mod world;
