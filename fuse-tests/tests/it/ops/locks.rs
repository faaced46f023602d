//! flock, fcntl ranges and open file description locks, between processes.

use std::fs::File;

use cairn_fuse_tests::{Ground, command, promise, skip};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn a_whole_file_lock_keeps_others_out() {
    promise!("Locks stay on this machine");
    let ground = Ground::new();
    File::create(ground.path("f")).expect("create");
    let (first, second) = (File::open(ground.path("f")).expect("open"), File::open(ground.path("f")).expect("open"));
    flock(&first, FlockOperation::LockExclusive).expect("lock");
    assert_fails(flock(&second, FlockOperation::NonBlockingLockExclusive), Errno::AGAIN);
    assert_fails(flock(&second, FlockOperation::NonBlockingLockShared), Errno::AGAIN);
    let blocked = ground.shell("flock -n f true && echo free || echo taken");
    assert_eq!(blocked, "taken\n");
    flock(&first, FlockOperation::LockShared).expect("downgrade");
    flock(&second, FlockOperation::NonBlockingLockShared).expect("share");
    drop(first);
    flock(&second, FlockOperation::NonBlockingLockExclusive).expect("upgrade");
}

#[test]
fn ranges_are_locked_between_processes() {
    promise!("Locks stay on this machine");
    let ground = Ground::new();
    if !command::exists("python3") {
        skip!("python3 is not installed");
    }
    ground.python(
        "import fcntl, os, sys
f = open('f', 'w+b'); f.write(b'x' * 100); f.flush()
fcntl.lockf(f, fcntl.LOCK_EX, 10, 20)
def child(start, length):
    pid = os.fork()
    if pid == 0:
        g = open('f', 'r+b')
        try:
            fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert child(25, 1) == 1, 'an overlapping range was granted'
assert child(0, 20) == 0, 'the range before was refused'
assert child(30, 0) == 0, 'the range behind was refused'
fcntl.lockf(f, fcntl.LOCK_UN, 10, 20)
assert child(25, 1) == 0, 'a released range was refused'
",
    );
}

#[test]
fn a_waiting_process_gets_the_lock_when_its_holder_dies() {
    promise!("Locks stay on this machine");
    let ground = Ground::new();
    let out = ground.shell(
        "touch f
         exec 9<f; flock 9
         (exec 9<&-; flock f echo granted > out) & waiter=$!
         sleep 0.2; [ ! -s out ]
         exec 9<&-
         wait $waiter; cat out",
    );
    assert_eq!(out, "granted\n");
}

#[test]
fn both_kinds_of_locks_ignore_each_other() {
    let ground = Ground::new();
    if !command::exists("python3") {
        skip!("python3 is not installed");
    }
    ground.python(
        "import fcntl, os
f, g = open('f', 'w+b'), open('f', 'r+b')
fcntl.flock(f, fcntl.LOCK_EX)
fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
",
    );
}
