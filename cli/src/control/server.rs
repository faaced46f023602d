//! The node's side of the socket: who is let in, and which function answers which route.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Router, serve};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};

use super::events::{self, Reporter};
use super::routes::{Nothing, Route, VERSION_HEADER};
use crate::errors::{Failure, Kind, Outcome};
use crate::node::Node;

/// A question holds paths; a put of many sources has many.
const QUESTION_BYTES_MAX: usize = 16 << 20;
/// What a client has to wait for at most before it may ask; the rest waits in line.
const OPERATIONS_MAX: usize = 16;

/// Serves until `end` comes; then takes no more connections and finishes the open ones.
pub(crate) async fn run(
    node: Arc<Node>,
    listener: UnixListener,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let operations = Arc::new(tokio::sync::Semaphore::new(OPERATIONS_MAX));
    let app = router().with_state(Served { node, operations });
    serve(GuardedListener(listener), app).with_graceful_shutdown(end).await
}

/// What every handler has.
#[derive(Clone)]
struct Served {
    node: Arc<Node>,
    operations: Arc<tokio::sync::Semaphore>,
}

/// Every route with what answers it. `$short`, `$long` and `$cat` make a handler of an answer: the node's own, or in a
/// fuzz target ones that read the question and leave it at that.
macro_rules! table {
    ($short:ident, $long:ident, $cat:expr) => {{
        use crate::node::{care, circle, content, history, uses};
        Router::new()
            .route(Route::Status.path(), $short(|node: &Node, _: Nothing| node.status()))
            .route(Route::Down.path(), $short(Node::end))
            .route(Route::Mount.path(), $short(Node::mount))
            .route(Route::Umount.path(), $short(Node::umount))
            .route(Route::Put.path(), $long(content::put))
            .route(Route::Get.path(), $long(content::get))
            .route(Route::List.path(), $long(content::list))
            .route(Route::Cat.path(), post($cat))
            .route(Route::Snapshot.path(), $short(history::snapshot))
            .route(Route::History.path(), $long(history::history))
            .route(Route::Diff.path(), $long(history::diff))
            .route(Route::Restore.path(), $short(history::restore))
            .route(Route::Undo.path(), $short(history::undo))
            .route(Route::Forget.path(), $short(history::forget))
            .route(Route::Check.path(), $long(care::check))
            .route(Route::Gc.path(), $long(care::gc))
            .route(Route::Why.path(), $short(care::why))
            .route(Route::Blocks.path(), $long(uses::blocks))
            .route(Route::Invite.path(), $long(circle::invite))
            .route(Route::Circle.path(), $short(|node: &Node, _: Nothing| node.circle()))
            .route(Route::CircleChange.path(), $short(circle::change))
            .route(Route::Conflicts.path(), $long(circle::conflicts))
            .route(Route::Debug.path(), $short(care::debug))
            .layer(DefaultBodyLimit::max(QUESTION_BYTES_MAX))
            .layer(axum::middleware::map_response(|mut response: Response| async {
                response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
                response
            }))
    }};
}

fn router() -> Router<Served> {
    table!(short, long, cat)
}

/// The same table, with answers that do nothing.
#[cfg(feature = "fuzzing")]
pub(crate) mod idle {
    use super::*;

    type Question<Q> = Result<Json<Q>, JsonRejection>;

    /// Reads every question as the node does.
    pub(crate) fn router() -> Router {
        table!(short, long, cat)
    }

    fn short<Q: DeserializeOwned + Send + 'static, A>(_: fn(&Node, Q) -> Outcome<A>) -> MethodRouter {
        post(|question: Question<Q>| async move { said(question) })
    }

    fn long<Q: DeserializeOwned + Send + 'static, A>(_: fn(&Node, Q, &Reporter) -> Outcome<A>) -> MethodRouter {
        post(|question: Question<Q>| async move { said(question) })
    }

    async fn cat(question: Question<crate::control::routes::CatQuestion>) -> Response {
        said(question)
    }

    fn said<Q>(question: Question<Q>) -> Response {
        match question {
            Ok(_) => Json(Nothing {}).into_response(),
            Err(rejection) => refusal(rejection),
        }
    }
}

/// A route that answers with one value.
fn short<Q, A>(answer: fn(&Node, Q) -> Outcome<A>) -> MethodRouter<Served>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    post(move |State(served): State<Served>, question: Result<Json<Q>, JsonRejection>| async move {
        let question = match question {
            Ok(Json(question)) => question,
            Err(rejection) => return refusal(rejection),
        };
        match blocking(served, move |node| answer(node, question)).await {
            Ok(answer) => Json(answer).into_response(),
            Err(failure) => failed(failure),
        }
    })
}

/// A route that answers with events.
fn long<Q, A>(answer: fn(&Node, Q, &Reporter) -> Outcome<A>) -> MethodRouter<Served>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    post(move |State(served): State<Served>, question: Result<Json<Q>, JsonRejection>| async move {
        let question = match question {
            Ok(Json(question)) => question,
            Err(rejection) => return refusal(rejection),
        };
        let (reporter, body) = events::channel();
        // It ends by itself: with its work, or when the body is dropped because the client left.
        tokio::spawn(blocking(served, move |node| {
            let outcome = answer(node, question, &reporter);
            reporter.end(outcome);
            Ok(())
        }));
        ([("content-type", "application/x-ndjson")], Body::new(body)).into_response()
    })
}

/// The bytes of a file. What fails before the first byte is an answer with a reason; later, the connection breaks, and
/// the client asks for the rest and gets the reason then.
async fn cat(
    State(served): State<Served>,
    question: Result<Json<super::routes::CatQuestion>, JsonRejection>,
) -> Response {
    let question = match question {
        Ok(Json(question)) => question,
        Err(rejection) => return refusal(rejection),
    };
    let (sender, body) = events::bytes_channel();
    let (started, start) = tokio::sync::oneshot::channel();
    tokio::spawn(blocking(served, move |node| crate::node::content::cat(node, question, started, sender)));
    match start.await {
        Ok(Ok(())) => ([("content-type", "application/octet-stream")], Body::new(body)).into_response(),
        Ok(Err(failure)) => failed(failure),
        Err(_) => failed(Failure::new(Kind::Internal, "the file's reader ended without a word")),
    }
}

/// Runs what may wait for the disk outside the runtime's workers. The node counts as busy until it is done.
async fn blocking<A: Send + 'static>(
    served: Served,
    work: impl FnOnce(&Node) -> Outcome<A> + Send + 'static,
) -> Outcome<A> {
    let busy = served.node.busy();
    let Ok(permit) = served.operations.acquire_owned().await else {
        return Err(Failure::new(Kind::Busy, "the node is ending"));
    };
    let worked = tokio::task::spawn_blocking(move || {
        let _held = (permit, busy);
        work(&served.node)
    });
    worked.await.unwrap_or_else(|panic| {
        tracing::error!("an operation panicked: {panic}");
        Err(Failure::new(Kind::Internal, "the operation failed in a way that it should not")
            .hint("the node's log says more"))
    })
}

fn refusal(rejection: JsonRejection) -> Response {
    failed(Failure::new(Kind::Usage, rejection.body_text()))
}

fn failed(failure: Failure) -> Response {
    let status = match failure.kind {
        Kind::Usage | Kind::Config => StatusCode::BAD_REQUEST,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Refused | Kind::Busy => StatusCode::CONFLICT,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(failure)).into_response()
}

/// Lets in the node's own user and root; anybody else is hung up on.
struct GuardedListener(UnixListener);

impl serve::Listener for GuardedListener {
    type Io = UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let us = rustix::process::geteuid().as_raw();
        loop {
            let (stream, address) = serve::Listener::accept(&mut self.0).await;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == us || peer.uid() == 0 => return (stream, address),
                Ok(peer) => tracing::warn!("user {} was not let in", peer.uid()),
                Err(error) => tracing::warn!("a connection without credentials was not let in: {error}"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
