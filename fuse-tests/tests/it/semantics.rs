//! docs/SEMANTICS.md and the tests say the same: each promise is held by a test, and no test holds a promise that isn't made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn promised() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SEMANTICS.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let headings = text.lines().filter_map(|line| line.strip_prefix("### "));
    headings.map(|heading| heading.trim().to_owned()).collect()
}

/// Promises by heading, with the file that holds each.
fn held() -> BTreeMap<String, PathBuf> {
    let (mut held, mut open) = (BTreeMap::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of tests").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("a source");
                // The needle is put together so that this line doesn't hold a promise itself.
                let calls = text.split(concat!("promise", "!(\"")).skip(1);
                let headings = calls.filter_map(|rest| rest.split_once("\")")).map(|(heading, _)| heading.to_owned());
                held.extend(headings.map(|heading| (heading, path.clone())));
            }
        }
    }
    held
}

#[test]
fn every_promise_is_held_by_a_test_and_none_is_invented() {
    let (promised, held) = (promised(), held());
    assert!(!promised.is_empty(), "docs/SEMANTICS.md has no heading of the third level: it promises nothing");
    let untested: Vec<_> = promised.iter().filter(|heading| !held.contains_key(*heading)).collect();
    let invented: Vec<_> = held.iter().filter(|(heading, _)| !promised.contains(*heading)).collect();
    assert!(untested.is_empty(), "promises of docs/SEMANTICS.md without a test: {untested:#?}");
    assert!(invented.is_empty(), "tests of promises that docs/SEMANTICS.md doesn't make: {invented:#?}");
}
