//! A changed configuration without a restart: routes, prices, the payee and the caps. Callers who signed for the offers of the
//! one before are still served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gate::Snapshot;
use tokio::sync::watch;
use tracing::{error, info};

use crate::config::{Config, ReplayConfig, TabConfig};
use crate::host::now_ms;
use crate::{run, snapshot};

/// The configuration that runs, and the way to those who follow it.
pub(crate) struct Reload {
    path: PathBuf,
    running: Config,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

impl Reload {
    pub(crate) fn new(path: &Path, config: Config) -> Self {
        let (snapshot, _) = watch::channel(Arc::new(snapshot::compile(&config)));
        Self { path: path.to_owned(), running: config, snapshot }
    }

    /// The snapshot, now and after every change.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// Reads the file again. With a mistake in it, or a change that takes a restart, nothing changes at all.
    pub(crate) fn reload(&mut self) {
        let config = match run::load(&self.path) {
            Ok(config) => config,
            Err(mistakes) => {
                error!("the configuration was not reloaded, and nothing has changed:\n{mistakes:#}");
                return;
            }
        };
        let fixed = restart_only(&self.running, &config);
        if !fixed.is_empty() {
            error!(keys = fixed.join(", "), "these take a restart; the configuration was not reloaded");
            return;
        }
        if config == self.running {
            info!("the configuration was read again and is the same");
            return;
        }
        let next = snapshot::replace(&self.snapshot.borrow(), snapshot::compile(&config), now_ms());
        info!(routes = config.routes.len(), payee = %config.payee, "the configuration was reloaded");
        self.snapshot.send_replace(Arc::new(next));
        self.running = config;
    }
}

/// What differs and cannot be changed in a running process.
fn restart_only(before: &Config, after: &Config) -> Vec<&'static str> {
    let ReplayConfig { wait_ms, .. } = before.replay;
    let TabConfig { caps, verify_local, .. } = before.tab;
    [
        ("listen", before.listen != after.listen),
        ("proxy", before.target != after.target || before.timeout_ms != after.timeout_ms),
        ("networks", before.networks != after.networks),
        ("facilitator", before.signer != after.signer || before.remote != after.remote),
        ("store", before.store_path != after.store_path),
        ("replay", before.replay != ReplayConfig { wait_ms, ..after.replay }),
        ("tab", before.tab != TabConfig { caps, verify_local, ..after.tab }),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
