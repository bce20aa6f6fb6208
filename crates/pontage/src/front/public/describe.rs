//! The manifest and the x402 descriptor.

use gate::{DefaultAction, Price, Route, Snapshot};
use ledger::Rail;
use protocol::print_decimal;
use protocol::x402::Challenge;
use serde_json::{Map, Value, json};

use crate::config::{Config, DiscoveryConfig, DueConfig, PriceConfig, RouteConfig};

/// `/__pay/manifest`.
pub(super) fn manifest(config: &Config, snapshot: &Snapshot) -> Value {
    let route = |(route, compiled): (&RouteConfig, &Route)| {
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
                let is_dynamic = due.endpoint.is_some() || (due.tariff.is_some() && due.accepts.is_empty());
                entry.insert("dynamic".to_owned(), is_dynamic.into());
                if let Some(tariff) = &due.tariff {
                    let told = json!({ "metered": tariff.is_metered(), "alone": due.accepts.is_empty() });
                    entry.insert("accounts".to_owned(), told);
                }
                entry.insert("settlement".to_owned(), rail(due).into());
                entry.insert("accepts".to_owned(), offers(compiled).into());
            }
        }
        words(route, &mut entry);
        Value::Object(entry)
    };
    json!({
        "routes": config.routes.iter().zip(&snapshot.routes).map(route).collect::<Vec<_>>(),
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
pub(super) fn well_known(config: &Config, snapshot: &Snapshot) -> Value {
    let endpoint = |(route, compiled): (&RouteConfig, &Route)| {
        let accepts = offers(compiled);
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
        "endpoints": config.routes.iter().zip(&snapshot.routes).filter_map(endpoint).collect::<Vec<_>>(),
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

/// When the money moves, as the configuration calls it. `None` where the price endpoint decides, or accounts alone pay.
pub(crate) fn rail(due: &DueConfig) -> Option<&'static str> {
    due.rail.filter(|_| due.tariff.is_none() || !due.accepts.is_empty()).map(|rail| match rail {
        Rail::Direct => "direct",
        Rail::Tab => "tab",
    })
}

/// The offers of a route as its 402 has them. None where a price endpoint is asked first.
fn offers(route: &Route) -> Vec<Value> {
    let Price::Due(terms) = &route.price else { return Vec::new() };
    let challenge = Challenge { offers: terms.offers.clone(), ..Challenge::default() };
    challenge.to_v2().get("accepts").and_then(Value::as_array).cloned().unwrap_or_default()
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
