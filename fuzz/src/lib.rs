//! One target for each thing that Cairn reads from outside.
//!
//! A target gets arbitrary bytes and panics when a promise is broken: a decoder that accepts what its encoder would not
//! write, wrong bytes that are called right, work that doesn't end. Ciphers and signatures are put on by the targets
//! themselves, with keys that they know, so that what is behind a tag is reached as easily as the tag.
//!
//! All targets are one program, chosen by `CAIRN_FUZZ_TARGET`: linking RocksDB twenty times gains nothing.
//! `CAIRN_FUZZ_SEEDS=DIR` writes the seeds that are kept in `corpus/` and ends.
#![forbid(unsafe_code)]

mod input;
mod seeds;
mod targets;

use std::sync::OnceLock;

use targets::{TARGETS, Target};

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

/// Chooses the target of this process, or writes the seeds of all.
///
/// # Panics
/// Where no target has the name, which ends the run.
pub fn start() {
    if let Some(directory) = std::env::var_os("CAIRN_FUZZ_SEEDS") {
        seeds::write(directory.as_ref()).expect("seeds can be written");
        std::process::exit(0);
    }
    let name = std::env::var("CAIRN_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    let target = found.unwrap_or_else(|| panic!("CAIRN_FUZZ_TARGET is `{name}`: it can be {}", names.join(", ")));
    CHOSEN.get_or_init(|| target);
}

/// Hands an input to the target.
///
/// # Panics
/// When the target finds what must not be.
pub fn run(data: &[u8]) {
    (CHOSEN.get().expect("chosen at the start").run)(data);
}
