//! The 402: offers for one resource.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::ext::Extensions;
use super::header::decode_header;
use super::json::get;
use crate::{Asset, AssetAddress, AssetInfo, Network, Offer, OfferExtra, Payee, parse_atomic};

/// What is being paid for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// The URL that was asked for.
    pub url: String,
    /// What it is, for a person or an agent. Left out of the wire form when unset.
    pub description: Option<String>,
    /// The media type of the answer. Left out of the wire form when unset.
    pub mime_type: Option<String>,
}

impl Resource {
    fn print(&self) -> Value {
        let mut object = Map::new();
        let texts = [
            ("url", Some(&self.url)),
            ("description", self.description.as_ref()),
            ("mimeType", self.mime_type.as_ref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                object.insert(name.to_owned(), text.as_str().into());
            }
        }
        object.into()
    }

    fn parse(value: Option<&Value>) -> Self {
        let text = |name| value.and_then(|resource| get(resource, name)).and_then(Value::as_str).map(str::to_owned);
        Self { url: text("url").unwrap_or_default(), description: text("description"), mime_type: text("mimeType") }
    }
}

/// A 402 before it has a wire form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// What is being paid for.
    pub resource: Resource,
    /// Every acceptable way to pay, in the payee's order of preference.
    pub offers: Vec<Offer>,
    /// A refusal's code, or a sentence for the first 402.
    pub error: String,
    /// By name, what beside the offers is said or asked for. v1 has none of them.
    pub extensions: Extensions,
}

/// Why a 402 of another server cannot be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFault {
    /// Neither a `PAYMENT-REQUIRED` header nor a v1 body.
    #[error("the 402 is not x402")]
    NotX402,
    /// It is x402, but none of its offers is one that this wallet can read.
    #[error("the 402 holds no offer that this wallet can pay")]
    NoOffer,
}

impl Challenge {
    /// The v2 object for the `PAYMENT-REQUIRED` header.
    #[must_use]
    pub fn to_v2(&self) -> Value {
        json!({
            "x402Version": 2,
            "error": self.error,
            "resource": self.resource.print(),
            "accepts": self.offers.iter().map(print_offer).collect::<Vec<_>>(),
            // There also when it is empty: pay-gate's clients look into it.
            "extensions": self.extensions,
        })
    }

    /// The v1 `accepts` for the body: the first offer of each network that v1 has a name for. A v1 payment repeats no more than
    /// the network, so a second offer there could not be told from the first.
    #[must_use]
    pub fn to_v1_accepts(&self) -> Vec<Value> {
        let one = |offer: &Offer| {
            Some(json!({
                "scheme": "exact",
                "network": offer.network().v1_name()?,
                "maxAmountRequired": offer.amount_atomic.to_string(),
                "resource": self.resource.url,
                "description": self.resource.description.as_deref().unwrap_or_default(),
                "mimeType": self.resource.mime_type.as_deref().unwrap_or_default(),
                "payTo": offer.payee.to_string(),
                "maxTimeoutSeconds": offer.max_timeout_s,
                "asset": offer.asset_info.asset.address.to_string(),
                "extra": offer.extra.print(&offer.asset_info),
            }))
        };
        let mut seen = BTreeSet::new();
        self.offers.iter().filter(|offer| seen.insert(offer.network())).filter_map(one).collect()
    }

    /// Reads a v2 `PAYMENT-REQUIRED` header as a payer does. Offers of other schemes, chains, payment flows and transfer
    /// methods are left out: what we sign would not be what they ask for. Decimals are taken from the table of known tokens (6 where the token is not in it) and serve display alone.
    ///
    /// # Errors
    /// [`ChallengeFault`] when nothing in it can be paid.
    pub fn parse_v2(header: &[u8]) -> Result<Self, ChallengeFault> {
        let value = decode_header(header).map_err(|_| ChallengeFault::NotX402)?;
        if get(&value, "x402Version").and_then(Value::as_u64) != Some(2) {
            return Err(ChallengeFault::NotX402);
        }
        let accepts = get(&value, "accepts").and_then(Value::as_array).ok_or(ChallengeFault::NotX402)?;
        let offers: Vec<_> = accepts.iter().take(64).filter_map(parse_offer).collect();
        if offers.is_empty() {
            return Err(ChallengeFault::NoOffer);
        }
        let error = get(&value, "error").and_then(Value::as_str).unwrap_or_default();
        let resource = Resource::parse(get(&value, "resource"));
        let extensions = get(&value, "extensions").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(Self { resource, offers, error: error.to_owned(), extensions })
    }
}

/// An offer as v2 writes it, in `accepts` and in `accepted`.
pub(super) fn print_offer(offer: &Offer) -> Value {
    json!({
        "scheme": "exact",
        "network": offer.network().to_string(),
        "amount": offer.amount_atomic.to_string(),
        "asset": offer.asset_info.asset.address.to_string(),
        "payTo": offer.payee.to_string(),
        "maxTimeoutSeconds": offer.max_timeout_s,
        "extra": offer.extra.print(&offer.asset_info),
    })
}

fn parse_offer(value: &Value) -> Option<Offer> {
    let text = |object: &Map<String, Value>, name: &str| Some(object.get(name)?.as_str()?.to_owned());
    let object = value.as_object()?;
    if text(object, "scheme")? != "exact" {
        return None;
    }
    let network: Network = text(object, "network")?.parse().ok()?;
    let address: AssetAddress = text(object, "asset")?.parse().ok()?;
    let payee: Payee = text(object, "payTo")?.parse().ok()?;
    let extra = object.get("extra")?.as_object()?;
    let others = OfferExtra::read(object.get("extra"));
    let known = |name, words: &[&str]| others.get(name).is_none_or(|word| words.iter().any(|known| word == known));
    if !known("paymentFlow", &["authorization", "upfront"]) || !known("assetTransferMethod", &["eip3009"]) {
        return None;
    }
    let asset = Asset { network, address };
    let decimals = AssetInfo::usdc(network).filter(|token| token.asset == asset).map_or(6, |token| token.decimals);
    Some(Offer {
        asset_info: AssetInfo { asset, name: text(extra, "name")?, version: text(extra, "version")?, decimals },
        amount_atomic: parse_atomic(&text(object, "amount")?).ok()?,
        payee,
        max_timeout_s: object.get("maxTimeoutSeconds")?.as_u64()?,
        extra: others,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::encode_header;

    fn challenge() -> Challenge {
        Challenge {
            resource: Resource { url: "http://127.0.0.1:1/paid".to_owned(), ..Resource::default() },
            offers: vec![Offer {
                asset_info: AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap(),
                amount_atomic: 10_000,
                payee: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap(),
                max_timeout_s: 60,
                extra: OfferExtra::default(),
            }],
            error: "payment_required".to_owned(),
            extensions: Extensions::new(),
        }
    }

    #[test]
    fn a_printed_challenge_reads_back() {
        let challenge = challenge();
        let header = encode_header(&challenge.to_v2());
        assert_eq!(Challenge::parse_v2(header.as_bytes()), Ok(challenge));
    }

    #[test]
    fn optional_members_are_left_out_or_read_back() {
        let mut challenge = challenge();
        let bare = challenge.to_v2();
        assert_eq!(bare["resource"], json!({"url": "http://127.0.0.1:1/paid"}));
        assert_eq!(bare["extensions"], json!({}));
        assert_eq!(bare["accepts"][0]["extra"], json!({"name": "USDC", "version": "2"}));
        let v1 = &challenge.to_v1_accepts()[0];
        assert_eq!((&v1["description"], &v1["mimeType"]), (&json!(""), &json!("")));

        challenge.resource.description = Some("The weather".to_owned());
        challenge.resource.mime_type = Some("application/json".to_owned());
        challenge.extensions.insert("payment-identifier".to_owned(), json!({"info": {"required": false}}));
        challenge.offers[0].extra = OfferExtra::default().with_settlement("tab").with_upfront();
        let full = challenge.to_v2();
        assert_eq!(full["resource"]["description"], "The weather");
        assert_eq!(full["resource"]["mimeType"], "application/json");
        assert_eq!(full["extensions"]["payment-identifier"]["info"]["required"], false);
        assert_eq!(full["accepts"][0]["extra"]["paymentFlow"], "upfront");
        let v1 = &challenge.to_v1_accepts()[0];
        assert_eq!((&v1["description"], &v1["mimeType"]), (&json!("The weather"), &json!("application/json")));
        assert_eq!(v1["extra"]["settlement"], "tab");
        assert_eq!(Challenge::parse_v2(encode_header(&full).as_bytes()), Ok(challenge));
    }

    #[test]
    fn offers_that_ask_for_another_signature_are_left_out() {
        for (name, word, read) in [
            ("paymentFlow", json!("authorization"), true),
            ("paymentFlow", json!("upfront"), true),
            ("paymentFlow", json!("escrow"), false),
            ("paymentFlow", json!(7), false),
            ("paymentFlow", json!(null), true),
            ("assetTransferMethod", json!("eip3009"), true),
            ("assetTransferMethod", json!("permit2"), false),
            ("anything", json!({"else": []}), true),
        ] {
            let mut challenge = challenge();
            challenge.offers[0].extra = OfferExtra::default().with(name, word.clone());
            let got = Challenge::parse_v2(encode_header(&challenge.to_v2()).as_bytes());
            assert_eq!(got, if read { Ok(challenge) } else { Err(ChallengeFault::NoOffer) }, "{name} {word}");
        }
    }

    #[test]
    fn v1_leaves_out_networks_without_a_name() {
        let mut challenge = challenge();
        challenge.offers.push(challenge.offers[0].clone());
        assert_eq!(challenge.to_v1_accepts().len(), 1);
        challenge.offers.pop();
        challenge.offers[0].asset_info.asset.network = Network { chain_id: 31337 };
        assert!(challenge.to_v1_accepts().is_empty());
    }

    #[test]
    fn challenges_that_cannot_be_paid() {
        let other = json!({"x402Version": 2, "accepts": [{"scheme": "upto", "network": "eip155:1"}, null, 7]});
        let v1 = json!({"x402Version": 1, "accepts": []});
        for (value, want) in [
            (other, ChallengeFault::NoOffer),
            (v1, ChallengeFault::NotX402),
            (json!({"x402Version": 2}), ChallengeFault::NotX402),
            (json!({"x402Version": 2, "accepts": []}), ChallengeFault::NoOffer),
        ] {
            assert_eq!(Challenge::parse_v2(encode_header(&value).as_bytes()), Err(want), "{value}");
        }
        assert_eq!(Challenge::parse_v2(b"%"), Err(ChallengeFault::NotX402));
    }
}
