//! `validate`, `start`, `dev` and `mock`: where the concrete types meet.

mod lifeline;
mod summary;

pub(crate) use lifeline::Lifeline;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use gate::Flow;
use protocol::{Network, Signer as _};
use proxy::{ListenerLimits, Upstream, UpstreamLimits};
use serde_json::json;
use store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tracing::{info, warn};

use crate::accounts::Directory;
use crate::chain::ChainLink;
use crate::config::{self, Config, Mistakes, NetworkConfig, RemoteConfig};
use crate::front::{Front, Role, Shared};
use crate::heartbeat::Heartbeat;
use crate::host::{self, Tasks, WorkerHost};
use crate::ledger::Sealer;
use crate::limits::Limits;
use crate::link::{Chains, Link};
use crate::operation::Operation;
use crate::plan::Plan;
use crate::price::{Prices, Quotes};
use crate::reload::Reload;
use crate::remote::{self, RemoteLink};
use crate::signer::SettlementKey;
use crate::{accounts, admin, forget, log, owner, say};

/// How long a stop waits for settlements that no connection owns.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(20);

/// For money, or for trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `start`.
    Live,
    /// `dev`.
    Dev,
    /// `mock`.
    Mock,
    /// `sandbox`, which speaks for itself.
    Sandbox,
}

impl Mode {
    /// Where payments are taken when the configuration names no network.
    fn default_network(self) -> Network {
        match self {
            // Base.
            Self::Live => Network { chain_id: 8453 },
            Self::Dev | Self::Mock | Self::Sandbox => Network::BASE_SEPOLIA,
        }
    }
}

/// What a gate is started with, besides its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// For money, or for trying.
    pub(crate) mode: Mode,
    /// Whether it answers another proxy's questions, and forwards nothing.
    pub(crate) sidecar: bool,
    /// In place of the port of `listen`.
    pub(crate) port: Option<u16>,
    /// In place of the facilitators of the file; checked to be URLs. They may hold an access key.
    pub(crate) facilitator_urls: Vec<String>,
    /// Whether where it listens is said in JSON.
    pub(crate) json: bool,
}

impl Options {
    /// Nothing but a mode.
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, sidecar: false, port: None, facilitator_urls: Vec::new(), json: false }
    }

    /// Reads a configuration, in which what is said here stands in the place of what it says.
    pub(crate) fn load(&self, path: &Path) -> anyhow::Result<Config> {
        let mut config = load(path, self.mode)?;
        if let Some(port) = self.port {
            config.listen.set_port(port);
        }
        if !self.facilitator_urls.is_empty() && self.mode != Mode::Mock {
            if !config.signers.is_empty() {
                bail!(
                    "--facilitator-url: the configuration settles by itself (facilitator.signers). Use one of the two"
                );
            }
            let urls = self.facilitator_urls.clone();
            config.remote = Some(RemoteConfig { urls, ..config.remote.unwrap_or_default() });
        }
        Ok(config)
    }

    /// The API. A sidecar forwards nothing, and needs none.
    fn target(&self, config: &Config) -> anyhow::Result<Option<proxy::Target>> {
        if self.sidecar {
            return Ok(None);
        }
        let target = config.target.clone().context(
            "there is no API to forward calls to. Add two lines to the configuration:\n\n\
             proxy:\n  target: \"http://127.0.0.1:3000\"",
        );
        target.map(Some)
    }

    const fn role(&self) -> Role {
        match self.mode {
            Mode::Mock => Role::Mock,
            Mode::Live | Mode::Dev | Mode::Sandbox if self.sidecar => Role::Sidecar,
            Mode::Live | Mode::Dev | Mode::Sandbox => Role::Proxy,
        }
    }
}

/// `pontage validate`.
pub(crate) fn validate(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let (code, words) = match read(path, Mode::Live) {
        Ok(config) if json => {
            let mut words = json!({ "valid": true, "mistakes": [], "more": 0 });
            let notes = summary::notes(&config);
            if !notes.is_empty() {
                words["notes"] = notes.into();
            }
            (ExitCode::SUCCESS, words.to_string())
        }
        Ok(config) => {
            let words = std::iter::once("Config is valid.".to_owned()).chain(summary::notes(&config));
            (ExitCode::SUCCESS, words.collect::<Vec<_>>().join("\n"))
        }
        Err(mistakes) if json => (ExitCode::FAILURE, mistakes.to_json().to_string()),
        Err(mistakes) => bail!("{mistakes}"),
    };
    say(&words)?;
    Ok(code)
}

pub(crate) fn load(path: &Path, mode: Mode) -> anyhow::Result<Config> {
    read(path, mode).map_err(|mistakes| anyhow!("{mistakes}"))
}

fn read(path: &Path, mode: Mode) -> Result<Config, Mistakes> {
    config::load(path, &|name| std::env::var(name).ok(), mode.default_network())
}

/// `pontage start`, `pontage dev` and `pontage mock`.
pub(crate) fn start(path: &Path, options: Options) -> anyhow::Result<()> {
    let (mode, json) = (options.mode, options.json);
    serve(path, options, |address| {
        let url = format!("http://{address}");
        match mode {
            _ if json => say(&json!({ "listening": url, "test": mode != Mode::Live }).to_string()),
            Mode::Live | Mode::Sandbox => say(&format!("pontage listens on {url}")),
            Mode::Dev => say(&format!("pontage listens on {url} (TESTNET MODE)")),
            Mode::Mock => say(&format!("pontage listens on {url} (MOCK MODE)")),
        }
    })
}

/// Runs a gate. Says where it listens once it does, and returns when the process was told to stop and calls in flight have ended.
pub(crate) fn serve(
    path: &Path,
    options: Options,
    listens: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mode, config) = (options.mode, options.load(path)?);
    if config.service.is_some() {
        bail!("`service` makes this configuration a facilitator's: start it with `pontage facilitator`");
    }
    let log = log::start(mode, &config.log)?;
    let target = options.target(&config)?;
    warn_of_play(mode, &config)?;
    // What is only played is not written down.
    let play = (mode == Mode::Mock).then(tempfile::tempdir).transpose()?;
    let path_of_play = play.as_ref().map(|folder| folder.path().join("mock.db"));
    let store = open_store(&config, path_of_play.as_deref().unwrap_or(&config.store_path), "gate")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (lifeline, mut ended) = Lifeline::new();
    let mut reload = Reload::new(path, config.clone(), options.clone());
    // From here on a signal is heard, however long the start takes.
    let signals = runtime.block_on(async { Signals::new() })?;
    let (links, sealer) = match mode {
        Mode::Mock => (Vec::new(), None),
        Mode::Live | Mode::Dev | Mode::Sandbox => {
            let keys = runtime.block_on(settlement_keys(&config))?;
            let links = runtime.block_on(start_chains(&config, &keys, &store, &lifeline, &reload.plans()))?;
            (links, sealer(keys, &store)?)
        }
    };
    let (stop, stopped) = watch::channel(false);
    owner::start(mode, &config, (&store, &links), &lifeline, &stopped)?;
    let operation = Operation::new(&config, &reload.plans().borrow().snapshot, &log, &links, stopped.clone())?;
    admin::start(&config, &store, &operation)?;
    let front = Shared::new(&config, reload.plans(), options.role(), operation.clone(), &store)?;
    let limits = Arc::clone(&front.limits);
    runtime.block_on(accounts::recover(&store))?;
    let heartbeat = Heartbeat::of(&config).filter(|_| mode == Mode::Live);
    let (address, workers) = start_workers(&config, target.as_ref(), front, &store, &links, &lifeline, &stopped)?;
    introduce(&config, &reload, mode);
    info!(%address, routes = config.routes.len(), payee = %config.payee, "listening");
    listens(address)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            () = until_told(signals, &mut reload, &operation, &limits) => Ok(()),
            thread = ended.recv() => Err(anyhow!("the thread {} ended; see the log", thread.unwrap_or("?"))),
            () = store.ended() => Err(anyhow!("the journal's thread ended; see the log")),
            () = keep_telling(heartbeat) => Ok(()),
            () = keep_forgetting(&config, &store) => Err(anyhow!("the journal cannot be opened again")),
            () = keep_accounts(&config, &store) => Err(anyhow!("the journal cannot be opened again")),
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
    operation.traces.end();
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

/// Says loudly when nobody is paid, and keeps `dev` from real money.
fn warn_of_play(mode: Mode, config: &Config) -> anyhow::Result<()> {
    if config.accounts.as_ref().is_some_and(|accounts| accounts.shadow) {
        warn!(
            "SHADOW MODE: calls with a key are judged and passed on, and nobody is charged for them (accounts.shadow)."
        );
    }
    if config.accounts.as_ref().is_some_and(|accounts| accounts.shadow) {
        warn!(
            "SHADOW MODE: calls with a key are judged and passed on, and nobody is charged for them (accounts.shadow)."
        );
    }
    match mode {
        Mode::Live | Mode::Sandbox => {}
        Mode::Mock => warn!("MOCK MODE: any payment header pays, nothing is verified and no money moves."),
        Mode::Dev => {
            let mut networks = config.networks.iter().map(|network| network.network);
            if let Some(other) = networks.find(|network| *network != Network::BASE_SEPOLIA) {
                bail!("networks.{other}: `dev` runs on {} alone; use `start` for {other}", Network::BASE_SEPOLIA);
            }
            warn!("TESTNET MODE: only test money on {} is taken. Use `start` to be paid.", Network::BASE_SEPOLIA);
        }
    }
    Ok(())
}

/// Opens the journal, which is kept for one purpose alone.
pub(crate) fn open_store(config: &Config, path: &Path, purpose: &str) -> anyhow::Result<Store> {
    let limits = store::Limits {
        answers_max_bytes: config.replay.answers_max_bytes,
        answers_keep_s: config.replay.answers_keep_s,
    };
    let store = Store::open(path, limits, host::now_ms).with_context(|| format!("store.path {}", path.display()))?;
    if !store.bind_purpose(purpose)? {
        let shown = path.display();
        bail!("store.path {shown}: this journal is not a {purpose}'s. A gate and a facilitator keep a journal each");
    }
    let known = |gone: &Network| config.networks.iter().any(|network| network.network == *gone);
    if let Some(gone) = store.unfinished_networks()?.iter().find(|gone| !known(gone)) {
        bail!("networks: the journal has payments on {gone} that have not ended. Put {gone} back until they have");
    }
    Ok(store)
}

/// Waits until the process is told to end. Meanwhile it follows its configuration.
async fn until_told(mut signals: Signals, reload: &mut Reload, operation: &Operation, limits: &Limits) {
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::End => return,
                Told::Reload => reload.asked(),
            },
            () = reload.changed() => reload.follow(),
        }
        let plans = reload.plans();
        let plan = plans.borrow();
        operation.follow(reload.running(), &plan.snapshot);
        limits.set_rates(plan.rates, plan.route_rates());
    }
}

/// Tells a directory that the service is there, where one is to be told. Does not end.
async fn keep_telling(heartbeat: Option<Heartbeat>) {
    match heartbeat {
        Some(heartbeat) => heartbeat.run().await,
        None => std::future::pending().await,
    }
}

/// Forgets what receipts are made of in time, where there are any. Ends when it cannot.
async fn keep_forgetting(config: &Config, store: &Store) {
    match (&config.receipts, store.handle()) {
        (Some(receipts), Ok(journal)) => forget::forget_receipts(&journal, receipts.ttl_s).await,
        (Some(_), Err(_)) => {}
        (None, _) => std::future::pending().await,
    }
}

/// Does what falls due with accounts, where there are any. Ends when it cannot.
async fn keep_accounts(config: &Config, store: &Store) {
    // A pass that counts is an account as well.
    let counts = config.accounts.is_some() || config.routes.iter().any(|route| !route.passes.sold.is_empty());
    match (counts, store.handle()) {
        (true, Ok(journal)) => accounts::keep(&journal).await,
        (true, Err(_)) => {}
        (false, _) => std::future::pending().await,
    }
}

/// What runs, what nobody wrote down, and what of it may surprise.
fn introduce(config: &Config, reload: &Reload, mode: Mode) {
    let networks: Vec<String> = config.networks.iter().map(|network| network.network.to_string()).collect();
    info!(
        upstream = config.target.as_ref().map(|target| format!("{}:{}", target.host(), target.port())),
        networks = networks.join(", "),
        store = %config.store_path.display(),
        version = env!("CARGO_PKG_VERSION"),
        summary = summary::summary(config),
        "the configuration"
    );
    let defaults = reload.defaults();
    if !defaults.is_empty() {
        info!(keys = defaults.join(", "), "these are not in the file: their defaults hold (docs/config.md)");
    }
    if mode == Mode::Live {
        for warning in summary::warnings(config) {
            warn!("{warning}");
        }
    }
}

/// Seals the books from time to time, where there is a key to do it. Does not end.
pub(crate) async fn keep_sealing(sealer: Option<&Sealer>) {
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

/// A listener for each core, all on one port.
pub(crate) fn listeners(listen: SocketAddr) -> anyhow::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let taken = || format!("listen: {listen} cannot be bound");
    // Two processes could share a port and each answer for half of the calls, with a journal of its own.
    proxy::ensure_free(listen).with_context(taken)?;
    let first = proxy::bind(listen).with_context(taken)?;
    let address = first.local_addr()?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let others = (1..cores).map(|_| proxy::bind(address));
    Ok((address, std::iter::once(Ok(first)).chain(others).collect::<Result<Vec<_>, _>>()?))
}

/// Starts a worker for each core. Everything that can fail is made before the first of them serves.
fn start_workers(
    config: &Config,
    target: Option<&proxy::Target>,
    front: Shared,
    store: &Store,
    links: &[Link],
    lifeline: &Lifeline,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<(SocketAddr, Vec<thread::JoinHandle<()>>)> {
    let upstream = UpstreamLimits { head_timeout_ms: config.timeout_ms, ..UpstreamLimits::default() };
    let tls = target.is_some_and(proxy::Target::is_https).then(proxy::platform_tls).transpose()?;
    let quotes = Quotes::default();
    let (address, listeners) = listeners(config.listen)?;
    let run = |listener| {
        let worker = Worker {
            listener,
            store: store.clone(),
            links: links.to_vec(),
            target: target.cloned(),
            upstream: upstream.clone(),
            tls: tls.clone(),
            front: front.clone(),
            quotes: quotes.clone(),
            stopped: stopped.clone(),
        };
        move |serving: Serving| worker.run(&serving)
    };
    Ok((address, spawn_workers(lifeline, listeners.into_iter().map(run))?))
}

/// Told by a worker when it is about to serve.
pub(crate) struct Serving(std::sync::mpsc::Sender<()>);

impl Serving {
    pub(crate) fn begins(&self) {
        // Nobody waits any more where another one could not start.
        self.0.send(()).ok();
    }
}

/// Runs each worker on a thread of its own, and waits until all are about to serve: whoever is told that it listens can rely on every
/// one of them.
pub(crate) fn spawn_workers<F: FnOnce(Serving) -> anyhow::Result<()> + Send + 'static>(
    lifeline: &Lifeline,
    runs: impl Iterator<Item = F>,
) -> anyhow::Result<Vec<thread::JoinHandle<()>>> {
    let (serving, served) = std::sync::mpsc::channel();
    let spawn = |run: F| {
        let serving = Serving(serving.clone());
        lifeline.spawn("worker", move || run(serving))
    };
    let workers = runs.map(spawn).collect::<Result<Vec<_>, _>>()?;
    drop(serving);
    for _ in &workers {
        served.recv().map_err(|_| anyhow!("a worker could not start; see the log"))?;
    }
    Ok(workers)
}

/// What one worker thread takes with it.
struct Worker {
    listener: std::net::TcpListener,
    store: Store,
    links: Vec<Link>,
    target: Option<proxy::Target>,
    upstream: UpstreamLimits,
    tls: Option<proxy::TlsConfig>,
    front: Shared,
    quotes: Quotes,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    fn run(mut self, serving: &Serving) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let upstream = match (self.target, self.tls.take()) {
            (None, _) => None,
            (Some(target), Some(tls)) => Some(Upstream::with_tls(target, self.upstream, tls)?),
            (Some(target), None) => Some(Upstream::new(target, self.upstream)?),
        };
        let tasks = Tasks::default();
        let (host, work) = WorkerHost::new(tasks.clone());
        let flow =
            Rc::new(Flow { journal: self.store.handle()?, facilitator: Chains::new(&self.links, &self.store)?, host });
        let front = local.block_on(&runtime, async {
            // It follows the configuration in a task of its own.
            let prices = Prices::new(self.quotes)?;
            let directory = self
                .front
                .accounts
                .as_ref()
                .map(|_| Directory::new(flow.journal.clone(), Arc::clone(&self.front.nonces)));
            anyhow::Ok(Front::new(Rc::clone(&flow), upstream, prices, directory, self.front, tasks.clone()))
        })?;
        local.spawn_local(host::work(flow, work));
        serving.begins();
        let service = move |request, peer| front.call(request, peer);
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

/// The keys that settle; the first seals. None where there is nothing to be paid for, or others settle.
pub(crate) async fn settlement_keys(config: &Config) -> anyhow::Result<Vec<SettlementKey>> {
    if config.networks.is_empty() || config.remote.is_some() {
        return Ok(Vec::new());
    }
    let no_node = config.networks.iter().find(|network| network.rpc_urls.is_empty());
    if config.signers.is_empty() || no_node.is_some() {
        let mut lines = String::new();
        if config.signers.is_empty() {
            lines.push_str("facilitator:\n  signer: { env: PONTAGE_SIGNER_KEY }\n");
        }
        if let Some(NetworkConfig { network, .. }) = no_node {
            lines.push_str(&format!("networks:\n  \"{network}\": {{ rpc_urls: [\"http://127.0.0.1:8545\"] }}\n"));
        }
        bail!(
            "there is nobody to settle payments. Add to the configuration:\n\n{lines}\n\
             The variable holds the private key of an account with some gas, rpc_urls a node of the network. \
             Or let others settle: facilitator.urls"
        );
    }
    let mut keys: Vec<SettlementKey> = Vec::new();
    for source in &config.signers {
        let key = SettlementKey::open(source, "facilitator.signer").await?;
        // Two lanes with one key would each give out its sequences.
        if keys.iter().any(|other| other.address() == key.address()) {
            bail!("facilitator.signers: {source} holds the key of {} a second time", key.address());
        }
        keys.push(key);
    }
    Ok(keys)
}

/// The first key seals.
pub(crate) fn sealer(keys: Vec<SettlementKey>, store: &Store) -> anyhow::Result<Option<Sealer>> {
    keys.into_iter().next().map(|key| Ok(Sealer::new(store.handle()?, key))).transpose()
}

/// The way to whoever settles, on each network.
pub(crate) async fn start_chains(
    config: &Config,
    keys: &[SettlementKey],
    store: &Store,
    lifeline: &Lifeline,
    plans: &watch::Receiver<Arc<Plan>>,
) -> anyhow::Result<Vec<Link>> {
    let mut links = Vec::new();
    if let Some(sites) = remote::sites(config).await? {
        for network in &config.networks {
            let link = RemoteLink::start(config, network, plans.clone(), &sites, store, lifeline).await?;
            links.push(Link::Remote(link));
        }
        return Ok(links);
    }
    for network in config.networks.iter().filter(|_| !keys.is_empty()) {
        let terms = (&config.tab, config.gas);
        let link = ChainLink::start(network, terms, plans.clone(), keys, store, lifeline).await?;
        links.push(Link::Lane(link));
    }
    Ok(links)
}

/// What the process can be told from outside.
pub(crate) enum Told {
    /// Stop.
    End,
    /// Read the configuration again.
    Reload,
}

/// How it is told.
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

    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
