//! One stream with messages of one protocol on it.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::DecodeError;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::Stream;
use thiserror::Error;

use crate::wire::{LENGTH_BYTES, Message, body_bytes};

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

/// Messages over a stream. Dropping it resets the stream, which is how a request is cancelled.
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
        let body = message.encode();
        self.stream.write_all(&body.length()).await?;
        self.stream.write_all(&body.head).await?;
        // In steps, so that a reader who has gone is noticed before a megabyte was written.
        for step in body.tail.chunks(STEP_BYTES) {
            self.stream.write_all(step).await?;
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<(), LaneError> {
        Ok(self.stream.flush().await?)
    }

    /// Says that nothing more is sent; receiving goes on.
    pub(crate) async fn finish(&mut self) -> Result<(), LaneError> {
        Ok(self.stream.close().await?)
    }

    /// The next message; none where the peer has finished. `patience` is for each step, so that a large message may take long
    /// and a stalled one is noticed.
    pub(crate) async fn receive(&mut self, patience: Duration) -> Result<Option<M>, LaneError> {
        let mut length = [0; LENGTH_BYTES];
        let first = self.step(patience, 0, &mut length).await?;
        if first == 0 {
            return Ok(None);
        }
        self.fill(patience, &mut length[first..]).await?;
        let wanted = body_bytes::<M>(length)?;
        let mut body = Vec::new();
        while body.len() < wanted {
            let start = body.len();
            body.resize(wanted.min(start + STEP_BYTES), 0);
            self.fill(patience, &mut body[start..]).await?;
        }
        Ok(Some(M::decode(&Bytes::from(body))?))
    }

    async fn fill(&mut self, patience: Duration, mut buffer: &mut [u8]) -> Result<(), LaneError> {
        while !buffer.is_empty() {
            let read = self.step(patience, 1, buffer).await?;
            buffer = &mut buffer[read..];
        }
        Ok(())
    }

    /// Reads what there is, but at least `least` bytes.
    async fn step(&mut self, patience: Duration, least: usize, buffer: &mut [u8]) -> Result<usize, LaneError> {
        let read = tokio::time::timeout(patience, self.stream.read(buffer));
        let read = read.await.map_err(|_| LaneError::Silent(patience))??;
        if read < least {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(read)
    }
}
