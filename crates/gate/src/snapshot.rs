//! Routes and prices, compiled and immutable. A new configuration is a new snapshot.

use std::sync::Arc;

use ledger::{Exposure, Rail};
use protocol::{Asset, AssetInfo, Offer, Payer};

use crate::{Call, Pattern, Sale};

/// What a call costs. Zero is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    /// Nothing; the call is passed on.
    Free,
    /// One of the offers.
    Due(Terms),
    /// What the price endpoint says for the call, in one of these tokens.
    Quoted(Vec<AssetInfo>),
}

/// What a priced call costs, and when its money moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Any one of these pays.
    pub offers: Vec<Offer>,
    /// When the money moves.
    pub rail: Rail,
    /// The price in millionths of a dollar, rounded up: what a call adds to the exposure.
    pub exposure_micros: u64,
    /// Whether the money moves before the upstream is run.
    pub settle_first: bool,
    /// What is bought besides the call.
    pub sells: Option<Sale>,
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
    /// Who passes unpaid, by proof of the key. Where it is not empty, a free route is for these alone.
    pub allowlist: Vec<Payer>,
    /// For so long a payer gets a resource again that he has paid for, by proof of the key.
    pub reentry_ms: u64,
    /// Passes that are sold with a call, each an offer of its own beside the price; told apart by their amounts.
    pub passes: Vec<Terms>,
    /// Passes of which name open it, and those of its own id; `None` where none do.
    pub pass_scope: Option<String>,
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
    /// Who passes unpaid on every route, by proof of the key.
    pub allowlist: Vec<Payer>,
    /// Whether calls with a payment are passed on unpaid while nobody can verify it.
    pub fail_open: bool,
    /// How long a duplicate waits for the first call's end.
    pub replay_wait_ms: u64,
    /// What must be left of an authorization's validity on `direct`: the upstream's time to answer and the settlement's to confirm.
    pub remaining_min_s: u64,
    /// The same on the tab: besides, how long it may wait to be settled.
    pub tab_remaining_min_s: u64,
    /// How much may be on the tab.
    pub caps: Exposure,
    /// Whether a payer with a settled payment and none that failed is served on the tab without a look at the chain.
    pub verify_local: bool,
    /// Earlier snapshots whose offers are still honoured, newest first.
    pub honoured: Vec<Honoured>,
    /// Whether a payment must carry an identifier, by which it can be told from another for the same.
    pub identifier_required: bool,
    /// By how much a payer's clock may be ahead.
    pub skew_s: u64,
}

/// An earlier snapshot, whose offers callers may have signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Honoured {
    /// What was asked for then. Its own earlier ones do not count.
    pub snapshot: Arc<Snapshot>,
    /// Until when: the longest validity of its offers after it was replaced.
    pub until_ms: u64,
}

/// What a call costs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote<'a> {
    /// Nothing.
    Free,
    /// It is not served.
    Blocked,
    /// Nothing, for those on the route's allowlist; nobody else is served.
    Listed,
    /// One of these offers, on this route.
    Due(&'a Route, &'a Terms),
    /// The price endpoint did not say.
    Unknown,
}

impl Snapshot {
    /// The position of the first route that covers a method and a normalised path.
    #[must_use]
    pub fn position(&self, method: &str, path: &str) -> Option<usize> {
        self.routes.iter().position(|route| route.covers(method, path))
    }

    /// Whether some route sells what is at a normalised path, by whatever method.
    #[must_use]
    pub fn is_priced(&self, path: &str) -> bool {
        self.routes.iter().any(|route| route.price != Price::Free && route.pattern.matches(path))
    }

    /// The first route that covers a method and a normalised path.
    #[must_use]
    pub fn find(&self, method: &str, path: &str) -> Option<&Route> {
        self.routes.get(self.position(method, path)?)
    }

    /// What a call costs. Asks nobody.
    #[must_use]
    pub fn quote<'a>(&self, call: &Call<'a>) -> Quote<'a> {
        let Some(route) = call.route else {
            return match self.default_action {
                DefaultAction::Block => Quote::Blocked,
                DefaultAction::Passthrough => Quote::Free,
            };
        };
        match (&route.price, call.quoted.first()) {
            (Price::Free, _) if route.allowlist.is_empty() => Quote::Free,
            (Price::Free, _) => Quote::Listed,
            (Price::Due(terms), _) | (Price::Quoted(_), Some(terms)) => Quote::Due(route, terms),
            (Price::Quoted(_), None) => Quote::Unknown,
        }
    }

    /// Whether an address passes unpaid here, once it has proved that it has the key.
    #[must_use]
    pub fn lists(&self, route: Option<&Route>, payer: Payer) -> bool {
        let on_route = route.is_some_and(|route| route.allowlist.contains(&payer));
        on_route || self.allowlist.contains(&payer)
    }

    /// The token of an asset, on whatever route it is accepted.
    #[must_use]
    pub fn asset_info(&self, asset: Asset) -> Option<&AssetInfo> {
        let quoted = self.routes.iter().flat_map(|route| match &route.price {
            Price::Quoted(tokens) => tokens.iter(),
            Price::Free | Price::Due(_) => [].iter(),
        });
        self.offers().map(|offer| &offer.asset_info).chain(quoted).find(|token| token.asset == asset)
    }

    /// What else is honoured for a call: what its price endpoint said before, and what it cost before a change of configuration
    /// that callers may not have heard of, newest first.
    pub(crate) fn earlier<'a>(
        &'a self,
        call: &'a Call<'a>,
        now_ms: u64,
    ) -> impl Iterator<Item = (&'a Route, &'a Terms)> {
        let quoted =
            call.route.into_iter().flat_map(|route| call.quoted.iter().skip(1).map(move |terms| (route, terms)));
        let honoured = self.honoured.iter().filter(move |honoured| now_ms < honoured.until_ms);
        quoted.chain(honoured.flat_map(|honoured| {
            let route = honoured.snapshot.find(call.method, call.path);
            let own = route.and_then(|route| match &route.price {
                Price::Due(terms) => Some((route, terms)),
                Price::Free | Price::Quoted(_) => None,
            });
            own.into_iter()
                .chain(route.into_iter().flat_map(|route| route.passes.iter().map(move |pass| (route, pass))))
        }))
    }

    /// How long an authorization must still be valid.
    #[must_use]
    pub const fn remaining_min_s(&self, rail: Rail) -> u64 {
        match rail {
            Rail::Direct => self.remaining_min_s,
            Rail::Tab => self.tab_remaining_min_s,
        }
    }

    /// Every offer of every route.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.routes.iter().flat_map(|route| {
            let own = match &route.price {
                Price::Free | Price::Quoted(_) => [].iter(),
                Price::Due(terms) => terms.offers.iter(),
            };
            own.chain(route.passes.iter().flat_map(|pass| pass.offers.iter()))
        })
    }
}

impl Route {
    /// Everything that pays for a call at these terms: they themselves, and the passes that are sold beside them.
    #[must_use]
    pub fn offers(&self, terms: &Terms) -> Vec<Offer> {
        terms.offers.iter().chain(self.passes.iter().flat_map(|pass| &pass.offers)).cloned().collect()
    }

    fn covers(&self, method: &str, path: &str) -> bool {
        let covered = self.method.as_deref().is_none_or(|own| {
            own.eq_ignore_ascii_case(method) || (own == "GET" && method.eq_ignore_ascii_case("HEAD"))
        });
        covered && self.pattern.matches(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Presented;
    use alloy_primitives::Address;
    use protocol::{Network, OfferExtra, Payee};

    fn snapshot(default_action: DefaultAction) -> Snapshot {
        let offer = Offer {
            asset_info: AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap(),
            amount_atomic: 1,
            payee: Payee(Address::repeat_byte(1)),
            max_timeout_s: 60,
            extra: OfferExtra::default(),
        };
        let terms =
            Terms { offers: vec![offer], rail: Rail::Direct, exposure_micros: 1, settle_first: false, sells: None };
        let route = |path: &str, method: Option<&str>, price| Route {
            id: path.to_owned(),
            pattern: Pattern::parse(path).unwrap(),
            method: method.map(str::to_owned),
            price,
            allowlist: Vec::new(),
            reentry_ms: 0,
            passes: Vec::new(),
            pass_scope: None,
        };
        Snapshot {
            routes: vec![
                route("/paid/free", None, Price::Free),
                route("/paid/*", Some("GET"), Price::Due(terms.clone())),
                route("/paid/*", None, Price::Free),
                route("/all", None, Price::Due(terms)),
            ],
            default_action,
            allowlist: Vec::new(),
            fail_open: false,
            replay_wait_ms: 0,
            remaining_min_s: 0,
            tab_remaining_min_s: 0,
            caps: Exposure::default(),
            verify_local: false,
            honoured: Vec::new(),
            identifier_required: false,
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
            let call = Call {
                method,
                path,
                url: path,
                presented: Presented::Nothing,
                idempotency: None,
                source: ledger::Source([0; 16]),
                route: snapshot.find(method, path),
                quoted: &[],
                signed_in: None,
            };
            let got = match snapshot.quote(&call) {
                Quote::Free => "free",
                Quote::Blocked => "blocked",
                Quote::Listed | Quote::Unknown => "neither",
                Quote::Due(route, _) => route.id.as_str(),
            };
            assert_eq!(got, want, "{method} {path}");
        }
    }
}
