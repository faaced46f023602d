//! O_APPEND: each write lands at the end as it is at that moment.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;

use cairn_fuse_tests::{Ground, promise};

#[test]
fn appending_handles_never_overwrite_each_other() {
    promise!("Appends never overlap");
    let ground = Ground::new();
    let path = ground.path("log");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut file = OpenOptions::new().append(true).create(true).open(path).expect("open");
                for line in 0..250 {
                    file.write_all(format!("{writer} {line:04}\n").as_bytes()).expect("append");
                }
            });
        }
    });
    let text = std::fs::read_to_string(&path).expect("read");
    assert_eq!(text.lines().count(), 1_000);
    for writer in 0..4 {
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{writer} ")));
        assert!(lines.eq((0..250).map(|line| format!("{line:04}"))), "writer {writer} lost its order");
    }
}

#[test]
fn processes_that_append_lose_nothing() {
    promise!("Appends never overlap");
    let ground = Ground::new();
    ground.shell("for w in 1 2 3; do (for i in $(seq 200); do echo \"$w $i\" >> log; done) & done; wait");
    assert_eq!(ground.shell("wc -l < log").trim(), "600");
    assert_eq!(ground.shell("sort log | uniq | wc -l").trim(), "600");
}

#[test]
fn a_truncated_log_goes_on_at_its_new_end() {
    let ground = Ground::new();
    let mut log = OpenOptions::new().append(true).create(true).open(ground.path("log")).expect("open");
    log.write_all(b"a long first line\n").expect("append");
    log.set_len(2).expect("truncate");
    log.write_all(b"!").expect("append");
    assert_eq!(std::fs::read(ground.path("log")).expect("read"), b"a !");
    // Linux: a positioned write on an appending handle appends as well.
    log.write_at(b"?", 0).expect("pwrite");
    assert_eq!(std::fs::read(ground.path("log")).expect("read"), b"a !?");
}
