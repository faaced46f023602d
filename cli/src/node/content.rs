//! put, get, ls, cat.

use bytes::Bytes;
use cairn_block::{Attr, FileType};
use cairn_fs::ops::{Listing, Operations};
use tokio::sync::oneshot;

use super::open::Node;
use super::paths::Place;
use crate::control::events::{BytesSender, Reporter};
use crate::control::routes::{CatQuestion, Entry, GetQuestion, ListQuestion, Nothing, PutQuestion};
use crate::errors::{Failure, Kind, Outcome};
use crate::text::{Name, shown};
use crate::transfer::CopyReport;
use crate::transfer::get::{GetOrder, get as copy_out};
use crate::transfer::put::{PutOrder, put as copy_in};
use crate::transfer::tree::{self, Found, wait};

/// One piece of a file on its way to a client.
const PIECE_BYTES: u32 = 1 << 20;
/// Workers that a question may ask for.
const WORKERS_MAX: usize = 64;

/// Copies into a volume, and makes it durable before it says that it is done.
pub(crate) fn put(node: &Node, question: PutQuestion, reporter: &Reporter) -> Outcome<CopyReport> {
    let (volume_name, target) = node.volume_path(&question.target);
    let open = node.volume(&volume_name)?;
    let sources: Vec<_> = question.sources.iter().map(Name::to_path).collect();
    let guarded = node.guarded();
    for source in &sources {
        let real = source.canonicalize().unwrap_or_else(|_| source.clone());
        if guarded.iter().any(|guarded| real.starts_with(guarded)) {
            return Err(Failure::new(
                Kind::Refused,
                format!("{} belongs to this node's own store, which can't be copied into itself", source.display()),
            )
            .hint("copy it with other means while the node is down"));
        }
    }
    let mounts = node.mounts.places();
    let own_mounts = mounts.iter().filter(|(volume, _)| *volume == volume_name).map(|(_, place)| place.clone());
    let order = PutOrder {
        sources,
        target,
        workers: question.workers.clamp(1, WORKERS_MAX),
        own_mounts: own_mounts.collect(),
        left_out: mounts.iter().map(|(_, place)| place.clone()).chain(guarded).collect(),
    };
    let caches = node.mounts.caches(&volume_name);
    let report = copy_in(open.door.as_ref(), &order, &|change| caches.tell(change), reporter)?;
    open.volume.sync_all()?;
    caches.settle();
    Ok(report)
}

/// Copies out of a volume; all sources are of one.
pub(crate) fn get(node: &Node, question: GetQuestion, reporter: &Reporter) -> Outcome<CopyReport> {
    let places = question.sources.iter().map(|source| node.place(source)).collect::<Outcome<Vec<Place>>>()?;
    let Some(first) = places.first() else {
        return Err(Failure::new(Kind::Usage, "nothing was named"));
    };
    if places.iter().any(|place| place.volume_name != first.volume_name) {
        return Err(
            Failure::new(Kind::Usage, "the sources are of several volumes").hint("get from one volume at a time")
        );
    }
    let order = GetOrder {
        sources: places.iter().map(Place::full_path).collect(),
        target: question.target.to_path(),
        workers: question.workers.clamp(1, WORKERS_MAX),
    };
    copy_out(first.open.door.as_ref(), &order, reporter)
}

/// Lists a directory, or the one file that the path names.
pub(crate) fn list(node: &Node, question: ListQuestion, reporter: &Reporter) -> Outcome<Nothing> {
    let place = node.place(&question.target)?;
    let volume = place.open.door.as_ref();
    let found = place.expect()?;
    if !found.is_directory() {
        let name = tree::names(&place.path).last().map(|name| name.to_vec()).unwrap_or_default();
        reporter.item(&entry(volume, name, &found)?)?;
        return Ok(Nothing {});
    }
    let mut pending = vec![(Vec::new(), found)];
    while let Some((prefix, directory)) = pending.pop() {
        tree::list(volume, directory.ino(), Listing::Referenced, |item| {
            let attr = match item.attr {
                Some(attr) => attr,
                None => volume.getattr(wait(), item.ino)?,
            };
            let found = Found::adopt(volume, attr);
            let path = [prefix.as_slice(), &item.name].concat();
            reporter.item(&entry(volume, path.clone(), &found)?)?;
            if question.recursive && found.is_directory() {
                pending.push(([path.as_slice(), b"/"].concat(), found));
            }
            Ok(())
        })?;
    }
    Ok(Nothing {})
}

fn entry(volume: &dyn Operations, path: Vec<u8>, found: &Found<'_>) -> Outcome<Entry> {
    let attr: &Attr = &found.attr;
    let target = match attr.kind {
        FileType::Symlink => Some(Name(volume.readlink(wait(), attr.ino)?.to_vec())),
        _ => None,
    };
    Ok(Entry {
        path: Name(path),
        kind: kind_word(attr.kind).to_owned(),
        mode: attr.mode,
        links: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        size: attr.size,
        modified: attr.mtime.secs,
        modified_nanos: attr.mtime.nanos,
        inode: attr.ino.get(),
        target,
    })
}

/// The word for a type in JSON.
pub(super) fn kind_word(kind: FileType) -> &'static str {
    match kind {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Char => "char",
        FileType::Block => "block",
    }
}

/// Sends a file's bytes. What fails before the first of them goes to `started`.
pub(crate) fn cat(
    node: &Node,
    question: CatQuestion,
    started: oneshot::Sender<Outcome<()>>,
    sender: BytesSender,
) -> Outcome<()> {
    let place = match node.place(&question.target) {
        Ok(place) => place,
        Err(failure) => return refuse(started, failure),
    };
    let volume = place.open.door.as_ref();
    let found = match readable(&place) {
        Ok(found) => found,
        Err(failure) => return refuse(started, failure),
    };
    let mut offset = question.offset;
    let mut next = read(volume, &found, offset);
    match &next {
        Ok(_) => drop(started.send(Ok(()))),
        Err(failure) => return refuse(started, failure.clone()),
    }
    loop {
        match next {
            Ok(pieces) if pieces.iter().all(Bytes::is_empty) => return Ok(()),
            Ok(pieces) => {
                for piece in pieces {
                    offset += piece.len() as u64;
                    if sender.blocking_send(Ok(piece)).is_err() {
                        return Ok(());
                    }
                }
            }
            Err(failure) => {
                // Breaks the connection; the client asks again from here and gets the reason.
                drop(sender.blocking_send(Err(failure.clone())));
                return Err(failure);
            }
        }
        next = read(volume, &found, offset);
    }
}

fn refuse(started: oneshot::Sender<Outcome<()>>, failure: Failure) -> Outcome<()> {
    // A client that is gone doesn't need to know.
    drop(started.send(Err(failure.clone())));
    Err(failure)
}

/// The regular file at a place, through symbolic links.
fn readable(place: &Place) -> Outcome<Found<'_>> {
    let found = place.expect_followed()?;
    match found.attr.kind {
        FileType::Regular => Ok(found),
        kind => Err(Failure::new(Kind::Refused, format!("{} is a {}", shown(&place.path), kind_word(kind)))
            .hint("cat prints files; `cairn ls` lists directories")),
    }
}

fn read(volume: &dyn Operations, found: &Found<'_>, offset: u64) -> Outcome<Vec<Bytes>> {
    Ok(volume.read(wait(), found.ino(), offset, PIECE_BYTES)?.0)
}
