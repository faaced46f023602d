//! Diff, merge, collection, checks and snapshots, over real trees in a store in memory.

mod changes;
mod merge;
mod sketch;
mod world;
