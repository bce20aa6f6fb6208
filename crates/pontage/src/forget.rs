//! What receipts are made of is forgotten when they can no longer be fetched.

use std::time::Duration;

use store::Handle;
use tracing::{error, info};

use crate::host::now_ms;

/// How often it is looked whether there is something to forget.
const FORGET_EVERY: Duration = Duration::from_secs(300);

/// Forgets what is older than so long. Does not end.
pub(crate) async fn forget_receipts(journal: &Handle, ttl_s: u64) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match journal.forget_receipts(now_ms().saturating_sub(ttl_s.saturating_mul(1_000))).await {
            Ok(0) => {}
            Ok(receipts) => info!(receipts, "forgot receipts that had expired"),
            Err(fault) => error!(%fault, "expired receipts were not forgotten; they will be"),
        }
    }
}
