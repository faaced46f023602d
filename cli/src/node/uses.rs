//! What needs each block of the store.
//!
//! The heads of every volume are walked, the newest first, and each block is told of with the first place where it was
//! met. What no head needs is asked of memory: changes on their way into a tree, and open files without a name. What is
//! left then is garbage.

use std::collections::HashSet;
use std::ops::ControlFlow;

use cairn_block::BlockId;
use cairn_fs::verify::{CheckOptions, Checker, Event, Role, Scope, Use};
use cairn_store::BlockStore;

use super::history;
use super::open::{Node, OpenVolume};
use crate::control::events::{Progress, Reporter, Unit};
use crate::control::routes::{BlockUse, BlocksQuestion, BlocksReport};
use crate::errors::{Failure, Kind, Outcome};
use crate::text::Name;

/// Blocks asked of the index in one go.
const PAGE_BLOCKS: usize = 4096;

/// Tells of each block, or of one, what needs it.
pub(crate) fn blocks(node: &Node, question: BlocksQuestion, reporter: &Reporter) -> Outcome<BlocksReport> {
    let only = question.block.as_deref().map(|text| parse(node, text)).transpose()?;
    let mut told = Told { reporter, only, known: HashSet::new() };
    for name in node.volume_names() {
        let open = node.volume(&name)?;
        volume(node, &name, &open, &mut told)?;
    }
    rest(node, told)
}

fn parse(node: &Node, text: &str) -> Outcome<BlockId> {
    let id: BlockId = text.parse().map_err(|_| {
        Failure::new(Kind::Usage, format!("`{text}` is no block id"))
            .hint("ids begin with bafkr4i; `cairn why --blocks` lists all")
    })?;
    match node.store.has(&id)? {
        true => Ok(id),
        false => Err(Failure::new(Kind::NotFound, format!("block {id} is not in this store"))
            .hint("`cairn check` names what is missing or damaged")),
    }
}

/// What was told so far.
struct Told<'a> {
    reporter: &'a Reporter,
    only: Option<BlockId>,
    known: HashSet<BlockId>,
}

impl Told<'_> {
    /// Tells of a block, the first time.
    fn tell(&mut self, id: BlockId, found: impl FnOnce() -> BlockUse) -> Outcome<()> {
        let is_new = self.known.insert(id);
        if is_new && self.only.is_none_or(|only| only == id) { self.reporter.item(&found()) } else { Ok(()) }
    }
}

fn volume(node: &Node, name: &str, open: &OpenVolume, told: &mut Told<'_>) -> Outcome<()> {
    // What is in memory becomes a head, as far as it can.
    open.volume.flush()?;
    let mut heads = open.volume.history()?;
    heads.reverse();
    let keys = node.volume_keys(name);
    let in_memory = open.volume.in_memory()?;
    let snapshot = std::cell::RefCell::new(None);
    let mut outcome = Ok(());
    let mut watch = |event| {
        outcome = match event {
            Event::Block(found) => {
                let at = snapshot.borrow().clone();
                told.tell(found.id, || in_tree(name, at, found))
            }
            Event::Progress(counts) => {
                told.reporter.progress(Progress { unit: Unit::Blocks, done: counts.blocks, total: None, files: None })
            }
            // `check` names what is wrong; what can't be read explains no more than itself.
            Event::Finding(_) => Ok(()),
        };
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let options = CheckOptions { blocks: true, ..CheckOptions::default() };
    let mut checker = Checker::new(open.volume.reader(), keys.names(), options, &mut watch);
    let mut walked = Ok(());
    for head in &heads {
        snapshot.replace(Some(history::describe(head).name));
        walked = walked.and_then(|()| checker.head(&head.root, Scope::New));
    }
    snapshot.replace(None);
    for root in &in_memory.files {
        walked = walked.and_then(|()| checker.open_file(root));
    }
    outcome?;
    walked?;
    for id in in_memory.unsettled {
        told.tell(id, || plain(id, "journal", Some(name)))?;
    }
    Ok(())
}

/// Looks at what is in the store and was not explained.
fn rest(node: &Node, mut told: Told<'_>) -> Outcome<BlocksReport> {
    let mut report = BlocksReport::default();
    let mut after = None;
    loop {
        let page = node.store.page(after.as_ref(), PAGE_BLOCKS)?;
        let Some((last, _)) = page.last() else { return Ok(report) };
        after = Some(*last);
        for (id, bytes) in page {
            if told.known.contains(&id) {
                report.needed += 1;
            } else {
                report.unneeded += 1;
                report.unneeded_bytes += u64::from(bytes);
                told.tell(id, || plain(id, "nothing", None))?;
            }
        }
    }
}

fn in_tree(volume: &str, snapshot: Option<String>, found: Use) -> BlockUse {
    let role = match found.role {
        Role::Root => "root",
        Role::Directory => "directory",
        Role::LinkTable => "link table",
        Role::FileNode => "file node",
        Role::Data => "data",
        Role::Attributes => "attributes",
        Role::OpenFile => "open file",
    };
    let path = (!found.path.is_empty()).then(|| Name(found.path.to_vec()));
    BlockUse { snapshot, path, ..plain(found.id, role, Some(volume)) }
}

fn plain(id: BlockId, role: &str, volume: Option<&str>) -> BlockUse {
    BlockUse {
        block: id.to_string(),
        role: role.to_owned(),
        volume: volume.map(str::to_owned),
        snapshot: None,
        path: None,
    }
}
