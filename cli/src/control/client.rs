//! The commands' side of the socket.

use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::events::{Event, EventReader};
use super::routes::{Route, VERSION_HEADER};
use super::socket::SocketPlace;
use crate::errors::Failure;
use crate::output::say;

/// An answer that isn't a stream is far below this.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why an answer didn't come.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error("the node isn't running")]
    NotRunning,
    /// The connection broke.
    #[error("the node at {} went away", socket.display())]
    Gone {
        /// Where it listened.
        socket: PathBuf,
        /// What the connection said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer makes no sense.
    #[error("the node at {} gave an answer that can't be read: {reason}", socket.display())]
    Protocol {
        /// Where it listens.
        socket: PathBuf,
        /// What doesn't fit.
        reason: String,
    },
    /// The node did what was asked, or tried, and failed.
    #[error(transparent)]
    Failed(Failure),
}

/// One connection to the node. Commands ask one thing after the other.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    connection: http1::SendRequest<Full<Bytes>>,
    socket: PathBuf,
}

impl Client {
    /// Connects; [`ClientError::NotRunning`] where nobody listens.
    pub(crate) fn connect(place: &SocketPlace) -> Result<Self, ClientError> {
        let socket = place.path();
        let gone =
            |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Gone { socket: place.path(), source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| gone(error.into()))?;
        let connection = runtime.block_on(async {
            let stream = place.connect().await.map_err(|error| gone(error.into()))?.ok_or(ClientError::NotRunning)?;
            let (sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| gone(error.into()))?;
            // Its errors reach whoever waits for an answer.
            tokio::spawn(connection);
            Ok(sender)
        })?;
        Ok(Self { runtime, connection, socket })
    }

    /// Asks, and waits for one value.
    pub(crate) fn call<T: DeserializeOwned>(
        &mut self,
        route: Route,
        question: &impl Serialize,
    ) -> Result<T, ClientError> {
        let answer = self.send(route, question)?;
        let bytes = self.collect(answer)?;
        serde_json::from_slice(&bytes).map_err(|error| self.protocol(error))
    }

    /// Asks, hands every event but the last to `on_event`, and returns the result.
    pub(crate) fn stream<T: DeserializeOwned>(
        &mut self,
        route: Route,
        question: &impl Serialize,
        mut on_event: impl FnMut(Event),
    ) -> Result<T, ClientError> {
        let mut answer = self.send(route, question)?;
        let mut events = EventReader::default();
        loop {
            while let Some(event) = events.pop() {
                match event {
                    Event::Done { result } => {
                        return serde_json::from_value(result).map_err(|error| self.protocol(error));
                    }
                    Event::Failed { failure } => return Err(ClientError::Failed(failure)),
                    event => on_event(event),
                }
            }
            let bytes = self.next_bytes(&mut answer)?.ok_or_else(|| self.gone("it ended too early".into()))?;
            events.push(&bytes).map_err(|reason| self.protocol(reason))?;
        }
    }

    /// Asks, and hands the raw bytes of the answer to `sink` as they come. Returns `Ok(false)` when they broke off.
    pub(crate) fn bytes<E: From<ClientError>>(
        &mut self,
        route: Route,
        question: &impl Serialize,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut answer = self.send(route, question)?;
        loop {
            match self.next_bytes(&mut answer) {
                Ok(Some(bytes)) => sink(&bytes)?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn send(
        &mut self,
        route: Route,
        question: &impl Serialize,
    ) -> Result<Response<hyper::body::Incoming>, ClientError> {
        let body = serde_json::to_vec(question).map_err(|error| self.protocol(error))?;
        let request = Request::post(route.path())
            .header("host", "cairn")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.protocol(error))?;
        let sent = self.runtime.block_on(async {
            self.connection.ready().await?;
            self.connection.send_request(request).await
        });
        let answer = sent.map_err(|error| self.gone(error.into()))?;
        self.warn_about_another_version(&answer);
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = self.collect(answer)?;
        Err(match serde_json::from_slice(&bytes) {
            Ok(failure) => ClientError::Failed(failure),
            Err(_) => self.protocol(format!("status {status}: {}", String::from_utf8_lossy(&bytes))),
        })
    }

    fn collect(&self, answer: Response<hyper::body::Incoming>) -> Result<Bytes, ClientError> {
        let limited = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        self.runtime
            .block_on(limited.collect())
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| self.gone(error))
    }

    fn next_bytes(&self, answer: &mut Response<hyper::body::Incoming>) -> Result<Option<Bytes>, ClientError> {
        loop {
            return match self.runtime.block_on(answer.body_mut().frame()) {
                None => Ok(None),
                Some(Err(error)) => Err(self.gone(error.into())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(_) => continue,
                },
            };
        }
    }

    fn warn_about_another_version(&self, answer: &Response<hyper::body::Incoming>) {
        let ours = env!("CARGO_PKG_VERSION");
        let theirs = answer.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            say(format_args!(
                "warning: the node runs version {theirs}, this command is {ours}; `cairn down` ends the old one"
            ));
        }
    }

    fn gone(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        ClientError::Gone { socket: self.socket.clone(), source }
    }

    fn protocol(&self, reason: impl ToString) -> ClientError {
        ClientError::Protocol { socket: self.socket.clone(), reason: reason.to_string() }
    }
}
