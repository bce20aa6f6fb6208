//! Which holds a settlement is working on in this process, so that the reconciler leaves them alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::HoldId;

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
