//! A disk that is watched: every write and flush that the kernel sends goes through a process of ours.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bench::{Bench, Mounted};
use super::fault::Fault;
use super::write_log::WriteLog;
use crate::mounts;

/// A daemon that has not begun after this never will.
const START_MAX: Duration = Duration::from_secs(20);
/// And one that was told to end and has not.
const END_MAX: Duration = Duration::from_secs(10);

/// An image, mounted through the daemon.
#[derive(Debug)]
pub struct Disk {
    // In this order: the filesystem goes before what it stands on.
    mounted: Option<Mounted>,
    daemon: Daemon,
    log: PathBuf,
}

/// How many requests the device had seen, as of its last flush.
#[derive(Debug)]
pub struct Witness(File);

impl Disk {
    /// Mounts `image` so that everything written to it is logged. `name` tells the disks of a bench apart.
    pub fn recorded(bench: &Bench, image: &Path, name: &str, options: &str) -> Disk {
        let log = bench.path(&format!("{name}.log"));
        File::create(&log).and_then(|file| file.set_len(2 << 30)).expect("a sparse log");
        let nodes = [
            json!({"driver": "file", "node-name": "image", "filename": image}),
            json!({"driver": "file", "node-name": "log", "filename": log}),
            json!({"driver": "blklogwrites", "node-name": "top", "file": "image", "log": "log", "log-sector-size": 512}),
        ];
        Disk::start(bench, &nodes, name, options, log)
    }

    /// Mounts `image` so that requests can be made to fail.
    pub fn fragile(bench: &Bench, image: &Path, name: &str, options: &str) -> Disk {
        let nodes = [
            json!({"driver": "file", "node-name": "image", "filename": image}),
            json!({"driver": "raw", "node-name": "top", "file": "image"}),
        ];
        Disk::start(bench, &nodes, name, options, PathBuf::new())
    }

    fn start(bench: &Bench, nodes: &[Value], name: &str, options: &str, log: PathBuf) -> Disk {
        let daemon = Daemon::start(bench, nodes, name);
        let mounted = Mounted::new(&daemon.export, &bench.path(&format!("{name}.mnt")), options);
        Disk { mounted: Some(mounted), daemon, log }
    }

    /// The root of its filesystem.
    pub fn root(&self) -> PathBuf {
        self.mounted.as_ref().expect("mounted until it ends").path().to_path_buf()
    }

    /// Tells what the device has seen.
    pub fn witness(&self) -> Witness {
        Witness(File::open(&self.log).expect("the log of a recorded disk"))
    }

    /// From now on requests fail as `fault` says; `None` ends it.
    pub fn fail(&mut self, fault: Option<&Fault>) {
        self.daemon.fail(fault);
    }

    /// Unmounts, ends the daemon, and gives what was written.
    pub fn finish(mut self) -> WriteLog {
        self.mounted = None;
        let log = self.log.clone();
        drop(self);
        WriteLog::read(&log).expect("a log of writes")
    }
}

impl Witness {
    /// A number of entries of the log. What was acknowledged before the call is durable with that many.
    pub fn count(&self) -> u64 {
        let mut bytes = [0; 8];
        // The log's first sector: magic, version, number of entries.
        self.0.read_exact_at(&mut bytes, 16).expect("the head of the log");
        u64::from_le_bytes(bytes)
    }
}

/// The process that is the device.
#[derive(Debug)]
struct Daemon {
    child: Child,
    export: PathBuf,
    socket: PathBuf,
    faults: u32,
}

impl Daemon {
    fn start(bench: &Bench, nodes: &[Value], name: &str) -> Daemon {
        let (export, socket) = (bench.path(&format!("{name}.raw")), bench.path(&format!("{name}.sock")));
        File::create(&export).expect("a file to mount on");
        let said = File::create(bench.path(&format!("{name}.said"))).expect("a file for its words");
        let mut command = Command::new("qemu-storage-daemon");
        for node in nodes {
            command.arg("--blockdev").arg(node.to_string());
        }
        let target =
            json!({"type": "fuse", "id": "export", "node-name": "top", "mountpoint": export, "writable": true});
        command.arg("--chardev").arg(format!("socket,path={},server=on,wait=off,id=control", socket.display()));
        command.arg("--monitor").arg("chardev=control").arg("--export").arg(target.to_string());
        // By its home it is known as ours, should we be killed.
        command.env("HOME", bench.path("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().expect("qemu-storage-daemon");
        let mut daemon = Daemon { child, export, socket, faults: 0 };
        let deadline = Instant::now() + START_MAX;
        while mounts::at(&daemon.export).is_none() {
            let ended = daemon.child.try_wait().expect("our own child");
            let said = || std::fs::read_to_string(bench.path(&format!("{name}.said"))).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "qemu-storage-daemon: {ended:?}\n{}", said());
            std::thread::sleep(Duration::from_millis(2));
        }
        daemon
    }

    fn fail(&mut self, fault: Option<&Fault>) {
        let mut under = "image".to_owned();
        let mut questions = vec![json!({"execute": "qmp_capabilities"})];
        if let Some(fault) = fault {
            self.faults += 1;
            under = format!("fault{}", self.faults);
            questions.push(json!({"execute": "blockdev-add", "arguments": fault.node(&under)}));
        }
        let top = json!({"driver": "raw", "node-name": "top", "file": under});
        questions.push(json!({"execute": "blockdev-reopen", "arguments": {"options": [top]}}));
        let stream = UnixStream::connect(&self.socket).expect("the daemon's control socket");
        let mut answers = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        let mut hear = move || answers.next().expect("an answer").expect("a line");
        hear();
        for question in questions {
            (&stream).write_all(format!("{question}\n").as_bytes()).expect("a question");
            let answer = std::iter::repeat_with(&mut hear).find(|line| !line.contains("\"event\""));
            let answer = answer.expect("the daemon answers");
            assert!(answer.contains("\"return\""), "{question}: {answer}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(mount) = mounts::at(&self.export) {
            mounts::remove(&mount);
        }
    }
}
