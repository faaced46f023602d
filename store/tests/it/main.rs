//! Stores judged from outside.

mod cache;
mod contract;
mod faults;
mod histories;
#[cfg(feature = "disk")]
mod kill;
mod memory;
