//! Locks, atomics and threads of what is explored by schedule: the reader and the mount's desk. See the module of the same
//! name in `cairn-store`.

#[cfg(shuttle)]
pub(crate) use cairn_store::sync::{Condvar, Mutex, MutexGuard, atomic, thread};
#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(shuttle))]
pub(crate) use std::thread;
