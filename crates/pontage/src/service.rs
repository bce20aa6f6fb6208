//! `pontage facilitator`: settles for the resource servers of others (reference x402 §3). A process and a journal of its own.

mod answer;
mod callers;
mod catalogue;
mod desk;

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, anyhow, bail};
use facilitator::service::Service;
use protocol::AssetInfo;
use proxy::ListenerLimits;
use serde_json::json;
use store::Store;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tracing::{info, warn};

use crate::config::{Config, ServiceConfig};
use crate::host::{Tasks, WorkerHost};
use crate::link::{Chains, Link};
use crate::operation::Operation;
use crate::plan::{Plan, SETTLE_BUDGET_MS};
use crate::run::{self, Lifeline, Mode, Options, STOP_WAIT, Serving, Signals, Told};
use crate::{admin, log, say};

use callers::Callers;
use catalogue::Catalogue;
use desk::{Desk, Shared};

/// Runs a facilitator until it is told to stop and settlements under way have ended.
pub(crate) fn start(path: &Path, port: Option<u16>, as_json: bool) -> anyhow::Result<()> {
    let config = Options { port, ..Options::new(Mode::Live) }.load(path)?;
    let Some(service) = &config.service else {
        bail!(
            "this configuration is a gate's. A facilitator has one of its own, with `service` in it:\n\n\
             service:\n  callers:\n    - {{ name: shop, bearer: {{ env: SHOP_TOKEN }} }}"
        );
    };
    let log = log::start(Mode::Live, &config.log)?;
    let callers = Callers::new(service, config.trusted_proxies)?;
    let store = run::open_store(&config, &config.store_path, "facilitator")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (lifeline, mut ended) = Lifeline::new();
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let (_plans, plan) = watch::channel(Arc::new(Plan::compile(&config)));
    let journal = store.handle()?;
    let (links, keys) = runtime.block_on(async {
        for network in &config.networks {
            facilitator::service::recover(&journal, network.network).await?;
        }
        let keys = run::settlement_keys(&config).await?;
        let links = run::start_chains(&config, &keys, &store, &lifeline, &plan).await?;
        anyhow::Ok((links, keys))
    })?;
    let sealer = run::sealer(keys, &store)?;
    let (stop, stopped) = watch::channel(false);
    let operation = Operation::new(&config, &plan.borrow().snapshot, &log, &links, stopped.clone())?;
    operation.telemetry.metrics.follow(desk::PATHS);
    admin::start_without_api(&config.operation, &operation)?;
    let catalogue = service.discovery.then(|| Catalogue::read(&journal)).transpose()?;
    let shared = Shared::new(&config, callers, catalogue, operation.clone(), &links);
    let (address, workers) = start_workers(&config, &shared, &store, &links, &lifeline, &stopped)?;
    introduce(&config, service, address);
    match as_json {
        true => say(&json!({ "listening": format!("http://{address}") }).to_string())?,
        false => say(&format!("pontage facilitator listens on http://{address}"))?,
    }
    let outcome = runtime.block_on(async {
        tokio::select! {
            () = until_told(&mut signals) => Ok(()),
            thread = ended.recv() => Err(anyhow!("the thread {} ended; see the log", thread.unwrap_or("?"))),
            () = store.ended() => Err(anyhow!("the journal's thread ended; see the log")),
            () = run::keep_sealing(sealer.as_ref()) => Err(anyhow!("the sealer ended; see the log")),
        }
    });
    info!("stopping: settlements under way may end");
    stop.send(true).ok();
    let ends: Vec<_> = workers.into_iter().map(thread::JoinHandle::join).collect();
    if ends.iter().any(Result::is_err) {
        bail!("a worker panicked; see the log");
    }
    if let Some(sealer) = &sealer {
        runtime.block_on(sealer.seal());
    }
    if let Err(error) = store.fold() {
        warn!(%error, "the journal's write-ahead log stays beside it: copy both for a backup");
    }
    outcome
}

/// Waits until the process is told to end. Its configuration is read once.
async fn until_told(signals: &mut Signals) {
    loop {
        match signals.next().await {
            Told::End => return,
            Told::Reload => warn!("a facilitator reads its configuration when it starts, and not again"),
        }
    }
}

fn introduce(config: &Config, service: &ServiceConfig, address: SocketAddr) {
    let networks: Vec<String> = config.networks.iter().map(|network| network.network.to_string()).collect();
    let (callers, open) = (service.callers.len(), service.open);
    info!(%address, networks = networks.join(", "), callers, open, store = %config.store_path.display(),
        version = env!("CARGO_PKG_VERSION"), "a facilitator");
    if open && !address.ip().is_loopback() {
        warn!("service.open: whoever reaches this facilitator has payments settled with your gas");
    }
}

/// Starts a worker for each core. Everything that can fail is made before the first of them serves.
fn start_workers(
    config: &Config,
    shared: &Shared,
    store: &Store,
    links: &[Link],
    lifeline: &Lifeline,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<(SocketAddr, Vec<thread::JoinHandle<()>>)> {
    let (address, listeners) = run::listeners(config.listen)?;
    let tokens: Arc<Vec<AssetInfo>> =
        Arc::new(config.networks.iter().flat_map(|network| network.tokens.clone()).collect());
    let run = |listener| {
        let worker = Worker {
            listener,
            shared: shared.clone(),
            store: store.clone(),
            links: links.to_vec(),
            tokens: Arc::clone(&tokens),
            verify_local: config.service.as_ref().is_some_and(|service| service.verify_local),
            stopped: stopped.clone(),
        };
        move |serving: Serving| worker.run(&serving)
    };
    Ok((address, run::spawn_workers(lifeline, listeners.into_iter().map(run))?))
}

/// What one worker thread takes with it.
struct Worker {
    listener: std::net::TcpListener,
    shared: Shared,
    store: Store,
    links: Vec<Link>,
    tokens: Arc<Vec<AssetInfo>>,
    verify_local: bool,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    fn run(mut self, serving: &Serving) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let tasks = Tasks::default();
        let (host, work) = WorkerHost::new(tasks.clone());
        let journal = self.store.handle()?;
        let facilitator = Chains::new(&self.links, &self.store)?;
        let tokens = Arc::clone(&self.tokens);
        let service = Rc::new(Service {
            journal,
            facilitator,
            host,
            tokens,
            verify_local: self.verify_local,
            wait_ms: SETTLE_BUDGET_MS,
        });
        let repeats = service.journal.clone();
        local.spawn_local(crate::host::repeat_all(repeats, work));
        let desk = Desk::new(service, self.shared, tasks.clone());
        serving.begins();
        let answer = move |request, peer| desk.clone().call(request, peer);
        let stop = async move {
            // An error means that the sender is gone, which is a stop as well.
            self.stopped.wait_for(|stopped| *stopped).await.ok();
        };
        let served = proxy::serve(self.listener, ListenerLimits::default(), answer, stop);
        let outcome = local.block_on(&runtime, served).context("a listener");
        let ended = async { tokio::time::timeout(STOP_WAIT, tasks.all_ended()).await };
        if local.block_on(&runtime, ended).is_err() {
            warn!("stopped with settlements on their way; the next start goes on with them");
        }
        outcome
    }
}
