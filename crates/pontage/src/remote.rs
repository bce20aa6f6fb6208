//! Networks on which facilitators of others settle: the way to them, and the thread that looks after what they were handed.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use facilitator::engine::{Finality, Handed, Head, Live, TabTerms, reader};
use facilitator::point::{self, Act};
use facilitator::remote::{Bearer, HttpRemote, Sites, Terms};
use facilitator::rpc::Nodes;
use gate::Fault;
use ledger::Hold;
use protocol::{AssetInfo, Network};
use store::Store;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tracing::{debug, error, info, warn};

use crate::chain::{TAB_MARGIN_MS, Watch};
use crate::config::{Config, NetworkConfig};
use crate::host::now_ms;
use crate::metrics::Way;
use crate::nodes;
use crate::plan::Plan;
use crate::run::Lifeline;

/// How often it is looked what is to be settled, and what became of what was handed over.
const LOOK_MS: u64 = 1_000;
/// How often it is looked which facilitators are there.
const HEALTH_MS: u64 = 10_000;
/// How many payments of one network are handed over at once, beside those that a caller waits for.
const AT_ONCE: usize = 16;

/// Settlement by facilitators, as this binary runs it.
pub(crate) type RemoteHanded = Handed<Nodes, HttpRemote, store::Handle, Watch>;

/// One network on which facilitators settle.
#[derive(Clone, Debug)]
pub(crate) struct RemoteLink {
    network: Network,
    /// To read the chain from, where the configuration names a node.
    node: Option<Nodes>,
    tokens: Vec<AssetInfo>,
    sites: Sites,
    budget_ms: u64,
    live: Live,
    head: Head,
    finality: Finality,
    tab: TabTerms,
    /// Whose caps are the tab's.
    plan: watch::Receiver<Arc<Plan>>,
}

/// The facilitators of the configuration, if any, after a first look at each. One that does not answer now may do so later.
pub(crate) async fn sites(config: &Config) -> anyhow::Result<Option<Sites>> {
    let Some(remote) = &config.remote else { return Ok(None) };
    let bearer = match &remote.bearer {
        Some(source) => {
            let token = source.read().context("facilitator.bearer")?;
            let bearer = Bearer::new(token.expose());
            Some(bearer.ok_or_else(|| anyhow!("facilitator.bearer: {source} holds no token for a header"))?)
        }
        None => None,
    };
    let (verify_timeout_ms, settle_timeout_ms) = (remote.verify_timeout_ms, remote.settle_timeout_ms);
    let sites =
        Sites::new(&remote.urls, Terms { bearer, domain: domain(config), verify_timeout_ms, settle_timeout_ms });
    for health in sites.health().await? {
        let facilitator = health.host;
        if health.reachable {
            info!(facilitator, "a facilitator is there");
        } else {
            warn!(facilitator, "a facilitator does not say what it supports; it is asked all the same");
        }
    }
    Ok(Some(sites))
}

/// The public host, which facilitators are told for their statistics.
fn domain(config: &Config) -> Option<String> {
    let url: http::Uri = config.public_url.as_ref()?.parse().ok()?;
    Some(url.authority()?.to_string())
}

impl RemoteLink {
    /// Checks a network against its node, if there is one, ends what a crash left open, and starts the reconciler.
    pub(crate) async fn start(
        config: &Config,
        network: &NetworkConfig,
        plan: watch::Receiver<Arc<Plan>>,
        sites: &Sites,
        store: &Store,
        lifeline: &Lifeline,
    ) -> anyhow::Result<Self> {
        let node = if network.rpc_urls.is_empty() {
            warn!(network = %network.network,
                "no node: what a facilitator says of a settlement is believed, and what it leaves open may stay so");
            None
        } else {
            Some(nodes::start(network, store).await?)
        };
        point::before(Act::Recover);
        facilitator::engine::recover(&store.handle()?, network.network).await?;
        point::after(Act::Recover);
        let tab = TabTerms {
            batch_max: 1,
            settle_age_ms: config.tab.settle_age_s.saturating_mul(1_000),
            caps: config.tab.caps,
            margin_ms: TAB_MARGIN_MS,
        };
        let link = Self {
            network: network.network,
            node,
            tokens: network.tokens.clone(),
            sites: sites.clone(),
            budget_ms: config.remote.as_ref().map(|remote| remote.settle_timeout_ms).unwrap_or_default(),
            live: Live::default(),
            head: Head::default(),
            finality: network.finality,
            tab,
            plan,
        };
        let (reconciler, store) = (link.clone(), store.clone());
        lifeline.spawn("reconciler", move || reconciler.run(&store))?;
        Ok(link)
    }

    /// What the chain is read from, where there is a node.
    pub(crate) fn node(&self) -> Option<Nodes> {
        self.node.clone()
    }

    pub(crate) const fn network(&self) -> Network {
        self.network
    }

    /// How this way to settle is doing, as far as is known without asking anybody.
    pub(crate) fn way(&self) -> Way {
        Way {
            network: self.network.to_string(),
            facilitator: self.sites.first_host(),
            up: self.sites.answer() && self.node.as_ref().is_none_or(Nodes::answer),
            nodes: self.node.as_ref().map(Nodes::health).unwrap_or_default(),
            keys: Vec::new(),
            too_dear: false,
        }
    }

    /// For the calling thread: connections live on its runtime.
    pub(crate) fn handed(&self, store: &Store) -> anyhow::Result<RemoteHanded> {
        let pace = Watch::start();
        let chain = |node: &Nodes| {
            let (head, live) = (self.head.clone(), self.live.clone());
            reader(node.clone(), pace.clone(), head, self.finality, self.budget_ms, live)
        };
        Ok(Handed {
            chain: self.node.as_ref().map(chain),
            remote: self.sites.remote(self.network, &self.tokens)?,
            journal: store.handle()?,
            pace,
            live: self.live.clone(),
            budget_ms: self.budget_ms,
        })
    }

    /// Hands over everything that is on the tab. Says how many payments were settled or refused, and how many are left.
    pub(crate) async fn settle_tab(&self, store: &Store) -> anyhow::Result<(usize, usize)> {
        let handed = Rc::new(self.handed(store)?);
        let journal = store.handle()?;
        let due = handed.due(self.network, &self.terms(), now_ms(), true).await?;
        let local = LocalSet::new();
        let moved = local.run_until(async {
            let (mut hands, mut moved) = (JoinSet::new(), 0);
            for hold in due {
                if hands.len() >= AT_ONCE {
                    moved += usize::from(hands.join_next().await.is_some());
                }
                self.hand(&mut hands, &handed, hold);
            }
            while hands.join_next().await.is_some() {
                moved += 1;
            }
            moved
        });
        let moved = moved.await;
        Ok((moved, facilitator::engine::BooksJournal::due(&journal, self.network, None).await?.len()))
    }

    fn terms(&self) -> TabTerms {
        TabTerms { caps: self.plan.borrow().snapshot.caps, ..self.tab }
    }

    fn run(self, store: &Store) -> anyhow::Result<()> {
        let handed = Rc::new(self.handed(store)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            tokio::join!(self.look_after(&handed), self.look_around(), async {
                if let Some(node) = &self.node {
                    nodes::mind(node).await;
                }
            })
        });
        Ok(())
    }

    /// Does not end.
    async fn look_after(&self, handed: &Rc<RemoteHanded>) {
        let mut hands = JoinSet::new();
        loop {
            while hands.try_join_next().is_some() {}
            if let Err(fault) = self.look(handed, &mut hands).await {
                error!(network = %self.network, %fault, "what facilitators have was not looked after; it will be");
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    }

    /// Sees which facilitators are there. Beside the rest: one that hangs must not hold it up. Does not end.
    async fn look_around(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(HEALTH_MS)).await;
            if self.sites.health().await.is_err() {
                warn!(network = %self.network, "facilitators cannot be looked at");
            }
        }
    }

    /// Looks once, and hands over what is to be handed over, as far as there are hands.
    async fn look(&self, handed: &Rc<RemoteHanded>, hands: &mut JoinSet<()>) -> Result<(), Fault> {
        point::before(Act::Reconcile);
        let looked = handed.look(self.network, now_ms()).await?;
        point::after(Act::Reconcile);
        if looked.resolved > 0 {
            info!(network = %self.network, resolved = looked.resolved, "reconciled with the chain");
        }
        for hold in looked.suspended {
            error!(network = %self.network, %hold,
                "a facilitator had this payment, it is no longer valid, and nobody can say whether the money moved: look it up");
        }
        let due = handed.due(self.network, &self.terms(), now_ms(), false).await?;
        for hold in looked.again.into_iter().chain(due) {
            if hands.len() >= AT_ONCE {
                break;
            }
            self.hand(hands, handed, hold);
        }
        Ok(())
    }

    fn hand(&self, hands: &mut JoinSet<()>, handed: &Rc<RemoteHanded>, hold: Hold) {
        let (handed, network) = (Rc::clone(handed), self.network);
        hands.spawn_local(async move {
            match handed.settle_one(&hold).await {
                Ok(true) => debug!(%network, hold = %hold.id, "settled what a facilitator had"),
                Ok(false) => {}
                Err(fault) => error!(%network, hold = %hold.id, %fault, "a settlement was not written; it will be"),
            }
        });
    }
}
