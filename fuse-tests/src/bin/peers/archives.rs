//! Keeping a tree and giving it back: restic, borg, rustic, `cairn put` and `cairn get`.

use std::path::Path;

use cairn_fuse_tests::peers::archivers::{self, Archiver, timed};
use cairn_fuse_tests::peers::{Better, Samples, machine, real_data};
use cairn_fuse_tests::toolbox::RUSTIC;
use cairn_fuse_tests::tree::Tree;
use cairn_fuse_tests::{Scratch, command};

use crate::page::{Aim, Part};
use crate::size::Size;

const FIRST: &str = "first ingest";
const AGAIN: &str = "ingest again, unchanged";
const EDITED: &str = "ingest after edits";
const RESTORE: &str = "restore";
const STORED: &str = "stored per MiB given";
const ADDED: &str = "stored by the edits";

const AIMS: [Aim; 6] = [
    Aim { row: FIRST, peer: "restic", factor: 2.0 },
    Aim { row: FIRST, peer: "borg", factor: 1.0 },
    Aim { row: FIRST, peer: "rustic", factor: 1.0 },
    Aim { row: RESTORE, peer: "restic", factor: 1.0 },
    Aim { row: RESTORE, peer: "borg", factor: 1.0 },
    Aim { row: RESTORE, peer: "rustic", factor: 1.0 },
];

/// Measures everybody, round by round.
pub(crate) fn measure(size: &Size) -> Part {
    let (contenders, missing) = archivers::installed();
    let scratch = Scratch::new();
    let source = scratch.path().join("source");
    let ground = scratch.folder_of_regions("rounds");
    let bytes = real_data::gather(&source, size.data_bytes);
    let files = command::succeed(command::command(&source, "sh").args(["-c", "find . | wc -l"]));
    let mut bench = Bench { samples: Samples::of(contenders.iter().map(|(name, _)| *name)), source: &source, bytes };
    let mut remarks = missing;
    for round in 0..size.rounds {
        for (index, (name, make)) in contenders.iter().enumerate() {
            eprintln!("  round {} of {}: {name}", round + 1, size.rounds);
            let place = ground.join(format!("{name}-{round}"));
            std::fs::create_dir(&place).expect("a folder in our own scratch");
            let mut archiver = make(&place);
            let seed = (round * contenders.len() + index) as u64;
            let back = bench.round(index, archiver.as_mut(), &place, seed);
            if round == 0 {
                remarks.extend(differences(name, &source, &back));
            }
            drop(archiver);
            std::fs::remove_dir_all(&place).expect("a folder in our own scratch");
        }
    }
    Part {
        title: "Keeping a tree and giving it back",
        text: format!(
            "The same {} MiB in {} files and folders, copied from `/usr`, given to everybody: into a new repository, again \
             unchanged, again after one file in a hundred was edited and a folder moved (other edits each time, of the same \
             size), then restored. Source and repository are in the page cache. Everybody encrypts and compresses by their \
             defaults: restic, rustic and Cairn with zstd, borg with lz4. Durability is equal: all sync what they store \
             before they end, nobody syncs what they restore, and the time of each step ends with a `sync`. Cairn's \
             ingest is `cairn put` and `cairn snapshot` against a running node, the others start anew each time.",
            bytes >> 20,
            files.trim()
        ),
        samples: bench.samples,
        aims: AIMS.to_vec(),
        remarks,
        versions: versions(),
    }
}

struct Bench<'a> {
    samples: Samples,
    source: &'a Path,
    bytes: u64,
}

impl Bench<'_> {
    /// One contender's round; gives the place of what it restored.
    fn round(&mut self, index: usize, archiver: &mut dyn Archiver, place: &Path, seed: u64) -> std::path::PathBuf {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        self.ingest(index, FIRST, archiver);
        let first = archiver.stored();
        self.samples.note(index, STORED, "MiB", Better::Less, first as f64 / self.bytes as f64);
        self.ingest(index, AGAIN, archiver);
        real_data::edit(self.source, seed);
        let before = archiver.stored();
        self.ingest(index, EDITED, archiver);
        let added = archiver.stored().saturating_sub(before);
        self.samples.note(index, ADDED, "MiB", Better::Less, mib(added));
        let back = place.join("back");
        std::fs::create_dir(&back).expect("a folder in our own scratch");
        real_data::warm(place);
        let mut restored = back.clone();
        let took = timed(|| restored = archiver.restore(&back));
        self.samples.note(index, RESTORE, "s", Better::Less, took.as_secs_f64());
        restored
    }

    fn ingest(&mut self, index: usize, what: &str, archiver: &mut dyn Archiver) {
        real_data::warm(self.source);
        let took = timed(|| archiver.ingest(self.source));
        self.samples.note(index, what, "s", Better::Less, took.as_secs_f64());
    }
}

/// What somebody gave back otherwise than they got it. Of ourselves that is an error.
fn differences(name: &str, source: &Path, back: &Path) -> Option<String> {
    let tree = |path: &Path| Tree::of(path).unwrap_or_else(|e| panic!("can't read {}: {e}", path.display()));
    let (source, back) = (tree(source), tree(back));
    let count = source.differences(&back, usize::MAX).len();
    assert!(count == 0 || name != "cairn", "{:#?}", source.differences(&back, 10));
    let contents = source.0.iter().filter(|(path, seen)| {
        back.0.get(*path).is_none_or(|other| (other.size, other.content) != (seen.size, seen.content))
    });
    match (count, contents.count()) {
        (0, _) => None,
        (_, 0) => Some(format!("{name} restored {count} files with other attributes or links than they had")),
        (_, contents) => Some(format!("{name} restored {contents} files with other contents than they had")),
    }
}

fn versions() -> Vec<String> {
    let rustic = RUSTIC.path().ok().and_then(|path| machine::version(path, "--version"));
    [machine::version("restic", "version"), machine::version("borg", "--version"), rustic]
        .into_iter()
        .flatten()
        .collect()
}
