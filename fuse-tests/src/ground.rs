//! A fresh directory to try operations in.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::{Node, command};

/// An empty directory on the filesystem under test.
///
/// That is a node's mount, shared by the tests that run at the same time (as programs share a disk), or, to judge the
/// judge, the directory that `CAIRN_TEST_DIR` names: on ext4 every one of these tests has to pass.
#[derive(Debug)]
pub struct Ground {
    dir: PathBuf,
    // The last ground ends the node that they share.
    _node: Option<Arc<Node>>,
}

impl Ground {
    /// A fresh directory, mode 0755.
    #[track_caller]
    pub fn new() -> Ground {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (base, node) = base();
        let dir = base.join(format!("ground-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&dir).unwrap_or_else(|e| panic!("can't create {}: {e}", dir.display()));
        Ground { dir, _node: node }
    }

    /// Whether a node is behind it, and not a filesystem of others.
    pub fn is_ours() -> bool {
        std::env::var_os("CAIRN_TEST_DIR").is_none()
    }

    /// The full path of `name` inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs a shell script inside.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        command::shell(&self.dir, script)
    }

    /// Runs a Python program inside.
    #[track_caller]
    pub fn python(&self, program: &str) -> String {
        command::python(&self.dir, program)
    }
}

impl Default for Ground {
    fn default() -> Ground {
        Ground::new()
    }
}

impl Deref for Ground {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // The next test finds an empty disk, not a full one; what can't be removed goes with the node.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn base() -> (PathBuf, Option<Arc<Node>>) {
    if let Some(dir) = std::env::var_os("CAIRN_TEST_DIR") {
        return (PathBuf::from(dir), None);
    }
    static SHARED: Mutex<Weak<Node>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let node = shared.upgrade().unwrap_or_else(|| Arc::new(Node::start()));
    *shared = Arc::downgrade(&node);
    (node.mount(), Some(node))
}
