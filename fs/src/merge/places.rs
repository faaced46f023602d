//! What is kept needs a place: one parent for each directory, parents that exist, and no directory below itself.

use std::collections::{BTreeMap, BTreeSet};

use cairn_block::{FileType, Ino};

use super::names::Names;
use super::{Ancestor, Disagreement, MergeError};
use crate::changes::{Child, Place};

/// Lets every directory keep one name: where both sides moved it, the first side's.
pub(super) fn keep_one_place_each(names: &mut Names<'_>) -> Result<(), MergeError> {
    let mut claims: BTreeMap<Ino, Vec<Place>> = BTreeMap::new();
    let seated = names.slots.iter().filter_map(|(place, slot)| Some((place, slot.new?)));
    let standing = names.losers.iter().map(|loser| (&loser.place, loser.child));
    for (place, child) in seated.chain(standing) {
        if child.kind == FileType::Directory {
            claims.entry(child.ino).or_default().push(place.clone());
        }
    }
    for (ino, places) in claims {
        let first_side = names.views[0].changes();
        let wanted = |place: &&Place| {
            first_side.names.get(*place).and_then(|change| change.new).is_some_and(|child| child.ino == ino)
        };
        let Some(kept) = places.iter().find(wanted).or(places.first()).cloned() else {
            continue;
        };
        for place in places.iter().filter(|place| **place != kept) {
            give_up(names, ino, place);
            names.note(Disagreement::Directory, Some(kept.clone()), None, [ino; 2]);
        }
        if names.slots.get(&kept).and_then(|slot| slot.new).is_some_and(|child| child.ino == ino) {
            names.dirs.insert(ino, kept);
        }
    }
    Ok(())
}

fn give_up(names: &mut Names<'_>, ino: Ino, place: &Place) {
    names.losers.retain(|loser| loser.child.ino != ino || loser.place != *place);
    if let Some(slot) = names.slots.get_mut(place)
        && slot.new.is_some_and(|child| child.ino == ino)
    {
        slot.new = None;
    }
}

/// Brings back the directories that hold something that is kept, and undoes moves that would close a circle.
pub(super) fn anchor(names: &mut Names<'_>, ancestor: &mut dyn Ancestor) -> Result<(), MergeError> {
    let held: Vec<Ino> = names.slots.iter().filter(|(_, slot)| slot.new.is_some()).map(|(at, _)| at.parent).collect();
    bring_back(names, held, ancestor)?;
    // Ends, because every round undoes one more of the second side's moves.
    while let Some(circle) = find_circle(names) {
        let ino = breaking_point(names, &circle)?;
        names.undone.insert(ino);
        let parent = undo_move(names, ino, ancestor)?;
        bring_back(names, vec![parent], ancestor)?;
    }
    Ok(())
}

/// Gives every directory in `queue` a place if it has none, and so for those above it.
fn bring_back(names: &mut Names<'_>, mut queue: Vec<Ino>, ancestor: &mut dyn Ancestor) -> Result<(), MergeError> {
    while let Some(ino) = queue.pop() {
        let Some(remover) = missing_by(names, ino) else {
            continue;
        };
        let keeper = 1 - remover;
        let home = home(names, ino, keeper).ok_or(MergeError::Unsound { ino })?;
        let child = Child { ino, kind: FileType::Directory };
        let place = names.seat(&home, child, keeper, ancestor)?;
        names.note(Disagreement::Deletion, Some(place.clone()), None, [ino; 2]);
        queue.push(place.parent);
    }
    Ok(())
}

/// The side that took a directory away, if it has no place in the merge.
fn missing_by(names: &Names<'_>, ino: Ino) -> Option<usize> {
    if names.dirs.contains_key(&ino) {
        return None;
    }
    names.views.iter().position(|view| view.removes(ino))
}

/// Where a directory is on one side: where that side put it, or where the ancestor had it.
fn home(names: &Names<'_>, ino: Ino, side: usize) -> Option<Place> {
    let homes = |side: usize| names.views[side].changes().homes.get(&ino);
    let own = homes(side).and_then(|home| home.new.as_ref());
    own.or_else(|| homes(1 - side).and_then(|home| home.old.as_ref())).cloned()
}

/// The directory above, in the merge. `None` for the root and for what no side came near.
fn parent(names: &Names<'_>, ino: Ino) -> Option<Ino> {
    if let Some(place) = names.dirs.get(&ino) {
        return Some(place.parent);
    }
    let homes = names.views.iter().filter_map(|view| view.changes().homes.get(&ino)?.new.as_ref());
    homes.map(|place| place.parent).next()
}

/// A circle of directories, each the parent of the one before. They can only close through one that has a new place.
fn find_circle(names: &Names<'_>) -> Option<Vec<Ino>> {
    let mut sound: BTreeSet<Ino> = BTreeSet::new();
    for &start in names.dirs.keys() {
        let mut path = Vec::new();
        let mut on_path = BTreeSet::new();
        let mut next = Some(start);
        while let Some(ino) = next.filter(|ino| !sound.contains(ino)) {
            if !on_path.insert(ino) {
                let from = path.iter().position(|other| *other == ino).unwrap_or_default();
                return Some(path.split_off(from));
            }
            path.push(ino);
            next = parent(names, ino);
        }
        sound.extend(path);
    }
    None
}

/// The directory whose move is undone.
///
/// There is one that the second side moved and the first side has: without it, going round the circle would stay within
/// the tree of one side, and that has none. A side that is no tree is refused here.
fn breaking_point(names: &Names<'_>, circle: &[Ino]) -> Result<Ino, MergeError> {
    let [first, second] = &names.views;
    let is_moved = |ino: &&Ino| second.named.contains(*ino) && !first.removes(**ino) && !names.undone.contains(*ino);
    let ino = circle.first().copied().unwrap_or(Ino::ROOT);
    circle.iter().filter(is_moved).min().copied().ok_or(MergeError::Unsound { ino })
}

/// Puts a directory back to where the first side has it. Says what it is in now.
fn undo_move(names: &mut Names<'_>, ino: Ino, ancestor: &mut dyn Ancestor) -> Result<Ino, MergeError> {
    if let Some(place) = names.dirs.remove(&ino) {
        give_up(names, ino, &place);
    }
    let home = home(names, ino, 0).ok_or(MergeError::Unsound { ino })?;
    let place = names.seat(&home, Child { ino, kind: FileType::Directory }, 0, ancestor)?;
    names.note(Disagreement::Directory, Some(place.clone()), None, [ino; 2]);
    Ok(place.parent)
}
