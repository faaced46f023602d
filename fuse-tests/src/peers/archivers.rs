//! Programs that keep trees in a repository and give them back: ours and those of others, each as its own manual says.
//!
//! All encrypt, compress by their defaults, and sync what they store before they end; what they write when they restore
//! nobody syncs, so the time of a restore ends with a sync of everything, and for simplicity that of an ingest as well.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::node::Setup;
use crate::peers::real_data::size;
use crate::toolbox::RUSTIC;
use crate::{Node, command};

/// Nothing here takes longer, unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A repository that is being measured.
pub trait Archiver {
    /// Keeps the tree in `source`, as one snapshot more.
    fn ingest(&mut self, source: &Path);
    /// Writes the last snapshot into the empty folder `back`; gives the place below it where the tree is.
    fn restore(&mut self, back: &Path) -> PathBuf;
    /// Bytes of the repository on the disk.
    fn stored(&self) -> u64;
}

/// Makes a fresh repository below a folder.
pub type Make = fn(&Path) -> Box<dyn Archiver>;

/// Who is installed here, ours last, and what is missing, with the reason.
pub fn installed() -> (Vec<(&'static str, Make)>, Vec<String>) {
    let mut found: Vec<(&'static str, Make)> = Vec::new();
    let mut missing = Vec::new();
    for (name, make) in [("restic", restic as Make), ("borg", borg as Make)] {
        if command::exists(name) { found.push((name, make)) } else { missing.push(format!("{name} is not installed")) }
    }
    match RUSTIC.path() {
        Ok(_) => found.push(("rustic", rustic as Make)),
        Err(reason) => missing.push(format!("rustic can't be built: {reason}")),
    }
    found.push(("cairn", cairn as Make));
    (found, missing)
}

/// The time of some work, with everything on the disk at its end.
pub fn timed(work: impl FnOnce()) -> Duration {
    rustix::fs::sync();
    let started = Instant::now();
    work();
    rustix::fs::sync();
    started.elapsed()
}

/// A program of others with its repository and a home of its own, so that caches and keys of the tester's are left alone.
struct Other {
    program: PathBuf,
    home: PathBuf,
    repository: PathBuf,
    ingested: usize,
}

impl Other {
    fn below(folder: &Path, program: impl Into<PathBuf>) -> Other {
        let (home, repository) = (folder.join("home"), folder.join("repository"));
        std::fs::create_dir_all(&home).expect("a folder in our own scratch");
        Other { program: program.into(), home, repository, ingested: 0 }
    }

    /// A command of the program, in `dir`.
    fn run(&self, dir: &Path, arguments: &[&str]) {
        let mut command = command::command(dir, &self.program);
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.home).env("LC_ALL", "C.UTF-8");
        for variable in ["RESTIC_PASSWORD", "BORG_PASSPHRASE", "RUSTIC_PASSWORD"] {
            command.env(variable, "bench");
        }
        for variable in ["RESTIC_REPOSITORY", "BORG_REPO", "RUSTIC_REPOSITORY"] {
            command.env(variable, &self.repository);
        }
        let output = command::run_for(&mut command, PATIENCE);
        assert!(output.status.success(), "{command:?}\n{}", command::transcript(&output));
    }
}

struct Restic(Other);

/// A new repository of restic.
pub fn restic(folder: &Path) -> Box<dyn Archiver> {
    let other = Other::below(folder, "restic");
    other.run(folder, &["-q", "init"]);
    Box::new(Restic(other))
}

impl Archiver for Restic {
    fn ingest(&mut self, source: &Path) {
        self.0.run(source, &["-q", "backup", "."]);
    }

    fn restore(&mut self, back: &Path) -> PathBuf {
        self.0.run(back, &["-q", "restore", "latest", "--target", "."]);
        back.to_owned()
    }

    fn stored(&self) -> u64 {
        size(&self.0.repository)
    }
}

struct Borg(Other);

fn borg(folder: &Path) -> Box<dyn Archiver> {
    let other = Other::below(folder, "borg");
    other.run(folder, &["init", "--encryption", "repokey-blake2"]);
    Box::new(Borg(other))
}

impl Archiver for Borg {
    fn ingest(&mut self, source: &Path) {
        self.0.ingested += 1;
        self.0.run(source, &["create", &format!("::{}", self.0.ingested), "."]);
    }

    fn restore(&mut self, back: &Path) -> PathBuf {
        self.0.run(back, &["extract", &format!("::{}", self.0.ingested)]);
        back.to_owned()
    }

    fn stored(&self) -> u64 {
        size(&self.0.repository)
    }
}

struct Rustic(Other);

fn rustic(folder: &Path) -> Box<dyn Archiver> {
    let other = Other::below(folder, RUSTIC.path().expect("asked for when the list was made"));
    other.run(folder, &["--no-progress", "init"]);
    Box::new(Rustic(other))
}

impl Archiver for Rustic {
    fn ingest(&mut self, source: &Path) {
        self.0.run(source, &["--no-progress", "backup", "--as-path", "/", "."]);
    }

    fn restore(&mut self, back: &Path) -> PathBuf {
        self.0.run(back, &["--no-progress", "restore", "latest", "."]);
        back.to_owned()
    }

    fn stored(&self) -> u64 {
        size(&self.0.repository)
    }
}

struct Cairn {
    node: Node,
    ingested: usize,
}

/// A new node.
pub fn cairn(_: &Path) -> Box<dyn Archiver> {
    let node = Node::start_with(Setup { patience: Some(PATIENCE * 4), ..Setup::default() });
    Box::new(Cairn { node, ingested: 0 })
}

impl Cairn {
    fn succeed(&self, arguments: &[&str]) {
        let mut command: Command = self.node.cairn(arguments);
        let output = command::run_for(&mut command, PATIENCE);
        assert!(output.status.success(), "{command:?}\n{}", command::transcript(&output));
    }
}

impl Archiver for Cairn {
    /// A folder of its own for each, as the others have a snapshot for each: what was removed must not stay. A snapshot
    /// belongs to it as well, so that no work is left for later.
    fn ingest(&mut self, source: &Path) {
        self.ingested += 1;
        self.succeed(&["put", &source.display().to_string(), &format!("/{}", self.ingested)]);
        self.succeed(&["snapshot"]);
    }

    fn restore(&mut self, back: &Path) -> PathBuf {
        self.succeed(&["get", &format!("/{}", self.ingested), &back.join("tree").display().to_string()]);
        back.join("tree")
    }

    fn stored(&self) -> u64 {
        // What is kept free for deleting on a full disk is no part of what was stored.
        let reserve = std::fs::metadata(self.node.data().join("own/reserve")).map_or(0, |meta| meta.len());
        size(&self.node.data()) - reserve
    }
}
