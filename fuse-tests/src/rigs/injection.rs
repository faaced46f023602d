//! Faults at the K-th system call of a kind, with strace: no line of the product knows of it.
//!
//! strace counts the calls of each thread by itself, so a fault meets the K-th call of the thread that gets there first,
//! and with an error each thread's own K-th.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::command;

/// What happens at the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It fails with this errno, once. The call isn't made.
    Once(&'static str),
    /// It fails with this errno from then on.
    FromThenOn(&'static str),
    /// The process is killed when the call begins.
    Kill,
}

/// A fault at the `ordinal`th call of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// System calls, as strace names a set of them.
    pub calls: &'static str,
    /// What happens.
    pub effect: Effect,
    /// At which call, from 1.
    pub ordinal: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { calls, ordinal, .. } = self;
        match self.effect {
            Effect::Once(errno) => write!(f, "{calls}:error={errno}:when={ordinal}"),
            Effect::FromThenOn(errno) => write!(f, "{calls}:error={errno}:when={ordinal}+"),
            Effect::Kill => write!(f, "{calls}:signal=SIGKILL:when={ordinal}"),
        }
    }
}

/// Whether faults can be injected here; if not, why.
pub fn is_possible() -> Result<(), &'static str> {
    if command::exists("strace") { Ok(()) } else { Err("faults are injected with strace, which is not installed") }
}

impl Fault {
    /// The words before a program that run it under this fault. Calls that were hit are written to `record`.
    pub fn prefix(&self, record: &Path) -> Vec<String> {
        let mut words: Vec<String> = ["strace", "-f", "-qq", "-y", "-o"].map(str::to_owned).into();
        words.push(record.display().to_string());
        if self.effect != Effect::Kill {
            // Only calls of interest stop the program then; but signals that are injected get lost.
            words.push("--seccomp-bpf".into());
        }
        // By `writev` the driver of a store says what it was told.
        words.extend([
            "-e".to_owned(),
            format!("trace={},writev", self.calls),
            "-e".to_owned(),
            format!("inject={self}"),
        ]);
        words
    }

    /// `program` under this fault.
    pub fn command(&self, record: &Path, program: &Path) -> Command {
        let prefix = self.prefix(record);
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(program);
        command
    }

    /// Whether a call was given an error.
    pub fn has_struck(record: &Path) -> bool {
        let bytes = std::fs::read(record).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains("(INJECTED)")
    }
}

/// Ordinals for a sample: all of the first few, then ever fewer, up to `last`.
pub fn spread(last: u64) -> Vec<u64> {
    let mut ordinals = Vec::new();
    let mut next = 1;
    while next <= last {
        ordinals.push(next);
        next += 1 + next / 2;
    }
    ordinals
}
