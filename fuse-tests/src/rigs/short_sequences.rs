//! Every short sequence of operations over a few names, each ended by something that keeps.
//!
//! Nearly all crash bugs that were ever found in filesystems need three operations or fewer after a sync, so all of one and
//! two are listed, and of three as many as there is time for. Each sequence gets a folder of its own, made durable before
//! it begins; many share a volume, because a volume's history is one line whatever it consists of.

use super::sketch::{Sketch, Step};
use crate::Random;

/// What lies in the folder before: a folder with a file in it, and a file that is more than inline.
fn ground(folder: &str) -> Vec<Step> {
    let path = |name: &str| format!("{folder}/{name}");
    vec![
        Step::MakeFolder { path: folder.to_owned() },
        Step::MakeFolder { path: path("d") },
        Step::Create { path: path("d/c") },
        Step::Create { path: path("a") },
        Step::Write { path: path("a"), at: 0, len: 5_000, seed: 2 },
        Step::Sync,
    ]
}

/// All single operations, in a folder.
fn alphabet(folder: &str) -> Vec<Step> {
    let path = |name: &str| format!("{folder}/{name}");
    let mut steps = Vec::new();
    for name in ["b", "d/b"] {
        steps.push(Step::Create { path: path(name) });
    }
    for name in ["a", "b", "d/c"] {
        steps.push(Step::Write { path: path(name), at: 1_000, len: 3_000, seed: 4 });
        steps.push(Step::Append { path: path(name), len: 9_000, seed: 6 });
        steps.push(Step::Truncate { path: path(name), size: 700 });
        steps.push(Step::Truncate { path: path(name), size: 50_000 });
        steps.push(Step::Unlink { path: path(name) });
        steps.push(Step::Fsync { path: path(name) });
    }
    for (from, to) in [("a", "b"), ("a", "d/b"), ("a", "d/c"), ("b", "a"), ("d/c", "a"), ("d", "e")] {
        steps.push(Step::Rename { from: path(from), to: path(to) });
    }
    for (from, to) in [("a", "b"), ("a", "d/b"), ("d/c", "b")] {
        steps.push(Step::Link { from: path(from), to: path(to) });
    }
    for name in ["e", "d/e"] {
        steps.push(Step::MakeFolder { path: path(name) });
        steps.push(Step::RemoveFolder { path: path(name) });
    }
    steps.extend([Step::RemoveFolder { path: path("d") }, Step::Fsync { path: path("d") }, Step::Sync, Step::Flush]);
    steps
}

/// All sequences of one and two operations that can be done, as places in the alphabet.
pub fn up_to_two() -> Vec<Vec<usize>> {
    let letters = alphabet("x").len();
    let ones = (0..letters).map(|first| vec![first]);
    let twos = (0..letters).flat_map(|first| (0..letters).map(move |second| vec![first, second]));
    ones.chain(twos).filter(|sequence| spell("x", sequence).is_some()).collect()
}

/// `count` different sequences of three, by chance.
pub fn some_of_three(count: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let letters = alphabet("x").len() as u64;
    let mut found = std::collections::BTreeSet::new();
    while found.len() < count {
        let sequence: Vec<usize> = (0..3).map(|_| random.below(letters) as usize).collect();
        if spell("x", &sequence).is_some() {
            found.insert(sequence);
        }
    }
    found.into_iter().collect()
}

/// The steps of a sequence in a folder; none if it can't be done.
fn spell(folder: &str, sequence: &[usize]) -> Option<Vec<Step>> {
    let alphabet = alphabet(folder);
    let mut steps = ground(folder);
    steps.extend(sequence.iter().map(|letter| alphabet[*letter].clone()));
    if !steps.last()?.keeps() {
        steps.push(Step::Fsync { path: folder.to_owned() });
    }
    let mut sketch = Sketch::default();
    steps.iter().all(|step| sketch.apply(step)).then_some(steps)
}

/// Deals sequences out to as many volumes, one folder for each sequence.
pub fn scripts(sequences: &[Vec<usize>], volumes: usize) -> Vec<Vec<Step>> {
    let mut scripts = vec![Vec::new(); volumes];
    for (number, sequence) in sequences.iter().enumerate() {
        let steps = spell(&format!("s{number}"), sequence).expect("a sequence that can be done");
        scripts[number % volumes].extend(steps);
    }
    scripts
}
