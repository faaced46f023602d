//! Carrying out a read plan: from memory alone, or with the store.

use std::sync::LazyLock;

use bytes::Bytes;
use cairn_block::Ino;
use cairn_block::file_tree::{self, Extent};
use cairn_store::Ask;

use crate::error::FsError;
use crate::reader::{ReadError, TreeReader};
use crate::state::Part;

/// What holes are read from.
static ZEROS: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; 128 << 10]));

/// The bytes of a plan. Without an ask only memory is looked at, and what is not there is `WouldWait`.
pub(crate) fn fetch(reader: &TreeReader, ino: Ino, plan: &[Part], ask: Option<Ask>) -> Result<Vec<Bytes>, FsError> {
    let mut fetch = Fetch { reader, ino, ask, pieces: Vec::with_capacity(plan.len()) };
    for part in plan {
        match part {
            Part::Bytes(bytes) => fetch.pieces.push(bytes.clone()),
            Part::Zeros(len) => fetch.zeros(*len),
            Part::Stored { chunk, offset, len } => fetch.chunk(chunk, u64::from(*offset), *len)?,
            Part::Tree(root, range) => fetch.tree(root, range.clone())?,
        }
    }
    Ok(fetch.pieces)
}

struct Fetch<'a> {
    reader: &'a TreeReader,
    ino: Ino,
    ask: Option<Ask>,
    pieces: Vec<Bytes>,
}

impl Fetch<'_> {
    fn zeros(&mut self, len: u64) {
        let mut left = len as usize;
        while left > 0 {
            let piece = ZEROS.slice(..left.min(ZEROS.len()));
            left -= piece.len();
            self.pieces.push(piece);
        }
    }

    fn chunk(&mut self, chunk: &cairn_block::Ref, offset: u64, len: u64) -> Result<(), FsError> {
        let bytes = match self.ask {
            None => self.reader.cached_chunk(chunk).ok_or(FsError::WouldWait)?,
            Some(ask) => self.reader.chunk(chunk, ask).map_err(|e| self.failed(e))?,
        };
        let end = (offset + len) as usize;
        let damaged = FsError::Damaged { id: chunk.id, ino: self.ino };
        if end > bytes.len() {
            return Err(damaged);
        }
        self.pieces.push(bytes.slice(offset as usize..end));
        Ok(())
    }

    fn tree(&mut self, root: &cairn_block::FileRoot, range: std::ops::Range<u64>) -> Result<(), FsError> {
        let mut nodes = match self.ask {
            None => self.reader.cached_nodes(),
            Some(ask) => self.reader.nodes(ask),
        };
        let extents = file_tree::extents(&mut nodes, root, range.clone()).map_err(|e| self.failed(e))?;
        let mut at = range.start;
        for (start, extent) in extents {
            let skip = at - start.min(at);
            let len = (start + extent.len()).min(range.end) - at;
            match &extent {
                Extent::Hole { .. } => self.zeros(len),
                Extent::Chunk { chunk_off, chunk, .. } => self.chunk(chunk, u64::from(*chunk_off) + skip, len)?,
            }
            at += len;
        }
        // Beyond the last extent the tree says nothing; the file's size says the rest.
        self.zeros(range.end - at);
        Ok(())
    }

    fn failed(&self, error: ReadError) -> FsError {
        error.into_fs(self.ino)
    }
}
