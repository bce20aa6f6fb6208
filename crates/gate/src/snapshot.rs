//! Routes and prices, compiled and immutable. A new configuration is a new snapshot.

use protocol::{Asset, AssetInfo, Offer};

use crate::{Call, Pattern};

/// What a call costs. Zero is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    /// Nothing; the call is passed on.
    Free,
    /// One of these.
    Due(Vec<Offer>),
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Stable name; holds refer to it.
    pub id: String,
    /// Which paths.
    pub pattern: Pattern,
    /// Which method, in capitals; `None` for any. GET covers HEAD.
    pub method: Option<String>,
    /// What it costs.
    pub price: Price,
}

/// What happens to a call that no route covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// It is refused.
    Block,
    /// It is passed on unpaid.
    Passthrough,
}

/// Everything that a call is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// First match wins.
    pub routes: Vec<Route>,
    /// For the rest.
    pub default_action: DefaultAction,
    /// How long a duplicate waits for the first call's end.
    pub replay_wait_ms: u64,
    /// What must be left of an authorization's validity: the upstream's time to answer and the settlement's to confirm.
    pub remaining_min_s: u64,
    /// By how much a payer's clock may be ahead.
    pub skew_s: u64,
}

/// What a call costs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote<'a> {
    /// Nothing.
    Free,
    /// It is not served.
    Blocked,
    /// One of these offers, on this route.
    Due(&'a Route, &'a [Offer]),
}

impl Snapshot {
    /// Finds the first route that covers the call.
    #[must_use]
    pub fn quote(&self, call: &Call<'_>) -> Quote<'_> {
        match self.routes.iter().find(|route| route.covers(call)) {
            None if self.default_action == DefaultAction::Block => Quote::Blocked,
            None => Quote::Free,
            Some(route) => match &route.price {
                Price::Free => Quote::Free,
                Price::Due(offers) => Quote::Due(route, offers),
            },
        }
    }

    /// The token of an asset, on whatever route it is accepted.
    #[must_use]
    pub fn asset_info(&self, asset: Asset) -> Option<&AssetInfo> {
        self.offers().map(|offer| &offer.asset_info).find(|token| token.asset == asset)
    }

    /// Every offer of every route.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.routes.iter().flat_map(|route| match &route.price {
            Price::Free => [].iter(),
            Price::Due(offers) => offers.iter(),
        })
    }
}

impl Route {
    fn covers(&self, call: &Call<'_>) -> bool {
        let method = self.method.as_deref().is_none_or(|method| {
            method.eq_ignore_ascii_case(call.method) || (method == "GET" && call.method.eq_ignore_ascii_case("HEAD"))
        });
        method && self.pattern.matches(call.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Presented;
    use alloy_primitives::Address;
    use protocol::{Network, Payee};

    fn snapshot(default_action: DefaultAction) -> Snapshot {
        let offer = Offer {
            asset_info: AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap(),
            amount_atomic: 1,
            payee: Payee(Address::repeat_byte(1)),
            max_timeout_s: 60,
        };
        let route = |path: &str, method: Option<&str>, price| Route {
            id: path.to_owned(),
            pattern: Pattern::parse(path).unwrap(),
            method: method.map(str::to_owned),
            price,
        };
        Snapshot {
            routes: vec![
                route("/paid/free", None, Price::Free),
                route("/paid/*", Some("GET"), Price::Due(vec![offer.clone()])),
                route("/paid/*", None, Price::Free),
                route("/all", None, Price::Due(vec![offer])),
            ],
            default_action,
            replay_wait_ms: 0,
            remaining_min_s: 0,
            skew_s: 0,
        }
    }

    #[test]
    fn quote_table() {
        for (method, path, default_action, want) in [
            ("GET", "/paid/x", DefaultAction::Block, "/paid/*"),
            ("HEAD", "/paid/x", DefaultAction::Block, "/paid/*"),
            ("head", "/PAID/x", DefaultAction::Block, "/paid/*"),
            ("get", "/paid/x", DefaultAction::Block, "/paid/*"),
            ("POST", "/paid/x", DefaultAction::Block, "free"),
            ("GET", "/paid/free", DefaultAction::Block, "free"),
            ("DELETE", "/all", DefaultAction::Block, "/all"),
            ("GET", "/other", DefaultAction::Block, "blocked"),
            ("GET", "/other", DefaultAction::Passthrough, "free"),
        ] {
            let snapshot = snapshot(default_action);
            let call = Call { method, path, url: path, presented: Presented::Nothing, idempotency: None };
            let got = match snapshot.quote(&call) {
                Quote::Free => "free",
                Quote::Blocked => "blocked",
                Quote::Due(route, _) => route.id.as_str(),
            };
            assert_eq!(got, want, "{method} {path}");
        }
    }
}
