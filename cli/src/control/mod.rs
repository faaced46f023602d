//! What passes between a command and the node.
//!
//! The node listens on a unix socket in its own data directory, so that everybody who means the same node meets the same
//! socket: a shell, cron, fstab. It speaks HTTP/1.1 with JSON, so `curl --unix-socket` works too. Only the node's own user
//! and root are let in: the directory is 0700 and the kernel says who connected.
//!
//! A short answer is one JSON value. A long operation answers with lines of [`events::Event`]: progress, items, troubles,
//! and a last line that is `done` or `failed`. A client that goes away cancels its operation.
//!
//! Owners: [`server`] owns the listener, [`crate::node`] answers; [`client`] is all that commands see.

pub(crate) mod client;
pub(crate) mod events;
pub(crate) mod routes;
pub(crate) mod server;
pub(crate) mod socket;
