//! The table of routes: what is asked and what is answered, in one place for both ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::text::Name;

/// Says which version answers.
pub(crate) const VERSION_HEADER: &str = "x-cairn-version";

macro_rules! routes {
    ($($(#[$doc:meta])* $name:ident = $path:literal,)*) => {
        /// Everything a node can be asked. All are POST with a JSON body.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Route {
            $($(#[$doc])* $name,)*
        }

        impl Route {
            /// Every route.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its path.
            pub(crate) fn path(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("/v1/", $path),)*
                }
            }
        }
    };
}

routes! {
    /// [`Nothing`] → [`Status`].
    Status = "status",
    /// [`Nothing`] → [`Nothing`], and the node ends.
    Down = "down",
    /// [`MountOrder`] → [`Mounted`].
    Mount = "mount",
    /// [`UmountOrder`] → [`Nothing`].
    Umount = "umount",
    /// [`PutQuestion`] → events, ending with [`crate::transfer::CopyReport`].
    Put = "put",
    /// [`GetQuestion`] → events, ending with [`crate::transfer::CopyReport`].
    Get = "get",
    /// [`ListQuestion`] → events of [`Entry`], ending with [`Nothing`].
    List = "ls",
    /// [`CatQuestion`] → raw bytes.
    Cat = "cat",
    /// [`SnapshotQuestion`] → [`Snapshot`].
    Snapshot = "snapshot",
    /// [`HistoryQuestion`] → events of [`Snapshot`] or [`Revision`], ending with [`Nothing`].
    History = "history",
    /// [`DiffQuestion`] → events of [`Change`], ending with [`Nothing`].
    Diff = "diff",
    /// [`RestoreQuestion`] → [`Restored`].
    Restore = "restore",
    /// [`VolumeQuestion`] → [`Restored`].
    Undo = "undo",
    /// [`ForgetQuestion`] → [`Forgotten`].
    Forget = "forget",
    /// [`CheckQuestion`] → events of [`Finding`], ending with [`CheckReport`].
    Check = "check",
    /// [`GcQuestion`] → events, ending with [`GcReport`].
    Gc = "gc",
    /// [`Target`] → [`Why`].
    Why = "why",
    /// [`BlocksQuestion`] → events of [`BlockUse`], ending with [`BlocksReport`].
    Blocks = "blocks",
    /// [`InviteOrder`] → events of [`Invitation`], ending with [`Member`].
    Invite = "invite",
    /// [`Nothing`] → [`Circle`].
    Circle = "circle",
    /// [`CircleOrder`] → [`Circle`].
    CircleChange = "circle/change",
    /// [`VolumeQuestion`] → events of [`Conflict`], ending with [`Nothing`].
    Conflicts = "conflicts",
    /// [`DebugQuestion`] → a JSON value that is for reading, not for programs.
    Debug = "debug",
}

/// Nothing more to say.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Nothing {}

/// A path of a volume as it was typed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    /// The volume's name.
    pub(crate) volume: String,
    /// In the volume from its root; or on the disk, absolute, and below a mount of it.
    pub(crate) path: Name,
    /// Where it was typed: a relative path that was typed below a mount is meant from there.
    pub(crate) directory: Name,
    /// The snapshot to look into; `None` is now.
    pub(crate) at: Option<String>,
}

/// See [`Route::Status`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    /// `ready`, or a word for what is wrong.
    pub(crate) state: String,
    /// The node's version.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Since when it runs.
    pub(crate) uptime_seconds: u64,
    /// Its own memory.
    pub(crate) resident_bytes: u64,
    /// Who it is.
    pub(crate) device: String,
    /// Where its key and store are.
    pub(crate) data_dir: Name,
    /// What is mounted.
    pub(crate) mounts: Vec<MountStatus>,
    /// The volumes it knows.
    pub(crate) volumes: Vec<VolumeStatus>,
    /// Its store.
    pub(crate) store: StoreStatus,
}

/// A mount and what the kernel asked there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountStatus {
    /// The mount itself.
    #[serde(flatten)]
    pub(crate) mounted: Mounted,
    /// Requests of the kernel since it was mounted, by the kernel's word for the kind; for `forget`, inodes.
    #[serde(default)]
    pub(crate) requests: BTreeMap<String, u64>,
    /// Requests that had to wait for the store or the disk.
    #[serde(default)]
    pub(crate) waited: u64,
    /// Requests that were answered by their deadline.
    #[serde(default)]
    pub(crate) timed_out: u64,
}

/// One volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VolumeStatus {
    /// Its name; `None` for one that the store holds and whose name this node doesn't know.
    pub(crate) name: Option<String>,
    /// Its id.
    pub(crate) id: String,
    /// Whether this node has it open.
    pub(crate) open: bool,
    /// What was written since it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) activity: Option<VolumeActivity>,
}

/// What a volume wrote since it was opened. Blocks count when the store didn't have them.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct VolumeActivity {
    /// Bytes of files that were cut into chunks.
    pub(crate) data_bytes: u64,
    /// Of these, known already.
    pub(crate) known_bytes: u64,
    /// Chunks sealed.
    pub(crate) chunks: u64,
    /// Bytes of their blocks.
    pub(crate) chunk_bytes: u64,
    /// Blocks of short runs, many in one, until the flush after.
    pub(crate) parked: u64,
    /// Their bytes.
    pub(crate) parked_bytes: u64,
    /// Blocks of trees: nodes, roots, lists of attributes.
    pub(crate) nodes: u64,
    /// Their bytes.
    pub(crate) node_bytes: u64,
    /// Records of the journal.
    pub(crate) deltas: u64,
    /// Their bytes.
    pub(crate) delta_bytes: u64,
    /// Flushes: trees that were made, each with its head.
    pub(crate) flushes: u64,
}

/// The store.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StoreStatus {
    /// A word: `healthy`, `damaged`, `failing`, `full`, `read-only`.
    pub(crate) state: String,
    /// Why it isn't healthy.
    pub(crate) reasons: Vec<String>,
    /// Bytes at the end of the log that were not sound when the store was opened, and were dropped.
    #[serde(default)]
    pub(crate) dropped_bytes: u64,
    /// Blocks in it.
    pub(crate) blocks: u64,
    /// Bytes of its log on the disk.
    pub(crate) log_bytes: u64,
    /// Bytes of the blocks in it, live and dead.
    pub(crate) block_bytes: u64,
    /// Files that the log is cut into.
    pub(crate) segments: u64,
    /// What it did since the node's start.
    #[serde(default)]
    pub(crate) activity: StoreActivity,
    /// Bytes free on its disk.
    pub(crate) disk_free_bytes: u64,
    /// The ceiling, where there is one.
    pub(crate) quota_bytes: Option<u64>,
}

/// What a store did since it was opened.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct StoreActivity {
    /// Bytes appended to the log.
    pub(crate) log_bytes_written: u64,
    /// Syncs of the log.
    pub(crate) syncs: u64,
    /// Blocks read.
    pub(crate) blocks_read: u64,
    /// Their bytes.
    pub(crate) block_bytes_read: u64,
}

/// See [`Route::Mount`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountOrder {
    /// The volume's name.
    pub(crate) volume: String,
    /// Where, absolute.
    pub(crate) mount_point: Name,
    /// Options as `mount -o` takes them.
    pub(crate) options: Vec<String>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// The volume's name.
    pub(crate) volume: String,
    /// Where.
    pub(crate) mount_point: Name,
    /// Whether it was there before.
    #[serde(default)]
    pub(crate) already: bool,
}

/// See [`Route::Umount`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UmountOrder {
    /// Where, absolute; `None` unmounts all.
    pub(crate) mount_point: Option<Name>,
}

/// See [`Route::Down`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct DownOrder {
    /// Even if something can't be saved.
    #[serde(default)]
    pub(crate) force: bool,
}

/// See [`Route::Put`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PutQuestion {
    /// Absolute paths on the disk.
    pub(crate) sources: Vec<Name>,
    /// Where to.
    pub(crate) target: Target,
    /// Files at the same time.
    pub(crate) workers: usize,
}

/// See [`Route::Get`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GetQuestion {
    /// What.
    pub(crate) sources: Vec<Target>,
    /// An absolute path on the disk.
    pub(crate) target: Name,
    /// Files at the same time.
    pub(crate) workers: usize,
}

/// See [`Route::List`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ListQuestion {
    /// What.
    pub(crate) target: Target,
    /// Everything below it as well.
    pub(crate) recursive: bool,
}

/// One entry of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// From the directory that was listed.
    pub(crate) path: Name,
    /// `file`, `directory`, `symlink`, `fifo`, `socket`, `char` or `block`.
    pub(crate) kind: String,
    /// Permission bits.
    pub(crate) mode: u16,
    /// Names it has.
    pub(crate) links: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Last change, seconds since 1970.
    pub(crate) modified: i64,
    /// And nanoseconds.
    pub(crate) modified_nanos: u32,
    /// Inode number.
    pub(crate) inode: u64,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Name>,
}

/// See [`Route::Cat`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CatQuestion {
    /// What.
    pub(crate) target: Target,
    /// From where on; a client that lost the connection goes on from what it has.
    pub(crate) offset: u64,
}

/// See [`Route::Undo`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VolumeQuestion {
    /// The volume's name.
    pub(crate) volume: String,
}

/// See [`Route::Snapshot`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SnapshotQuestion {
    /// The volume's name.
    pub(crate) volume: String,
    /// What to call it.
    pub(crate) label: Option<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// What to type for it: `PATH@NAME`.
    pub(crate) name: String,
    /// When, seconds since 1970.
    pub(crate) time: i64,
    /// Its number on its device.
    pub(crate) number: u64,
    /// The device that made it.
    pub(crate) device: String,
    /// What it was called.
    pub(crate) label: Option<String>,
}

/// See [`Route::Forget`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ForgetQuestion {
    /// The volume's name.
    pub(crate) volume: String,
    /// Snapshots by name, label or number.
    pub(crate) snapshots: Vec<String>,
    /// All that were made by themselves as well, but for the newest.
    pub(crate) automatic: bool,
}

/// What was forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    /// The snapshots, oldest first.
    pub(crate) forgotten: Vec<Snapshot>,
    /// How many are left.
    pub(crate) left: u64,
}

/// See [`Route::History`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HistoryQuestion {
    /// The path, or the root for the volume itself.
    pub(crate) target: Target,
    /// The newest so many.
    pub(crate) limit: usize,
}

/// One state of a path in the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Revision {
    /// The first snapshot that has it.
    pub(crate) snapshot: Snapshot,
    /// `added`, `changed` or `removed`.
    pub(crate) change: String,
    /// Bytes, where it is there.
    pub(crate) size: Option<u64>,
}

/// See [`Route::Diff`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DiffQuestion {
    /// Where to look, with the older state in `at`.
    pub(crate) from: Target,
    /// The newer snapshot; `None` is now.
    pub(crate) to: Option<String>,
}

/// One difference.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Change {
    /// `added`, `removed`, `changed`, `attributes` or `renamed`.
    pub(crate) change: String,
    /// What, from the root of the volume.
    pub(crate) path: Name,
    /// Where it was, if it was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Name>,
    /// Bytes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_before: Option<u64>,
    /// Bytes after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_after: Option<u64>,
}

/// See [`Route::Restore`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RestoreQuestion {
    /// What, with the snapshot it is taken from in `at`.
    pub(crate) from: Target,
    /// Where to; `None` is where it was.
    pub(crate) to: Option<Target>,
}

/// What was restored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// The state it came from.
    pub(crate) from: Snapshot,
    /// Takes this back.
    pub(crate) before: Option<Snapshot>,
}

/// See [`Route::Check`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CheckQuestion {
    /// Read and verify every byte, not only the trees.
    pub(crate) data: bool,
    /// Mend what can be mended.
    pub(crate) repair: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Whether it costs data.
    pub(crate) severity: String,
    /// What, in words.
    pub(crate) what: String,
    /// The volume, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) volume: Option<String>,
    /// The path, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Name>,
    /// The block, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) block: Option<String>,
}

/// What a check did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct CheckReport {
    /// Volumes that were walked.
    pub(crate) volumes: u64,
    /// Files and directories in them.
    pub(crate) entries: u64,
    /// Blocks that were verified.
    pub(crate) blocks: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Things that are wrong.
    pub(crate) findings: u64,
    /// Of those, mended now.
    pub(crate) repaired: u64,
}

/// See [`Route::Gc`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct GcQuestion {
    /// Only count.
    pub(crate) dry_run: bool,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct GcReport {
    /// Whether nothing was removed.
    pub(crate) dry_run: bool,
    /// Snapshots that the thinning policy let go.
    pub(crate) snapshots_dropped: u64,
    /// Blocks that are needed.
    pub(crate) blocks_kept: u64,
    /// Their bytes.
    pub(crate) bytes_kept: u64,
    /// Blocks that went, or would go.
    pub(crate) blocks_removed: u64,
    /// Their bytes.
    pub(crate) bytes_removed: u64,
}

/// Where a file's bytes are and how safe they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Why {
    /// The path, from the root of its volume.
    pub(crate) path: Name,
    /// `here`, `elsewhere` or `damaged`.
    pub(crate) state: String,
    /// What that means, in words.
    pub(crate) meaning: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes that aren't holes.
    pub(crate) allocated: u64,
    /// Files and directories in it, itself included.
    pub(crate) entries: u64,
    /// Blocks that its contents are made of.
    pub(crate) blocks: u64,
    /// Of those, in this node's store.
    pub(crate) blocks_here: u64,
    /// Blocks that can't be read.
    pub(crate) damaged: Vec<String>,
    /// Other members that are connected and have all of it.
    #[serde(default)]
    pub(crate) holders: Vec<String>,
    /// How many machines may be lost before the file is.
    pub(crate) survives_losses: u32,
}

/// See [`Route::Blocks`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BlocksQuestion {
    /// Only this block; `None` for every one in the store.
    pub(crate) block: Option<String>,
}

/// A block of the store, and what needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BlockUse {
    /// Its id.
    pub(crate) block: String,
    /// What it is: `data`, `file node`, `directory`, `link table`, `attributes`, `root`, `open file`, `journal`, or
    /// `nothing` if nothing needs it.
    pub(crate) role: String,
    /// The volume that needs it.
    pub(crate) volume: Option<String>,
    /// The newest snapshot that needs it.
    pub(crate) snapshot: Option<String>,
    /// Whose it is, of all in that snapshot the one met first.
    pub(crate) path: Option<Name>,
}

/// What a store is made of.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct BlocksReport {
    /// Blocks that were explained.
    pub(crate) needed: u64,
    /// Blocks that nothing needs: the next collection removes them.
    pub(crate) unneeded: u64,
    /// Bytes of these.
    pub(crate) unneeded_bytes: u64,
}

/// What a node is in a circle, where it founds or joins one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MemberWish {
    /// What it is called.
    pub(crate) name: String,
    /// What it fails together with.
    pub(crate) zone: String,
    /// Bytes that it stores for others.
    pub(crate) capacity: u64,
}

/// Whom an invitation lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Guest {
    /// Another machine of yours: it gets the key to all your volumes
    Device,
    /// Somebody else's: you store for each other, and neither can read what the other stores
    Friend,
    /// One that only stores, and can read nothing
    Storage,
}

/// Whether a member is mostly on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MemberClass {
    /// Mostly on: carries redundancy
    Anchor,
    /// Comes and goes
    Roaming,
}

/// See [`Route::Invite`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InviteOrder {
    /// Whom.
    pub(crate) guest: Guest,
    /// What this node is, if it has to found the circle.
    pub(crate) founder: MemberWish,
}

/// An open invitation. It goes over the node's socket and to a person, nowhere else.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Invitation {
    /// The code, to be typed on the other machine.
    pub(crate) code: String,
    /// Where this node can be found, as far as it knows.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How long the code is good.
    pub(crate) seconds: u64,
}

/// One member of the circle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    /// What it is called.
    pub(crate) name: String,
    /// Who it is.
    pub(crate) node: String,
    /// `owner`, `member` or `storage`.
    pub(crate) role: String,
    /// What it fails together with.
    pub(crate) zone: String,
    /// Bytes that it stores for others.
    pub(crate) capacity: u64,
    /// Whether it is mostly on.
    pub(crate) class: MemberClass,
    /// `this`, `connected` or `away`.
    pub(crate) state: String,
    /// The time a ping took last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) round_trip_ms: Option<f64>,
    /// Where it was found or is looked for.
    #[serde(default)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Why it couldn't be reached last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    /// What it did that no node of ours does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) strikes: Vec<String>,
}

/// The circle as this node has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Circle {
    /// Its id; none where this node is in no circle.
    pub(crate) circle: Option<String>,
    /// The number of the newest epoch.
    pub(crate) epoch: u64,
    /// Everybody in it, this node first.
    pub(crate) members: Vec<Member>,
    /// Where this node listens.
    pub(crate) listening: Vec<SocketAddr>,
    /// What a person should know: a fork, that this node was removed.
    pub(crate) remarks: Vec<String>,
    /// How far this device's copies of its volumes are.
    pub(crate) copies: Vec<CopyStatus>,
    /// Blocks that were fetched from others since the node's start.
    pub(crate) blocks_fetched: u64,
    /// Their bytes.
    pub(crate) bytes_fetched: u64,
}

/// A device's own copy of a volume that other devices write to as well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CopyStatus {
    /// The volume's name.
    pub(crate) volume: String,
    /// Whether everything that the newest state of each device needs is here.
    pub(crate) is_whole: bool,
    /// Blocks that were fetched ahead since the node's start.
    pub(crate) fetched: u64,
    /// What keeps it from becoming whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

/// See [`Route::CircleChange`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub(crate) enum CircleOrder {
    /// Changes what a member is.
    Set {
        /// Its name or its id.
        member: String,
        /// What it is called from now on.
        name: Option<String>,
        /// What it fails together with.
        zone: Option<String>,
        /// Bytes that it stores for others.
        capacity: Option<u64>,
        /// Whether it is mostly on.
        class: Option<MemberClass>,
    },
    /// Removes it for good.
    Remove {
        /// Its name or its id.
        member: String,
    },
}

/// A file of which two devices made different things.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Conflict {
    /// Where the version is that kept the name, from the root of the volume.
    pub(crate) path: Name,
    /// Where the other one is.
    pub(crate) sibling: Name,
    /// The device that made the other one, as the sibling's name has it.
    pub(crate) device: String,
}

/// See [`Route::Debug`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DebugQuestion {
    /// The volume's name.
    pub(crate) volume: String,
    /// `heads`, `deltas`, `store`, or a block's id.
    pub(crate) what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_paths_of_their_own() {
        let mut paths: Vec<_> = Route::ALL.iter().map(|route| route.path()).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), Route::ALL.len());
    }
}
