//! When calls are not taken: every worker looks at it for each call, and an admin says it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use store::MaintenanceRow;

/// For so long a caller waits where nobody says when it ends.
const RETRY_AFTER_S: u64 = 60;

/// Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Maintenance(Arc<Window>);

#[derive(Debug)]
struct Window {
    /// From when on; never is `u64::MAX`.
    from_ms: AtomicU64,
    /// Until when; `u64::MAX` until it is ended.
    until_ms: AtomicU64,
    message: RwLock<String>,
}

/// Calls are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// When to ask again.
    pub(crate) retry_after_s: u32,
    /// Until when, where that is known.
    pub(crate) until_ms: Option<u64>,
    /// What callers are told; may be empty.
    pub(crate) message: String,
}

impl Default for Maintenance {
    fn default() -> Self {
        let window = Window {
            from_ms: AtomicU64::new(u64::MAX),
            until_ms: AtomicU64::new(u64::MAX),
            message: RwLock::default(),
        };
        Self(Arc::new(window))
    }
}

impl Maintenance {
    /// What the journal says, from now on.
    pub(crate) fn set(&self, row: Option<&MaintenanceRow>) {
        let window = &self.0;
        // Never is said first, so that nobody reads the one time of the old window and the other of the new.
        window.from_ms.store(u64::MAX, Ordering::SeqCst);
        let Some(row) = row else { return };
        window.until_ms.store(row.until_ms.unwrap_or(u64::MAX), Ordering::SeqCst);
        window.message.write().unwrap_or_else(PoisonError::into_inner).clone_from(&row.message);
        window.from_ms.store(row.from_ms, Ordering::SeqCst);
    }

    /// Whether calls are not taken.
    pub(crate) fn closed(&self, now_ms: u64) -> Option<Closed> {
        let window = &self.0;
        if now_ms < window.from_ms.load(Ordering::Relaxed) {
            return None;
        }
        let until_ms = window.until_ms.load(Ordering::SeqCst);
        if now_ms >= until_ms {
            return None;
        }
        let known = Some(until_ms).filter(|until_ms| *until_ms != u64::MAX);
        let wait_s = known.map_or(RETRY_AFTER_S, |until_ms| until_ms.saturating_sub(now_ms).div_ceil(1_000));
        let message = window.message.read().unwrap_or_else(PoisonError::into_inner).clone();
        Some(Closed { retry_after_s: u32::try_from(wait_s).unwrap_or(u32::MAX), until_ms: known, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_calls_are_taken() {
        let maintenance = Maintenance::default();
        let closed = |now_ms| maintenance.closed(now_ms).map(|closed| (closed.retry_after_s, closed.until_ms));
        assert_eq!(closed(5_000), None);
        let row = |from_ms, until_ms| MaintenanceRow { from_ms, until_ms, message: String::new() };
        maintenance.set(Some(&row(1_000, Some(4_000))));
        assert_eq!(
            [999, 1_000, 3_999, 4_000].map(closed),
            [None, Some((3, Some(4_000))), Some((1, Some(4_000))), None]
        );
        maintenance.set(Some(&row(1_000, None)));
        assert_eq!([999, 9_000].map(closed), [None, Some((60, None))]);
        maintenance.set(None);
        assert_eq!(closed(9_000), None);
    }
}
