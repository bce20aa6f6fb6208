//! Who settles on each network, for one thread: lanes of ours, or facilitators of others.

use std::collections::BTreeMap;
use std::rc::Rc;

use alloy_primitives::Address;
use anyhow::Context as _;
use gate::{Check, Depth, Facilitator, Fault, FaultKind, Settlement};
use ledger::Hold;
use protocol::{Network, Proven};
use store::Store;
use tokio::sync::Semaphore;

use crate::chain::{ChainLink, LaneEngine};
use crate::remote::{RemoteHanded, RemoteLink};

/// How many payments a worker may check at once; further ones are told to come back.
const CHECKS_MAX: usize = 512;

/// The way to whoever settles on one network.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// Keys of ours, their lanes and a node.
    Lane(ChainLink),
    /// Facilitators of others.
    Remote(RemoteLink),
}

impl Link {
    pub(crate) const fn network(&self) -> Network {
        match self {
            Self::Lane(link) => link.network(),
            Self::Remote(link) => link.network(),
        }
    }

    /// The keys that settle; none of ours where others do.
    pub(crate) fn signers(&self) -> Vec<Address> {
        match self {
            Self::Lane(link) => link.signers(),
            Self::Remote(_) => Vec::new(),
        }
    }

    /// How it is doing, as far as is known without asking anybody.
    pub(crate) fn way(&self) -> crate::metrics::Way {
        match self {
            Self::Lane(link) => link.way(),
            Self::Remote(link) => link.way(),
        }
    }

    /// Submits everything that is on the tab. Says how many payments were moved, and how many are left.
    pub(crate) async fn settle_tab(&self, store: &Store) -> anyhow::Result<(usize, usize)> {
        match self {
            Self::Lane(link) => link.settle_tab(store).await,
            Self::Remote(link) => link.settle_tab(store).await,
        }
    }
}

/// The facilitators of every network, for one thread.
#[derive(Clone, Debug)]
pub(crate) struct Chains {
    ways: Rc<BTreeMap<Network, Way>>,
    checks: Rc<Semaphore>,
}

#[derive(Debug)]
enum Way {
    Lane(Box<LaneEngine>),
    Remote(Box<RemoteHanded>),
}

impl Chains {
    /// The facilitators for the calling thread.
    pub(crate) fn new(links: &[Link], store: &Store) -> anyhow::Result<Self> {
        let way = |link: &Link| {
            let way = match link {
                Link::Lane(link) => Way::Lane(Box::new(link.engine())),
                Link::Remote(link) => Way::Remote(Box::new(link.handed(store)?)),
            };
            anyhow::Ok((link.network(), way))
        };
        let ways = links.iter().map(way).collect::<Result<_, _>>().context("the way to the facilitators")?;
        Ok(Self { ways: Rc::new(ways), checks: Rc::new(Semaphore::new(CHECKS_MAX)) })
    }
}

impl Facilitator for Chains {
    async fn check(&self, proven: &Proven, depth: Depth) -> Check {
        // Fresh keys with empty wallets cost their owner nothing: what they may ask of others at once is bounded.
        // It is no outage of theirs: with `fail_mode: open` whoever asks for many would get the rest for nothing.
        let Ok(_turn) = self.checks.try_acquire() else { return Check::Fault(Fault::untouched(FaultKind::Settlement)) };
        match self.ways.get(&proven.offer().network()) {
            Some(Way::Lane(engine)) if engine.submitter.takes_work() => engine.check(proven, depth).await,
            Some(Way::Remote(handed)) => handed.check(proven, depth).await,
            Some(Way::Lane(_)) | None => Check::Fault(Fault::untouched(FaultKind::Settlement)),
        }
    }

    async fn settle(&self, hold: &Hold) -> Settlement {
        match self.ways.get(&hold.authorization.key.asset.network) {
            Some(Way::Lane(engine)) => engine.settle(hold).await,
            Some(Way::Remote(handed)) => handed.settle(hold).await,
            None => Settlement::Unknown { chain_tx: None },
        }
    }
}
