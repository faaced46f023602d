//! Files of a store that are cut, zeroed, exchanged, doubled, lost or grown: it opens, serves whatever was not hit, never
//! gives other bytes, and says what is wrong.
//!
//! Each mishap meets a store whose index was kept, and one that has to make it anew. The short form takes a sample;
//! `CAIRN_SCALE=full` all of them. `CAIRN_SEED` repeats a random run.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cairn_block::Block;

use super::rig::{DiskRig, Luck, copy, directory, files, is_full, options};
use crate::disk::inner::Place;
use crate::disk::{DiskOptions, DiskStore};
use crate::testing::{ask, block, volume};
use crate::{BlockStore, HeadStore, Scrubber, StoreError};

/// Something that happens to a file, or to the store in a directory.
type Mishap<'a> = &'a dyn Fn(&Path);

const HEADER: u64 = 72;
const SIZES: [usize; 5] = [200, 9000, 1500, 30_000, 64];

/// A closed store of some segments, and where each block lies.
struct Sample {
    rig: DiskRig,
    blocks: Vec<(Block, Lies)>,
}

/// The record of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lies {
    segment: PathBuf,
    from: u64,
    to: u64,
}

impl Sample {
    fn new() -> Self {
        let mut rig = DiskRig::with(DiskOptions { segment_bytes: 200 << 10, ..options() });
        let blocks: Vec<_> = (0..70).map(|n| block(n, SIZES[n as usize % SIZES.len()])).collect();
        for (n, block) in blocks.iter().enumerate() {
            rig.disk().put(block).expect("put");
            if n % 10 == 4 {
                rig.disk().sync().expect("sync");
            }
        }
        rig.disk().checkpoint().expect("checkpoint");
        let inner = &rig.disk().inner;
        let lies = |block: &Block| {
            let Ok(Some(Place::At(at))) = inner.find(&block.id()) else { panic!("not on the disk") };
            let (from, to) = (u64::from(at.offset) - 84, u64::from(at.offset + at.len) + 8);
            let path = inner.log.segments.path(at.segment);
            let segment = path.strip_prefix(rig.path()).expect("below").to_owned();
            Lies { segment, from, to: to.next_multiple_of(8) }
        };
        let lying = blocks.iter().map(lies).collect::<Vec<_>>();
        rig.close();
        Self { rig, blocks: blocks.into_iter().zip(lying).collect() }
    }

    /// Segments by their path in the store, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let below = |path: &PathBuf| path.strip_prefix(self.rig.path()).expect("below").to_owned();
        self.rig.segments().iter().map(below).collect()
    }

    /// Lets something happen to a copy, with and without its index, and looks at what is left.
    fn suffer(&self, case: &str, hit: &Hit, mishap: &dyn Fn(&Path)) -> usize {
        for has_index in [true, false] {
            let dir = directory();
            copy(self.rig.path(), dir.path());
            mishap(dir.path());
            if !has_index {
                std::fs::remove_dir_all(dir.path().join("index")).expect("remove");
            }
            let case = format!("{case}, {}", if has_index { "index kept" } else { "index lost" });
            self.look(dir.path(), &case, hit, has_index);
        }
        2
    }

    fn look(&self, dir: &Path, case: &str, hit: &Hit, has_index: bool) {
        let store = DiskStore::open(dir, DiskOptions { segment_bytes: 200 << 10, ..options() });
        let store = store.unwrap_or_else(|error| panic!("{case}: not opened: {error}"));
        let mut lost = 0;
        for (block, lies) in &self.blocks {
            match store.get(&block.id(), ask()) {
                Ok(Some(found)) => assert_eq!(&found, block, "{case}: other bytes"),
                Ok(None) | Err(StoreError::Damaged { .. }) => {
                    assert!(hit.meets(lies), "{case}: the block at {lies:?} was not hit, and is not served");
                    lost += 1;
                }
                Err(error) => panic!("{case}: {error}"),
            }
        }
        let report = store.scrub(&mut |_| {}).unwrap_or_else(|error| panic!("{case}: {error}"));
        let is_said = !report.damaged.is_empty()
            || !store.damage().is_empty()
            || store.open_report().torn_bytes > 0
            || !store.open_report().foreign_files.is_empty();
        // Without an index a log that ends early at a record's end looks like one that never went on.
        let can_be_told = has_index || !hit.is_silent;
        assert!(is_said || lost == 0 || !can_be_told, "{case}: {lost} blocks are lost, and nothing says so");
        // It goes on.
        for (n, (hurt, _)) in self.blocks.iter().enumerate().filter(|(n, _)| n % 9 == 0) {
            let new = block(1000 + n as u64, 20_000);
            let put = store.put(&new).and_then(|_| store.put(hurt)).and_then(|_| store.sync());
            put.unwrap_or_else(|error| panic!("{case}: no put: {error}"));
            for block in [&new, hurt] {
                let found = store.get(&block.id(), ask()).unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(found.as_ref(), Some(block), "{case}: put, and not there");
            }
        }
        store.append_delta(&volume(1), 1, &block(5000, 300)).unwrap_or_else(|error| panic!("{case}: {error}"));
        store.close().unwrap_or_else(|error| panic!("{case}: not closed: {error}"));
    }
}

/// What of a store a mishap touched.
#[derive(Default)]
struct Hit {
    stretches: Vec<(PathBuf, u64, u64)>,
    /// Without the index, nothing is left that could say so.
    is_silent: bool,
}

impl Hit {
    fn nothing() -> Self {
        Self::default()
    }

    fn stretch(path: &Path, from: u64, to: u64) -> Self {
        Self { stretches: vec![(path.to_owned(), from, to)], is_silent: false }
    }

    fn meets(&self, lies: &Lies) -> bool {
        self.stretches.iter().any(|(path, from, to)| lies.segment == *path && *from < lies.to && lies.from < *to)
    }
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("open")
}

/// All of a list, or of it `short` spread over it.
fn some<T>(all: Vec<T>, short: usize) -> Vec<T> {
    let step = if is_full() { 1 } else { all.len().div_ceil(short).max(1) };
    all.into_iter().step_by(step).collect()
}

#[test]
fn a_segment_cut_anywhere_costs_what_was_cut_off() {
    let sample = Sample::new();
    let (segments, mut luck) = (sample.segments(), Luck::of_this_run("cuts"));
    let last = segments.last().expect("a segment").clone();
    let mut cuts: Vec<(PathBuf, u64)> = Vec::new();
    for (_, lies) in &sample.blocks {
        cuts.extend([lies.to - 1, lies.to, lies.to + 1].map(|to| (lies.segment.clone(), to)));
    }
    for path in &segments {
        let len = std::fs::metadata(sample.rig.path().join(path)).expect("metadata").len();
        let at_random = (0..10).map(|_| luck.below(len));
        cuts.extend(at_random.chain([0, 1, HEADER - 1, HEADER, HEADER + 1]).map(|to| (path.clone(), to)));
    }
    let cases: usize = some(cuts, 16)
        .into_iter()
        .map(|(path, to)| {
            let mut hit = Hit::stretch(&path, to, u64::MAX);
            hit.is_silent = path == last;
            sample.suffer(&format!("{} cut to {to}", path.display()), &hit, &|dir| {
                let file = open(&dir.join(&path));
                file.set_len(to.min(file.metadata().expect("metadata").len())).expect("cut");
            })
        })
        .sum();
    println!("{cases} cuts, seed {}", luck.seed());
}

#[test]
fn a_zeroed_page_costs_the_blocks_in_it() {
    const PAGE: u64 = 4096;
    let sample = Sample::new();
    let segments = sample.segments();
    let last = segments.last().expect("a segment").clone();
    let pages = segments.iter().flat_map(|path| {
        let len = std::fs::metadata(sample.rig.path().join(path)).expect("metadata").len();
        (0..len.div_ceil(PAGE)).map(move |page| (path.clone(), page * PAGE, len.min((page + 1) * PAGE)))
    });
    let cases: usize = some(pages.collect(), 12)
        .into_iter()
        .map(|(path, from, to)| {
            let mut hit = Hit::stretch(&path, from, to);
            // At the end of the log it looks like what a crash leaves, and the open report counts it.
            hit.is_silent = path == last;
            sample.suffer(&format!("{} zeroed from {from}", path.display()), &hit, &|dir| {
                open(&dir.join(&path)).write_all_at(&vec![0; (to - from) as usize], from).expect("write");
            })
        })
        .sum();
    println!("{cases} zeroed pages");
}

#[test]
fn bits_flipped_in_any_file_are_survived_by_opening_anew() {
    let sample = Sample::new();
    let mut luck = Luck::of_this_run("flips and opens");
    let names: Vec<PathBuf> =
        sample.rig.files().iter().map(|path| path.strip_prefix(sample.rig.path()).expect("below").to_owned()).collect();
    let per_file = if is_full() { 150 } else { 2 };
    let mut cases = 0;
    for name in &names {
        let len = std::fs::metadata(sample.rig.path().join(name)).expect("metadata").len();
        for _ in 0..if len == 0 { 0 } else { per_file } {
            let (at, bit) = (luck.below(len), luck.below(8));
            let mut hit = Hit::stretch(name, at, at + 1);
            hit.is_silent = Some(name) == sample.segments().last();
            cases += sample.suffer(&format!("{} bit {bit} of byte {at}", name.display()), &hit, &|dir| {
                let file = File::options().read(true).write(true).open(dir.join(name)).expect("open");
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).expect("read");
                file.write_all_at(&[byte[0] ^ 1 << bit], at).expect("write");
            });
        }
    }
    println!("{cases} flips with an open after each, seed {}", luck.seed());
}

#[test]
fn segments_exchanged_doubled_lost_or_grown_are_told_apart() {
    let sample = Sample::new();
    let segments = sample.segments();
    let (first, last) = (segments[0].clone(), segments.last().expect("a segment").clone());
    let next = |by: usize| PathBuf::from(format!("log/{:08x}.seg", segments.len() + by));
    let mut cases = 0;
    for pair in segments.windows(2) {
        cases += sample.suffer(&format!("{} and the next exchanged", pair[0].display()), &Hit::nothing(), &|dir| {
            let (a, b, aside) = (dir.join(&pair[0]), dir.join(&pair[1]), dir.join("aside"));
            std::fs::rename(&a, &aside).and_then(|()| std::fs::rename(&b, &a)).expect("rename");
            std::fs::rename(&aside, &b).expect("rename");
        });
    }
    // Under the next free number, where the store would go on; under one far ahead; beside the one it is.
    for (what, name) in [("next", next(1)), ("next but one", next(2)), ("last of all", "log/ffffffff.seg".into())] {
        for from in [&first, &last] {
            cases += sample.suffer(&format!("{} doubled as the {what}", from.display()), &Hit::nothing(), &|dir| {
                std::fs::copy(dir.join(from), dir.join(&name)).expect("copy");
            });
        }
    }
    for path in &segments {
        let mut hit = Hit::stretch(path, 0, u64::MAX);
        // A segment that a collection has emptied is gone as well.
        hit.is_silent = true;
        cases += sample.suffer(&format!("{} lost", path.display()), &hit, &|dir| {
            std::fs::remove_file(dir.join(path)).expect("remove");
        });
        for rubbish in [vec![0; 5000], vec![0xA5; 5000], b"CRNr\x01\x01\0\0".repeat(600), vec![7; 3]] {
            cases +=
                sample.suffer(&format!("{} grown by {}", path.display(), rubbish.len()), &Hit::nothing(), &|dir| {
                    let file = open(&dir.join(path));
                    file.write_all_at(&rubbish, file.metadata().expect("metadata").len()).expect("write");
                });
        }
        cases += sample.suffer(
            &format!("the first records of {} again at its end", path.display()),
            &Hit::nothing(),
            &|dir| {
                let file = open(&dir.join(path));
                let mut bytes = vec![0; 12_000];
                file.read_exact_at(&mut bytes, HEADER).expect("read");
                file.write_all_at(&bytes, file.metadata().expect("metadata").len()).expect("write");
            },
        );
    }
    println!("{cases} exchanged, doubled, lost and grown segments");
}

#[test]
fn any_file_of_the_index_can_be_damaged_or_lost() {
    let sample = Sample::new();
    let all: Vec<_> = files(&sample.rig.path().join("index"))
        .iter()
        .map(|path| path.strip_prefix(sample.rig.path()).expect("below").to_owned())
        .collect();
    let has = |start: &str| {
        all.iter().any(|path| path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(start)))
    };
    assert!(has("CURRENT") && has("MANIFEST") && has("OPTIONS"), "{all:?}");
    let mut cases = 0;
    for path in &all {
        let kinds: [(&str, Mishap<'_>); 6] = [
            ("lost", &|path| std::fs::remove_file(path).expect("remove")),
            ("emptied", &|path| open(path).set_len(0).expect("cut")),
            ("halved", &|path| {
                let file = open(path);
                file.set_len(file.metadata().expect("metadata").len() / 2).expect("cut");
            }),
            ("zeroed", &|path| {
                let file = open(path);
                let len = file.metadata().expect("metadata").len();
                file.write_all_at(&vec![0; len as usize], 0).expect("write");
            }),
            ("grown", &|path| {
                let file = open(path);
                file.write_all_at(&[0xA5; 3000], file.metadata().expect("metadata").len()).expect("write");
            }),
            ("a link to nowhere", &|path| {
                std::fs::remove_file(path).expect("remove");
                std::os::unix::fs::symlink("nowhere", path).expect("symlink");
            }),
        ];
        for (what, mishap) in kinds {
            let dir = directory();
            copy(sample.rig.path(), dir.path());
            mishap(&dir.path().join(path));
            sample.look(dir.path(), &format!("{} {what}", path.display()), &Hit::nothing(), true);
            cases += 1;
        }
    }
    println!("{cases} damaged files of an index: nothing lost");
}
