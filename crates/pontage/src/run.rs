//! `validate`, `start` and `dev`: where the concrete types meet.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use gate::Flow;
use protocol::{Key, Network};
use proxy::{ListenerLimits, Upstream, UpstreamLimits};
use store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tracing::{error, info, warn};

use crate::chain::ChainLink;
use crate::config::{self, Config};
use crate::front::{Front, Shared};
use crate::host::{self, Tasks, WorkerHost};
use crate::ledger::Sealer;
use crate::link::{Chains, Link};
use crate::reload::Reload;
use crate::remote::{self, RemoteLink};
use crate::{log, say};

/// How long a stop waits for settlements that no connection owns.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// For money, or for trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `start`.
    Live,
    /// `dev`.
    Dev,
    /// `sandbox`, which speaks for itself.
    Sandbox,
}

/// `pontage validate`.
pub(crate) fn validate(path: &Path) -> anyhow::Result<()> {
    load(path)?;
    say("Config is valid.")
}

pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    config::load(path, &|name| std::env::var(name).ok()).map_err(|mistakes| anyhow!("{mistakes}"))
}

/// `pontage start` and `pontage dev`.
pub(crate) fn start(path: &Path, mode: Mode) -> anyhow::Result<()> {
    let test = if mode == Mode::Dev { " (TEST MODE)" } else { "" };
    serve(path, mode, |address| say(&format!("pontage listens on http://{address}{test}")))
}

/// Runs a gate. Says where it listens once it does, and returns when the process was told to stop and calls in flight have ended.
pub(crate) fn serve(
    path: &Path,
    mode: Mode,
    listens: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let config = load(path)?;
    log::start(mode)?;
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
    if let Some(gone) = store.unfinished_networks()?.iter().find(|network| !networks.contains(network)) {
        bail!("networks: the journal has payments on {gone} that have not ended. Put {gone} back until they have");
    }
    let (lifeline, mut ended) = Lifeline::new();
    let mut reload = Reload::new(path, config.clone());
    // From here on a signal is heard, however long the start takes.
    let signals = runtime.block_on(async { Signals::new() })?;
    let links = runtime.block_on(start_chains(&config, &store, &lifeline, &reload))?;
    let sealer = match settlement_key(&config)? {
        Some(key) => Some(Sealer::new(store.handle()?, key)),
        None => None,
    };
    let (stop, stopped) = watch::channel(false);
    let (address, workers) = start_workers(&config, &store, &links, &lifeline, &stopped, &reload)?;
    info!(%address, routes = config.routes.len(), payee = %config.payee, "listening");
    listens(address)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            () = signals.end(|| reload.reload()) => Ok(()),
            thread = ended.recv() => Err(anyhow!("the thread {} ended; see the log", thread.unwrap_or("?"))),
            () = store.ended() => Err(anyhow!("the journal's thread ended; see the log")),
            () = keep_sealing(sealer.as_ref()) => Err(anyhow!("the sealer ended; see the log")),
        }
    });
    info!("stopping: calls in flight may end");
    stop.send(true).ok();
    // All are waited for, whatever becomes of one: they are settling.
    let ends: Vec<_> = workers.into_iter().map(thread::JoinHandle::join).collect();
    if ends.iter().any(Result::is_err) {
        bail!("a worker panicked; see the log");
    }
    runtime.block_on(settle_tabs(&links, &store));
    if let Some(sealer) = &sealer {
        runtime.block_on(sealer.seal());
    }
    // A copy of the one file is a backup then.
    if let Err(error) = store.fold() {
        warn!(%error, "the journal's write-ahead log stays beside it: copy both for a backup");
    }
    outcome
}

/// Seals the books from time to time, where there is a key to do it. Does not end.
async fn keep_sealing(sealer: Option<&Sealer>) {
    match sealer {
        Some(sealer) => sealer.run().await,
        None => std::future::pending().await,
    }
}

/// What is on the tab is on its way to the chain when the process has stopped; the next start looks after it.
async fn settle_tabs(links: &[Link], store: &Store) {
    for link in links {
        match tokio::time::timeout(STOP_WAIT, link.settle_tab(store)).await {
            Ok(Ok((0, 0))) => {}
            Ok(Ok((payments, 0))) => info!(payments, "the tab was submitted; the next start books what lands"),
            Ok(Ok((_, left))) => warn!(left, "stopped with payments on the tab: they are settled after the next start"),
            Ok(Err(_)) | Err(_) => warn!("stopped with payments on the tab: they are settled after the next start"),
        }
    }
}

/// Starts a worker for each core. Everything that can fail is made before the first of them serves.
fn start_workers(
    config: &Config,
    store: &Store,
    links: &[Link],
    lifeline: &Lifeline,
    stopped: &watch::Receiver<bool>,
    reload: &Reload,
) -> anyhow::Result<(SocketAddr, Vec<thread::JoinHandle<()>>)> {
    let upstream = UpstreamLimits { head_timeout_ms: config.timeout_ms, ..UpstreamLimits::default() };
    let tls = config.target.is_https().then(proxy::platform_tls).transpose()?;
    let front = Shared { snapshot: reload.snapshots(), answer_max_bytes: config.replay.answer_max_bytes };
    let taken = || format!("listen: {} cannot be bound", config.listen);
    // Two processes could share a port and each answer for half of the calls, with a journal of its own.
    proxy::ensure_free(config.listen).with_context(taken)?;
    let first = proxy::bind(config.listen).with_context(taken)?;
    let address = first.local_addr()?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let others = (1..cores).map(|_| proxy::bind(address));
    let listeners = std::iter::once(Ok(first)).chain(others).collect::<Result<Vec<_>, _>>()?;
    let mut workers = Vec::new();
    let (serving, served) = std::sync::mpsc::channel();
    for listener in listeners {
        let worker = Worker {
            listener,
            store: store.clone(),
            links: links.to_vec(),
            target: config.target.clone(),
            upstream: upstream.clone(),
            tls: tls.clone(),
            front: front.clone(),
            stopped: stopped.clone(),
            serving: serving.clone(),
        };
        workers.push(lifeline.spawn("worker", move || worker.run())?);
    }
    // Whoever is told that it listens can rely on every worker.
    drop(serving);
    for _ in &workers {
        served.recv().map_err(|_| anyhow!("a worker could not start; see the log"))?;
    }
    Ok((address, workers))
}

/// The threads that money depends on. When one of them ends, the process stops: it would go on serving what nobody settles.
#[derive(Clone, Debug)]
pub(crate) struct Lifeline(mpsc::UnboundedSender<&'static str>);

impl Lifeline {
    fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Starts a thread whose end, also by a panic, is told.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<thread::JoinHandle<()>> {
        let end = End { name, lifeline: self.clone() };
        let run = move || {
            let _end = end;
            if let Err(error) = run() {
                error!(thread = name, error = format!("{error:#}"), "a thread failed");
            }
        };
        Ok(thread::Builder::new().name(name.to_owned()).spawn(run)?)
    }
}

/// Tells of a thread's end when it is dropped.
struct End {
    name: &'static str,
    lifeline: Lifeline,
}

impl Drop for End {
    fn drop(&mut self) {
        // Nobody listens any more once the process is stopping.
        self.lifeline.0.send(self.name).ok();
    }
}

/// What one worker thread takes with it.
struct Worker {
    listener: std::net::TcpListener,
    store: Store,
    links: Vec<Link>,
    target: proxy::Target,
    upstream: UpstreamLimits,
    tls: Option<proxy::TlsConfig>,
    front: Shared,
    stopped: watch::Receiver<bool>,
    /// Told when it is about to serve.
    serving: std::sync::mpsc::Sender<()>,
}

impl Worker {
    fn run(mut self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let upstream = match self.tls.take() {
            Some(tls) => Upstream::with_tls(self.target, self.upstream, tls)?,
            None => Upstream::new(self.target, self.upstream)?,
        };
        let tasks = Tasks::default();
        let (host, work) = WorkerHost::new(tasks.clone());
        let flow =
            Rc::new(Flow { journal: self.store.handle()?, facilitator: Chains::new(&self.links, &self.store)?, host });
        let front = local.block_on(&runtime, async {
            // It follows the configuration in a task of its own.
            Front::new(Rc::clone(&flow), upstream, self.front, tasks.clone())
        });
        local.spawn_local(host::work(flow, work));
        self.serving.send(()).ok();
        let service = move |request, peer| front.clone().call(request, peer);
        let stop = async move {
            // An error means that the sender is gone, which is a stop as well.
            self.stopped.wait_for(|stopped| *stopped).await.ok();
        };
        let served = proxy::serve(self.listener, ListenerLimits::default(), service, stop);
        let outcome = local.block_on(&runtime, served);
        // Settlements that no connection owns end here, or at the next start.
        let ended = async { tokio::time::timeout(STOP_WAIT, tasks.all_ended()).await };
        if local.block_on(&runtime, ended).is_err() {
            warn!("stopped with settlements on their way; the next start goes on with them");
        }
        outcome.map_err(Into::into)
    }
}

/// The key that settles and seals. `None` where there is nothing to be paid for, or others settle.
fn settlement_key(config: &Config) -> anyhow::Result<Option<Key>> {
    if config.networks.is_empty() || config.remote.is_some() {
        return Ok(None);
    }
    let Some(source) = &config.signer else {
        bail!(
            "there is nobody to settle payments. Add two lines to the configuration:\n\n\
             facilitator:\n  signer: {{ env: PONTAGE_SIGNER_KEY }}\n\n\
             and put the private key of an account with some gas into that variable"
        );
    };
    let secret = source.read().context("facilitator.signer")?;
    let key = Key::from_hex(secret.expose()).map_err(|error| anyhow!("facilitator.signer: {source} {error}"))?;
    Ok(Some(key))
}

async fn start_chains(
    config: &Config,
    store: &Store,
    lifeline: &Lifeline,
    reload: &Reload,
) -> anyhow::Result<Vec<Link>> {
    let mut links = Vec::new();
    if let Some(sites) = remote::sites(config).await? {
        for network in &config.networks {
            let link = RemoteLink::start(config, network, reload.snapshots(), &sites, store, lifeline).await?;
            links.push(Link::Remote(link));
        }
        return Ok(links);
    }
    let Some(key) = settlement_key(config)? else { return Ok(links) };
    for network in &config.networks {
        let link = ChainLink::start(network, &config.tab, reload.snapshots(), &key, store, lifeline).await?;
        links.push(Link::Lane(link));
    }
    Ok(links)
}

/// What the process is told from outside.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on. Inside a runtime only.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the process is told to end. Meanwhile, whenever it is told to read its configuration again, `reload` does.
    pub(crate) async fn end(mut self, mut reload: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(),
            }
        }
    }
}
