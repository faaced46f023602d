//! A folder with more names than anyone wants.

use std::fs::File;
use std::time::{Duration, Instant};

use cairn_fuse_tests::{Node, Scale, command, figure, promise};

/// The rate of creating is compared between the first and the last such share of all names.
const SHARE: usize = 10;
/// Bars of the acceptance table, for a million names.
const CREATE_RATE_MIN: f64 = 0.7;
const LIST_SECONDS_MAX: f64 = 3.0;
const LIST_LONG_SECONDS_MAX: f64 = 15.0;

#[test]
fn a_large_folder_is_as_quick_at_its_end_as_at_its_start() {
    promise!("Limits");
    let count = Scale::pick(20_000, 1_000_000);
    let mut node = Node::start();
    let folder = node.mount().join("d");
    std::fs::create_dir(&folder).expect("mkdir");
    // Folders next to it show that the machine's speed, not the folder's size, explains a difference.
    let mut rates = Vec::new();
    for share in 0..SHARE {
        let started = Instant::now();
        for i in share * count / SHARE..(share + 1) * count / SHARE {
            File::create(folder.join(format!("name-{i:07}"))).expect("create");
        }
        rates.push((count / SHARE) as f64 / started.elapsed().as_secs_f64());
    }
    let ratio = rates[SHARE - 1] / rates[0];
    figure!(
        "creating {count} names: {:.0}/s at the start, {:.0}/s at the end, ratio {ratio:.2} (bar 0.7)",
        rates[0],
        rates[SHARE - 1]
    );

    // A fresh node: neither its memory nor the kernel's helps.
    node.down();
    node.up();
    let list = |flags: &str, words: &str| {
        let started = Instant::now();
        let mut ls = command::command(&node.mount(), "bash");
        ls.args(["-c", &format!("ls {flags} d | wc -l")]);
        let output = command::run_for(&mut ls, Duration::from_secs(900));
        let lines: usize = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a count");
        let seconds = started.elapsed().as_secs_f64();
        figure!("{words} of {count} names: {seconds:.2} s");
        (lines, seconds)
    };
    let (lines, seconds) = list("-f", "ls -f");
    assert_eq!(lines, count + 2);
    let (long_lines, long_seconds) = list("-l --time-style=+%s", "ls -l");
    assert_eq!(long_lines, count + 1);
    if Scale::of_this_run() == Scale::Full {
        assert!(ratio >= CREATE_RATE_MIN, "ratio {ratio}, rates {rates:?}");
        assert!(seconds < LIST_SECONDS_MAX && long_seconds < LIST_LONG_SECONDS_MAX, "{seconds} s, {long_seconds} s");
    }

    let started = Instant::now();
    for i in 0..count {
        std::fs::remove_file(folder.join(format!("name-{i:07}"))).expect("remove");
    }
    std::fs::remove_dir(&folder).expect("an empty folder");
    figure!("removing them: {:.0}/s", count as f64 / started.elapsed().as_secs_f64());
}
