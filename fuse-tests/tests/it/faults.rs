//! A disk that fails while the node works: system calls of the node are made to fail, or to take long, from outside.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, Random, command, mounts, promise, skip};

/// Faults injected into a running process for as long as this value lives.
struct Strace(Child);

impl Strace {
    /// `inject` as strace understands it: `fdatasync:error=EIO:when=1`. `None` where that isn't possible.
    fn inject(node: &Node, calls: &str, inject: &str) -> Option<Strace> {
        if !command::is_root() || !command::exists("strace") {
            return None;
        }
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={inject}"),
        ]);
        let child = strace
            .args(["-p", &node.pid().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let strace = Strace(child.ok()?);
        // It has to be attached to every thread before anything is asked.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !is_traced(node.pid()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        is_traced(node.pid()).then_some(strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id() as i32) {
            // Not SIGKILL: it has to let the node go.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn is_traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).peekable();
    statuses.peek().is_some() && statuses.all(|status| !status.contains("TracerPid:\t0\n"))
}

macro_rules! injected {
    ($node:expr, $calls:expr, $inject:expr) => {
        match Strace::inject($node, $calls, $inject) {
            Some(strace) => strace,
            None => skip!("faults are injected with strace, as root"),
        }
    };
}

/// An fsync that succeeds in the end, or the last refusal.
fn sync_within(file: &File, patience: Duration) -> std::io::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match file.sync_all() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
}

#[test]
fn a_failed_fsync_is_told_and_what_it_held_is_written_again() {
    promise!("A failed fsync is not forgotten");
    for round in 0..3 {
        let mut node = Node::start();
        let path = node.mount().join("f");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("create");
        file.write_all_at(b"before", 0).expect("write");
        file.sync_all().expect("a good fsync");
        let bytes = Random::new(round).bytes(200_000);
        {
            let _fault = injected!(&node, "fdatasync,fsync,sync_file_range", "fdatasync,fsync:error=EIO:when=1");
            file.write_all_at(&bytes, 0).expect("write");
            // The failure may be met by the fsync, or by a sync that the node made on its own: then the fsync may be right
            // to succeed, when everything was written elsewhere.
            let first = file.sync_all();
            let again = file.sync_all();
            assert!(first.is_err() || again.is_ok(), "{first:?}, then {again:?}");
        }
        if sync_within(&file, Duration::from_secs(5)).is_ok() {
            // It said durable: then it is, even if nothing of the node's memory survives.
            node.kill();
            node.up();
            assert!(
                std::fs::read(&path).expect("read") == bytes,
                "round {round}: an fsync that returned 0 kept nothing"
            );
        } else {
            // Or it says no, for good, and doesn't lie about it. What was confirmed before stays.
            let status = command::transcript(&node.ask(&["status"]));
            assert!(status.contains("read-only"), "fsync fails for ever and nothing says why\n{status}");
        }
    }
}

#[test]
fn a_full_disk_at_any_write_loses_nothing_confirmed() {
    promise!("A failed fsync is not forgotten");
    let mut node = Node::start();
    let file = File::create(node.mount().join("kept")).expect("create");
    file.write_all_at(&[7; 50_000], 0).expect("write");
    file.sync_all().expect("fsync");
    for when in 1..6 {
        {
            let inject = format!("write,pwrite64,pwritev,pwritev2,writev:error=ENOSPC:when={when}");
            // Replies to the kernel are writes as well: only those into files are made to fail.
            let _fault = injected!(
                &node,
                "pwrite64,pwritev,pwritev2",
                &inject.replace("write,pwrite64", "pwrite64").replace(",writev", "")
            );
            let path = node.mount().join(format!("f{when}"));
            let _ = std::fs::write(&path, vec![when; 100_000]).and_then(|()| File::open(&path)?.sync_all());
        }
        let again = sync_within(&file, Duration::from_secs(20));
        again.unwrap_or_else(|e| panic!("write {when}: the disk has room again: {e}\n{}", node.log()));
    }
    node.kill();
    node.up();
    assert!(std::fs::read(node.mount().join("kept")).expect("read") == vec![7; 50_000]);
}

#[test]
fn a_stuck_fsync_ends_at_its_deadline_and_nobody_else_waits() {
    promise!("Nobody waits for ever");
    let node = Node::prepare(Setup::default());
    let mount_point = node.outside().join("m");
    std::fs::create_dir(&mount_point).expect("mkdir");
    let mut node = node;
    node.up();
    node.say(&["mount", "-o", "deadline=3", "other", &mount_point.display().to_string()]);
    std::fs::write(mount_point.join("quick"), b"in memory").expect("write");
    let file = File::create(mount_point.join("f")).expect("create");
    file.write_all_at(b"x", 0).expect("write");
    let fault = injected!(&node, "fdatasync,fsync", "fdatasync,fsync:delay_enter=12000000");
    let (waited, outcome) = std::thread::scope(|scope| {
        let stuck = scope.spawn(|| {
            let started = Instant::now();
            let outcome = file.sync_all();
            (started.elapsed(), outcome)
        });
        std::thread::sleep(Duration::from_millis(500));
        let started = Instant::now();
        assert_eq!(std::fs::read(mount_point.join("quick")).expect("read"), b"in memory");
        std::fs::create_dir(mount_point.join("meanwhile")).expect("mkdir");
        assert!(started.elapsed() < Duration::from_secs(2), "others waited {:?}", started.elapsed());
        stuck.join().expect("the fsync ends")
    });
    drop(fault);
    let code = outcome.expect_err("it could not be confirmed in time").raw_os_error();
    assert_eq!(code, Some(rustix::io::Errno::TIMEDOUT.raw_os_error()));
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
}

#[test]
fn a_node_that_stands_still_can_be_unmounted() {
    promise!("Unmounting always works");
    let mut node = Node::start();
    std::fs::write(node.mount().join("f"), b"x").expect("write");
    command::shell(&node.mount(), "sync f");
    let pid = rustix::process::Pid::from_raw(node.pid() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("our own process");
    let mut reader =
        command::command(&node.outside(), "cat").arg(node.mount().join("g")).spawn().expect("a process that will wait");
    std::thread::sleep(Duration::from_millis(200));
    node.unmount_dead();
    assert!(mounts::at(&node.mount()).is_none());
    node.kill();
    // Nobody hangs on what is gone.
    assert!(!reader.wait().expect("its end").success());
    node.up();
    assert_eq!(std::fs::read(node.mount().join("f")).expect("read"), b"x");
}
