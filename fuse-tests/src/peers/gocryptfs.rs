//! A mount of gocryptfs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Scratch, command};

/// Mounts a new filesystem in a scratch, which unmounts it. `None` where gocryptfs is not installed.
pub fn mount(scratch: &Scratch) -> Option<PathBuf> {
    if !command::exists("gocryptfs") {
        return None;
    }
    let (cipher, plain) = (scratch.folder_of_regions("cipher"), scratch.folder("plain"));
    let password = scratch.path().join("password");
    std::fs::write(&password, "bench\n").expect("a file in our own scratch");
    let run = |extra: &[&Path], init: bool| {
        let mut command = Command::new("gocryptfs");
        command.arg("-q").arg("-passfile").arg(&password);
        if init {
            command.arg("-init");
        }
        command::succeed(command.args(extra));
    };
    run(&[&cipher], true);
    run(&[&cipher, &plain], false);
    Some(plain)
}

/// The process that serves a mount of ours.
pub fn process_of(mount: &Path) -> Option<u32> {
    let wanted = mount.as_os_str().as_encoded_bytes();
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let mut pids = pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"gocryptfs")) && words.any(|word| word == wanted)
    });
    pids.next()
}
