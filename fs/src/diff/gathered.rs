//! Telling of changes that are gathered: with renames, in the order of paths.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use cairn_block::{Ino, Nodes, VolumeRoot};

use super::{Change, DiffError, What, difference, facts, names_of, replacement, said};
use crate::changes::{Changes, NameChange, Place};
use crate::reader::ReadError;

pub(super) fn gathered<N>(
    nodes: &mut N,
    changes: &Changes,
    after: &VolumeRoot,
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<(), DiffError>
where
    N: Nodes<Error = ReadError>,
{
    let mut account = Account { changes, told: Vec::new() };
    let renamed = account.names();
    let unplaced = account.inodes(&renamed);
    let told: HashSet<Bytes> = account.told.iter().map(|change| change.path.clone()).collect();
    for (path, ino) in names_of(nodes, after, unplaced)? {
        if !told.contains(&path) {
            account.modified(path, ino);
        }
    }
    account.told.sort_by(|a, b| a.path.cmp(&b.path));
    account.told.into_iter().try_for_each(|change| said(tell, change))
}

/// One of the two states.
#[derive(Clone, Copy)]
enum State {
    Before,
    After,
}

/// Turns changes into paths.
struct Account<'a> {
    changes: &'a Changes,
    told: Vec<Change>,
}

impl Account<'_> {
    /// Tells of the names that changed. Returns the inodes that are told of with that.
    fn names(&mut self) -> BTreeSet<Ino> {
        let mut gone: BTreeMap<Ino, Vec<&Place>> = BTreeMap::new();
        let mut here: BTreeMap<Ino, Vec<&Place>> = BTreeMap::new();
        for (place, NameChange { old, new }) in &self.changes.names {
            old.iter().for_each(|child| gone.entry(child.ino).or_default().push(place));
            new.iter().for_each(|child| here.entry(child.ino).or_default().push(place));
        }
        let mut came: BTreeMap<&Place, &Place> = BTreeMap::new();
        let mut left: BTreeSet<&Place> = BTreeSet::new();
        for (ino, olds) in &gone {
            for (old, new) in olds.iter().zip(here.get(ino).into_iter().flatten()) {
                came.insert(new, old);
                left.insert(old);
            }
        }
        for (place, change) in &self.changes.names {
            let from = came.get(place).copied();
            self.name(place, *change, from, left.contains(place));
        }
        here.into_keys().collect()
    }

    /// Tells of one name: where what it leads to came from, and whether what it led to only left.
    fn name(&mut self, place: &Place, change: NameChange, from: Option<&Place>, has_left: bool) {
        let old = change.old.filter(|_| !has_left).map(|child| (child.ino, self.changes.record_before(child.ino)));
        let new = change.new.map(|child| (child.ino, self.changes.record_after(child.ino)));
        let [old_facts, new_facts] = [&old, &new].map(|side| side.and_then(|(_, record)| record.map(facts)));
        let state = if new.is_some() { State::After } else { State::Before };
        let what = match (from, old, new) {
            (Some(from), _, Some((ino, _))) => {
                let (data, meta) = self.difference(ino);
                What::Renamed { from: self.path(from, State::Before), data, meta }
            }
            (None, Some((_, old)), Some((_, new))) => replacement(old, new),
            (None, None, Some(_)) => What::Added,
            (_, Some(_), None) => What::Removed,
            (_, None, None) => return,
        };
        let old = match (&what, new) {
            (What::Renamed { .. }, Some((ino, _))) => self.changes.record_before(ino).map(facts),
            _ => old_facts,
        };
        self.told.push(Change { path: self.path(place, state), what, old, new: new_facts });
    }

    /// Tells of the inodes that changed in place. Returns those whose names aren't known.
    fn inodes(&mut self, told: &BTreeSet<Ino>) -> HashSet<Ino> {
        let mut unplaced = HashSet::new();
        for (&ino, change) in &self.changes.inodes {
            // A linked inode may have names beside those that were told of.
            let is_told = told.contains(&ino) && !self.changes.linked_new.contains(&ino);
            if is_told || change.old.is_none() || change.new.is_none() {
                continue;
            }
            if self.difference(ino) == (false, false) {
                continue;
            }
            let home = self.changes.homes.get(&ino).and_then(|home| home.new.as_ref());
            match home {
                Some(home) => self.modified(self.path(home, State::After), ino),
                None if ino == Ino::ROOT => self.modified(Bytes::from_static(b"/"), ino),
                None => drop(unplaced.insert(ino)),
            }
        }
        unplaced
    }

    fn modified(&mut self, path: Bytes, ino: Ino) {
        let (data, meta) = self.difference(ino);
        let [old, new] =
            [self.changes.record_before(ino), self.changes.record_after(ino)].map(|record| record.map(facts));
        self.told.push(Change { path, what: What::Modified { data, meta }, old, new });
    }

    /// Whether an inode holds something else, and whether its attributes differ.
    fn difference(&self, ino: Ino) -> (bool, bool) {
        match (self.changes.record_before(ino), self.changes.record_after(ino)) {
            (Some(old), Some(new)) => difference(old, new),
            _ => (false, false),
        }
    }

    /// A path in one of the states: up through the homes of the directories, which were all met on the way down.
    fn path(&self, place: &Place, state: State) -> Bytes {
        let mut names = vec![&place.name];
        let mut dir = place.parent;
        while names.len() <= self.changes.homes.len() {
            let home = self.changes.homes.get(&dir).and_then(|home| match state {
                State::Before => home.old.as_ref(),
                State::After => home.new.as_ref(),
            });
            let Some(home) = home else { break };
            names.push(&home.name);
            dir = home.parent;
        }
        let mut path = Vec::new();
        for name in names.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path.into()
    }
}
