//! A home for one test: everything the node keeps lies below it, and the node is ended with it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A temporary home.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join(".local/share/cairn")
    }

    /// A path in the home.
    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path().join(path)
    }

    /// `cairn` with these arguments, in this home and in nothing of the tester's.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Runs it.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// Runs it with something on its standard input.
    pub(crate) fn run_with_input<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        // A command that refuses at once ends without reading.
        match child.stdin.take().expect("it was piped").write_all(input) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.expect("it reads"),
        }
        child.wait_with_output().expect("it ends")
    }

    /// Runs it, and it has to succeed; gives what it printed.
    #[track_caller]
    pub(crate) fn say<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", transcript(&output));
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// Runs it with `--json`; each line it prints is a value.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.say(&[arguments, &["--json"]].concat());
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {error}: {line}"));
        text.lines().map(parse).collect()
    }

    /// Writes a file in the home.
    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(path);
        fs::create_dir_all(path.parent().expect("it is in the home")).expect("mkdir");
        fs::write(&path, bytes).expect("write");
        path
    }

    /// A file with a passphrase that nobody else can read.
    pub(crate) fn passphrase(&self, name: &str, passphrase: &str) -> String {
        let path = self.write(name, format!("{passphrase}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        path.to_str().expect("text").to_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that failed leaves its node running otherwise.
        drop(self.command(&["down"]).output());
    }
}

/// Bytes that nothing compresses, the same in every run.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A refusal with this code that says each of these words.
#[track_caller]
pub(crate) fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}", transcript(output));
    for word in words {
        assert!(said.contains(word), "`{word}` is not said\n{}", transcript(output));
    }
    assert!(!said.contains("panicked"), "{}", transcript(output));
}

pub(crate) fn transcript(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n--- stdout\n{}\n--- stderr\n{}", output.status, text(&output.stdout), text(&output.stderr))
}
