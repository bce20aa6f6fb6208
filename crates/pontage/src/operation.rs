//! What operators and visitors are told, in one place for every worker: documents, health, metrics, the access log and traces.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use gate::Snapshot;
use http::{HeaderMap, Method, Response};
use protocol::Network;
use tokio::sync::watch;
use tracing::warn;

use crate::config::Config;
use crate::front::public::{Endpoint, Health, Public, Readiness, livez, refuse_method, status};
use crate::host::now_ms;
use crate::link::Link;
use crate::log::Log;
use crate::maintenance::Maintenance;
use crate::metrics::{BookMetrics, BookReader, Metrics, Now, Way};
use crate::telemetry::Telemetry;
use crate::trace::Traces;

/// For so long after a write that failed, the journal counts as out of order. Then somebody has to try again.
const JOURNAL_PAUSE_MS: u64 = 10_000;

/// Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) telemetry: Telemetry,
    pub(crate) traces: Traces,
    pub(crate) maintenance: Maintenance,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    public: RwLock<Arc<Public>>,
    links: Vec<Link>,
    network: Option<Network>,
    stopping: watch::Receiver<bool>,
    journal_failed_ms: AtomicU64,
    books: Mutex<Option<BookReader>>,
}

impl Operation {
    pub(crate) fn new(
        config: &Config,
        snapshot: &Snapshot,
        log: &Log,
        links: &[Link],
        stopping: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let tokens = config.networks.iter().flat_map(|network| network.tokens.clone());
        let metrics = Metrics::new(tokens, log.lost());
        let shared = Shared {
            public: RwLock::new(Arc::new(Public::render(config, snapshot))),
            links: links.to_vec(),
            network: config.networks.first().map(|network| network.network),
            stopping,
            journal_failed_ms: AtomicU64::new(0),
            books: Mutex::new(books(&config.store_path)),
        };
        let operation = Self {
            telemetry: Telemetry::new(metrics, log.access()),
            traces: Traces::start(config.operation.otlp_url.as_deref())?,
            maintenance: Maintenance::default(),
            shared: Arc::new(shared),
        };
        operation.follow(config, snapshot);
        Ok(operation)
    }

    /// Speaks of another configuration from now on.
    pub(crate) fn follow(&self, config: &Config, snapshot: &Snapshot) {
        self.telemetry.metrics.follow(snapshot.routes.iter().map(|route| route.id.as_str()));
        let public = Arc::new(Public::render(config, snapshot));
        *self.shared.public.write().unwrap_or_else(PoisonError::into_inner) = public;
    }

    /// The answer for a path of the gate's own. `None` for every other path, also for an `/openapi.json` that is the upstream's.
    pub(crate) fn answer(&self, path: &str, method: &Method, request: &HeaderMap) -> Option<Response<Bytes>> {
        // An API may have a path of this name; it goes before ours.
        let path = if path == "/status" && self.public().has_status { "/__pay/status" } else { path };
        let endpoint = Endpoint::of(path)?;
        let now = |answer: Response<Bytes>| refuse_method(method).unwrap_or(answer);
        match endpoint {
            Endpoint::Health => Some(now(self.health().answer())),
            Endpoint::Status => Some(now(status(self.maintenance.closed(now_ms()).as_ref()))),
            Endpoint::Livez => Some(now(livez())),
            Endpoint::Readyz => Some(now(self.readiness().answer())),
            Endpoint::Manifest | Endpoint::WellKnown | Endpoint::OpenApi => {
                self.public().document(endpoint).map(|document| document.answer(method, request))
            }
        }
    }

    /// The documents of the newest configuration.
    fn public(&self) -> Arc<Public> {
        Arc::clone(&self.shared.public.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The journal did not take a write.
    pub(crate) fn journal_failed(&self) {
        self.shared.journal_failed_ms.store(now_ms(), Ordering::Relaxed);
    }

    fn health(&self) -> Health {
        Health {
            facilitator_reachable: self.can_settle(),
            network: self.shared.network,
            uptime_s: self.telemetry.metrics.uptime_s(),
        }
    }

    fn readiness(&self) -> Readiness {
        let failed_ms = self.shared.journal_failed_ms.load(Ordering::Relaxed);
        Readiness {
            stopping: *self.shared.stopping.borrow(),
            journal: now_ms() >= failed_ms.saturating_add(JOURNAL_PAUSE_MS),
            settlement: self.can_settle(),
        }
    }

    /// The metrics, now. Reads the journal, so a worker must not ask.
    pub(crate) fn metrics(&self) -> String {
        let now = Now { ways: self.ways(), books: self.books() };
        self.telemetry.metrics.print(&now)
    }

    fn ways(&self) -> Vec<Way> {
        self.shared.links.iter().map(Link::way).collect()
    }

    /// Where nothing is to be paid for, nothing is in the way.
    fn can_settle(&self) -> bool {
        self.shared.links.is_empty() || self.shared.links.iter().any(|link| link.way().up)
    }

    fn books(&self) -> Option<BookMetrics> {
        self.shared.books.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.look()
    }
}

fn books(path: &Path) -> Option<BookReader> {
    match BookReader::new(path) {
        Ok(reader) => Some(reader),
        Err(error) => {
            warn!(%error, "the books are left out of the metrics");
            None
        }
    }
}
