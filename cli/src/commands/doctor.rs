//! doctor: looks for what keeps the node from working on this machine, and says what helps.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::Serialize;

use crate::control::routes::{Nothing, Route, Status};
use crate::errors::{Failure, Kind, Outcome};
use crate::node::keyfile::KeyFile;
use crate::output::Table;
use crate::text::{shell_quoted, size};

use super::session::Session;

/// Below this a node can't do much.
const DISK_FREE_BYTES_MIN: u64 = 1 << 30;
/// A node with a few hundred segments and clients needs this many descriptors.
const OPEN_FILES_MIN: u64 = 1024;
/// When this release was made, in seconds since 1970: a clock before it is wrong.
const CLOCK_SECONDS_MIN: u64 = 1_790_000_000;
/// A clock this far after it is wrong as well: thirty years.
const CLOCK_SECONDS_MAX: u64 = CLOCK_SECONDS_MIN + 30 * 365 * 86_400;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Checked {
    check: &'static str,
    verdict: Verdict,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Checked {
    fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, finding: finding.into(), fix: None }
    }

    fn warn(check: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, finding: finding.into(), fix: Some(fix.into()) }
    }

    fn fail(check: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, finding: finding.into(), fix: Some(fix.into()) }
    }
}

/// Runs all checks; nothing is changed and no node is started.
pub(super) fn doctor(session: &mut Session) -> Outcome<()> {
    let data_dir = session.settings.data_dir.clone();
    let mut checks = vec![
        fuse_device(Path::new("/dev/fuse")),
        mount_right(),
        allow_other(session.settings.allow_other, Path::new("/etc/fuse.conf")),
        mount_point(&session.settings.mount_point),
        stale_mounts(),
        key_file(session),
        directory("data directory", &data_dir),
        directory("log directory", &session.settings.state_dir),
        disk_space(&data_dir),
        open_files(),
        clock(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())),
    ];
    checks.push(node(session));
    session.output.rows(&checks, table)?;
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    match (count(Verdict::Fail), count(Verdict::Warn)) {
        (0, 0) => session.output.remark("all is well"),
        (0, warnings) => session.output.remark(format!("it works; {warnings} remarks above")),
        (failures, _) => return Err(Failure::new(Kind::Partial, format!("{failures} checks failed"))),
    }
    Ok(())
}

fn table(checks: &[Checked]) -> Table {
    let mut table = Table::bare();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        table.row([verdict, check.check, &check.finding]);
        if let Some(fix) = &check.fix {
            table.row(["", "", &format!("fix: {fix}")]);
        }
    }
    table
}

fn fuse_device(device: &Path) -> Checked {
    const NAME: &str = "fuse device";
    let shown = device.display();
    match fs::metadata(device) {
        Err(_) => Checked::fail(
            NAME,
            format!("{shown} is not there"),
            "load the module: `sudo modprobe fuse`; in a container, pass the device in",
        ),
        Ok(metadata) if !metadata.file_type().is_char_device() => Checked::fail(
            NAME,
            format!("{shown} is not a device"),
            "remove it and load the module: `sudo modprobe fuse`",
        ),
        Ok(_) => match accessat(CWD, device, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => Checked::ok(NAME, format!("{shown} can be opened")),
            Err(_) => Checked::fail(
                NAME,
                format!("{shown} can't be opened by this user"),
                "`sudo chmod 666 /dev/fuse`, the mode that udev gives it",
            ),
        },
    }
}

fn mount_right() -> Checked {
    const NAME: &str = "mounting";
    if rustix::process::geteuid().is_root() {
        return Checked::ok(NAME, "root mounts by itself");
    }
    match find_program("fusermount3") {
        None => Checked::fail(NAME, "fusermount3 is not installed", "install it: `sudo apt install fuse3`"),
        Some(path) => match fs::metadata(&path) {
            Ok(metadata) if metadata.mode() & 0o4000 != 0 && metadata.uid() == 0 => {
                Checked::ok(NAME, format!("{} is set-user-id root", path.display()))
            }
            _ => Checked::warn(
                NAME,
                format!("{} is not set-user-id root", path.display()),
                "reinstall it: `sudo apt install --reinstall fuse3`",
            ),
        },
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn allow_other(wanted: bool, file: &Path) -> Checked {
    const NAME: &str = "fuse.conf";
    if !wanted || rustix::process::geteuid().is_root() {
        return Checked::ok(NAME, "nothing of it is needed");
    }
    let allowed = fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"));
    if allowed {
        Checked::ok(NAME, "user_allow_other is set")
    } else {
        Checked::fail(
            NAME,
            format!("allow_other is asked for, and {} has no user_allow_other", file.display()),
            format!("`echo user_allow_other | sudo tee -a {}`, or allow_other = false", file.display()),
        )
    }
}

fn mount_point(path: &Path) -> Checked {
    const NAME: &str = "mount point";
    match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Checked::ok(NAME, format!("{} will be made", path.display()))
        }
        Err(error) => Checked::fail(
            NAME,
            format!("{} can't be read: {error}", path.display()),
            "unmount what is left there: `cairn up` does it, or `fusermount3 -u -z DIRECTORY`",
        ),
        Ok(mut entries) => match (is_mounted(path), entries.next()) {
            (true, _) => Checked::ok(NAME, format!("{} is mounted", path.display())),
            (false, None) => Checked::ok(NAME, format!("{} is empty", path.display())),
            (false, Some(_)) => Checked::fail(
                NAME,
                format!("{} is not empty", path.display()),
                "choose another with `cairn up --at DIR`",
            ),
        },
    }
}

/// What the kernel calls our mounts, with the places where they are.
fn our_mounts() -> Vec<PathBuf> {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .split(|byte| *byte == b'\n')
        .filter(|line| line.windows(b" - fuse.cairn ".len()).any(|window| window == b" - fuse.cairn "))
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|place| crate::text::Name(unescaped(place)).to_path())
        .collect()
}

/// mountinfo writes blanks and the like as `\040`.
fn unescaped(place: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(place.len());
    let mut rest = place;
    while let Some((&byte, after)) = rest.split_first() {
        let octal =
            (byte == b'\\').then(|| after.get(..3)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[3..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn is_mounted(path: &Path) -> bool {
    our_mounts().iter().any(|place| place == path)
}

fn stale_mounts() -> Checked {
    const NAME: &str = "stale mounts";
    let stale: Vec<_> = our_mounts()
        .into_iter()
        .filter(|place| {
            fs::metadata(place)
                .is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()))
        })
        .collect();
    match stale.first() {
        None => Checked::ok(NAME, "there are none"),
        Some(place) => Checked::warn(
            NAME,
            format!("{} was left by a node that died", place.display()),
            format!("`cairn up` takes it over; or `fusermount3 -u -z {}`", shell_quoted(place)),
        ),
    }
}

fn key_file(session: &Session) -> Checked {
    const NAME: &str = "key";
    match KeyFile::read(&session.data_dir().key_file()) {
        Ok(None) => Checked::ok(NAME, "there is none yet; `cairn up` makes one"),
        Ok(Some(key)) if key.is_locked() => Checked::ok(NAME, "private, and locked with a passphrase"),
        Ok(Some(_)) => Checked::ok(NAME, "private; without a passphrase"),
        Err(error) => {
            let failure = Failure::from(error);
            let fix = failure.hint.clone().unwrap_or_default();
            Checked::fail(NAME, failure.to_string(), fix)
        }
    }
}

fn directory(check: &'static str, path: &Path) -> Checked {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    match accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Checked::ok(check, format!("{} can be written", path.display())),
        Err(error) => Checked::fail(
            check,
            format!("{} can't be written: {error}", there.display()),
            "choose another with --data-dir, or mend its owner and mode",
        ),
    }
}

fn disk_space(path: &Path) -> Checked {
    const NAME: &str = "disk space";
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Err(error) => Checked::warn(NAME, format!("it can't be read: {error}"), "look with `df`"),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let finding = format!("{} free", size(free));
            if free < DISK_FREE_BYTES_MIN {
                Checked::warn(NAME, finding, "free some; `cairn gc --dry-run` shows what the store could give back")
            } else {
                Checked::ok(NAME, finding)
            }
        }
    }
}

fn open_files() -> Checked {
    const NAME: &str = "open files";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => Checked::warn(
            NAME,
            format!("the hard limit is {limit}"),
            "raise it: `ulimit -Hn 4096` as root, or in limits.conf",
        ),
        Some(limit) => Checked::ok(NAME, format!("up to {limit}")),
        None => Checked::ok(NAME, "without limit"),
    }
}

fn clock(seconds: u64) -> Checked {
    const NAME: &str = "clock";
    if (CLOCK_SECONDS_MIN..CLOCK_SECONDS_MAX).contains(&seconds) {
        Checked::ok(NAME, "plausible")
    } else {
        Checked::warn(
            NAME,
            format!("it says {seconds} seconds since 1970"),
            "set it: `sudo timedatectl set-ntp true`; snapshots are named by it",
        )
    }
}

fn node(session: &mut Session) -> Checked {
    const NAME: &str = "node";
    let asked = session.running_node().and_then(|node| match node {
        None => Ok(None),
        Some(node) => Ok(Some(node.call::<Status>(Route::Status, &Nothing {})?)),
    });
    match asked {
        Ok(None) => Checked::ok(NAME, "not running; whichever command needs it starts it"),
        Ok(Some(status)) if status.state == "ready" => {
            Checked::ok(NAME, format!("ready, store {}", status.store.state))
        }
        Ok(Some(status)) => Checked::fail(
            NAME,
            format!("{}: {}", status.state, status.store.reasons.join("; ")),
            "`cairn check --data --repair`",
        ),
        Err(failure) => {
            let fix = failure.hint.clone().unwrap_or_default();
            Checked::fail(NAME, failure.to_string(), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_named_with_its_fix() {
        let checked = fuse_device(Path::new("/nonexistent/fuse"));
        assert_eq!(checked.verdict, Verdict::Fail);
        assert!(checked.fix.is_some_and(|fix| fix.contains("modprobe")));
    }

    #[test]
    fn a_clock_of_1970_is_a_warning() {
        assert_eq!(clock(12).verdict, Verdict::Warn);
        assert_eq!(clock(CLOCK_SECONDS_MIN + 86_400).verdict, Verdict::Ok);
    }

    #[test]
    fn a_full_mount_point_is_a_failure() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(mount_point(directory.path()).verdict, Verdict::Ok);
        fs::write(directory.path().join("x"), "x").expect("written");
        assert_eq!(mount_point(directory.path()).verdict, Verdict::Fail);
        assert_eq!(mount_point(&directory.path().join("new")).verdict, Verdict::Ok);
    }

    #[test]
    fn places_of_mounts_are_unescaped() {
        assert_eq!(unescaped(br"/a\040b\134"), b"/a b\\");
    }
}
