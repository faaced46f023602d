//! Rigs that take the disk away from under the product: a power cut at any write, a device that fails at any request.
//!
//! ```text
//! workload ──> ext4 ──> loop ──> file exported by qemu-storage-daemon ──> blklogwrites or blkdebug ──> image
//!    └── notes what was acknowledged, and how many writes the device had seen by then
//! ```
//! A power cut is made afterwards: from the log of all writes and flushes of the device, [`cuts`] chooses moments and what
//! of the writes since the last flush had reached the platter, [`replay`] makes the disk that was left, and the workload's own
//! judge opens the store on it. The notes lie in this process: nothing on the disk can make them forget.
//!
//! - [`bench`] holds everything of a rig and takes it away again; [`disk`] is the disk under a workload, [`write_log`] what it
//!   was asked, [`fault`] how it is made to fail.
//! - [`prove`] runs a [`prove::Work`] and judges it at every cut: [`store_work`] on a store, [`volume_work`] on volumes in one,
//!   [`short_sequences`] lists every short sequence of operations for the latter.
//! - [`injection`] makes system calls fail by strace, [`limits`] makes worlds that are too small, [`syncs`] judges the order
//!   of syncs and acknowledgements.
//! - [`facts`] and [`sketch`] are the oracles: what a store, and what a volume, may be found as.

pub mod bench;
pub mod cuts;
pub mod disk;
pub mod facts;
pub mod fault;
pub mod injection;
pub mod limits;
pub mod prove;
pub mod replay;
pub mod short_sequences;
pub mod sketch;
pub mod store_work;
pub mod syncs;
pub mod volume_driver;
pub mod volume_work;
pub mod write_log;

use std::sync::atomic::{AtomicBool, Ordering};

/// Tells whoever looks after a store meanwhile that the work is over, also when a worker panicked.
#[derive(Debug)]
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
