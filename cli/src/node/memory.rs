//! How much memory this process may use: the machine's, or less where a control group says so.

use std::path::Path;

use cairn_fs::reader::ReaderOptions;

/// Where control groups are mounted, on every distribution that has them.
const GROUPS: &str = "/sys/fs/cgroup";

/// What the caches of one volume may take, as shares of the memory there is.
///
/// Nodes: a folder of a million names has about 120 MiB of them, and every name that is made in it meets another one.
/// Chunks: the kernel keeps file pages itself, so more than the default is not worth having.
pub(super) fn reader_options() -> ReaderOptions {
    const MIB: u64 = 1 << 20;
    let share = |parts: u64, least: u64, most: u64| (allowed_bytes() / parts).clamp(least, most) as usize;
    let default = ReaderOptions::default();
    ReaderOptions {
        nodes_bytes_max: share(64, 8 * MIB, 192 * MIB),
        chunks_bytes_max: share(16, 8 * MIB, default.chunks_bytes_max as u64),
        ..default
    }
}

fn allowed_bytes() -> u64 {
    let system = rustix::system::sysinfo();
    let machine = (system.totalram as u64).saturating_mul(system.mem_unit.into());
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    machine.min(limit_of_groups(Path::new(GROUPS), &groups))
}

/// The least limit of the memory groups in `groups` (as `/proc/self/cgroup` lists them) and of those around them, in bytes.
/// A group that can't be seen, as in a container, is passed over: the one that is mounted at the root is the container's.
fn limit_of_groups(root: &Path, groups: &str) -> u64 {
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            list if list.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let path = Path::new(path.trim_start_matches('/'));
        let around = path.ancestors().map(|group| top.join(group).join(file));
        // No limit is the word "max", or in version 1 a number that no machine has.
        around.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).collect::<Vec<u64>>()
    });
    limits.min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(root: &Path, path: &str, file: &str, limit: &str) {
        std::fs::create_dir_all(root.join(path)).expect("a directory");
        std::fs::write(root.join(path).join(file), limit).expect("a file");
    }

    #[test]
    fn the_least_limit_around_a_process_counts() {
        let root = tempfile::tempdir().expect("a directory");
        group(root.path(), "a/b", "memory.max", "max\n");
        group(root.path(), "a", "memory.max", "268435456\n");
        assert_eq!(limit_of_groups(root.path(), "0::/a/b\n"), 256 << 20);
        assert_eq!(limit_of_groups(root.path(), "0::/c\n"), u64::MAX);
    }

    #[test]
    fn version_one_has_its_limits_in_a_folder_of_their_own() {
        let root = tempfile::tempdir().expect("a directory");
        group(root.path(), "memory/a", "memory.limit_in_bytes", "9223372036854771712\n");
        group(root.path(), "memory", "memory.limit_in_bytes", "1000000000\n");
        let groups = "9:name=systemd:/a\n4:cpu,memory:/a\n0::/\n";
        assert_eq!(limit_of_groups(root.path(), groups), 1_000_000_000);
        // In a container the path is that of the host.
        assert_eq!(limit_of_groups(root.path(), "4:memory:/not/to/be/seen\n"), 1_000_000_000);
        assert_eq!(limit_of_groups(root.path(), "4:cpu:/a\nnonsense\n"), u64::MAX);
    }
}
