//! The network's decisions, judged from outside.

mod durability_doc;
mod simulation;
