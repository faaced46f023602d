//! Which crate may know which: the picture of the design, checked against what cargo builds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_fuse_tests::command;
use serde_json::Value;

/// `from ──> to`, and no other among ours. Crates that don't exist yet may be named here.
const ARROWS: [(&str, &[&str]); 8] = [
    ("cli", &["gateway", "apps", "fs", "net", "store", "block"]),
    ("apps", &["fs", "store", "block"]),
    ("gateway", &["fs", "store", "block"]),
    ("fs", &["store", "block"]),
    ("net", &["store", "block"]),
    ("store", &["block"]),
    ("block", &[]),
    ("fuse-tests", &["cli", "gateway", "apps", "fs", "net", "store", "block"]),
];

/// Libraries that only one crate may know, so that what they are for stays there.
const OWNED: [(&str, &str); 7] = [
    ("rocksdb", "store"),
    ("fuser", "fs"),
    ("bollard", "apps"),
    ("libp2p", "net"),
    ("clap", "cli"),
    ("toml", "cli"),
    ("tokio", "cli, gateway, apps, net"),
];

/// Libraries that do I/O or start threads: block must compute only.
const NOT_IN_BLOCK: [&str; 5] = ["tokio", "rustix", "libc", "tempfile", "crossbeam-channel"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is one up").to_path_buf()
}

struct Crate {
    folder: String,
    manifest: PathBuf,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    for_tests_only: bool,
    optional: bool,
}

/// Every member of the workspace by the name of its package.
fn crates() -> BTreeMap<String, Crate> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let text = command::succeed(
        Command::new(cargo)
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(workspace()),
    );
    let metadata: Value = serde_json::from_str(&text).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("packages").iter().map(read_package).collect()
}

fn read_package(package: &Value) -> (String, Crate) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let folder = manifest
        .parent()
        .and_then(Path::file_name)
        .expect("a manifest lies in a folder")
        .to_string_lossy()
        .into_owned();
    let dependencies = package["dependencies"].as_array().expect("dependencies").iter().map(|dependency| Dependency {
        name: text(&dependency["name"]),
        for_tests_only: dependency["kind"] == "dev",
        optional: dependency["optional"] == true,
    });
    (text(&package["name"]), Crate { folder, manifest, dependencies: dependencies.collect() })
}

/// All Rust files below `folder` of the workspace.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![workspace().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a readable source");
                found.push((path, text));
            }
        }
    }
    found
}

/// The code of a file: without comments, which may name what they warn of.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_arrow_is_in_the_picture() {
    for (name, package) in crates() {
        assert_eq!(name, format!("cairn-{}", package.folder), "a package is called after its folder");
        let allowed = ARROWS.iter().find(|(from, _)| *from == package.folder);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} is not in the picture", package.folder));
        for dependency in &package.dependencies {
            let Some(to) = dependency.name.strip_prefix("cairn-") else {
                continue;
            };
            // A crate's tests may use its own test doubles.
            let is_itself = to == package.folder && dependency.for_tests_only;
            assert!(is_itself || allowed.contains(&to), "the arrow {} ──> {to} is not in the picture", package.folder);
        }
    }
}

#[test]
fn a_library_with_an_owner_is_known_to_it_alone() {
    for (name, package) in crates() {
        for dependency in &package.dependencies {
            let Some((library, owners)) = OWNED.iter().find(|(library, _)| *library == dependency.name) else {
                continue;
            };
            let is_owner = owners.split(", ").any(|owner| owner == package.folder);
            assert!(is_owner, "{name} knows {library}, which belongs to {owners}");
        }
    }
}

#[test]
fn rocksdb_is_behind_the_feature_disk() {
    let crates = crates();
    let store = &crates["cairn-store"];
    let rocksdb =
        store.dependencies.iter().find(|dependency| dependency.name == "rocksdb").expect("store knows rocksdb");
    assert!(rocksdb.optional, "rocksdb is not optional in {}", store.manifest.display());
}

#[test]
fn block_does_no_io() {
    let crates = crates();
    let block = &crates["cairn-block"];
    for dependency in block.dependencies.iter().filter(|dependency| !dependency.for_tests_only) {
        assert!(!NOT_IN_BLOCK.contains(&dependency.name.as_str()), "block knows {}", dependency.name);
    }
    let lib = std::fs::read_to_string(workspace().join("block/src/lib.rs")).expect("the crate's root");
    let for_tests: Vec<_> =
        lib.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split_once(';')).map(|(name, _)| name).collect();
    for (path, text) in sources("block/src") {
        let code_of_tests = |name: &&str| path.starts_with(workspace().join("block/src").join(name));
        if for_tests.iter().any(code_of_tests) {
            continue;
        }
        for call in ["std::fs", "std::net", "std::process", "std::thread::spawn", "tokio::"] {
            assert!(!code(&text).contains(call), "{} uses {call}", path.display());
        }
    }
}

#[test]
fn fuser_is_named_in_the_mount_folder_alone() {
    for (path, text) in sources("fs") {
        let is_mount = path.starts_with(workspace().join("fs/src/mount"));
        assert!(is_mount || !code(&text).contains("fuser::"), "{} names fuser", path.display());
    }
}

#[test]
fn no_crate_of_ours_has_unsafe_code() {
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the root manifest");
    assert!(root.contains("unsafe_code = \"forbid\""), "the workspace forbids unsafe code");
    for (name, package) in crates() {
        let manifest = std::fs::read_to_string(&package.manifest).expect("a readable manifest");
        let inherits = manifest.replace(' ', "").contains("[lints]\nworkspace=true");
        assert!(inherits, "{name} does not take the workspace's lints");
    }
}

#[test]
fn one_profile_builds_everything() {
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).expect("the root manifest");
    let profiles: Vec<_> = root.lines().filter(|line| line.starts_with("[profile.")).collect();
    assert!(
        profiles.iter().all(|line| line.starts_with("[profile.release")),
        "RocksDB would be built twice: {profiles:?}"
    );
}
