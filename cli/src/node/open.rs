//! Opening a node: key, store, volumes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use cairn_block::{DeviceKey, VolumeId, VolumeKeys};
use cairn_fs::ops::Operations;
use cairn_fs::snapshots::{Browsable, Snapshots};
use cairn_fs::{Space, Volume, VolumeConfig, VolumeOptions};
use cairn_store::disk::{DiskOptions, DiskStore};
use tokio::sync::watch;

use super::blocks::Blocks;
use super::circle::{Connected, Follower, Mirror};
use super::durable::Existing;
use super::keyfile::{KeyFile, KeyFileError, NodeKeys};
use super::layout::DataDir;
use super::memory::reader_options;
use super::mounts::Mounts;
use super::passphrase::Passphrase;
use super::volumes::VolumeNames;
use crate::config::{Listen, Settings};
use crate::control::routes::{DownOrder, Nothing};
use crate::errors::{Failure, Kind, Outcome};

/// A running node.
pub(crate) struct Node {
    pub(super) data_dir: DataDir,
    pub(super) quota: Option<u64>,
    pub(super) keys: NodeKeys,
    pub(super) store: Arc<DiskStore>,
    /// The store as volumes see it: with the circle behind it.
    pub(super) blocks: Arc<Blocks>,
    pub(super) listen: Listen,
    keeps_everything: bool,
    pub(super) circle: Mutex<Option<Arc<Connected>>>,
    /// Itself, for what outlives the call that starts it.
    this: OnceLock<Weak<Node>>,
    names: Mutex<VolumeNames>,
    volumes: Mutex<BTreeMap<String, OpenVolume>>,
    pub(super) mounts: Mounts,
    pub(super) started: Instant,
    end: watch::Sender<bool>,
    /// Shared by everything that is under way.
    busy: Arc<()>,
}

/// A volume in use: itself, and as it is shown with its snapshots in `.snapshots`.
#[derive(Clone)]
pub(super) struct OpenVolume {
    /// For what concerns the volume as a whole.
    pub(super) volume: Arc<Volume>,
    /// For paths.
    pub(super) door: Arc<Browsable<Arc<Volume>>>,
    /// Brings in what other devices change; none in a node that only looks.
    pub(super) follower: Option<Follower>,
    /// Fetches them ahead; none in a node that keeps what is used.
    pub(super) mirror: Option<Mirror>,
}

/// Held while something is under way.
pub(crate) type Busy = Arc<()>;

/// Opens the node of the settings; makes a key and an empty store where there is nothing.
pub(super) fn open(settings: &Settings, passphrase: Option<&Passphrase>, end: watch::Sender<bool>) -> Outcome<Node> {
    let data_dir = DataDir::at(&settings.data_dir);
    data_dir.create()?;
    let keys = open_keys(&data_dir, passphrase)?;
    // A list that a newer release wrote is refused before the store is touched; it is read again once the store is ours.
    drop(VolumeNames::open(&data_dir.volumes_file(), &keys.master)?);
    let store = DiskStore::open(data_dir.store(), store_options(settings.quota))?;
    let names = VolumeNames::open(&data_dir.volumes_file(), &keys.master)?;
    let store = Arc::new(store);
    Ok(Node {
        data_dir,
        quota: settings.quota,
        blocks: Arc::new(Blocks::new(store.clone(), keys.device.id())),
        keys,
        store,
        listen: settings.listen.clone(),
        keeps_everything: settings.keeps_everything,
        circle: Mutex::default(),
        this: OnceLock::new(),
        names: Mutex::new(names),
        volumes: Mutex::default(),
        mounts: Mounts::default(),
        started: Instant::now(),
        end,
        busy: Arc::default(),
    })
}

/// No file of the store may outgrow what the system lets this process write into one.
fn store_options(quota_bytes: Option<u64>) -> DiskOptions {
    let options = DiskOptions { quota_bytes, ..DiskOptions::default() };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX);
    DiskOptions {
        segment_bytes: options.segment_bytes.min(limit),
        reserve_bytes: options.reserve_bytes.min(limit),
        ..options
    }
}

/// The key of the file, or a new one on the first use. A store without its key is not a first use.
fn open_keys(data_dir: &DataDir, passphrase: Option<&Passphrase>) -> Outcome<NodeKeys> {
    let path = data_dir.key_file();
    // Looked for before the key: another node that starts here makes the key first.
    let store_exists = data_dir.store().exists();
    if let Some(file) = KeyFile::read(&path)? {
        return Ok(file.unlock(passphrase)?);
    }
    if store_exists {
        return Err(Failure::new(
            Kind::Denied,
            format!("there is a store in {} and no key to it", data_dir.path().display()),
        )
        .hint("`cairn key restore` makes the key again from the 24 words"));
    }
    let keys = NodeKeys::generate();
    match KeyFile::write(&path, &keys, None, Existing::Keep) {
        Ok(()) => {
            tracing::info!("a new key was made");
            Ok(keys)
        }
        // Another node that starts here was first: its key counts.
        Err(error @ KeyFileError::Exists { .. }) => match KeyFile::read(&path)? {
            Some(file) => Ok(file.unlock(passphrase)?),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

impl Node {
    /// Marks something as under way until what is returned is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Makes itself known to itself.
    pub(super) fn shared(self) -> Arc<Node> {
        let node = Arc::new(self);
        // Set here and nowhere else.
        let _ = node.this.set(Arc::downgrade(&node));
        node
    }

    /// Itself, for what outlives the call that starts it.
    pub(super) fn this(&self) -> Outcome<Arc<Node>> {
        self.this.get().and_then(Weak::upgrade).ok_or_else(|| Failure::new(Kind::Busy, "the node is ending"))
    }

    /// Whether anything is mounted or under way, or others count on this node.
    pub(super) fn is_needed(&self) -> bool {
        self.is_busy() || !self.mounts.is_empty() || self.connected().is_some()
    }

    /// Whether anything is under way.
    pub(super) fn is_busy(&self) -> bool {
        Arc::strong_count(&self.busy) > 1
    }

    /// Answers "down". What can't be made durable has its only copy in this process, which then goes on unless it is forced.
    pub(crate) fn end(&self, order: DownOrder) -> Outcome<Nothing> {
        // Before anything is unmounted: where this fails, the mounts are needed to make room, say.
        let mut saved = self.save();
        if saved.is_ok() || order.force {
            // What programs wrote meanwhile comes with the unmounting.
            let unmounted = self.mounts.unmount_all();
            saved = saved.and(unmounted).and_then(|()| self.save());
        }
        if let Err(failure) = saved {
            if !order.force {
                return Err(failure.while_("ending the node, which goes on").hint(
                    "set right what is wrong and try again; `cairn down --force` ends it and loses what isn't saved",
                ));
            }
            tracing::error!(%failure, "ending all the same");
        }
        self.tell_to_end();
        Ok(Nothing {})
    }

    /// Makes every change of every volume durable; the first failure ends it.
    fn save(&self) -> Outcome<()> {
        self.open_volumes().into_iter().try_for_each(|(name, open)| {
            let synced = open.volume.sync_all();
            synced.map_err(|error| Failure::from(error).while_(format!("saving the volume {name}")))
        })
    }

    /// Makes [`super::run`] come to its end.
    pub(super) fn tell_to_end(&self) {
        self.end.send_replace(true);
    }

    /// The volume of this name, opened or made where it isn't open. A new name is remembered before it is used.
    pub(super) fn volume(&self, name: &str) -> Outcome<OpenVolume> {
        let mut volumes = lock(&self.volumes);
        if let Some(volume) = volumes.get(name) {
            return Ok(volume.clone());
        }
        if !crate::config::is_volume_name(name) {
            return Err(Failure::new(Kind::Usage, format!("`{name}` can't be a volume's name")));
        }
        lock(&self.names).add(name)?;
        let volume = Volume::open(VolumeConfig {
            keys: self.volume_keys(name),
            device: DeviceKey::from_bytes(self.keys.device.as_bytes()),
            store: self.blocks.clone(),
            heads: self.blocks.clone(),
            hints: self.store.clone(),
            options: self.volume_options(),
        })
        .map_err(|error| Failure::from(error).while_(format!("opening the volume {name}")))?;
        // What other devices did, as far as it is here: a program that comes right after must not find an older state, and
        // write on top of that.
        if volume.is_behind()
            && let Err(error) = volume.absorb(&mut |_| ())
        {
            tracing::warn!(volume = name, %error, "what other devices changed can't be shown yet");
        }
        let this = self.this.get().cloned();
        let follower = this.map(|node| Follower::start(node, name, &volume)).transpose()?;
        let mirror = match follower.is_some() && self.keeps_everything {
            true => Some(Mirror::start(self, name, &volume)?),
            false => None,
        };
        let opened = OpenVolume { door: Arc::new(self.with_snapshots(name, &volume)), volume, follower, mirror };
        volumes.insert(name.to_owned(), opened.clone());
        drop(volumes);
        if let Some(connected) = self.connected() {
            connected.net.heads_bell().renamed();
        }
        Ok(opened)
    }

    fn with_snapshots(&self, name: &str, volume: &Arc<Volume>) -> Browsable<Arc<Volume>> {
        let history = {
            let volume = Arc::downgrade(volume);
            move || volume.upgrade().map_or(Ok(Vec::new()), |volume| volume.history())
        };
        let keys = Arc::new(self.volume_keys(name));
        let snapshots = Snapshots::new(volume.reader().clone(), keys, Box::new(history));
        Browsable::new(volume.clone(), snapshots)
    }

    /// A volume that is there already: looking must not make one.
    pub(super) fn existing_volume(&self, name: &str) -> Outcome<OpenVolume> {
        let default = Settings::VOLUME_DEFAULT;
        if name != default && !self.volume_names().iter().any(|known| known == name) {
            let id = self.volume_keys(name).volume();
            if !self.store_volumes()?.contains(&id) {
                return Err(Failure::new(Kind::NotFound, format!("there is no volume {name}"))
                    .hint("`cairn status` lists them; `cairn mount NAME DIRECTORY` makes one"));
            }
        }
        self.volume(name)
    }

    /// Its keys.
    pub(super) fn volume_keys(&self, name: &str) -> VolumeKeys {
        VolumeKeys::derive(&self.keys.master, name.as_bytes())
    }

    fn volume_options(&self) -> VolumeOptions {
        let store = Arc::downgrade(&self.store);
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (directory, quota) = (self.data_dir.store(), self.quota);
        let space = move || store.upgrade().and_then(|store| space(&store, &directory, quota));
        VolumeOptions { owner, space: Arc::new(space), reader: reader_options(), ..VolumeOptions::default() }
    }

    /// The names that are known.
    pub(super) fn volume_names(&self) -> Vec<String> {
        lock(&self.names).iter().map(str::to_owned).collect()
    }

    /// The id of a name.
    pub(super) fn volume_id(&self, name: &str) -> VolumeId {
        self.volume_keys(name).volume()
    }

    /// The volume, if it is open.
    pub(super) fn open_volume(&self, name: &str) -> Option<OpenVolume> {
        lock(&self.volumes).get(name).cloned()
    }

    /// The volumes that are open.
    pub(super) fn open_volumes(&self) -> Vec<(String, OpenVolume)> {
        lock(&self.volumes).iter().map(|(name, open)| (name.clone(), open.clone())).collect()
    }

    /// The volumes that the store holds, known by name or not.
    pub(super) fn store_volumes(&self) -> Outcome<Vec<VolumeId>> {
        use cairn_store::HeadStore;
        Ok(self.store.volumes()?)
    }

    /// Unmounts everything and closes every volume. Everything is tried; the first failure is returned.
    pub(super) fn close(&self) -> Outcome<()> {
        let unmounted = self.mounts.unmount_all();
        let volumes = std::mem::take(&mut *lock(&self.volumes));
        volumes.values().filter_map(|open| open.follower.as_ref()).for_each(Follower::end);
        volumes.values().filter_map(|open| open.mirror.as_ref()).for_each(Mirror::end);
        let closed = volumes.into_iter().map(|(name, open)| {
            open.volume.close().map_err(|error| Failure::from(error).while_(format!("closing the volume {name}")))
        });
        // `fold` and not `collect`: a volume that can't be closed doesn't keep the others open.
        closed.fold(unmounted, |outcome, closed| outcome.and(closed))
    }

    /// Directories that must neither be mounted on nor copied into the node itself.
    pub(super) fn guarded(&self) -> Vec<PathBuf> {
        let data_dir = self.data_dir.path();
        vec![data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned())]
    }
}

/// What `df` shows: the quota or the disk.
fn space(store: &DiskStore, directory: &std::path::Path, quota: Option<u64>) -> Option<Space> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Some(match quota {
        None => Space { total: disk.f_blocks.saturating_mul(disk.f_frsize), free },
        Some(quota) => Space { total: quota, free: quota.saturating_sub(store.stats().log_bytes).min(free) },
    })
}

/// Locks; what a panic left is whole, as every change under these locks is one assignment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_start_at_once_have_one_key() {
        for _ in 0..20 {
            let directory = tempfile::tempdir().expect("a directory");
            let data_dir = DataDir::at(directory.path());
            let devices = std::thread::scope(|scope| {
                let nodes: Vec<_> = (0..4).map(|_| scope.spawn(|| open_keys(&data_dir, None))).collect();
                let keys = nodes.into_iter().map(|node| node.join().expect("it ends").expect("a key"));
                keys.map(|keys| keys.device.as_bytes().to_owned()).collect::<Vec<_>>()
            });
            let kept =
                KeyFile::read(&data_dir.key_file()).expect("readable").expect("there").unlock(None).expect("open");
            for device in devices {
                assert_eq!(device, *kept.device.as_bytes(), "what is sealed with a key that no file holds is lost");
            }
        }
    }
}
