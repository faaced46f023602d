//! The mount: a volume as a directory of this machine. The only place that knows the `fuser` library.
//!
//! Read in the order of a request: `dispatch` takes it, `request` and `caller` read its fields, the `desk` has it answered
//! at once or by the `pool` and always by its `deadline`, `reply` and `attr` put the answer into the kernel's words,
//! `listing` adds the dots, `counts` counts, and `linger` stays awake for the next one. Around that: `options`, `takeover` and `device` get a directory mounted,
//! `session` keeps it so, `notify` tells the kernel what it can't know, `teardown` ends it.
//!
//! The library has defects that shape this folder. Interrupts are answered "not implemented", so that waiting can't be cut
//! short by a signal: hence deadlines. Its mount handles may unmount someone else's mount: hence `device` and `mountinfo`.
//! Flags that say whose set-id bits to clear are dropped: hence the rules in `request`. Times before 1970 arrive garbled:
//! hence `attr`.

mod attr;
mod bounded;
mod caller;
mod connection;
mod counts;
mod deadline;
mod desk;
mod device;
mod dispatch;
mod error;
mod linger;
mod listing;
mod mountinfo;
mod notify;
mod options;
mod pool;
mod reply;
mod request;
#[cfg(all(test, shuttle))]
mod schedules;
mod session;
mod takeover;
mod teardown;

pub use counts::{Counts, RequestKind};
pub use error::MountError;
pub use notify::Invalidator;
pub use options::{DEADLINE, MountOptions, SUBTYPE, WORKERS_MAX};
pub use session::Mount;
pub use takeover::prepare;
pub use teardown::Unmounted;
