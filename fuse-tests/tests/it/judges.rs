//! The judges of others: pjdfstest and fsx. Their configuration and verdicts are checked in under `judges/`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::toolbox::{FSX, PJDFSTEST};
use cairn_fuse_tests::tree::digest_of;
use cairn_fuse_tests::{Ground, Node, Scale, Scratch, command, figure, skip};

/// fsx does some 1,500 operations a second; ten times slower than that is stuck.
const FSX_PATIENCE_PER_OPERATION: Duration = Duration::from_millis(7);

fn judges() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("judges")
}

/// Where a judge works: a node of its own, since it remounts, or the foreign directory.
fn bench(node: &Option<Node>) -> PathBuf {
    let foreign = || PathBuf::from(std::env::var_os("CAIRN_TEST_DIR").expect("without a node the directory is named"));
    let base = node.as_ref().map_or_else(foreign, Node::mount);
    let bench = base.join("j");
    std::fs::create_dir_all(&bench).expect("a directory to work in");
    std::fs::set_permissions(&bench, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    bench
}

#[test]
fn pjdfstest_finds_nothing() {
    if !command::is_root() {
        skip!("pjdfstest needs root to become other users");
    }
    let tool = PJDFSTEST.path().unwrap_or_else(|reason| panic!("{reason}"));
    let node = Ground::is_ours().then(|| Node::start_with(Setup { short_path: true, ..Setup::default() }));
    let bench = bench(&node);
    let aside = Scratch::new();
    std::fs::set_permissions(aside.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");

    let run = |remount: bool, only: &[&str]| {
        let mut run = command::command(aside.path(), &tool);
        run.arg("-c").arg(configuration(aside.path(), remount)).arg("-p").arg(&bench).arg("-s").arg("/dev/shm");
        run.args(only).env("PATH", path_with_our_mount(aside.path()));
        command::run(&mut run)
    };
    // The cases about read-only filesystems come first and alone: a file that another case left open for writing in the
    // tool's process would keep the filesystem from becoming read-only. A foreign filesystem isn't remounted at all: it may
    // be the one that everything here lives on.
    let read_only = Ground::is_ours().then(|| run(true, &["erofs"]));
    let others = run(false, &[]);
    let _ = std::fs::remove_dir_all(&bench);
    let outputs: Vec<_> = std::iter::once(others).chain(read_only).collect();
    let texts: Vec<_> = outputs.iter().map(|output| String::from_utf8_lossy(&output.stdout)).collect();
    let all = || outputs.iter().map(command::transcript).collect::<Vec<_>>().join("\n");
    let cases: BTreeMap<_, _> = texts.iter().flat_map(|text| cases(text)).collect();
    let named = |verdict| -> BTreeSet<&str> { cases.iter().filter(|(_, v)| **v == verdict).map(|(n, _)| *n).collect() };
    let (passed, failed, skipped) = (named("ok"), named("FAILED"), named("skipped"));
    figure!("pjdfstest: {} passed, {} failed, {} skipped (bar: 0 failed)", passed.len(), failed.len(), skipped.len());
    assert!(failed.is_empty(), "{}\nfailed: {failed:#?}", all());
    assert!(passed.len() > 300, "too few cases ran\n{}", all());
    if Ground::is_ours() {
        let text = std::fs::read_to_string(judges().join("pjdfstest.skips")).expect("the list of skips");
        let listed: BTreeSet<_> =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": ")).collect();
        for (case, reason) in &listed {
            cairn_fuse_tests::report::left_out("pjdfstest", &format!("{case}: {reason}"));
        }
        let listed: BTreeSet<_> = listed.into_iter().map(|(case, _)| case).collect();
        assert_eq!(skipped, listed, "the skips (left) are not those that judges/pjdfstest.skips explains (right)");
    }
}

/// Name and verdict of each case.
fn cases(text: &str) -> BTreeMap<&str, &str> {
    let cases = text.lines().filter(|line| line.contains("::") && !line.starts_with(char::is_whitespace));
    cases.filter_map(|line| line.split_once(' ')).map(|(name, verdict)| (name, verdict.trim())).collect()
}

fn configuration(aside: &Path, remount: bool) -> PathBuf {
    let text = std::fs::read_to_string(judges().join("pjdfstest.toml")).expect("the configuration");
    let path = aside.join(format!("pjdfstest-{remount}.toml"));
    std::fs::write(&path, text.replace("allow_remount = true", &format!("allow_remount = {remount}")))
        .expect("a copy of it");
    path
}

fn path_with_our_mount(aside: &Path) -> std::ffi::OsString {
    let shim = aside.join("mount");
    std::fs::copy(judges().join("mount.sh"), &shim).expect("a copy of the script");
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut path = aside.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

#[test]
fn fsx_finds_no_difference() {
    let tool = FSX.path().unwrap_or_else(|reason| panic!("{reason}"));
    // In short rounds: fsx never gives back what it maps, and the kernel goes over all of that with each truncation.
    let (seeds, rounds, operations) = Scale::pick((2, 2, 10_000), (5, 50, 20_000));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let started = Instant::now();
    let next = AtomicU32::new(1);
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed <= seeds) {
            fsx(&tool, seed, rounds, operations);
        }
    };
    std::thread::scope(|scope| (0..Scale::pick(1, cores)).for_each(|_| drop(scope.spawn(work))));
    let total = seeds * rounds * operations;
    figure!(
        "fsx: {total} operations of {seeds} seeds, 0 differences, {} remounts, {:.0} operations/s",
        seeds * rounds,
        f64::from(total) / started.elapsed().as_secs_f64()
    );
}

/// One seed: rounds on one file, with a remount after each.
fn fsx(tool: &Path, seed: u32, rounds: u32, operations: u32) {
    let mut node = Ground::is_ours()
        .then(|| Node::start_with(Setup { patience: Some(Duration::from_secs(12 * 3600)), ..Setup::default() }));
    let file = bench(&node).join(format!("fsx-{seed}"));
    let artifacts = Scratch::new();
    for round in 1..=rounds {
        let mut run = Command::new(tool);
        run.arg("-f").arg(judges().join("fsx.toml")).arg("-P").arg(artifacts.path());
        run.args(["-N", &operations.to_string(), "-S", &(seed * 1_000 + round).to_string()]).arg(&file);
        let output = command::run_for(&mut run, FSX_PATIENCE_PER_OPERATION * operations + command::PATIENCE);
        assert!(output.status.success(), "seed {seed}, round {round}\n{}", command::transcript(&output));
        if let Some(node) = &mut node {
            let digest = |path: &Path| digest_of(&std::fs::read(path).expect("the file that fsx left"));
            let before = digest(&file);
            node.down();
            node.up();
            assert_eq!(digest(&file), before, "a remount changed what fsx left: seed {seed}, round {round}");
        }
    }
    std::fs::remove_file(&file).expect("our own file");
}
