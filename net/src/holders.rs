//! Asking a member which blocks it has: how safe a file is follows from who else could give it.

use std::time::Duration;

use cairn_block::{BlockId, DecodeError};

use crate::driver::Driver;
use crate::lane::{Lane, LaneError};
use crate::node_id::NodeId;
use crate::wire::blocks::BlocksMessage;
use crate::wire::{Message, WANTS_MAX};

/// How long a peer may take to look for [`WANTS_MAX`] blocks: it reads nothing but its index.
const PATIENCE: Duration = Duration::from_secs(10);

/// For each id, none twice, whether the peer says that it has the block.
pub(crate) async fn has(driver: &Driver, peer: NodeId, ids: &[BlockId]) -> Result<Vec<bool>, LaneError> {
    let mut has = Vec::with_capacity(ids.len());
    for wanted in ids.chunks(WANTS_MAX) {
        let opened = driver.open(peer, BlocksMessage::PROTOCOL).await;
        let stream = opened.map_err(|error| LaneError::Broken(std::io::Error::other(error)))?;
        let mut lane = Lane::<BlocksMessage>::new(stream);
        lane.send(&BlocksMessage::Has(wanted.to_vec())).await?;
        lane.finish().await?;
        match lane.receive(PATIENCE, BlocksMessage::BODY_BYTES_MAX).await? {
            Some(BlocksMessage::Holds(holds)) if holds.len() == wanted.len() => has.extend(holds),
            _ => return Err(DecodeError::invalid("answer to a has", "it is none").into()),
        }
    }
    Ok(has)
}
