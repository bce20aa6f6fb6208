//! From a checked configuration to what the gate judges by.

use std::sync::Arc;

use gate::{Honoured, Price, Route, Snapshot, Terms};
use ledger::Rail;
use protocol::{Offer, OfferExtra};

use crate::config::{AcceptConfig, Config, PriceConfig, RouteConfig};

/// After this long without a receipt a `direct` settlement is Unknown.
pub(crate) const SETTLE_BUDGET_MS: u64 = 15_000;
/// What admission, the journal and connecting to the upstream may take besides.
const OVERHEAD_S: u64 = 15;
/// What a payer has, beyond the call and its settlement, between signing and arriving.
const MARGIN_S: u64 = 30;
/// By how much a payer's clock may be ahead of ours.
const SKEW_S: u64 = 30;
/// The shortest `maxTimeoutSeconds` of `direct`.
const DIRECT_MIN_S: u64 = 60;
/// The `maxTimeoutSeconds` of `tab`.
const TAB_TIMEOUT_S: u64 = 3_600;
/// How many earlier snapshots are honoured at most.
const HONOURED_MAX: usize = 8;

/// Compiles a configuration.
pub(crate) fn compile(config: &Config) -> Snapshot {
    let upstream_s = config.timeout_ms.div_ceil(1_000);
    let remaining_min_s = upstream_s.saturating_add(SETTLE_BUDGET_MS.div_ceil(1_000)).saturating_add(OVERHEAD_S);
    let max_timeout_s = remaining_min_s.saturating_add(MARGIN_S).max(DIRECT_MIN_S);
    Snapshot {
        routes: config.routes.iter().map(|route| compile_route(route, max_timeout_s)).collect(),
        default_action: config.default_action,
        replay_wait_ms: config.replay.wait_ms,
        remaining_min_s,
        tab_remaining_min_s: remaining_min_s.saturating_add(config.tab.settle_age_s),
        caps: config.tab.caps,
        verify_local: config.tab.verify_local,
        honoured: Vec::new(),
        skew_s: SKEW_S,
    }
}

/// Puts a new snapshot in the place of another, whose offers stay good for as long as a payer may have signed them.
pub(crate) fn replace(before: &Arc<Snapshot>, mut next: Snapshot, now_ms: u64) -> Snapshot {
    let longest_s = before.offers().map(|offer| offer.max_timeout_s).max().unwrap_or_default();
    let until_ms = now_ms.saturating_add(longest_s.saturating_mul(1_000));
    let alone = Arc::new(Snapshot { honoured: Vec::new(), ..before.as_ref().clone() });
    next.honoured = vec![Honoured { snapshot: alone, until_ms }];
    next.honoured.extend(before.honoured.iter().filter(|earlier| now_ms < earlier.until_ms).cloned());
    next.honoured.truncate(HONOURED_MAX);
    next
}

fn compile_route(route: &RouteConfig, direct_timeout_s: u64) -> Route {
    let method = route.method.as_ref().map(|method| method.as_str().to_owned());
    let price = match &route.price {
        PriceConfig::Free => Price::Free,
        PriceConfig::Due(due) => {
            let rail = due.rail.unwrap_or(Rail::Direct);
            let max_timeout_s = match rail {
                Rail::Direct => direct_timeout_s,
                Rail::Tab => TAB_TIMEOUT_S,
            };
            let offer = |accept: &AcceptConfig| {
                Some(Offer {
                    asset_info: accept.token.clone(),
                    amount_atomic: accept.price.as_ref()?.atomic,
                    payee: accept.payee,
                    max_timeout_s,
                    extra: OfferExtra::default(),
                })
            };
            let offers = due.accepts.iter().filter_map(offer).collect();
            let micros = due.accepts.iter().filter_map(|accept| Some(accept.price.as_ref()?.micros)).max();
            Price::Due(Terms { offers, rail, exposure_micros: micros.unwrap_or(u64::MAX), settle_first: false })
        }
    };
    Route {
        id: format!("{} {}", method.as_deref().unwrap_or("*"), route.path),
        pattern: route.path.clone(),
        method,
        price,
    }
}
