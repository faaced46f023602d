//! A store with slow misses: the own one first, then the members of the circle.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    fetcher: Arc<Fetcher>,
    runtime: Handle,
    flights: Mutex<HashMap<BlockId, Arc<Flight>>>,
}

/// A fetch that several may wait for.
struct Flight {
    /// When the one who fetches gives up.
    deadline: Instant,
    landed: Mutex<Option<Landed>>,
    rung: Condvar,
}

#[derive(Clone)]
enum Landed {
    With(Result<Option<Block>, FetchError>),
    /// Whoever fetched has gone without a word.
    Lost,
}

impl Router {
    pub(crate) fn new(own: Arc<dyn BlockStore>, fetcher: Arc<Fetcher>, runtime: Handle) -> Self {
        Router { own, fetcher, runtime, flights: Mutex::default() }
    }

    /// What was fetched so far.
    pub fn stats(&self) -> FetchStats {
        self.fetcher.stats()
    }

    /// One fetch for all who want the block at the same time.
    fn fetch(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        let fetched = loop {
            let flight = {
                let mut flights = self.flights.lock();
                match flights.get(id) {
                    Some(flight) => Some(Arc::clone(flight)),
                    None => {
                        let flight = Flight { deadline: ask.deadline, landed: Mutex::default(), rung: Condvar::new() };
                        flights.insert(*id, Arc::new(flight));
                        None
                    }
                }
            };
            let Some(flight) = flight else { break self.lead(id, ask) };
            match flight.wait(ask)? {
                Landed::With(Ok(block)) => break Ok(block),
                // Somebody who had less time failed: that says nothing of us.
                Landed::With(Err(_)) if flight.deadline < ask.deadline => {}
                Landed::With(Err(error)) => break Err(error),
                Landed::Lost => {}
            }
            if ask.remaining().is_zero() {
                return Err(StoreError::Timeout { op: "fetching a block", waited: Duration::ZERO });
            }
        };
        fetched.map_err(|error| StoreError::NotFetched { id: *id, source: Box::new(error) })
    }

    fn lead(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, FetchError> {
        // Whatever happens, those who wait are not left behind.
        let landing = Landing { router: self, id, is_on_board: Cell::new(true) };
        // The one before may have brought it since we looked.
        if let Ok(Some(block)) = self.own.get(id, ask) {
            landing.land(Landed::With(Ok(Some(block.clone()))));
            return Ok(Some(block));
        }
        let fetched = self.runtime.block_on(self.fetcher.fetch(*id, ask));
        // First those who wait, then the disk: it may be slow.
        landing.land(Landed::With(fetched.clone()));
        if let Ok(Some(block)) = &fetched
            && let Err(error) = self.own.put(block)
        {
            tracing::warn!(%id, %error, "a block that was fetched can't be kept");
        }
        fetched
    }
}

/// Takes the flight off the board when it ends.
struct Landing<'a> {
    router: &'a Router,
    id: &'a BlockId,
    /// Later another one's flight may be there.
    is_on_board: Cell<bool>,
}

impl Landing<'_> {
    /// Tells those who wait. With a block the flight stays on the board until the block is kept: who comes meanwhile has it from
    /// there. A failure is taken off first: who is told and tries again must not find it.
    fn land(&self, landed: Landed) {
        let mut flights = self.router.flights.lock();
        let flight = match landed {
            Landed::With(Ok(Some(_))) => flights.get(self.id).cloned(),
            _ => {
                self.is_on_board.set(false);
                flights.remove(self.id)
            }
        };
        drop(flights);
        if let Some(flight) = flight {
            flight.landed.lock().get_or_insert(landed);
            flight.rung.notify_all();
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if self.is_on_board.get() {
            // What was landed before stands.
            self.land(Landed::Lost);
        }
    }
}

impl Flight {
    /// Waits for the one who fetches, as long as the answer is of use.
    fn wait(&self, ask: Ask) -> Result<Landed, StoreError> {
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
