//! What is known of one endpoint without asking it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::{info, warn};

use super::nodes::Identity;
use crate::breaker::Breaker;

/// How one endpoint does, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeHealth {
    /// Whether it answers, and is on the right chain.
    pub up: bool,
    /// How many blocks it is behind the best known one.
    pub lag_blocks: u64,
    /// How many questions it did not answer.
    pub faults: u64,
    /// How many answers of it differed from another endpoint's.
    pub disagreements: u64,
}

/// Shared by every clone of an endpoint.
pub(super) struct Health {
    /// In the list of the network.
    place: usize,
    /// Since when the breaker counts.
    clock: Instant,
    breaker: Mutex<Breaker>,
    /// The newest block that it has spoken of; 0 before the first.
    head: AtomicU64,
    /// How far it was behind the best known block when all were last compared.
    lag: AtomicU64,
    faults: AtomicU64,
    disagreements: AtomicU64,
    /// Which chain it is on, once it has said so.
    identity: Mutex<Option<Identity>>,
}

impl Health {
    pub(super) fn new(place: usize) -> Self {
        Self {
            place,
            clock: Instant::now(),
            breaker: Mutex::default(),
            head: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            disagreements: AtomicU64::new(0),
            identity: Mutex::default(),
        }
    }

    pub(super) const fn place(&self) -> usize {
        self.place
    }

    /// As the log calls it: its URL may hold an access key.
    pub(super) fn name(&self) -> String {
        format!("rpc_urls[{}]", self.place)
    }

    /// Notes whether it answered, and says so when that makes a difference.
    pub(super) fn note(&self, answered: bool) {
        let (mut breaker, now_ms) = (lock(&self.breaker), self.now_ms());
        let before = breaker.is_open();
        if answered {
            breaker.answered();
        } else {
            breaker.failed(now_ms);
        }
        match (before, breaker.is_open()) {
            (false, true) => warn!(endpoint = self.name(), "a chain node has failed several times in a row"),
            (true, false) => info!(endpoint = self.name(), "a chain node answers again"),
            (false, false) | (true, true) => {}
        }
    }

    /// Whether it has failed so often that others are asked first.
    pub(super) fn is_down(&self) -> bool {
        lock(&self.breaker).is_open()
    }

    /// Whether it may be asked how it does.
    pub(super) fn may_ask(&self) -> bool {
        lock(&self.breaker).may_ask(self.now_ms())
    }

    /// It has this block.
    pub(super) fn saw(&self, number: u64) {
        self.head.store(number, Ordering::Relaxed);
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// All have just been asked for their newest block; this is the best.
    pub(super) fn compare(&self, best: u64) {
        self.lag.store(best.saturating_sub(self.head()), Ordering::Relaxed);
    }

    pub(super) fn lag(&self) -> u64 {
        self.lag.load(Ordering::Relaxed)
    }

    pub(super) fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn differs(&self) {
        self.disagreements.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        *lock(&self.identity)
    }

    pub(super) fn identify(&self, identity: Identity) {
        *lock(&self.identity) = Some(identity);
    }

    pub(super) fn read(&self, up: bool) -> NodeHealth {
        NodeHealth {
            up,
            lag_blocks: self.lag(),
            faults: self.faults.load(Ordering::Relaxed),
            disagreements: self.disagreements.load(Ordering::Relaxed),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
