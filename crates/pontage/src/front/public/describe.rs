//! The manifest and the x402 descriptor.

use gate::DefaultAction;
use ledger::Rail;
use protocol::print_decimal;
use serde_json::{Map, Value, json};

use crate::config::{AcceptConfig, Config, DiscoveryConfig, DueConfig, PriceConfig, RouteConfig};

/// The `maxTimeoutSeconds` of offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) direct_s: u64,
    pub(crate) tab_s: u64,
}

impl Timeouts {
    fn of(self, due: &DueConfig) -> u64 {
        match due.rail {
            Some(Rail::Tab) => self.tab_s,
            Some(Rail::Direct) | None => self.direct_s,
        }
    }
}

/// `/__pay/manifest`.
pub(super) fn manifest(config: &Config, timeouts: Timeouts) -> Value {
    let route = |route: &RouteConfig| {
        let mut entry = Map::from_iter([
            ("path".to_owned(), route.path.as_str().into()),
            ("method".to_owned(), route.method.as_ref().map_or("*", |method| method.as_str()).into()),
        ]);
        match &route.price {
            PriceConfig::Free => {
                entry.insert("free".to_owned(), true.into());
                if !route.allowlist.is_empty() {
                    entry.insert("restricted".to_owned(), true.into());
                }
            }
            PriceConfig::Due(due) => {
                entry.insert("free".to_owned(), false.into());
                entry.insert("price".to_owned(), dollars(due).into());
                entry.insert("dynamic".to_owned(), due.endpoint.is_some().into());
                entry.insert("settlement".to_owned(), rail(due).into());
                entry.insert("accepts".to_owned(), offers(due, timeouts).into());
            }
        }
        words(route, &mut entry);
        Value::Object(entry)
    };
    json!({
        "routes": config.routes.iter().map(route).collect::<Vec<_>>(),
        "default_action": match config.default_action {
            DefaultAction::Block => "block",
            DefaultAction::Passthrough => "passthrough",
        },
        "provider_address": config.payee.to_string(),
        "discovery": discovery(&config.discovery),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// `/.well-known/x402`: paid routes whose price is known. `payTo`, `network` and `asset` are those that are preferred; what each
/// endpoint takes besides stands in its `accepts`.
pub(super) fn well_known(config: &Config, timeouts: Timeouts) -> Value {
    let endpoint = |route: &RouteConfig| {
        let PriceConfig::Due(due) = &route.price else { return None };
        if due.endpoint.is_some() {
            return None;
        }
        let accepts = offers(due, timeouts);
        let mut entry = Map::from_iter([
            ("path".to_owned(), route.path.as_str().into()),
            ("method".to_owned(), method(route).into()),
            ("paymentRequirements".to_owned(), accepts.first()?.clone()),
        ]);
        if accepts.len() > 1 {
            entry.insert("accepts".to_owned(), accepts.into());
        }
        words(route, &mut entry);
        Some(Value::Object(entry))
    };
    let preferred = config.networks.first();
    let networks: Vec<_> = config.networks.iter().map(|network| network.network.to_string()).collect();
    json!({
        "x402Version": 2,
        "payTo": config.payee.to_string(),
        "network": preferred.map(|network| network.network.to_string()),
        "asset": preferred.and_then(|network| network.tokens.first()).map(|token| token.asset.address.to_string()),
        "networks": networks,
        "endpoints": config.routes.iter().filter_map(endpoint).collect::<Vec<_>>(),
    })
}

/// What is said of a service that may be listed.
pub(crate) fn discovery(config: &DiscoveryConfig) -> Value {
    if !config.discoverable {
        return json!({ "discoverable": false });
    }
    json!({
        "discoverable": true,
        "base_url": config.base_url,
        "name": config.name,
        "description": config.description,
        "keywords": config.keywords,
        "category": config.category,
        "website": config.website,
        "docs_url": config.docs_url,
    })
}

/// The route's method, or the one of its bazaar block, or GET.
pub(crate) fn method(route: &RouteConfig) -> &str {
    let described = || route.info.as_ref()?.get("input")?.get("method")?.as_str();
    route.method.as_ref().map(|method| method.as_str()).or_else(described).unwrap_or("GET")
}

/// The price in dollars where the configuration has one: in the first token, whose decimals show it exactly.
pub(crate) fn dollars(due: &DueConfig) -> Option<String> {
    let accept = due.accepts.iter().find(|accept| accept.price.is_some())?;
    let price = accept.price.as_ref()?;
    Some(print_decimal(price.atomic, accept.token.decimals))
}

/// When the money moves, as the configuration calls it. `None` where the price endpoint decides.
pub(crate) fn rail(due: &DueConfig) -> Option<&'static str> {
    due.rail.map(|rail| match rail {
        Rail::Direct => "direct",
        Rail::Tab => "tab",
    })
}

fn offers(due: &DueConfig, timeouts: Timeouts) -> Vec<Value> {
    let offer = |accept: &AcceptConfig| {
        let price = accept.price.as_ref()?;
        let token = &accept.token;
        Some(json!({
            "scheme": "exact",
            "network": token.asset.network.to_string(),
            "amount": price.atomic.to_string(),
            "asset": token.asset.address.to_string(),
            "payTo": accept.payee.to_string(),
            "maxTimeoutSeconds": timeouts.of(due),
            "extra": { "name": token.name, "version": token.version },
        }))
    };
    due.accepts.iter().filter_map(offer).collect()
}

/// What the payee says of a route.
fn words(route: &RouteConfig, entry: &mut Map<String, Value>) {
    let said = [
        ("description", route.description.clone().map(Value::from)),
        ("mimeType", route.mime_type.clone().map(Value::from)),
        ("info", route.info.clone()),
        ("routeTemplate", route.template.clone().map(Value::from)),
    ];
    entry.extend(said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
}
