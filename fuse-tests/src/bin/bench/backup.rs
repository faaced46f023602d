//! `put` and `get` of at least a gibibyte of real data, beside restic's `backup` and `restore` of the same.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::tree::assert_same;
use cairn_fuse_tests::{Node, Scratch, command, speed};

/// Real data that Linux machines have: programs, libraries, headers, text.
const TREES: [&str; 6] = ["/usr/include", "/usr/share/doc", "/usr/bin", "/usr/lib/gcc", "/usr/share", "/usr/lib"];
/// The amount that is asked for; what is taken is at most one tree more.
const BYTES_MIN: u64 = 1 << 30;
/// Large machines have large trees: no more than this is copied.
const BYTES_MAX: u64 = 3 << 30;

const PATIENCE: Duration = Duration::from_secs(3600);

/// Measures both and prints a table.
pub(crate) fn run() {
    let scratch = Scratch::new();
    let source = scratch.path().join("source");
    let bytes = gather(&source);
    let mut node = Node::start_with(Setup { patience: Some(PATIENCE * 4), ..Setup::default() });
    let cairn = cairn(&node, &source, &scratch.path().join("from-cairn"));
    node.down();
    // What is kept free for deleting on a full disk is no part of what was stored.
    let stored = size(&node.data()) - std::fs::metadata(node.data().join("own/reserve")).map_or(0, |meta| meta.len());
    assert_same(&source, &scratch.path().join("from-cairn"));
    println!("  {:<10} {:>10} {:>10} {:>12}", "", "in MiB/s", "out MiB/s", "stored MiB");
    row("cairn", bytes, cairn, stored);
    if !command::exists("restic") {
        println!("  restic is not installed: nothing to compare with");
        return;
    }
    let repository = scratch.path().join("restic");
    let restic = restic(&repository, &source, &scratch.path().join("from-restic"));
    row("restic", bytes, restic, size(&repository));
    println!(
        "  {:<10} {:>10.2} {:>10.2}   of {} MiB",
        "ratio",
        restic.0.as_secs_f64() / cairn.0.as_secs_f64(),
        restic.1.as_secs_f64() / cairn.1.as_secs_f64(),
        bytes >> 20
    );
}

fn cairn(node: &Node, source: &Path, back: &Path) -> (Duration, Duration) {
    let put = timed(node.cairn(&["put", &source.display().to_string(), "/source"]));
    let get = timed(node.cairn(&["get", "/source", &back.display().to_string()]));
    (put, get)
}

fn restic(repository: &Path, source: &Path, back: &Path) -> (Duration, Duration) {
    let restic = |arguments: &[&str]| {
        let mut command = command::command(source, "restic");
        command.arg("-q").arg("--no-cache").arg("-r").arg(repository).args(arguments).env("RESTIC_PASSWORD", "bench");
        command
    };
    command::succeed(&mut restic(&["init"]));
    let backup = timed(restic(&["backup", "."]));
    let restore = timed(restic(&["restore", "latest", "--target", &back.display().to_string()]));
    (backup, restore)
}

/// Time of a command that starts with cold caches and ends with everything on the disk.
fn timed(mut command: std::process::Command) -> Duration {
    speed::drop_caches();
    let started = Instant::now();
    let output = command::run_for(&mut command, PATIENCE);
    assert!(output.status.success(), "{command:?}\n{}", command::transcript(&output));
    rustix::fs::sync();
    started.elapsed()
}

/// Copies trees until there is enough; gives the bytes.
fn gather(target: &Path) -> u64 {
    std::fs::create_dir(target).expect("a folder in our own scratch");
    for (index, tree) in TREES.iter().enumerate().filter(|(_, tree)| Path::new(tree).is_dir()) {
        let have = size(target);
        if have >= BYTES_MIN {
            break;
        }
        if have + size(Path::new(tree)) <= BYTES_MAX {
            let to: PathBuf = target.join(format!("{index}"));
            command::succeed(command::command(target, "cp").arg("-a").arg(tree).arg(to));
        }
    }
    size(target)
}

fn size(path: &Path) -> u64 {
    let text =
        command::succeed(command::command(Path::new("/"), "du").args(["-s", "--apparent-size", "-B1"]).arg(path));
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn row(name: &str, bytes: u64, (put, get): (Duration, Duration), stored: u64) {
    let rate = |took: Duration| bytes as f64 / 1_048_576.0 / took.as_secs_f64();
    println!("  {name:<10} {:>10.0} {:>10.0} {:>12.0}", rate(put), rate(get), stored as f64 / 1_048_576.0);
}
