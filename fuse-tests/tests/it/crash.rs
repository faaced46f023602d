//! `kill -9` at random moments, and what is there afterwards.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cairn_fuse_tests::{History, Node, Random, Scale, command, figure, promise};

/// Enough to let the workers be in each other's way, few enough that each gets somewhere on two cores.
const WORKERS: usize = 3;
/// A node works at least this long before it is killed, so that the workload moves on.
const LIFE_MS_MIN: u64 = 30;
/// And at most this much longer: flushes and snapshots happen in between.
const LIFE_MS_MORE: u64 = 700;

#[test]
fn every_kill_leaves_a_prefix_of_history_with_everything_fsynced() {
    promise!("A crash leaves a prefix of history");
    let kills = Scale::pick(12, 100);
    let seed = Random::seed_of_this_run();
    let mut random = Random::new(seed);
    let mut node = Node::start();
    let mut history = History::new(&node.mount(), WORKERS, seed).expect("folders for the workers");
    let (mut kept_before, mut kept, mut promised, mut during_start) = (Vec::new(), 0, 0, 0);
    let mut slowest = Duration::ZERO;
    for kill in 1..=kills {
        let life = Duration::from_millis(LIFE_MS_MIN + random.below(LIFE_MS_MORE));
        let killer = node.killer();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(life);
                killer.kill();
            });
            history.work(&AtomicBool::new(false))
        });
        node.kill();
        outcome.unwrap_or_else(|e| panic!("seed {seed}, kill {kill}: {e}\n{}", node.log()));
        // A recovery that is killed must be repeatable.
        if random.below(4) == 0 {
            during_start += u32::from(node.up_and_kill(Duration::from_millis(random.below(150))));
        }
        slowest = slowest.max(node.up());
        let verdict =
            history.judge(&mut kept_before).unwrap_or_else(|e| panic!("seed {seed}, kill {kill}: {e}\n{}", node.log()));
        kept += verdict.kept;
        promised += verdict.promised;
    }
    assert!(promised > 0 && kept > kills * 10, "too little happened to judge: {kept} steps kept, {promised} promised");
    figure!(
        "{kills} kills and {during_start} more during recovery: {kept} steps kept, {promised} of them promised, 0 lost; slowest start {slowest:.2?}"
    );

    // The index is built again from the log.
    let before = node.everything();
    node.down();
    std::fs::remove_dir_all(node.index()).expect("an index to delete");
    let took = node.up();
    let after = node.everything();
    assert!(before.differences(&after, 5).is_empty(), "{:#?}", before.differences(&after, 5));
    node.say(&["check", "--data"]);
    figure!("index deleted: everything is back, start took {took:.2?}");
}

#[test]
fn what_was_fsynced_right_before_a_kill_is_there() {
    promise!("What fsync has confirmed survives");
    let mut node = Node::start();
    for round in 0..Scale::pick(5, 25) {
        let folder = node.mount().join(format!("new{round}"));
        command::python(
            &node.mount(),
            &format!(
                "import os
os.mkdir('new{round}')
f = os.open('new{round}/temporary', os.O_RDWR | os.O_CREAT)
os.write(f, b'{round}' * 100_000)
os.fsync(f)
os.rename('new{round}/temporary', 'new{round}/final')
os.fsync(f)"
            ),
        );
        node.kill();
        node.up();
        let expected = round.to_string().repeat(100_000);
        let found = std::fs::read(folder.join("final")).map(|bytes| (bytes.len(), bytes == expected.as_bytes()));
        let right = matches!(found, Ok((_, true)));
        let listing = command::shell(&node.mount(), "ls -lR --full-time | tail -30");
        assert!(right, "round {round}: {found:?} of {} bytes in\n{listing}\n{}", expected.len(), node.log());
        assert!(!folder.join("temporary").exists(), "round {round}: the old name is back");
    }
}

#[test]
fn a_dead_nodes_mount_point_is_taken_over() {
    promise!("Unmounting always works");
    let mut node = Node::start();
    std::fs::write(node.mount().join("f"), b"kept").expect("write");
    let open = std::fs::File::open(node.mount().join("f")).expect("open");
    open.sync_all().expect("fsync");
    node.kill();
    assert!(rustix::fs::statvfs(node.mount()).is_err(), "the dead mount still answers");
    let took = node.up();
    assert_eq!(std::fs::read(node.mount().join("f")).expect("read"), b"kept");
    // A handle of the dead mount fails, it doesn't hang.
    assert!(open.sync_all().is_err());
    figure!("takeover of a dead mount: {took:.2?}");
    node.down();
}

#[test]
fn a_busy_mount_is_unmounted_all_the_same() {
    promise!("Unmounting always works");
    let mut node = Node::start();
    std::fs::create_dir(node.mount().join("d")).expect("mkdir");
    let mut inside =
        command::command(&node.mount().join("d"), "sleep").arg("60").spawn().expect("a process inside the mount");
    let open = std::fs::File::create(node.mount().join("open")).expect("create");
    let started = Instant::now();
    node.down();
    let took = started.elapsed();
    inside.kill().expect("our own process");
    inside.wait().expect("its end");
    drop(open);
    assert!(took < Duration::from_secs(10), "unmounting took {took:?}");
    assert!(is_empty(&node.mount()));
    node.up();
    assert!(node.mount().join("d").is_dir());
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}
