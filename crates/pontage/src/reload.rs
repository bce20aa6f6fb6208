//! A changed configuration without a restart: routes, prices, the payee and the caps. Callers who signed for the offers of the
//! one before are still served.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error, info};

use crate::config::{Config, ReplayConfig, TabConfig, Written, changes};
use crate::host::now_ms;
use crate::plan::Plan;
use crate::run::Options;

/// How often the file is looked at. It is read, not asked for its date: that works on every mount, and where a link is swapped.
const POLL: Duration = Duration::from_millis(500);
/// No configuration is larger; what is, is a mistake whatever follows.
const MAX_BYTES: u64 = 1024 * 1024 + 1;
/// More changes are counted, not told.
const MAX_TOLD: usize = 100;

/// The configuration that runs, and the way to those who follow it.
pub(crate) struct Reload {
    path: PathBuf,
    options: Options,
    running: Config,
    written: Written,
    /// What the file said when it was last tried, whatever came of it.
    tried: Option<Vec<u8>>,
    /// What it said when it was last looked at, where that is something else.
    seen: Option<Vec<u8>>,
    plan: watch::Sender<Arc<Plan>>,
}

impl Reload {
    pub(crate) fn new(path: &Path, config: Config, options: Options) -> Self {
        let (plan, _) = watch::channel(Arc::new(Plan::compile(&config)));
        let written = written(look(path).as_deref());
        // Nothing was tried yet: what was written while this process started is found by the first look.
        Self { path: path.to_owned(), options, running: config, written, tried: None, seen: None, plan }
    }

    /// The plan, now and after every change.
    pub(crate) fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plan.subscribe()
    }

    /// The configuration that runs.
    pub(crate) fn running(&self) -> &Config {
        &self.running
    }

    /// The keys that the file leaves to their defaults.
    pub(crate) fn defaults(&self) -> Vec<&'static str> {
        self.written.defaults()
    }

    /// Waits until the file says something that was not tried yet, and says it twice: who is still writing it is not disturbed. A file
    /// that is gone for a moment says nothing.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(POLL).await;
            let path = self.path.clone();
            // A mount that hangs must not keep the process from hearing that it shall stop.
            let looked = tokio::task::spawn_blocking(move || look(&path)).await;
            let found = looked.ok().flatten().filter(|content| self.tried.as_ref() != Some(content));
            let again = found.is_some() && found == self.seen;
            self.seen = found;
            if again {
                return;
            }
        }
    }

    /// After [`Self::changed`]. Nothing is said where nothing is different.
    pub(crate) fn follow(&mut self) {
        if !self.reload() {
            debug!("the configuration was read again and is the same");
        }
    }

    /// The operator asked for it, and is told in any case.
    pub(crate) fn asked(&mut self) {
        if !self.reload() {
            info!("the configuration was read again and is the same");
        }
    }

    /// Reads the file again and says what became of it; `false` where it means the same. With a mistake in it, or a change that takes a
    /// restart, nothing changes at all.
    fn reload(&mut self) -> bool {
        self.seen = None;
        self.tried = look(&self.path);
        let config = match self.options.load(&self.path) {
            Ok(config) => config,
            Err(mistakes) => {
                error!("the configuration was not reloaded, and nothing has changed:\n{mistakes:#}");
                return true;
            }
        };
        let fixed = restart_only(&self.running, &config);
        let written = written(self.tried.as_deref());
        if !fixed.is_empty() {
            self.tell(&written);
            error!(keys = fixed.join(", "), "these take a restart; the configuration was not reloaded");
            return true;
        }
        if config == self.running {
            self.written = written;
            return false;
        }
        let told = self.tell(&written);
        let next = Plan::compile(&config).replacing(&self.plan.borrow(), now_ms());
        self.plan.send_replace(Arc::new(next));
        info!(routes = config.routes.len(), payee = %config.payee, changes = told, "the configuration was reloaded");
        self.running = config;
        self.written = written;
        true
    }

    /// Says what differs from what runs, key by key, and how much that is.
    fn tell(&self, after: &Written) -> usize {
        let changes = changes(&self.written, after);
        for change in changes.iter().take(MAX_TOLD) {
            info!(key = change.key, before = change.before, after = change.after, "changed in the file");
        }
        if changes.len() > MAX_TOLD {
            info!(more = changes.len() - MAX_TOLD, "and more is changed in the file");
        }
        changes.len()
    }
}

/// What the file says, and a little more than it may. `None` where it cannot be read.
fn look(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut content).ok()?;
    Some(content)
}

fn written(content: Option<&[u8]>) -> Written {
    Written::read(std::str::from_utf8(content.unwrap_or_default()).unwrap_or_default())
}

/// What differs and cannot be changed in a running process.
fn restart_only(before: &Config, after: &Config) -> Vec<&'static str> {
    let ReplayConfig { wait_ms, .. } = before.replay;
    let TabConfig { caps, verify_local, .. } = before.tab;
    [
        ("listen", before.listen != after.listen),
        (
            "proxy",
            (&before.target, before.timeout_ms, &before.trust_secret)
                != (&after.target, after.timeout_ms, &after.trust_secret),
        ),
        ("networks", before.networks != after.networks),
        ("facilitator", (&before.signers, before.gas) != (&after.signers, after.gas) || before.remote != after.remote),
        ("store", before.store_path != after.store_path),
        ("replay", before.replay != ReplayConfig { wait_ms, ..after.replay }),
        ("tab", before.tab != TabConfig { caps, verify_local, ..after.tab }),
        ("log", before.log != after.log),
        ("admin or telemetry", before.operation != after.operation),
        ("public_url", before.public_url != after.public_url),
        ("extensions.offer_signer", before.offer_signer != after.offer_signer),
        ("receipts", before.receipts != after.receipts),
        ("discovery.heartbeat_url", before.discovery.heartbeat_url != after.discovery.heartbeat_url),
        ("the limits of calls at once", before.in_flight != after.in_flight),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
