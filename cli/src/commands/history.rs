//! snapshot, history, diff, restore, undo, forget.

use jiff::Timestamp;

use crate::args::{DiffArgs, ForgetArgs, HistoryArgs, RestoreArgs, SnapshotArgs, UndoArgs};
use crate::control::routes::{
    Change, DiffQuestion, ForgetQuestion, Forgotten, HistoryQuestion, Nothing, RestoreQuestion, Restored, Revision,
    Route, Snapshot, SnapshotQuestion, VolumeQuestion,
};
use crate::errors::{Failure, Kind, Outcome};
use crate::output::Table;
use crate::terminal;
use crate::text::size;

use super::session::Session;

/// Keeps the volume as it is.
pub(super) fn snapshot(session: &mut Session, args: SnapshotArgs) -> Outcome<()> {
    let question = SnapshotQuestion { volume: session.settings.volume.clone(), label: args.label };
    let snapshot: Snapshot = session.call(Route::Snapshot, &question)?;
    session.output.value(&snapshot, |snapshot| snapshot.name.clone())
}

/// Forgets snapshots.
pub(super) fn forget(session: &mut Session, args: ForgetArgs) -> Outcome<()> {
    let volume = session.settings.volume.clone();
    let question = ForgetQuestion { volume, snapshots: args.snapshots, automatic: args.automatic };
    let forgotten: Forgotten = session.call(Route::Forget, &question)?;
    session.output.value(&forgotten, |answer| {
        format!(
            "forgotten: {}; kept: {}. `cairn gc` gives back what only they needed",
            answer.forgotten.len(),
            answer.left
        )
    })
}

/// Lists snapshots, or the states of one path.
pub(super) fn history(session: &mut Session, args: HistoryArgs) -> Outcome<()> {
    let output = session.output;
    let target = session.target(&args.path, None);
    let whole = matches!(target.path.0.as_slice(), b"/" | b"");
    let question = HistoryQuestion { target, limit: args.limit };
    let mut rows: Vec<serde_json::Value> = Vec::new();
    let Nothing {} = session.stream("history", Route::History, &question, |row| {
        rows.push(row);
        Ok(())
    })?;
    if output.json {
        return rows.iter().try_for_each(|row| output.json_line(row));
    }
    let unreadable = |error| Failure::new(Kind::Internal, format!("an item that can't be read: {error}"));
    let table = if whole {
        let snapshots = rows.into_iter().map(serde_json::from_value).collect::<Result<Vec<_>, _>>();
        snapshot_table(&snapshots.map_err(unreadable)?)
    } else {
        let revisions = rows.into_iter().map(serde_json::from_value).collect::<Result<Vec<_>, _>>();
        revision_table(&revisions.map_err(unreadable)?)
    };
    output.text(&table.render())
}

fn snapshot_table(snapshots: &[Snapshot]) -> Table {
    let mut table = Table::new(&["snapshot", "number", "device", "label"]).right(&[1]);
    for snapshot in snapshots {
        let device = snapshot.device.get(..8).unwrap_or(&snapshot.device);
        table.row([&snapshot.name, &snapshot.number.to_string(), device, snapshot.label.as_deref().unwrap_or("")]);
    }
    table
}

fn revision_table(revisions: &[Revision]) -> Table {
    let mut table = Table::new(&["snapshot", "change", "size"]).right(&[2]);
    for revision in revisions {
        table.row([
            revision.snapshot.name.clone(),
            revision.change.clone(),
            revision.size.map(size).unwrap_or_default(),
        ]);
    }
    table
}

/// Shows what changed.
pub(super) fn diff(session: &mut Session, args: DiffArgs) -> Outcome<()> {
    let output = session.output;
    let question = DiffQuestion { from: session.target(&args.path, Some(&args.from)), to: args.to };
    let Nothing {} = session.stream("diff", Route::Diff, &question, |change: Change| {
        if output.json { output.json_line(&change) } else { output.text(&change_line(&change)) }
    })?;
    Ok(())
}

fn change_line(change: &Change) -> String {
    let letter = match change.change.as_str() {
        "added" => 'A',
        "removed" => 'D',
        "changed" => 'M',
        "renamed" => 'R',
        _ => 'a',
    };
    let sizes = match (change.size_before, change.size_after) {
        (Some(before), Some(after)) if before != after => format!("  ({} → {})", size(before), size(after)),
        (None, Some(after)) => format!("  ({})", size(after)),
        _ => String::new(),
    };
    let from = change.from.as_ref().map(|from| format!("{} → ", from.shown())).unwrap_or_default();
    format!("{letter} {from}{}{sizes}", change.path.shown())
}

/// Brings a path back.
pub(super) fn restore(session: &mut Session, args: RestoreArgs) -> Outcome<()> {
    let question = RestoreQuestion {
        from: session.target(&args.path, args.at.at.as_deref()),
        to: args.to.map(|to| session.target(&to, None)),
    };
    let restored: Restored = session.call(Route::Restore, &question)?;
    tell(session, &restored)
}

/// Takes back what changed since the last snapshot.
///
/// What is there now stays in the history, so a second undo is the way back: a script isn't asked for a confirmation, a
/// person is, as files change under them.
pub(super) fn undo(session: &mut Session, args: &UndoArgs) -> Outcome<()> {
    let question = VolumeQuestion { volume: session.settings.volume.clone() };
    if terminal::is_interactive() {
        let asked = format!(
            "Take the volume {} back to its last snapshot? A second undo takes this one back.",
            question.volume
        );
        terminal::confirm(&asked, args.yes)?;
    }
    let restored: Restored = session.call(Route::Undo, &question)?;
    tell(session, &restored)
}

fn tell(session: &Session, restored: &Restored) -> Outcome<()> {
    session.output.value(restored, |restored| {
        let when =
            Timestamp::from_second(restored.from.time).map_or_else(|_| String::new(), |time| format!(" of {time}"));
        let back = restored
            .before
            .as_ref()
            .map(|before| format!("\nwhat was there before is in {}", before.name))
            .unwrap_or_default();
        format!("restored from {}{when}{back}", restored.from.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Name;

    #[test]
    fn a_change_is_one_line() {
        let change = Change {
            change: "changed".into(),
            path: Name(b"/a\nb".to_vec()),
            from: None,
            size_before: Some(1),
            size_after: Some(2048),
        };
        assert_eq!(change_line(&change), "M /a\\x0ab  (1 B → 2.0 KiB)");
    }
}
