//! `sign-in-with-x`: a wallet shows that it is who paid before, by signing a text of EIP-4361 (CAIP-122) with EIP-191.
//! EVM keys alone: a contract's signature (EIP-1271) would need a node.

use alloy_primitives::{Address, B256, eip191_hash_message, hex};
use serde_json::{Map, Value, json};

use super::super::header::{decode_header, encode_header};
use super::super::json::get;
use super::nonce::{SignInNonce, SignInSecret};
use super::{schema, time};
use crate::role::parse_address;
use crate::{Field, Network, Payer, Signature};

/// Its key in `extensions`, and the header's name.
pub const SIGN_IN_WITH_X: &str = "sign-in-with-x";

/// What a 402 says about signing in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInOffer {
    /// Host and port of our public origin.
    pub domain: String,
    /// The resource, beneath that origin.
    pub uri: String,
    /// What the wallet shows to its owner, on one line.
    pub statement: Option<String>,
    /// The text of a [`SignInNonce`].
    pub nonce: String,
    /// When it was offered, in seconds.
    pub issued_at_s: u64,
    /// From when on it is refused, in seconds.
    pub expires_at_s: Option<u64>,
    /// What the wallet gets access to.
    pub resources: Vec<String>,
    /// The chains that a wallet may name.
    pub chains: Vec<Network>,
}

impl SignInOffer {
    /// The object in the 402's `extensions`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let chains = self.chains.iter().map(|chain| json!({ "chainId": chain.to_string(), "type": "eip191" }));
        json!({
            "info": self.info(),
            "supportedChains": chains.collect::<Vec<_>>(),
            "schema": sign_in_schema(),
        })
    }

    /// What a wallet with this address signs when it takes the offer.
    #[must_use]
    pub fn message(&self, address: Address, chain: Network) -> SignInMessage {
        SignInMessage {
            domain: self.domain.clone(),
            address: address.to_string(),
            statement: self.statement.clone(),
            uri: self.uri.clone(),
            chain,
            nonce: self.nonce.clone(),
            issued_at: time::print(self.issued_at_s),
            expiration_time: self.expires_at_s.map(time::print),
            not_before: None,
            request_id: None,
            resources: Some(self.resources.clone()),
        }
    }

    fn info(&self) -> Value {
        let mut info = json!({
            "domain": self.domain,
            "uri": self.uri,
            "version": "1",
            "nonce": self.nonce,
            "issuedAt": time::print(self.issued_at_s),
            "resources": self.resources,
        });
        let optional = [("statement", self.statement.clone()), ("expirationTime", self.expires_at_s.map(time::print))];
        add(&mut info, optional);
        info
    }
}

/// The fields of the text that was signed, as the wallet wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInMessage {
    /// Whose site asked.
    pub domain: String,
    /// Who signs: `0x` and 40 hex digits in the case that was signed.
    pub address: String,
    /// What the wallet showed.
    pub statement: Option<String>,
    /// The resource.
    pub uri: String,
    /// The chain on which the address is meant.
    pub chain: Network,
    /// The one-use text.
    pub nonce: String,
    /// RFC 3339.
    pub issued_at: String,
    /// RFC 3339.
    pub expiration_time: Option<String>,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// Free for the server's use; we ask for none.
    pub request_id: Option<String>,
    /// What access is given to.
    pub resources: Option<Vec<String>>,
}

impl SignInMessage {
    /// The text of EIP-4361.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![
            format!("{} wants you to sign in with your Ethereum account:", self.domain),
            self.address.clone(),
            String::new(),
        ];
        lines.extend(self.statement.clone());
        lines.extend([
            String::new(),
            format!("URI: {}", self.uri),
            "Version: 1".to_owned(),
            format!("Chain ID: {}", self.chain.chain_id),
            format!("Nonce: {}", self.nonce),
            format!("Issued At: {}", self.issued_at),
        ]);
        lines.extend(self.expiration_time.iter().map(|at| format!("Expiration Time: {at}")));
        lines.extend(self.not_before.iter().map(|at| format!("Not Before: {at}")));
        lines.extend(self.request_id.iter().map(|id| format!("Request ID: {id}")));
        if let Some(resources) = &self.resources {
            lines.push("Resources:".to_owned());
            lines.extend(resources.iter().map(|resource| format!("- {resource}")));
        }
        lines.join("\n")
    }

    /// What is signed: EIP-191 over the text.
    #[must_use]
    pub fn digest(&self) -> B256 {
        eip191_hash_message(self.text())
    }

    /// The header's text.
    #[must_use]
    pub fn to_header(&self, signature: &Signature) -> String {
        let mut value = json!({
            "domain": self.domain,
            "address": self.address,
            "uri": self.uri,
            "version": "1",
            "chainId": self.chain.to_string(),
            "type": "eip191",
            "nonce": self.nonce,
            "issuedAt": self.issued_at,
            "signature": format!("{signature:?}"),
        });
        let optional = [
            ("statement", self.statement.clone()),
            ("expirationTime", self.expiration_time.clone()),
            ("notBefore", self.not_before.clone()),
            ("requestId", self.request_id.clone()),
        ];
        add(&mut value, optional);
        if let (Some(resources), Some(members)) = (&self.resources, value.as_object_mut()) {
            members.insert("resources".to_owned(), resources.as_slice().into());
        }
        encode_header(&value)
    }
}

/// What a sign-in must say, and when.
#[derive(Clone, Copy, Debug)]
pub struct SignInTerms<'a> {
    /// Host and port of our public origin, as configured: never what the caller's `Host` says.
    pub domain: &'a str,
    /// The same with its scheme, such as `https://api.example.com`.
    pub origin: &'a str,
    /// The chains that are supported.
    pub chains: &'a [Network],
    /// Under which our nonces are made.
    pub secret: &'a SignInSecret,
    /// How old it may be, in seconds. The reference has 300.
    pub age_max_s: u64,
    /// By how much the wallet's clock may be ahead.
    pub skew_s: u64,
}

/// Who signed in. That the nonce was not used before is for the caller to see: it may be forgotten once it is older than
/// `age_max_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// Whose signature it is.
    pub address: Payer,
    /// To be taken once.
    pub nonce: SignInNonce,
    /// When the text says that it was made, in seconds.
    pub issued_at_s: u64,
}

/// Why a sign-in is refused. Where several reasons hold, the first in this order is reported: what needs no arithmetic first,
/// the signature last. The codes are those of the reference where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInRefusal {
    /// Longer than a payment header may be, or not base64 of one JSON object.
    Header,
    /// A field is missing or has the wrong shape.
    Malformed(Field),
    /// Made for another site.
    Domain,
    /// Made for a resource of another origin.
    Uri,
    /// `issuedAt` is no time.
    IssuedAt,
    /// Too old.
    TooOld,
    /// Made later than now.
    InFuture,
    /// `expirationTime` is no time.
    ExpirationTime,
    /// Expired.
    Expired,
    /// `notBefore` is no time.
    NotBefore,
    /// Not valid yet.
    NotYetValid,
    /// Not a nonce that we gave out lately, or one that was used: the caller reports that one with this, too.
    Nonce,
    /// `eip155:` without a chain id.
    ChainId,
    /// A chain that is not among ours.
    UnsupportedChain,
    /// Not 65 bytes, a wrong recovery id, or the high half of s.
    SignatureShape,
    /// Not the signature of `address` over this text.
    Signature,
}

impl SignInRefusal {
    /// The stable code on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Header => "invalid_siwx_header",
            Self::Malformed(_) => "invalid_siwx_payload",
            Self::Domain => "invalid_siwx_domain_mismatch",
            Self::Uri => "invalid_siwx_uri_mismatch",
            Self::IssuedAt => "invalid_siwx_issued_at",
            Self::TooOld => "invalid_siwx_issued_at_too_old",
            Self::InFuture => "invalid_siwx_issued_at_in_future",
            Self::ExpirationTime => "invalid_siwx_expiration_time",
            Self::Expired => "invalid_siwx_expired",
            Self::NotBefore => "invalid_siwx_not_before",
            Self::NotYetValid => "invalid_siwx_not_yet_valid",
            Self::Nonce => "invalid_siwx_nonce",
            Self::ChainId => "invalid_siwx_chain_id",
            Self::UnsupportedChain => "invalid_siwx_unsupported_chain",
            Self::SignatureShape => "invalid_siwx_malformed_signature",
            Self::Signature => "invalid_siwx_signature",
        }
    }

    /// The field at fault, where there is one.
    #[must_use]
    pub const fn field(self) -> Option<Field> {
        match self {
            Self::Header => None,
            Self::Malformed(field) => Some(field),
            Self::Domain => Some("domain"),
            Self::Uri => Some("uri"),
            Self::IssuedAt | Self::TooOld | Self::InFuture => Some("issuedAt"),
            Self::ExpirationTime | Self::Expired => Some("expirationTime"),
            Self::NotBefore | Self::NotYetValid => Some("notBefore"),
            Self::Nonce => Some("nonce"),
            Self::ChainId | Self::UnsupportedChain => Some("chainId"),
            Self::SignatureShape | Self::Signature => Some("signature"),
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Header => "The header SIGN-IN-WITH-X is not base64 of one JSON object of at most 16 KiB.",
            Self::Malformed(_) => "A field of the sign-in is missing or malformed.",
            Self::Domain => "The sign-in was made for another site.",
            Self::Uri => "The sign-in was made for a resource of another origin.",
            Self::IssuedAt => "issuedAt is not a time of RFC 3339.",
            Self::TooOld => "The sign-in is too old. Take a new nonce from the 402 and sign again.",
            Self::InFuture => "The sign-in was issued later than now.",
            Self::ExpirationTime => "expirationTime is not a time of RFC 3339.",
            Self::Expired => "The sign-in is expired.",
            Self::NotBefore => "notBefore is not a time of RFC 3339.",
            Self::NotYetValid => "The sign-in is not valid yet.",
            Self::Nonce => {
                "The nonce is not one that this server gave out lately, or it was used. Take a new one from the 402."
            }
            Self::ChainId => "chainId must be eip155: and a chain id.",
            Self::UnsupportedChain => "This chain is not among the supported ones.",
            Self::SignatureShape => "The signature must be 65 bytes, with v of 27 or 28 and a low s.",
            Self::Signature => "The signature is not that of this address over these fields.",
        }
    }
}

/// Reads and checks a `SIGN-IN-WITH-X` header. Does not know whether the nonce was used before, nor whether the wallet paid.
///
/// # Errors
/// The first [`SignInRefusal`] in the order of its list.
pub fn verify_sign_in(header: &[u8], terms: &SignInTerms<'_>, now_s: u64) -> Result<SignedIn, SignInRefusal> {
    let value = decode_header(header).map_err(|_| SignInRefusal::Header)?;
    let read = Unchecked::read(&value)?;
    if read.domain != terms.domain {
        return Err(SignInRefusal::Domain);
    }
    if !read.uri.strip_prefix(terms.origin).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#'])) {
        return Err(SignInRefusal::Uri);
    }
    let issued_at_s = read.check_times(terms, now_s)?;
    let nonce = SignInNonce::parse(terms.secret, read.nonce).ok_or(SignInRefusal::Nonce)?;
    let (age_s, ahead_s) = (now_s.saturating_sub(nonce.issued_at_s), nonce.issued_at_s.saturating_sub(now_s));
    if age_s > terms.age_max_s || ahead_s > terms.skew_s {
        return Err(SignInRefusal::Nonce);
    }
    if !read.chain_id.starts_with("eip155:") {
        return Err(SignInRefusal::UnsupportedChain);
    }
    let chain: Network = read.chain_id.parse().map_err(|_| SignInRefusal::ChainId)?;
    if !terms.chains.contains(&chain) {
        return Err(SignInRefusal::UnsupportedChain);
    }
    let digits = read.signature.strip_prefix("0x").filter(|digits| digits.len() == 130);
    let bytes = digits.and_then(|digits| hex::decode_to_array::<_, 65>(digits).ok());
    let signature = bytes.and_then(|bytes| Signature::from_bytes(&bytes)).ok_or(SignInRefusal::SignatureShape)?;
    let address = read.signer;
    if signature.recover(read.message(chain).digest()) != Some(address) {
        return Err(SignInRefusal::Signature);
    }
    Ok(SignedIn { address: Payer(address), nonce, issued_at_s })
}

/// The header's fields; shapes are checked, nothing is true yet.
struct Unchecked<'a> {
    domain: &'a str,
    address: &'a str,
    signer: Address,
    statement: Option<&'a str>,
    uri: &'a str,
    chain_id: &'a str,
    nonce: &'a str,
    issued_at: &'a str,
    expiration_time: Option<&'a str>,
    not_before: Option<&'a str>,
    request_id: Option<&'a str>,
    resources: Option<Vec<&'a str>>,
    signature: &'a str,
}

impl<'a> Unchecked<'a> {
    fn read(value: &'a Value) -> Result<Self, SignInRefusal> {
        let optional = |name: Field| get(value, name).map(|text| line(text, name)).transpose();
        let required = |name: Field| optional(name)?.ok_or(SignInRefusal::Malformed(name));
        let exactly = |name: Field, want: &str| match required(name)? {
            text if text == want => Ok(()),
            _ => Err(SignInRefusal::Malformed(name)),
        };
        let domain = required("domain")?;
        let address = required("address")?;
        let signer = parse_address(address, false).map_err(|_| SignInRefusal::Malformed("address"))?;
        let uri = required("uri")?;
        exactly("version", "1")?;
        let chain_id = required("chainId")?;
        exactly("type", "eip191")?;
        let resources = match get(value, "resources") {
            None => None,
            Some(list) => {
                let list = list.as_array().ok_or(SignInRefusal::Malformed("resources"))?;
                Some(list.iter().map(|text| line(text, "resources")).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self {
            domain,
            address,
            signer,
            statement: optional("statement")?,
            uri,
            chain_id,
            nonce: required("nonce")?,
            issued_at: required("issuedAt")?,
            expiration_time: optional("expirationTime")?,
            not_before: optional("notBefore")?,
            request_id: optional("requestId")?,
            resources,
            signature: required("signature")?,
        })
    }

    fn check_times(&self, terms: &SignInTerms<'_>, now_s: u64) -> Result<u64, SignInRefusal> {
        let issued_at_s = time::parse(self.issued_at).ok_or(SignInRefusal::IssuedAt)?;
        if now_s.saturating_sub(issued_at_s) > terms.age_max_s {
            return Err(SignInRefusal::TooOld);
        }
        if issued_at_s.saturating_sub(now_s) > terms.skew_s {
            return Err(SignInRefusal::InFuture);
        }
        if let Some(text) = self.expiration_time {
            let expires_at_s = time::parse(text).ok_or(SignInRefusal::ExpirationTime)?;
            if expires_at_s <= now_s {
                return Err(SignInRefusal::Expired);
            }
        }
        if let Some(text) = self.not_before {
            let not_before_s = time::parse(text).ok_or(SignInRefusal::NotBefore)?;
            if not_before_s.saturating_sub(now_s) > terms.skew_s {
                return Err(SignInRefusal::NotYetValid);
            }
        }
        Ok(issued_at_s)
    }

    fn message(&self, chain: Network) -> SignInMessage {
        let own = |text: Option<&str>| text.map(str::to_owned);
        SignInMessage {
            domain: self.domain.to_owned(),
            address: self.address.to_owned(),
            statement: own(self.statement),
            uri: self.uri.to_owned(),
            chain,
            nonce: self.nonce.to_owned(),
            issued_at: self.issued_at.to_owned(),
            expiration_time: own(self.expiration_time),
            not_before: own(self.not_before),
            request_id: own(self.request_id),
            resources: self.resources.as_ref().map(|list| list.iter().map(|&text| text.to_owned()).collect()),
        }
    }
}

/// A text of one line. With a line break inside, two sets of fields would have one text and one signature.
fn line(value: &Value, name: Field) -> Result<&str, SignInRefusal> {
    let plain = |text: &&str| !text.chars().any(char::is_control);
    value.as_str().filter(plain).ok_or(SignInRefusal::Malformed(name))
}

fn add<const N: usize>(value: &mut Value, optional: [(&str, Option<String>); N]) {
    let members: Map<_, _> =
        optional.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))).collect();
    if let Some(object) = value.as_object_mut() {
        object.extend(members);
    }
}

fn sign_in_schema() -> Value {
    let text = json!({ "type": "string" });
    let uri = json!({ "type": "string", "format": "uri" });
    let at = json!({ "type": "string", "format": "date-time" });
    let properties = json!({
        "domain": text, "address": text, "statement": text, "uri": uri, "version": text, "chainId": text, "type": text,
        "nonce": text, "issuedAt": at, "expirationTime": at, "notBefore": at, "requestId": text,
        "resources": { "type": "array", "items": uri }, "signature": text,
    });
    let required = ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"];
    schema(&properties, &required)
}

#[cfg(test)]
mod tests;
