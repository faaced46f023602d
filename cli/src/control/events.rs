//! The lines of a long operation's answer, and both ends of the channel they go through.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::errors::{Failure, Kind, Outcome};
use crate::text::Name;

/// Lines that wait for a slow reader; then the operation waits too.
const LINES_MAX: usize = 64;
/// A bar that moves more often than this only costs.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What is counted in [`Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// Bytes of files.
    Bytes,
    /// Sealed blocks.
    Blocks,
    /// Files and directories.
    Entries,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// What is counted.
    pub(crate) unit: Unit,
    /// Done so far.
    pub(crate) done: u64,
    /// All there is, as far as is known by now.
    pub(crate) total: Option<u64>,
    /// Files so far, where bytes are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<u64>,
}

/// One line of a long operation's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// How far it is.
    Progress(Progress),
    /// One result of many.
    Item {
        /// What the route's table says.
        item: serde_json::Value,
    },
    /// One thing that failed; the rest goes on.
    Trouble {
        /// What it was about.
        path: Name,
        /// What failed.
        failure: Failure,
    },
    /// The end.
    Done {
        /// What the route's table says.
        result: serde_json::Value,
    },
    /// The end, too early.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// The operation's end: reports, and learns that nobody listens any more. Shared by the operation's threads.
#[derive(Clone)]
pub(crate) struct Reporter {
    lines: mpsc::Sender<Bytes>,
    gone: Arc<AtomicBool>,
    progress_sent: Arc<Mutex<Option<Instant>>>,
}

/// The connection's end: the body of the answer.
pub(crate) struct EventBody {
    lines: mpsc::Receiver<Bytes>,
    gone: Arc<AtomicBool>,
}

/// Both ends.
pub(crate) fn channel() -> (Reporter, EventBody) {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let gone = Arc::new(AtomicBool::new(false));
    let reporter = Reporter { lines: sender, gone: gone.clone(), progress_sent: Arc::default() };
    (reporter, EventBody { lines: receiver, gone })
}

impl Reporter {
    /// One result of many. Blocks while the reader is slow.
    pub(crate) fn item(&self, item: &impl Serialize) -> Outcome<()> {
        self.send(&Event::Item { item: to_value(item)? })
    }

    /// One thing that failed.
    pub(crate) fn trouble(&self, path: impl Into<Name>, failure: Failure) -> Outcome<()> {
        self.send(&Event::Trouble { path: path.into(), failure })
    }

    /// How far it is; most reports are dropped, as nobody can see them.
    pub(crate) fn progress(&self, progress: Progress) -> Outcome<()> {
        {
            let mut sent = self.progress_sent.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if sent.is_some_and(|sent| now.duration_since(sent) < PROGRESS_INTERVAL) {
                return self.check();
            }
            *sent = Some(now);
        }
        self.send(&Event::Progress(progress))
    }

    /// Fails when the client went away: the operation should stop.
    pub(crate) fn check(&self) -> Outcome<()> {
        if self.gone.load(Ordering::Relaxed) { Err(interrupted()) } else { Ok(()) }
    }

    /// The last line.
    pub(crate) fn end<T: Serialize>(self, outcome: Outcome<T>) {
        let event = match outcome.and_then(|result| to_value(&result)) {
            Ok(result) => Event::Done { result },
            Err(failure) => Event::Failed { failure },
        };
        // A client that is gone doesn't need to know.
        let _ = self.send(&event);
    }

    fn send(&self, event: &Event) -> Outcome<()> {
        let mut line = serde_json::to_vec(event)
            .map_err(|error| Failure::new(Kind::Internal, format!("an event doesn't serialise: {error}")))?;
        line.push(b'\n');
        self.lines.blocking_send(line.into()).map_err(|_| interrupted())
    }
}

/// Anything of ours as JSON.
pub(crate) fn to_value(value: &impl Serialize) -> Outcome<serde_json::Value> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(Kind::Internal, format!("an answer doesn't serialise: {error}")))
}

fn interrupted() -> Failure {
    Failure::new(Kind::Interrupted, "the client went away")
}

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Pieces of a file that wait for a slow reader, at 1 MiB each.
const PIECES_MAX: usize = 4;

/// The reader's end of a file's bytes: a failure breaks the connection.
pub(crate) type BytesSender = mpsc::Sender<Result<Bytes, Failure>>;

/// A file's bytes as the body of an answer.
pub(crate) struct BytesBody(mpsc::Receiver<Result<Bytes, Failure>>);

/// Both ends of a file's bytes.
pub(crate) fn bytes_channel() -> (BytesSender, BytesBody) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    (sender, BytesBody(receiver))
}

impl HttpBody for BytesBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Cuts a stream of bytes into events.
#[derive(Default)]
pub(crate) struct EventReader {
    rest: Vec<u8>,
    events: VecDeque<Event>,
}

/// One event is a few hundred bytes; a line beyond this is not ours.
const LINE_BYTES_MAX: usize = 4 << 20;

impl EventReader {
    /// Takes the next bytes; fails on a line that is no event.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return if self.rest.len() > LINE_BYTES_MAX { Err("a line is too long") } else { Ok(()) };
        };
        for line in self.rest[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.events.push_back(serde_json::from_slice(line).map_err(|_| "a line is no event")?);
        }
        self.rest.drain(..=end);
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_any_cut() {
        let events = [
            Event::Progress(Progress { unit: Unit::Bytes, done: 1, total: Some(2), files: None }),
            Event::Trouble { path: Name(vec![0xff]), failure: Failure::new(Kind::Io, "x") },
            Event::Done { result: serde_json::json!({"a": 1}) },
        ];
        let stream: Vec<u8> = events
            .iter()
            .flat_map(|event| [serde_json::to_vec(event).expect("serialises"), b"\n".to_vec()].concat())
            .collect();
        for cut in 1..stream.len() {
            let mut reader = EventReader::default();
            for part in stream.chunks(cut) {
                reader.push(part).expect("events");
            }
            let read: Vec<_> = std::iter::from_fn(|| reader.pop()).map(|event| format!("{event:?}")).collect();
            assert_eq!(read, events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_client_that_goes_away_stops_the_operation() {
        let (reporter, body) = channel();
        reporter.check().expect("somebody listens");
        drop(body);
        assert_eq!(reporter.check().expect_err("nobody does").kind, Kind::Interrupted);
        assert_eq!(reporter.item(&1).expect_err("nobody does").kind, Kind::Interrupted);
    }

    #[test]
    fn garbage_is_no_event() {
        assert!(EventReader::default().push(b"garbage\n").is_err());
    }
}
