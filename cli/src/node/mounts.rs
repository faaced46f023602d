//! The mounts of a node.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cairn_fs::mount::{Invalidator, Mount, MountOptions};
use cairn_fs::ops::{Change, Watcher};

use super::open::{Node, lock};
use crate::control::routes::{MountOrder, MountStatus, Mounted, Nothing, UmountOrder};
use crate::errors::{Failure, Kind, Outcome};
use crate::text::Name;

/// What is mounted now.
#[derive(Default)]
pub(super) struct Mounts(Mutex<Vec<LiveMount>>);

/// What the kernel remembers of a volume, at each of its mounts.
pub(super) struct KernelCaches(Vec<Invalidator>);

impl KernelCaches {
    /// Something changed that the kernel may have cached.
    pub(super) fn tell(&self, change: &Change) {
        self.0.iter().for_each(|cache| cache.changed(change.clone()));
    }

    /// Comes back when the kernel knows.
    pub(super) fn settle(&self) {
        self.0.iter().for_each(Invalidator::settle);
    }
}

struct LiveMount {
    volume: String,
    mount: Mount,
}

impl Mounts {
    /// Whether there are none. One that somebody unmounted from outside is none.
    pub(super) fn is_empty(&self) -> bool {
        !lock(&self.0).iter().any(|live| live.mount.is_live())
    }

    /// All of them, with what was asked there.
    pub(super) fn statuses(&self) -> Vec<MountStatus> {
        let live = lock(&self.0);
        live.iter().filter(|live| live.mount.is_live()).map(LiveMount::status).collect()
    }

    /// Where they are.
    pub(super) fn places(&self) -> Vec<(String, PathBuf)> {
        let live = lock(&self.0);
        live.iter()
            .filter(|live| live.mount.is_live())
            .map(|live| (live.volume.clone(), live.mount.path().to_owned()))
            .collect()
    }

    /// The kernel's caches of a volume, to be told of changes that don't come through a mount.
    pub(super) fn caches(&self, volume: &str) -> KernelCaches {
        let live = lock(&self.0);
        let of_volume = live.iter().filter(|live| live.volume == volume && live.mount.is_live());
        KernelCaches(of_volume.map(|live| live.mount.invalidator()).collect())
    }

    /// Unmounts everything; tries all and returns the first failure.
    pub(super) fn unmount_all(&self) -> Outcome<()> {
        let all = std::mem::take(&mut *lock(&self.0));
        all.into_iter().map(LiveMount::unmount).fold(Ok(()), Result::and)
    }

    fn take(&self, place: &Path) -> Option<LiveMount> {
        let mut live = lock(&self.0);
        let index = live.iter().position(|live| live.mount.path() == place)?;
        Some(live.remove(index))
    }
}

impl LiveMount {
    fn mounted(&self, already: bool) -> Mounted {
        Mounted { volume: self.volume.clone(), mount_point: Name::from(self.mount.path()), already }
    }

    fn status(&self) -> MountStatus {
        let counts = self.mount.counts();
        MountStatus {
            mounted: self.mounted(true),
            requests: counts.by_kind().map(|(kind, count)| (kind.name().to_owned(), count)).collect(),
            waited: counts.waited,
            timed_out: counts.timed_out,
        }
    }

    fn unmount(self) -> Outcome<()> {
        let place = self.mount.path().to_owned();
        let unmounted = self.mount.unmount();
        if unmounted.busy || unmounted.aborted || unmounted.stuck > 0 {
            tracing::warn!(?unmounted, "unmounted from under programs that used it");
        }
        unmounted
            .synced
            .map_err(|error| Failure::from(error).while_(format!("saving what was written to {}", place.display())))
    }
}

impl Node {
    /// Mounts a volume; one that is there already is no failure.
    pub(crate) fn mount(&self, order: MountOrder) -> Outcome<Mounted> {
        let place = order.mount_point.to_path();
        let canonical = place.canonicalize().unwrap_or_else(|_| place.clone());
        let mut live = lock(&self.mounts.0);
        // What was unmounted from outside is cleared away, whether this mount replaces it or not.
        live.retain(|live| live.mount.is_live());
        if let Some(there) = live.iter().find(|live| live.mount.path() == canonical) {
            if there.volume == order.volume {
                return Ok(there.mounted(true));
            }
            return Err(Failure::new(
                Kind::Refused,
                format!("{} is mounted at {} already", there.volume, place.display()),
            )
            .hint(format!("`cairn umount {}` first", crate::text::shell_quoted(&place))));
        }
        self.check_apart(&canonical, &live)?;
        let mut options = MountOptions::new(&order.volume);
        order.options.iter().try_for_each(|option| options.apply_list(option))?;
        let volume = self.volume(&order.volume)?;
        make_mount_point(&place)?;
        let mount = Mount::start(volume.door, &place, &self.guarded(), &options)?;
        tracing::info!(volume = %self.volume_id(&order.volume), "mounted");
        let mounted = LiveMount { volume: order.volume, mount };
        let answer = mounted.mounted(false);
        live.push(mounted);
        Ok(answer)
    }

    /// Looked at before the mount point is made: nothing may appear in the store or in another mount.
    fn check_apart(&self, place: &Path, live: &[LiveMount]) -> Outcome<()> {
        let real = real(place);
        if let Some(store) = self.guarded().iter().find(|store| real.starts_with(store)) {
            return Err(Failure::new(
                Kind::Refused,
                format!("{} lies in {}, where this node keeps its store", place.display(), store.display()),
            )
            .hint("choose a directory elsewhere"));
        }
        match live.iter().find(|live| real.starts_with(live.mount.path()) && real != live.mount.path()) {
            None => Ok(()),
            Some(above) => {
                Err(Failure::new(Kind::Refused, format!("{} lies in the mount of {}", place.display(), above.volume))
                    .hint("choose a directory outside of it: a mount in a mount can't be unmounted by itself"))
            }
        }
    }

    /// Unmounts one or all.
    pub(crate) fn umount(&self, order: UmountOrder) -> Outcome<Nothing> {
        let Some(mount_point) = order.mount_point else {
            self.mounts.unmount_all()?;
            return Ok(Nothing {});
        };
        let place = mount_point.to_path();
        let live = self.mounts.take(&real(&place)).or_else(|| self.mounts.take(&place));
        // A link to a mount point: followed last, as what it leads to may not answer.
        let live = live.or_else(|| self.mounts.take(&place.canonicalize().ok()?));
        live.map_or_else(
            || {
                Err(Failure::new(Kind::NotFound, format!("nothing of this node is mounted at {}", place.display()))
                    .hint("`cairn status` lists the mounts"))
            },
            LiveMount::unmount,
        )?;
        Ok(Nothing {})
    }
}

/// The path without links, found without touching what it names, which may be a mount that is stuck.
fn real(place: &Path) -> PathBuf {
    match (place.parent().map(Path::canonicalize), place.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => place.to_owned(),
    }
}

/// A mount point in a directory that is there is made; more than one level is more likely a typo.
fn make_mount_point(place: &Path) -> Outcome<()> {
    match std::fs::create_dir(place) {
        // Whatever is wrong with what is there, mounting says it better.
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::from(error)
            .while_(format!("making the mount point {}", place.display()))
            .hint("make the directory above it first")),
        Err(_) => Ok(()),
    }
}
