//! `validate`, `start` and `dev`: where the concrete types meet.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use gate::Flow;
use protocol::{Key, Network};
use proxy::{ListenerLimits, Upstream, UpstreamLimits};
use store::Store;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tracing::{error, info, warn};

use crate::chain::{ChainLink, Chains};
use crate::config::{self, Config};
use crate::front::{Front, Shared};
use crate::host::{self, Tasks, WorkerHost};
use crate::{log, say, snapshot};

/// How long a stop waits for settlements that no connection owns.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// For money, or for trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `start`.
    Live,
    /// `dev`.
    Dev,
}

/// `pontage validate`.
pub(crate) fn validate(path: &Path) -> anyhow::Result<()> {
    load(path)?;
    say("Config is valid.")
}

fn load(path: &Path) -> anyhow::Result<Config> {
    config::load(path, &|name| std::env::var(name).ok()).map_err(|mistakes| anyhow!("{mistakes}"))
}

/// `pontage start` and `pontage dev`. Returns when the process was told to stop and calls in flight have ended.
pub(crate) fn start(path: &Path, mode: Mode) -> anyhow::Result<()> {
    let config = load(path)?;
    log::start(mode);
    let networks: Vec<Network> = config.networks.iter().map(|network| network.network).collect();
    if mode == Mode::Dev {
        if let Some(other) = networks.iter().find(|network| **network != Network::BASE_SEPOLIA) {
            bail!("networks.{other}: `dev` runs on {} alone; use `start` for {other}", Network::BASE_SEPOLIA);
        }
        warn!("TEST MODE: only test money on {} is taken. Use `start` to be paid.", Network::BASE_SEPOLIA);
    }
    let limits = store::Limits {
        answers_max_bytes: config.replay.answers_max_bytes,
        answers_keep_s: config.replay.answers_keep_s,
    };
    let store = Store::open(&config.store_path, limits, host::now_ms)
        .with_context(|| format!("store.path {}", config.store_path.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let links = runtime.block_on(start_chains(&config, &store))?;
    let upstream = UpstreamLimits { head_timeout_ms: config.timeout_ms, ..UpstreamLimits::default() };
    let tls = config.target.is_https().then(proxy::platform_tls).transpose()?;
    let front =
        Shared { snapshot: Arc::new(snapshot::compile(&config)), answer_max_bytes: config.replay.answer_max_bytes };

    let first = proxy::bind(config.listen).with_context(|| format!("listen: {} cannot be bound", config.listen))?;
    let address = first.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut first = Some(first);
    let mut workers = Vec::new();
    for core in 0..cores {
        let listener = first.take().map_or_else(|| proxy::bind(address), Ok)?;
        let worker = Worker {
            listener,
            store: store.clone(),
            links: links.clone(),
            target: config.target.clone(),
            upstream: upstream.clone(),
            tls: tls.clone(),
            front: front.clone(),
            stopped: stopped.clone(),
        };
        let name = format!("worker-{core}");
        workers.push(thread::Builder::new().name(name).spawn(move || worker.run())?);
    }
    announce(&config, address, mode)?;
    runtime.block_on(told_to_stop())?;
    info!("stopping: calls in flight may end");
    stop.send(true).ok();
    for worker in workers {
        worker.join().map_err(|_| anyhow!("a worker panicked"))??;
    }
    Ok(())
}

/// What one worker thread takes with it.
struct Worker {
    listener: std::net::TcpListener,
    store: Store,
    links: Vec<ChainLink>,
    target: proxy::Target,
    upstream: UpstreamLimits,
    tls: Option<proxy::TlsConfig>,
    front: Shared,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    fn run(mut self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let upstream = match self.tls.take() {
            Some(tls) => Upstream::with_tls(self.target, self.upstream, tls)?,
            None => Upstream::new(self.target, self.upstream)?,
        };
        let (host, work) = WorkerHost::new();
        let flow = Rc::new(Flow { journal: self.store.handle()?, facilitator: Chains::new(&self.links), host });
        let tasks = Tasks::default();
        let front = Front::new(Rc::clone(&flow), upstream, self.front, tasks.clone());
        local.spawn_local(host::work(flow, tasks.clone(), work));
        let service = move |request, peer| front.clone().call(request, peer);
        let stop = async move {
            // An error means that the sender is gone, which is a stop as well.
            self.stopped.wait_for(|stopped| *stopped).await.ok();
        };
        let served = proxy::serve(self.listener, ListenerLimits::default(), service, stop);
        let outcome = local.block_on(&runtime, served);
        // Settlements that no connection owns end here, or at the next start.
        let ended = tokio::time::timeout(STOP_WAIT, tasks.all_ended());
        if local.block_on(&runtime, ended).is_err() {
            warn!("stopped with settlements on their way; the next start goes on with them");
        }
        outcome.inspect_err(|error| error!(%error, "a worker ended")).map_err(Into::into)
    }
}

async fn start_chains(config: &Config, store: &Store) -> anyhow::Result<Vec<ChainLink>> {
    if config.networks.is_empty() {
        return Ok(Vec::new());
    }
    let Some(source) = &config.signer else {
        bail!(
            "there is nobody to settle payments. Add two lines to the configuration:\n\n\
             facilitator:\n  signer: {{ env: PONTAGE_SIGNER_KEY }}\n\n\
             and put the private key of an account with some gas into that variable"
        );
    };
    let secret = source.read().context("facilitator.signer")?;
    let key = Key::from_hex(secret.expose()).with_context(|| format!("facilitator.signer: {source}"))?;
    let mut links = Vec::new();
    for network in &config.networks {
        links.push(ChainLink::start(network, &key, store).await?);
    }
    Ok(links)
}

fn announce(config: &Config, address: SocketAddr, mode: Mode) -> anyhow::Result<()> {
    let test = if mode == Mode::Dev { " (TEST MODE)" } else { "" };
    info!(%address, routes = config.routes.len(), payee = %config.payee, "listening");
    say(&format!("pontage listens on http://{address}{test}"))
}

async fn told_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
