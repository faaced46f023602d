//! Which inodes of the second side are the first side's.
//!
//! An inode of the ancestor is the same on both sides. New ones are told apart by number and birth: devices give out numbers
//! out of ranges of their own, which may once in a long while be the same: then equal numbers are different files, and those of
//! the second side get others.
//! Where both sides made the same thing under the same name, a directory or a file of equal content, it becomes one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cairn_block::{FileType, Ino, Record, merged_ino};

use super::record::holds_same;
use super::{MergeError, Side};
use crate::changes::{Changes, Child, Place};
use crate::reader::ReadError;

/// Renames the second side's new inodes so that equal numbers mean equal inodes.
pub(super) fn align(sides: &mut [Side; 2]) -> Result<(), MergeError> {
    let [first, second] = sides;
    let mut numbers = unify(&first.changes, &second.changes);
    for (&ino, change) in &second.changes.inodes {
        let is_clash = change.old.is_none() && first.changes.adds(ino) && !is_same(first, second, ino);
        if is_clash && !numbers.contains_key(&ino) {
            let record = second.changes.record_after(ino).ok_or(MergeError::Unsound { ino })?;
            let is_taken = |number: Ino| {
                let is_met =
                    [&first.changes, &second.changes].iter().any(|changes| changes.inodes.contains_key(&number));
                is_met || numbers.values().any(|given| *given == number)
            };
            let number = set_apart([first, second], record, is_taken)?;
            numbers.insert(ino, number);
        }
    }
    if !numbers.is_empty() {
        second.changes = renumber(&second.changes, &numbers);
    }
    Ok(())
}

/// A number for something that can't keep its own. It follows from what that is and from the heads that are merged, so that
/// whoever merges these gives the same one, and another merge, in which the same version loses again, another one: what the
/// first one set apart may be there still.
pub(super) fn set_apart(sides: [&Side; 2], record: &Record, is_taken: impl Fn(Ino) -> bool) -> Result<Ino, MergeError> {
    let mut what = Vec::new();
    for (device, seq) in sides.map(|side| side.rank) {
        what.extend_from_slice(device.as_bytes());
        what.extend_from_slice(&seq.to_le_bytes());
    }
    what.extend_from_slice(&record.encode().map_err(ReadError::from)?);
    let free = (0..).map(|attempt| merged_ino(&what, attempt)).find(|number| !is_taken(*number));
    free.ok_or(MergeError::Unsound { ino: record.attr.ino })
}

/// Whether both sides got a new inode from the same birth, as happens when one has merged the other before.
fn is_same(first: &Side, second: &Side, ino: Ino) -> bool {
    match (first.changes.record_after(ino), second.changes.record_after(ino)) {
        (Some(a), Some(b)) => is_same_birth(a, b),
        _ => false,
    }
}

fn is_same_birth(a: &Record, b: &Record) -> bool {
    a.attr.kind == b.attr.kind && a.attr.btime == b.attr.btime
}

/// Pairs the new inodes that both sides put under one name and that can be one: from the second side's number to the
/// first's. From the top down, because the children of a pair of directories are found only once these are one.
fn unify(first: &Changes, second: &Changes) -> BTreeMap<Ino, Ino> {
    let mut numbers = BTreeMap::new();
    let mut taken: BTreeSet<Ino> = BTreeSet::new();
    let mut queue: VecDeque<(Place, Child)> = second
        .names
        .iter()
        .filter(|(place, _)| !second.adds(place.parent))
        .filter_map(|(place, change)| Some((place.clone(), change.new?)))
        .collect();
    while let Some((place, theirs)) = queue.pop_front() {
        let Some(ours) = first.names.get(&place).and_then(|change| change.new) else {
            continue;
        };
        let (Some(a), Some(b)) = (first.record_after(ours.ino), second.record_after(theirs.ino)) else {
            continue;
        };
        let both_new = first.adds(ours.ino) && second.adds(theirs.ino);
        let same_already = ours.ino == theirs.ino && is_same_birth(a, b);
        // Two inodes of the second side never become one, nor does one become two.
        let is_free = !taken.contains(&ours.ino) && !numbers.contains_key(&theirs.ino);
        let is_theirs_too = second.record_after(ours.ino).is_some_and(|other| is_same_birth(a, other));
        if !both_new || !is_free || !(same_already || (!is_theirs_too && can_be_one(a, b))) {
            continue;
        }
        taken.insert(ours.ino);
        numbers.insert(theirs.ino, ours.ino);
        if theirs.kind == FileType::Directory {
            for (below, change) in children(second, theirs.ino) {
                let Some(child) = change else { continue };
                queue.push_back((Place { parent: ours.ino, name: below.name.clone() }, child));
            }
        }
    }
    numbers
}

/// The names that changed in one directory.
fn children(changes: &Changes, dir: Ino) -> impl Iterator<Item = (&Place, Option<Child>)> {
    let start = Place { parent: dir, name: bytes::Bytes::new() };
    let names = changes.names.range(start..).take_while(move |(place, _)| place.parent == dir);
    names.map(|(place, change)| (place, change.new))
}

/// Whether two new inodes under one name are one: directories always, others if what they hold is equal.
fn can_be_one(a: &Record, b: &Record) -> bool {
    let is_directory = a.attr.kind == FileType::Directory;
    a.attr.kind == b.attr.kind && (is_directory || holds_same(a, b))
}

/// The same changes with other numbers.
fn renumber(changes: &Changes, numbers: &BTreeMap<Ino, Ino>) -> Changes {
    let number = |ino: Ino| numbers.get(&ino).copied().unwrap_or(ino);
    let place = |place: &Place| Place { parent: number(place.parent), name: place.name.clone() };
    let child = |child: Child| Child { ino: number(child.ino), ..child };
    let mut out = Changes { next_ino: changes.next_ino, ..Changes::default() };
    for (at, change) in &changes.names {
        let mut change = *change;
        change.new = change.new.map(child);
        out.names.insert(place(at), change);
    }
    for (&ino, change) in &changes.inodes {
        let mut change = change.clone();
        if let Some(record) = &mut change.new {
            record.attr.ino = number(ino);
        }
        out.inodes.insert(number(ino), change);
    }
    for (&ino, home) in &changes.homes {
        let mut home = home.clone();
        home.new = home.new.as_ref().map(place);
        out.homes.insert(number(ino), home);
    }
    out.linked_old = changes.linked_old.clone();
    out.linked_new = changes.linked_new.iter().map(|&ino| number(ino)).collect();
    out
}
