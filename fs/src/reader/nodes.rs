//! The reader as the tree algorithms know it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::{FileNode, MapNode, Nodes, Ref, TreeError};
use cairn_store::{Ask, Priority};

use super::{ReadError, TreeReader};

/// How long a caller waits for what isn't in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: it is [`ReadError::WouldWait`].
    None,
    /// For everything together, until a deadline.
    Until(Ask),
    /// For each block so long. For walks, whose length nobody knows.
    Each(Priority, Duration),
}

impl Patience {
    /// What to ask the store for the next block; `None` not to ask it.
    #[must_use]
    pub fn ask(self) -> Option<Ask> {
        match self {
            Patience::None => None,
            Patience::Until(ask) => Some(ask),
            Patience::Each(priority, timeout) => Some(Ask { deadline: Instant::now() + timeout, priority }),
        }
    }
}

/// [`Nodes`] over a reader; see [`TreeReader::nodes`].
#[derive(Debug)]
pub struct ReaderNodes<'a> {
    reader: &'a TreeReader,
    patience: Patience,
}

impl<'a> ReaderNodes<'a> {
    pub(super) fn new(reader: &'a TreeReader, patience: Patience) -> Self {
        Self { reader, patience }
    }
}

impl Nodes for ReaderNodes<'_> {
    type Error = ReadError;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, ReadError> {
        match self.patience.ask() {
            Some(ask) => self.reader.map_node(reference, level, ask),
            None => self
                .reader
                .cached_map_node(reference)
                .filter(|node| node.level() == level)
                .ok_or(ReadError::WouldWait { id: reference.id }),
        }
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, ReadError> {
        match self.patience.ask() {
            Some(ask) => self.reader.file_node(reference, level, ask),
            None => self
                .reader
                .cached_file_node(reference)
                .filter(|node| node.level() == level)
                .ok_or(ReadError::WouldWait { id: reference.id }),
        }
    }
}

/// Nodes whose errors become others, so that a visitor can stop a walk for reasons of its own.
#[derive(Debug)]
pub struct Lifted<'n, N, E> {
    nodes: &'n mut N,
    error: PhantomData<E>,
}

impl<'n, N, E> Lifted<'n, N, E> {
    /// The same nodes.
    pub fn new(nodes: &'n mut N) -> Self {
        Self { nodes, error: PhantomData }
    }
}

impl<N: Nodes, E: From<N::Error> + From<TreeError>> Nodes for Lifted<'_, N, E> {
    type Error = E;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, E> {
        Ok(self.nodes.map(reference, level)?)
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, E> {
        Ok(self.nodes.file(reference, level)?)
    }
}
