//! A store directory that was in other hands: links, pipes and directories in the place of its files, names that are taken,
//! sizes and numbers that nobody writes. The node opens it or says why not, never waits, and touches nothing outside.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cairn_store::disk::{DiskOptions, DiskStore};
use cairn_store::testing::{ask, block, volume};
use cairn_store::{BlockStore, HeadStore, StoreError};

/// Far above what any of these opens takes, and below what a pipe without a writer does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Each a segment's worth of blocks.
const BLOCKS: u64 = 40;

fn options() -> DiskOptions {
    DiskOptions {
        segment_bytes: 256 << 10,
        reserve_bytes: 1 << 20,
        index_cache_bytes: 1 << 20,
        ..DiskOptions::default()
    }
}

fn open(dir: &Path) -> Result<DiskStore, StoreError> {
    DiskStore::open(dir, options())
}

/// A store beside something precious that is not part of it.
struct Ground {
    dir: tempfile::TempDir,
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Ground {
    fn new() -> Ground {
        let dir = tempfile::tempdir().expect("a directory");
        let ground = Ground { dir, before: Vec::new() };
        let store = open(&ground.store()).expect("a new store");
        for seed in 0..BLOCKS {
            store.put(&block(seed, 30_000)).expect("put");
        }
        store.append_delta(&volume(1), 1, &block(1000, 500)).expect("append");
        store.close().expect("closed");
        fs::create_dir_all(ground.outside("folder")).expect("made");
        fs::write(ground.outside("precious"), vec![b'p'; 2 << 20]).expect("written");
        fs::write(ground.outside("folder/inside"), b"inside").expect("written");
        let newest = ground.segments().pop().expect("a segment");
        // A copy of the newest segment: what a link would have to lead to for the store to take it for its own.
        fs::copy(newest, ground.outside("segment")).expect("copied");
        let before = ground.everything_outside();
        Ground { before, ..ground }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store().join(name)
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join("outside").join(name)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> =
            fs::read_dir(self.path("log")).expect("a log").map(|entry| entry.expect("one").path()).collect();
        all.sort();
        all
    }

    fn everything_outside(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let (mut found, mut open) = (Vec::new(), vec![self.dir.path().join("outside")]);
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("listed") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { open.push(path) } else { found.push((path.clone(), fs::read(&path).expect("read"))) }
            }
        }
        found.sort();
        found
    }

    /// Opens the store, uses it, closes it; then nothing outside has changed. Gives how many of the blocks are there.
    #[track_caller]
    fn use_up(&self, case: &str) -> Result<usize, StoreError> {
        let start = Instant::now();
        let used = self.try_to_use();
        assert!(start.elapsed() < PATIENCE, "{case}: took {:?}", start.elapsed());
        let after = self.everything_outside();
        let names = |all: &[(PathBuf, Vec<u8>)]| {
            all.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect::<Vec<_>>()
        };
        assert!(after == self.before, "{case}: {:?} became {:?}", names(&self.before), names(&after));
        used
    }

    fn try_to_use(&self) -> Result<usize, StoreError> {
        let store = open(&self.store())?;
        let sound = |seed: &u64| store.get(&block(*seed, 30_000).id(), ask()).is_ok_and(|found| found.is_some());
        let there = (0..BLOCKS).filter(sound).count();
        for seed in 2000..2000 + BLOCKS {
            store.put(&block(seed, 30_000))?;
        }
        store.sync()?;
        let last = store.deltas(&volume(1), 0)?.last().map_or(1, |(seq, _)| *seq);
        store.append_delta(&volume(1), last + 1, &block(3000, 500))?;
        store.close()?;
        let again = open(&self.store())?;
        assert_eq!(again.get(&block(2000 + BLOCKS - 1, 30_000).id(), ask())?.map(|found| found.len()), Some(30_000));
        again.close()?;
        Ok(there)
    }
}

fn pipe(path: &Path) {
    // Not by a program: between fork and exec it would hold the locks of the other tests.
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600), 0)
        .expect("a pipe");
}

/// Puts something at a path.
type Plant<'g> = Box<dyn Fn(&Path) + 'g>;

/// Ways to put something else in the place of a file.
fn plants(ground: &Ground) -> Vec<(&'static str, Plant<'_>)> {
    let link_to = |target: PathBuf| move |path: &Path| symlink(&target, path).expect("a link");
    vec![
        ("a link to a file", Box::new(link_to(ground.outside("precious")))),
        ("a link to a segment", Box::new(link_to(ground.outside("segment")))),
        ("a link to a folder", Box::new(link_to(ground.outside("folder")))),
        ("a link to nothing", Box::new(link_to(ground.outside("made through a link")))),
        ("a link to itself", Box::new(|path| symlink(path, path).expect("a link"))),
        ("a second name of a file", Box::new(|path| fs::hard_link(ground.outside("precious"), path).expect("a name"))),
        (
            "a second name of a segment",
            Box::new(|path| fs::hard_link(ground.outside("segment"), path).expect("a name")),
        ),
        ("a pipe", Box::new(pipe)),
        ("a directory", Box::new(|path| fs::create_dir(path).expect("a directory"))),
        ("a directory that isn't empty", Box::new(|path| fs::create_dir_all(path.join("a/b")).expect("directories"))),
        (
            "a file of a terabyte that is a hole",
            Box::new(|path| fs::File::create(path).expect("a file").set_len(1 << 40).expect("a hole")),
        ),
    ]
}

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path).expect("removed")
    } else {
        drop(fs::remove_file(path))
    }
}

#[test]
fn whatever_lies_in_the_place_of_a_small_file_is_replaced_and_nothing_outside_is_touched() {
    for name in ["format", "format.new", "lock", "reserve"] {
        let ground = Ground::new();
        for (what, plant) in plants(&ground) {
            let case = format!("{what} for {name}");
            remove(&ground.path(name));
            if name == "format.new" {
                // So that it has to be written.
                remove(&ground.path("format"));
            }
            plant(&ground.path(name));
            assert_eq!(
                ground.use_up(&case).unwrap_or_else(|error| panic!("{case}: {error}")),
                BLOCKS as usize,
                "{case}"
            );
            if name != "format.new" {
                assert!(fs::symlink_metadata(ground.path(name)).expect("there").is_file(), "{case}");
            }
        }
    }
}

#[test]
fn an_index_that_leads_elsewhere_is_made_anew_here() {
    let ground = Ground::new();
    for (what, plant) in plants(&ground) {
        remove(&ground.path("index"));
        plant(&ground.path("index"));
        assert_eq!(ground.use_up(what).unwrap_or_else(|error| panic!("{what}: {error}")), BLOCKS as usize, "{what}");
    }
    for inside in ["CURRENT", "LOG", "IDENTITY", "000123.sst", "000009.log", "LOCK"] {
        for (what, plant) in plants(&ground).into_iter().filter(|(what, _)| !what.contains("hole")) {
            let case = format!("{what} for index/{inside}");
            remove(&ground.path("index").join(inside));
            plant(&ground.path("index").join(inside));
            assert_eq!(
                ground.use_up(&case).unwrap_or_else(|error| panic!("{case}: {error}")),
                BLOCKS as usize,
                "{case}"
            );
        }
    }
}

#[test]
fn a_log_that_is_no_directory_is_refused() {
    let ground = Ground::new();
    fs::rename(ground.path("log"), ground.path("kept")).expect("moved");
    for (what, plant) in plants(&ground).into_iter().filter(|(what, _)| !what.contains("directory")) {
        plant(&ground.path("log"));
        let refused = ground.use_up(what);
        assert!(matches!(refused, Err(StoreError::NotAStore { .. })), "{what}: {refused:?}");
        remove(&ground.path("log"));
    }
    fs::rename(ground.path("kept"), ground.path("log")).expect("moved back");
    assert_eq!(ground.use_up("the log again").expect("as before"), BLOCKS as usize);
}

#[test]
fn no_segment_is_read_or_written_through_a_link() {
    let ground = Ground::new();
    let newest = ground.segments().pop().expect("a segment");
    for (what, plant) in plants(&ground) {
        let kept = ground.outside("../kept");
        fs::rename(&newest, &kept).expect("moved");
        plant(&newest);
        // Blocks of the newest segment are gone, unless its second name has them; the rest is there.
        let there = ground.use_up(what).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(there > BLOCKS as usize / 2, "{what}: {there}");
        remove(&newest);
        fs::rename(&kept, &newest).expect("moved back");
    }
}

#[test]
fn names_of_segments_that_are_taken_are_passed_over() {
    let ground = Ground::new();
    let last = ground.segments().len() as u32;
    for (number, (_, plant)) in (last + 1..).zip(plants(&ground)) {
        plant(&ground.path(&format!("log/{number:08x}.seg")));
    }
    assert_eq!(ground.use_up("taken names").expect("it opens"), BLOCKS as usize);
}

#[test]
fn numbers_without_a_next_one_end_nothing() {
    let ground = Ground::new();
    let copy = fs::read(ground.outside("segment")).expect("a segment");
    for name in ["ffffffff", "7fffffff", "80000000", "fffffffe", "00000000"] {
        let path = ground.path(&format!("log/{name}.seg"));
        for bytes in [vec![0; 100], vec![0xff; 5000], copy.clone()] {
            fs::write(&path, bytes).expect("written");
            let used = ground.use_up(name);
            match name {
                // The last number that a segment can have: then there is no next, and that is said.
                "7fffffff" => assert!(used.is_err() || used.is_ok_and(|there| there == BLOCKS as usize)),
                _ => assert_eq!(used.unwrap_or_else(|error| panic!("{name}: {error}")), BLOCKS as usize, "{name}"),
            }
            let _ = fs::remove_file(&path);
        }
    }
}

#[test]
fn a_segment_of_a_terabyte_is_read_as_far_as_one_may_reach() {
    let ground = Ground::new();
    let newest = ground.segments().pop().expect("a segment");
    let file = fs::OpenOptions::new().write(true).open(&newest).expect("opened");
    file.set_len(1 << 40).expect("a hole");
    file.write_all_at(b"end", (1 << 40) - 3).expect("written");
    drop(file);
    assert_eq!(ground.use_up("a terabyte").expect("it opens"), BLOCKS as usize);
}

#[test]
fn whoever_owns_a_file_it_is_not_written_through_its_second_name() {
    let ground = Ground::new();
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root gives files away");
        return;
    }
    for path in ground.segments() {
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("given away");
    }
    assert_eq!(ground.use_up("files of another").expect("it opens"), BLOCKS as usize);
    let newest = ground.segments().pop().expect("a segment");
    let second = ground.dir.path().join("second");
    fs::hard_link(&newest, &second).expect("a second name");
    let (len, bytes) = (fs::metadata(&second).expect("there").len(), fs::read(&second).expect("read"));
    assert_eq!(ground.use_up("a second name").expect("it opens"), BLOCKS as usize);
    assert_eq!(fs::metadata(&second).expect("there").len(), len);
    assert!(fs::read(&second).expect("read") == bytes, "written through the second name");
    assert_eq!(fs::metadata(&second).expect("there").nlink(), 2);
}
