//! Passes as offers.

use gate::{PassKind, Sale, Terms};
use ledger::{Rail, Unit};
use protocol::print_decimal;
use serde_json::{Value, json};

use super::offer;
use crate::config::{PassConfig, RoutePasses};

/// What a pass costs and what is bought with it. `None` where a token has no price, which the configuration has seen to.
pub(super) fn terms(pass: &PassConfig, direct_s: u64) -> Option<Terms> {
    let says = says(pass);
    let one = |accept: &_| {
        let crate::config::AcceptConfig { price, .. } = accept;
        let price = price.as_ref()?;
        let mut offer = offer(accept, price.atomic, Rail::Direct, false, direct_s);
        offer.extra = offer.extra.with("pass", says.clone());
        Some((offer, price.micros))
    };
    let priced: Option<Vec<_>> = pass.accepts.iter().map(one).collect();
    let (offers, micros): (Vec<_>, Vec<_>) = priced?.into_iter().unzip();
    let unit = pass.kind.unit().unwrap_or(Unit::Call);
    let valid_ms = pass.valid_s.map(|seconds| seconds.saturating_mul(1_000));
    let sells = Some(Sale { key: None, unit, amount: pass.amount, valid_ms });
    Some(Terms { offers, rail: Rail::Direct, exposure_micros: micros.into_iter().max()?, settle_first: false, sells })
}

/// What the offer says of it, in `extra`.
fn says(pass: &PassConfig) -> Value {
    let mut says = json!({ "kind": pass.kind.code() });
    match pass.kind {
        PassKind::Time => {}
        PassKind::Calls => says["calls"] = pass.amount.into(),
        PassKind::Amount => says["usd"] = print_decimal(u128::from(pass.amount), 6).into(),
    }
    if let Some(seconds) = pass.valid_s {
        says["seconds"] = seconds.into();
    }
    says
}

/// The name of the passes that open a route, where some do: its own where it sells some and shares none.
pub(super) fn scope(passes: &RoutePasses, route: &str) -> Option<String> {
    passes.scope.clone().or_else(|| (!passes.sold.is_empty()).then(|| route.to_owned()))
}
