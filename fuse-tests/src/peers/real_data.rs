//! Real data that Linux machines have: programs, libraries, headers, text; and small edits to it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Random, command};

/// Where it is taken from, until there is enough.
const TREES: [&str; 6] = ["/usr/include", "/usr/share/doc", "/usr/bin", "/usr/lib/gcc", "/usr/share", "/usr/lib"];

/// One file in so many is edited.
const EDITED_OF: usize = 100;
/// What an edit changes in the middle of a file, and adds at its end.
const EDIT_BYTES: usize = 4096;

/// Arguments of one `cp`.
const NAMES_MAX: usize = 1_000;

/// Copies what lies in those trees, in order, until there are so many bytes; gives the bytes.
pub fn gather(target: &Path, bytes_min: u64) -> u64 {
    fs::create_dir(target).expect("a folder in our own scratch");
    let mut bytes = 0;
    for (index, tree) in TREES.iter().enumerate().filter(|(_, tree)| Path::new(tree).is_dir()) {
        let mut chosen = Vec::new();
        for (size, path) in entries_of(tree) {
            if bytes >= bytes_min {
                break;
            }
            bytes += size;
            chosen.push(path);
        }
        let to = target.join(format!("{index}"));
        for names in chosen.chunks(NAMES_MAX) {
            fs::create_dir_all(&to).expect("a folder in our own scratch");
            command::succeed(command::command(target, "cp").arg("-a").args(names).arg(&to));
        }
    }
    size(target)
}

/// What lies in a tree, by name, with its size.
fn entries_of(tree: &str) -> Vec<(u64, PathBuf)> {
    let text =
        command::succeed(command::command(Path::new(tree), "du").args(["-a", "-d1", "-B1", "--apparent-size", "."]));
    let entries = text.lines().filter_map(|line| {
        let (size, name) = line.split_once('\t')?;
        let path = Path::new(tree).join(name.strip_prefix("./")?);
        Some((size.parse().ok()?, path))
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|(_, one), (_, other)| one.cmp(other));
    entries
}

/// Bytes of everything below a directory, as its files say.
pub fn size(path: &Path) -> u64 {
    let text =
        command::succeed(command::command(Path::new("/"), "du").args(["-s", "--apparent-size", "-B1"]).arg(path));
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Reads everything once, so that the disk is no part of what is measured next.
pub fn warm(path: &Path) {
    command::succeed(command::command(path, "sh").args(["-c", "find . -type f -exec cat {} + >/dev/null"]));
}

/// Edits a tree as a day's work does: one file in a hundred is changed in the middle and at its end, a few appear, a few go,
/// one folder is renamed. The same seed edits the same tree the same way.
pub fn edit(root: &Path, seed: u64) {
    let mut random = Random::new(seed);
    let mut files = files_below(root);
    files.sort();
    let edited = (files.len() / EDITED_OF).max(1);
    for _ in 0..edited {
        let file = &files[random.below(files.len() as u64) as usize];
        change(file, &mut random);
    }
    let folder = root.join(format!("new-{seed}"));
    fs::create_dir(&folder).expect("a folder in our own copy");
    for number in 0..edited.min(20) {
        fs::write(folder.join(format!("{number}")), random.bytes(16 * EDIT_BYTES)).expect("a file in our own copy");
    }
    for _ in 0..edited.min(20) {
        // The same file may be drawn twice.
        let _ = fs::remove_file(&files[random.below(files.len() as u64) as usize]);
    }
    let before = root.join(format!("moved-{seed}"));
    if let Some(folder) = folders_of(root).into_iter().next() {
        fs::rename(folder, before).expect("a rename in our own copy");
    }
}

fn change(file: &Path, random: &mut Random) {
    let Ok(open) = OpenOptions::new().write(true).open(file) else { return };
    let size = open.metadata().map_or(0, |meta| meta.len());
    for at in [size / 2, size] {
        open.write_all_at(&random.bytes(EDIT_BYTES), at).expect("a write to our own copy");
    }
}

/// Files with a single name: an edit of one changes no other.
fn files_below(root: &Path) -> Vec<PathBuf> {
    let found = command::succeed(command::command(root, "find").args([".", "-type", "f", "-links", "1", "-print0"]));
    found.split('\0').filter(|name| !name.is_empty()).map(|name| root.join(name)).collect()
}

/// The folders two levels down that were not moved by an earlier edit.
fn folders_of(root: &Path) -> Vec<PathBuf> {
    let found = command::succeed(command::command(root, "find").args([
        "./0",
        "-mindepth",
        "1",
        "-maxdepth",
        "1",
        "-type",
        "d",
    ]));
    let mut folders: Vec<_> = found.lines().map(|name| root.join(name)).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn edits_are_the_same_for_the_same_seed_and_leave_most_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = |name: &str, seed: u64| {
            let root = dir.path().join(name);
            fs::create_dir_all(root.join("0/sub")).expect("mkdir");
            (0..300).for_each(|i| fs::write(root.join(format!("0/f{i}")), [i as u8; 5000]).expect("write"));
            edit(&root, seed);
            Tree::of(&root).expect("a tree")
        };
        let (one, same, other) = (tree("one", 7), tree("same", 7), tree("other", 8));
        assert!(one == same && one != other);
        let untouched = one.0.values().filter(|seen| seen.size == 5000).count();
        assert!((280..300).contains(&untouched), "{untouched}");
        assert!(one.0.contains_key(Path::new("moved-7")) && one.0.contains_key(Path::new("new-7/0")));
    }
}
