//! Passphrases, and 24 words that bring everything back.

use std::fs;

use crate::home::{Home, assert_refused, transcript};

#[test]
fn a_wrong_passphrase_opens_nothing_and_breaks_nothing() {
    let home = Home::new();
    home.write("f", "kept");
    home.say(&["put", "f", "/f"]);
    let (right, wrong) = (home.passphrase("right", "correct horse"), home.passphrase("wrong", "battery"));
    home.say(&["key", "passphrase", "set", "--new-passphrase-file", &right]);
    home.say(&["down"]);
    assert_refused(&home.run(&["ls", "--passphrase-file", &wrong]), 77, &["passphrase"]);
    assert_refused(&home.run(&["ls"]), 77, &["passphrase", "--passphrase-file"]);
    assert_eq!(home.json(&["key", "show"])[0]["locked"], true);
    assert_eq!(home.say(&["cat", "/f", "--passphrase-file", &right]), "kept");
    home.say(&["down"]);
    // Standard input is a way as well, and needs no file.
    let typed = home.run_with_input(&["cat", "/f", "--passphrase-file", "-"], b"correct horse\n");
    assert_eq!(typed.stdout, b"kept", "{}", transcript(&typed));
    home.say(&["down"]);
    home.say(&["key", "passphrase", "change", "--passphrase-file", &right, "--new-passphrase-file", &wrong]);
    assert_refused(&home.run(&["ls", "--passphrase-file", &right]), 77, &["passphrase"]);
    home.say(&["key", "passphrase", "remove", "--passphrase-file", &wrong]);
    assert_eq!(home.say(&["cat", "/f"]), "kept");
    assert_refused(&home.run(&["key", "passphrase", "remove"]), 73, &["no passphrase"]);
}

#[test]
fn a_passphrase_that_others_can_read_is_refused() {
    let home = Home::new();
    let open = home.write("open", "secret\n");
    let output = home.run(&["key", "passphrase", "set", "--new-passphrase-file", open.to_str().expect("text")]);
    // There is no key yet; that is said first.
    assert_refused(&output, 66, &["no key"]);
    home.say(&["ls"]);
    let output = home.run(&["key", "passphrase", "set", "--new-passphrase-file", open.to_str().expect("text")]);
    assert_refused(&output, 77, &["chmod 600"]);
}

#[test]
fn the_words_and_the_store_bring_everything_back() {
    let home = Home::new();
    home.write("tree/f", "precious");
    home.say(&["put", "tree", "/"]);
    home.say(&["put", "tree", "/", "--volume", "photos"]);
    home.say(&["snapshot", "s"]);
    home.say(&["down"]);
    assert_refused(&home.run(&["key", "phrase"]), 64, &["--yes"]);
    let words = home.say(&["key", "phrase", "--yes"]);
    assert_eq!(words.split_whitespace().count(), 24);

    let other = Home::new();
    fs::create_dir_all(other.data()).expect("mkdir");
    let copied = std::process::Command::new("cp").arg("-a").arg(home.data().join("own")).arg(other.data()).status();
    assert!(copied.expect("cp runs").success());
    let wrong = words.replacen(words.split(' ').next().expect("a word"), "zoo", 1);
    assert_refused(&other.run_with_input(&["key", "restore"], wrong.as_bytes()), 64, &["words"]);
    let restored = other.run_with_input(&["key", "restore"], words.to_uppercase().as_bytes());
    assert!(restored.status.success(), "{}", transcript(&restored));
    assert_eq!(other.say(&["cat", "/tree/f"]), "precious");
    assert_eq!(other.say(&["cat", "/tree/f@s"]), "precious");
    assert_eq!(other.say(&["cat", "/tree/f", "--volume", "photos"]), "precious");
    assert_refused(&other.run_with_input(&["key", "restore"], words.as_bytes()), 73, &["already"]);
}

#[test]
fn secrets_are_in_no_log_and_in_no_argument() {
    let home = Home::new();
    home.say(&["ls", "--log", "trace"]);
    let right = home.passphrase("right", "correct-horse-battery");
    home.say(&["key", "passphrase", "set", "--new-passphrase-file", &right]);
    home.say(&["down"]);
    home.say(&["ls", "--log", "trace", "--passphrase-file", &right]);
    let words = home.say(&["key", "phrase", "--yes", "--passphrase-file", &right]);
    let pid = home.json(&["status"])[0]["pid"].as_i64().expect("a process");
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).expect("readable");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let log = fs::read(home.join(".local/state/cairn/node.log")).expect("there is a log");
    let pair: String = words.split(' ').take(2).collect::<Vec<_>>().join(" ");
    for place in [arguments, environment, log] {
        let text = String::from_utf8_lossy(&place).into_owned();
        assert!(!text.contains("correct-horse-battery") && !text.contains(&pair), "{text}");
    }
}

#[test]
fn a_node_leaves_no_core() {
    let home = Home::new();
    home.say(&["ls"]);
    let pid = home.json(&["status"])[0]["pid"].as_i64().expect("a process");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("readable");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}
