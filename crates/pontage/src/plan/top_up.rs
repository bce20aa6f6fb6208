//! Payments that raise a balance: how much they may be, and what the flow judges them by.

use gate::{DefaultAction, Pattern, Price, Route, Sale, Snapshot, Terms};
use ledger::{KeyId, Rail, Unit};
use protocol::{AssetInfo, Payee, parse_decimal, print_decimal};
use serde_json::json;

use super::{AcceptConfig, offer};
use crate::config::Config;

/// The decimal places of a millionth.
const MICRO_DECIMALS: u8 = 6;

/// What may be paid into balances.
#[derive(Debug)]
pub(crate) struct TopUp {
    /// In which tokens.
    tokens: Vec<AssetInfo>,
    payee: Payee,
    credit_micros: u64,
    /// At least, and at most, in millionths of a dollar.
    pub(crate) least_micros: u64,
    pub(crate) most_micros: u64,
    direct_s: u64,
    /// As the gate judges calls, without its routes.
    base: Snapshot,
}

/// What was asked for, as it is offered: a route of its own, with one price.
pub(crate) struct Asked {
    pub(crate) snapshot: Snapshot,
}

impl TopUp {
    pub(super) fn of(config: &Config, snapshot: &Snapshot, direct_s: u64) -> Option<Self> {
        let accounts = config.accounts.as_ref()?;
        let tokens: Vec<_> = config.networks.iter().flat_map(|network| network.tokens.iter().cloned()).collect();
        let (least_micros, most_micros) = accounts.topup_micros;
        let base = Snapshot {
            routes: Vec::new(),
            default_action: DefaultAction::Block,
            allowlist: Vec::new(),
            // What nobody can verify is no balance.
            fail_open: false,
            replay_wait_ms: snapshot.replay_wait_ms,
            remaining_min_s: snapshot.remaining_min_s,
            tab_remaining_min_s: snapshot.tab_remaining_min_s,
            caps: snapshot.caps,
            verify_local: false,
            honoured: Vec::new(),
            identifier_required: snapshot.identifier_required,
            skew_s: snapshot.skew_s,
        };
        let (payee, credit_micros) = (config.payee, accounts.credit_micros);
        let top_up = Self { tokens, payee, credit_micros, least_micros, most_micros, direct_s, base };
        (!top_up.tokens.is_empty()).then_some(top_up)
    }

    /// What so many millionths of a dollar come to in a unit, rounded down; nothing where balances of it are not sold.
    pub(crate) fn units(&self, micros: u64, unit: Unit) -> u64 {
        match unit {
            Unit::Usd => micros,
            Unit::Credit => micros.checked_div(self.credit_micros).unwrap_or_default(),
            Unit::Call => 0,
        }
    }

    /// What an amount costs, in each token that can say it exactly. `None` where none can.
    pub(crate) fn asked(&self, micros: u64, key: KeyId, unit: Unit) -> Option<Asked> {
        let amount = self.units(micros, unit);
        let dollars = print_decimal(u128::from(micros), MICRO_DECIMALS);
        let says = json!({ "unit": unit.code(), "amount": amount });
        let in_token = |token: &AssetInfo| {
            let atomic = parse_decimal(&dollars, token.decimals).ok().filter(|atomic| *atomic > 0)?;
            let accept = AcceptConfig { token: token.clone(), payee: self.payee, price: None };
            let mut offer = offer(&accept, atomic, Rail::Direct, false, self.direct_s);
            offer.extra = offer.extra.with("topup", says.clone());
            Some(offer)
        };
        let offers: Vec<_> = self.tokens.iter().filter_map(in_token).collect();
        if offers.is_empty() {
            return None;
        }
        let sells = Some(Sale { key: Some(key), unit, amount, valid_ms: None });
        let terms = Terms { offers, rail: Rail::Direct, exposure_micros: micros, settle_first: false, sells };
        let route = Route {
            id: "top-up".to_owned(),
            pattern: Pattern::parse("/__pay/topup").expect("a path of ours"),
            method: None,
            price: Price::Due(terms),
            allowlist: Vec::new(),
            reentry_ms: 0,
            passes: Vec::new(),
            pass_scope: None,
        };
        Some(Asked { snapshot: Snapshot { routes: vec![route], ..self.base.clone() } })
    }
}
