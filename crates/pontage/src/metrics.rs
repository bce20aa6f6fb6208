//! What is counted, in the text form of Prometheus. A call costs a few atomic additions: what it adds to was found when the
//! configuration was read. Labels are routes of the configuration and closed sets, so a caller can make no series.
//!
//! Written by hand, because amounts are 128-bit integers of atomic units: the crates that print this form count in 64 bits or in
//! floats, which a token with 18 decimals overflows at 18 units.

mod books;
mod count;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use alloy_primitives::U256;
use facilitator::rpc::NodeHealth;
use protocol::{Asset, AssetInfo};

use crate::telemetry::{Finished, Limit, MoneyOutcome};

pub(crate) use books::{BookMetrics, BookReader};

use count::{Amounts, Histogram, array, bump};
use text::Text;

const OUTCOMES: usize = MoneyOutcome::ALL.len();
const LIMITS: usize = Limit::ALL.len();
/// What a call counts for that no route covers, and what routes counted that are gone.
const OTHER: &str = "other";

/// The counters of the process. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    routes: RwLock<Routes>,
    assets: Vec<(AssetInfo, Amounts)>,
    /// 1xx to 5xx.
    answers: [AtomicU64; 5],
    upstream_answers: [AtomicU64; 5],
    calls_us: Histogram,
    upstream_us: Histogram,
    settlements_us: Histogram,
    refusals: Codes,
    faults: Codes,
    limited: [AtomicU64; LIMITS],
    in_flight: AtomicI64,
    queued: AtomicI64,
    lines_lost: Arc<AtomicU64>,
    metered: [AtomicU64; 2],
    metered_above_micros: AtomicU64,
}

/// What a metered call lacked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Metering {
    /// What the upstream should have reported.
    Report,
    /// A price: its formula has none.
    Price,
}

/// Counts by the codes of the binary, of which there is a closed number.
type Codes = RwLock<BTreeMap<&'static str, AtomicU64>>;

type RouteCount = Arc<[AtomicU64; OUTCOMES]>;

struct Routes {
    known: HashMap<String, RouteCount, foldhash::fast::RandomState>,
    other: RouteCount,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

/// One call more, until it is dropped.
#[derive(Debug)]
pub(crate) struct Present {
    metrics: Metrics,
    queued: bool,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.metrics.gauge(self.queued).fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is asked for when somebody reads the metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Now {
    pub(crate) ways: Vec<Way>,
    pub(crate) books: Option<BookMetrics>,
}

/// One way to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The network, and whose it is.
    pub(crate) network: String,
    pub(crate) facilitator: String,
    pub(crate) up: bool,
    /// Its nodes, in the order of the configuration.
    pub(crate) nodes: Vec<NodeHealth>,
    /// What each settlement key has for gas, as last seen.
    pub(crate) keys: Vec<KeyGas>,
    /// Whether gas costs more than may be bid.
    pub(crate) too_dear: bool,
}

/// What a settlement key has for gas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyGas {
    pub(crate) signer: String,
    pub(crate) wei: U256,
    /// For how many payments it lasts; `None` before the first.
    pub(crate) payments: Option<U256>,
}

impl Metrics {
    /// Counters for a process that takes these tokens. `lines_lost` counts what the log had no room for.
    pub(crate) fn new(tokens: impl IntoIterator<Item = AssetInfo>, lines_lost: Arc<AtomicU64>) -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            routes: RwLock::new(Routes { known: HashMap::default(), other: Arc::new(array()) }),
            assets: tokens.into_iter().map(|token| (token, Amounts::default())).collect(),
            answers: array(),
            upstream_answers: array(),
            calls_us: Histogram::default(),
            upstream_us: Histogram::default(),
            settlements_us: Histogram::default(),
            refusals: Codes::default(),
            faults: Codes::default(),
            limited: array(),
            in_flight: AtomicI64::new(0),
            queued: AtomicI64::new(0),
            lines_lost,
            metered: array(),
            metered_above_micros: AtomicU64::new(0),
        }))
    }

    /// Counts by these routes from now on. What the others have counted goes to `other`.
    pub(crate) fn follow<'a>(&self, routes: impl IntoIterator<Item = &'a str>) {
        let mut table = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut table.known);
        for id in routes {
            let count = before.remove(id).unwrap_or_else(|| Arc::new(array()));
            table.known.insert(id.to_owned(), count);
        }
        for gone in before.into_values() {
            for (at, count) in gone.iter().enumerate() {
                table.other[at].fetch_add(count.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    /// A call is with the upstream until this is dropped.
    pub(crate) fn in_flight(&self) -> Present {
        self.present(false)
    }

    /// A call waits for its turn until this is dropped.
    pub(crate) fn queued(&self) -> Present {
        self.present(true)
    }

    fn present(&self, queued: bool) -> Present {
        self.gauge(queued).fetch_add(1, Ordering::Relaxed);
        Present { metrics: self.clone(), queued }
    }

    fn gauge(&self, queued: bool) -> &AtomicI64 {
        if queued { &self.0.queued } else { &self.0.in_flight }
    }

    /// How long the process has run.
    pub(crate) fn uptime_s(&self) -> u64 {
        self.0.started.elapsed().as_secs()
    }

    /// A metered call came to more than its ceiling.
    pub(crate) fn metered_above(&self, micros: u64) {
        self.0.metered_above_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// A metered call ended without something.
    pub(crate) fn metered_without(&self, what: Metering) {
        bump(&self.0.metered[what as usize]);
    }

    /// Counts a call.
    pub(crate) fn finished(&self, call: &Finished<'_>) {
        let inner = &*self.0;
        {
            let routes = inner.routes.read().unwrap_or_else(PoisonError::into_inner);
            let known = call.route.and_then(|route| routes.known.get(route));
            bump(&known.unwrap_or(&routes.other)[call.outcome as usize]);
        }
        answered(&inner.answers, call.status);
        inner.calls_us.note(call.latency_us);
        if let Some(us) = call.upstream_us {
            inner.upstream_us.note(us);
        }
        if let Some(status) = call.upstream_status {
            answered(&inner.upstream_answers, status);
        }
        if let Some(us) = call.settlement_us {
            inner.settlements_us.note(us);
        }
        if let Some(limit) = call.limited {
            bump(&inner.limited[limit as usize]);
        }
        if let Some(reason) = call.reason {
            match call.outcome {
                MoneyOutcome::Fault | MoneyOutcome::Pending | MoneyOutcome::PassedOpen => coded(&inner.faults, reason),
                _ => coded(&inner.refusals, reason),
            }
        }
        if let Some(amount) = call.amount {
            let found = inner.assets.iter().find(|(token, _)| token.asset == amount.asset);
            if let Some((_, amounts)) = found {
                amounts.note(call.outcome, amount.atomic);
            }
        }
    }

    /// Everything, in Prometheus' text form.
    pub(crate) fn print(&self, now: &Now) -> String {
        let mut text = Text::default();
        self.print_process(&mut text);
        self.print_calls(&mut text);
        self.print_money(&mut text);
        self.print_metered(&mut text);
        print_ways(&mut text, &now.ways);
        print_nodes(&mut text, &now.ways);
        if let Some(books) = &now.books {
            books.print(&mut text, |asset| self.name_of(asset));
        }
        text.finish()
    }

    fn name_of(&self, asset: Asset) -> &str {
        let token = self.0.assets.iter().map(|(token, _)| token).find(|token| token.asset == asset);
        token.map_or("", |token| token.name.as_str())
    }

    fn print_process(&self, text: &mut Text) {
        text.family("pontage_build_info", "gauge", "Which pontage runs.");
        text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.family("pontage_uptime_seconds", "gauge", "How long the process has run.");
        text.sample("", &[], self.uptime_s());
        text.family("pontage_log_lines_lost_total", "counter", "Log lines for which there was no room.");
        text.sample("", &[], self.0.lines_lost.load(Ordering::Relaxed));
    }

    fn print_metered(&self, text: &mut Text) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let about = "What metered calls came to above their max, which nobody pays, in millionths of a dollar.";
        text.family("pontage_metered_above_max_micros_total", "counter", about);
        text.sample("", &[], read(&self.0.metered_above_micros));
        text.family("pontage_metered_without_total", "counter", "Metered calls that lacked a report, or a price.");
        for (what, count) in ["report", "price"].into_iter().zip(&self.0.metered) {
            text.sample("", &[("what", what)], read(count));
        }
    }

    fn print_calls(&self, text: &mut Text) {
        let inner = &*self.0;
        text.family("pontage_calls_total", "counter", "Calls by route, and by what became of their money.");
        {
            let routes = inner.routes.read().unwrap_or_else(PoisonError::into_inner);
            let mut all: Vec<(&str, &RouteCount)> =
                routes.known.iter().map(|(id, count)| (id.as_str(), count)).collect();
            all.sort_unstable_by_key(|(id, _)| *id);
            all.push((OTHER, &routes.other));
            for (id, counts) in all {
                for (outcome, count) in MoneyOutcome::ALL.iter().zip(counts.iter()) {
                    let count = count.load(Ordering::Relaxed);
                    // A thousand routes would be twenty thousand lines of nothing.
                    if count > 0 {
                        text.sample("", &[("route", id), ("outcome", outcome.code())], count);
                    }
                }
            }
        }
        text.family("pontage_answers_total", "counter", "Answers by class of status.");
        classes(text, &inner.answers);
        text.histogram("pontage_call_seconds", "From a call's arrival to its answer's head.", &inner.calls_us);
        text.family("pontage_upstream_answers_total", "counter", "The upstream's answers by class of status.");
        classes(text, &inner.upstream_answers);
        text.histogram("pontage_upstream_seconds", "From sending a call to the upstream's head.", &inner.upstream_us);
        text.family("pontage_calls_in_flight", "gauge", "Calls that are being answered.");
        text.sample("", &[], inner.in_flight.load(Ordering::Relaxed).max(0));
        text.family("pontage_calls_queued", "gauge", "Calls that wait for their turn.");
        text.sample("", &[], inner.queued.load(Ordering::Relaxed).max(0));
        text.family("pontage_rate_limited_total", "counter", "Calls that found a bucket empty.");
        for (limit, count) in Limit::ALL.iter().zip(&inner.limited) {
            text.sample("", &[("limit", limit.code())], count.load(Ordering::Relaxed));
        }
        text.family("pontage_refusals_total", "counter", "Refusals by code.");
        print_codes(text, &inner.refusals);
        text.family("pontage_faults_total", "counter", "Faults by code.");
        print_codes(text, &inner.faults);
    }

    fn print_money(&self, text: &mut Text) {
        text.histogram("pontage_settlement_seconds", "How long direct settlements took.", &self.0.settlements_us);
        let help = "Atomic units of an asset: asked for in a 402, paid with a good payment, and served for.";
        text.family("pontage_amount_atomic_total", "counter", help);
        for (token, amounts) in &self.0.assets {
            let (network, asset) = (token.asset.network.to_string(), token.asset.address.to_string());
            for (flow, atomic) in amounts.read() {
                let labels = [("flow", flow), ("network", &network), ("asset", &asset), ("name", &token.name)];
                text.sample("", &labels, atomic);
            }
        }
    }
}

fn answered(classes: &[AtomicU64; 5], status: u16) {
    if let Some(class) = usize::from(status / 100).checked_sub(1).and_then(|class| classes.get(class)) {
        bump(class);
    }
}

fn classes(text: &mut Text, counts: &[AtomicU64; 5]) {
    for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(counts) {
        text.sample("", &[("class", class)], count.load(Ordering::Relaxed));
    }
}

fn coded(codes: &Codes, code: &'static str) {
    if let Some(count) = codes.read().unwrap_or_else(PoisonError::into_inner).get(code) {
        return bump(count);
    }
    bump(codes.write().unwrap_or_else(PoisonError::into_inner).entry(code).or_default());
}

fn print_codes(text: &mut Text, codes: &Codes) {
    for (code, count) in codes.read().unwrap_or_else(PoisonError::into_inner).iter() {
        text.sample("", &[("code", code)], count.load(Ordering::Relaxed));
    }
}

fn print_ways(text: &mut Text, ways: &[Way]) {
    text.family("pontage_facilitator_up", "gauge", "Whether payments can be settled there now.");
    for way in ways {
        text.sample("", &[("facilitator", &way.facilitator), ("network", &way.network)], u8::from(way.up));
    }
    let keys = || ways.iter().flat_map(|way| way.keys.iter().map(move |key| (way, key)));
    text.family("pontage_gas_wei", "gauge", "What a settlement key has for gas.");
    for (way, key) in keys() {
        text.sample("", &[("network", &way.network), ("signer", &key.signer)], key.wei);
    }
    text.family(
        "pontage_gas_runway_payments",
        "gauge",
        "For how many payments that lasts, at what the last ones cost.",
    );
    for (way, key) in keys() {
        if let Some(payments) = key.payments {
            text.sample("", &[("network", &way.network), ("signer", &key.signer)], payments);
        }
    }
    text.family("pontage_gas_too_dear", "gauge", "Whether gas costs more than may be bid, so that nothing is sent.");
    for way in ways.iter().filter(|way| !way.keys.is_empty()) {
        text.sample("", &[("network", &way.network)], u8::from(way.too_dear));
    }
}

/// Nodes go by their place in `rpc_urls`: their addresses may hold access keys.
fn print_nodes(text: &mut Text, ways: &[Way]) {
    let mut family = |name, kind, help, value: fn(&NodeHealth) -> u64| {
        text.family(name, kind, help);
        for way in ways {
            for (place, node) in way.nodes.iter().enumerate() {
                text.sample("", &[("network", &way.network), ("endpoint", &place.to_string())], value(node));
            }
        }
    };
    family("pontage_rpc_up", "gauge", "Whether a node answers, on the right chain.", |node| u64::from(node.up));
    family("pontage_rpc_lag_blocks", "gauge", "How far a node is behind the best known block.", |node| node.lag_blocks);
    family("pontage_rpc_faults_total", "counter", "Questions that a node did not answer.", |node| node.faults);
    let help = "Answers of a node that another one differed from.";
    family("pontage_rpc_disagreements_total", "counter", help, |node| node.disagreements);
}

#[cfg(test)]
mod tests;
