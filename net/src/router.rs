//! A store with slow misses: the own one first, then the members of the circle.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use cairn_block::{Block, BlockId};
use cairn_store::{Ask, BlockStore, Put, StoreError};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use crate::fetch::{FetchError, FetchStats, Fetcher};

/// Blocks of this node and of its circle. What is fetched is kept in the own store.
///
/// Its calls block, as those of every store: never make one on an async worker.
pub struct Router {
    own: Arc<dyn BlockStore>,
    fetcher: Fetcher,
    runtime: Handle,
    flights: Mutex<HashMap<BlockId, Arc<Flight>>>,
}

/// A fetch that several may wait for.
#[derive(Default)]
struct Flight {
    landed: Mutex<Option<Result<Option<Block>, FetchError>>>,
    rung: Condvar,
}

impl Router {
    pub(crate) fn new(own: Arc<dyn BlockStore>, fetcher: Fetcher, runtime: Handle) -> Self {
        Router { own, fetcher, runtime, flights: Mutex::default() }
    }

    /// What was fetched so far.
    pub fn stats(&self) -> FetchStats {
        self.fetcher.stats()
    }

    /// One fetch for all who want the block at the same time.
    fn fetch(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        let flight = {
            let mut flights = self.flights.lock();
            match flights.get(id) {
                Some(flight) => Some(Arc::clone(flight)),
                None => {
                    flights.insert(*id, Arc::default());
                    None
                }
            }
        };
        let fetched = match flight {
            Some(flight) => flight.wait(ask)?,
            None => self.lead(id, ask),
        };
        fetched.map_err(|error| StoreError::NotFetched { id: *id, source: Box::new(error) })
    }

    fn lead(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, FetchError> {
        // Whatever happens, those who wait are not left behind.
        let landing = Landing { router: self, id };
        let fetched = self.runtime.block_on(self.fetcher.fetch(*id, ask));
        if let Ok(Some(block)) = &fetched
            && let Err(error) = self.own.put(block)
        {
            tracing::warn!(%id, %error, "a block that was fetched can't be kept");
        }
        landing.land(fetched.clone());
        fetched
    }
}

struct Landing<'a> {
    router: &'a Router,
    id: &'a BlockId,
}

impl Landing<'_> {
    fn land(&self, fetched: Result<Option<Block>, FetchError>) {
        let flight = self.router.flights.lock().get(self.id).cloned();
        if let Some(flight) = flight {
            flight.landed.lock().get_or_insert(fetched);
            flight.rung.notify_all();
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let nothing = FetchError { id: *self.id, peers: Vec::new(), took: Default::default() };
        self.land(Err(nothing));
        self.router.flights.lock().remove(self.id);
    }
}

impl Flight {
    /// Waits for the one who fetches, as long as the answer is of use.
    fn wait(&self, ask: Ask) -> Result<Result<Option<Block>, FetchError>, StoreError> {
        let start = Instant::now();
        let mut landed = self.landed.lock();
        loop {
            if let Some(landed) = &*landed {
                return Ok(landed.clone());
            }
            if self.rung.wait_until(&mut landed, ask.deadline).timed_out() && landed.is_none() {
                return Err(StoreError::Timeout { op: "fetching a block", waited: start.elapsed() });
            }
        }
    }
}

impl BlockStore for Router {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        match self.own.get(id, ask) {
            Ok(None) => self.fetch(id, ask),
            // A sound copy from elsewhere repairs the own one; if there is none, the damage is what is told.
            Err(damage @ StoreError::Damaged { .. }) => match self.fetch(id, ask) {
                Ok(Some(block)) => Ok(Some(block)),
                _ => Err(damage),
            },
            own => own,
        }
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        self.own.put(block)
    }

    fn put_from_reserve(&self, block: &Block) -> Result<Put, StoreError> {
        self.own.put_from_reserve(block)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.own.has(id)
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.own.claim(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.own.sync()
    }
}
