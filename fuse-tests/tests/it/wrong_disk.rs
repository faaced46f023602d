//! A disk that lies: each file of the store in turn truncated, zeroed, or with one bit flipped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, Random, Scale, command, figure, promise};

/// What can happen to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Halved,
    CutByOne,
    Emptied,
    Zeroed,
    StartZeroed,
    BitFlipped,
    Removed,
}

impl Damage {
    fn all() -> &'static [Damage] {
        Scale::pick(
            &[Damage::Halved, Damage::Zeroed, Damage::BitFlipped],
            &[
                Damage::Halved,
                Damage::CutByOne,
                Damage::Emptied,
                Damage::Zeroed,
                Damage::StartZeroed,
                Damage::BitFlipped,
                Damage::Removed,
            ],
        )
    }

    fn happen(self, path: &Path, random: &mut Random) -> std::io::Result<()> {
        let len = std::fs::metadata(path)?.len();
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let zero = |len: u64| file.write_all_at(&vec![0; len as usize], 0);
        match self {
            Damage::Halved => file.set_len(len / 2),
            Damage::CutByOne => file.set_len(len.saturating_sub(1)),
            Damage::Emptied => file.set_len(0),
            Damage::Zeroed => zero(len),
            Damage::StartZeroed => zero(len.min(4096)),
            Damage::BitFlipped => flip(&file, len, random),
            Damage::Removed => std::fs::remove_file(path),
        }
    }
}

/// Flips a bit among those that were written: room that was allocated ahead holds nothing that could be wrong.
fn flip(file: &File, len: u64, random: &mut Random) -> std::io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
    let at = random.below(written);
    file.write_all_at(&[bytes[at as usize] ^ (1 << random.below(8))], at)
}

/// Files by path, with what they hold.
type Contents = BTreeMap<PathBuf, Vec<u8>>;

fn fill(node: &Node) -> Contents {
    let mut random = Random::new(77);
    let mut contents = Contents::new();
    for i in 0..60u64 {
        let len = [30, 1_500, 5_000, 70_000, 400_000][(i % 5) as usize] + random.below(100) as usize;
        let bytes = if i % 2 == 0 { random.bytes(len) } else { vec![i as u8; len] };
        let path = PathBuf::from(format!("d{}/f{i}", i % 7));
        let full = node.mount().join(&path);
        std::fs::create_dir_all(full.parent().expect("a folder")).expect("mkdir");
        std::fs::write(&full, &bytes).expect("write");
        contents.insert(path, bytes);
        if i % 20 == 19 {
            node.say(&["snapshot", &format!("s{i}")]);
        }
    }
    contents
}

/// What reading all files gives.
#[derive(Debug, Default)]
struct Reading {
    right: usize,
    /// Missing, or an earlier state: each was written once, front to back. Allowed where the newest heads were lost, and said.
    earlier: usize,
    /// An error instead of bytes.
    refused: usize,
}

/// Reads all files; a wrong byte panics.
fn read_all(node: &Node, contents: &Contents, case: &str) -> Reading {
    let mut reading = Reading::default();
    for (path, expected) in contents {
        match std::fs::read(node.mount().join(path)) {
            Ok(bytes) if bytes == *expected => reading.right += 1,
            Ok(bytes) if expected.starts_with(&bytes) => reading.earlier += 1,
            Ok(_) => panic!("{case}: {} has wrong bytes\n{}", path.display(), node.log()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => reading.earlier += 1,
            Err(_) => reading.refused += 1,
        }
    }
    reading
}

fn files_of_the_store(home: &Path, data: &Path) -> Vec<PathBuf> {
    let list = command::succeed(command::command(data, "find").args(["own", "-type", "f"]));
    let prefix = data.strip_prefix(home).expect("the data lies at home");
    let mut files: Vec<PathBuf> = list.lines().map(|line| prefix.join(line)).collect();
    files.sort();
    files
}

#[test]
fn no_damage_of_one_file_stops_the_node_or_shows_a_wrong_byte() {
    promise!("Damage is an error, never other bytes");
    let mut original = Node::start();
    let contents = fill(&original);
    // Half of the damage meets a node that ended well, half one that was killed.
    let (mut cases, mut named, mut refused, mut earlier) = (0, 0, 0, 0);
    for ended_well in [true, false] {
        if ended_well {
            original.down();
        } else {
            original.up();
            std::fs::write(original.mount().join("late"), b"written late").expect("write");
            std::fs::write(original.mount().join("d1/late"), vec![b'l'; 300_000]).expect("write");
            command::shell(&original.mount(), "sync .");
            original.kill();
            original.unmount_dead();
        }
        let mut contents = contents.clone();
        if !ended_well {
            contents.insert("late".into(), b"written late".to_vec());
            contents.insert("d1/late".into(), vec![b'l'; 300_000]);
        }
        for file in files_of_the_store(&original.home(), &original.data()) {
            for damage in Damage::all() {
                let case = format!(
                    "{} {damage:?}, after {}",
                    file.display(),
                    if ended_well { "a good end" } else { "a kill" }
                );
                let mut random = Random::new(cases);
                let mut node = Node::prepare(Setup { home: Some(original.home()), ..Setup::default() });
                damage.happen(&node.home().join(&file), &mut random).unwrap_or_else(|e| panic!("{case}: {e}"));
                node.try_up().unwrap_or_else(|log| panic!("{case}: the node doesn't start\n{log}"));
                let reading = read_all(&node, &contents, &case);
                let said = node.ask(&["check", "--data"]);
                let said = command::transcript(&said) + &command::transcript(&node.ask(&["status"]));
                if reading.right < contents.len() {
                    assert!(names_damage(&said), "{case}: {reading:?}, and nothing says so\n{said}");
                    refused += usize::from(reading.refused > 0);
                    earlier += usize::from(reading.earlier > 0);
                }
                named += usize::from(names_damage(&said));
                // Whatever is left goes on working.
                std::fs::write(node.mount().join("afterwards"), b"works")
                    .unwrap_or_else(|e| panic!("{case}: no write: {e}\n{}", node.log()));
                cases += 1;
            }
        }
    }
    figure!(
        "{cases} damages: every node started, {named} named the damage, {refused} refused a file, {earlier} went back to an \
         earlier state and said so, 0 wrong bytes"
    );
}

fn names_damage(said: &str) -> bool {
    let said = said.to_lowercase();
    ["damage", "corrupt", "missing", "unreadable"].iter().any(|word| said.contains(word)) && !said.contains("no damage")
}
