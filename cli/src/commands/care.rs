//! check, gc, why, debug.

use crate::args::{CheckArgs, DebugCommand, GcArgs, WhyArgs};
use crate::control::routes::{
    BlockUse, BlocksQuestion, BlocksReport, CheckQuestion, CheckReport, DebugQuestion, Finding, GcQuestion, GcReport,
    Nothing, Route, Why,
};
use crate::errors::{Failure, Kind, Outcome};
use crate::output::Table;
use crate::text::{Name, size};

use super::session::Session;

/// Checks that everything is there and whole.
pub(super) fn check(session: &mut Session, args: &CheckArgs) -> Outcome<()> {
    let output = session.output;
    let question = CheckQuestion { data: args.data, repair: args.repair };
    let report: CheckReport = session.stream("check", Route::Check, &question, |finding: Finding| {
        if output.json { output.json_line(&finding) } else { output.text(&finding_line(&finding)) }
    })?;
    output.value(&report, report_text)?;
    match report.findings - report.repaired.min(report.findings) {
        0 => Ok(()),
        open => {
            let hint = if args.repair {
                "what is named above can't be mended from this node alone: restore it from a snapshot (`cairn history PATH`) or a copy"
            } else {
                "`cairn check --data --repair` mends what can be mended"
            };
            Err(Failure::new(Kind::Damaged, format!("{open} things are wrong")).hint(hint))
        }
    }
}

fn finding_line(finding: &Finding) -> String {
    let volume = finding.volume.as_deref().map(|volume| format!("{volume}: ")).unwrap_or_default();
    let path = finding.path.as_ref().map(|path| format!("{}: ", path.shown())).unwrap_or_default();
    let block = finding.block.as_deref().map(|block| format!(" ({block})")).unwrap_or_default();
    format!("{}: {volume}{path}{}{block}", finding.severity, finding.what)
}

fn report_text(report: &CheckReport) -> String {
    let wrong = match (report.findings, report.repaired) {
        (0, _) => "everything is there and whole".to_owned(),
        (findings, 0) => format!("{findings} things are wrong"),
        (findings, repaired) => format!("{findings} things were wrong, {repaired} of them are mended"),
    };
    let read = if report.bytes > 0 { format!(", {} read and verified", size(report.bytes)) } else { String::new() };
    format!(
        "{} volumes, {} files and directories, {} blocks{read}: {wrong}",
        report.volumes, report.entries, report.blocks
    )
}

/// Removes what nothing needs.
pub(super) fn gc(session: &mut Session, args: &GcArgs) -> Outcome<()> {
    let report: GcReport =
        session.stream("gc", Route::Gc, &GcQuestion { dry_run: args.dry_run }, |_: Nothing| Ok(()))?;
    session.output.value(&report, |report| {
        let would = if report.dry_run { "would go" } else { "went" };
        format!(
            "{} blocks ({}) {would}, {} blocks ({}) are needed; snapshots thinned out: {}",
            report.blocks_removed,
            size(report.bytes_removed),
            report.blocks_kept,
            size(report.bytes_kept),
            report.snapshots_dropped
        )
    })
}

/// Says where a file is and how safe it is, or what needs blocks.
pub(super) fn why(session: &mut Session, args: WhyArgs) -> Outcome<()> {
    let Some(path) = args.path else { return blocks(session, args.block) };
    let target = session.target(&path, args.at.at.as_deref());
    let why: Why = session.call(Route::Why, &target)?;
    session.output.value(&why, |why| {
        let mut table = Table::bare();
        table.row([Name::shown(&why.path), format!("{}: {}", why.state, why.meaning)]);
        table.row(["size".into(), format!("{} ({} without holes)", size(why.size), size(why.allocated))]);
        if why.entries > 1 {
            table.row(["holds".into(), format!("{} files and directories", why.entries)]);
        }
        table.row(["blocks".into(), format!("{} of {} are in this node's store", why.blocks_here, why.blocks)]);
        table.row(["survives".into(), format!("the loss of {} machines", why.survives_losses)]);
        for block in &why.damaged {
            table.row(["damaged".into(), block.clone()]);
        }
        table.render()
    })
}

/// Says what needs a block, or each one.
fn blocks(session: &mut Session, block: Option<String>) -> Outcome<()> {
    let output = session.output;
    let is_one = block.is_some();
    let report: BlocksReport = session.stream("why", Route::Blocks, &BlocksQuestion { block }, |found: BlockUse| {
        if output.json { output.json_line(&found) } else { output.text(&use_line(&found)) }
    })?;
    if is_one && !output.json {
        return Ok(());
    }
    output.value(&report, |report| {
        let garbage = match report.unneeded {
            0 => "there is none that nothing needs".to_owned(),
            count => format!("nothing needs {count} more ({}): `cairn gc` removes them", size(report.unneeded_bytes)),
        };
        format!("{} blocks are needed; {garbage}", report.needed)
    })
}

fn use_line(found: &BlockUse) -> String {
    let mut line = format!("{}  {}", found.block, found.role);
    if let Some(path) = &found.path {
        line += &format!("  of {}", path.shown());
    }
    if let Some(volume) = &found.volume {
        line += &format!("  in {volume}");
    }
    if let Some(snapshot) = &found.snapshot {
        line += &format!(" at {snapshot}");
    }
    line
}

/// Prints one of the node's structures.
pub(super) fn debug(session: &mut Session, command: DebugCommand) -> Outcome<()> {
    let DebugCommand::Show { what } = command;
    let question = DebugQuestion { volume: session.settings.volume.clone(), what };
    let shown: serde_json::Value = session.call(Route::Debug, &question)?;
    session.output.value(&shown, |shown| serde_json::to_string_pretty(shown).unwrap_or_default())
}
