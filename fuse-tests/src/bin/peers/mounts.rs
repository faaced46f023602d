//! The mount beside gocryptfs and the disk that both lie on: call by call, then with real programs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::peers::{Better, Samples, gocryptfs, machine};
use cairn_fuse_tests::speed::{self, Load};
use cairn_fuse_tests::{Node, Scratch};

use crate::page::{Aim, Part};
use crate::programs::Programs;
use crate::size::Size;

const PATIENCE: Duration = Duration::from_secs(6 * 3600);

const AIMS: [Aim; 9] = [
    Aim { row: "create 4 KiB", peer: "gocryptfs", factor: 2.0 },
    Aim { row: "random write 4 KiB", peer: "gocryptfs", factor: 2.0 },
    Aim { row: "stat, cold", peer: "gocryptfs", factor: 2.0 },
    Aim { row: "mkdir", peer: "gocryptfs", factor: 2.0 },
    Aim { row: "unlink", peer: "gocryptfs", factor: 2.0 },
    Aim { row: "sequential write", peer: "gocryptfs", factor: 1.2 },
    Aim { row: "sequential read, cold", peer: "gocryptfs", factor: 1.2 },
    Aim { row: "sequential read, warm", peer: "gocryptfs", factor: 1.2 },
    Aim { row: "append 4 KiB + fsync", peer: "disk", factor: 0.5 },
];

/// Measures everybody, round by round: the table of calls and the table of programs.
pub(crate) fn measure(size: &Size) -> Vec<Part> {
    let scratch = Scratch::new();
    let node = Node::start_with(Setup { patience: Some(PATIENCE), ..Setup::default() });
    let disk = scratch.folder_of_regions("disk");
    let kind = machine::filesystem(&disk);
    let mut places: Vec<(String, PathBuf)> = vec![(kind.clone(), disk)];
    let mut remarks = Vec::new();
    match gocryptfs::mount(&scratch) {
        Some(mount) => places.push(("gocryptfs".to_owned(), mount)),
        None => remarks.push("gocryptfs is not installed".to_owned()),
    }
    places.push(("cairn".to_owned(), node.mount()));
    let programs = Programs::prepare(&scratch, size);
    let names = || places.iter().map(|(name, _)| name.clone());
    let mut failures = BTreeSet::new();
    let (mut calls, mut work) = (Samples::of(names()), Samples::of(names()));
    for round in 0..size.rounds {
        for (index, (name, place)) in places.iter().enumerate() {
            eprintln!("  round {} of {}: {name}", round + 1, size.rounds);
            let seed = (round * places.len() + index) as u64;
            let load = Load { stream_mib: size.stream_mib, files: size.files, seed };
            let figures = speed::measure(place, load).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
            for figure in figures {
                calls.note(index, figure.name, figure.unit, Better::More, figure.value);
            }
            for (what, took) in programs.run(place) {
                match took {
                    Ok(took) => work.note(index, what, "s", Better::Less, took.as_secs_f64()),
                    Err(words) => {
                        assert!(name != "cairn", "{what} failed in our own mount: {words}");
                        failures.insert(format!("`{what}` fails on {name}: {words}"));
                    }
                }
            }
        }
    }
    let versions = machine::version("gocryptfs", "--version").into_iter().collect();
    vec![
        calls_part(size, &kind, calls, remarks, versions),
        programs_part(&programs, work, failures.into_iter().collect()),
    ]
}

fn calls_part(size: &Size, kind: &str, samples: Samples, remarks: Vec<String>, versions: Vec<String>) -> Part {
    let aims = AIMS.map(|aim| if aim.peer == "disk" { Aim { peer: leak(kind), ..aim } } else { aim });
    Part {
        title: "The mount, call by call",
        text: format!(
            "One program, one call after the other: a stream of {} MiB in pieces of 1 MiB, random pages of it, {} small \
             files in one folder. {kind} is a folder of the disk that the stores of gocryptfs and Cairn lie on too. \
             Durability is equal: the time of whatever writes file contents includes `fsync` (of the file, or of the \
             folder followed by a `sync`); renames, removals and new folders nobody syncs. What is called cold begins with \
             the kernel's caches dropped.",
            size.stream_mib, size.files
        ),
        samples,
        aims: aims.to_vec(),
        remarks,
        versions,
    }
}

/// The name of the disk's filesystem lives as long as the program; there is one.
fn leak(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

fn programs_part(programs: &Programs, samples: Samples, remarks: Vec<String>) -> Part {
    Part {
        title: "The mount, with real programs",
        text: format!(
            "{} The time of each ends with a `sync` and, where there is a folder to sync, an `fsync` of it, so that everybody \
             has everything on the disk.",
            programs.describe()
        ),
        samples,
        aims: Vec::new(),
        remarks,
        versions: programs.versions(),
    }
}
