//! Who was heard of, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn_block::DeviceId;

use super::Config;

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It was heard of.
    Here,
    /// It is away, not yet for long.
    Late,
    /// It is away, too long where no more shards are left than k.
    LateForUrgent,
    /// Its grace is over.
    Overdue,
    /// It is not expected back.
    Lost,
}

pub(super) struct Presence {
    /// A node never heard of counts from here: after a restart nobody is late at once.
    started: Duration,
    heard: BTreeMap<DeviceId, Duration>,
    /// Given up by an owner's word. A sign of life is no such word.
    lost: BTreeSet<DeviceId>,
}

impl Presence {
    pub(super) fn new(now: Duration) -> Self {
        Presence { started: now, heard: BTreeMap::new(), lost: BTreeSet::new() }
    }

    pub(super) fn heard(&mut self, node: DeviceId, now: Duration) {
        self.heard.insert(node, now);
    }

    pub(super) fn lost(&mut self, node: DeviceId) {
        self.lost.insert(node);
    }

    pub(super) fn found(&mut self, node: &DeviceId) {
        self.lost.remove(node);
    }

    pub(super) fn is_given_up(&self, node: &DeviceId) -> bool {
        self.lost.contains(node)
    }

    pub(super) fn standing(&self, node: &DeviceId, now: Duration, config: &Config) -> Standing {
        if self.lost.contains(node) {
            return Standing::Lost;
        }
        let known = self.heard.get(node);
        let away = now.saturating_sub(known.copied().unwrap_or(self.started));
        match away {
            // Shards are sent to nobody who was never heard of.
            _ if away <= config.late_after && known.is_some() => Standing::Here,
            _ if away <= config.grace_urgent => Standing::Late,
            _ if away <= config.grace => Standing::LateForUrgent,
            _ if away <= config.lost_after => Standing::Overdue,
            _ => Standing::Lost,
        }
    }
}
