//! snapshot, history, diff, restore, undo.

use cairn_block::Head;
use cairn_fs::Volume;
use jiff::Timestamp;

use super::open::Node;
use crate::control::events::Reporter;
use crate::control::routes::{HistoryQuestion, Nothing, Snapshot, SnapshotQuestion};
use crate::errors::{Failure, Kind, Outcome};

/// Keeps the volume as it is now.
pub(crate) fn snapshot(node: &Node, question: SnapshotQuestion) -> Outcome<Snapshot> {
    let open = node.existing_volume(&question.volume)?;
    let head = open.volume.snapshot(question.label.as_deref())?;
    Ok(describe(&head))
}

/// Lists the newest snapshots, oldest of them first.
pub(crate) fn history(node: &Node, question: HistoryQuestion, reporter: &Reporter) -> Outcome<Nothing> {
    let place = node.place(&question.target)?;
    let heads = place.open.volume.history()?;
    let skip = heads.len().saturating_sub(question.limit);
    heads.iter().skip(skip).try_for_each(|head| reporter.item(&describe(head)))?;
    Ok(Nothing {})
}

/// The snapshot that a word means: a name, a label, a number, `latest`, or a time, which means the last one before it.
pub(super) fn find(volume: &Volume, word: &str) -> Outcome<Head> {
    let heads = volume.history()?;
    let found = match word {
        "latest" => heads.last(),
        word => heads
            .iter()
            .rfind(|head| name(head) == word || head.label.as_deref() == Some(word) || head.seq.to_string() == word)
            .or_else(|| at_or_before(&heads, word.parse().ok()?)),
    };
    found.cloned().ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("there is no snapshot {word}"))
            .hint("`cairn history` lists them; a time like 2026-11-21T09:00:00Z means the last one before it")
    })
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
