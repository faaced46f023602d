//! One load for all who want the same block at the same time.
//!
//! The first to board leads: it loads, then lands the flight with the outcome. Those who board meanwhile wait, each up to
//! its own deadline. A leader that fails for a reason that may be its own (a deadline, a full queue) leaves the followers
//! to try again; a missing block is missing for all of them. A leader that unwinds lands as failed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cairn_block::{BlockId, Kind, Ref};
use cairn_store::{Ask, StoreError};

use super::ReadError;
use crate::sync::{Condvar, Mutex};

/// The ref as a whole is the key, so that nobody gets a plaintext whose key it doesn't hold.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Wanted {
    reference: Ref,
    kind: Kind,
}

#[derive(Clone)]
enum Outcome {
    Loaded(Bytes),
    Missing,
    Failed,
}

/// A load under way. Bounded by the number of threads that read.
#[derive(Default)]
pub(super) struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

impl Flight {
    /// The payload; `None` if the leader failed and it is worth trying oneself.
    pub(super) fn wait(&self, id: BlockId, ask: Ask) -> Result<Option<Bytes>, ReadError> {
        let begun = Instant::now();
        let mut outcome = self.outcome.lock();
        loop {
            match &*outcome {
                Some(Outcome::Loaded(payload)) => return Ok(Some(payload.clone())),
                Some(Outcome::Missing) => return Err(ReadError::Missing { id }),
                Some(Outcome::Failed) => return Ok(None),
                None => {}
            }
            let late = self.landed.wait_until(&mut outcome, ask.deadline).timed_out();
            if late && outcome.is_none() {
                let waited = begun.elapsed();
                return Err(ReadError::Store(StoreError::Timeout { op: "get", waited }));
            }
        }
    }

    fn land(&self, outcome: Outcome) {
        *self.outcome.lock() = Some(outcome);
        self.landed.notify_all();
    }
}

/// The loads under way.
#[derive(Default)]
pub(super) struct Flights {
    open: Mutex<HashMap<Wanted, Arc<Flight>>>,
}

/// What boarding gives.
pub(super) enum Seat<'a> {
    /// Nobody is loading it: the caller does, and lands the flight.
    Leader(Leader<'a>),
    /// Somebody is.
    Follower(Arc<Flight>),
}

impl Flights {
    /// Whether nothing is being loaded.
    #[cfg(all(test, shuttle))]
    pub(super) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    pub(super) fn board(&self, reference: &Ref, kind: Kind) -> Seat<'_> {
        let wanted = Wanted { reference: reference.clone(), kind };
        let mut open = self.open.lock();
        if let Some(flight) = open.get(&wanted) {
            return Seat::Follower(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        open.insert(wanted.clone(), Arc::clone(&flight));
        Seat::Leader(Leader { flights: self, wanted, flight, outcome: Outcome::Failed })
    }
}

/// The duty to land a flight; dropped early, it lands as failed.
pub(super) struct Leader<'a> {
    flights: &'a Flights,
    wanted: Wanted,
    flight: Arc<Flight>,
    outcome: Outcome,
}

impl Leader<'_> {
    pub(super) fn land(mut self, result: &Result<Bytes, ReadError>) {
        self.outcome = match result {
            Ok(payload) => Outcome::Loaded(payload.clone()),
            Err(ReadError::Missing { .. }) => Outcome::Missing,
            Err(_) => Outcome::Failed,
        };
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        // Off the list first: who boards from now on starts anew and can't find an outcome that is already old.
        self.flights.open.lock().remove(&self.wanted);
        self.flight.land(self.outcome.clone());
    }
}
