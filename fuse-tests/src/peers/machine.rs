//! What a figure was measured on, without saying whose it is.

use std::path::Path;
use std::process::Command;

use crate::command;

/// The facts of a machine that figures depend on, by name.
pub fn facts(dir: &Path) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    vec![
        ("processor", format!("{cores} × {}", field("/proc/cpuinfo", "model name").unwrap_or_default())),
        ("memory", field("/proc/meminfo", "MemTotal").map_or_else(String::new, |text| in_gib(&text))),
        ("kernel", read("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default().to_owned()),
        ("disk", format!("{}, {}", filesystem(dir), disk_kind(dir))),
    ]
}

/// The first line of what a program says about its version, where it is installed.
pub fn version(program: impl AsRef<std::ffi::OsStr>, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let line = String::from_utf8_lossy(&text).lines().next()?.to_owned();
    // What follows is how it was compiled.
    Some(line.split([';', '(']).next()?.split(" compiled").next()?.trim().to_owned())
}

/// The type of the filesystem that a directory is on.
pub fn filesystem(dir: &Path) -> String {
    let said = command::succeed(command::command(dir, "stat").args(["--file-system", "--format=%T", "."]));
    said.trim().replace("ext2/ext3", "ext4")
}

/// Today, as the calendar has it.
pub fn date() -> String {
    command::succeed(command::command(Path::new("/"), "date").arg("+%Y-%m-%d")).trim().to_owned()
}

/// Whether the disk below turns; nothing else of it is everybody's to know.
fn disk_kind(dir: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = std::fs::metadata(dir) else { return "unknown disk".to_owned() };
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let device = format!("/sys/dev/block/{major}:{minor}");
    // A partition has its queue one level up.
    let paths = [format!("{device}/queue/rotational"), format!("{device}/../queue/rotational")];
    let kind = paths.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let is_virtual = std::fs::canonicalize(&device).is_ok_and(|path| path.to_string_lossy().contains("virtio"));
    let kind = match kind.as_deref().map(str::trim) {
        Some("0") => "solid state",
        Some("1") => "rotating",
        _ => "unknown",
    };
    // What a virtual disk says of itself is a default.
    if is_virtual { "virtual".to_owned() } else { kind.to_owned() }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn in_gib(kib: &str) -> String {
    let kib: f64 = kib.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
    format!("{:.0} GiB", kib / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_known_here() {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, fact) in facts(dir.path()) {
            assert!(!fact.trim_matches([' ', '×', '0']).is_empty(), "{name}: `{fact}`");
        }
        assert_eq!(date().len(), 10);
        assert!(version("git", "--version").is_some_and(|text| text.starts_with("git")));
    }
}
