//! What an inode holds, and the roots of the trees that hold what doesn't fit.

use bytes::Bytes;

use super::{Attr, EntryError, FileType};
use crate::codec::{Reader, Writer};
use crate::limits::{INLINE_BYTES_MAX, NODE_BYTES_MAX, SYMLINK_BYTES_MAX, TREE_LEVELS_MAX};
use crate::reference::Ref;

/// Set in the level byte of a file root: the file is overwritten in place, its chunks are cut on the fixed grid.
const FIXED_BIT: u8 = 0x80;

/// What an inode holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A regular file without bytes: empty, or one hole from end to end.
    Empty,
    /// All bytes of a small regular file.
    Inline(Bytes),
    /// The extents of a regular file.
    File(FileRoot),
    /// The entries of a directory.
    Dir(DirRoot),
    /// The target of a symbolic link.
    Symlink(Bytes),
    /// Pipes, sockets and devices hold nothing.
    None,
}

/// The root of a file tree. A file without any chunk has none: its content is [`Content::Empty`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileRoot {
    /// The root node.
    pub root: Ref,
    /// Its level; 0 is a leaf.
    pub level: u8,
    /// Whether the file is overwritten in place: then its chunks are cut on the fixed grid.
    pub fixed: bool,
}

impl FileRoot {
    fn check(&self) -> Result<(), EntryError> {
        check_node("file tree", &self.root, self.level)
    }

    fn encode(&self, out: &mut Writer) {
        let fixed = if self.fixed { FIXED_BIT } else { 0 };
        out.u8(self.level | fixed);
        self.root.encode(out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<FileRoot, EntryError> {
        let level = input.u8("level of a file tree")?;
        let root = Ref::decode(input)?;
        Ok(FileRoot { root, level: level & !FIXED_BIT, fixed: level & FIXED_BIT != 0 })
    }
}

/// The root of a map tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MapRoot {
    /// The root node; none when the map is empty.
    pub root: Option<Ref>,
    /// Its level; 0 is a leaf.
    pub level: u8,
    /// Entries in the whole tree.
    pub count: u64,
}

/// The root of a directory: a map from encoded [`DirKey`](super::DirKey)s to encoded [`Entry`](super::Entry)s.
pub type DirRoot = MapRoot;

impl MapRoot {
    /// The map without entries.
    pub const EMPTY: MapRoot = MapRoot { root: None, level: 0, count: 0 };

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn check(&self) -> Result<(), EntryError> {
        match &self.root {
            Some(root) if self.count > 0 => check_node("map tree", root, self.level),
            None if self.count == 0 && self.level == 0 => Ok(()),
            _ => Err(EntryError::Root { what: "map tree" }),
        }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.u64(self.count);
        if let Some(root) = &self.root {
            out.u8(self.level);
            root.encode(out);
        }
    }

    /// Reads a root; an empty map is its count alone.
    pub(super) fn decode(input: &mut Reader<'_>) -> Result<MapRoot, EntryError> {
        let count = input.u64("count of a map tree")?;
        if count == 0 {
            return Ok(MapRoot::EMPTY);
        }
        let level = input.u8("level of a map tree")?;
        let root = Some(Ref::decode(input)?);
        Ok(MapRoot { root, level, count })
    }
}

fn check_node(what: &'static str, root: &Ref, level: u8) -> Result<(), EntryError> {
    let fits = (1..=NODE_BYTES_MAX as u32).contains(&root.len);
    if level >= TREE_LEVELS_MAX || !fits {
        return Err(EntryError::Root { what });
    }
    Ok(())
}

/// The tag a content has in its record. What [`Content::Empty`] and [`Content::None`] share, the kind tells apart.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Tag {
    Nothing = 0,
    Bytes = 1,
    Tree = 2,
}

impl Content {
    /// Whether an inode with these attributes can hold this.
    pub(super) fn check(&self, attr: &Attr) -> Result<(), EntryError> {
        let len_max = match (self, attr.kind) {
            // A tree holds at least one byte.
            (Content::File(root), FileType::Regular) if attr.size > 0 => return root.check(),
            (Content::Dir(root), FileType::Directory) => return root.check(),
            (Content::Empty, FileType::Regular) => return Ok(()),
            (Content::None, kind) if !holds_content(kind) => return Ok(()),
            (Content::Inline(_), FileType::Regular) => INLINE_BYTES_MAX,
            (Content::Symlink(target), FileType::Symlink) if !target.contains(&0) => SYMLINK_BYTES_MAX,
            _ => 0,
        };
        // The bytes carry no length of their own: the size is it.
        if !(1..=len_max as u64).contains(&attr.size) || self.inline_bytes().len() as u64 != attr.size {
            return Err(EntryError::Content { ino: attr.ino, kind: attr.kind, size: attr.size });
        }
        Ok(())
    }

    fn inline_bytes(&self) -> &[u8] {
        match self {
            Content::Inline(bytes) | Content::Symlink(bytes) => bytes,
            _ => &[],
        }
    }

    /// Bytes that the record holds for this content.
    pub(super) fn encoded_len_hint(&self) -> usize {
        self.inline_bytes().len() + 8 + 1 + Ref::BYTES
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        match self {
            Content::Empty | Content::None => {
                out.u8(Tag::Nothing as u8);
            }
            Content::Inline(bytes) | Content::Symlink(bytes) => {
                out.u8(Tag::Bytes as u8).raw(bytes);
            }
            Content::File(root) => {
                out.u8(Tag::Tree as u8);
                root.encode(out);
            }
            Content::Dir(root) => {
                out.u8(Tag::Tree as u8);
                root.encode(out);
            }
        }
    }

    /// Reads the content of an inode with these attributes; `input` reads `whole`.
    pub(super) fn decode(input: &mut Reader<'_>, whole: &Bytes, attr: &Attr) -> Result<Content, EntryError> {
        const NOTHING: u8 = Tag::Nothing as u8;
        const BYTES: u8 = Tag::Bytes as u8;
        const TREE: u8 = Tag::Tree as u8;
        let tag = input.u8("content tag")?;
        Ok(match (tag, attr.kind) {
            (NOTHING, FileType::Regular) => Content::Empty,
            (NOTHING, kind) if !holds_content(kind) => Content::None,
            (BYTES, FileType::Regular) => Content::Inline(take(input, whole, attr)?),
            (BYTES, FileType::Symlink) => Content::Symlink(take(input, whole, attr)?),
            (TREE, FileType::Regular) => Content::File(FileRoot::decode(input)?),
            (TREE, FileType::Directory) => Content::Dir(DirRoot::decode(input)?),
            _ => return Err(EntryError::Tag { what: "content", tag }),
        })
    }
}

fn take(input: &mut Reader<'_>, whole: &Bytes, attr: &Attr) -> Result<Bytes, EntryError> {
    // A size beyond usize is beyond the input too, and refused as such.
    let len = usize::try_from(attr.size).unwrap_or(usize::MAX);
    Ok(whole.slice_ref(input.take("inline content", len)?))
}

/// Whether inodes of this kind hold something of their own.
fn holds_content(kind: FileType) -> bool {
    matches!(kind, FileType::Regular | FileType::Directory | FileType::Symlink)
}
