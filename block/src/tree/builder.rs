//! Builds the levels of a tree from the items of its leaves.

use bytes::Bytes;

use super::frame::HEADER_BYTES;
use super::{Sink, boundary};
use crate::chunk::Kind;
use crate::limits::NODE_BYTES_MAX;
use crate::reference::Ref;

/// What an inner item tells about the subtree behind its ref.
pub(crate) trait Summary: Default {
    /// The kind of block the nodes become.
    const KIND: Kind;

    /// Takes the next sibling into account.
    fn add(&mut self, next: &Self);

    /// Appends the inner item of a subtree.
    fn encode(&self, child: &Ref, out: &mut Vec<u8>);

    /// What decides whether the inner item of a subtree ends its node, on the level of that node.
    fn hash(&self, level: u8, child: &Ref) -> u64;
}

/// A tree that is being built: on each level the node that is still open.
pub(crate) struct Builder<S> {
    levels: Vec<Level<S>>,
}

/// The root of what was built.
pub(crate) struct Built<S> {
    pub(crate) root: Ref,
    pub(crate) level: u8,
    pub(crate) summary: S,
    /// Whether this is a node of the old tree, taken over.
    pub(crate) is_old: bool,
}

/// The open node of a level.
struct Level<S> {
    payload: Vec<u8>,
    items: u16,
    summary: S,
    /// What is behind the only item, kept while there is only one: it may turn out to be the root.
    only_child: Option<Child>,
    /// Whether nodes of this level were closed before this one.
    has_siblings: bool,
    /// The node of the old tree that was opened last on this level. What comes out equal needs no storing.
    old: Option<(Ref, Bytes)>,
}

struct Child {
    reference: Ref,
    is_old: bool,
}

impl<S: Summary> Level<S> {
    fn new(level: u8) -> Self {
        let mut payload = Vec::with_capacity(NODE_BYTES_MAX);
        payload.extend([level, 0, 0]);
        Level { payload, items: 0, summary: S::default(), only_child: None, has_siblings: false, old: None }
    }

    /// Stores the open node and starts the next.
    fn close<K: Sink>(&mut self, sink: &mut K) -> Result<(Ref, S), K::Error> {
        self.payload[1..HEADER_BYTES].copy_from_slice(&self.items.to_le_bytes());
        let reference = match &self.old {
            Some((reference, payload)) if **payload == *self.payload => reference.clone(),
            _ => sink.put(S::KIND, &self.payload)?,
        };
        self.payload.truncate(HEADER_BYTES);
        self.items = 0;
        self.has_siblings = true;
        Ok((reference, std::mem::take(&mut self.summary)))
    }
}

impl<S: Summary> Builder<S> {
    pub(crate) fn new() -> Self {
        Builder { levels: Vec::new() }
    }

    /// Whether a node of `level` starts here: no node is open on it or below.
    pub(crate) fn is_at_start(&self, level: u8) -> bool {
        self.levels.iter().take(usize::from(level) + 1).all(|level| level.items == 0)
    }

    /// Notes a node of the old tree whose items are about to be pushed again.
    pub(crate) fn opened(&mut self, level: u8, reference: &Ref, payload: &Bytes) {
        self.level(level).old = Some((reference.clone(), payload.clone()));
    }

    /// Appends an item to the leaves: `encode` writes its bytes, `fold` adds it to the node's summary.
    pub(crate) fn push_item<K: Sink>(
        &mut self,
        sink: &mut K,
        encode: impl FnOnce(&mut Vec<u8>),
        fold: impl FnOnce(&mut S),
        hash: impl FnOnce() -> u64,
    ) -> Result<(), K::Error> {
        if self.push(0, encode, fold, hash) {
            self.close(sink, 0)?;
        }
        Ok(())
    }

    /// Takes over a whole subtree of the old tree, whose root is of `level`. Only at the start of a node of that level.
    pub(crate) fn push_subtree<K: Sink>(
        &mut self,
        sink: &mut K,
        level: u8,
        root: &Ref,
        summary: &S,
    ) -> Result<(), K::Error> {
        debug_assert!(self.is_at_start(level), "a subtree in the middle of a node");
        self.push_child(sink, level, Child { reference: root.clone(), is_old: true }, summary)
    }

    /// Closes what is open; none when nothing was pushed.
    ///
    /// The root is the lowest node that is alone on its level. A subtree that was taken over whole may be the only
    /// thing left and have a single child itself: the caller, who can load nodes, goes down from there.
    pub(crate) fn finish<K: Sink>(mut self, sink: &mut K) -> Result<Option<Built<S>>, K::Error> {
        let mut level = 0;
        while usize::from(level) < self.levels.len() {
            let is_top = usize::from(level) + 1 == self.levels.len();
            let open = self.level(level);
            if is_top && !open.has_siblings {
                return self.finish_root(sink, level);
            }
            if open.items > 0 {
                self.close(sink, level)?;
            }
            level += 1;
        }
        Ok(None)
    }

    fn finish_root<K: Sink>(&mut self, sink: &mut K, level: u8) -> Result<Option<Built<S>>, K::Error> {
        let open = self.level(level);
        if open.items == 0 {
            return Ok(None);
        }
        if let Some(Child { reference: root, is_old }) = open.only_child.take() {
            let summary = std::mem::take(&mut open.summary);
            return Ok(Some(Built { root, level: level - 1, summary, is_old }));
        }
        let (root, summary) = open.close(sink)?;
        Ok(Some(Built { root, level, summary, is_old: false }))
    }

    /// Appends an item to the open node of a level and says whether the node ends with it.
    fn push(
        &mut self,
        level: u8,
        encode: impl FnOnce(&mut Vec<u8>),
        fold: impl FnOnce(&mut S),
        hash: impl FnOnce() -> u64,
    ) -> bool {
        let open = self.level(level);
        let before = open.payload.len();
        encode(&mut open.payload);
        fold(&mut open.summary);
        open.items += 1;
        boundary::ends(open.payload.len(), open.payload.len() - before, hash)
    }

    /// Closes the open node of a level and appends it to the level above.
    fn close<K: Sink>(&mut self, sink: &mut K, level: u8) -> Result<(), K::Error> {
        let (reference, summary) = self.level(level).close(sink)?;
        self.push_child(sink, level, Child { reference, is_old: false }, &summary)
    }

    fn push_child<K: Sink>(&mut self, sink: &mut K, level: u8, child: Child, summary: &S) -> Result<(), K::Error> {
        let above = level + 1;
        let reference = &child.reference;
        let ends = self.push(
            above,
            |out| summary.encode(reference, out),
            |sum| sum.add(summary),
            || summary.hash(above, reference),
        );
        let open = self.level(above);
        open.only_child = (open.items == 1).then_some(child);
        if ends {
            self.close(sink, above)?;
        }
        Ok(())
    }

    fn level(&mut self, level: u8) -> &mut Level<S> {
        let index = usize::from(level);
        while self.levels.len() <= index {
            self.levels.push(Level::new(self.levels.len() as u8));
        }
        &mut self.levels[index]
    }
}
