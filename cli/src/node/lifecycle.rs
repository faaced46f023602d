//! How a node starts in the background, and how the command that starts it learns that it runs.
//!
//! The command spawns itself as `cairn daemon` with three descriptors: standard input carries the passphrase where there is
//! one, standard output one line that says `ready` or why not, standard error the log. The node leaves the command's
//! session by itself; the command never waits on a socket that may not come.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::durable::create_private_directory;
use super::keyfile::KeyFile;
use super::layout::DataDir;
use super::passphrase::Passphrase;
use crate::config::Settings;
use crate::control::client::{Client, ClientError};
use crate::errors::{Failure, Kind, Outcome};

/// A store that replays a long log after a crash may take this long; a node that is silent for longer is stuck.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a node that is coming or going may take to let others in.
const OTHER_NODE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// A log that has grown beyond this is put aside when a node starts; the one put aside before goes.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// The one line on the node's standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Announcement {
    /// The node answers on its socket.
    Ready,
    /// It doesn't, and why.
    Failed(Failure),
}

impl Announcement {
    /// Says it to the command that waits.
    pub(crate) fn say(&self) {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        // A command that has given up doesn't read it.
        let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
    }
}

/// Connects to the node of the settings, and starts it where it isn't running. A store that somebody else has is waited for:
/// another command is starting a node, or one that was told to end is still writing.
pub(crate) fn connect_or_start(settings: &Settings) -> Outcome<Client> {
    let data_dir = DataDir::at(&settings.data_dir);
    let deadline = Instant::now() + OTHER_NODE_TIMEOUT;
    loop {
        match Client::connect(&data_dir.socket()) {
            Err(ClientError::NotRunning) => {}
            connected => return Ok(connected?),
        }
        match start(settings, &data_dir) {
            Ok(()) => return Ok(Client::connect(&data_dir.socket())?),
            Err(failure) if failure.kind == Kind::Busy && Instant::now() < deadline => {
                std::thread::sleep(RETRY_INTERVAL)
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn start(settings: &Settings, data_dir: &DataDir) -> Outcome<()> {
    let passphrase = passphrase_for(settings, data_dir)?;
    let doing = |error: io::Error| Failure::from(error).while_("starting the node");
    let log = open_log(settings)
        .map_err(|error| Failure::from(error).while_(format!("opening the log {}", settings.log_file().display())))?;
    let mut child = Command::new(std::env::current_exe().map_err(doing)?)
        .arg("daemon")
        .arg("--config")
        .arg(&settings.config_file)
        .envs(settings.overrides())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(doing)?;
    if let (Some(mut input), Some(passphrase)) = (child.stdin.take(), &passphrase) {
        // A node that ended before it read says why on its output.
        let _ = input.write_all(passphrase.as_bytes()).and_then(|()| input.write_all(b"\n"));
    }
    let announced = child.stdout.take().and_then(|output| first_line(output, START_TIMEOUT));
    match announced.as_deref().map(serde_json::from_str) {
        Some(Ok(Announcement::Ready)) => Ok(()),
        Some(Ok(Announcement::Failed(failure))) => Err(failure),
        Some(Err(_)) | None => Err(Failure::new(Kind::NotRunning, "the node didn't start")
            .hint(format!("its log says why: {}", settings.log_file().display()))),
    }
}

fn open_log(settings: &Settings) -> io::Result<File> {
    create_private_directory(&settings.state_dir)?;
    let path = settings.log_file();
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        std::fs::rename(&path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The passphrase, where the key has one. A key that needs it and a command that can't ask is a clear failure here, before
/// anything is started.
fn passphrase_for(settings: &Settings, data_dir: &DataDir) -> Outcome<Option<Passphrase>> {
    match KeyFile::read(&data_dir.key_file())? {
        Some(key) if key.is_locked() => {
            let passphrase = Passphrase::obtain(settings.passphrase_file.as_deref())?;
            if passphrase.is_none() {
                key.unlock(None)?;
            }
            Ok(passphrase)
        }
        _ => Ok(None),
    }
}

/// The first line of `output`; `None` when it ends or the time is over before there is one.
fn first_line(output: impl io::Read + Send + 'static, timeout: Duration) -> Option<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    // Ends with the node's output at the latest; a command that gives up ends before it.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        // Nobody waits any more: then nobody needs it.
        let _ = sender.send(read.ok().filter(|count| *count > 0).map(|_| line));
    });
    receiver.recv_timeout(timeout).ok().flatten()
}
