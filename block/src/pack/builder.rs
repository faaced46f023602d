//! Filling a pack.

use std::collections::HashSet;

use bytes::Bytes;

use crate::block::Block;
use crate::id::{BlockId, PackId};
use crate::keys::{KeepKey, PackKey, random};
use crate::pack::directory::{Directory, Placed};
use crate::pack::layout::Layout;
use crate::pack::{Pack, SizeClass, end};

/// What became of a block that was offered to a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is in the pack.
    Placed,
    /// It was in the pack before.
    Present,
    /// It has no room here any more. A shorter one may have.
    Full,
    /// No pack of this class has room for it, or it is shorter than any sealed block.
    Unfit,
}

/// A pack that is being filled.
#[derive(Debug, Clone)]
pub struct PackBuilder {
    layout: Layout,
    placed: Vec<(u32, Block)>,
    ids: HashSet<BlockId>,
}

/// What of a pack is random.
pub(crate) struct Chance {
    /// Expanded to the padding.
    pub(crate) padding: [u8; 32],
    /// Of the directory and of the footer.
    pub(crate) nonces: [[u8; 24]; 2],
}

impl PackBuilder {
    /// An empty pack of a class.
    pub fn new(class: SizeClass) -> Self {
        PackBuilder { layout: Layout::new(class), placed: Vec::new(), ids: HashSet::new() }
    }

    /// The class.
    pub const fn class(&self) -> SizeClass {
        self.layout.class()
    }

    /// How many blocks are in it.
    pub const fn len(&self) -> usize {
        self.placed.len()
    }

    /// Whether none is.
    pub const fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Whether a further block of `len` bytes has room.
    pub fn room_for(&self, len: usize) -> bool {
        self.layout.room_for(len)
    }

    /// Offers a block. Its bytes are shared, not copied.
    pub fn add(&mut self, block: &Block) -> Added {
        if self.ids.contains(&block.id()) {
            return Added::Present;
        }
        let Some(offset) = self.layout.place(block.len()) else {
            let has_a_pack = Layout::new(self.class()).room_for(block.len());
            return if has_a_pack { Added::Full } else { Added::Unfit };
        };
        self.ids.insert(block.id());
        self.placed.push((offset, block.clone()));
        Added::Placed
    }

    /// Moves into the pack whatever of `blocks` has room, longest first: that wastes least. Blocks of equal length keep
    /// their order. What is left stays in `blocks`.
    pub fn fill(&mut self, blocks: &mut Vec<Block>) {
        blocks.sort_by_key(|block| std::cmp::Reverse(block.len()));
        blocks.retain(|block| matches!(self.add(block), Added::Full | Added::Unfit));
    }

    /// The pack.
    pub fn finish(self, keep: &KeepKey) -> Pack {
        let chance = Chance { padding: random(), nonces: [random(), random()] };
        self.finish_with(&keep.packs(), &chance)
    }

    /// As [`PackBuilder::finish`]; only vectors bring their own chance.
    pub(crate) fn finish_with(mut self, key: &PackKey, chance: &Chance) -> Pack {
        self.placed.sort_unstable_by_key(|(offset, _)| *offset);
        let class = self.class();
        let directory_at = self.layout.directory_at();
        let placed = self.placed.iter();
        let placed = placed.map(|(offset, block)| Placed { id: block.id(), offset: *offset, len: block.len() as u32 });
        let directory = Directory::new(class, directory_at, placed.collect()).expect("the layout keeps its rules");
        let mut body = Vec::with_capacity(class.bytes() as usize);
        let mut padding = blake3::Hasher::new().update(&chance.padding).finalize_xof();
        let mut pad_to = |body: &mut Vec<u8>, offset: u32| {
            let from = body.len();
            body.resize(offset as usize, 0);
            padding.fill(&mut body[from..]);
        };
        for (offset, block) in &self.placed {
            pad_to(&mut body, *offset);
            body.extend_from_slice(block.bytes());
        }
        pad_to(&mut body, directory_at);
        body.extend(end::seal(key, &directory, directory_at, &chance.nonces));
        let body = Bytes::from(body);
        Pack { id: PackId::of(&body), class, body }
    }
}
