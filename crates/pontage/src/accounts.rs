//! API keys: who calls, what the operator does with keys, and what falls due with them.

pub(crate) mod desk;
pub(crate) mod directory;
mod nonces;

use std::time::Duration;

use store::{Handle, Store};
use tracing::{error, info, warn};

use crate::host::now_ms;

pub(crate) use directory::{Directory, Knock, Principal, Unresolved, is_key, strip};
pub(crate) use nonces::Nonces;

/// How often it is looked whether something is due.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// At start, gives back what calls held that a crash cut off. Also where accounts were switched off since: it is the holder's.
pub(crate) async fn recover(store: &Store) -> anyhow::Result<()> {
    let charges = store.handle()?.recover_charges().await?;
    if charges > 0 {
        warn!(charges, "gave back the charges of calls that were cut off");
    }
    Ok(())
}

/// Does what falls due. Does not end.
pub(crate) async fn keep(journal: &Handle) {
    let mut ticks = tokio::time::interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match journal.lapse(now_ms()).await {
            Ok(0) => {}
            Ok(grants) => info!(grants, "ended grants that had expired"),
            Err(fault) => error!(%fault, "expired grants were not ended; they will be"),
        }
        match journal.sweep_keys(now_ms()).await {
            Ok(keys) => keys.iter().for_each(|key| {
                info!(key = %key.id, name = key.name, status = key.standing(now_ms()).code(), "a scheduled change of a key was carried out");
            }),
            Err(fault) => error!(%fault, "scheduled changes of keys were not carried out; they will be"),
        }
    }
}
