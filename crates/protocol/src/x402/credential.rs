//! What the payer sends back: `PAYMENT-SIGNATURE` (v2) and `X-PAYMENT` (v1).

use alloy_primitives::{Address, B256, U256, hex};
use serde_json::{Value, json};

use super::ext::PaymentId;
use super::header::{decode, encode_header};
use super::json::{Document, Json, get};
use crate::exact::Fields;
use crate::role::parse_address;
use crate::{AssetAddress, Field, Network, Offer, OfferExtra, Payee, Refusal, Signature, parse_atomic};

/// Which form of x402 a message has. It is read from the message, not from the header's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Plain network names; requirements travel in the body.
    V1,
    /// CAIP-2 networks; everything travels in headers.
    V2,
}

impl Version {
    /// Where `scheme` or `network` stand in this version's payload.
    pub(crate) fn field(self, name: &'static str) -> Field {
        match (self, name) {
            (Self::V2, "scheme") => "accepted.scheme",
            (Self::V2, "network") => "accepted.network",
            (Self::V1 | Self::V2, _) => name,
        }
    }
}

/// What the payer says that he accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which version's words these are.
    pub version: Version,
    /// The scheme's name, unchecked.
    pub scheme: String,
    /// The network, if it is an EVM chain that we can name.
    pub network: Option<Network>,
    /// The offer as repeated by v2; v1 repeats nothing.
    pub terms: Option<Terms>,
}

/// The rest of a v2 `accepted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The token's contract.
    pub asset: AssetAddress,
    /// Who is to be paid.
    pub pay_to: Payee,
    /// The price.
    pub amount_atomic: u128,
    /// `maxTimeoutSeconds`.
    pub max_timeout_s: u64,
    /// `extra.name`, where it is a string.
    pub name: Option<String>,
    /// `extra.version`, where it is a string.
    pub version: Option<String>,
    /// The rest of `extra`.
    pub extra: OfferExtra,
}

/// A payment as it arrived: shapes are checked, nothing is true yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Scheme, network and terms.
    pub accepted: Accepted,
    /// The signed fields.
    pub fields: Fields,
    /// The signature's bytes, of any length up to 1,024.
    pub signature: Vec<u8>,
    /// The payer's own name for the payment. v1 has no place for it.
    pub payment_id: Option<PaymentId>,
}

impl Credential {
    /// Reads a payment header of either version. Unknown fields are ignored, `null` is absent, key order is free.
    ///
    /// # Errors
    /// In this order: size, base64, JSON, version, then the first field that is missing or malformed.
    pub fn parse(header: &[u8]) -> Result<Self, Refusal> {
        if header.first() == Some(&b'{') {
            return Err(raw_json(header));
        }
        let bytes = decode(header)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Refusal::InvalidJson)?;
        let document = Document::read(text).ok_or(Refusal::InvalidJson)?;
        Self::from_json(document.object().ok_or(Refusal::InvalidJson)?)
    }

    /// The same from JSON that is at hand.
    pub(super) fn from_json(value: Json<'_>) -> Result<Self, Refusal> {
        let accepted = match value.get("x402Version").and_then(Json::as_u64) {
            Some(1) => accepted_v1(value)?,
            Some(2) => accepted_v2(value)?,
            // The edge gateway's flat object names no version, no signature and no authorization: it pays nothing.
            None if value.get("payload").is_none() && value.get("amount").is_some() => {
                return Err(Refusal::ForeignFormat("x402Version"));
            }
            None | Some(_) => return Err(Refusal::InvalidVersion),
        };
        // What is not ours to take is said before its payload is looked at, which may have any shape.
        if accepted.scheme != "exact" {
            return Err(Refusal::UnsupportedScheme(accepted.version.field("scheme")));
        }
        if accepted.network.is_none() {
            return Err(Refusal::NetworkMismatch(accepted.version.field("network")));
        }
        let payload = value.object("payload", "payload")?;
        let authorization = payload.object("authorization", "payload.authorization")?;
        let signature = payload.string("signature", "payload.signature")?;
        let fields = Fields {
            from: address(authorization, "from", "payload.authorization.from")?,
            to: address(authorization, "to", "payload.authorization.to")?,
            value: number(authorization, "value", "payload.authorization.value")?,
            valid_after: number(authorization, "validAfter", "payload.authorization.validAfter")?,
            valid_before: number(authorization, "validBefore", "payload.authorization.validBefore")?,
            nonce: nonce(authorization)?,
        };
        if signature.len() > 2_050 {
            return Err(Refusal::InvalidPayload("payload.signature"));
        }
        let signature = signature
            .strip_prefix("0x")
            // `decode` would take a second prefix.
            .filter(|digits| !digits.starts_with("0x") && !digits.starts_with("0X"))
            .and_then(|digits| hex::decode(digits).ok())
            .ok_or(Refusal::InvalidPayload("payload.signature"))?;
        let payment_id = match accepted.version {
            Version::V1 => None,
            Version::V2 => PaymentId::of_payment(value)?,
        };
        Ok(Self { accepted, fields, signature, payment_id })
    }

    /// Writes a payment of `offer` as the given version's header. `None` when v1 has no name for the network.
    #[must_use]
    pub fn print(version: Version, offer: &Offer, url: &str, fields: &Fields, signature: &Signature) -> Option<String> {
        Some(encode_header(&Self::to_json(version, offer, url, fields, signature)?))
    }

    /// The same as it is in the header: v1 and v2 sign the same bytes, so a payment can be written as either.
    #[must_use]
    pub fn to_json(
        version: Version,
        offer: &Offer,
        url: &str,
        fields: &Fields,
        signature: &Signature,
    ) -> Option<Value> {
        let payload = json!({
            "signature": format!("{signature:?}"),
            "authorization": {
                "from": fields.from.to_string(),
                "to": fields.to.to_string(),
                "value": fields.value.to_string(),
                "validAfter": fields.valid_after.to_string(),
                "validBefore": fields.valid_before.to_string(),
                "nonce": fields.nonce.to_string(),
            },
        });
        Some(match version {
            Version::V1 => json!({
                "x402Version": 1,
                "scheme": "exact",
                "network": offer.network().v1_name()?,
                "payload": payload,
            }),
            Version::V2 => json!({
                "x402Version": 2,
                "resource": { "url": url },
                "accepted": super::challenge::print_offer(offer),
                "payload": payload,
            }),
        })
    }
}

/// JSON without base64: the edge gateway's flat object has a hint of its own.
fn raw_json(header: &[u8]) -> Refusal {
    let flat = header.len() <= super::HEADER_MAX_BYTES
        && serde_json::from_slice::<Value>(header)
            .is_ok_and(|value| get(&value, "payload").is_none() && get(&value, "amount").is_some());
    if flat { Refusal::ForeignFormat("x402Version") } else { Refusal::InvalidBase64 }
}

fn accepted_v1(value: Json<'_>) -> Result<Accepted, Refusal> {
    let scheme = value.string("scheme", "scheme")?.to_owned();
    let network = Network::from_v1_name(value.string("network", "network")?);
    Ok(Accepted { version: Version::V1, scheme, network, terms: None })
}

fn accepted_v2(value: Json<'_>) -> Result<Accepted, Refusal> {
    let accepted = value.object("accepted", "accepted")?;
    let scheme = accepted.string("scheme", "accepted.scheme")?.to_owned();
    let network = accepted.string("network", "accepted.network")?.parse().ok();
    if scheme != "exact" || network.is_none() {
        return Ok(Accepted { version: Version::V2, scheme, network, terms: None });
    }
    let extra = accepted.get("extra").filter(|extra| extra.is_object());
    let text = |name| extra.and_then(|extra| extra.get(name)).and_then(Json::as_str).map(str::to_owned);
    Ok(Accepted {
        version: Version::V2,
        scheme,
        network,
        terms: Some(Terms {
            asset: AssetAddress(address(accepted, "asset", "accepted.asset")?),
            pay_to: Payee(address(accepted, "payTo", "accepted.payTo")?),
            amount_atomic: parse_atomic(accepted.string("amount", "accepted.amount")?)
                .map_err(|_| Refusal::InvalidPayload("accepted.amount"))?,
            max_timeout_s: accepted
                .get("maxTimeoutSeconds")
                .and_then(Json::as_u64)
                .ok_or(Refusal::InvalidPayload("accepted.maxTimeoutSeconds"))?,
            name: text("name"),
            version: text("version"),
            extra: OfferExtra::of(extra.into_iter().flat_map(Json::members), Json::to_value),
        }),
    })
}

pub(super) fn address(parent: Json<'_>, name: &str, field: Field) -> Result<Address, Refusal> {
    parse_address(parent.string(name, field)?, false).map_err(|_| Refusal::InvalidPayload(field))
}

/// A uint256 as a decimal string of at most 78 digits, no sign, no leading zero.
fn number(parent: Json<'_>, name: &str, field: Field) -> Result<U256, Refusal> {
    let text = parent.string(name, field)?;
    let plain = !text.is_empty() && text.len() <= 78 && text.bytes().all(|b| b.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return Err(Refusal::InvalidPayload(field));
    }
    // Times and most amounts are short.
    if let Ok(short) = text.parse::<u64>() {
        return Ok(U256::from(short));
    }
    U256::from_str_radix(text, 10).map_err(|_| Refusal::InvalidPayload(field))
}

fn nonce(parent: Json<'_>) -> Result<B256, Refusal> {
    const FIELD: Field = "payload.authorization.nonce";
    let text = parent.string("nonce", FIELD)?;
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 64);
    let bytes = digits.and_then(|digits| hex::decode_to_array::<_, 32>(digits).ok());
    bytes.map(B256::new).ok_or(Refusal::InvalidPayload(FIELD))
}

#[cfg(test)]
mod tests;
