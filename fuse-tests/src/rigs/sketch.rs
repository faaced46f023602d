//! What a volume may be found as: the oracle of [`volume_work`](super::volume_work). Names, and the bytes behind them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::Random;

/// Names of a random history: few, so that they meet.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e/a", "e/b"];
const FOLDERS: [&str; 3] = ["e", "f", "e/g"];
/// No file grows beyond.
const FILE_BYTES_MAX: u64 = 600_000;

/// One operation on a volume. Paths are relative to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Step {
    Create {
        path: String,
    },
    Write {
        path: String,
        at: u64,
        len: u32,
        seed: u8,
    },
    Append {
        path: String,
        len: u32,
        seed: u8,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    MakeFolder {
        path: String,
    },
    RemoveFolder {
        path: String,
    },
    /// Of a file or a folder. `fdatasync` reaches a volume as the same call.
    Fsync {
        path: String,
    },
    Sync,
    /// A new tree and a head.
    Flush,
    /// The same, with a label.
    Snapshot {
        label: String,
    },
}

impl Step {
    /// Whether everything before it is durable once it has succeeded.
    pub fn keeps(&self) -> bool {
        matches!(self, Step::Fsync { .. } | Step::Sync | Step::Flush | Step::Snapshot { .. })
    }
}

/// What can be seen under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Look {
    /// Else a file.
    pub is_folder: bool,
    /// How many names a file has; 1 for a folder.
    pub links: u32,
    /// Bytes.
    pub size: u64,
    /// Of the bytes.
    pub digest: u64,
}

/// Everything that can be seen, by path.
pub type Seen = BTreeMap<String, Look>;

/// One number for all of it.
pub fn print_of(seen: &Seen) -> u64 {
    let mut hasher = DefaultHasher::new();
    seen.hash(&mut hasher);
    hasher.finish()
}

/// One number for the bytes of a file.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The bytes of a write. Half of them compress.
pub fn content(seed: u8, len: u32) -> Vec<u8> {
    match seed % 2 {
        0 => Random::new(seed.into()).bytes(len as usize),
        _ => [seed, 1, 2, 3, seed].iter().copied().cycle().take(len as usize).collect(),
    }
}

#[derive(Debug, Clone)]
enum Node {
    Folder,
    File { bytes: Vec<u8>, digest: u64 },
}

/// The state of a volume.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    names: BTreeMap<String, usize>,
    nodes: Vec<Node>,
}

impl Sketch {
    /// Does a step. `false`, and nothing changed, if it can't be done.
    pub fn apply(&mut self, step: &Step) -> bool {
        match step {
            Step::Create { path } => self.add(path, Node::File { bytes: Vec::new(), digest: digest(&[]) }),
            Step::MakeFolder { path } => self.add(path, Node::Folder),
            Step::Write { path, at, len, seed } => self.change(path, |bytes| {
                let end = *at as usize + *len as usize;
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at as usize..end].copy_from_slice(&content(*seed, *len));
            }),
            Step::Append { path, len, seed } => self.change(path, |bytes| bytes.extend(content(*seed, *len))),
            Step::Truncate { path, size } => self.change(path, |bytes| bytes.resize(*size as usize, 0)),
            Step::Rename { from, to } => self.rename(from, to),
            Step::Link { from, to } => {
                let Some(&node) = self.names.get(from).filter(|node| self.is_file(**node)) else { return false };
                let free = self.is_free(to);
                if free {
                    self.names.insert(to.clone(), node);
                }
                free
            }
            Step::Unlink { path } => {
                let is_file = self.names.get(path).is_some_and(|node| self.is_file(*node));
                is_file && self.names.remove(path).is_some()
            }
            Step::RemoveFolder { path } => {
                let is_folder = self.names.get(path).is_some_and(|node| !self.is_file(*node));
                is_folder && self.is_empty(path) && self.names.remove(path).is_some()
            }
            Step::Fsync { path } => self.names.contains_key(path),
            Step::Sync | Step::Flush | Step::Snapshot { .. } => true,
        }
    }

    fn is_file(&self, node: usize) -> bool {
        matches!(self.nodes[node], Node::File { .. })
    }

    fn is_empty(&self, path: &str) -> bool {
        !self.names.keys().any(|name| name.starts_with(&format!("{path}/")))
    }

    /// Nothing has this name, and there is a folder for it.
    fn is_free(&self, path: &str) -> bool {
        let has_folder = match path.rsplit_once('/') {
            Some((folder, _)) => self.names.get(folder).is_some_and(|node| !self.is_file(*node)),
            None => true,
        };
        has_folder && !self.names.contains_key(path)
    }

    fn add(&mut self, path: &str, node: Node) -> bool {
        if !self.is_free(path) {
            return false;
        }
        self.names.insert(path.to_owned(), self.nodes.len());
        self.nodes.push(node);
        true
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(&node) = self.names.get(path) else { return false };
        let Node::File { bytes, digest: known } = &mut self.nodes[node] else { return false };
        change(bytes);
        *known = digest(bytes);
        true
    }

    fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(&moved) = self.names.get(from) else { return false };
        if to == from || to.starts_with(&format!("{from}/")) {
            return false;
        }
        if let Some(&target) = self.names.get(to) {
            // Two names of one file: nothing happens, which is hard to tell from nothing done.
            if target == moved || self.is_file(target) != self.is_file(moved) || !self.is_empty(to) {
                return false;
            }
            self.names.remove(to);
        } else if !self.is_free(to) {
            return false;
        }
        let below = format!("{from}/");
        let gone: Vec<String> =
            self.names.keys().filter(|name| *name == from || name.starts_with(&below)).cloned().collect();
        for name in gone {
            let node = self.names.remove(&name).expect("listed");
            self.names.insert(format!("{to}{}", &name[from.len()..]), node);
        }
        true
    }

    /// What can be seen of it.
    pub fn seen(&self) -> Seen {
        let mut links: BTreeMap<usize, u32> = BTreeMap::new();
        self.names.values().for_each(|node| *links.entry(*node).or_default() += 1);
        let look = |node: usize| match &self.nodes[node] {
            Node::Folder => Look { is_folder: true, links: 1, size: 0, digest: 0 },
            Node::File { bytes, digest } => {
                Look { is_folder: false, links: links[&node], size: bytes.len() as u64, digest: *digest }
            }
        };
        self.names.iter().map(|(name, node)| (name.clone(), look(*node))).collect()
    }

    fn size(&self, path: &str) -> u64 {
        match self.names.get(path).map(|node| &self.nodes[*node]) {
            Some(Node::File { bytes, .. }) => bytes.len() as u64,
            _ => 0,
        }
    }

    /// A step that can be done now. `number` makes labels differ.
    pub fn propose(&self, random: &mut Random, number: usize) -> Step {
        loop {
            let step = self.guess(random, number);
            // Cheaper than it looks: what is wrong is refused before anything is copied.
            if self.clone().apply(&step) {
                return step;
            }
        }
    }

    fn guess(&self, random: &mut Random, number: usize) -> Step {
        let path = (*random.choose(&NAMES)).to_owned();
        let other = (*random.choose(&NAMES)).to_owned();
        let folder = (*random.choose(&FOLDERS)).to_owned();
        let room = FILE_BYTES_MAX.saturating_sub(self.size(&path)) as u32;
        let len = match random.below(10) {
            0..=4 => 1 + random.below(1_800),
            5..=8 => 1 + random.below(30_000),
            _ => 1 + random.below(200_000),
        } as u32;
        let seed = random.bits() as u8;
        match random.below(100) {
            0..=15 => Step::Create { path },
            16..=33 => Step::Write { at: random.below(self.size(&path) + 5_000).min(FILE_BYTES_MAX), path, len, seed },
            34..=43 => Step::Append { path, len: len.min(room), seed },
            44..=49 => Step::Truncate { size: random.below(self.size(&path) + 9_000), path },
            50..=57 => Step::Rename { from: path, to: other },
            58..=59 => Step::Rename { from: folder, to: (*random.choose(&FOLDERS)).to_owned() },
            60..=64 => Step::Link { from: path, to: other },
            65..=72 => Step::Unlink { path },
            73..=76 => Step::MakeFolder { path: folder },
            77 => Step::RemoveFolder { path: folder },
            78..=91 => Step::Fsync { path },
            92..=94 => Step::Sync,
            95..=97 => Step::Flush,
            _ => Step::Snapshot { label: format!("kept {number}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sketch_knows_what_cannot_be_done() {
        let mut sketch = Sketch::default();
        let text = |text: &str| text.to_owned();
        assert!(!sketch.apply(&Step::Create { path: text("f/a") }));
        assert!(sketch.apply(&Step::MakeFolder { path: text("f") }));
        assert!(sketch.apply(&Step::Create { path: text("f/a") }));
        assert!(!sketch.apply(&Step::RemoveFolder { path: text("f") }));
        assert!(!sketch.apply(&Step::Rename { from: text("f"), to: text("f/b") }));
        assert!(sketch.apply(&Step::Rename { from: text("f"), to: text("g") }));
        assert!(sketch.apply(&Step::Link { from: text("g/a"), to: text("a") }));
        let seen = sketch.seen();
        assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "g", "g/a"]);
        assert_eq!(seen["a"].links, 2);
    }
}
