//! What the threads of one process share: which holds a settlement is working on, so that the reconciler leaves them alone, and
//! the newest block that one of them has read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::B256;
use ledger::{BlockRef, HoldId};

/// A set of holds, shared by every thread of the process.
#[derive(Clone, Debug, Default)]
pub struct Live {
    working: Arc<Mutex<BTreeSet<HoldId>>>,
    /// Until when, by the clock of the engine's pace.
    resting: Arc<Mutex<BTreeMap<HoldId, u64>>>,
    /// Blocks that were found in one chain, by their heights.
    checked: Arc<Mutex<BTreeMap<u64, B256>>>,
}

/// Keeps a hold in the set until it is dropped.
#[derive(Debug)]
pub(super) struct Stay {
    live: Live,
    hold: HoldId,
}

impl Live {
    /// Enters a hold. `None` when someone else is working on it.
    pub(super) fn enter(&self, hold: HoldId) -> Option<Stay> {
        let entered = self.working.lock().unwrap_or_else(PoisonError::into_inner).insert(hold);
        entered.then(|| Stay { live: self.clone(), hold })
    }
}

impl Live {
    /// Leaves a hold of which nothing can be said now alone until `until_ms`, so that it does not hurry the others on the tab.
    pub(super) fn rest(&self, hold: HoldId, now_ms: u64, until_ms: u64) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, until_ms| now_ms < *until_ms);
        resting.insert(hold, until_ms);
    }

    /// Blocks that were found in one chain when it was last looked for them.
    pub(super) fn checked(&self) -> BTreeMap<u64, B256> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what was found.
    pub(super) fn check(&self, found: BTreeMap<u64, B256>) {
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Whether a hold is left alone.
    pub(super) fn rests(&self, hold: HoldId, now_ms: u64) -> bool {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.get(&hold).is_some_and(|until_ms| now_ms < *until_ms)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.live.working.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.hold);
    }
}

/// The newest block that was read.
#[derive(Clone, Debug, Default)]
pub struct Head(Arc<Mutex<Option<BlockRef>>>);

impl Head {
    /// The block; `None` before the first was read.
    #[must_use]
    pub fn get(&self) -> Option<BlockRef> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a block. It never goes back.
    pub(super) fn set(&self, block: BlockRef) {
        let mut head = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if head.is_none_or(|head| head.number <= block.number) {
            *head = Some(block);
        }
    }
}
