//! Volumes in one store, each changed by a thread of its own: by chance, or by a script.
//!
//! What a cut leaves of a volume must be one of the states that it went through, and none before the last that was
//! acknowledged. Because a thread does one step after the other, there is exactly one order.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_block::{BlockId, DeviceKey, MasterKey, Timestamp, VolumeKeys};
use cairn_fs::verify::{CheckOptions, Checker, Event, Scope};
use cairn_fs::{Volume, VolumeConfig, VolumeOptions, sweep};
use cairn_store::SweepOptions;
use cairn_store::disk::{DiskOptions, DiskStore};

use super::Over;
use super::disk::Witness;
use super::prove::Work;
use super::sketch::{Seen, Sketch, Step, print_of};
use super::store_work::{open_store, told};
use super::volume_driver::{apply, look};
use crate::Random;

/// Volumes and what they are put through.
#[derive(Debug)]
pub struct VolumeWork {
    what: String,
    seed: u64,
    openings: usize,
    collects: bool,
    diaries: Vec<Diary>,
}

/// What one volume went through.
#[derive(Debug)]
struct Diary {
    number: usize,
    script: Script,
    random: Random,
    sketch: Sketch,
    steps: Vec<Step>,
    /// What could be seen after so many steps: one more than there are steps.
    prints: Vec<u64>,
    acknowledged: Vec<(usize, u64)>,
    snapshots: Vec<Snapshot>,
}

#[derive(Debug)]
enum Script {
    /// So many steps each time that it is opened.
    Chance(usize),
    /// These, in as many parts as it is opened.
    Given(Vec<Step>),
}

#[derive(Debug)]
struct Snapshot {
    label: String,
    root: BlockId,
    seen: u64,
}

impl VolumeWork {
    /// Random steps: `steps` of them in each of `volumes`, each time that they are opened.
    pub fn by_chance(seed: u64, volumes: usize, steps: usize, openings: usize) -> VolumeWork {
        let diaries = (0..volumes).map(|number| Diary::new(seed, number, Script::Chance(steps)));
        let what = format!("{volumes} volumes opened {openings} times");
        VolumeWork { what, seed, openings, collects: true, diaries: diaries.collect() }
    }

    /// One script for each volume.
    pub fn by_script(what: &str, seed: u64, scripts: Vec<Vec<Step>>) -> VolumeWork {
        let given = scripts.into_iter().enumerate();
        let diaries = given.map(|(number, script)| Diary::new(seed, number, Script::Given(script)));
        VolumeWork { what: what.to_owned(), seed, openings: 1, collects: false, diaries: diaries.collect() }
    }

    /// Steps that were done.
    pub fn steps(&self) -> usize {
        self.diaries.iter().map(|diary| diary.steps.len()).sum()
    }

    fn judge_once(&self, dir: &Path, kept: u64) -> Result<(usize, Vec<Seen>), String> {
        let opened = Opened::new(dir, &self.diaries)?;
        if !opened.store.damage().is_empty() {
            return Err(format!("damage where there is none: {:?}", opened.store.damage()));
        }
        let (mut promises, mut all) = (0, Vec::new());
        for (diary, volume) in self.diaries.iter().zip(&opened.volumes) {
            let seen = look(volume).map_err(|e| format!("volume {}: {}", diary.number, told(&e)))?;
            promises += diary.judge(&seen, kept).map_err(|e| format!("volume {}: {e}", diary.number))?;
            promises += diary.check(volume, kept).map_err(|e| format!("volume {}: {e}", diary.number))?;
            all.push(seen);
        }
        opened.close()?;
        Ok((promises, all))
    }
}

impl Work for VolumeWork {
    fn name(&self) -> String {
        self.what.clone()
    }

    fn run(&mut self, dir: &Path, witness: &Witness) {
        for opening in 0..self.openings {
            let opened = Opened::new(dir, &self.diaries).unwrap_or_else(|e| panic!("{e}"));
            let (done, collects) = (AtomicBool::new(false), self.collects);
            let random = Random::new(self.seed ^ opening as u64);
            std::thread::scope(|scope| {
                let (done, opened) = (&done, &opened);
                let over = Over(done);
                let caretaker = scope.spawn(move || opened.caretake(done, collects, random));
                let openings = self.openings;
                let pairs = self.diaries.iter_mut().zip(&opened.volumes);
                let workers: Vec<_> = pairs
                    .map(|(diary, volume)| scope.spawn(move || diary.run(volume, opening, openings, witness)))
                    .collect();
                workers.into_iter().for_each(|worker| worker.join().expect("a worker doesn't panic"));
                drop(over);
                caretaker.join().expect("the caretaker doesn't panic");
            });
            opened.close().unwrap_or_else(|e| panic!("{e}"));
        }
    }

    fn judge(&self, dir: &Path, kept: u64) -> Result<usize, String> {
        let (promises, seen) = self.judge_once(dir, kept)?;
        // What was found once is found again.
        let (_, again) = self.judge_once(dir, kept)?;
        match seen == again {
            true => Ok(promises),
            false => Err("opening it a second time shows another state".to_owned()),
        }
    }
}

impl Diary {
    fn new(seed: u64, number: usize, script: Script) -> Diary {
        let sketch = Sketch::default();
        Diary {
            number,
            script,
            random: Random::new(seed.wrapping_mul(37).wrapping_add(number as u64)),
            prints: vec![print_of(&sketch.seen())],
            sketch,
            steps: Vec::new(),
            acknowledged: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    fn run(&mut self, volume: &Arc<Volume>, opening: usize, openings: usize, witness: &Witness) {
        let count = match &self.script {
            Script::Chance(steps) => *steps,
            Script::Given(steps) => (steps.len() * (opening + 1)).div_ceil(openings) - self.steps.len(),
        };
        for _ in 0..count {
            let step = match &self.script {
                Script::Chance(_) => self.sketch.propose(&mut self.random, self.steps.len()),
                Script::Given(steps) => steps[self.steps.len()].clone(),
            };
            self.make(volume, step, witness);
        }
    }

    fn make(&mut self, volume: &Volume, step: Step, witness: &Witness) {
        assert!(self.sketch.apply(&step), "{step:?} can't be done");
        self.steps.push(step.clone());
        self.prints.push(print_of(&self.sketch.seen()));
        let made = match &step {
            Step::Snapshot { label } => volume.snapshot(Some(label)).map(|head| Some((label.clone(), head.root.id))),
            step => apply(volume, step).map(|()| None),
        };
        let snapshot = made.unwrap_or_else(|e| panic!("a sound disk refuses {step:?}: {}", told(&e)));
        let seen = witness.count();
        self.snapshots.extend(snapshot.map(|(label, root)| Snapshot { label, root, seen }));
        if step.keeps() {
            self.acknowledged.push((self.steps.len(), seen));
        }
    }

    /// Whether this is one of the states since the last acknowledged one. Gives how many steps had to be there.
    fn judge(&self, seen: &Seen, kept: u64) -> Result<usize, String> {
        let acknowledged = self.acknowledged.iter().filter(|(_, seen)| *seen <= kept);
        let least = acknowledged.map(|(steps, _)| *steps).max().unwrap_or(0);
        let print = print_of(seen);
        match self.prints[least..].contains(&print) {
            true => Ok(least),
            false => Err(self.explain(seen, least)),
        }
    }

    fn explain(&self, seen: &Seen, least: usize) -> String {
        let mut sketch = Sketch::default();
        let mut nearest = (usize::MAX, 0, Vec::new());
        for steps in 0..=self.steps.len() {
            if steps > 0 {
                sketch.apply(&self.steps[steps - 1]);
            }
            let differing = differences(seen, &sketch.seen());
            if (differing.len(), usize::MAX - steps) < (nearest.0, usize::MAX - nearest.1) {
                nearest = (differing.len(), steps, differing);
            }
        }
        let (_, steps, differing) = nearest;
        let around = &self.steps[steps.saturating_sub(4)..(steps + 4).min(self.steps.len())];
        format!(
            "of {} steps {least} were acknowledged; nearest is the state after {steps}, but for {differing:#?}\naround it: {around:#?}",
            self.steps.len()
        )
    }

    /// Every head is whole, and every snapshot that was acknowledged is there.
    fn check(&self, volume: &Volume, kept: u64) -> Result<usize, String> {
        let heads = volume.history().map_err(|e| told(&e))?;
        let mut findings = Vec::new();
        let mut watch = |event| {
            if let Event::Finding(finding) = event {
                findings.push(finding.to_string());
            }
            ControlFlow::Continue(())
        };
        let keys = self.keys();
        let options = CheckOptions { data: true, ..CheckOptions::default() };
        let mut checker = Checker::new(volume.reader(), keys.names(), options, &mut watch);
        for (age, head) in heads.iter().rev().enumerate() {
            let scope = if age == 0 { Scope::Whole } else { Scope::New };
            checker.head(&head.root, scope).map_err(|e| told(&e))?;
        }
        if !findings.is_empty() {
            return Err(format!("a check finds {findings:#?}"));
        }
        let mut promises = 0;
        for snapshot in self.snapshots.iter().filter(|snapshot| snapshot.seen <= kept) {
            let head = heads.iter().find(|head| head.label.as_ref() == Some(&snapshot.label));
            if head.is_none_or(|head| head.root.id != snapshot.root) {
                return Err(format!("the snapshot {} is lost", snapshot.label));
            }
            promises += 1;
        }
        Ok(promises)
    }

    fn keys(&self) -> VolumeKeys {
        VolumeKeys::derive(&MasterKey::from_bytes([3; 32]), self.number.to_string().as_bytes())
    }
}

fn differences(found: &Seen, wanted: &Seen) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let differing = names.into_iter().filter(|name| found.get(*name) != wanted.get(*name));
    differing.map(|name| format!("{name}: found {:?}, not {:?}", found.get(name), wanted.get(name))).collect()
}

/// A store and its volumes.
struct Opened {
    // Before the store: they use it.
    volumes: Vec<Arc<Volume>>,
    store: Arc<DiskStore>,
}

impl Opened {
    fn new(dir: &Path, diaries: &[Diary]) -> Result<Opened, String> {
        let options = DiskOptions {
            segment_bytes: 256 << 10,
            reserve_bytes: 2 << 20,
            index_cache_bytes: 1 << 20,
            ..DiskOptions::default()
        };
        let store = Arc::new(open_store(dir, &options)?);
        let open = |diary: &Diary| {
            let config = VolumeConfig {
                keys: diary.keys(),
                device: DeviceKey::from_bytes(&[9; 32]),
                store: store.clone(),
                heads: store.clone(),
                hints: store.clone(),
                options: VolumeOptions::default(),
            };
            Volume::open(config).map_err(|e| format!("volume {} doesn't open: {}", diary.number, told(&e)))
        };
        Ok(Opened { volumes: diaries.iter().map(open).collect::<Result<_, _>>()?, store })
    }

    fn caretake(&self, done: &AtomicBool, collects: bool, mut random: Random) {
        while !done.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10 + random.below(40)));
            match random.below(3) {
                0 => self.store.checkpoint().unwrap_or_else(|e| panic!("a sound disk refuses: {}", told(&e))),
                _ if collects => {
                    for volume in &self.volumes {
                        volume.thin(now()).unwrap_or_else(|e| panic!("a sound disk refuses: {}", told(&e)));
                    }
                    let swept =
                        sweep(&self.volumes, &*self.store, &|| Some(Vec::new()), SweepOptions::default(), &mut |_| ());
                    swept.unwrap_or_else(|e| panic!("a sound disk refuses: {}", told(&e)));
                }
                _ => {}
            }
        }
    }

    fn close(self) -> Result<(), String> {
        for volume in &self.volumes {
            volume.close().map_err(|e| format!("a volume doesn't close: {}", told(&e)))?;
        }
        drop(self.volumes);
        let store = Arc::try_unwrap(self.store).map_err(|_| "somebody still has the store".to_owned())?;
        store.close().map_err(|e| format!("the store doesn't close: {}", told(&e)))
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}
