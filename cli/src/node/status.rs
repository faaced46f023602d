//! How the node is.

use cairn_fs::Activity;
use cairn_store::disk::Health;

use super::open::Node;
use crate::control::routes::{Status, StoreActivity, StoreStatus, VolumeActivity, VolumeStatus};
use crate::errors::Outcome;
use crate::text::Name;

/// With less free than this a volume takes no new data.
const ROOM_BYTES_MIN: u64 = 1 << 20;

impl Node {
    /// Everything that `cairn status` shows.
    pub(crate) fn status(&self) -> Outcome<Status> {
        let store = self.store_status();
        let state = if store.reasons.is_empty() { "ready" } else { "needs attention" };
        Ok(Status {
            state: state.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            resident_bytes: resident_bytes().unwrap_or(0),
            device: self.keys.device.id().to_string(),
            data_dir: Name::from(self.data_dir.path()),
            mounts: self.mounts.statuses(),
            volumes: self.volume_statuses()?,
            store,
        })
    }

    fn volume_statuses(&self) -> Outcome<Vec<VolumeStatus>> {
        let named = self.volume_names().into_iter().map(|name| {
            let activity = self.open_volume(&name).map(|open| activity(&open.volume.activity()));
            let id = self.volume_id(&name).to_string();
            VolumeStatus { id, open: activity.is_some(), activity, name: Some(name) }
        });
        let mut volumes: Vec<_> = named.collect();
        for id in self.store_volumes()? {
            let id = id.to_string();
            if !volumes.iter().any(|volume| volume.id == id) {
                volumes.push(VolumeStatus { name: None, id, open: false, activity: None });
            }
        }
        Ok(volumes)
    }

    fn store_status(&self) -> StoreStatus {
        let (stats, health) = (self.store.stats(), self.store.health());
        let disk = rustix::fs::statvfs(self.data_dir.store());
        let disk_free_bytes = disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let has_room = health.is_reserve_whole && health.has_room && disk_free_bytes >= ROOM_BYTES_MIN;
        let reasons = reasons(&health, has_room);
        let state = match (&health.read_only, health.damaged_blocks, has_room) {
            (Some(_), ..) => "read-only",
            (None, 1.., _) => "damaged",
            (None, 0, false) => "full",
            (None, 0, true) if health.failed_syncs > 0 => "failing",
            (None, 0, true) => "healthy",
        };
        StoreStatus {
            state: state.to_owned(),
            reasons,
            dropped_bytes: self.store.open_report().torn_bytes,
            blocks: stats.blocks,
            log_bytes: stats.log_bytes,
            block_bytes: stats.block_bytes,
            segments: stats.segments,
            activity: StoreActivity {
                log_bytes_written: stats.appended_bytes,
                syncs: stats.syncs,
                blocks_read: stats.blocks_read,
                block_bytes_read: stats.bytes_read,
            },
            disk_free_bytes,
            quota_bytes: self.quota,
        }
    }
}

fn activity(of: &Activity) -> VolumeActivity {
    let sealed = &of.sealed;
    VolumeActivity {
        data_bytes: sealed.data_bytes,
        known_bytes: sealed.known_bytes,
        chunks: sealed.chunks.blocks,
        chunk_bytes: sealed.chunks.bytes,
        parked: sealed.parked.blocks,
        parked_bytes: sealed.parked.bytes,
        nodes: sealed.nodes.blocks,
        node_bytes: sealed.nodes.bytes,
        deltas: of.deltas,
        delta_bytes: of.delta_bytes,
        flushes: of.flushes,
    }
}

/// Why a store is not healthy, in words.
fn reasons(health: &Health, has_room: bool) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(reason) = &health.read_only {
        reasons.push(format!("the store takes no writes: {reason}"));
    }
    if health.damaged_blocks > 0 {
        reasons.push(format!("{} blocks are damaged: `cairn check --data` names the files", health.damaged_blocks));
    }
    if !has_room {
        reasons.push("the disk is full: only deleting works, then `cairn gc`".to_owned());
    }
    if health.failed_syncs > 0 {
        reasons.push(format!("{} writes failed and were done again elsewhere: look at the disk", health.failed_syncs));
    }
    reasons
}

/// What the kernel says this process has in memory.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
