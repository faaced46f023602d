//! What is linked: licences, sources and versions, by `deny.toml`, without the tool that it is written for.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_fuse_tests::{command, figure};
use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is one up").to_path_buf()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Everything between the quotes of a line.
fn quoted(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

/// `deny.toml`'s list of a key, line by line.
fn list<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let start = format!("\n{key} = [\n");
    let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("deny.toml has no list `{key}`"));
    rest.lines().take_while(|line| *line != "]").filter(|line| !line.trim_start().starts_with('#')).collect()
}

/// A version's numbers; what follows a dash or a plus doesn't count here.
fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|part| part.parse().unwrap_or_else(|_| panic!("a version: {version}"))).collect()
}

/// Name, version and source of every package of a lock file.
fn locked(lock: &str) -> Vec<(String, String, Option<String>)> {
    let text = read(lock);
    let field = |package: &str, key: &str| {
        let line = package.lines().find(|line| line.starts_with(&format!("{key} = ")))?;
        quoted(line).first().map(|value| (*value).to_owned())
    };
    let packages = text.split("[[package]]").skip(1);
    let read = |package: &str| Some((field(package, "name")?, field(package, "version")?, field(package, "source")));
    packages.map(|package| read(package).expect("a name and a version")).collect()
}

const LOCKS: [&str; 2] = ["Cargo.lock", "fuzz/Cargo.lock"];

#[test]
fn nothing_is_linked_below_its_floor() {
    let deny = read("deny.toml");
    let floors = list(&deny, "deny");
    assert!(floors.len() >= 10, "{floors:?}");
    for lock in LOCKS {
        let packages = locked(lock);
        for line in &floors {
            let banned = quoted(line)[0];
            let (name, floor) = banned.split_once(":<").map_or((banned, None), |(name, floor)| (name, Some(floor)));
            for (_, version, _) in packages.iter().filter(|(of, _, _)| of == name) {
                let floor = floor.unwrap_or_else(|| panic!("{lock}: {name} must not be linked"));
                assert!(numbers(version) >= numbers(floor), "{lock}: {name} {version} is below {floor}");
            }
        }
    }
}

#[test]
fn everything_comes_from_one_registry_or_from_here() {
    for lock in LOCKS {
        let packages = locked(lock);
        let mut sources: Vec<_> = packages.iter().filter_map(|(_, _, source)| source.clone()).collect();
        sources.sort();
        sources.dedup();
        assert_eq!(sources.len(), 1, "{lock}: {sources:?}");
        assert!(sources[0].starts_with("registry+"), "{lock}: {sources:?}");
        let ours = packages.iter().filter(|(_, _, source)| source.is_none());
        for (name, _, _) in ours {
            assert!(name.starts_with("cairn-"), "{lock}: {name} has no source");
        }
    }
}

/// What is really built, each as `name vVersion`. The metadata also has what an optional dependency that is off would bring.
fn linked(manifest: &str) -> HashSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = command::succeed(
        Command::new(cargo)
            .args(["tree", "--offline", "--workspace", "--all-features", "--prefix", "none", "--format", "{p}"])
            .args(["--target", "x86_64-unknown-linux-gnu", "--manifest-path"])
            .arg(workspace().join(manifest)),
    );
    let first_two = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    tree.lines().map(first_two).filter(|line| !line.is_empty()).collect()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn every_licence_is_allowed_and_no_version_is_left_open() {
    let deny = read("deny.toml");
    let allowed: Vec<_> = list(&deny, "allow").into_iter().flat_map(quoted).collect();
    let mut count = 0;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let text = command::succeed(
            Command::new(cargo)
                .args(["metadata", "--offline", "--all-features", "--filter-platform", "x86_64-unknown-linux-gnu"])
                .args(["--format-version", "1", "--manifest-path"])
                .arg(workspace().join(manifest)),
        );
        let metadata: Value = serde_json::from_str(&text).expect("cargo prints JSON");
        let linked = linked(manifest);
        for package in metadata["packages"].as_array().expect("packages") {
            let version = format!("{} v{}", text_of(&package["name"]), text_of(&package["version"]));
            if !linked.contains(&version) {
                continue;
            }
            let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or_default());
            assert!(is_allowed(licence, &allowed), "{name} is under `{licence}`, which deny.toml doesn't allow");
            count += 1;
            let ours = package["source"].is_null();
            for dependency in package["dependencies"].as_array().expect("dependencies").iter().filter(|_| ours) {
                let is_open = dependency["req"] == "*" && dependency["path"].is_null();
                assert!(!is_open, "{name} takes any version of {}", dependency["name"]);
            }
        }
    }
    figure!("{count} packages, every licence among {}", allowed.len());
}

/// Whether an SPDX expression can be met: one side of each OR, both of each AND.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let met = any_of(&mut words, allowed);
    met && words.is_empty()
}

fn any_of(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut met = all_of(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut met = one(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let Some(word) = words.pop() else { return false };
    if word == "(" {
        let met = any_of(words, allowed);
        return words.pop() == Some(")") && met;
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        let exception = words.pop().unwrap_or_default();
        return allowed.contains(&format!("{word} WITH {exception}").as_str());
    }
    allowed.contains(&word)
}

#[test]
fn an_expression_is_met_by_one_side_of_or_and_both_of_and() {
    let allowed = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"];
    for met in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(MIT OR GPL-3.0) AND Zlib", "Apache-2.0 WITH LLVM-exception"] {
        assert!(is_allowed(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND BSL-1.0", "Apache-2.0", "(MIT"] {
        assert!(!is_allowed(unmet, &allowed), "{unmet}");
    }
}
