//! A volume that is open follows the heads of other devices: one thread for each, which sleeps until there is a new one.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use cairn_fs::ops::Change;
use cairn_fs::{FsError, Touched, Volume};

use crate::node::open::{Node, lock};

/// What can't be merged now, because a block can't be fetched, is tried again after this, and then more and more rarely.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The rarest.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Wakes the thread of a volume. The thread ends with the last of these.
#[derive(Clone)]
pub(in crate::node) struct Follower(Arc<Bell>);

#[derive(Default)]
struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    is_news: bool,
    is_over: bool,
}

impl Follower {
    /// Starts the thread of a volume. It looks once at once: heads may have come while the volume wasn't open.
    pub(in crate::node) fn start(node: Weak<Node>, name: &str, volume: &Arc<Volume>) -> std::io::Result<Self> {
        let bell = Arc::new(Bell { rung: Mutex::new(Rung { is_news: true, is_over: false }), changed: Condvar::new() });
        let task = Task { node, name: name.to_owned(), volume: Arc::downgrade(volume), bell: Arc::clone(&bell) };
        std::thread::Builder::new().name("follow".into()).spawn(move || task.run())?;
        Ok(Follower(bell))
    }

    /// There is a new head.
    pub(in crate::node) fn ring(&self) {
        lock(&self.0.rung).is_news = true;
        self.0.changed.notify_all();
    }

    /// Nothing is followed from here on; what is under way comes to its end.
    pub(in crate::node) fn end(&self) {
        lock(&self.0.rung).is_over = true;
        self.0.changed.notify_all();
    }
}

struct Task {
    node: Weak<Node>,
    name: String,
    volume: Weak<Volume>,
    bell: Arc<Bell>,
}

impl Task {
    fn run(self) {
        let mut retry = None;
        while self.wait(retry) {
            let (Some(node), Some(volume)) = (self.node.upgrade(), self.volume.upgrade()) else { return };
            let wait = retry.map_or(RETRY_FIRST, |last: Duration| (last * 2).min(RETRY_MAX));
            retry = match self.absorb(&node, &volume) {
                Ok(waiting) => (waiting > 0).then_some(wait),
                Err(error) => {
                    tracing::warn!(volume = self.name, %error, "what other devices changed can't be shown yet");
                    Some(wait)
                }
            };
        }
    }

    /// Waits for news, or until it is time to try again. False when it is over.
    fn wait(&self, retry: Option<Duration>) -> bool {
        let mut rung = lock(&self.bell.rung);
        while !rung.is_news && !rung.is_over {
            rung = match retry {
                None => self.bell.changed.wait(rung).unwrap_or_else(PoisonError::into_inner),
                Some(time) => {
                    let (rung, timeout) =
                        self.bell.changed.wait_timeout(rung, time).unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() {
                        return !rung.is_over;
                    }
                    rung
                }
            };
        }
        rung.is_news = false;
        !rung.is_over
    }

    /// Takes in what is new. Gives how many heads are left for later.
    fn absorb(&self, node: &Node, volume: &Volume) -> Result<usize, FsError> {
        // Not before there is something to tell: until then the volume may be mounted once more.
        let mut caches = None;
        let absorbed = volume.absorb(&mut |touched| {
            caches.get_or_insert_with(|| node.mounts.caches(&self.name)).tell(&match touched {
                Touched::Name { parent, name } => Change::Entry { parent, name },
                Touched::Inode(ino) => Change::Inode(ino),
            });
        })?;
        if let Some(caches) = caches {
            caches.settle();
        }
        tracing::debug!(
            volume = self.name,
            changed = absorbed.changed,
            conflicts = absorbed.conflicts.len(),
            waiting = absorbed.waiting.len(),
            "followed other devices"
        );
        Ok(absorbed.waiting.len())
    }
}
