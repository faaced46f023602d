//! Running the programs of others: their output is kept, and a failure shows the whole of it.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A program that is still running after this is stuck, whatever it does. Long forms give their own.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Whether `program` is on the PATH.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Whether this run may do what only root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command in `dir`, with the environment that makes others' output the same everywhere.
pub fn command(dir: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// Runs `script` with `bash -e` in `dir` and gives its standard output; panics with everything it said otherwise.
#[track_caller]
pub fn shell(dir: &Path, script: &str) -> String {
    succeed(command(dir, "bash").args(["-euo", "pipefail", "-c", script]))
}

/// Runs a Python program in `dir`, for the calls that safe Rust doesn't offer (mmap, byte-range locks).
#[track_caller]
pub fn python(dir: &Path, program: &str) -> String {
    succeed(command(dir, "python3").args(["-c", program]))
}

/// Runs to the end and gives the standard output; panics with everything it said when it failed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?} ended with {}\n{}", ending(&output), transcript(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs to the end, whatever its status. A program that outlives [`PATIENCE`] is killed and panics the test.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    run_for(command, PATIENCE)
}

/// As [`run`], with another limit.
#[track_caller]
pub fn run_for(command: &mut Command, patience: Duration) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|e| panic!("can't start {command:?}: {e}"));
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    // The reader owns the child, so that a full pipe never blocks it; we only wait for the outcome.
    let reader = std::thread::spawn(move || sender.send(child.wait_with_output()));
    let started = Instant::now();
    let Ok(output) = receiver.recv_timeout(patience) else {
        if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        panic!("{command:?} was still running after {:?}", started.elapsed());
    };
    let _ = reader.join();
    output.unwrap_or_else(|e| panic!("can't wait for {command:?}: {e}"))
}

/// Both streams of a finished program, for a panic message.
pub fn transcript(output: &Output) -> String {
    let streams = [("stdout", &output.stdout), ("stderr", &output.stderr)];
    let shown = streams.map(|(name, bytes)| format!("--- {name}\n{}", String::from_utf8_lossy(bytes)));
    shown.join("\n")
}

fn ending(output: &Output) -> String {
    match (output.status.code(), output.status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {signal:?}"),
    }
}
