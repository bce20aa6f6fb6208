//! The sealer: signs what has come into the books since the last seal.

use std::time::Duration;

use protocol::Signer as _;
use store::Handle;
use tracing::{error, info};

use crate::signer::SettlementKey;

/// How often it is looked whether there is something to seal.
const SEAL_EVERY: Duration = Duration::from_secs(60);

/// Seals the journal with the settlement key.
#[derive(Debug)]
pub(crate) struct Sealer {
    journal: Handle,
    key: SettlementKey,
}

impl Sealer {
    pub(crate) const fn new(journal: Handle, key: SettlementKey) -> Self {
        Self { journal, key }
    }

    /// Seals at once and then every minute. Does not end.
    pub(crate) async fn run(&self) {
        let mut ticks = tokio::time::interval(SEAL_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.seal().await;
        }
    }

    /// Seals everything that is not sealed. Where that fails it is logged, and the next look goes on with it.
    pub(crate) async fn seal(&self) {
        loop {
            let what = match self.journal.unsealed() {
                Ok(Some(what)) => what,
                Ok(None) => return,
                Err(fault) => return error!(%fault, "the books were not sealed; they will be"),
            };
            let signature = match self.key.sign_seal(what.hash, || self.journal.seal_text(&what)).await {
                Ok(signature) => signature,
                Err(fault) => return error!(%fault, "the books were not sealed; they will be"),
            };
            let Some(signature) = signature else {
                return error!("the settlement key did not sign a seal; it will be asked again");
            };
            match self.journal.seal(what, self.key.address(), signature).await {
                // Whoever keeps these lines elsewhere can tell when the newest seals are cut off the journal.
                Ok(true) => {
                    let (entries, seal) = (what.last_entry, what.after_seal.saturating_add(1));
                    info!(seal, to_entry = entries, hash = %what.hash, "sealed the books");
                }
                Ok(false) => {}
                Err(fault) => return error!(%fault, "the books were not sealed; they will be"),
            }
        }
    }
}
