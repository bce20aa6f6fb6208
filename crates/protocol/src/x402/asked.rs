//! What a resource server asks of a facilitator: the body of `POST /verify` and `POST /settle` (reference x402 §3).

use serde_json::Value;

use super::credential::address;
use super::json::{Document, Json};
use super::{Credential, Version};
use crate::{Amount, Asset, AssetAddress, AssetInfo, Field, Network, Offer, OfferExtra, Payee, Refusal, parse_atomic};

/// The longest body that is looked at. One with the metadata of a catalogue has a few KiB.
pub const BODY_MAX_BYTES: usize = 64 * 1024;

/// A payment, and what its resource server wants for it. Shapes are checked, nothing is true yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The payment.
    pub credential: Credential,
    /// What it must pay. What the payer says that he accepted is not looked at.
    pub requirements: Requirements,
}

/// What a resource server wants to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// On which chain.
    pub network: Network,
    /// In which token.
    pub asset: AssetAddress,
    /// To whom.
    pub payee: Payee,
    /// How much, exactly.
    pub amount_atomic: u128,
    /// `maxTimeoutSeconds`.
    pub max_timeout_s: u64,
    /// `extra.name`.
    pub name: Option<String>,
    /// `extra.version`.
    pub version: Option<String>,
}

/// What a payment and its requirements say of the resource. Anybody may have written it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// v2 `resource`, or what v1 requirements say of it in the same words.
    pub resource: Option<Value>,
    /// `extensions.bazaar`.
    pub bazaar: Option<Value>,
    /// The requirements themselves.
    pub requirements: Value,
}

impl Asked {
    /// Reads a body. Unknown fields are ignored, `null` is absent, key order is free.
    ///
    /// # Errors
    /// [`Refusal::InvalidJson`] for what is no JSON object; then the first field that is missing or malformed, of the payment first.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let document = document(body).ok_or(Refusal::InvalidJson)?;
        let body = document.object().ok_or(Refusal::InvalidJson)?;
        let payload = body.object("paymentPayload", "paymentPayload")?;
        let asked = body.get("paymentRequirements").filter(|asked| asked.is_object());
        let asked = asked.ok_or(Refusal::InvalidRequirements("paymentRequirements"))?;
        let credential = Credential::from_json(payload)?;
        // Some servers leave it to the payment to say the version; two different words are nobody's.
        match body.get("x402Version").map(Json::as_u64) {
            None => {}
            Some(Some(1)) if credential.accepted.version == Version::V1 => {}
            Some(Some(2)) if credential.accepted.version == Version::V2 => {}
            Some(_) => return Err(Refusal::InvalidVersion),
        }
        let requirements = requirements(asked, credential.accepted.version)?;
        Ok(Self { credential, requirements })
    }
}

impl Listed {
    /// Reads what a body says of the resource, once [`Asked::parse`] has taken it.
    #[must_use]
    pub fn read(body: &[u8], version: Version) -> Option<Self> {
        let document = document(body)?;
        let body = document.object()?;
        let (payload, asked) = (body.get("paymentPayload")?, body.get("paymentRequirements")?);
        let bazaar = payload.get("extensions").and_then(|extensions| extensions.get("bazaar")).map(Json::to_value);
        let resource = match version {
            Version::V1 => asked.get("resource").and_then(Json::as_str).map(|url| {
                let word = |name| asked.get(name).map_or(Value::Null, Json::to_value);
                serde_json::json!({ "url": url, "description": word("description"), "mimeType": word("mimeType") })
            }),
            Version::V2 => payload.get("resource").filter(|resource| resource.is_object()).map(Json::to_value),
        };
        Some(Self { resource, bazaar, requirements: asked.to_value() })
    }
}

fn document(body: &[u8]) -> Option<Document<'_>> {
    Document::read(std::str::from_utf8(body).ok()?)
}

impl Requirements {
    /// What is to be paid.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount::new(self.amount_atomic, Asset { network: self.network, address: self.asset })
    }

    /// What a payment is judged by, where the token is one that we know.
    ///
    /// # Errors
    /// What of its EIP-712 domain the requirements do not say, or say otherwise.
    pub fn offer(&self, token: &AssetInfo) -> Result<Offer, Refusal> {
        match (self.name.as_deref(), self.version.as_deref()) {
            (Some(name), _) if name != token.name => Err(Refusal::TokenName),
            (Some(_), Some(version)) if version != token.version => Err(Refusal::TokenVersion),
            (None, _) | (_, None) => Err(Refusal::MissingDomain),
            (Some(_), Some(_)) => Ok(Offer {
                asset_info: token.clone(),
                amount_atomic: self.amount_atomic,
                payee: self.payee,
                max_timeout_s: self.max_timeout_s,
                extra: OfferExtra::default(),
            }),
        }
    }
}

fn requirements(asked: Json<'_>, version: Version) -> Result<Requirements, Refusal> {
    let text = |name, field: Field| asked.string(name, field).map_err(|_| Refusal::InvalidRequirements(field));
    let address = |name, field: Field| address(asked, name, field).map_err(|_| Refusal::InvalidRequirements(field));
    if text("scheme", "paymentRequirements.scheme")? != "exact" {
        return Err(Refusal::UnsupportedScheme("paymentRequirements.scheme"));
    }
    let named = text("network", "paymentRequirements.network")?;
    let (network, amount, field) = match version {
        Version::V1 => (Network::from_v1_name(named), "maxAmountRequired", "paymentRequirements.maxAmountRequired"),
        Version::V2 => (named.parse().ok(), "amount", "paymentRequirements.amount"),
    };
    let extra = asked.get("extra").filter(|extra| extra.is_object());
    let of_extra = |name| extra.and_then(|extra| extra.get(name)).and_then(Json::as_str).map(str::to_owned);
    let seconds = asked.get("maxTimeoutSeconds").and_then(Json::as_u64).filter(|seconds| *seconds > 0);
    Ok(Requirements {
        network: network.ok_or(Refusal::NetworkMismatch("paymentRequirements.network"))?,
        asset: AssetAddress(address("asset", "paymentRequirements.asset")?),
        payee: Payee(address("payTo", "paymentRequirements.payTo")?),
        amount_atomic: parse_atomic(text(amount, field)?).map_err(|_| Refusal::InvalidRequirements(field))?,
        max_timeout_s: seconds.ok_or(Refusal::InvalidRequirements("paymentRequirements.maxTimeoutSeconds"))?,
        name: of_extra("name"),
        version: of_extra("version"),
    })
}

#[cfg(test)]
mod tests;
