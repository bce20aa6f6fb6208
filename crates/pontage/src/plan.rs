//! From a checked configuration to what a call is judged by, and what the front does with it. Immutable; replaced as a whole.

mod pass;
mod top_up;

use std::sync::{Arc, PoisonError, RwLock};

use gate::price::Tariff;
use gate::{Honoured, Price, Rate, Route, Snapshot, Terms};
use ledger::Rail;
use protocol::x402::ext::{BAZAAR, Info, PAYMENT_IDENTIFIER, PaymentId};
use protocol::x402::{Challenge, Extensions, Resource};
use protocol::{Network, Offer, OfferExtra, Refusal, parse_decimal};

use crate::config::{
    AcceptConfig, BudgetConfig, Config, DueConfig, EndpointConfig, IdentifierConfig, PriceConfig, RatesConfig,
    RouteConfig, TAB_DEFAULT_MAX_MICROS,
};
use crate::front::Prepared;
use crate::problem::Problem;

pub(crate) use top_up::TopUp;

/// After this long without a receipt a `direct` settlement is Unknown.
pub(crate) const SETTLE_BUDGET_MS: u64 = 15_000;
/// By how much a payer's clock may be ahead of ours.
pub(crate) const SKEW_S: u64 = 30;
/// What admission, the journal and connecting to the upstream may take besides.
const OVERHEAD_S: u64 = 15;
/// What a payer has, beyond the call and its settlement, between signing and arriving.
const MARGIN_S: u64 = 30;
/// The shortest `maxTimeoutSeconds` of `direct`.
const DIRECT_MIN_S: u64 = 60;
/// The `maxTimeoutSeconds` of `tab`.
const TAB_TIMEOUT_S: u64 = 3_600;
/// Reasons for which a route's answer is kept; there are fewer.
const REFUSALS_MAX: usize = 128;
/// How many earlier snapshots are honoured at most.
const HONOURED_MAX: usize = 8;
/// As fine as a quoted price may be.
const WIDEST_DECIMALS: u8 = 18;
/// One millionth of a dollar at [`WIDEST_DECIMALS`].
const MICRO: u128 = 1_000_000_000_000;

/// What a configuration means for calls.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What the flow judges by.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What the front does with a route, in the order of the snapshot's.
    routes: Vec<RoutePlan>,
    /// The gate's own origin, as configured.
    pub(crate) public_url: Option<String>,
    /// How many proxies of ours stand before the gate.
    pub(crate) trusted_proxies: usize,
    /// Where a wallet may sign in.
    pub(crate) chains: Vec<Network>,
    /// Token buckets.
    pub(crate) rates: RatesConfig,
    /// For the payment page.
    pub(crate) docs_url: Option<String>,
    /// For the payment page.
    pub(crate) website: Option<String>,
    /// Whether somebody passes unpaid everywhere.
    lists_globally: bool,
    /// What a payment may raise a balance by, where there are balances.
    pub(crate) top_up: Option<TopUp>,
    /// Whether some route is opened by passes.
    pub(crate) takes_passes: bool,
    /// Web pages of which origins may read answers.
    pub(crate) cors_origins: Vec<String>,
}

/// What the front does with a route.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    /// For the challenge.
    pub(crate) description: Option<String>,
    /// For the challenge.
    pub(crate) mime_type: Option<String>,
    /// What every 402 of the route says besides.
    pub(crate) extensions: Extensions,
    /// What a request must look like, so that nobody pays for a 400.
    pub(crate) info: Option<Info>,
    /// The 402 for whoever shows nothing, where it differs in its URL alone.
    pub(crate) prepared: Option<Prepared>,
    /// The same for payments that are refused, by the reason, as they come.
    refusals: RwLock<Vec<(Refusal, Arc<Prepared>)>>,
    /// Whether signing in opens anything here.
    signs_in: bool,
    /// The path that the upstream gets instead.
    pub(crate) rewrite: Option<String>,
    /// What is put into the query.
    pub(crate) params: Vec<(String, String)>,
    /// For the route's calls, whoever makes them.
    pub(crate) rate_limit: Option<Rate>,
    /// Who is asked for the price.
    pub(crate) quoted: Option<Quoted>,
    /// What each key, or all together, may call and spend here.
    pub(crate) budgets: Vec<BudgetConfig>,
    /// For each key: its calls of the route.
    pub(crate) rate_per_key: Option<Rate>,
    /// Calls that are paid from balances and with the upstream at once.
    pub(crate) in_flight_max: Option<u32>,
    /// For so long an answer is given out again to its key.
    pub(crate) cache_ms: u64,
    /// What accounts pay, where that depends on the call.
    pub(crate) tariff: Option<Arc<Tariff>>,
    /// What accounts in credits pay, where the price is fixed.
    pub(crate) credits: Option<u64>,
    /// Whether nobody pays here but accounts.
    pub(crate) accounts_alone: bool,
}

/// A price endpoint, and what its answer is made into.
#[derive(Clone, Debug)]
pub(crate) struct Quoted {
    pub(crate) endpoint: EndpointConfig,
    due: DueConfig,
    direct_s: u64,
    tab_max_micros: u64,
}

impl Plan {
    /// Compiles a configuration.
    pub(crate) fn compile(config: &Config) -> Self {
        let upstream_s = config.timeout_ms.div_ceil(1_000);
        let remaining_min_s = upstream_s.saturating_add(SETTLE_BUDGET_MS.div_ceil(1_000)).saturating_add(OVERHEAD_S);
        let direct_s = remaining_min_s.saturating_add(MARGIN_S).max(DIRECT_MIN_S);
        let snapshot = Snapshot {
            routes: config.routes.iter().map(|route| compile_route(route, direct_s)).collect(),
            default_action: config.default_action,
            allowlist: config.global_allowlist.clone(),
            fail_open: config.fail_open,
            replay_wait_ms: config.replay.wait_ms,
            remaining_min_s,
            tab_remaining_min_s: remaining_min_s.saturating_add(config.tab.settle_age_s),
            caps: config.tab.caps,
            verify_local: config.tab.verify_local,
            identifier_required: config.payment_identifier == IdentifierConfig::Required,
            honoured: Vec::new(),
            skew_s: SKEW_S,
        };
        let routes = config.routes.iter().zip(&snapshot.routes);
        Self {
            routes: routes.map(|(written, route)| RoutePlan::of(config, written, route, direct_s)).collect(),
            public_url: config.public_url.clone(),
            trusted_proxies: config.trusted_proxies,
            chains: config.networks.iter().map(|network| network.network).collect(),
            rates: config.rates,
            docs_url: config.discovery.docs_url.clone(),
            website: config.discovery.website.clone(),
            lists_globally: !config.global_allowlist.is_empty(),
            cors_origins: config.cors_origins.clone(),
            top_up: TopUp::of(config, &snapshot, direct_s),
            takes_passes: snapshot.routes.iter().any(|route| route.pass_scope.is_some()),
            snapshot: Arc::new(snapshot),
        }
    }

    /// The plan that takes another's place: what that one offered stays good for as long as a payer may have signed it.
    pub(crate) fn replacing(mut self, before: &Self, now_ms: u64) -> Self {
        let longest_s = before.snapshot.offers().map(|offer| offer.max_timeout_s).max().unwrap_or_default();
        let until_ms = now_ms.saturating_add(longest_s.saturating_mul(1_000));
        let alone = Arc::new(Snapshot { honoured: Vec::new(), ..before.snapshot.as_ref().clone() });
        let mut honoured = vec![Honoured { snapshot: alone, until_ms }];
        honoured.extend(before.snapshot.honoured.iter().filter(|earlier| now_ms < earlier.until_ms).cloned());
        honoured.truncate(HONOURED_MAX);
        self.snapshot = Arc::new(Snapshot { honoured, ..self.snapshot.as_ref().clone() });
        self
    }

    /// What the front does with the route at a position.
    pub(crate) fn route(&self, position: usize) -> Option<&RoutePlan> {
        self.routes.get(position)
    }

    /// The routes that have a rate of their own.
    pub(crate) fn route_rates(&self) -> Vec<(String, Rate)> {
        let rated = self.snapshot.routes.iter().zip(&self.routes);
        rated.filter_map(|(route, plan)| Some((route.id.clone(), plan.rate_limit?))).collect()
    }

    /// Whether signing in opens anything on a route, or where no route is.
    pub(crate) fn signs_in(&self, route: Option<&RoutePlan>) -> bool {
        self.lists_globally || route.is_some_and(|route| route.signs_in)
    }
}

impl RoutePlan {
    fn of(config: &Config, route: &RouteConfig, compiled: &Route, direct_s: u64) -> Self {
        let mut extensions = Extensions::new();
        if config.payment_identifier != IdentifierConfig::Unsaid {
            let required = config.payment_identifier == IdentifierConfig::Required;
            extensions.insert(PAYMENT_IDENTIFIER.to_owned(), PaymentId::extension(required));
        }
        let info = route.info.clone().map(|info| Info::check(info).expect("the configuration checked it"));
        if let Some(info) = &info {
            extensions.insert(BAZAAR.to_owned(), info.extension(route.template.as_deref()));
        }
        let due = match &route.price {
            PriceConfig::Free => None,
            PriceConfig::Due(due) => Some(due),
        };
        let quoted = due.and_then(|due| {
            let caps = config.tab.caps;
            let cap = caps.payer_micros.min(caps.source_micros).min(caps.gate_micros);
            let endpoint = due.endpoint.clone()?;
            Some(Quoted { endpoint, due: due.clone(), direct_s, tab_max_micros: cap.min(TAB_DEFAULT_MAX_MICROS) })
        });
        let signs_in = !route.allowlist.is_empty() || route.reentry_s > 0;
        let mut plan = Self {
            description: route.description.clone(),
            mime_type: route.mime_type.clone(),
            extensions,
            info,
            prepared: None,
            refusals: RwLock::default(),
            signs_in,
            rewrite: route.rewrite.clone(),
            params: route.params.clone(),
            rate_limit: route.rate_limit,
            quoted,
            budgets: route.budgets.clone(),
            rate_per_key: route.rate_per_key,
            in_flight_max: route.in_flight_max,
            cache_ms: route.cache_s.saturating_mul(1_000),
            tariff: due.and_then(|due| due.tariff.clone()).map(Arc::new),
            credits: due.and_then(|due| due.credits),
            accounts_alone: due.is_some_and(|due| due.tariff.is_some() && due.accepts.is_empty()),
        };
        let changes = signs_in || !config.global_allowlist.is_empty() || config.offer_signer.is_some();
        if let (Price::Due(terms), false) = (&compiled.price, changes)
            && !terms.offers.is_empty()
        {
            let print =
                |url: &str| Problem::challenge(plan.challenge(url, compiled.offers(terms)), None).into_response();
            plan.prepared = Prepared::new(print);
        }
        plan
    }

    /// Whether answers are read for what the upstream reports in them.
    pub(crate) fn reads_body(&self) -> bool {
        self.tariff.as_ref().is_some_and(|tariff| tariff.reads_body())
    }

    /// The answer to a payment that is refused, printed once for each reason. `None` where the route's 402 is made each time.
    pub(crate) fn refused(
        &self,
        refusal: Refusal,
        challenge: impl FnOnce() -> Option<Challenge>,
    ) -> Option<Arc<Prepared>> {
        self.prepared.as_ref()?;
        let known = |list: &[(Refusal, Arc<Prepared>)]| {
            list.iter().find(|(reason, _)| *reason == refusal).map(|(_, prepared)| Arc::clone(prepared))
        };
        if let Some(prepared) = known(&self.refusals.read().unwrap_or_else(PoisonError::into_inner)) {
            return Some(prepared);
        }
        let challenge = challenge()?;
        let print = |url: &str| Problem::challenge(self.dress(challenge.clone(), url), Some(refusal)).into_response();
        let prepared = Arc::new(Prepared::new(print)?);
        let mut list = self.refusals.write().unwrap_or_else(PoisonError::into_inner);
        if list.len() < REFUSALS_MAX {
            list.push((refusal, Arc::clone(&prepared)));
        }
        Some(prepared)
    }

    /// The 402's words for a URL.
    fn challenge(&self, url: &str, offers: Vec<Offer>) -> Challenge {
        let challenge = Challenge { offers, error: "payment_required".to_owned(), ..Challenge::default() };
        self.dress(challenge, url)
    }

    /// Adds what the route says about itself.
    pub(crate) fn dress(&self, challenge: Challenge, url: &str) -> Challenge {
        let (description, mime_type) = (self.description.clone(), self.mime_type.clone());
        let resource = Resource { url: url.to_owned(), description, mime_type };
        Challenge { resource, extensions: self.extensions.clone(), ..challenge }
    }
}

impl Quoted {
    /// What a call costs at a price in dollars. `None` for what is no price: zero is not free, and every token must be able to
    /// say it exactly.
    pub(crate) fn terms(&self, dollars: &str) -> Option<Terms> {
        let atto = parse_decimal(dollars, WIDEST_DECIMALS).ok().filter(|atto| *atto > 0)?;
        let micros = u64::try_from(atto.div_ceil(MICRO)).unwrap_or(u64::MAX);
        let rail = self.due.rail.unwrap_or(if micros <= self.tab_max_micros { Rail::Tab } else { Rail::Direct });
        let offer = |accept: &AcceptConfig| {
            let atomic = parse_decimal(dollars, accept.token.decimals).ok()?;
            Some(offer(accept, atomic, rail, self.due.settle_first, self.direct_s))
        };
        let offers: Option<Vec<_>> = self.due.accepts.iter().map(offer).collect();
        Some(Terms { offers: offers?, rail, exposure_micros: micros, settle_first: self.due.settle_first, sells: None })
    }

    /// What it costs while the endpoint does not say, if the configuration has a price as well.
    pub(crate) fn fallback(&self) -> Option<Terms> {
        fixed_terms(&self.due, self.direct_s)
    }
}

fn compile_route(route: &RouteConfig, direct_s: u64) -> Route {
    let method = route.method.as_ref().map(|method| method.as_str().to_owned());
    let price = match &route.price {
        PriceConfig::Free => Price::Free,
        // Accounts alone pay: nothing is offered to others.
        PriceConfig::Due(due) if due.tariff.is_some() && due.accepts.is_empty() => Price::Due(Terms {
            offers: Vec::new(),
            rail: Rail::Direct,
            exposure_micros: 0,
            settle_first: false,
            sells: None,
        }),
        PriceConfig::Due(due) => match fixed_terms(due, direct_s) {
            Some(terms) if due.endpoint.is_none() => Price::Due(terms),
            Some(_) | None => Price::Quoted(due.accepts.iter().map(|accept| accept.token.clone()).collect()),
        },
    };
    let id = format!("{} {}", method.as_deref().unwrap_or("*"), route.path);
    Route {
        pattern: route.path.clone(),
        method,
        price,
        allowlist: route.allowlist.clone(),
        reentry_ms: route.reentry_s.saturating_mul(1_000),
        passes: route.passes.sold.iter().filter_map(|pass| pass::terms(pass, direct_s)).collect(),
        pass_scope: pass::scope(&route.passes, &id),
        id,
    }
}

/// What a route costs by its configuration alone. `None` where not every token has a price.
fn fixed_terms(due: &DueConfig, direct_s: u64) -> Option<Terms> {
    let rail = due.rail.unwrap_or(Rail::Direct);
    let one = |accept: &AcceptConfig| {
        let price = accept.price.as_ref()?;
        Some((offer(accept, price.atomic, rail, due.settle_first, direct_s), price.micros))
    };
    let priced: Option<Vec<_>> = due.accepts.iter().map(one).collect();
    let (offers, micros): (Vec<_>, Vec<_>) = priced?.into_iter().unzip();
    Some(Terms {
        offers,
        rail,
        exposure_micros: micros.into_iter().max()?,
        settle_first: due.settle_first,
        sells: None,
    })
}

fn offer(accept: &AcceptConfig, amount_atomic: u128, rail: Rail, settle_first: bool, direct_s: u64) -> Offer {
    let (settlement, max_timeout_s) = match rail {
        Rail::Direct => ("direct", direct_s),
        Rail::Tab => ("tab", TAB_TIMEOUT_S),
    };
    let extra = OfferExtra::default().with_settlement(settlement);
    Offer {
        asset_info: accept.token.clone(),
        amount_atomic,
        payee: accept.payee,
        max_timeout_s,
        extra: if settle_first { extra.with_upfront() } else { extra },
    }
}
