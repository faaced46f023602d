//! Several devices that do things, hear of each other or not, crash, and in the end agree. Nothing that was acknowledged, and that
//! nobody replaced or removed knowingly, is lost.
//!
//! The keeper of a volume works by the clock, so a seed repeats the steps and not each schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_block::FileType;
use cairn_fs::FsError;
use cairn_store::testing::{Extent, Random, explore};

use super::device::{Device, Net, within_reach};
use super::look::{Cached, check, look, root};

const NAMES: [&str; 4] = ["a", "b.txt", "d", "e"];
/// Rounds of everybody telling everybody, after which all have to be quiet: one for merges of all there was, one for those whose
/// ancestors were not the same, one to see that nothing comes of it.
const ROUNDS_MAX: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Write(u8, String),
    Mkdir(u8, String),
    Remove(u8, String),
    Rename(u8, String, String),
    Link(u8, String, String),
    Sync(u8),
    Flush(u8),
    /// Some of the heads of the one reach the other, in some order.
    Tell(u8, u8, u64),
    Absorb(u8),
    Split(u64),
    Heal,
    Restart(u8),
    Crash(u8, u64),
    Collect(u8),
    Thin(u8),
}

fn path(random: &mut Random) -> String {
    let depth = 1 + random.below(3).min(random.below(3));
    let names: Vec<&str> = (0..depth).map(|_| NAMES[random.below(NAMES.len() as u64) as usize]).collect();
    names.join("/")
}

fn step(random: &mut Random) -> Step {
    let device = random.below(60) as u8;
    match random.below(100) {
        0..25 => Step::Write(device, path(random)),
        25..32 => Step::Mkdir(device, path(random)),
        32..38 => Step::Remove(device, path(random)),
        38..46 => Step::Rename(device, path(random), path(random)),
        46..50 => Step::Link(device, path(random), path(random)),
        50..56 => Step::Sync(device),
        56..60 => Step::Flush(device),
        60..76 => Step::Tell(device, random.below(60) as u8, random.bits()),
        76..88 => Step::Absorb(device),
        88..90 => Step::Split(random.bits()),
        90..92 => Step::Heal,
        92..94 => Step::Restart(device),
        94..96 => Step::Crash(device, random.bits()),
        96..98 => Step::Collect(device),
        _ => Step::Thin(device),
    }
}

struct Play {
    net: Arc<Net>,
    devices: Vec<Option<Device>>,
    /// Counts contents, so that each is another.
    texts: u64,
    /// Contents that each device wrote and has not synced.
    unsynced: Vec<Vec<Vec<u8>>>,
    acknowledged: BTreeSet<Vec<u8>>,
    /// Contents that somebody replaced or removed, having seen them.
    replaced: BTreeSet<Vec<u8>>,
}

impl Play {
    fn new(count: usize) -> Play {
        let net = Arc::new(Net::default());
        let devices = (0..count).map(|_| Some(Device::new(&net))).collect();
        Play {
            net,
            devices,
            texts: 0,
            unsynced: vec![Vec::new(); count],
            acknowledged: BTreeSet::new(),
            replaced: BTreeSet::new(),
        }
    }

    fn at(&self, device: u8) -> usize {
        usize::from(device) % self.devices.len()
    }

    fn device(&self, at: usize) -> &Device {
        self.devices[at].as_ref().expect("open")
    }

    /// What is at a path may be gone after this.
    fn give_up(&mut self, at: usize, path: &str) {
        if let Ok(text) = self.device(at).read(path) {
            self.replaced.insert(text);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(device, path) => {
                let at = self.at(*device);
                self.give_up(at, path);
                self.texts += 1;
                let text = format!("text {}", self.texts).into_bytes();
                if allowed(self.device(at).write(path, &text)) {
                    self.unsynced[at].push(text);
                }
            }
            Step::Mkdir(device, path) => {
                allowed(self.device(self.at(*device)).make(path, FileType::Directory));
            }
            Step::Remove(device, path) => {
                let at = self.at(*device);
                self.give_up(at, path);
                allowed(self.device(at).remove(path));
            }
            Step::Rename(device, from, to) => {
                let at = self.at(*device);
                self.give_up(at, to);
                allowed(self.device(at).rename(from, to));
            }
            Step::Link(device, from, to) => {
                allowed(self.device(self.at(*device)).link(from, to));
            }
            Step::Sync(device) => self.sync(self.at(*device)),
            Step::Flush(device) => {
                within_reach(self.device(self.at(*device)).volume.flush());
            }
            Step::Tell(from, to, luck) => self.tell(self.at(*from), self.at(*to), *luck),
            Step::Absorb(device) => self.absorb(self.at(*device)),
            Step::Split(luck) => self.net.split(|at| (*luck >> at & 1) as u8),
            Step::Heal => self.net.split(|_| 0),
            Step::Restart(device) => {
                let at = self.at(*device);
                self.sync(at);
                self.devices[at] = self.devices[at].take().map(Device::restart);
            }
            Step::Crash(device, luck) => {
                let at = self.at(*device);
                let mut random = Random::new(*luck);
                let crash = |store: &cairn_store::MemoryStore| store.crash_keeping(|_| random.one_in(2));
                self.devices[at] = self.devices[at].take().map(|device| device.again(crash));
                self.unsynced[at].clear();
            }
            Step::Collect(device) => self.collect(self.at(*device)),
            Step::Thin(device) => {
                let later = cairn_block::Timestamp { secs: 1 << 40, nanos: 0 };
                self.device(self.at(*device)).volume.thin(later).expect("thinned");
            }
        }
    }

    fn sync(&mut self, at: usize) {
        use cairn_fs::ops::Operations;
        self.device(at).volume.sync_all().expect("a sync");
        self.acknowledged.extend(self.unsynced[at].drain(..));
    }

    fn tell(&self, from: usize, to: usize, luck: u64) {
        if from == to || !self.net.connects(from, to) {
            return;
        }
        let mut random = Random::new(luck);
        let mut heads = self.device(from).heads();
        heads.retain(|_| !random.one_in(4));
        for at in (1..heads.len()).rev() {
            heads.swap(at, random.below(at as u64 + 1) as usize);
        }
        for (.., bytes) in &heads {
            self.device(to).receive(bytes).expect("a sound head");
        }
    }

    fn absorb(&self, at: usize) {
        let device = self.device(at);
        if !self.net.is_whole() {
            return device.try_to_absorb();
        }
        let cached = Cached::all(device, &NAMES);
        let (_, touched) = device.absorb_telling();
        check(device);
        cached.hold_against(device, &touched);
    }

    fn collect(&self, at: usize) {
        let device = self.device(at);
        // Trees that are out of reach can't be walked: then nothing is removed.
        let volumes = [device.volume.clone()];
        let none = || Some(Vec::new());
        drop(cairn_fs::sweep(&volumes, &device.store, &none, cairn_store::SweepOptions::default(), &mut |_| {}));
    }

    /// Everybody is connected, and tells everybody everything until nothing is new.
    fn settle(&self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "still not quiet after {ROUNDS_MAX} rounds");
            for at in 0..self.devices.len() {
                self.device(at).volume.flush().expect("a flush");
            }
            let mut news = 0;
            for to in 0..self.devices.len() {
                news += (0..self.devices.len())
                    .filter(|from| *from != to)
                    .map(|from| self.device(to).hear(self.device(from)))
                    .sum::<usize>();
            }
            let mut is_quiet = news == 0;
            for at in 0..self.devices.len() {
                let absorbed = self.device(at).absorb();
                assert!(absorbed.waiting.is_empty(), "{:?} can't be had", absorbed.waiting);
                is_quiet &= absorbed.changed == 0 && absorbed.head.is_none();
            }
            if is_quiet {
                return;
            }
        }
    }

    fn end(mut self) {
        self.net.split(|_| 0);
        (0..self.devices.len()).for_each(|at| self.sync(at));
        if self.acknowledged.is_empty() {
            return;
        }
        self.settle();
        let shown = self.agreed("in the end");
        let there: BTreeSet<&[u8]> = shown.values().map(|shown| &shown.text[..]).collect();
        for text in self.acknowledged.difference(&self.replaced) {
            let name = String::from_utf8_lossy(text);
            assert!(there.contains(&text[..]), "{name:?} is lost; there are {:#?}", paths(&shown));
        }
        (0..self.devices.len()).for_each(|at| check(self.device(at)));
        // Starting again comes to the same, and has nothing to say to the others.
        for at in 0..self.devices.len() {
            self.devices[at] = self.devices[at].take().map(|device| device.again(|store| store.crash()));
        }
        let heads: Vec<usize> = self.devices.iter().flatten().map(|device| device.heads().len()).collect();
        for device in self.devices.iter().flatten() {
            device.absorb();
        }
        let again = self.agreed("after a start");
        assert_eq!(paths(&again), paths(&shown));
        let later: Vec<usize> = self.devices.iter().flatten().map(|device| device.heads().len()).collect();
        assert_eq!(later, heads, "heads that say nothing new");
    }

    fn agreed(&self, when: &str) -> BTreeMap<String, super::look::Shown> {
        let first = look(self.device(0));
        for at in 1..self.devices.len() {
            assert_eq!(first, look(self.device(at)), "the first device and number {at} differ {when}");
            assert_eq!(root(self.device(0)), root(self.device(at)), "trees differ {when}");
        }
        first
    }
}

fn paths(shown: &BTreeMap<String, super::look::Shown>) -> Vec<(String, String)> {
    shown.iter().map(|(path, shown)| (path.clone(), String::from_utf8_lossy(&shown.text).into_owned())).collect()
}

/// Whether it was done. What can't be done because of what is there is fine.
fn allowed(result: Result<(), FsError>) -> bool {
    use FsError::{Exists, IntoItself, Invalid, IsDirectory, NotDirectory, NotEmpty, NotFound, NotPermitted};
    match result {
        Ok(()) => true,
        Err(Exists | IntoItself | Invalid | IsDirectory | NotDirectory | NotEmpty | NotFound | NotPermitted) => false,
        // What was absorbed while there was a connection may be needed when there is none.
        Err(FsError::Store(cairn_store::StoreError::NotFetched { .. })) => false,
        Err(error) => panic!("{error}"),
    }
}

fn run(count: usize, steps: &mut dyn Iterator<Item = Step>) {
    let mut play = Play::new(count);
    for step in steps {
        play.step(&step);
    }
    play.end();
}

#[test]
fn three_devices_agree_and_lose_nothing() {
    let extents = (Extent { runs: 20, steps: 120 }, Extent { runs: 4_000, steps: 1_000 });
    explore("three devices", extents, step, |steps| run(3, steps));
}

#[test]
fn five_devices_agree_and_lose_nothing() {
    let extents = (Extent { runs: 8, steps: 160 }, Extent { runs: 2_000, steps: 1_500 });
    explore("five devices", extents, step, |steps| run(5, steps));
}
