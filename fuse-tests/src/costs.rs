//! What a piece of work cost a node, in counts that load can't disturb: requests of the kernel, blocks, bytes of the log.
//!
//! The counts are those of `cairn status --json`.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde_json::Value;

use crate::Node;

/// Asked to know that everything before it has arrived; no cost of what is measured.
const BARRIER: &str = "statfs";
/// The kernel sends these when it likes.
const FORGET: &str = "forget";

/// Counts by name: those of requests by the kernel's word, of the volume and of the store as the status names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    requests: BTreeMap<String, u64>,
    volume: BTreeMap<String, u64>,
    store: BTreeMap<String, u64>,
}

impl Costs {
    /// What the node did since its start, of which the kernel has sent everything that it will send for calls that returned.
    #[track_caller]
    pub fn so_far(node: &Node) -> Costs {
        // Requests are read in order: when this one is answered, a release that the last close sent was read too.
        rustix::fs::statvfs(node.mount()).unwrap_or_else(|e| panic!("the mount doesn't answer: {e}"));
        let status = node.json(&["status"]);
        let mut requests = numbers(&status["mounts"][0]["requests"]);
        requests.retain(|kind, _| kind != BARRIER && kind != FORGET);
        let volumes = status["volumes"].as_array().cloned().unwrap_or_default();
        let open = volumes.iter().find(|volume| volume["activity"].is_object());
        Costs {
            requests,
            volume: numbers(open.map_or(&Value::Null, |volume| &volume["activity"])),
            store: numbers(&status["store"]["activity"]),
        }
    }

    /// What `work` cost.
    #[track_caller]
    pub fn of(node: &Node, work: impl FnOnce()) -> Costs {
        let before = Costs::so_far(node);
        work();
        Costs::so_far(node).since(&before)
    }

    /// What came after an earlier look.
    pub fn since(&self, before: &Costs) -> Costs {
        Costs {
            requests: difference(&self.requests, &before.requests),
            volume: difference(&self.volume, &before.volume),
            store: difference(&self.store, &before.store),
        }
    }

    /// Requests of one kind.
    pub fn requests_of(&self, kind: &str) -> u64 {
        self.requests.get(kind).copied().unwrap_or(0)
    }

    /// Requests of all kinds, forgets not counted.
    pub fn requests(&self) -> u64 {
        self.requests.values().sum()
    }

    /// A count of the volume.
    #[track_caller]
    pub fn volume(&self, name: &str) -> u64 {
        named(&self.volume, name)
    }

    /// A count of the store.
    #[track_caller]
    pub fn store(&self, name: &str) -> u64 {
        named(&self.store, name)
    }
}

/// Runs a test that counts on the kernel's caches. They are the whole machine's, and others' tests drop them: a failure
/// during which that happened proves nothing, and the test is run again.
pub fn undisturbed(test: impl Fn()) {
    const TRIES: usize = 10;
    for _ in 1..TRIES {
        let before = caches_dropped();
        match catch_unwind(AssertUnwindSafe(&test)) {
            Ok(()) => return,
            Err(panic) if caches_dropped() == before => resume_unwind(panic),
            Err(_) => crate::report::say("somebody dropped the kernel's caches meanwhile: once more"),
        }
    }
    test();
}

/// How often that was done on this machine since its start.
fn caches_dropped() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("drop_")).map(str::to_owned).collect()
}

impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in
            self.requests.iter().chain(&self.volume).chain(&self.store).filter(|(_, count)| **count > 0)
        {
            write!(f, "{separator}{name} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A count that the status doesn't have is a typo, not a zero.
#[track_caller]
fn named(counts: &BTreeMap<String, u64>, name: &str) -> u64 {
    *counts.get(name).unwrap_or_else(|| panic!("the status counts no {name}: {counts:?}"))
}

fn numbers(object: &Value) -> BTreeMap<String, u64> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

/// A kind that came for the first time was not there before.
fn difference(after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let less = |(name, count): (&String, &u64)| (name.clone(), count - before.get(name).copied().unwrap_or(0));
    after.iter().map(less).collect()
}
