//! `make demo`: two nodes at work on real trees, without a question asked. Ends with 0 when everything held.
//!
//! Copies this repository with its history and the system's documentation and headers in, builds a part of it inside the
//! mount, edits, keeps a snapshot, deletes, restores, kills the node in the middle of a copy, starts it again and compares
//! every file. Then a second device joins by a code, reads everything from the first one, copies it, and still has it when the first
//! one is killed. Everything lives in a temporary directory and is gone afterwards.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cairn_fuse_tests::command::{self, shell, succeed};
use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::tree::{Tree, assert_same};
use cairn_fuse_tests::{Node, circle, speed};

/// The system's trees that are copied where they exist.
const SYSTEM_TREES: [&str; 2] = ["/usr/share/doc", "/usr/include"];
/// The whole demo, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The copy is interrupted when so much of it was done.
const INTERRUPT_AFTER: f64 = 0.4;

fn main() {
    let mut demo = Demo::new();
    demo.copy_in();
    demo.copy_again();
    demo.build_inside();
    demo.edit_snapshot_delete_restore();
    demo.kill_in_the_middle_of_a_copy();
    demo.join_another_device();
    demo.print();
}

struct Demo {
    node: Node,
    /// Copies of the trees on the disk outside: what the mount is compared with.
    sources: Vec<(String, PathBuf)>,
    rows: Vec<(String, String)>,
}

impl Demo {
    fn new() -> Demo {
        let mut node = circle::prepare(Setup { patience: Some(PATIENCE), ..Setup::default() });
        let took = node.up();
        let sources = sources(&node.outside());
        let mut demo = Demo { node, sources, rows: Vec::new() };
        demo.row("start to a writable mount", format!("{} ms", took.as_millis()));
        demo
    }

    fn copy_in(&mut self) {
        step("copying real trees in: this repository with its history, documentation, headers");
        let (mut size, mut files) = (Size::default(), 0);
        let started = Instant::now();
        for (name, source) in &self.sources {
            succeed(command::command(source, "cp").arg("-a").arg(source).arg(self.node.mount().join(name)));
        }
        let took = started.elapsed();
        for (_, source) in &self.sources {
            let tree = Tree::of(source).expect("a readable source");
            files += tree.0.len();
            size.add(&tree);
        }
        self.flush();
        let stored = self.stored();
        self.row("copied in", format!("{} files, {}", files, mib(size.all)));
        self.row(
            "",
            format!(
                "{:.0} MiB/s, {:.0} files/s",
                size.all as f64 / 1_048_576.0 / took.as_secs_f64(),
                files as f64 / took.as_secs_f64()
            ),
        );
        self.row("stored for it", mib(stored));
        self.row("dedup of whole files", format!("{:.2} : 1", size.all as f64 / size.distinct as f64));
        self.row("compression and dedup of parts", format!("{:.2} : 1", size.distinct as f64 / stored as f64));
        step("comparing every file");
        speed::drop_caches();
        let started = Instant::now();
        for (name, source) in &self.sources {
            assert_same(source, &self.node.mount().join(name));
        }
        self.row(
            "read back and compared",
            format!("{:.0} MiB/s", size.all as f64 / 1_048_576.0 / started.elapsed().as_secs_f64()),
        );
    }

    fn copy_again(&mut self) {
        step("copying the same again: nothing new to store");
        let before = self.stored();
        let mount = self.node.mount();
        std::fs::create_dir(mount.join("again")).expect("a folder");
        for (name, source) in &self.sources {
            succeed(command::command(source, "cp").arg("-a").arg(source).arg(mount.join("again").join(name)));
        }
        self.flush();
        let grown = self.stored() - before;
        self.row("stored for a second copy", mib(grown));
    }

    fn build_inside(&mut self) {
        step("building a crate of this repository inside the mount");
        let started = Instant::now();
        let repository = self.node.mount().join("repository");
        let mut cargo = command::command(&repository, "cargo");
        cargo.args(["build", "--offline", "--release", "--quiet", "--package", "cairn-block"]);
        cargo.env("CARGO_TARGET_DIR", repository.join("target"));
        let output = command::run_for(&mut cargo, Duration::from_secs(1800));
        assert!(output.status.success(), "{}", command::transcript(&output));
        self.row("built inside the mount", format!("{:.0} s", started.elapsed().as_secs_f64()));
        std::fs::remove_dir_all(repository.join("target")).expect("the build goes again");
    }

    fn edit_snapshot_delete_restore(&mut self) {
        step("editing, keeping a snapshot, deleting, restoring");
        let mount = self.node.mount();
        let (name, source) = &self.sources[0];
        let edited = self.node.outside().join("edited");
        for place in [edited.clone(), mount.join(name)] {
            if !place.exists() {
                succeed(command::command(source, "cp").arg("-a").arg(source).arg(&place));
            }
            shell(
                &place,
                "for f in $(find . -name '*.md' -not -path './.git/*' | sort); do echo 'one more line' >> \"$f\"; done; rm -rf block; mkdir new; echo note > new/note",
            );
        }
        let started = Instant::now();
        self.node.say(&["snapshot", "edited"]);
        let snapshot = started.elapsed();
        std::fs::remove_dir_all(mount.join(name)).expect("the tree goes");
        assert!(!mount.join(name).exists());
        let started = Instant::now();
        self.node.say(&["restore", &format!("/{name}@edited")]);
        let restore = started.elapsed();
        // The folder's own time may differ: it has just come back.
        assert_same(&edited, &mount.join(name));
        self.row("snapshot of everything", format!("{} ms", snapshot.as_millis()));
        self.row("restore of the repository", format!("{} ms", restore.as_millis()));
    }

    fn kill_in_the_middle_of_a_copy(&mut self) {
        step("killing the node in the middle of a copy, starting it again");
        let (name, source) = self.sources.iter().max_by_key(|(_, source)| count(source)).cloned().expect("a source");
        let target = self.node.mount().join("interrupted");
        let total = count(&source);
        let killer = self.node.killer();
        std::thread::scope(|scope| {
            let copy =
                scope.spawn(|| command::run(command::command(&source, "cp").arg("-a").arg(&source).arg(&target)));
            while (count(&target) as f64) < total as f64 * INTERRUPT_AFTER && !copy.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
            }
            killer.kill();
            let output = copy.join().expect("the copy ends");
            assert!(!output.status.success(), "the copy of {name} was done before the kill");
        });
        self.node.kill();
        let took = self.node.up();
        self.row("start after kill -9", format!("{} ms", took.as_millis()));
        let kept = self.check_partial_copy(&source, &target);
        self.row("of the interrupted copy", format!("{kept} of {total} files whole, 0 wrong"));
        step("finishing the copy, comparing every file");
        shell(&target, &format!("rsync -aHAX '{}/' ./", source.display()));
        assert_same(&source, &target);
        for (name, source) in self.sources.iter().skip(1) {
            assert_same(source, &self.node.mount().join(name));
        }
        self.node.say(&["check", "--data"]);
    }

    fn join_another_device(&mut self) {
        step("a second device joins by a code and mounts the same volume");
        let mut other = circle::prepare(Setup { patience: Some(PATIENCE), ..Setup::default() });
        let started = Instant::now();
        circle::let_in(&self.node, "first", "device", &other, "second");
        other.up();
        // What is seen there comes after all that was done before it.
        std::fs::write(self.node.mount().join("after the join"), "seen").expect("a small file");
        circle::wait_until("the newest state is seen", &[&self.node, &other], || {
            other.mount().join("after the join").exists()
        });
        self.row("joined, mounted, newest state seen", format!("{} ms", started.elapsed().as_millis()));
        step("comparing every file there, while it is fetched");
        let started = Instant::now();
        for (name, source) in self.sources.iter().skip(1) {
            assert_same(source, &other.mount().join(name));
        }
        let size: u64 = self.sources.iter().skip(1).map(|(_, source)| size_of(source)).sum();
        let rate = size as f64 / 1_048_576.0 / started.elapsed().as_secs_f64();
        self.row("read on the second device", format!("{rate:.0} MiB/s"));
        step("a change on each is seen on the other");
        for (from, to) in [(&self.node, &other), (&other, &self.node)] {
            let text = format!("written at {:?}", Instant::now());
            std::fs::write(from.mount().join("note"), &text).expect("a small file");
            let closed = Instant::now();
            circle::wait_until("the change", &[from, to], || {
                std::fs::read_to_string(to.mount().join("note")).is_ok_and(|read| read == text)
            });
            self.rows
                .push(("a closed file is seen there after".into(), format!("{} ms", closed.elapsed().as_millis())));
        }
        step("waiting for the copy to be whole, killing the first device, comparing again");
        let started = Instant::now();
        while other.json(&["circle"])["copies"][0]["is_whole"] != true {
            assert!(started.elapsed() < PATIENCE, "the copy doesn't become whole\n{}", other.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.row("until the copy was whole", format!("{:.1} s more", started.elapsed().as_secs_f64()));
        self.node.kill();
        speed::drop_caches();
        for (name, source) in self.sources.iter().skip(1) {
            assert_same(source, &other.mount().join(name));
        }
        other.say(&["check", "--data"]);
        other.down();
    }

    /// A copy that was cut off holds whole files, and perhaps one that is a beginning of its source.
    fn check_partial_copy(&self, source: &Path, target: &Path) -> usize {
        let (there, whole) = (Tree::of(target).expect("a readable copy"), Tree::of(source).expect("a readable source"));
        let (mut kept, mut begun) = (0, 0);
        for (path, seen) in &there.0 {
            let original = whole.0.get(path).unwrap_or_else(|| panic!("{} comes from nowhere", path.display()));
            if (seen.content, seen.size) == (original.content, original.size) {
                kept += 1;
            } else {
                let (now, then) = (std::fs::read(target.join(path)), std::fs::read(source.join(path)));
                let is_beginning = now.is_ok_and(|now| then.is_ok_and(|then| then.starts_with(&now)));
                assert!(is_beginning, "{} is neither whole nor a beginning", path.display());
                begun += 1;
            }
        }
        assert!(begun <= 1, "{begun} files are half written: cp writes one after the other");
        kept
    }

    fn flush(&self) {
        succeed(command::command(&self.node.mount(), "sync").arg("."));
        self.node.say(&["snapshot"]);
    }

    fn stored(&self) -> u64 {
        let status = self.node.json(&["status"]);
        status["store"]["log_bytes"].as_u64().unwrap_or_else(|| panic!("no store.log_bytes in {status}"))
    }

    fn row(&mut self, name: &str, value: String) {
        self.rows.push((name.to_owned(), value));
    }

    fn print(&self) {
        println!();
        for (name, value) in &self.rows {
            println!("  {name:<32} {value}");
        }
        println!("\nEverything held.");
    }
}

/// Bytes of files: all of them, and those of distinct files.
#[derive(Default)]
struct Size {
    all: u64,
    distinct: u64,
    seen: HashMap<(u64, u64), ()>,
}

impl Size {
    fn add(&mut self, tree: &Tree) {
        for file in tree.0.values().filter(|seen| seen.links > 0) {
            self.all += file.size;
            if self.seen.insert((file.content, file.size), ()).is_none() {
                self.distinct += file.size;
            }
        }
    }
}

/// The trees, each in a directory of the disk that nothing changes while we look.
fn sources(outside: &Path) -> Vec<(String, PathBuf)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is one up");
    let repository = outside.join("repository");
    std::fs::create_dir(&repository).expect("a folder");
    shell(workspace, &format!("tar -cf - --exclude=./target . | tar -xf - -C '{}'", repository.display()));
    let system = SYSTEM_TREES.into_iter().map(PathBuf::from).filter(|path| path.is_dir());
    let named = system.map(|path| (path.file_name().expect("a named tree").to_string_lossy().into_owned(), path));
    std::iter::once(("repository".to_owned(), repository)).chain(named).collect()
}

fn count(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| 1 + if entry.file_type().is_ok_and(|kind| kind.is_dir()) { count(&entry.path()) } else { 0 })
        .sum()
}

fn size_of(path: &Path) -> u64 {
    let mut size = Size::default();
    size.add(&Tree::of(path).expect("a readable source"));
    size.all
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

fn step(what: &str) {
    println!("· {what}");
}
