//! One node: the built `cairn` binary in a home of its own, its mount, and every way to end and restart it.
//!
//! Everything the node owns lies in one [`Scratch`]: `home/` holds its configuration, store, log and socket by the XDG
//! variables, `home/Cairn` is its mount. Dropping a node ends it: politely, then by force; a panic in a test drops it too.
//! A watchdog kills a node whose test has not ended in time, so that a stuck call comes back and the test can fail.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::tree::Tree;
use crate::{Scale, Scratch, command, mounts};

/// What `statfs` calls every FUSE filesystem.
const FUSE_SUPER_MAGIC: rustix::fs::FsWord = 0x6573_5546;
/// A start that takes longer is a failure; the bar itself (2 s) is judged where it is measured.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Ending politely includes the last flush.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// A node under test.
#[derive(Debug)]
pub struct Node {
    // Fields drop in this order: the process ends before its home is removed.
    process: Process,
    setup: Setup,
    scratch: Scratch,
    _watchdog: Watchdog,
}

/// What a node is started with.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Run as this user and group instead of the user of the test; needs root.
    pub user: Option<u32>,
    /// More of the environment: every value of the configuration can be set there.
    pub environment: Vec<(String, String)>,
    /// Mount close to the root instead of at `~/Cairn`: a socket's path has at most 107 bytes.
    pub short_path: bool,
    /// A home to use instead of an empty one: it is copied.
    pub home: Option<PathBuf>,
    /// Words before the program that starts the node. Whatever they start has to become the node in the same process.
    pub under: Vec<String>,
    /// How long the test may take before the watchdog ends the node; the scale of the run decides otherwise.
    pub patience: Option<Duration>,
}

impl Node {
    /// A fresh node, mounted and ready.
    #[track_caller]
    pub fn start() -> Node {
        Node::start_with(Setup::default())
    }

    /// A fresh node with a special setup, mounted and ready.
    #[track_caller]
    pub fn start_with(setup: Setup) -> Node {
        let mut node = Node::prepare(setup);
        node.up();
        node
    }

    /// A home with nothing running in it yet.
    #[track_caller]
    pub fn prepare(setup: Setup) -> Node {
        let scratch = Scratch::new();
        let home = scratch.path().join("home");
        match &setup.home {
            Some(from) => copy_home(from, &home),
            None => std::fs::create_dir(&home).expect("a home"),
        }
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).expect("chmod of our own directory");
        let process = Process::default();
        let patience =
            setup.patience.unwrap_or_else(|| Scale::pick(Duration::from_secs(600), Duration::from_secs(6 * 3600)));
        let watchdog = Watchdog::over(&process, patience);
        let node = Node { process, setup, scratch, _watchdog: watchdog };
        node.give_to_user();
        node
    }

    /// Where files are seen.
    pub fn mount(&self) -> PathBuf {
        if self.setup.short_path { self.scratch.path().join("m") } else { self.home().join("Cairn") }
    }

    /// The node's HOME: everything it keeps lies below.
    pub fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    /// What the node keeps on the disk.
    pub fn data(&self) -> PathBuf {
        self.home().join("data/cairn")
    }

    /// The part of the store that can be deleted.
    pub fn index(&self) -> PathBuf {
        self.data().join("own/index")
    }

    /// The part of the store that is the truth.
    pub fn log_folder(&self) -> PathBuf {
        self.data().join("own/log")
    }

    /// Everything that the mount shows.
    #[track_caller]
    pub fn everything(&self) -> Tree {
        Tree::of(&self.mount()).unwrap_or_else(|e| panic!("can't read the whole mount: {e}\n{}", self.log()))
    }

    /// Takes away the mount that a killed node left.
    pub fn unmount_dead(&self) {
        mounts::below(&self.mount()).iter().for_each(mounts::remove);
    }

    /// A place outside the node for whatever a test needs besides.
    pub fn outside(&self) -> PathBuf {
        let outside = self.scratch.path().join("outside");
        std::fs::create_dir_all(&outside).expect("a directory in our own scratch");
        outside
    }

    /// Starts `cairn up` and returns when the mount answers; panics with its log when it doesn't. Gives the time it took.
    #[track_caller]
    pub fn up(&mut self) -> Duration {
        match self.try_up() {
            Ok(took) => took,
            Err(log) => panic!("the node did not come up\n{log}"),
        }
    }

    /// As [`Node::up`], but an end before readiness is an answer: the node's output.
    pub fn try_up(&mut self) -> Result<Duration, String> {
        assert!(!self.process.is_running(), "the node already runs");
        let started = Instant::now();
        self.process.child = Some(self.spawn());
        self.process.publish();
        while !self.is_ready() {
            if !self.process.is_running() || started.elapsed() > START_PATIENCE {
                self.process.kill();
                return Err(self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(started.elapsed())
    }

    /// Whether the mount is there and answers. The mount of a node that died is there too: we ask it what the kernel can't
    /// answer from its memory. Another user's mount is closed to us: there the node has to say so itself.
    fn is_ready(&self) -> bool {
        match self.setup.user {
            // In one look: between the dead mount and the new one the folder below shows.
            None => rustix::fs::statfs(self.mount()).is_ok_and(|space| space.f_type == FUSE_SUPER_MAGIC),
            Some(_) => self.log().contains("is mounted at"),
        }
    }

    fn spawn(&self) -> Child {
        let file = File::create(self.scratch.path().join("up.log")).expect("a log in our own scratch");
        let errors = file.try_clone().expect("a second handle of the log");
        let mut command = match self.setup.under.split_first() {
            None => self.cairn(&["up"]),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(binary()).arg("up");
                self.into_home(&mut command);
                command
            }
        };
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        child.unwrap_or_else(|e| panic!("can't start {command:?}: {e}"))
    }

    /// From the next start on, runs the node under these words: see [`Setup::under`].
    pub fn run_under(&mut self, words: Vec<String>) {
        self.setup.under = words;
    }

    /// From the next start on, this variable has this value.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.setup.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// Ends the node the way Ctrl-C does, and insists that it ends well and leaves no mount.
    #[track_caller]
    pub fn down(&mut self) {
        let status = self.process.end(END_PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "the node ended with {status:?}\n{}", self.log());
        assert!(mounts::at(&self.mount()).is_none(), "a mount is left after the end\n{}", self.log());
    }

    /// Starts the node and kills it a moment later. Whether it was still starting then.
    pub fn up_and_kill(&mut self, moment: Duration) -> bool {
        self.process.child = Some(self.spawn());
        self.process.publish();
        std::thread::sleep(moment);
        let was_starting = !self.is_ready();
        self.kill();
        was_starting
    }

    /// `kill -9`: nothing of the node's memory survives, its dead mount stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// `kill -9` from another thread, at any moment.
    pub fn killer(&self) -> Killer {
        Killer(self.process.pid.clone())
    }

    /// The process that owns the store.
    pub fn pid(&self) -> u32 {
        self.process.pid.load(Ordering::SeqCst) as u32
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// What the node said since its start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("up.log")).unwrap_or_default()
    }

    /// A `cairn` command that talks to this node.
    pub fn cairn(&self, arguments: &[&str]) -> Command {
        let mut command = match self.setup.user {
            None => Command::new(binary()),
            Some(_) => self.as_user(&self.scratch.path().join("cairn")),
        };
        command.args(arguments);
        self.into_home(&mut command);
        command
    }

    /// A program as the node's own user, where the node's mount can be seen.
    ///
    /// Machines without udev keep `/dev/fuse` for root. There the node gets a mount namespace of its own in which the device
    /// is open to everyone, as on an ordinary Debian; nothing outside of it changes.
    pub fn as_user(&self, program: &Path) -> Command {
        let Some(user) = self.setup.user else { return Command::new(program) };
        let mut command = match self.pid() {
            0 => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "bash", "-c"]);
                command.args([OPEN_FUSE_DEVICE, "bash"]).arg(self.scratch.path().join("fuse"));
                command.arg("setpriv");
                command
            }
            pid => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &pid.to_string(), "--mount", "setpriv"]);
                command
            }
        };
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        command.arg(program);
        command
    }

    /// Puts any program into the node's environment, so that it finds the node and nothing of the tester's.
    pub fn into_home(&self, command: &mut Command) {
        let home = self.home();
        command.stdin(Stdio::null());
        command.env_clear().env("HOME", &home).env("LC_ALL", "C").env("TZ", "UTC").current_dir(self.scratch.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (variable, folder) in FOLDERS {
            command.env(variable, home.join(folder));
        }
        // A failing run can be repeated with more to read.
        for variable in ["RUST_BACKTRACE", "RUST_LOG", "CAIRN_LOG", "TMPDIR"] {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        if self.setup.user.is_none() && command::is_root() {
            // The tests of permissions come as other users.
            command.env("CAIRN_ALLOW_OTHER", "true");
        }
        if self.setup.short_path {
            command.env("CAIRN_MOUNT_POINT", self.mount());
        }
        command.envs(self.setup.environment.iter().map(|(k, v)| (k, v)));
    }

    /// Runs a `cairn` command that has to succeed; gives what it printed.
    #[track_caller]
    pub fn say(&self, arguments: &[&str]) -> String {
        command::succeed(&mut self.cairn(arguments))
    }

    /// Runs a `cairn` command, whatever it answers.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> Output {
        command::run(&mut self.cairn(arguments))
    }

    /// Runs a `cairn` command with `--json`; gives the parsed answer.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.say(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("cairn {arguments:?} --json printed no JSON: {e}\n{text}"))
    }

    /// Resident memory of the node in KiB: `VmRSS`, or `VmHWM` for the peak.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let value = status
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no {line} of process {}", self.pid()))
    }

    fn give_to_user(&self) {
        let Some(user) = self.setup.user else { return };
        let copy = self.scratch.path().join("cairn");
        std::fs::copy(binary(), &copy).expect("a copy of the binary that everyone may run");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("chmod of our own copy");
        std::os::unix::fs::chown(self.home(), Some(user), Some(user))
            .expect("only root can run a node as another user");
    }
}

/// Puts a device that everyone may open over `/dev/fuse` where that is closed, then goes on with the rest of the arguments.
const OPEN_FUSE_DEVICE: &str = r#"
    if [ $(( 0$(stat -c %a /dev/fuse) & 6 )) -ne 6 ]; then
        mknod "$1" c 10 229; chmod 666 "$1"; mount --bind "$1" /dev/fuse
    fi
    shift; exec "$@""#;

/// Where the XDG variables point, below the home.
const FOLDERS: [(&str, &str); 5] = [
    ("XDG_CONFIG_HOME", "config"),
    ("XDG_DATA_HOME", "data"),
    ("XDG_STATE_HOME", "state"),
    ("XDG_CACHE_HOME", "cache"),
    ("XDG_RUNTIME_DIR", "run"),
];

/// The binary under test: `CAIRN_BIN`, or the one that was built beside the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CAIRN_BIN") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("the path of this program");
    // A test runs from target/release/deps, a program of ours from target/release.
    let candidates = own.ancestors().skip(1).take(2).map(|dir| dir.join("cairn"));
    let built = candidates.into_iter().find(|path| path.is_file());
    built.unwrap_or_else(|| {
        panic!("no cairn beside {}: run `cargo build --release` first, or set CAIRN_BIN", own.display())
    })
}

/// A copy of a home that is not running, without its mount point.
fn copy_home(from: &Path, to: &Path) {
    command::succeed(Command::new("cp").arg("-a").arg("--sparse=always").arg(from).arg(to));
}

/// Kills a node from another thread.
#[derive(Debug, Clone)]
pub struct Killer(Arc<AtomicI32>);

impl Killer {
    /// Sends SIGKILL now, if the node runs.
    pub fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.0.load(Ordering::SeqCst)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The running `cairn up`, if there is one. `pid` is 0 while there is none.
#[derive(Debug, Default)]
struct Process {
    child: Option<Child>,
    pid: Arc<AtomicI32>,
}

impl Process {
    fn publish(&self) {
        let pid = self.child.as_ref().map_or(0, |child| child.id() as i32);
        self.pid.store(pid, Ordering::SeqCst);
    }

    fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn kill(&mut self) {
        // The number stops being ours once it was waited for.
        self.pid.store(0, Ordering::SeqCst);
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn end(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let mut child = self.child.take()?;
        self.pid.store(0, Ordering::SeqCst);
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            let _ = kill_process(pid, Signal::INT);
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.child = Some(child);
        self.kill();
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody looks at the state any more: a node that was being tested needs no last flush.
        self.kill();
    }
}

/// Ends a node whose test takes too long: calls that wait in its mount then fail, and so does the test.
#[derive(Debug)]
struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    fn over(process: &Process, patience: Duration) -> Watchdog {
        let (alive, gone) = mpsc::channel();
        let killer = Killer(process.pid.clone());
        std::thread::spawn(move || {
            if gone.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                crate::report::say(&format!("the watchdog ends a node after {patience:?}"));
                killer.kill();
            }
        });
        Watchdog { _alive: alive }
    }
}
