//! The contract: what any store promises, as claims with names. Each runs on a store of its own.

mod blocks;
mod collections;
mod crashes;
mod heads;
mod hints;
mod journals;

use super::Rig;
use crate::{BlockStore, Store};

/// A claim and its name, which is the name of its function.
struct Claim<S: ?Sized> {
    name: &'static str,
    check: fn(Box<S>),
}

/// Lists claims by their functions.
macro_rules! claims {
    ($($claim:ident),* $(,)?) => {
        &[$(Claim { name: stringify!($claim), check: $claim }),*]
    };
}
use claims;

/// Holds an own store to everything that can be seen without a crash. Panics, and names the claim, if one fails.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Store>) {
    run_blocks(&mut || make());
    for claims in [heads::CLAIMS, journals::CLAIMS, hints::CLAIMS, collections::CLAIMS] {
        check_each(claims, make);
    }
}

/// Holds anything that keeps blocks to the claims that need nothing else. A cache passes if it has room
/// for 16 MiB.
pub fn run_blocks(make: &mut dyn FnMut() -> Box<dyn BlockStore>) {
    check_each(blocks::CLAIMS, make);
}

/// Holds an own store to what it promises through crashes and damage.
pub fn run_crashes(make: &mut dyn FnMut() -> Box<dyn Rig>) {
    check_each(crashes::CLAIMS, make);
}

fn check_each<S: ?Sized>(claims: &[Claim<S>], make: &mut dyn FnMut() -> Box<S>) {
    for claim in claims {
        let _named = NamesFailure(claim.name);
        (claim.check)(make());
    }
}

/// Says which claim was being checked when one panics.
struct NamesFailure(&'static str);

impl Drop for NamesFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the store does not keep this promise: {}", self.0);
        }
    }
}
