//! What people do on a disk: clone, unpack, search, compile, remove.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use cairn_fuse_tests::peers::{machine, real_data};
use cairn_fuse_tests::{Scratch, command, speed};

use crate::size::Size;

/// Nothing here takes longer, unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What all are given, prepared on the disk.
pub(crate) struct Programs {
    repository: PathBuf,
    archive: PathBuf,
    package: PathBuf,
    files: usize,
    mib: u64,
    modules: usize,
}

impl Programs {
    /// A repository, an archive and a package, made from what this machine has.
    pub(crate) fn prepare(scratch: &Scratch, size: &Size) -> Programs {
        let (tree, archive) = (scratch.path().join("tree"), scratch.path().join("tree.tar"));
        let bytes = real_data::gather(&tree, size.sources_bytes);
        command::succeed(command::command(&tree, "tar").arg("-cf").arg(&archive).arg("."));
        let git =
            "git init -q . && git add -A . && git -c user.name=bench -c user.email=bench@localhost commit -q -m tree";
        command::shell(&tree, git);
        let files = command::shell(&tree, "git ls-files | wc -l").trim().parse().unwrap_or(0);
        let package = scratch.folder("package");
        write_package(&package, size.modules);
        Programs { repository: tree, archive, package, files, mib: bytes >> 20, modules: size.modules }
    }

    /// What is done, for the page.
    pub(crate) fn describe(&self) -> String {
        format!(
            "`git clone` of a repository with {} files ({} MiB), `tar -x` of the same tree, `grep -r` through it with cold \
             caches, `cargo build` of a crate of {} modules without dependencies, `rm -r` of it all.",
            self.files, self.mib, self.modules
        )
    }

    pub(crate) fn versions(&self) -> Vec<String> {
        [("git", "--version"), ("tar", "--version"), ("cargo", "--version")]
            .into_iter()
            .filter_map(|(program, argument)| machine::version(program, argument))
            .collect()
    }

    /// Does everything in a fresh folder below `dir`, which is gone afterwards. A program that fails there is an error with
    /// its last words.
    pub(crate) fn run(&self, dir: &Path) -> Vec<(&'static str, Result<Duration, String>)> {
        let folder = dir.join("programs");
        fs::create_dir(&folder).expect("a folder to work in");
        let mut took = Vec::new();
        let mut note = |what, program: &str, arguments: &[&str]| {
            let started = Instant::now();
            let mut command = command::command(&folder, program);
            command.args(arguments).env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_NET_OFFLINE", "true");
            let output = command::run_for(&mut command, PATIENCE);
            durable(&folder);
            let elapsed = started.elapsed();
            took.push((what, if output.status.success() { Ok(elapsed) } else { Err(last_words(&output)) }));
        };
        let (repository, archive) = (self.repository.display().to_string(), self.archive.display().to_string());
        note("git clone", "git", &["clone", "-q", "--no-hardlinks", &repository, "clone"]);
        fs::create_dir(folder.join("tree")).expect("a folder to unpack into");
        note("tar -x", "tar", &["-xf", &archive, "-C", "tree"]);
        speed::drop_caches();
        note("grep -r, cold", "sh", &["-c", "grep -rc no-such-word-anywhere tree | wc -l"]);
        if command::exists("cargo") {
            command::succeed(command::command(&folder, "cp").arg("-r").arg(&self.package).arg("package"));
            note("cargo build", "cargo", &["build", "--quiet", "--offline", "--manifest-path", "package/Cargo.toml"]);
        }
        note("rm -r", "rm", &["-r", "clone", "tree"]);
        fs::remove_dir_all(&folder).expect("our own folder");
        took
    }
}

/// The first line of what a failed program said, which names the cause.
fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no word why");
    // Where it happened is our scratch, and nobody's business.
    line.split(' ').filter(|word| !word.contains('/')).collect::<Vec<_>>().join(" ")
}

/// Everybody's writes are on the disk after this: a mount's own by its folder's sync, the disk's by the second.
fn durable(folder: &Path) {
    File::open(folder).and_then(|folder| folder.sync_all()).expect("fsync of a folder");
    rustix::fs::sync();
}

/// A library of modules that call each other, and a program that calls them.
fn write_package(package: &Path, modules: usize) {
    let write = |name: &str, text: String| fs::write(package.join(name), text).expect("a file in our own scratch");
    fs::create_dir(package.join("src")).expect("a folder in our own scratch");
    write(
        "Cargo.toml",
        "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n".to_owned(),
    );
    let declared: String = (0..modules).map(|number| format!("pub mod m{number};\n")).collect();
    write("src/lib.rs", declared);
    for number in 0..modules {
        write(&format!("src/m{number}.rs"), module(number));
    }
    let last = modules - 1;
    write("src/main.rs", format!("fn main() {{\n    println!(\"{{}}\", sample::m{last}::f0(1));\n}}\n"));
}

fn module(number: usize) -> String {
    let function = |f: usize| {
        let below = match number {
            0 => "x".to_owned(),
            _ => format!("crate::m{}::f{f}(x)", number - 1),
        };
        format!(
            "pub fn f{f}(x: u64) -> u64 {{\n    let all: Vec<String> = (0..x % 10).map(|i| format!(\"{{i}}-{f}\")).collect();\n    \
             {below}.wrapping_mul({f} + 3).rotate_left({f}) ^ all.join(\",\").len() as u64\n}}\n"
        )
    };
    (0..20).map(function).collect()
}
