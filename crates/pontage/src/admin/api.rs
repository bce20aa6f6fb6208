//! From a request to its answer: who asks, whether he may, whether it was done before, and what is noted of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use proxy::{Incoming, Peer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::{Handle, KnownRequest, Store};
use tracing::info;

use super::ask::{Ask, Once, Who};
use super::endpoint::{Endpoint, Outcome, Reply, is_id};
use super::paygate::{self, Meant};
use super::refused::Refused;
use super::table::ENDPOINTS;
use super::who::Door;
use crate::config::AccountsConfig;
use crate::operation::Operation;

pub(super) const BODY_MAX_BYTES: usize = 1024 * 1024;
const BODY_WAIT: Duration = Duration::from_secs(30);
const KEY_MAX_BYTES: usize = 255;
const NAMES: [&str; 2] = ["idempotency-key", "x-idempotency-key"];
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const NEXT: HeaderName = HeaderName::from_static("x-next-cursor");
/// Members of an answer that are shown once.
const ONCE: [&str; 2] = ["secret", "token"];

/// Who may come in, and what the configuration says of accounts.
pub(super) type Entrance = (Door, Option<AccountsConfig>);

/// What handlers work with.
pub(super) struct Api {
    pub(super) journal: Handle,
    pub(super) store: Store,
    pub(super) operation: Operation,
    pub(super) door: Door,
    /// `None` where the gate has no keys.
    pub(super) accounts: Option<AccountsConfig>,
    /// Acts that are under way, by the digest of their `Idempotency-Key`.
    running: RefCell<BTreeSet<[u8; 32]>>,
}

/// An endpoint, and what stands for the `{…}` in its path.
struct Found {
    endpoint: &'static Endpoint,
    values: Vec<String>,
}

impl Api {
    pub(super) fn new(store: Store, operation: Operation, (door, accounts): Entrance) -> anyhow::Result<Self> {
        Ok(Self { journal: store.handle()?, store, operation, door, accounts, running: RefCell::default() })
    }

    /// Answers what is beneath `/admin/v1`, and PayGate's paths.
    pub(super) async fn answer(self: &Rc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let who = match self.door.admit(&parts.headers, peer.address.ip(), &self.journal) {
            Ok(who) => who,
            Err(refused) => return refused.into_response(),
        };
        if paygate::has(parts.uri.path()) {
            return match self.meant(who, &parts, body).await {
                Ok(ask) => self.carried(ask).await,
                Err(refused) => refused.into_response(),
            };
        }
        let Found { endpoint, values } = match find(&parts.method, parts.uri.path()) {
            Ok(found) => found,
            Err(response) => return response,
        };
        match self.ask(endpoint, values, who, &parts, body).await {
            Ok(ask) => self.carried(ask).await,
            Err(refused) => refused.into_response(),
        }
    }

    async fn carried(self: &Rc<Self>, ask: Ask) -> Response<Bytes> {
        let (endpoint, name) = (ask.endpoint, ask.who.name.clone());
        let response = self.carry(ask).await;
        if endpoint.mutates() {
            info!(admin = name, act = endpoint.name, status = response.status().as_u16(), "an admin's act");
        }
        response
    }

    /// Reads a request as far as its endpoint says.
    async fn ask(
        &self,
        endpoint: &'static Endpoint,
        values: Vec<String>,
        who: Who,
        parts: &Parts,
        body: Incoming,
    ) -> Result<Ask, Refused> {
        may(endpoint, &who)?;
        let (query, dry_run) = query(endpoint, parts.uri.query().unwrap_or_default())?;
        if endpoint.body.is_some() {
            is_json(parts)?;
        }
        let body = whole(body).await?;
        let once = once(endpoint, &who, parts, &body)?.filter(|_| !dry_run);
        Ok(Ask { endpoint, values, query, body, who, dry_run, once, seen: std::sync::Arc::default() })
    }

    /// The same of a path of PayGate's.
    async fn meant(&self, who: Who, parts: &Parts, body: Incoming) -> Result<Ask, Refused> {
        let theirs = whole(body).await?;
        if !theirs.is_empty() {
            is_json(parts)?;
        }
        let Some(meant) = paygate::meant(self, parts, &theirs) else {
            let message = "This path is asked for with another method.";
            return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message));
        };
        let Meant { endpoint, values, query: text, body } = meant?;
        may(endpoint, &who)?;
        let (query, dry_run) = query(endpoint, &text)?;
        let once = once(endpoint, &who, parts, &theirs)?.filter(|_| !dry_run);
        Ok(Ask { endpoint, values, query, body, who, dry_run, once, seen: std::sync::Arc::default() })
    }

    /// Carries a request out, once for each `Idempotency-Key`. It goes on when its caller leaves.
    async fn carry(self: &Rc<Self>, ask: Ask) -> Response<Bytes> {
        let Some((once, fingerprint)) = ask.once else {
            return self.run(ask).await;
        };
        if !self.running.borrow_mut().insert(once) {
            let refused = Refused::conflict("in_flight", "A request with this Idempotency-Key is being carried out.");
            return refused.retry_after(1).into_response();
        }
        let api = Rc::clone(self);
        let task = tokio::task::spawn_local(async move {
            let answer = match api.journal.known_request(once) {
                Err(fault) => Refused::fault(fault).into_response(),
                Ok(Some(known)) => again(&known, fingerprint),
                Ok(None) => api.run(ask).await,
            };
            api.running.borrow_mut().remove(&once);
            answer
        });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request to the admin API broke off");
            self.running.borrow_mut().remove(&once);
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The log says why.").into_response()
        })
    }

    async fn run(&self, ask: Ask) -> Response<Bytes> {
        let outcome: Outcome = (ask.endpoint.run)(self, &ask).await;
        let reply = match outcome {
            Ok(reply) => reply,
            Err(refused) => return refused.into_response(),
        };
        let seen = ask.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if ask.dry_run {
            let body = json!({
                "dry_run": true, "changes": seen.changed, "before": seen.before, "after": seen.after,
            });
            return json_response(StatusCode::OK, &body);
        }
        let status = StatusCode::from_u16(ask.endpoint.answer.0).unwrap_or(StatusCode::OK);
        match reply {
            Reply::Csv(text, next) => csv_response(text, next),
            Reply::Json(body) => {
                if let (Some((once, _)), true) = (ask.once, seen.changed) {
                    let mut kept = body.clone();
                    forget_secrets(&mut kept);
                    // Who asks again is told that it was done, also where its answer was not kept.
                    self.journal.keep_request(once, status.as_u16(), kept.to_string()).await.ok();
                }
                json_response(status, &body)
            }
        }
    }
}

/// Whether somebody's role is enough.
fn may(endpoint: &Endpoint, who: &Who) -> Result<(), Refused> {
    if who.role < endpoint.role {
        let message = format!("This takes the role {}; yours is {}.", endpoint.role.code(), who.role.code());
        return Err(Refused::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    Ok(())
}

fn is_json(parts: &Parts) -> Result<(), Refused> {
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let message = "The body is JSON: Content-Type: application/json.";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message));
    }
    Ok(())
}

/// The body, if it is not too large.
async fn whole(body: Incoming) -> Result<Bytes, Refused> {
    match tokio::time::timeout(BODY_WAIT, Limited::new(body, BODY_MAX_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("A body has at most {BODY_MAX_BYTES} bytes.");
            Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
        }
        Ok(Err(_)) | Err(_) => Err(Refused::field("body", "It did not come whole.")),
    }
}

/// The endpoint of a path.
fn find(method: &Method, path: &str) -> Result<Found, Response<Bytes>> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let beneath: Vec<Found> =
        ENDPOINTS.iter().filter_map(|endpoint| Some(Found { endpoint, values: fits(endpoint.path, path)? })).collect();
    let mut methods: Vec<&str> = beneath.iter().map(|found| found.endpoint.method).collect();
    // A path that is written out goes before one with a name in it.
    let found =
        beneath.into_iter().filter(|found| found.endpoint.method == method).min_by_key(|found| found.values.len());
    found.ok_or_else(|| {
        if methods.is_empty() {
            return Refused::unknown("endpoint").into_response();
        }
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        let allow = methods.join(", ");
        let message = format!("This takes {allow}.");
        let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        let mut response = refused.into_response();
        if let Ok(allow) = HeaderValue::try_from(allow) {
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    })
}

/// What stands for the `{…}` of a pattern, if a path fits it.
fn fits(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut values, mut parts) = (Vec::new(), path.split('/'));
    for word in pattern.split('/') {
        let part = parts.next()?;
        match word {
            "{id}" if is_id(part) => values.push(part.to_owned()),
            "{number}" if is_number(part) => values.push(part.to_owned()),
            "{name}" | "{key}" if is_name(part) => values.push(part.to_owned()),
            _ if word == part => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(values)
}

fn is_number(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether something can be called so in a path.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}

/// Reads a query: every member is known and is what its endpoint says. The second is `dry_run`.
fn query(endpoint: &Endpoint, text: &str) -> Result<(BTreeMap<String, String>, bool), Refused> {
    let (mut members, mut dry_run) = (BTreeMap::new(), false);
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if name == "dry_run" && endpoint.mutates() {
            dry_run = match value.as_ref() {
                "true" => true,
                "false" => false,
                _ => return Err(Refused::field("dry_run", "This is true or false.")),
            };
            continue;
        }
        let Some(param) = endpoint.query.iter().find(|param| param.name == name) else {
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(Refused::field(name, "The query of this endpoint has no such member."));
        };
        if let Some(message) = param.kind.refuse(&value) {
            return Err(Refused::field(param.name, message));
        }
        if members.insert(param.name.to_owned(), value.into_owned()).is_some() {
            return Err(Refused::field(param.name, "This is given twice."));
        }
    }
    Ok((members, dry_run))
}

/// The digests of an `Idempotency-Key`, whose caller it is, and of what it names.
fn once(endpoint: &Endpoint, who: &Who, parts: &Parts, body: &Bytes) -> Result<Option<Once>, Refused> {
    let mut shown = NAMES.into_iter().flat_map(|name| parts.headers.get_all(name)).map(HeaderValue::as_bytes);
    let Some(key) = shown.next().filter(|_| endpoint.mutates()) else { return Ok(None) };
    let fits = (1..=KEY_MAX_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if !fits || shown.any(|other| other != key) {
        let message = format!("This is one text of 1 to {KEY_MAX_BYTES} visible ASCII characters.");
        return Err(Refused::field("Idempotency-Key", message));
    }
    let digest = |parts: &[&[u8]]| -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    };
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let fingerprint = digest(&[endpoint.method.as_bytes(), target.as_bytes(), body]);
    Ok(Some((digest(&[b"pontage admin", &who.id, key]), fingerprint)))
}

/// The answer to what was done before.
fn again(known: &KnownRequest, fingerprint: [u8; 32]) -> Response<Bytes> {
    if known.fingerprint != fingerprint {
        let message = "Another request had this Idempotency-Key. Nothing was done for this one.";
        let refused = Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", message);
        return refused.into_response();
    }
    match &known.answer {
        Some((status, body)) => {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let mut response = json_response(StatusCode::from_u16(*status).unwrap_or(StatusCode::OK), &body);
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            response
        }
        None => {
            let message = "This was done before, once, and its answer was not kept. Read what came of it.";
            Refused::conflict("already_done", message).into_response()
        }
    }
}

/// What is shown once is not kept.
fn forget_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if ONCE.contains(&name.as_str()) {
                    *member = Value::Null;
                } else {
                    forget_secrets(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget_secrets),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(super) fn json_response(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn csv_response(text: String, next: Option<String>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
        headers.insert(NEXT, next);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found() {
        let id = "0123456789abcdef0123456789abcdef";
        let found = find(&Method::GET, &format!("/admin/v1/keys/{id}/balance")).ok().unwrap();
        assert_eq!((found.endpoint.name, found.values), ("balance", vec![id.to_owned()]));
        for (method, path, status) in [
            (Method::GET, "/admin/v1/keys/a b/balance".to_owned(), 404),
            (Method::GET, format!("/admin/v1/keys/{id}/balance/"), 404),
            (Method::GET, format!("/admin/v1/charges/{}", id.to_uppercase()), 404),
            (Method::DELETE, format!("/admin/v1/keys/{id}/balance"), 405),
            (Method::GET, "/admin/v1".to_owned(), 404),
        ] {
            assert_eq!(find(&method, &path).err().unwrap().status().as_u16(), status, "{method} {path}");
        }
    }

    #[test]
    fn secrets_are_shown_once() {
        let mut value =
            json!({ "id": "a", "secret": "pg_1", "keys": [{ "secret": "pg_2", "name": "b" }], "token": "pga_3" });
        forget_secrets(&mut value);
        assert!(!value.to_string().contains("pg"), "{value}");
        let mut asked = json!({ "keys": [{ "secret": "pg_2" }], "token": "x" });
        super::super::ask::mask(&mut asked);
        assert_eq!(asked, json!({ "keys": [{ "secret": "***" }], "token": "***" }));
        let csv = "name,secret\na,pg_0123456789abcdef0123456789abcdef0123456789abcdef\n";
        let mut asked =
            json!({ "csv": csv, "note": "was pga_00", "tags": { "pgt_a.b": "x", "team": "a" }, "path": ["pgs_00"] });
        super::super::ask::mask(&mut asked);
        assert_eq!(
            asked,
            json!({ "csv": "***", "note": "***", "tags": { "***": null, "team": "a" }, "path": ["***"] })
        );
    }
}
