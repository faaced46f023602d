//! What each inode is in the merge, once it is known what names there are.

use std::collections::{BTreeMap, BTreeSet};

use cairn_block::{FileType, Ino, Record};

use super::identity::set_apart;
use super::names::Names;
use super::{Ancestor, Conflict, Disagreement, MergeError, Merged, record};
use crate::changes::{Changes, Child, Home, InodeChange, Place};

/// A directory without subdirectories has two links: its name and its own dot.
const DIRECTORY_LINKS: i64 = 2;

/// The last step: merges the inodes and turns everything into changes from the ancestor.
pub(super) fn merge(names: Names<'_>, ancestor: &mut dyn Ancestor, next_ino: u64) -> Result<Merged, MergeError> {
    let mut step = Step { links: Links::count(&names), names, next_ino, inodes: BTreeMap::new() };
    let met: BTreeSet<Ino> = step.names.views.iter().flat_map(|view| view.changes().inodes.keys().copied()).collect();
    for ino in met {
        step.settle(ino, ancestor)?;
    }
    Ok(step.finish())
}

/// How the number of names of each inode changes.
struct Links {
    /// Of files: names. Of directories: subdirectories.
    deltas: BTreeMap<Ino, i64>,
    places: BTreeMap<Ino, Vec<Place>>,
}

impl Links {
    fn count(names: &Names<'_>) -> Self {
        let mut links = Links { deltas: BTreeMap::new(), places: BTreeMap::new() };
        for (place, slot) in &names.slots {
            for (child, step) in [(slot.old, -1), (slot.new, 1)] {
                let Some(child) = child else { continue };
                let counted = if child.kind == FileType::Directory { place.parent } else { child.ino };
                *links.deltas.entry(counted).or_default() += step;
            }
            if let Some(child) = slot.new {
                links.places.entry(child.ino).or_default().push(place.clone());
            }
        }
        links
    }

    fn delta(&self, ino: Ino) -> i64 {
        self.deltas.get(&ino).copied().unwrap_or_default()
    }
}

struct Step<'a> {
    names: Names<'a>,
    links: Links,
    next_ino: u64,
    inodes: BTreeMap<Ino, InodeChange>,
}

impl Step<'_> {
    fn settle(&mut self, ino: Ino, ancestor: &mut dyn Ancestor) -> Result<(), MergeError> {
        let views = &self.names.views;
        let old = views.iter().find_map(|view| view.changes().record_before(ino)).cloned();
        let new = match self.link_count(ino, old.as_ref()) {
            Some(nlink) => {
                let sides = [0, 1].map(|side: usize| match views[side].changes().inodes.get(&ino) {
                    Some(change) => change.new.clone(),
                    None => old.clone(),
                });
                let mut record = self.merge_sides(ino, old.as_ref(), sides, ancestor)?;
                record.attr.nlink = nlink;
                Some(record)
            }
            None => None,
        };
        if old.is_some() || new.is_some() {
            self.inodes.insert(ino, InodeChange { old, new });
        }
        Ok(())
    }

    /// The number of links of an inode, `None` if nothing leads to it.
    fn link_count(&self, ino: Ino, old: Option<&Record>) -> Option<u32> {
        let is_directory = self.names.views.iter().any(|view| {
            let change = view.changes().inodes.get(&ino);
            let record = change.and_then(|change| change.new.as_ref().or(change.old.as_ref()));
            record.is_some_and(|record| record.attr.kind == FileType::Directory)
        });
        let start = old.map_or(if is_directory { DIRECTORY_LINKS } else { 0 }, |old| i64::from(old.attr.nlink));
        let nlink = start + self.links.delta(ino);
        let is_alive = if is_directory { self.has_place(ino) } else { nlink > 0 };
        is_alive.then(|| u32::try_from(nlink).unwrap_or(u32::MAX))
    }

    fn has_place(&self, dir: Ino) -> bool {
        let is_new = self.names.views.iter().any(|view| view.changes().adds(dir));
        let is_removed = self.names.views.iter().any(|view| view.removes(dir));
        dir == Ino::ROOT || self.names.dirs.contains_key(&dir) || !(is_new || is_removed)
    }

    fn merge_sides(
        &mut self,
        ino: Ino,
        old: Option<&Record>,
        sides: [Option<Record>; 2],
        ancestor: &mut dyn Ancestor,
    ) -> Result<Record, MergeError> {
        let (a, b) = match sides {
            [Some(a), Some(b)] => (a, b),
            [Some(record), None] | [None, Some(record)] => return Ok(record),
            [None, None] => return old.cloned().ok_or(MergeError::Unsound { ino }),
        };
        let merged = record::merge(old, [&a, &b], ancestor)?;
        if merged.clashes_in_content {
            self.keep_beside(ino, old, [a, b], ancestor)?;
        } else if merged.clashes_in_attributes {
            let place = self.place_of(ino);
            self.note(Disagreement::Attributes, place, None, old, [a, b]);
        }
        Ok(merged.record)
    }

    /// Gives the second side's version of a file an inode and a name of its own.
    fn keep_beside(
        &mut self,
        ino: Ino,
        old: Option<&Record>,
        [a, b]: [Record; 2],
        ancestor: &mut dyn Ancestor,
    ) -> Result<(), MergeError> {
        let place = match self.place_of(ino) {
            Some(place) => place,
            None => self.find_place(ino, ancestor)?,
        };
        let is_taken = |number: Ino| {
            let is_met = self.names.views.iter().any(|view| view.changes().inodes.contains_key(&number));
            is_met || self.inodes.contains_key(&number)
        };
        let sides = [0, 1].map(|side: usize| self.names.views[side].side);
        let copy = set_apart(sides, &b, is_taken)?;
        let child = Child { ino: copy, kind: b.attr.kind };
        let sibling = self.names.seat_beside(&place, child, 1, ancestor)?;
        let mut record = b.clone();
        record.attr.ino = copy;
        record.attr.nlink = 1;
        self.inodes.insert(copy, InodeChange { old: None, new: Some(record) });
        self.links.places.insert(copy, vec![sibling.clone()]);
        self.note(Disagreement::Content, Some(place), Some(sibling), old, [a, b]);
        Ok(())
    }

    /// A name of an inode in the merge, if one is known: the second side's, as it is its version that looks for one.
    fn place_of(&self, ino: Ino) -> Option<Place> {
        let leads_here = |place: &&Place| match self.names.slots.get(*place) {
            Some(slot) => slot.new.is_some_and(|child| child.ino == ino),
            None => true,
        };
        let homes = self.names.views.iter().rev().filter_map(|view| view.changes().homes.get(&ino)?.new.as_ref());
        let named = self.links.places.get(&ino).into_iter().flatten();
        homes.filter(leads_here).chain(named).next().cloned()
    }

    /// A name of an inode of the link table that no side touched, with the directories on the way to it, which the merge now
    /// has to know as well.
    fn find_place(&mut self, ino: Ino, ancestor: &mut dyn Ancestor) -> Result<Place, MergeError> {
        let slots = &self.names.slots;
        let trail = ancestor.trail(ino, &mut |place| !slots.contains_key(place))?;
        let trail = trail.ok_or(MergeError::Unsound { ino })?;
        let places: Vec<Place> = trail.places().collect();
        for (index, dir) in trail.dirs.into_iter().enumerate() {
            let home = index.checked_sub(1).and_then(|above| places.get(above));
            self.names.meet(dir, home);
        }
        places.last().cloned().ok_or(MergeError::Unsound { ino })
    }

    fn note(
        &mut self,
        about: Disagreement,
        place: Option<Place>,
        sibling: Option<Place>,
        ancestor: Option<&Record>,
        sides: [Record; 2],
    ) {
        let conflict = Conflict { about, place, sibling, ancestor: ancestor.cloned(), sides: sides.map(Some) };
        self.names.conflicts.push(conflict);
    }

    fn finish(self) -> Merged {
        let linked_old = self.union(|changes| &changes.linked_old);
        let linked_new = self.linked();
        let homes = self.homes(&linked_new);
        let Step { names, mut inodes, next_ino, .. } = self;
        let mut slots = names.slots;
        slots.retain(|_, slot| slot.old != slot.new);
        for (dir, (record, _)) in names.passed {
            let same = || InodeChange { old: Some(record.clone()), new: Some(record.clone()) };
            inodes.entry(dir).or_insert_with(same);
        }
        let children = slots.values().flat_map(|slot| [slot.old, slot.new]).flatten().map(|child| child.ino);
        let children: BTreeSet<Ino> = children.collect();
        inodes.retain(|ino, change| {
            let is_directory = change.new.as_ref().is_some_and(|record| record.attr.kind == FileType::Directory);
            let is_moved = linked_old.contains(ino) != linked_new.contains(ino);
            change.old != change.new || children.contains(ino) || is_directory || is_moved
        });
        let changes = Changes { names: slots, inodes, homes, linked_old, linked_new, next_ino };
        Merged { changes, conflicts: names.conflicts }
    }

    /// The inodes whose record belongs into the link table: they were linked on some side, or have several names now.
    fn linked(&self) -> BTreeSet<Ino> {
        let is_gone = |ino: &Ino| self.inodes.get(ino).is_some_and(|change| change.new.is_none());
        let mut linked = self.union(|changes| &changes.linked_new);
        linked.retain(|ino| !is_gone(ino));
        for (&ino, change) in &self.inodes {
            let has_several = change
                .new
                .as_ref()
                .is_some_and(|record| record.attr.kind != FileType::Directory && record.attr.nlink > 1);
            if has_several {
                linked.insert(ino);
            }
        }
        linked
    }

    fn union(&self, set: impl Fn(&Changes) -> &BTreeSet<Ino>) -> BTreeSet<Ino> {
        self.names.views.iter().flat_map(|view| set(view.changes()).iter().copied()).collect()
    }

    fn homes(&self, linked: &BTreeSet<Ino>) -> BTreeMap<Ino, Home> {
        let met: BTreeSet<Ino> =
            self.names.views.iter().flat_map(|view| view.changes().homes.keys().copied()).collect();
        let created = self.inodes.keys().copied();
        let mut homes = BTreeMap::new();
        for ino in met.into_iter().chain(created).filter(|&ino| ino != Ino::ROOT) {
            let sides = || self.names.views.iter().filter_map(|view| view.changes().homes.get(&ino));
            let old = sides().find_map(|home| home.old.clone());
            let is_gone = self.inodes.get(&ino).is_some_and(|change| change.new.is_none());
            let new = if is_gone || linked.contains(&ino) { None } else { self.new_home(ino) };
            homes.insert(ino, Home { old, new });
        }
        for (&dir, (_, home)) in &self.names.passed {
            homes.entry(dir).or_insert_with(|| Home { old: home.clone(), new: home.clone() });
        }
        homes
    }

    fn new_home(&self, ino: Ino) -> Option<Place> {
        let seat = self.links.places.get(&ino).and_then(|places| places.first());
        let place = self.names.dirs.get(&ino).or(seat).cloned();
        place.or_else(|| self.place_of(ino))
    }
}
