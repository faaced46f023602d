//! The node: the process that holds the keys, the store and the mounts.
//!
//! Start: key file, store (its lock makes this the only node on it), circle, socket, and only then whatever was asked. End, in this
//! order: no new questions, mounts go, volumes write their last head, the store closes, the socket goes. A node that
//! nobody asks and that mounts nothing ends by itself; so does one that is told to.
//!
//! [`circle`] is its end of the circle, and [`blocks`] the store with the circle behind it, as volumes see it.
//!
//! [`open`] makes a [`Node`] from the settings; [`mounts`], [`content`], [`history`], [`care`], [`uses`] and [`status`] answer
//! one family of routes each; [`lifecycle`] is how a command starts one in the background.

mod blocks;
pub(crate) mod care;
pub(crate) mod circle;
pub(crate) mod content;
pub(crate) mod durable;
pub(crate) mod harden;
pub(crate) mod history;
pub(crate) mod keyfile;
pub(crate) mod layout;
pub(crate) mod lifecycle;
pub(crate) mod log;
mod memory;
mod mounts;
mod open;
pub(crate) mod passphrase;
mod paths;
pub(crate) mod phrase;
mod status;
pub(crate) mod uses;
pub(crate) mod volumes;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::Settings;
use crate::control::server;
use crate::control::socket::SocketPlace;
use crate::errors::{Failure, Kind, Outcome};
use layout::DataDir;
pub(crate) use open::Node;
use passphrase::Passphrase;

/// Dispatch, sockets and timers; everything that waits for the disk runs elsewhere.
const RUNTIME_WORKERS: usize = 2;
/// Threads for operations that wait for the disk: each control operation, with room for their ends.
const BLOCKING_THREADS_MAX: usize = 32;
/// How long open answers may take after the node was told to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a node that ends looks whether something is still under way.
const BUSY_LOOK: Duration = Duration::from_millis(10);
/// How often the node looks whether anybody still needs it.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// How long a node that was told to end may take: flushing the memory it may hold to a slow disk.
const GONE_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs a node until it is told to end. `on_ready` is called once it answers; its failure ends the node.
pub(crate) fn run(
    settings: &Settings,
    passphrase: Option<&Passphrase>,
    on_ready: impl FnOnce(&Node) -> Outcome<()>,
) -> Outcome<()> {
    harden::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?;
    // Before the first file is written.
    outlive_file_size_limit(&runtime);
    let (end, ended) = watch::channel(false);
    let node = open::open(settings, passphrase, end)?.shared();
    {
        let _inside = runtime.enter();
        node.start_known_circle()?;
    }
    let served = serve(&node, settings, &runtime, ended, on_ready);
    // The runtime still runs: what a last head lacks may have to be fetched.
    let closed = node.close();
    // Operations that don't notice their client leaving in time are abandoned with the process.
    runtime.shutdown_timeout(END_TIMEOUT);
    // While the store is still ours, so that it is not the socket of the next node that goes; who waits for the end waits
    // for this process. With its last owner the store closes.
    DataDir::at(&settings.data_dir).socket().remove();
    drop(node);
    tracing::info!("the node has ended");
    served.and(closed)
}

/// A write beyond the limit of a file's size ends a process, unless it listens: then only the write fails, with `EFBIG`.
fn outlive_file_size_limit(runtime: &Runtime) {
    let _inside = runtime.enter();
    // From the first registration on the signal does nothing by itself, whether or not anybody waits for it.
    if let Err(error) = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())) {
        tracing::warn!("a limit on the size of files would end this node: {error}");
    }
}

/// The signals that end a node in order, noticed from here on: interrupt, terminate, hangup.
fn end_signals(runtime: &Runtime) -> Outcome<[Signal; 3]> {
    let _inside = runtime.enter();
    let kinds =
        || Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]);
    kinds()
        .map_err(|error: std::io::Error| Failure::new(Kind::Internal, format!("signals can't be waited for: {error}")))
}

fn serve(
    node: &Arc<Node>,
    settings: &Settings,
    runtime: &Runtime,
    ended: watch::Receiver<bool>,
    on_ready: impl FnOnce(&Node) -> Outcome<()>,
) -> Outcome<()> {
    let socket = DataDir::at(&settings.data_dir).socket();
    let server = runtime.block_on(listen(node.clone(), &socket, ended.clone()))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data_dir = %settings.data_dir.display(), "the node answers");
    // Before anything is mounted: from the moment a mount is seen, a signal has to end the node in order.
    let signals = end_signals(runtime)?;
    let ready = on_ready(node);
    if ready.is_ok() {
        runtime.block_on(until_end(node, settings.idle_exit, ended, signals));
    }
    node.tell_to_end();
    runtime.block_on(async {
        if tokio::time::timeout(END_TIMEOUT, server).await.is_err() {
            tracing::warn!("some answers were cut off at the end");
        }
        // What is under way may still write; it notices that its client has left.
        let idle = async {
            while node.is_busy() {
                tokio::time::sleep(BUSY_LOOK).await;
            }
        };
        if tokio::time::timeout(END_TIMEOUT, idle).await.is_err() {
            tracing::warn!("some operations were cut off at the end");
        }
    });
    ready
}

async fn listen(
    node: Arc<Node>,
    socket: &SocketPlace,
    mut ended: watch::Receiver<bool>,
) -> Outcome<tokio::task::JoinHandle<std::io::Result<()>>> {
    let listener = socket.listen()?;
    let end = async move {
        // The sender lives in the node, which outlives the server.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    Ok(tokio::spawn(server::run(node, listener, end)))
}

/// Comes back when the node was told to end, got a signal, or has been of no use for long enough.
async fn until_end(
    node: &Node,
    idle_exit: Option<Duration>,
    mut ended: watch::Receiver<bool>,
    mut signals: [Signal; 3],
) {
    let [interrupt, terminate, hangup] = &mut signals;
    tokio::select! {
        _ = ended.wait_for(|ended| *ended) => tracing::info!("told to end"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
        _ = terminate.recv() => tracing::info!("terminated"),
        _ = hangup.recv() => tracing::info!("the terminal is gone"),
        () = until_idle(node, idle_exit) => tracing::info!("nobody needs this node any more"),
    }
}

async fn until_idle(node: &Node, idle_exit: Option<Duration>) {
    let Some(idle_exit) = idle_exit else { return std::future::pending().await };
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(IDLE_LOOK.min(idle_exit)).await;
        if node.is_needed() {
            since = Instant::now();
        } else if since.elapsed() >= idle_exit {
            return;
        }
    }
}

/// The process of a node, to be waited for.
pub(crate) struct Process(Option<OwnedFd>);

impl Process {
    /// Of the node with this number, unless it can't be seen from here.
    pub(crate) fn of(number: u32) -> Self {
        let number = i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw);
        let open = |number| rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()).ok();
        Self(number.and_then(open))
    }
}

/// Waits until a node that was told to end has ended.
pub(crate) fn wait_until_gone(process: Process, data_dir: &DataDir) -> Outcome<()> {
    if let Some(process) = process.0 {
        let mut waiting = [PollFd::new(&process, PollFlags::IN)];
        let timeout = Timespec { tv_sec: GONE_TIMEOUT.as_secs().cast_signed(), tv_nsec: 0 };
        return match rustix::event::poll(&mut waiting, Some(&timeout)) {
            Ok(0) => Err(Failure::new(Kind::Busy, "the node is still ending").hint("its log says what it waits for")),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::from(error).while_("waiting for the node to end")),
        };
    }
    let deadline = Instant::now() + GONE_TIMEOUT;
    while data_dir.socket().path().exists() {
        if Instant::now() > deadline {
            return Err(Failure::new(Kind::Busy, "the node is still ending").hint("its log says what it waits for"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
