//! The first minute and the last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::home::{Home, transcript};

#[test]
fn the_first_command_makes_the_node_and_says_where_it_is() {
    let home = Home::new();
    assert_eq!(home.json(&["status"])[0]["state"], "new");
    let output = home.run(&["up", "--detach"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    for place in [home.join("Cairn"), home.data()] {
        assert!(said.contains(place.to_str().expect("text")), "{} is not said: {said}", place.display());
    }
    fs::write(home.join("Cairn/f"), "words").expect("the mount takes a write");
    assert_eq!(home.say(&["cat", "/f"]), "words");
    let mode = |path| fs::metadata(home.data().join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("node.key"), mode("run"), mode("")), (0o600, 0o700, 0o700));

    // Again is no failure, and nothing new.
    assert!(home.say(&["up"]).contains("already"));
    home.say(&["down"]);
    assert!(!home.join("Cairn/f").exists(), "the mount is gone");
    assert_eq!(home.json(&["status"])[0]["state"], "stopped");
    home.say(&["down"]);
    assert_eq!(home.say(&["cat", "/f"]), "words", "a command starts the node that it needs");
}

#[test]
fn two_nodes_never_share_a_store() {
    let home = Home::new();
    home.say(&["ls"]);
    let second = home.run(&["daemon"]);
    crate::home::assert_refused(&second, 75, &[]);
    assert!(String::from_utf8_lossy(&second.stdout).contains("in use by another process"));
    home.say(&["ls"]);
}

#[test]
fn many_commands_at_once_start_one_node() {
    let home = Home::new();
    let start = |_| home.command(&["ls"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let commands: Vec<_> = (0..6).map(start).collect();
    for command in commands {
        let output = command.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", transcript(&output));
    }
}

#[test]
fn a_node_of_no_use_ends_by_itself() {
    let home = Home::new();
    home.say(&["ls", "--idle-exit-seconds", "1"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while home.json(&["status"])[0]["state"] != "stopped" {
        // Asking keeps it; not asking ends it.
        std::thread::sleep(std::time::Duration::from_millis(3500));
        assert!(std::time::Instant::now() < deadline, "it is still there");
    }
}

#[test]
fn a_stale_socket_of_a_killed_node_is_replaced() {
    let home = Home::new();
    home.say(&["ls"]);
    let pid = home.json(&["status"])[0]["pid"].as_i64().expect("a process");
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    while std::path::Path::new(&format!("/proc/{pid}/exe")).exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(home.data().join("run/control.sock").exists());
    home.say(&["ls"]);
}
