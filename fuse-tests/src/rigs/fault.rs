//! Which requests of a device fail, and with what.

use serde_json::{Value, json};

/// What kind of request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Bytes to the device.
    Write,
    /// The order to make them durable.
    Flush,
    /// Bytes from the device.
    Read,
}

/// When it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The nth of its kind from now on, counted from 1, and no other.
    Nth(u32),
    /// The nth of its kind from now on and all that follow.
    From(u32),
    /// Every request that touches this sector of 512 bytes.
    At(u64),
}

/// A fault of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which requests.
    pub request: Request,
    /// Which of them.
    pub when: When,
    /// The errno.
    pub errno: rustix::io::Errno,
}

impl Fault {
    /// The node of the daemon that does it.
    pub(super) fn node(&self, name: &str) -> Value {
        let (iotype, event) = match self.request {
            Request::Write => ("write", "pwritev"),
            Request::Flush => ("flush", "flush_to_disk"),
            Request::Read => ("read", "none"),
        };
        let errno = self.errno.raw_os_error();
        let mut node = json!({"driver": "blkdebug", "node-name": name, "image": "image"});
        let (count, once) = match self.when {
            When::At(sector) => {
                let rule = json!({"event": "none", "iotype": iotype, "errno": errno, "sector": sector, "once": false});
                node["inject-error"] = json!([rule]);
                return node;
            }
            When::Nth(count) => (count, true),
            When::From(count) => (count, false),
        };
        // The states count requests; the fault waits for one of them.
        let step = |state: u32| json!({"event": event, "state": state, "new_state": state + 1});
        if count > 1 {
            node["set-state"] = (1..count).map(step).collect();
        }
        node["inject-error"] =
            json!([{"event": event, "state": count, "iotype": iotype, "errno": errno, "once": once}]);
        node
    }
}
