//! What the threads of one process share: which holds a settlement is working on, so that the reconciler leaves them alone, and
//! the newest block that one of them has read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::{BlockRef, HoldId};

/// A set of holds, shared by every thread of the process.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Mutex<BTreeSet<HoldId>>>);

/// Keeps a hold in the set until it is dropped.
#[derive(Debug)]
pub(super) struct Stay {
    live: Live,
    hold: HoldId,
}

impl Live {
    /// Enters a hold. `None` when someone else is working on it.
    pub(super) fn enter(&self, hold: HoldId) -> Option<Stay> {
        let entered = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hold);
        entered.then(|| Stay { live: self.clone(), hold })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.live.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.hold);
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
