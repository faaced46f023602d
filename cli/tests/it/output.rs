//! What programs read: JSON, exit codes, man pages, completions.

use crate::home::{Home, assert_refused};

#[test]
fn every_printing_command_has_json() {
    let home = Home::new();
    home.write("f", "x");
    assert_eq!(home.json(&["put", "f", "/f"])[0]["files"], 1);
    assert_eq!(home.json(&["get", "/f", "out"])[0]["bytes"], 1);
    assert_eq!(home.json(&["ls"])[0]["kind"], "file");
    let snapshot = &home.json(&["snapshot", "label"])[0];
    assert_eq!(snapshot["label"], "label");
    assert!(home.json(&["history"]).iter().any(|listed| listed["name"] == snapshot["name"]));
    let status = &home.json(&["status"])[0];
    assert_eq!(status["state"], "ready");
    assert!(status["store"]["log_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    assert_eq!(home.json(&["why", "/f"])[0]["survives_losses"], 0);
    assert_eq!(home.json(&["check"]).last().expect("a report")["findings"], 0);
    assert_eq!(home.json(&["gc", "--dry-run"])[0]["dry_run"], true);
    assert_eq!(home.json(&["key", "show"])[0]["locked"], false);
    assert!(home.json(&["config"]).iter().any(|value| value["key"] == "volume" && value["origin"] == "default"));
    assert!(home.json(&["debug", "show", "heads"])[0].is_array());
    assert_eq!(home.json(&["version"])[0]["version"], env!("CARGO_PKG_VERSION"));
    let doctor = home.run(&["doctor", "--json"]);
    let first = String::from_utf8_lossy(&doctor.stdout).lines().next().map(str::to_owned).expect("a check");
    assert!(serde_json::from_str::<serde_json::Value>(&first).expect("JSON")["verdict"].is_string());
}

#[test]
fn errors_are_json_where_the_answer_would_be() {
    let home = Home::new();
    let output = home.run(&["cat", "/nope", "--json"]);
    assert_refused(&output, 66, &[]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((&error["error"]["kind"], &error["error"]["exit_code"]), (&"not-found".into(), &66.into()));
    assert!(error["error"]["hint"].is_string());
}

#[test]
fn origins_of_settings_are_told() {
    let home = Home::new();
    home.write(".config/cairn/config.toml", "workers = 3\nquota = \"7G\"\n");
    let shown = |arguments: &[&str], key: &str| {
        let mut command = home.command(&[&["config", "--json"], arguments].concat());
        let output = command.env("CAIRN_QUOTA", "9G").output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let values = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let value = values.into_iter().find(|value| value["key"] == key).expect("the key");
        (
            value["value"].as_str().map(str::to_owned).expect("a value"),
            value["origin"].as_str().map(str::to_owned).expect("an origin"),
        )
    };
    assert_eq!(shown(&[], "workers"), ("3".to_owned(), "file".to_owned()));
    assert_eq!(shown(&[], "quota"), ("9G".to_owned(), "environment".to_owned()));
    assert_eq!(shown(&["--quota", "1G"], "quota"), ("1G".to_owned(), "flag".to_owned()));
    assert_eq!(shown(&[], "log").1, "default");
}

#[test]
fn help_man_pages_and_completions_are_there() {
    let home = Home::new();
    assert!(home.say(&["help", "exit-codes"]).contains("75"));
    assert!(home.say(&["exit-codes"]).contains("130"));
    assert!(home.say(&["help", "put"]).contains("SOURCE"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.say(&["completions", shell]).contains("snapshot"));
    }
    home.say(&["man", "man"]);
    let page = |name: &str| std::fs::read_to_string(home.join("man").join(name)).expect("a page");
    assert!(page("cairn.1").contains("Exit codes"));
    assert!(page("cairn-put.1").contains("SOURCE") && page("mount.fuse.cairn.8").contains("data_dir"));
    assert!(!home.join("man/cairn-daemon.1").exists());
}
