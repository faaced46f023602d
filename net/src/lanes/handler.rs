//! One connection's lanes: streams that came, and streams that are wanted.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::channel::oneshot;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
};

use super::{Arrived, Doorman, OpenError};
use crate::node_id::NodeId;

/// A stream that is wanted, and who waits for it.
#[derive(Debug)]
pub(crate) struct Want {
    pub(super) protocol: StreamProtocol,
    pub(super) answer: oneshot::Sender<Result<Stream, OpenError>>,
}

pub(crate) struct Handler {
    peer: NodeId,
    doorman: Arc<Doorman>,
    wanted: VecDeque<Want>,
    waker: Option<Waker>,
}

impl Handler {
    pub(super) fn new(peer: NodeId, doorman: Arc<Doorman>) -> Self {
        Handler { peer, doorman, wanted: VecDeque::new(), waker: None }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Want;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offered;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Result<Stream, OpenError>>;

    fn listen_protocol(&self) -> SubstreamProtocol<Offered> {
        SubstreamProtocol::new(Offered(self.doorman.offered(&self.peer)), ())
    }

    /// Members stay connected: heads are pushed, and a connection that is there saves the handshake. Others stay as long
    /// as they have a stream, and not longer than the driver lets strangers stay.
    fn connection_keep_alive(&self) -> bool {
        self.doorman.is_member(&self.peer)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Infallible>> {
        // All at once: libp2p negotiates them side by side, and lazily.
        while let Some(Want { protocol, answer }) = self.wanted.pop_front() {
            if !answer.is_canceled() {
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), answer);
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, want: Want) {
        self.wanted.push_back(want);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Offered, Self::OutboundProtocol, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => {
                self.doorman.let_in(&protocol, Arrived { peer: self.peer, stream });
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: answer }) => {
                // Who asked may have gone; the stream is reset then.
                let _ = answer.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: answer, error }) => {
                let error = match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::NotSpoken,
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::Io(error) => OpenError::Broken(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = answer.send(Err(error));
            }
            _ => {}
        }
    }
}

/// The protocols that a peer may open here.
pub(crate) struct Offered(Vec<StreamProtocol>);

impl UpgradeInfo for Offered {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offered {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        std::future::ready(Ok((stream, protocol)))
    }
}
