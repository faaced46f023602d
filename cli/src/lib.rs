//! The `cairn` command: what speaks to people.
//!
//! cli composes the other crates, reads configuration and prints; no other crate does any of the three.
//! It must not know how a block is sealed, how a store is laid out or what the kernel asks a mount.
//!
//! Two processes share this binary. The *client* parses one command, prints its answer and ends. The *node* (the hidden
//! `daemon` command, or `up` in the foreground) owns the store and the mounts and answers on a unix socket.
//!
//! Where to start: [`args`] is what can be typed, [`commands`] is what each command does on the client's side,
//! [`control`] is what passes between the two processes, [`node`] is the process that holds the keys, [`transfer`]
//! copies trees between the disk and a volume, and [`errors`] is the one table of kinds, hints and exit codes.

mod args;
mod commands;
mod config;
mod control;
mod errors;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod node;
mod output;
mod progress;
mod terminal;
mod text;
mod transfer;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs what was typed, the program's name first, and says how it ended.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    commands::main(arguments)
}
