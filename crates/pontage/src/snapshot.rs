//! From a checked configuration to what the gate judges by.

use gate::{Price, Route, Snapshot};
use protocol::{Offer, parse_decimal};

use crate::config::{Config, PriceConfig, RouteConfig};

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

/// Compiles a configuration.
pub(crate) fn compile(config: &Config) -> Snapshot {
    let upstream_s = config.timeout_ms.div_ceil(1_000);
    let remaining_min_s = upstream_s.saturating_add(SETTLE_BUDGET_MS.div_ceil(1_000)).saturating_add(OVERHEAD_S);
    let max_timeout_s = remaining_min_s.saturating_add(MARGIN_S).max(DIRECT_MIN_S);
    Snapshot {
        routes: config.routes.iter().map(|route| compile_route(config, route, max_timeout_s)).collect(),
        default_action: config.default_action,
        replay_wait_ms: config.replay.wait_ms,
        remaining_min_s,
        skew_s: SKEW_S,
    }
}

fn compile_route(config: &Config, route: &RouteConfig, max_timeout_s: u64) -> Route {
    let method = route.method.as_ref().map(|method| method.as_str().to_owned());
    let price = match &route.price {
        PriceConfig::Free => Price::Free,
        PriceConfig::Due { dollars } => {
            let tokens = config.networks.iter().flat_map(|network| &network.tokens);
            let offer = |token: &protocol::AssetInfo| Offer {
                asset_info: token.clone(),
                amount_atomic: parse_decimal(dollars, token.decimals)
                    .expect("the configuration checked every price against every token"),
                payee: config.payee,
                max_timeout_s,
            };
            Price::Due(tokens.map(offer).collect())
        }
    };
    Route {
        id: format!("{} {}", method.as_deref().unwrap_or("*"), route.path),
        pattern: route.path.clone(),
        method,
        price,
    }
}
