//! Snapshots, differences, and the ways back.

use std::fs;

use crate::home::{Home, assert_refused, noise};

#[test]
fn a_path_is_brought_back_and_undo_takes_that_back() {
    let home = Home::new();
    home.write("d/f", "one");
    home.write("d/gone", "gone");
    home.say(&["put", "d", "/"]);
    let name = home.say(&["snapshot", "good"]);
    home.write("d/f", "changed");
    home.say(&["put", "d/f", "/d/f"]);
    home.write("new", "new");
    home.say(&["put", "new", "/d/new"]);

    let said = home.say(&["diff", "good"]);
    assert!(said.contains("M /d/f") && said.contains("A /d/new") && !said.contains("gone"), "{said}");
    let changes = home.json(&["diff", "good", "--path", "/d/new"]);
    assert_eq!((changes.len(), &changes[0]["change"]), (1, &"added".into()));
    assert_eq!(home.say(&["cat", &format!("/d/f@{}", name.trim())]), "one");

    home.say(&["restore", "/d@good"]);
    assert_eq!(home.say(&["cat", "/d/f"]), "one");
    assert_refused(&home.run(&["cat", "/d/new"]), 66, &[]);
    home.say(&["undo"]);
    assert_eq!(home.say(&["cat", "/d/f", "/d/new"]), "changednew");
    home.say(&["undo"]);
    assert_eq!(home.say(&["cat", "/d/f"]), "one");
    home.say(&["restore", "/d/f@good", "--to", "/elsewhere"]);
    assert_eq!(home.say(&["cat", "/elsewhere"]), "one");
    assert_refused(&home.run(&["restore", "/d/f"]), 64, &["cairn history"]);
    let revisions = home.json(&["history", "/d/f"]);
    assert!(revisions.len() >= 3 && revisions[0]["change"] == "added", "{revisions:?}");
}

#[test]
fn what_only_forgotten_snapshots_needed_is_collected() {
    let home = Home::new();
    let bytes = noise(600_000);
    home.write("old", &bytes[..300_000]);
    home.write("new", &bytes[300_000..]);
    home.say(&["put", "old", "/f"]);
    home.say(&["snapshot", "first"]);
    home.say(&["put", "new", "/f"]);
    home.say(&["snapshot", "second"]);
    assert_refused(&home.run(&["forget", "third"]), 66, &["cairn history"]);
    assert_refused(&home.run(&["forget", "2020-01-01T00:00:00Z"]), 66, &[]);
    home.say(&["gc"]);
    assert_eq!(home.json(&["gc"])[0]["blocks_removed"], 0);

    let old = home.json(&["why", "--blocks"]);
    let data = |rows: &[serde_json::Value], snapshot: &str| {
        rows.iter().filter(|row| row["role"] == "data" && row["path"] == "/f" && row["snapshot"] == snapshot).count()
    };
    let name = |label: &str| {
        let rows = home.json(&["history"]);
        let row = rows.iter().find(|row| row["label"] == label).expect("a snapshot with this label").clone();
        row["name"].as_str().expect("a name").to_owned()
    };
    let first = name("first");
    assert!(data(&old, &first) >= 1, "{old:?}");

    home.say(&["forget", "first", "--automatic"]);
    let unneeded = home.json(&["why", "--blocks"]);
    let garbage: Vec<_> = unneeded.iter().filter(|row| row["role"] == "nothing").collect();
    assert!(!garbage.is_empty(), "{unneeded:?}");
    let id = garbage[0]["block"].as_str().expect("an id");
    assert!(home.say(&["why", "--block", id]).contains("nothing"));
    assert!(home.json(&["gc"])[0]["blocks_removed"].as_u64() >= Some(garbage.len() as u64));
    assert_refused(&home.run(&["why", "--block", id]), 66, &[]);
    let left = home.json(&["why", "--blocks"]);
    assert!(left.iter().all(|row| row["role"] != "nothing"), "{left:?}");
    assert_refused(&home.run(&["cat", "/f@first"]), 66, &[]);
    assert!(home.run(&["cat", "/f@second"]).status.success());
}

#[test]
fn a_restore_is_seen_through_the_mount_at_once() {
    let home = Home::new();
    home.say(&["up", "--detach"]);
    let file = home.join("Cairn/f");
    fs::write(&file, "one").expect("write");
    home.say(&["snapshot", "good"]);
    fs::write(&file, "two, longer").expect("write");
    fs::write(home.join("Cairn/new"), "x").expect("write");
    assert_eq!(fs::read_to_string(&file).expect("read"), "two, longer");
    home.say(&["restore", "/@good"]);
    assert_eq!(fs::read_to_string(&file).expect("read"), "one");
    assert!(!home.join("Cairn/new").exists());
}

#[test]
fn a_name_with_an_at_sign_is_a_name_first() {
    let home = Home::new();
    home.write("f@good", "literally");
    home.say(&["put", "f@good", "/"]);
    home.say(&["snapshot", "good"]);
    assert_eq!(home.say(&["cat", "/f@good"]), "literally");
    assert_eq!(home.say(&["cat", "/f@good@good"]), "literally");
    assert_eq!(home.say(&["cat", "/f@good", "--at", "latest"]), "literally");
}

#[test]
fn gc_gives_space_back_and_keeps_what_snapshots_need() {
    let home = Home::new();
    home.write("keep", vec![7; 1 << 20]);
    home.say(&["put", "keep", "/keep"]);
    home.say(&["snapshot", "s"]);
    home.write("drop", noise(4 << 20));
    home.say(&["put", "drop", "/drop"]);
    home.say(&["put", "keep", "/drop"]);
    let dry = &home.json(&["gc", "--dry-run"])[0];
    assert_eq!(dry["dry_run"], true);
    home.say(&["gc"]);
    assert_eq!(home.run(&["cat", "/keep@s"]).stdout.len(), 1 << 20);
    let report = home.json(&["check", "--data"]);
    assert_eq!(report.last().expect("a report")["findings"], 0, "{report:?}");
}

#[test]
fn damage_is_found_and_named_and_nothing_wrong_is_printed() {
    let home = Home::new();
    let bytes = noise(3 << 20);
    home.write("large", &bytes);
    home.write("small", "small");
    home.say(&["put", "large", "small", "/"]);
    let why = &home.json(&["why", "/large"])[0];
    assert_eq!((&why["state"], &why["blocks"]), (&"here".into(), &why["blocks_here"]));
    home.say(&["down"]);
    let log = home.data().join("own/log");
    let segment = fs::read_dir(&log).expect("listed").next().expect("one").expect("readable").path();
    let mut segment_bytes = fs::read(&segment).expect("read");
    segment_bytes[400_000] ^= 1;
    fs::write(&segment, segment_bytes).expect("write");
    let checked = home.run(&["check", "--data"]);
    assert_refused(&checked, 65, &[]);
    assert!(String::from_utf8_lossy(&checked.stdout).contains("/large"), "{}", crate::home::transcript(&checked));
    let read = home.run(&["cat", "/large"]);
    assert_ne!(read.status.code(), Some(0));
    assert!(bytes.starts_with(&read.stdout), "wrong bytes were printed");
    assert_eq!(home.say(&["cat", "/small"]), "small");
    assert_eq!(home.json(&["why", "/large"])[0]["state"], "damaged");
}
