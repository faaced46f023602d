//! The bytes of membership: a circle is a chain of signed epochs.
//!
//! An [`Epoch`] names every member of the circle and the hash of the epoch before it. [`UntrustedEpoch`] is one from
//! outside; it becomes an epoch by being verified against the one before. A [`Chain`] is what a node believes: it takes
//! runs of epochs, and decides between rivals by a rule that gives every node the same answer. The rules, and what they
//! can't do, are in `docs/FORMAT.md` under *Circles*.

mod chain;
mod epoch;
mod error;
mod member;
mod rivals;
#[cfg(test)]
mod tests;

pub use chain::{Chain, Choice, Offer};
pub use epoch::{Epoch, UntrustedEpoch};
pub use error::EpochError;
pub use member::{Class, Member, Role};
pub use rivals::{Fork, Reason, Verdict};

#[cfg(test)]
pub(crate) use epoch::{found_with_nonce, seal};
