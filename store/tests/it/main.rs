//! Stores judged from outside.

mod cache;
mod contract;
mod faults;
mod histories;
mod memory;
