//! One stream with messages of one protocol on it.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::DecodeError;
use futures::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::swarm::Stream;
use thiserror::Error;

use crate::wire::{Body, LENGTH_BYTES, Message, body_bytes};

/// A body is taken in steps of this size: a length alone makes nobody reserve memory.
const STEP_BYTES: usize = 64 << 10;

/// Why a lane ended.
#[derive(Debug, Error)]
pub enum LaneError {
    /// The stream broke, or the peer reset it.
    #[error("the stream broke: {0}")]
    Broken(#[from] io::Error),
    /// The peer sent what no node of ours sends.
    #[error("the peer doesn't keep to the protocol: {0}")]
    Protocol(#[from] DecodeError),
    /// The peer said nothing for too long.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
}

impl LaneError {
    /// Whether it is the peer that is to blame, and not the line.
    pub fn is_misbehaviour(&self) -> bool {
        matches!(self, LaneError::Protocol(_))
    }
}

/// Messages over a stream. Dropping it says that nothing more is read, which is how a request is cancelled.
#[derive(Debug)]
pub(crate) struct Lane<M> {
    stream: Stream,
    messages: PhantomData<fn() -> M>,
}

impl<M: Message> Lane<M> {
    pub(crate) fn new(stream: Stream) -> Self {
        Lane { stream, messages: PhantomData }
    }

    /// Sends a message; it may wait in buffers until [`Lane::flush`].
    pub(crate) async fn send(&mut self, message: &M) -> Result<(), LaneError> {
        Ok(write(&mut self.stream, message.encode()).await?)
    }

    pub(crate) async fn flush(&mut self) -> Result<(), LaneError> {
        Ok(self.stream.flush().await?)
    }

    /// Says that nothing more is sent; receiving goes on.
    pub(crate) async fn finish(&mut self) -> Result<(), LaneError> {
        Ok(self.stream.close().await?)
    }

    /// The next message, of at most `bytes_max`; none where the peer has finished. It is all here within `patience`.
    pub(crate) async fn receive(&mut self, patience: Duration, bytes_max: usize) -> Result<Option<M>, LaneError> {
        let received = tokio::time::timeout(patience, self.message(bytes_max)).await;
        received.map_err(|_| LaneError::Silent(patience))?
    }

    /// As [`Lane::receive`], on a lane that lasts: the peer may be silent for any time between two messages.
    pub(crate) async fn next(&mut self, patience: Duration, bytes_max: usize) -> Result<Option<M>, LaneError> {
        let mut length = [0; LENGTH_BYTES];
        let begun = self.stream.read(&mut length).await?;
        if begun == 0 {
            return Ok(None);
        }
        let received = tokio::time::timeout(patience, self.rest(length, begun, bytes_max)).await;
        received.map_err(|_| LaneError::Silent(patience))?.map(Some)
    }

    async fn message(&mut self, bytes_max: usize) -> Result<Option<M>, LaneError> {
        let mut length = [0; LENGTH_BYTES];
        let begun = self.stream.read(&mut length).await?;
        if begun == 0 {
            return Ok(None);
        }
        self.rest(length, begun, bytes_max).await.map(Some)
    }

    /// The rest of a message of which some bytes of the length are here.
    async fn rest(&mut self, mut length: [u8; LENGTH_BYTES], begun: usize, bytes_max: usize) -> Result<M, LaneError> {
        self.stream.read_exact(&mut length[begun..]).await?;
        let wanted = body_bytes(length, bytes_max)?;
        let mut body = Vec::new();
        while body.len() < wanted {
            let start = body.len();
            body.resize(wanted.min(start + STEP_BYTES), 0);
            self.stream.read_exact(&mut body[start..]).await?;
        }
        Ok(M::decode(&Bytes::from(body))?)
    }
}

/// Writes a message's body, with its length in front.
pub(crate) async fn write(out: &mut (impl AsyncWrite + Unpin), body: Body) -> io::Result<()> {
    out.write_all(&body.length()).await?;
    out.write_all(&body.head).await?;
    // In steps, so that a reader who has gone is noticed before a megabyte was written.
    for step in body.tail.chunks(STEP_BYTES) {
        out.write_all(step).await?;
    }
    Ok(())
}
