//! The journal's records: a cut of the state as bytes, and back.
//!
//! One cut becomes one or more *deltas*, of which the first and the last are marked: a cut counts
//! only when all of it is there. A delta is wrapped under the volume's read key and bound to its
//! volume and number, so a thief learns no name from it and can't move it. docs/FORMAT.md has the bytes.

use bytes::Bytes;
use cairn_block::codec::{DecodeError, Reader, TooLong, Writer};
use cairn_block::entry::{Attr, Content, EntryError, FileType, MapRoot, Record, Xattrs};
use cairn_block::limits::{CHUNK_BYTES_MAX, INLINE_BYTES_MAX, MAP_KEY_BYTES_MAX};
use cairn_block::{Block, Ino, Ref, VolumeKeys, unwrap, wrap};
use thiserror::Error;

use crate::error::{FsError, newer};
use crate::state::layer::{Piece, Source};
use crate::state::node::Change;
use crate::state::{Cut, FileCut, Load, NameItem, NodeItem};

const VERSION: u8 = 1;
const FIRST: u8 = 1;
const LAST: u8 = 2;
/// A delta is closed when it is this long; the longest item (a full list of extended attributes) still fits a block.
const DELTA_BYTES_AIM: usize = 256 << 10;
const PURPOSE: &str = "cairn journal delta";

/// Why a delta can't be used.
#[derive(Debug, Error)]
pub(crate) enum JournalError {
    /// Not written with this volume's keys under this number, or altered.
    #[error("journal record {seq} does not open")]
    Sealed {
        /// Its number.
        seq: u64,
    },
    /// It opens, but is not a delta.
    #[error("journal record {seq}: {source}")]
    Malformed {
        /// Its number.
        seq: u64,
        /// What is wrong.
        source: ItemError,
    },
}

impl JournalError {
    /// Says so if a newer release wrote the record.
    pub(crate) fn newer(&self) -> Option<FsError> {
        match self {
            JournalError::Malformed { source: ItemError::Frame(error), .. } => newer(error),
            _ => None,
        }
    }
}

/// What is wrong with an item.
#[derive(Debug, Error)]
pub(crate) enum ItemError {
    /// The frame.
    #[error(transparent)]
    Frame(#[from] DecodeError),
    /// A record in it.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It has no room for this.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    LoadChild = 1,
    LoadLinked = 2,
    Node = 3,
    Name = 4,
    Links = 5,
    Content = 6,
    Piece = 7,
}

/// The deltas of a cut, from number `seq` on, sealed.
pub(crate) fn encode(cut: &Cut, keys: &VolumeKeys, seq: u64) -> Result<Vec<Block>, ItemError> {
    let mut items = Items { next_ino: cut.next_ino, payloads: Vec::new(), out: Writer::new() };
    for load in &cut.loads {
        items.item(|out| {
            match load {
                Load::Child { ino, parent, key } => {
                    out.u8(Tag::LoadChild as u8).u64(ino.get()).u64(parent.get());
                    out.bytes16("key", MAP_KEY_BYTES_MAX, key)?;
                }
                Load::Linked { ino } => drop(out.u8(Tag::LoadLinked as u8).u64(ino.get())),
            }
            Ok(())
        })?;
    }
    for node in &cut.nodes {
        items.item(|out| encode_node(node, out))?;
    }
    for name in &cut.names {
        items.item(|out| encode_name(name, out))?;
    }
    for (ino, present) in &cut.links {
        items.item(|out| {
            out.u8(Tag::Links as u8).u64(ino.get()).bool(*present);
            Ok(())
        })?;
    }
    for (ino, content, size, allocated) in &cut.contents {
        items.item(|out| encode_content(*ino, content, *size, *allocated, out))?;
    }
    for file in cut.files.iter().filter(|file| !file.orphan) {
        for (offset, piece) in &file.pieces {
            items.item(|out| encode_piece(file, *offset, piece, out))?;
        }
    }
    Ok(items.seal(keys, seq))
}

/// Payloads under construction.
struct Items {
    next_ino: u64,
    payloads: Vec<Vec<u8>>,
    out: Writer,
}

impl Items {
    fn item(&mut self, write: impl FnOnce(&mut Writer) -> Result<(), ItemError>) -> Result<(), ItemError> {
        if self.out.is_empty() {
            self.out.u8(VERSION).u8(0).u64(self.next_ino);
        }
        write(&mut self.out)?;
        if self.out.len() >= DELTA_BYTES_AIM {
            self.payloads.push(std::mem::take(&mut self.out).into_vec());
        }
        Ok(())
    }

    fn seal(mut self, keys: &VolumeKeys, seq: u64) -> Vec<Block> {
        if !self.out.is_empty() {
            self.payloads.push(std::mem::take(&mut self.out).into_vec());
        }
        let count = self.payloads.len();
        let numbered = self.payloads.into_iter().enumerate();
        numbered
            .map(|(n, mut payload)| {
                payload[1] = if n == 0 { FIRST } else { 0 } | if n + 1 == count { LAST } else { 0 };
                let sealed = wrap(keys.read().as_bytes(), PURPOSE, &place(keys, seq + n as u64), &payload);
                Block::seal_bytes(sealed)
            })
            .collect()
    }
}

/// What a delta is bound to.
fn place(keys: &VolumeKeys, seq: u64) -> Vec<u8> {
    [&keys.volume().as_bytes()[..], &seq.to_le_bytes()].concat()
}

fn encode_node(node: &NodeItem, out: &mut Writer) -> Result<(), ItemError> {
    let content = match (node.attr.kind, &node.target) {
        (FileType::Regular, _) => Content::Empty,
        (FileType::Directory, _) => Content::Dir(MapRoot::EMPTY),
        (FileType::Symlink, Some(target)) => Content::Symlink(target.clone()),
        _ => Content::None,
    };
    let record = Record { attr: node.attr.clone(), content, xattrs: Xattrs::NONE };
    out.u8(Tag::Node as u8).bool(node.linked).bool(node.born).bool(node.xattrs.is_some());
    out.bytes16("record", u16::MAX.into(), &record.encode()?)?;
    if let Some(list) = &node.xattrs {
        out.bytes32("extended attributes", CHUNK_BYTES_MAX, &Xattrs::encode_list(list)?)?;
    }
    Ok(())
}

fn encode_name(name: &NameItem, out: &mut Writer) -> Result<(), ItemError> {
    out.u8(Tag::Name as u8).u64(name.parent.get());
    out.bytes16("key", MAP_KEY_BYTES_MAX, &name.key)?;
    match name.change {
        Change::Gone => drop(out.u8(0)),
        Change::Own(ino) => drop(out.u8(1).u64(ino.get())),
        Change::Link(ino, kind) => drop(out.u8(2).u64(ino.get()).u8(kind.code())),
    }
    Ok(())
}

fn encode_content(ino: Ino, content: &Content, size: u64, allocated: u64, out: &mut Writer) -> Result<(), ItemError> {
    let attr = Attr { size, allocated, ..plain_attr(ino) };
    let record = Record { attr, content: content.clone(), xattrs: Xattrs::NONE };
    out.u8(Tag::Content as u8).bytes16("record", u16::MAX.into(), &record.encode()?)?;
    Ok(())
}

fn encode_piece(file: &FileCut, offset: u64, piece: &Piece, out: &mut Writer) -> Result<(), ItemError> {
    out.u8(Tag::Piece as u8).u64(file.ino.get()).bool(file.fixed).u64(offset);
    match &piece.source {
        Source::Hole => drop(out.u8(0).u64(piece.len)),
        Source::Stored { chunk, offset, settled } => {
            out.u8(1).u32(piece.len as u32).u32(*offset).bool(*settled);
            chunk.encode(out);
        }
        Source::Memory(bytes) => drop(out.u8(2).bytes16("bytes", INLINE_BYTES_MAX, bytes)?),
    }
    Ok(())
}

/// Attributes of a regular file of which only size and room matter.
fn plain_attr(ino: Ino) -> Attr {
    let zero = Default::default();
    Attr {
        ino,
        kind: FileType::Regular,
        mode: 0,
        uid: 0,
        gid: 0,
        nlink: 1,
        size: 0,
        allocated: 0,
        rdev: 0,
        atime: zero,
        mtime: zero,
        ctime: zero,
        btime: zero,
    }
}

/// A cut under reconstruction from its deltas.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    cut: Cut,
    open: bool,
}

impl Replay {
    /// Takes the next delta; gives the cut when it is whole.
    pub(crate) fn take(&mut self, block: &Block, keys: &VolumeKeys, seq: u64) -> Result<Option<Cut>, JournalError> {
        let payload = unwrap(keys.read().as_bytes(), PURPOSE, &place(keys, seq), block.bytes())
            .map_err(|_| JournalError::Sealed { seq })?;
        let payload = Bytes::copy_from_slice(&payload);
        let last = self.items(&payload).map_err(|source| JournalError::Malformed { seq, source })?;
        if !last || !std::mem::take(&mut self.open) {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.cut)))
    }

    fn items(&mut self, payload: &Bytes) -> Result<bool, ItemError> {
        let mut input = Reader::new(payload);
        input.version("delta", VERSION)?;
        let flags = input.u8("flags of a delta")?;
        if flags & FIRST != 0 {
            *self = Replay { cut: Cut::default(), open: true };
        }
        self.cut.next_ino = input.u64("next inode number")?;
        while input.left() > 0 {
            self.item(&mut input)?;
        }
        Ok(flags & LAST != 0)
    }

    fn item(&mut self, input: &mut Reader<'_>) -> Result<(), ItemError> {
        let cut = &mut self.cut;
        match input.u8("tag of an item")? {
            tag if tag == Tag::LoadChild as u8 => {
                let (ino, parent) = (ino(input)?, ino(input)?);
                cut.loads.push(Load::Child { ino, parent, key: key(input)? });
            }
            tag if tag == Tag::LoadLinked as u8 => cut.loads.push(Load::Linked { ino: ino(input)? }),
            tag if tag == Tag::Node as u8 => cut.nodes.push(decode_node(input)?),
            tag if tag == Tag::Name as u8 => {
                let (parent, key) = (ino(input)?, key(input)?);
                cut.names.push(NameItem { parent, key, change: decode_change(input)? });
            }
            tag if tag == Tag::Links as u8 => cut.links.push((ino(input)?, input.bool("link table")?)),
            tag if tag == Tag::Content as u8 => {
                let record = record(input)?;
                cut.contents.push((record.attr.ino, record.content, record.attr.size, record.attr.allocated));
            }
            tag if tag == Tag::Piece as u8 => decode_piece(input, &mut cut.files)?,
            _ => return Err(DecodeError::invalid("item of a delta", "its tag is unknown").into()),
        }
        Ok(())
    }
}

fn ino(input: &mut Reader<'_>) -> Result<Ino, DecodeError> {
    Ok(Ino::new(input.u64_max("inode number", cairn_block::limits::INO_LIMIT - 1)?))
}

fn key(input: &mut Reader<'_>) -> Result<Bytes, ItemError> {
    let bytes = Bytes::copy_from_slice(input.bytes16("key", MAP_KEY_BYTES_MAX)?);
    Ok(cairn_block::DirKey::from_encoded(bytes)?.into_encoded())
}

fn record(input: &mut Reader<'_>) -> Result<Record, ItemError> {
    let bytes = Bytes::copy_from_slice(input.bytes16("record", u16::MAX.into())?);
    Ok(Record::decode(&bytes)?)
}

fn decode_node(input: &mut Reader<'_>) -> Result<NodeItem, ItemError> {
    let (linked, born, has_xattrs) = (input.bool("linked")?, input.bool("born")?, input.bool("attributes")?);
    let record = record(input)?;
    let target = match record.content {
        Content::Symlink(target) => Some(target),
        _ => None,
    };
    let xattrs = match has_xattrs {
        true => {
            let list = Bytes::copy_from_slice(input.bytes32("extended attributes", CHUNK_BYTES_MAX)?);
            Some(Xattrs::decode_list(&list)?)
        }
        false => None,
    };
    Ok(NodeItem { attr: record.attr, linked, born, target, xattrs })
}

fn decode_change(input: &mut Reader<'_>) -> Result<Change, ItemError> {
    match input.u8("change of a name")? {
        0 => Ok(Change::Gone),
        1 => Ok(Change::Own(ino(input)?)),
        2 => {
            let ino = ino(input)?;
            let kind = FileType::from_code(input.u8("type of a link")?);
            Ok(Change::Link(ino, kind.ok_or(DecodeError::invalid("link", "its type is unknown"))?))
        }
        _ => Err(DecodeError::invalid("change of a name", "its tag is unknown").into()),
    }
}

fn decode_piece(input: &mut Reader<'_>, files: &mut Vec<FileCut>) -> Result<(), ItemError> {
    use cairn_block::limits::FILE_BYTES_MAX;
    let ino = ino(input)?;
    let fixed = input.bool("fixed")?;
    let offset = input.u64_max("offset of a piece", FILE_BYTES_MAX)?;
    let piece = match input.u8("source of a piece")? {
        0 => Piece { len: input.u64("length of a hole")?, source: Source::Hole },
        1 => {
            let len = input.u32("length of a piece")?;
            let at = input.u32("offset in a chunk")?;
            let settled = input.bool("settled")?;
            let chunk = Ref::decode(input)?;
            if u64::from(at) + u64::from(len) > u64::from(chunk.len) {
                return Err(DecodeError::invalid("piece", "it ends after its chunk").into());
            }
            Piece { len: len.into(), source: Source::Stored { chunk, offset: at, settled } }
        }
        2 => {
            let bytes = Bytes::copy_from_slice(input.bytes16("bytes of a piece", INLINE_BYTES_MAX)?);
            Piece { len: bytes.len() as u64, source: Source::Memory(bytes) }
        }
        _ => return Err(DecodeError::invalid("piece", "its source is unknown").into()),
    };
    if piece.len == 0 || piece.len > FILE_BYTES_MAX - offset {
        return Err(DecodeError::invalid("piece", "its length is out of range").into());
    }
    match files.last_mut().filter(|file| file.ino == ino) {
        Some(file) => file.pieces.push((offset, piece)),
        None => files.push(FileCut {
            ino,
            size: 0,
            closed: true,
            fixed,
            orphan: false,
            journaled: 0,
            pieces: vec![(offset, piece)],
        }),
    }
    Ok(())
}
