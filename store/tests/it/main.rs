//! Stores judged from outside.

mod cache;
mod contract;
mod faults;
#[cfg(feature = "disk")]
mod full;
mod histories;
#[cfg(feature = "disk")]
mod hostile;
#[cfg(feature = "disk")]
mod kill;
mod memory;
