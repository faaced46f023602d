//! Small worlds: a disk with few bytes or few inodes, a process with few of what the system gives, a little memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::command;

/// Mounts a small disk at `dir`, which lies in a scratch: that takes it away again. `options` are those of tmpfs:
/// `size=64m`, `nr_inodes=50`.
#[track_caller]
pub fn small_disk(dir: &Path, options: &str) {
    std::fs::create_dir(dir).expect("a directory in our own scratch");
    command::succeed(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir));
}

/// Words that start a program with a resource limit, as `prlimit` names it: `nofile=64`, `fsize=1000000`.
pub fn limited(limit: &str) -> Vec<String> {
    vec!["prlimit".into(), format!("--{limit}")]
}

/// Where memory controllers are: version 1, version 2, with the files that set the limit.
const CONTROLLERS: [(&str, &str); 2] =
    [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
const PREFIX: &str = "cairn-test-";

/// A control group with little memory. It goes with this value, once nothing runs in it.
#[derive(Debug)]
pub struct LittleMemory {
    group: PathBuf,
}

impl LittleMemory {
    /// A group of `bytes`; or why this machine has none.
    pub fn new(bytes: u64) -> Result<LittleMemory, String> {
        let Some((root, limit)) = CONTROLLERS.iter().find(|(root, limit)| is_controller(Path::new(root), limit)) else {
            return Err("no memory controller that this user may use".into());
        };
        sweep(Path::new(root));
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let group = Path::new(root).join(name);
        std::fs::create_dir(&group).map_err(|e| format!("no control group can be made: {e}"))?;
        let group = LittleMemory { group };
        std::fs::write(group.group.join(limit), bytes.to_string())
            .map_err(|e| format!("the control group takes no limit: {e}"))?;
        Ok(group)
    }

    /// Words that start a program in the group.
    pub fn words(&self) -> Vec<String> {
        let script = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        ["bash", "-c", script].map(str::to_owned).into_iter().chain([self.group.display().to_string()]).collect()
    }

    /// How often the kernel ended a process of the group for want of memory.
    pub fn kills(&self) -> u64 {
        let read = |file: &str| std::fs::read_to_string(self.group.join(file)).unwrap_or_default();
        let text = read("memory.oom_control") + &read("memory.events");
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for LittleMemory {
    fn drop(&mut self) {
        // Its processes were ended by whoever started them; the kernel needs a moment to notice.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn is_controller(root: &Path, limit: &str) -> bool {
    // Version 2 has its limits in groups only, and says at the root what it controls.
    root.join(limit).exists()
        || (limit == "memory.max"
            && std::fs::read_to_string(root.join("cgroup.subtree_control")).is_ok_and(|text| text.contains("memory")))
}

/// Removes empty groups of runs that are no more.
fn sweep(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}
