//! Nodes that were looked at before the walk asks for them.
//!
//! A walk ends with the first node it can't load. A check goes on: its visitor tries each node first, notes what is lost and
//! says not to descend. What it loaded is handed to the walk from here, so that nothing is read twice.

use std::cell::RefCell;
use std::sync::Arc;

use cairn_block::{FileNode, MapNode, Nodes, Ref, TreeError};

use super::CheckError;
use crate::reader::{Patience, ReadError, TreeReader};

/// Whatever ends a walk.
pub(super) enum Halt {
    /// The tree contradicts itself, beyond what a single node shows.
    Read(ReadError),
    /// The check itself ends.
    Check(CheckError),
}

impl From<TreeError> for Halt {
    fn from(error: TreeError) -> Self {
        Halt::Read(error.into())
    }
}

impl From<CheckError> for Halt {
    fn from(error: CheckError) -> Self {
        Halt::Check(error)
    }
}

#[derive(Default)]
struct Probed {
    map: Option<(Ref, Arc<MapNode>)>,
    file: Option<(Ref, Arc<FileNode>)>,
}

/// Loads nodes for a visitor and hands them to its walk.
pub(super) struct Probe<'a> {
    reader: &'a TreeReader,
    patience: Patience,
    probed: RefCell<Probed>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(reader: &'a TreeReader, patience: Patience) -> Self {
        Self { reader, patience, probed: RefCell::default() }
    }

    /// Loads a node of a map tree.
    pub(super) fn map(&self, reference: &Ref, level: u8) -> Result<(), ReadError> {
        let node = self.reader.patient_nodes(self.patience).map(reference, level)?;
        self.probed.borrow_mut().map = Some((reference.clone(), node));
        Ok(())
    }

    /// Loads a node of a file tree.
    pub(super) fn file(&self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, ReadError> {
        let node = self.reader.patient_nodes(self.patience).file(reference, level)?;
        self.probed.borrow_mut().file = Some((reference.clone(), Arc::clone(&node)));
        Ok(node)
    }
}

impl Nodes for &Probe<'_> {
    type Error = Halt;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, Halt> {
        match self.probed.borrow_mut().map.take() {
            Some((probed, node)) if probed == *reference => Ok(node),
            _ => self.reader.patient_nodes(self.patience).map(reference, level).map_err(Halt::Read),
        }
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, Halt> {
        match self.probed.borrow_mut().file.take() {
            Some((probed, node)) if probed == *reference => Ok(node),
            _ => self.reader.patient_nodes(self.patience).file(reference, level).map_err(Halt::Read),
        }
    }
}
