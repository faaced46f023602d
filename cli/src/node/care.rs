//! check, gc, why, debug.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::{BlockId, Content, Timestamp};
use cairn_fs::verify::{self, CheckError, CheckOptions, Checker, Event, Scope};
use cairn_fs::{SweepError, Volume, read_root, tree};
use cairn_store::{Ask, BlockStore, HeadStore, Scrubber, SweepOptions};

use super::circle::{ASKED_MAX, Mirror};
use super::history;
use super::open::{Node, OpenVolume};
use crate::control::events::{Progress, Reporter, Unit};
use crate::control::routes::{CheckQuestion, CheckReport, DebugQuestion, Finding, GcQuestion, GcReport, Target, Why};
use crate::errors::{Failure, Kind, Outcome};
use crate::text::{self, Name};
use crate::transfer::tree::OPERATION_TIMEOUT;

/// Blocks that are named in one answer; a file with more damage is lost as a whole.
const DAMAGED_NAMED_MAX: usize = 100;
/// How often a collection begins anew because a volume was made meanwhile.
const GC_TRIES: usize = 3;

/// How long one node of a tree may take.
const NODE_TIMEOUT: Duration = Duration::from_secs(60);

/// How trees are read on behalf of a person who waits.
pub(super) fn ask() -> Ask {
    Ask::background(NODE_TIMEOUT)
}

/// Checks that everything the volumes need is there; with `data`, that every byte in the store is right as well.
pub(crate) fn check(node: &Node, question: CheckQuestion, reporter: &Reporter) -> Outcome<CheckReport> {
    let mut report = CheckReport::default();
    let blocks_before = node.store.stats().blocks;
    if question.repair {
        // What the index lost, the log still has; blocks and heads that come back are found by the walk below.
        node.store.rebuild_index()?;
        report.repaired = node.store.stats().blocks.saturating_sub(blocks_before);
    }
    if question.data {
        scrub(node, reporter, &mut report)?;
    }
    for damage in node.store.damage() {
        report.findings += 1;
        let what = format!("{} is damaged", damage.place);
        reporter.item(&Finding {
            severity: "damaged".to_owned(),
            what,
            volume: None,
            path: None,
            block: damage.id.map(|id| id.to_string()),
        })?;
    }
    for name in node.volume_names() {
        let open = node.volume(&name)?;
        report.volumes += 1;
        check_volume(node, &name, &open, question.data, reporter, &mut report)?;
    }
    for id in unknown_volumes(node)? {
        reporter.item(&Finding {
            severity: "note".to_owned(),
            what: format!("the volume {id} has a name that this node doesn't know, and was not checked"),
            volume: None,
            path: None,
            block: None,
        })?;
    }
    Ok(report)
}

fn scrub(node: &Node, reporter: &Reporter, report: &mut CheckReport) -> Outcome<()> {
    let mut stopped = Ok(());
    let scrubbed = node.store.scrub(&mut |progress| {
        let progress = Progress {
            unit: Unit::Blocks,
            done: progress.blocks_done,
            total: Some(progress.blocks_total),
            files: None,
        };
        if stopped.is_ok() {
            stopped = reporter.progress(progress);
        }
    })?;
    report.blocks = scrubbed.blocks;
    report.bytes = scrubbed.bytes;
    stopped
}

fn check_volume(
    node: &Node,
    name: &str,
    open: &OpenVolume,
    data: bool,
    reporter: &Reporter,
    report: &mut CheckReport,
) -> Outcome<()> {
    // What is in memory becomes a head, so that heads are all there is to walk.
    open.volume.flush()?;
    let mut heads = open.volume.history()?;
    heads.reverse();
    let keys = node.volume_keys(name);
    let options = CheckOptions { data, ..CheckOptions::default() };
    let mut told = Ok(());
    // With other devices in the circle, what is not here may be there.
    let (has_others, mut absent) = (node.connected().is_some(), 0);
    let mut watch = |event| {
        told = match event {
            Event::Finding(found) if has_others && found.problem.is_absence() => {
                absent += 1;
                Ok(())
            }
            Event::Finding(found) => reporter.item(&finding(name, &found)),
            Event::Block(_) => Ok(()),
            Event::Progress(counts) => {
                reporter.progress(Progress { unit: Unit::Entries, done: counts.entries, total: None, files: None })
            }
        };
        if told.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let mut checker = Checker::new(open.volume.reader(), keys.names(), options, &mut watch);
    let mut checked = Ok(());
    for (age, head) in heads.iter().enumerate() {
        // Counts over all names are worth their memory for the newest; of the others, what it does not share.
        let scope = if age == 0 { Scope::Whole } else { Scope::New };
        checked = checked.and_then(|()| checker.head(&head.root, scope));
    }
    let counts = checker.counts();
    told?;
    checked?;
    report.entries += counts.entries;
    report.blocks = report.blocks.max(counts.blocks);
    report.findings += counts.findings - absent;
    if absent > 0 {
        reporter.item(&Finding {
            severity: "note".to_owned(),
            what: format!("{absent} blocks of the volume are not on this node, and were not checked"),
            volume: Some(name.to_owned()),
            path: None,
            block: None,
        })?;
    }
    Ok(())
}

fn finding(volume: &str, found: &verify::Finding) -> Finding {
    Finding {
        severity: "damaged".to_owned(),
        what: found.problem.to_string(),
        volume: Some(volume.to_owned()),
        path: (!found.path.is_empty()).then(|| Name(found.path.to_vec())),
        block: found.problem.block().map(|block| block.to_string()),
    }
}

/// Volumes that the store holds and that no known name leads to.
fn unknown_volumes(node: &Node) -> Outcome<Vec<cairn_block::VolumeId>> {
    let known: Vec<_> = node.volume_names().iter().map(|name| node.volume_id(name)).collect();
    Ok(node.store_volumes()?.into_iter().filter(|id| !known.contains(id)).collect())
}

/// Thins out the history and removes what nothing needs any more.
pub(crate) fn gc(node: &Node, question: GcQuestion, reporter: &Reporter) -> Outcome<GcReport> {
    for _ in 0..GC_TRIES {
        if let Some(report) = collect(node, question, reporter)? {
            return Ok(report);
        }
    }
    Err(Failure::new(Kind::Busy, "volumes are being made one after the other").hint("try again"))
}

/// One collection; `None` if a volume was made meanwhile, and nothing was removed.
fn collect(node: &Node, question: GcQuestion, reporter: &Reporter) -> Outcome<Option<GcReport>> {
    let names = node.volume_names();
    // What an unknown volume needs can't be told from garbage.
    if let Some(id) = unknown_volumes(node)?.first() {
        return Err(Failure::new(
            Kind::Refused,
            format!("the volume {id} has a name that this node doesn't know: collecting would remove it"),
        )
        .hint("mount it once by its name (`cairn mount NAME DIRECTORY`), then collect"));
    }
    let opened = names.iter().map(|name| node.volume(name)).collect::<Outcome<Vec<_>>>()?;
    let volumes: Vec<Arc<Volume>> = opened.iter().map(|open| open.volume.clone()).collect();
    let mut snapshots_dropped = 0;
    if !question.dry_run {
        for volume in &volumes {
            snapshots_dropped += volume.thin(now())? as u64;
        }
    }
    // A name is there before anything is written under it: what was put before the collection began is of these.
    let in_use = || {
        let roots = || opened.iter().flat_map(|open| open.door.snapshots().roots_in_use()).collect();
        (node.volume_names() == names).then(roots)
    };
    let options = SweepOptions { dry_run: question.dry_run };
    let mut progress = |progress: cairn_store::Progress| {
        let shown = Progress {
            unit: Unit::Blocks,
            done: progress.blocks_done,
            total: Some(progress.blocks_total),
            files: None,
        };
        // A sweep that has begun is worth finishing, whoever watches.
        drop(reporter.progress(shown));
    };
    let (_, swept) = match cairn_fs::sweep(&volumes, node.store.as_ref(), &in_use, options, &mut progress) {
        Err(SweepError::Joined) => return Ok(None),
        swept => swept?,
    };
    if !question.dry_run {
        opened.iter().filter_map(|open| open.mirror.as_ref()).for_each(Mirror::begin_anew);
    }
    Ok(Some(GcReport {
        dry_run: question.dry_run,
        snapshots_dropped,
        blocks_kept: swept.blocks_kept,
        bytes_kept: swept.bytes_kept,
        blocks_removed: swept.blocks_removed,
        bytes_removed: swept.bytes_removed,
    }))
}

fn now() -> Timestamp {
    let now = jiff::Timestamp::now();
    Timestamp { secs: now.as_second(), nanos: u32::try_from(now.subsec_nanosecond()).unwrap_or(0) }
}

/// Says where a path is and how safe.
pub(crate) fn why(node: &Node, target: Target) -> Outcome<Why> {
    let place = node.place(&target)?;
    let reader = place.open.volume.reader().clone();
    let head = match &place.snapshot {
        Some(head) => Some(head.clone()),
        None => place.open.volume.flush()?,
    };
    let missing = || {
        Failure::new(Kind::NotFound, format!("there is no {} in the volume", text::shown(&place.path)))
            .hint("`cairn ls` lists what is there")
    };
    let root = read_root(&head.ok_or_else(missing)?, &reader)?;
    let names = node.volume_keys(&place.volume_name);
    let record = match tree::record_at(&mut reader.nodes(ask()), names.names(), &root, &place.path) {
        Ok(record) => record,
        Err(tree::PathError::Read(error)) => return Err(error.into()),
        Err(_) => return Err(missing()),
    };
    let mut found = Found { has_others: node.connected().is_some(), ..Found::default() };
    let mut watch = |event| found.take(event);
    let options = CheckOptions { blocks: true, ..CheckOptions::default() };
    let mut checker = Checker::new(&reader, names.names(), options, &mut watch);
    match checker.record(&root, Bytes::copy_from_slice(&place.path), &record) {
        Ok(()) | Err(CheckError::Stopped) => {}
        Err(error) => return Err(error.into()),
    }
    let seen = checker.counts();
    let holders = if found.is_too_much { Vec::new() } else { node.others_with(&found.blocks)? };
    let (state, meaning) = found.verdict(&record.content, &holders);
    let here = found.damaged.is_empty() && found.elsewhere == 0;
    Ok(Why {
        path: Name(place.path),
        state: state.to_owned(),
        meaning,
        size: record.attr.size,
        allocated: record.attr.allocated,
        entries: seen.entries,
        blocks: seen.blocks,
        blocks_here: seen.blocks.saturating_sub(found.damaged.len() as u64 + found.elsewhere),
        damaged: found.damaged.iter().map(ToString::to_string).collect(),
        // Each machine that has all of it may be the last one.
        survives_losses: (holders.len() + usize::from(here)).saturating_sub(1) as u32,
        holders,
    })
}

/// What was found of a path.
#[derive(Default)]
struct Found {
    /// Whether what is not here may be with somebody else.
    has_others: bool,
    /// The first [`ASKED_MAX`].
    blocks: Vec<BlockId>,
    /// There are more than others are asked for.
    is_too_much: bool,
    damaged: BTreeSet<BlockId>,
    /// Blocks that are not here.
    elsewhere: u64,
    /// Anything else that is wrong.
    is_wrong: bool,
}

impl Found {
    fn take(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Block(used) if self.blocks.len() < ASKED_MAX => self.blocks.push(used.id),
            Event::Block(_) => self.is_too_much = true,
            Event::Finding(found) if self.has_others && found.problem.is_absence() => self.elsewhere += 1,
            Event::Finding(found) => {
                self.is_wrong = true;
                self.damaged.extend(found.problem.block());
            }
            Event::Progress(_) => {}
        }
        if self.damaged.len() < DAMAGED_NAMED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// In a word, and in a sentence.
    fn verdict(&self, content: &Content, holders: &[String]) -> (&'static str, String) {
        let others = match holders {
            [] if self.is_too_much => "it is too much to ask the others for: ask for a part of it".to_owned(),
            [] => "no other that is connected has all of it".to_owned(),
            names => format!("all of it is on {} as well", names.join(", ")),
        };
        let has_blocks = !matches!(content, Content::Inline(_) | Content::Symlink(_) | Content::Empty | Content::None);
        match (self.is_wrong, self.elsewhere) {
            (true, _) => ("damaged", "some of its blocks can't be read from this node's store".to_owned()),
            (false, 1..) => ("elsewhere", format!("not all of it is on this node; {others}")),
            (false, 0) if has_blocks => ("here", format!("every block it needs is on this node; {others}")),
            (false, 0) => {
                ("here", "its contents lie in its directory's own block, on this node and where that is".to_owned())
            }
        }
    }
}

/// Prints one structure, for a person who looks for something.
pub(crate) fn debug(node: &Node, question: DebugQuestion) -> Outcome<serde_json::Value> {
    match question.what.as_str() {
        "store" => Ok(serde_json::json!({
            "stats": format!("{:?}", node.store.stats()),
            "health": format!("{:?}", node.store.health()),
            "damage": node.store.damage().iter().map(|damage| format!("{damage:?}")).collect::<Vec<_>>(),
            "opened": format!("{:?}", node.store.open_report()),
        })),
        "heads" => {
            let heads = node.existing_volume(&question.volume)?.volume.history()?;
            Ok(heads.iter().map(head_json).collect())
        }
        "deltas" => {
            let deltas = node.store.deltas(&node.volume_id(&question.volume), 0)?;
            Ok(deltas.iter().map(|(seq, id)| serde_json::json!({ "seq": seq, "block": id.to_string() })).collect())
        }
        id => block_json(node, id),
    }
}

fn head_json(head: &cairn_block::Head) -> serde_json::Value {
    serde_json::json!({
        "snapshot": history::describe(head),
        "kind": format!("{:?}", head.kind),
        "previous": text::to_hex(&head.previous),
        "root": head.root.id.to_string(),
        "journal_upto": head.delta_upto,
        "vector": head.vector.iter().map(|(device, seq)| (device.short(), *seq)).collect::<Vec<_>>(),
    })
}

fn block_json(node: &Node, id: &str) -> Outcome<serde_json::Value> {
    let id: BlockId = id.parse().map_err(|_| {
        Failure::new(Kind::Usage, format!("`{id}` is nothing that can be shown"))
            .hint("heads, deltas, store, or a block's id (bafkr4i…)")
    })?;
    match node.store.get(&id, Ask::now(OPERATION_TIMEOUT))? {
        None => Err(Failure::new(Kind::NotFound, format!("block {id} is not in this store"))),
        Some(block) => Ok(serde_json::json!({ "id": id.to_string(), "sealed_bytes": block.len(), "verified": true })),
    }
}
