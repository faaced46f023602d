//! What each name leads to in the merge.

use std::collections::{BTreeMap, BTreeSet};

use cairn_block::{Content, FileType, Ino, Record};

use super::sibling::sibling_name;
use super::{Ancestor, Conflict, Disagreement, MergeError, Side, View, record};
use crate::changes::{Child, NameChange, Place};

/// What one side has under a name that the other side's keeps.
pub(super) struct Loser {
    pub(super) place: Place,
    pub(super) child: Child,
    pub(super) side: usize,
}

/// The namespace of the merge, as far as it differs from the ancestor's.
pub(super) struct Names<'a> {
    pub(super) views: [View<'a>; 2],
    pub(super) slots: BTreeMap<Place, NameChange>,
    pub(super) losers: Vec<Loser>,
    /// Where the directories are that a slot leads to.
    pub(super) dirs: BTreeMap<Ino, Place>,
    /// Directories whose move by the second side was undone.
    pub(super) undone: BTreeSet<Ino>,
    /// Directories that no side came near and the merge did, with their places.
    pub(super) passed: BTreeMap<Ino, (Record, Option<Place>)>,
    pub(super) conflicts: Vec<Conflict>,
}

/// What becomes of one name.
enum Decision {
    /// One thing, or nothing.
    Agreed(Option<Child>),
    /// One side's deletion is not followed, because the other edited what it deleted.
    Kept(Child),
    /// Two things, by side.
    Clash([Child; 2]),
}

impl<'a> Names<'a> {
    /// Decides every name that either side changed, on its own.
    pub(super) fn decide(sides: &'a [Side; 2]) -> Self {
        let mut names = Names {
            views: [View::new(&sides[0]), View::new(&sides[1])],
            slots: BTreeMap::new(),
            losers: Vec::new(),
            dirs: BTreeMap::new(),
            undone: BTreeSet::new(),
            passed: BTreeMap::new(),
            conflicts: Vec::new(),
        };
        let changed: BTreeSet<&Place> = sides.iter().flat_map(|side| side.changes.names.keys()).collect();
        for place in changed {
            names.settle(place);
        }
        names.keep_linked();
        names
    }

    /// A file with several names of which each side removed others, so that none is left: neither deleted it. It keeps those
    /// that the first side left it.
    fn keep_linked(&mut self) {
        let mut links: BTreeMap<Ino, i64> = BTreeMap::new();
        for slot in self.slots.values() {
            for (child, step) in [(slot.old, -1), (slot.new, 1)] {
                let Some(child) = child else { continue };
                *links.entry(child.ino).or_default() += step;
            }
        }
        links.retain(|ino, delta| {
            let old = self.views.iter().find_map(|view| view.changes().record_before(*ino));
            let is_file = old.is_some_and(|old| old.attr.kind != FileType::Directory);
            let left = old.map_or(0, |old| i64::from(old.attr.nlink)) + *delta;
            is_file && left <= 0 && !self.views.iter().any(|view| view.removes(*ino))
        });
        let first = self.views[0].changes();
        let mut losers = Vec::new();
        for (place, slot) in &mut self.slots {
            let Some(old) = slot.old.filter(|old| links.contains_key(&old.ino)) else { continue };
            match slot.new {
                _ if first.names.contains_key(place) => {}
                None => slot.new = Some(old),
                Some(_) => losers.push(Loser { place: place.clone(), child: old, side: 0 }),
            }
        }
        self.losers.extend(losers);
        for ino in links.into_keys() {
            self.note(Disagreement::Deletion, None, None, [ino; 2]);
        }
    }

    fn settle(&mut self, place: &Place) {
        let [a, b] = [0, 1].map(|side| self.views[side].changes().names.get(place).copied());
        let old = a.or(b).and_then(|change| change.old);
        let new = match self.decision(place, a, b) {
            Decision::Agreed(new) => new,
            Decision::Kept(child) => {
                self.note(Disagreement::Deletion, Some(place.clone()), None, [child.ino; 2]);
                Some(child)
            }
            Decision::Clash([first, second]) => {
                self.losers.push(Loser { place: place.clone(), child: second, side: 1 });
                Some(first)
            }
        };
        self.slots.insert(place.clone(), NameChange { old, new });
    }

    fn decision(&self, place: &Place, a: Option<NameChange>, b: Option<NameChange>) -> Decision {
        match (a, b) {
            (Some(a), Some(b)) => match (a.new, b.new) {
                (Some(first), Some(second)) if first != second => Decision::Clash([first, second]),
                (first, second) => Decision::Agreed(first.or(second)),
            },
            (Some(change), None) => self.one_sided(place, change, 0),
            (None, Some(change)) => self.one_sided(place, change, 1),
            (None, None) => Decision::Agreed(None),
        }
    }

    /// A name that only `side` changed: its will is done, unless it deleted what the other side cares for.
    fn one_sided(&self, place: &Place, change: NameChange, side: usize) -> Decision {
        let (changer, other) = (&self.views[side], &self.views[1 - side]);
        let cares = change
            .old
            .filter(|old| changer.removes(old.ino) && (other.edits(old.ino) || self.is_kept_whole(place.parent, side)));
        match (cares, change.new) {
            (None, new) => Decision::Agreed(new),
            (Some(old), None) => Decision::Kept(old),
            (Some(old), Some(new)) if side == 0 => Decision::Clash([new, old]),
            (Some(old), Some(new)) => Decision::Clash([old, new]),
        }
    }

    /// Whether `side` deleted a directory that the other side renamed, or one above it: then all it held stays.
    fn is_kept_whole(&self, mut dir: Ino, side: usize) -> bool {
        let (changer, other) = (&self.views[side], &self.views[1 - side]);
        let mut steps_left = changer.changes().homes.len();
        while changer.removes(dir) && steps_left > 0 {
            if other.named.contains(&dir) {
                return true;
            }
            let home = changer.changes().homes.get(&dir).and_then(|home| home.old.as_ref());
            let Some(home) = home else { return false };
            dir = home.parent;
            steps_left -= 1;
        }
        false
    }

    /// Gives every loser a name beside the one it lost.
    pub(super) fn seat_losers(&mut self, ancestor: &mut dyn Ancestor) -> Result<(), MergeError> {
        for Loser { place, child, side } in std::mem::take(&mut self.losers) {
            let slot = self.slots.get(&place).copied().unwrap_or_default();
            let mut inos = [slot.new.unwrap_or(child).ino; 2];
            inos[side] = child.ino;
            // An edit by the other side would be lost with the name; one of what has it by this side would be put in its place.
            let is_edited = self.views[1 - side].edits(child.ino) || self.views[side].edits(inos[1 - side]);
            if self.is_alike(inos) && !is_edited {
                continue;
            }
            let sibling = self.seat_beside(&place, child, side, ancestor)?;
            let about = if slot.old.is_some() { Disagreement::Content } else { Disagreement::Name };
            self.note(about, Some(place), Some(sibling), inos);
        }
        Ok(())
    }

    /// Whether the first side's version of one inode says all that the second side's of another does.
    fn is_alike(&self, inos: [Ino; 2]) -> bool {
        let [first, second] = [0, 1].map(|side| self.views[side].changes().record_after(inos[side]));
        first.zip(second).is_some_and(|(first, second)| record::is_alike(first, second))
    }

    /// Puts `child` at `place`, or beside it under the name of `side` if the place is taken. Says where it is.
    pub(super) fn seat(
        &mut self,
        place: &Place,
        child: Child,
        side: usize,
        ancestor: &mut dyn Ancestor,
    ) -> Result<Place, MergeError> {
        let slot = self.slots.get(place);
        let is_free = match slot {
            Some(slot) => slot.new.is_none_or(|new| new.ino == child.ino),
            None => !self.is_taken(place, ancestor)?,
        };
        if !is_free {
            return self.seat_beside(place, child, side, ancestor);
        }
        self.slots.entry(place.clone()).or_default().new = Some(child);
        self.remember(child, place);
        Ok(place.clone())
    }

    /// Puts `child` beside `place`, under a free name that tells whose it is.
    pub(super) fn seat_beside(
        &mut self,
        place: &Place,
        child: Child,
        side: usize,
        ancestor: &mut dyn Ancestor,
    ) -> Result<Place, MergeError> {
        let device_name = &self.views[side].side.device_name;
        let mut attempt = 1;
        loop {
            let name = sibling_name(&place.name, device_name, attempt);
            let sibling = Place { parent: place.parent, name };
            if !self.is_taken(&sibling, ancestor)? {
                self.slots.insert(sibling.clone(), NameChange { old: None, new: Some(child) });
                self.remember(child, &sibling);
                return Ok(sibling);
            }
            attempt += 1;
        }
    }

    /// Whether a name is in use, or was: a name that a side gave up is not given to something else.
    fn is_taken(&self, place: &Place, ancestor: &mut dyn Ancestor) -> Result<bool, MergeError> {
        if self.slots.contains_key(place) {
            return Ok(true);
        }
        let passed = self.passed.get(&place.parent).map(|(record, _)| record);
        let record = self.views.iter().find_map(|view| view.changes().record_before(place.parent)).or(passed);
        match record.map(|record| &record.content) {
            Some(Content::Dir(root)) => Ok(ancestor.is_taken(place.parent, root, &place.name)?),
            _ => Ok(false),
        }
    }

    /// Takes note of a directory that no side came near, and where it is.
    pub(super) fn meet(&mut self, dir: Record, home: Option<&Place>) {
        let ino = dir.attr.ino;
        if !self.views.iter().any(|view| view.changes().inodes.contains_key(&ino)) {
            self.passed.insert(ino, (dir, home.cloned()));
        }
    }

    fn remember(&mut self, child: Child, place: &Place) {
        if child.kind == FileType::Directory {
            self.dirs.insert(child.ino, place.clone());
        }
    }

    /// Notes a conflict between what the first side has of `inos[0]` and the second of `inos[1]`.
    pub(super) fn note(&mut self, about: Disagreement, place: Option<Place>, sibling: Option<Place>, inos: [Ino; 2]) {
        let old = |ino| self.views.iter().find_map(|view| view.changes().record_before(ino)).cloned();
        let ancestor = old(inos[0]).or_else(|| old(inos[1]));
        let sides = [0, 1].map(|side: usize| {
            let change = self.views[side].changes().inodes.get(&inos[side]);
            match change {
                Some(change) => change.new.clone(),
                None => old(inos[side]),
            }
        });
        self.conflicts.push(Conflict { about, place, sibling, ancestor, sides });
    }
}
