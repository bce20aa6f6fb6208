//! What arrived, taken apart: the payment, what is forwarded, and the body.

use std::net::IpAddr;

use alloy_primitives::B256;
use gate::{Call, Presented, secret_digest};
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Incoming;
use ledger::Source;
use protocol::Refusal;
use proxy::CleanPath;

use super::strip_payment_words;
use super::upload::Upload;

const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
const X_PAYMENT: HeaderName = HeaderName::from_static("x-payment");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// A shorter key could be guessed, and whoever knows it can fetch the answer: the payment itself is public on the chain.
const IDEMPOTENCY_KEY_MIN_BYTES: usize = 16;
/// MicroAI's headers: they name no authorization and move no money.
const FOREIGN: [HeaderName; 2] = [HeaderName::from_static("x-402-signature"), HeaderName::from_static("x-402-nonce")];

/// A request's head, taken apart.
pub(super) struct Arrived {
    pub(super) parts: Parts,
    pub(super) forward: Forward,
    payment: Payment,
    idempotency: Option<B256>,
}

/// The request as the upstream gets it, without its body.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

enum Payment {
    Nothing,
    Header(HeaderValue),
    Refused(Refusal),
}

impl Arrived {
    pub(super) fn take(request: Request<Incoming>, path: &CleanPath) -> (Self, Incoming) {
        let (mut parts, body) = request.into_parts();
        proxy::strip_hop_by_hop(&mut parts.headers);
        let payment = Payment::of(&parts.headers);
        let key = parts.headers.get(IDEMPOTENCY_KEY).filter(|key| key.len() >= IDEMPOTENCY_KEY_MIN_BYTES);
        let idempotency = key.map(|key| secret_digest(key.as_bytes()));
        let mut headers = parts.headers.clone();
        strip_payment_words(&mut headers);
        let uri = Uri::try_from(path.path_and_query()).expect("a clean path is a URI");
        let forward = Forward { method: parts.method.clone(), uri, headers };
        (Self { parts, forward, payment, idempotency }, body)
    }

    pub(super) fn call<'a>(&'a self, path: &'a CleanPath, url: &'a str, from: IpAddr) -> Call<'a> {
        Call {
            method: self.parts.method.as_str(),
            path: path.path(),
            url,
            presented: match &self.payment {
                Payment::Nothing => Presented::Nothing,
                Payment::Header(value) => Presented::Header(value.as_bytes()),
                Payment::Refused(refusal) => Presented::Refused(*refusal),
            },
            idempotency: self.idempotency,
            source: source(from),
        }
    }
}

/// Where a call came from, as far as exposure is counted: one who has an IPv6 address has all of its /64.
fn source(from: IpAddr) -> Source {
    match from.to_canonical() {
        IpAddr::V4(v4) => Source(v4.to_ipv6_mapped().octets()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, ..] = v6.octets();
            Source([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0])
        }
    }
}

impl Forward {
    pub(super) fn into_request(self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

impl Payment {
    /// An empty header is an absent one: some proxies send it so.
    fn of(headers: &HeaderMap) -> Self {
        let ours = headers.get_all(PAYMENT_SIGNATURE).iter().chain(headers.get_all(X_PAYMENT));
        let mut values = ours.filter(|value| !value.is_empty());
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Self::Refused(Refusal::SeveralCredentials),
            (Some(value), None) => Self::Header(value.clone()),
            (None, _) if FOREIGN.iter().any(|name| headers.contains_key(name)) => {
                Self::Refused(Refusal::ForeignFormat("X-402-Signature"))
            }
            (None, _) => Self::Nothing,
        }
    }
}

/// The URL of the resource as the caller named it.
pub(super) fn resource_url(parts: &Parts, path: &CleanPath) -> String {
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let plain = |host: &&str| {
        host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_'))
    };
    let host = authority.or(host).filter(plain).unwrap_or("localhost");
    format!("http://{host}{}", path.path_and_query())
}
