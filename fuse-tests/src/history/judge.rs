//! The judge of a recovered tree: is it a prefix of what was done, and does it hold everything that was promised?

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use super::{History, Model, Note, Step, folder};
use crate::tree::Tree;

/// What a crash left, in steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Steps that were begun since the last verdict.
    pub begun: usize,
    /// Steps of those that are there.
    pub kept: usize,
    /// Steps of those that had to be there, because of an fsync.
    pub promised: usize,
}

impl History {
    /// Compares the tree with the notes. `Err` says what is wrong, at length.
    ///
    /// Afterwards the notes are what is there: the work goes on from the recovered state.
    pub fn judge(&mut self, kept_before: &mut Vec<usize>) -> Result<Verdict, String> {
        kept_before.resize(self.diaries.len(), 0);
        let mut verdict = Verdict::default();
        let (mut ranges, mut torn) = (Vec::new(), Vec::new());
        for (worker, kept) in kept_before.iter().enumerate() {
            let state = self.states_seen(worker, *kept)?;
            ranges.push(state.steps);
            torn.push(state.begun);
        }
        self.check_promises(&ranges, kept_before, &mut verdict)?;
        self.check_prefix(&ranges)?;
        for ((worker, range), begun) in ranges.iter().enumerate().zip(torn) {
            verdict.begun += self.diaries[worker].notes.len() - kept_before[worker];
            verdict.kept += range.end() - kept_before[worker];
            let notes = &mut self.diaries[worker].notes;
            notes.truncate(*range.end());
            // What a write began goes on as a shorter write.
            notes.extend(begun.map(|step| Note {
                step,
                started: self.clock.fetch_add(1, Ordering::SeqCst),
                ended: None,
            }));
            // A call that was cut off and whose change is there counts as ended by the crash.
            if let Some(cut_off) = notes.last_mut().filter(|note| note.ended.is_none()) {
                cut_off.ended = Some(self.clock.fetch_add(1, Ordering::SeqCst));
            }
            kept_before[worker] = notes.len();
        }
        Ok(verdict)
    }

    /// The numbers of steps after which a worker's directory looked as it does now. Steps that change nothing,
    /// or back and forth, make several numbers right: the lowest and the highest of them.
    fn states_seen(&self, worker: usize, from: usize) -> Result<State, String> {
        let place = folder(&self.root, worker);
        let seen = Tree::of(&place).map_err(|e| format!("{} can't be read: {e}", place.display()))?;
        let notes = &self.diaries[worker].notes;
        let mut model = Model::after(notes[..from].iter().map(|note| &note.step));
        let mut range = None::<RangeInclusive<usize>>;
        // Numbers of steps after which the fewest things are different: several where steps change nothing that is seen.
        let (mut fewest, mut nearest) = (usize::MAX, Vec::new());
        for steps in from..=notes.len() {
            if steps > from {
                model.apply(&notes[steps - 1].step);
            }
            let differing = seen.differences(&model.tree(), usize::MAX).len();
            if differing == 0 {
                range = Some(range.map_or(steps, |range| *range.start())..=steps);
            }
            if differing < fewest {
                fewest = differing;
                nearest.clear();
            }
            if differing == fewest {
                nearest.push(steps);
            }
        }
        if let Some(steps) = range {
            return Ok(State { steps, begun: None });
        }
        let begun = nearest.iter().find_map(|steps| begun_write(&seen, notes, *steps));
        begun.ok_or_else(|| explain(worker, &seen, notes, nearest.first().copied().unwrap_or(from)))
    }

    fn check_promises(
        &self,
        ranges: &[RangeInclusive<usize>],
        from: &[usize],
        verdict: &mut Verdict,
    ) -> Result<(), String> {
        // An fsync that itself was begun before a crash we already judged was kept by that crash.
        let kept =
            self.diaries.iter().flat_map(|diary| &diary.notes).filter(|note| note.step.keeps() && note.ended.is_some());
        let Some(promise) = kept.max_by_key(|note| note.started) else {
            return Ok(());
        };
        for (worker, range) in ranges.iter().enumerate() {
            let promised = ended_before(&self.diaries[worker].notes, promise.started);
            if *range.end() < promised {
                let lost = &self.diaries[worker].notes[*range.end()];
                return Err(format!(
                    "worker {worker}: only {} of {promised} steps that had ended before {promise:?} are there; the first lost is {lost:?}",
                    range.end()
                ));
            }
            verdict.promised += promised.saturating_sub(from[worker]);
        }
        Ok(())
    }

    fn check_prefix(&self, ranges: &[RangeInclusive<usize>]) -> Result<(), String> {
        for (cause, there) in ranges.iter().enumerate() {
            // The last step that is certainly there.
            let Some(last) = there.start().checked_sub(1).and_then(|i| self.diaries[cause].notes.get(i)) else {
                continue;
            };
            for (worker, range) in ranges.iter().enumerate() {
                let before = ended_before(&self.diaries[worker].notes, last.started);
                if *range.end() < before {
                    return Err(format!(
                        "{last:?} of worker {cause} is there, but of {before} steps of worker {worker} that had ended before it started only {} are",
                        range.end()
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The state a directory was found in.
struct State {
    steps: RangeInclusive<usize>,
    /// The part of the next step that is there as well.
    begun: Option<Step>,
}

/// The kernel cuts a write into several requests, at the borders of pages. Each of them is there or isn't, and that is all
/// that is promised of a call: the first of them may be the last thing that is there.
fn begun_write(seen: &Tree, notes: &[Note], steps: usize) -> Option<State> {
    let before = Model::after(notes[..steps].iter().map(|note| &note.step));
    let parts = notes.get(steps)?.step.parts(&before);
    let begun = parts.into_iter().find(|part| {
        let mut model = before.clone();
        model.apply(part);
        model.tree() == *seen
    })?;
    Some(State { steps: steps..=steps, begun: Some(begun) })
}

/// How many steps of a worker had ended at `moment`.
fn ended_before(notes: &[Note], moment: u64) -> usize {
    notes.partition_point(|note| note.ended.is_some_and(|ended| ended < moment))
}

fn explain(worker: usize, seen: &Tree, notes: &[Note], nearest: usize) -> String {
    let model = Model::after(notes[..nearest].iter().map(|note| &note.step)).tree();
    let mut text = format!(
        "worker {worker}: its directory is no state it ever had; nearest is the one after {nearest} of {} steps.\n",
        notes.len()
    );
    let _ = writeln!(text, "found (left) and expected (right):\n{:#?}", seen.differences(&model, 10));
    let _ = writeln!(text, "steps around it:");
    for (index, note) in notes.iter().enumerate().skip(nearest.saturating_sub(3)).take(6) {
        let _ = writeln!(text, "  {} {note:?}", index + 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    fn worked() -> (tempfile::TempDir, History) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut history = History::new(dir.path(), 2, 7).expect("a history");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(150));
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            history.work(&stop).expect("an ordinary directory takes every step");
        });
        (dir, history)
    }

    #[test]
    fn an_undisturbed_history_is_whole() {
        let (_dir, mut history) = worked();
        let begun = history.len();
        assert!(begun > 20, "only {begun} steps in the time");
        let verdict = history.judge(&mut Vec::new()).expect("a whole history");
        assert_eq!((verdict.begun, verdict.kept), (begun, begun));
    }

    #[test]
    fn a_lost_file_is_found() {
        let (dir, mut history) = worked();
        let file = std::fs::read_dir(dir.path().join("worker-0"))
            .expect("a directory")
            .flatten()
            .find(|e| e.path().is_file())
            .expect("a file");
        std::fs::remove_file(file.path()).expect("remove");
        let complaint = history.judge(&mut Vec::new()).expect_err("a file is missing");
        assert!(complaint.contains(&*file.file_name().to_string_lossy()), "{complaint}");
    }

    #[test]
    fn a_lost_end_after_an_fsync_is_found() {
        let (_dir, mut history) = worked();
        // As if two more steps had ended, and an fsync after them.
        let notes = &mut history.diaries[0].notes;
        let moment = history.clock.load(std::sync::atomic::Ordering::SeqCst);
        for (i, step) in [Step::Create { path: "lost".into() }, Step::Sync].into_iter().enumerate() {
            notes.push(Note { step, started: moment + 2 * i as u64, ended: Some(moment + 2 * i as u64 + 1) });
        }
        let complaint = history.judge(&mut Vec::new()).expect_err("a promised file is missing");
        assert!(complaint.contains("lost"), "{complaint}");
    }
}
