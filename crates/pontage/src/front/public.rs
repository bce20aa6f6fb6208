//! What the gate tells about itself: its manifest, the descriptor of x402, OpenAPI, and how it is doing. The documents are rendered
//! once for each configuration and kept as bytes. They name no upstream, no node, no parameter and no allowlist.

mod describe;
mod health;
mod openapi;

use bytes::Bytes;
use gate::Snapshot;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::Config;

pub(crate) use describe::{dollars, method, rail};
pub(crate) use health::{Health, Readiness, livez, status};

/// A reload shows within this time; until then a reader need not ask again.
const FRESH: HeaderValue = HeaderValue::from_static("public, max-age=60");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One of the gate's own endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Health,
    Manifest,
    WellKnown,
    OpenApi,
    Livez,
    Readyz,
    Status,
}

impl Endpoint {
    /// The endpoint of a path: in any case of letters, as routes are matched.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let known = [
            ("/__pay/health", Self::Health),
            ("/__pay/manifest", Self::Manifest),
            ("/.well-known/x402", Self::WellKnown),
            ("/openapi.json", Self::OpenApi),
            ("/livez", Self::Livez),
            ("/readyz", Self::Readyz),
            ("/__pay/status", Self::Status),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(path)).map(|(_, endpoint)| endpoint)
    }
}

/// The documents of one configuration.
#[derive(Clone, Debug)]
pub(crate) struct Public {
    manifest: Document,
    well_known: Document,
    openapi: Option<Document>,
    /// Whether `/status` is nobody else's.
    pub(crate) has_status: bool,
}

/// Rendered JSON, and the tag that names this very text.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    body: Bytes,
    etag: HeaderValue,
}

impl Public {
    /// Renders a configuration and what it was compiled to. With a route for `/openapi.json` that document is the upstream's.
    pub(crate) fn render(config: &Config, snapshot: &Snapshot) -> Self {
        let upstreams = config.routes.iter().any(|route| Endpoint::of(route.path.as_str()) == Some(Endpoint::OpenApi));
        let is_blocked = snapshot.default_action == gate::DefaultAction::Block;
        Self {
            has_status: is_blocked && snapshot.find("GET", "/status").is_none(),
            manifest: Document::new(&describe::manifest(config, snapshot)),
            well_known: Document::new(&describe::well_known(config, snapshot)),
            openapi: (!upstreams).then(|| Document::new(&openapi::openapi(config))),
        }
    }

    /// The document of an endpoint. `None` where it has none: its answer is made each time, or it is the upstream's.
    pub(crate) fn document(&self, endpoint: Endpoint) -> Option<&Document> {
        match endpoint {
            Endpoint::Manifest => Some(&self.manifest),
            Endpoint::WellKnown => Some(&self.well_known),
            Endpoint::OpenApi => self.openapi.as_ref(),
            Endpoint::Health | Endpoint::Livez | Endpoint::Readyz | Endpoint::Status => None,
        }
    }
}

impl Document {
    fn new(value: &Value) -> Self {
        let body = Bytes::from(value.to_string());
        let digest = Sha256::digest(&body);
        let tag = format!("\"{}\"", alloy_primitives::hex::encode(&digest[..16]));
        Self { body, etag: HeaderValue::try_from(tag).expect("hex in quotes is a header value") }
    }

    /// The document, or 304 for whoever has it. GET and HEAD alone.
    pub(crate) fn answer(&self, method: &Method, request: &HeaderMap) -> Response<Bytes> {
        if let Some(refused) = refuse_method(method) {
            return refused;
        }
        let known = request.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok()).any(|tags| {
            tags.split(',').any(|tag| {
                let tag = tag.trim();
                tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes()
            })
        });
        let (status, body) =
            if known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, self.body.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(CACHE_CONTROL, FRESH);
        headers.insert(ETAG, self.etag.clone());
        response
    }
}

/// The answer to a method that the gate's own endpoints do not have.
pub(crate) fn refuse_method(method: &Method) -> Option<Response<Bytes>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let body = json!({ "status": 405, "error": "method_not_allowed", "message": "This is asked for with GET.", "money": "untouched" });
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, &body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(response)
}

/// An answer that holds for this moment only.
fn answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

#[cfg(test)]
mod tests;
