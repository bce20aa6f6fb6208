//! What a catalogue says of a resource (reference x402 §3, §14.1). Whoever pays for something writes what is said of it, so every word
//! is cleaned: what cannot be shown or could lead a reader astray is left out.

use alloy_primitives::{eip191_hash_message, hex};
use protocol::x402::ext::{BAZAAR, Info, check_route_template};
use protocol::x402::{Asked, Listed, Version};
use protocol::{Network, Payee, Payer, Signature};
use serde_json::{Map, Value, json};
use url::{Host, Url};

const URL_MAX_CHARS: usize = 2_048;
const NAME_MAX_CHARS: usize = 32;
const TAGS_MAX: usize = 5;
const DESCRIPTION_MAX_CHARS: usize = 500;
const ACCEPTS_MAX: usize = 8;
const EXTRA_MAX_CHARS: usize = 64;
const TOOL_MAX_CHARS: usize = 128;
const BAZAAR_MAX_BYTES: usize = 4 * 1024;
/// How old a registration may be, and by how much its clock may be ahead.
const REGISTRATION_MAX_AGE_S: u64 = 300;

/// One entry of the catalogue. The same resource has one for each payee.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Whose it is.
    pub key: ListingKey,
    /// What is said of it, in the words of the wire; null once its payee has taken it out.
    pub item: Value,
    /// When its payee signed that, in seconds since 1970; 0 where the words are a payment's.
    pub signed_at_s: u64,
    /// How many payments for it were settled here.
    pub settled: u64,
    /// When it was last written, in seconds since 1970.
    pub updated_s: u64,
    /// Grows with each writing, so that an older one never takes a newer one's place.
    pub revision: u64,
}

/// What tells entries apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListingKey {
    /// The URL, without query and fragment.
    pub resource: String,
    /// The tool of an MCP server; empty for everything else.
    pub tool: String,
    /// Who is paid.
    pub payee: Payee,
}

/// Why a registration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingRefusal {
    /// Not `{"listing": "<JSON>", "signature": "0x…"}`.
    #[error(
        "the body is no registration: it has a listing, which is JSON in a string, and a signature over that string"
    )]
    Shape,
    /// The signature is nobody's.
    #[error("the signature is no EIP-191 signature over the listing")]
    Signature,
    /// Another key than the payee's has signed.
    #[error("the listing is not signed by the address that every accepts[] pays to")]
    NotThePayee,
    /// Too old, or from the future.
    #[error("issuedAt is not within five minutes of now")]
    Stale,
    /// No public http or https URL.
    #[error("resource is no public http or https URL")]
    Resource,
    /// Nothing that can be paid.
    #[error("accepts has no payment requirements that can be read")]
    Accepts,
    /// The same payee has signed something newer.
    #[error("issuedAt is not later than that of what is listed")]
    Older,
}

/// One of `accepts`.
struct Accepts {
    payee: Payee,
    words: Value,
}

impl Listing {
    /// What a settled payment says of what it paid for. `None` where that is nothing that could be listed, or where its server has not
    /// asked for it (`extensions.bazaar`): an address may hold what is meant for its caller alone.
    #[must_use]
    pub fn of_payment(asked: &Asked, listed: &Listed, now_s: u64) -> Option<Self> {
        let resource = listed.resource.as_ref()?;
        let version = match asked.credential.accepted.version {
            Version::V1 => 1u8,
            Version::V2 => 2u8,
        };
        let accepts = Accepts::read(&listed.requirements, version)?;
        let bazaar = listed.bazaar.as_ref().and_then(clean_bazaar)?;
        let url = public_url(resource.get("url")?.as_str()?)?;
        Some(Self::new(url, resource, (version, vec![accepts.words]), Some(bazaar), asked.requirements.payee, now_s))
    }

    fn new(
        url: String,
        said: &Value,
        (version, accepts): (u8, Vec<Value>),
        bazaar: Option<Value>,
        payee: Payee,
        now_s: u64,
    ) -> Self {
        let input = bazaar.as_ref().and_then(|bazaar| bazaar.get("info")?.get("input"));
        let of_input = |name| input.and_then(|input| input.get(name)).and_then(Value::as_str).unwrap_or_default();
        let kind = if of_input("type") == "mcp" { "mcp" } else { "http" };
        let tool = if kind == "mcp" { plain(of_input("tool"), TOOL_MAX_CHARS) } else { String::new() };
        let mut item = Map::new();
        item.insert("resource".to_owned(), url.clone().into());
        item.insert("type".to_owned(), kind.into());
        item.insert("x402Version".to_owned(), version.into());
        item.insert("accepts".to_owned(), accepts.into());
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        let description = text("description").map(|words| plain(words, DESCRIPTION_MAX_CHARS));
        let mime_type = text("mimeType").filter(|words| is_printable(words, 100)).map(str::to_owned);
        let service_name = text("serviceName").filter(|words| is_printable(words, NAME_MAX_CHARS)).map(str::to_owned);
        let icon_url = text("iconUrl").filter(|url| is_public(url)).map(str::to_owned);
        for (name, value) in [
            ("description", description),
            ("mimeType", mime_type),
            ("serviceName", service_name),
            ("iconUrl", icon_url),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                item.insert(name.to_owned(), value.into());
            }
        }
        let tags = said.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let tags: Vec<_> = tags.filter(|tag| is_printable(tag, NAME_MAX_CHARS)).take(TAGS_MAX).collect();
        if !tags.is_empty() {
            item.insert("tags".to_owned(), tags.into());
        }
        if let Some(bazaar) = bazaar {
            item.insert("extensions".to_owned(), json!({ BAZAAR: bazaar }));
        }
        let key = ListingKey { resource: url, tool, payee };
        Self { key, item: item.into(), signed_at_s: 0, settled: 0, updated_s: now_s, revision: 0 }
    }

    /// Reads what a resource server says of itself. The listing is a string, so that what is signed are its very bytes: by the key of
    /// `payTo`, with EIP-191 (`personal_sign`). It proves who is paid, not whose the URL is.
    ///
    /// # Errors
    /// [`ListingRefusal`].
    pub fn of_registration(body: &[u8], now_s: u64) -> Result<Self, ListingRefusal> {
        let body: Value = serde_json::from_slice(body).map_err(|_| ListingRefusal::Shape)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or(ListingRefusal::Shape);
        let (listing, signature) = (text("listing")?, text("signature")?);
        let said: Value = serde_json::from_str(listing).map_err(|_| ListingRefusal::Shape)?;
        let signature = hex::decode(signature).ok().and_then(|bytes| Signature::from_bytes(&bytes));
        let signer = signature.and_then(|signature| signature.recover(eip191_hash_message(listing)));
        let signer = Payee(signer.ok_or(ListingRefusal::Signature)?);
        let signed_at_s = said.get("issuedAt").and_then(Value::as_u64).ok_or(ListingRefusal::Stale)?;
        if signed_at_s.abs_diff(now_s) > REGISTRATION_MAX_AGE_S {
            return Err(ListingRefusal::Stale);
        }
        let resource = said.get("resource").and_then(Value::as_str).and_then(public_url);
        let resource = resource.ok_or(ListingRefusal::Resource)?;
        if said.get("remove").and_then(Value::as_bool) == Some(true) {
            let tool = plain(said.get("tool").and_then(Value::as_str).unwrap_or_default(), TOOL_MAX_CHARS);
            let key = ListingKey { resource, tool, payee: signer };
            return Ok(Self { key, item: Value::Null, signed_at_s, settled: 0, updated_s: now_s, revision: 0 });
        }
        let (version, accepts) = accepts(&said)?;
        if accepts.iter().any(|offer| offer.payee != signer) {
            return Err(ListingRefusal::NotThePayee);
        }
        let bazaar = said.get("extensions").and_then(|extensions| extensions.get(BAZAAR)).and_then(clean_bazaar);
        let words = accepts.into_iter().map(|offer| offer.words).collect();
        Ok(Self { signed_at_s, ..Self::new(resource, &said, (version, words), bazaar, signer, now_s) })
    }

    /// The entry as it is told.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut item = self.item.clone();
        item["lastUpdated"] = self.updated_s.into();
        item["settled"] = self.settled.into();
        item["signedByPayee"] = (self.signed_at_s > 0).into();
        item
    }

    /// Whether its payee has taken it out.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.item.is_null()
    }

    /// Whether it need not be remembered any more that it was taken out: what was signed before is too old to be sent again.
    #[must_use]
    pub fn is_forgotten(&self, now_s: u64) -> bool {
        self.is_removed() && now_s.saturating_sub(self.signed_at_s) > REGISTRATION_MAX_AGE_S.saturating_mul(2)
    }
}

/// What a registration says that is paid for it: at least one.
fn accepts(said: &Value) -> Result<(u8, Vec<Accepts>), ListingRefusal> {
    let version = match said.get("x402Version").and_then(Value::as_u64) {
        Some(1) => 1u8,
        Some(2) | None => 2u8,
        Some(_) => return Err(ListingRefusal::Accepts),
    };
    let list = said.get("accepts").and_then(Value::as_array).ok_or(ListingRefusal::Accepts)?;
    if list.is_empty() || list.len() > ACCEPTS_MAX {
        return Err(ListingRefusal::Accepts);
    }
    let read: Option<Vec<_>> = list.iter().map(|offer| Accepts::read(offer, version)).collect();
    Ok((version, read.ok_or(ListingRefusal::Accepts)?))
}

impl Accepts {
    /// Reads payment requirements, and keeps the members that every client needs.
    fn read(offer: &Value, version: u8) -> Option<Self> {
        let amount = if version == 1 { "maxAmountRequired" } else { "amount" };
        let text = |name: &str| offer.get(name).and_then(Value::as_str);
        let network = text("network")?;
        let known = if version == 1 { Network::from_v1_name(network) } else { network.parse().ok() };
        known.filter(|_| text("scheme") == Some("exact"))?;
        protocol::parse_atomic(text(amount)?).ok()?;
        text("asset")?.parse::<Payer>().ok()?;
        let payee = text("payTo")?.parse().ok()?;
        let mut words = Map::new();
        for name in ["scheme", "network", amount, "asset", "payTo"] {
            words.insert(name.to_owned(), text(name)?.into());
        }
        if let Some(seconds) = offer.get("maxTimeoutSeconds").and_then(Value::as_u64) {
            words.insert("maxTimeoutSeconds".to_owned(), seconds.into());
        }
        let of_extra = |name| offer.get("extra").and_then(|extra| extra.get(name)).and_then(Value::as_str);
        let extra = ["name", "version", "paymentFlow"].into_iter().filter_map(|name| {
            let value = of_extra(name).filter(|value| value.chars().count() <= EXTRA_MAX_CHARS)?;
            Some((name.to_owned(), Value::String(plain(value, EXTRA_MAX_CHARS))))
        });
        words.insert("extra".to_owned(), Value::Object(extra.collect()));
        Some(Self { payee, words: words.into() })
    }
}

/// A URL that anybody may follow, in its one form, without what may hold a secret or stand for the same thing.
fn public_url(text: &str) -> Option<String> {
    if !is_public(text) {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    let host = url.host_str()?.trim_end_matches('.').to_owned();
    url.set_host(Some(&host)).ok()?;
    Some(url.into())
}

/// Plain http or https to a named host: no user, no address in any way of writing it, nothing of this machine or network.
fn is_public(text: &str) -> bool {
    if text.chars().count() > URL_MAX_CHARS || text.chars().any(char::is_control) {
        return false;
    }
    let Ok(url) = Url::parse(text) else { return false };
    let named = match url.host() {
        // The parser has decoded it and turned every numeric form into an address.
        Some(Host::Domain(host)) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            let last = host.rsplit('.').next().unwrap_or_default();
            host.contains('.')
                && !matches!(last, "localhost" | "local" | "internal" | "lan" | "home" | "arpa" | "onion")
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => false,
    };
    named && matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
}

fn is_printable(text: &str, max_chars: usize) -> bool {
    (1..=max_chars).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// Words of a person, in one line. What turns text around, or is not seen, is left out.
fn plain(words: &str, max_chars: usize) -> String {
    let shown = words.chars().map(|char| if char.is_control() { ' ' } else { char }).filter(|char| !is_hidden(*char));
    shown.take(max_chars).collect::<String>().trim().to_owned()
}

/// What Unicode calls format characters and fillers: they are not seen, or turn the text around.
#[rustfmt::skip]
const fn is_hidden(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// `info` in a form that we know, with a schema that we wrote, and the template where it is one.
fn clean_bazaar(bazaar: &Value) -> Option<Value> {
    let info = bazaar.get("info").filter(|info| info.to_string().len() <= BAZAAR_MAX_BYTES)?;
    let info = Info::check(info.clone()).ok()?;
    let template = bazaar.get("routeTemplate").and_then(Value::as_str);
    Some(info.extension(template.filter(|template| check_route_template(template).is_ok())))
}
