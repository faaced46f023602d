//! snapshot, history, diff, restore, undo, forget.

use std::collections::VecDeque;

use std::ops::ControlFlow;

use cairn_block::{Head, HeadKind, Record};
use cairn_fs::diff::{self, DiffError, Facts, What};
use cairn_fs::ops::Change as CacheChange;
use cairn_fs::tree::{self, PathError};
use cairn_fs::{Touched, Volume, read_root};
use jiff::Timestamp;

use super::care::ask;
use super::open::Node;
use super::paths::Place;
use crate::control::events::Reporter;
use crate::control::routes::{
    Change, DiffQuestion, ForgetQuestion, Forgotten, HistoryQuestion, Nothing, RestoreQuestion, Restored, Revision,
    Snapshot, SnapshotQuestion, VolumeQuestion,
};
use crate::errors::{Failure, Kind, Outcome};
use crate::text::{Name, shown};

/// What a restore keeps of the state it replaces, so that it can be undone.
const BEFORE_RESTORE: &str = "before restore";
/// Restores that can be taken back by this; older ones only by what thinning left.
const SAFEGUARDS_MAX: usize = 16;

/// Keeps the volume as it is now.
pub(crate) fn snapshot(node: &Node, question: SnapshotQuestion) -> Outcome<Snapshot> {
    let open = node.existing_volume(&question.volume)?;
    let head = open.volume.snapshot(question.label.as_deref())?;
    Ok(describe(&head))
}

/// Lists the newest snapshots, oldest of them first; for a path, those in which it changed.
pub(crate) fn history(node: &Node, question: HistoryQuestion, reporter: &Reporter) -> Outcome<Nothing> {
    let place = node.place(&question.target)?;
    let heads = place.open.volume.history()?;
    if place.path == b"/" {
        let skip = heads.len().saturating_sub(question.limit);
        heads.iter().skip(skip).try_for_each(|head| reporter.item(&describe(head)))?;
        return Ok(Nothing {});
    }
    let keys = node.volume_keys(&place.volume_name);
    let reader = place.open.volume.reader();
    let mut revisions = VecDeque::new();
    let mut last: Option<Record> = None;
    for head in &heads {
        reporter.check()?;
        let root = read_root(head, reader)?;
        let record = match tree::record_at(&mut reader.nodes(ask()), keys.names(), &root, &place.path) {
            Ok(record) => Some(record),
            Err(PathError::Read(error)) => return Err(error.into()),
            Err(PathError::NotFound | PathError::NotDirectory) => None,
        };
        let change = match (&last, &record) {
            (None, None) => None,
            (None, Some(_)) => Some("added"),
            (Some(_), None) => Some("removed"),
            (Some(old), Some(new)) => (state(old) != state(new)).then_some("changed"),
        };
        if let Some(change) = change {
            let size = record.as_ref().map(|record| record.attr.size);
            revisions.push_back(Revision { snapshot: describe(head), change: change.to_owned(), size });
            if revisions.len() > question.limit {
                revisions.pop_front();
            }
        }
        last = record;
    }
    revisions.iter().try_for_each(|revision| reporter.item(revision))?;
    Ok(Nothing {})
}

/// What makes a state of a path another one; that it was read doesn't.
fn state(record: &Record) -> impl PartialEq + '_ {
    let attr = &record.attr;
    (&record.content, &record.xattrs, attr.kind, attr.mode, attr.uid, attr.gid, attr.size, attr.mtime)
}

/// Compares two states.
pub(crate) fn diff(node: &Node, question: DiffQuestion, reporter: &Reporter) -> Outcome<Nothing> {
    let place = node.place(&question.from)?;
    let (volume, reader) = (&place.open.volume, place.open.volume.reader());
    let before = place.snapshot.ok_or_else(|| Failure::new(Kind::Usage, "no snapshot to compare with was named"))?;
    let after = match &question.to {
        Some(word) => find(volume, word)?,
        None => volume.flush()?.unwrap_or_else(|| before.clone()),
    };
    let (before, after) = (read_root(&before, reader)?, read_root(&after, reader)?);
    let mut told = Ok(());
    let compared = diff::diff(&mut reader.nodes(ask()), &before, &after, &mut |change| {
        if told.is_ok() && is_below(&change.path, &place.path) {
            told = reporter.item(&described(change));
        }
        if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    told?;
    compared?;
    Ok(Nothing {})
}

/// A difference as it is told.
fn described(change: diff::Change) -> Change {
    let (word, from) = match change.what {
        What::Added => ("added", None),
        What::Removed => ("removed", None),
        What::Modified { data: false, .. } => ("attributes", None),
        What::Modified { .. } | What::TypeChanged => ("changed", None),
        What::Renamed { from, .. } => ("renamed", Some(Name(from.to_vec()))),
    };
    let size = |facts: Option<Facts>| {
        facts.filter(|facts| facts.kind != cairn_block::FileType::Directory).map(|facts| facts.size)
    };
    Change {
        change: word.to_owned(),
        path: Name(change.path.to_vec()),
        from,
        size_before: size(change.old),
        size_after: size(change.new),
    }
}

fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Brings a path back as a snapshot has it. What is there now is kept as a snapshot before.
pub(crate) fn restore(node: &Node, question: RestoreQuestion) -> Outcome<Restored> {
    let place = node.place(&question.from)?;
    let from = place.snapshot.clone().ok_or_else(|| {
        Failure::new(Kind::Usage, format!("which state of {} is meant?", shown(&place.path)))
            .hint("PATH@SNAPSHOT or --at SNAPSHOT says it; `cairn history PATH` lists them")
    })?;
    let target = match &question.to {
        None => place.path.clone(),
        Some(to) => match node.volume_path(to) {
            (volume, path) if volume == place.volume_name => path,
            _ => {
                return Err(Failure::new(Kind::Usage, "the target is in another volume")
                    .hint("`cairn get` and `cairn put` copy between volumes"));
            }
        },
    };
    bring_back(node, &place, &from, &place.path, &target)
}

/// Takes a volume back to its newest state that differs from what is there now.
pub(crate) fn undo(node: &Node, question: VolumeQuestion) -> Outcome<Restored> {
    let open = node.existing_volume(&question.volume)?;
    let now = open.volume.flush()?.ok_or_else(nothing_to_undo)?;
    let from = last_that_differs(&open.volume, &now)?.ok_or_else(nothing_to_undo)?;
    let place = Place { volume_name: question.volume, open, path: b"/".to_vec(), snapshot: None };
    bring_back(node, &place, &from, b"/", b"/")
}

/// The newest state that differs from this one in more than access times, which reading moves.
fn last_that_differs(volume: &Volume, now: &Head) -> Outcome<Option<Head>> {
    let reader = volume.reader();
    let root = read_root(now, reader)?;
    for head in volume.history()?.into_iter().rev().filter(|head| head.root.id != now.root.id) {
        let older = read_root(&head, reader)?;
        match diff::diff(&mut reader.nodes(ask()), &older, &root, &mut |_| ControlFlow::Break(())) {
            Err(DiffError::Stopped) => return Ok(Some(head)),
            same => same?,
        }
    }
    Ok(None)
}

fn nothing_to_undo() -> Failure {
    Failure::new(Kind::NotFound, "there is no earlier state to go back to")
        .hint("`cairn history` lists the states that are kept")
}

fn bring_back(node: &Node, place: &Place, from: &Head, source: &[u8], target: &[u8]) -> Outcome<Restored> {
    let volume = &place.open.volume;
    let root = read_root(from, volume.reader())?;
    // A label keeps it from being thinned out within the minute.
    let before = volume.snapshot(Some(BEFORE_RESTORE))?;
    drop_old_safeguards(volume)?;
    let caches = node.mounts.caches(&place.volume_name);
    volume.restore(&root, source, target, &mut |touched| {
        caches.tell(&match touched {
            Touched::Name { parent, name } => CacheChange::Entry { parent, name },
            Touched::Inode(ino) => CacheChange::Inode(ino),
        });
    })?;
    caches.settle();
    Ok(Restored { from: describe(from), before: Some(describe(&before)) })
}

/// Forgets snapshots. The volume as it is now stays, and so does the head that says so.
pub(crate) fn forget(node: &Node, question: ForgetQuestion) -> Outcome<Forgotten> {
    let open = node.existing_volume(&question.volume)?;
    let volume = &open.volume;
    // What is in memory becomes a head, so that the newest is nothing that somebody named.
    let newest = volume.flush()?;
    let heads = volume.history()?;
    let named = question.snapshots.iter().map(|word| exactly(&heads, word)).collect::<Outcome<Vec<_>>>()?;
    let is_named = |head: &Head| named.iter().any(|named| is_same(named, head));
    let is_newest = |head: &Head| newest.as_ref().is_some_and(|newest| is_same(newest, head));
    if let Some(head) = heads.iter().find(|head| is_named(head) && is_newest(head)) {
        let message = format!("{} is what the volume holds now", name(head));
        return Err(Failure::new(Kind::Refused, message).hint("it can be forgotten once something has changed"));
    }
    let goes = |head: &&Head| is_named(head) || question.automatic && head.kind == HeadKind::Automatic;
    let gone: Vec<_> = heads.iter().filter(|head| !is_newest(head)).filter(goes).collect();
    gone.iter().try_for_each(|head| volume.drop_snapshot(head))?;
    let left = (heads.len() - gone.len()) as u64;
    Ok(Forgotten { forgotten: gone.into_iter().map(describe).collect(), left })
}

fn is_same(one: &Head, other: &Head) -> bool {
    (one.device, one.seq) == (other.device, other.seq)
}

/// Safeguards of restores are kept under a label, the newest few of them.
fn drop_old_safeguards(volume: &Volume) -> Outcome<()> {
    let heads = volume.history()?;
    let safeguards: Vec<_> = heads.iter().filter(|head| head.label.as_deref() == Some(BEFORE_RESTORE)).collect();
    let old = safeguards.len().saturating_sub(SAFEGUARDS_MAX);
    safeguards.into_iter().take(old).try_for_each(|head| Ok(volume.drop_snapshot(head)?))
}

/// The snapshot that a word means: a name, a label, a number, `latest`, or a time, which means the last one before it.
pub(super) fn find(volume: &Volume, word: &str) -> Outcome<Head> {
    let heads = volume.history()?;
    let found = match word {
        "latest" => heads.last(),
        word => called(&heads, word).or_else(|| at_or_before(&heads, word.parse().ok()?)),
    };
    found.cloned().ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("there is no snapshot {word}"))
            .hint("`cairn history` lists them; a time like 2026-11-21T09:00:00Z means the last one before it")
    })
}

/// The snapshot with this name, label or number, and no other that a time might mean.
fn exactly(heads: &[Head], word: &str) -> Outcome<Head> {
    called(heads, word).cloned().ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("there is no snapshot {word}")).hint("`cairn history` lists them")
    })
}

fn called<'h>(heads: &'h [Head], word: &str) -> Option<&'h Head> {
    let is_called =
        |head: &&Head| name(head) == word || head.label.as_deref() == Some(word) || head.seq.to_string() == word;
    heads.iter().rfind(is_called)
}

fn at_or_before(heads: &[Head], time: Timestamp) -> Option<&Head> {
    let time = (time.as_second(), time.subsec_nanosecond());
    heads.iter().rfind(|head| (head.time.secs, i64::from(head.time.nanos)) <= (time.0, i64::from(time.1)))
}

/// What a snapshot is called where it is typed: its time in UTC and its number. `.snapshots` has it under this name, too,
/// and it stays good when others of the same second come or go.
pub(super) fn name(head: &Head) -> String {
    let time = Timestamp::from_second(head.time.secs)
        .map_or_else(|_| format!("@{}", head.time.secs), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    format!("{time}-{}", head.seq)
}

/// The name that no head of another device can share.
pub(super) fn full_name(head: &Head) -> String {
    format!("{}-{}", name(head), head.device.short())
}

/// A head for a person.
pub(super) fn describe(head: &Head) -> Snapshot {
    Snapshot {
        name: name(head),
        time: head.time.secs,
        number: head.seq,
        device: head.device.to_string(),
        label: head.label.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_prefix_is_a_whole_path() {
        assert!(is_below(b"/a/b", b"/") && is_below(b"/a/b", b"/a") && is_below(b"/a", b"/a"));
        assert!(!is_below(b"/ab", b"/a"));
    }
}
