//! What arrived, taken apart: the payment, what is forwarded, and the body.

use std::cell::Cell;

use alloy_primitives::B256;
use gate::{Presented, secret_digest};
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use protocol::x402::ext::SignInRefusal;
use protocol::{MoneyState, Refusal};
use proxy::CleanPath;

use super::strip_callers_words;
use super::upload::Upload;
use crate::accounts;
use crate::plan::{Plan, RoutePlan};
use crate::problem::Problem;
use crate::source;

/// A shorter key could be guessed, and whoever knows it can fetch the answer: the payment itself is public on the chain.
const IDEMPOTENCY_KEY_MIN_BYTES: usize = 16;
/// Whoever has a key has his names for himself: they may be as short as he likes.
const NAME_MAX_BYTES: usize = 255;
/// What a caller shows.
pub(super) struct Shown {
    payment: Payment,
    /// The proof of a key.
    pub(super) sign_in: Option<HeaderValue>,
    /// Why that is none, once it was looked at.
    pub(super) sign_in_refused: Cell<Option<SignInRefusal>>,
    /// The digest of a secret by which the answer can be fetched again.
    pub(super) idempotency: Option<B256>,
    /// What names the call for a caller with a key; the error is what is wrong with it.
    named: Result<Option<B256>, &'static str>,
    /// A pass.
    pub(super) pass: Option<HeaderValue>,
    /// Whether something is shown that names an account.
    pub(super) names_account: bool,
}

/// The request as the upstream gets it, without its body.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    pub(super) method: Method,
    uri: Uri,
    pub(super) headers: HeaderMap,
}

enum Payment {
    Nothing,
    Header(HeaderValue),
    Refused(Refusal),
}

impl Shown {
    /// Reads what a request's headers show, in one walk over them. An empty header is an absent one: some proxies send it so.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let (mut payment, mut is_foreign, mut sign_in, mut key) = (Payment::Nothing, false, None, None);
        let (mut names_account, mut named, mut pass) = (false, Ok(None), None);
        for (name, value) in headers {
            match name.as_str() {
                "payment-signature" | "x-payment" if !value.is_empty() => payment = payment.and(value),
                // MicroAI's: they name no authorization and move no money.
                "x-402-signature" | "x-402-nonce" => is_foreign = true,
                "x-payment-pass" => pass = pass.or(Some(value)),
                "sign-in-with-x" => sign_in = sign_in.or(Some(value)),
                "idempotency-key" => {
                    key = key.or(Some(value));
                    named = named_by(named, value);
                }
                "x-idempotency-key" => named = named_by(named, value),
                "x-api-key" | "authorization" => names_account |= accounts::is_key(name, value),
                _ => {}
            }
        }
        if is_foreign && matches!(payment, Payment::Nothing) {
            payment = Payment::Refused(Refusal::ForeignFormat("X-402-Signature"));
        }
        let key = key.filter(|key| key.len() >= IDEMPOTENCY_KEY_MIN_BYTES);
        Self {
            payment,
            sign_in: sign_in.filter(|value| !value.is_empty()).cloned(),
            sign_in_refused: Cell::new(None),
            idempotency: key.map(|key| secret_digest(key.as_bytes())),
            pass: pass.filter(|value| !value.is_empty()).cloned(),
            names_account,
            named,
        }
    }

    /// What names the call for a caller with a key.
    pub(super) fn name(&self) -> Result<Option<B256>, Problem> {
        self.named.map_err(|what| {
            let message = format!("{what} Nothing was charged.");
            Problem::new(StatusCode::BAD_REQUEST, "bad_idempotency_key", message, MoneyState::Untouched)
                .with("field", "Idempotency-Key")
        })
    }

    pub(super) const fn pays(&self) -> bool {
        !matches!(self.payment, Payment::Nothing)
    }

    pub(super) fn presented(&self) -> Presented<'_> {
        match &self.payment {
            Payment::Nothing => Presented::Nothing,
            Payment::Header(value) => Presented::Header(value.as_bytes()),
            Payment::Refused(refusal) => Presented::Refused(*refusal),
        }
    }
}

/// With one more header that names the call. An empty one is an absent one.
fn named_by(named: Result<Option<B256>, &'static str>, value: &HeaderValue) -> Result<Option<B256>, &'static str> {
    let before = named?;
    if value.is_empty() {
        return Ok(before);
    }
    if value.len() > NAME_MAX_BYTES {
        return Err("The Idempotency-Key has more than 255 characters.");
    }
    let digest = secret_digest(value.as_bytes());
    match before {
        Some(other) if other != digest => Err("There are two Idempotency-Keys, and they differ."),
        Some(_) | None => Ok(Some(digest)),
    }
}

impl Forward {
    /// What the upstream gets of a request. Nothing of what was shown for payment is in it.
    pub(super) fn of(parts: Parts, path: &CleanPath, route: Option<&RoutePlan>, has_accounts: bool) -> Self {
        let Parts { method, uri, mut headers, .. } = parts;
        strip_callers_words(&mut headers);
        if has_accounts {
            accounts::strip(&mut headers);
        }
        Self { method, uri: forwarded(uri, path, route), headers }
    }

    /// The path and query that the upstream gets.
    pub(super) fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    pub(super) fn into_request(self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// The path as it came, or the route's own, and the query with the route's parameters in the place of the caller's of that name.
fn forwarded(uri: Uri, path: &CleanPath, route: Option<&RoutePlan>) -> Uri {
    let clean = |path: &CleanPath| Uri::try_from(path.path_and_query()).expect("a clean path is a URI");
    let Some(route) = route.filter(|route| route.rewrite.is_some() || !route.params.is_empty()) else {
        // Most paths come in normal form: what is parsed already need not be printed and parsed again.
        let is_clean = uri.path() == path.path() && uri.query() == path.query();
        let parsed = uri.into_parts().path_and_query.filter(|parsed| is_clean && parsed.as_str().starts_with('/'));
        return parsed.map_or_else(|| clean(path), Uri::from);
    };
    let query = path.query().unwrap_or_default();
    let mut text = route.rewrite.clone().unwrap_or_else(|| path.path().to_owned());
    let is_ours = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = decode(name);
        !pair.is_empty() && !route.params.iter().any(|(ours, _)| *ours == name)
    };
    let theirs = query.split('&').filter(is_ours).map(str::to_owned);
    let ours = route.params.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    for (nth, pair) in theirs.chain(ours).enumerate() {
        text.push(if nth == 0 && !text.contains('?') { '?' } else { '&' });
        text.push_str(&pair);
    }
    Uri::try_from(text).unwrap_or_else(|_| clean(path))
}

/// A query's name as a form reads it.
fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Payment {
    /// With one more header.
    fn and(self, value: &HeaderValue) -> Self {
        match self {
            Self::Nothing => Self::Header(value.clone()),
            Self::Header(_) | Self::Refused(_) => Self::Refused(Refusal::SeveralCredentials),
        }
    }
}

/// The URL of the resource: beneath the configured origin, or as the caller named it, or as the proxies of ours say that he did.
pub(super) fn resource_url(plan: &Plan, parts: &Parts, path: &CleanPath) -> String {
    if let Some(origin) = &plan.public_url {
        return join([origin, "", "", path.path()], path.query());
    }
    let proxies = plan.trusted_proxies;
    let scheme = if source::is_https(&parts.headers, proxies) == Some(true) { "https" } else { "http" };
    let forwarded = source::host(&parts.headers, proxies);
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = parts.headers.get(HOST).and_then(|host| std::str::from_utf8(host.as_bytes()).ok());
    let plain = |host: &&str| {
        host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_'))
    };
    let host = forwarded.as_ref().map(|host| host.as_str()).or(authority).or(host).filter(plain).unwrap_or("localhost");
    join([scheme, "://", host, path.path()], path.query())
}

/// `format!` would do as well; this is asked for every call.
fn join(parts: [&str; 4], query: Option<&str>) -> String {
    let query_bytes = query.map_or(0, |query| query.len().saturating_add(1));
    let room = parts.iter().fold(query_bytes, |room, part| room.saturating_add(part.len()));
    let mut url = String::with_capacity(room);
    parts.iter().for_each(|part| url.push_str(part));
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    url
}
