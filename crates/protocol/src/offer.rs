//! One acceptable way to pay.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{Amount, AssetInfo, Network, Payee};

/// An offer of the scheme `exact` over EIP-3009: x402 `PaymentRequirements`, `accepts[i]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The token, with the EIP-712 domain that the payer signs under.
    pub asset_info: AssetInfo,
    /// What the call costs, in atomic units.
    pub amount_atomic: u128,
    /// Who is paid.
    pub payee: Payee,
    /// How long a payer may make the authorization valid, counted from now.
    pub max_timeout_s: u64,
    /// What else the offer says.
    pub extra: OfferExtra,
}

impl Offer {
    /// The price with its asset.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount::new(self.amount_atomic, self.asset_info.asset)
    }

    /// The chain on which the offer is paid.
    #[must_use]
    pub fn network(&self) -> Network {
        self.asset_info.asset.network
    }
}

/// The members of `extra` beside the token's `name` and `version`. A payer repeats all of them, also those that he does not
/// know. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferExtra(Option<Arc<Map<String, Value>>>);

impl OfferExtra {
    /// The same with one more member, or with another value of it.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        let mut members = self.0.map(Arc::unwrap_or_clone).unwrap_or_default();
        members.insert(name.to_owned(), value.into());
        Self(Some(Arc::new(members)))
    }

    /// With `settlement`: `direct` is settled before the answer, `tab` later.
    #[must_use]
    pub fn with_settlement(self, word: &'static str) -> Self {
        self.with("settlement", word)
    }

    /// With `facilitator`: the http(s) URL of who settles.
    #[must_use]
    pub fn with_facilitator(self, url: &str) -> Self {
        self.with("facilitator", url)
    }

    /// With `paymentFlow: upfront`: the money moves before the call runs. Without it the flow is `authorization`, which is
    /// never written.
    #[must_use]
    pub fn with_upfront(self) -> Self {
        self.with("paymentFlow", "upfront")
    }

    /// The member of this name; `null` is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members().and_then(|members| members.get(name)).filter(|value| !value.is_null())
    }

    /// Whether every member of `other` is here with the same value.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut asked = other.members().into_iter().flatten();
        asked.all(|(name, value)| self.members().and_then(|members| members.get(name)) == Some(value))
    }

    /// Reads `extra`, which may be anything.
    pub(crate) fn read(extra: Option<&Value>) -> Self {
        let members = extra.and_then(Value::as_object).into_iter().flatten();
        Self::others(members.map(|(name, value)| (name.as_str(), value)), Value::clone)
    }

    /// Those members of an `extra` that are kept here.
    pub(crate) fn others<'a, T>(members: impl Iterator<Item = (&'a str, &'a T)>, value: impl Fn(&'a T) -> Value) -> Self
    where
        T: 'a,
    {
        let others: Map<_, _> = members
            .filter(|(name, _)| !matches!(*name, "name" | "version"))
            .map(|(name, member)| (name.to_owned(), value(member)))
            .collect();
        Self((!others.is_empty()).then(|| Arc::new(others)))
    }

    /// `extra` as it is written.
    pub(crate) fn print(&self, token: &AssetInfo) -> Value {
        let mut members = self.members().cloned().unwrap_or_default();
        members.insert("name".to_owned(), token.name.as_str().into());
        members.insert("version".to_owned(), token.version.as_str().into());
        members.into()
    }

    fn members(&self) -> Option<&Map<String, Value>> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_covers_what() {
        let ours = OfferExtra::default().with_settlement("tab").with_facilitator("https://f.example");
        let more = ours.clone().with("memo", 7);
        for (have, want, covers) in [
            (&OfferExtra::default(), &OfferExtra::default(), true),
            (&ours, &OfferExtra::default(), true),
            (&more, &ours, true),
            (&ours, &more, false),
            (&OfferExtra::default(), &ours, false),
            (&ours.clone().with_settlement("direct"), &ours, false),
            (&ours, &ours.clone().with_upfront(), false),
        ] {
            assert_eq!(have.covers(want), covers, "{have:?} {want:?}");
        }
    }

    #[test]
    fn the_words_on_the_wire() {
        let token = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap();
        let extra =
            OfferExtra::default().with_settlement("direct").with_facilitator("https://f.example").with_upfront();
        let printed = extra.print(&token);
        let want = json!({
            "name": "USDC", "version": "2", "settlement": "direct", "facilitator": "https://f.example",
            "paymentFlow": "upfront",
        });
        assert_eq!(printed, want);
        assert_eq!(OfferExtra::read(Some(&printed)), extra);
        assert_eq!(OfferExtra::default().print(&token), json!({"name": "USDC", "version": "2"}));
        for odd in [json!(null), json!(7), json!([1]), json!({}), json!({"name": 1, "version": []})] {
            assert_eq!(OfferExtra::read(Some(&odd)), OfferExtra::default(), "{odd}");
        }
    }
}
