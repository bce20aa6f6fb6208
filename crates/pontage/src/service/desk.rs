//! The facilitator's HTTP: who asks, what for, and the answer.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use facilitator::point::{self, Act};
use facilitator::service::{Listing, Outcome, Service, Verdict};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use protocol::Network;
use protocol::x402::{Asked, BODY_MAX_BYTES, Version};
use proxy::{Incoming, Peer};
use serde_json::{Value, json};
use tracing::error;

use super::answer;
use super::callers::{Callers, Known, Turned};
use super::catalogue::{Catalogue, NotListed};
use crate::config::Config;
use crate::host::{Tasks, WorkerHost, now_ms};
use crate::link::{Chains, Link};
use crate::operation::Operation;
use crate::telemetry::{Finished, Limit, MoneyOutcome};

/// What is counted by path.
pub(super) const PATHS: [&str; 2] = ["/verify", "/settle"];
/// What any web page may read.
const PUBLIC: [&str; 3] = ["/supported", "/discovery/resources", "/discovery/search"];
/// How long a body may take.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// What every worker shares.
#[derive(Clone)]
pub(super) struct Shared {
    callers: Callers,
    operation: Operation,
    supported: Bytes,
    /// Where there is one.
    catalogue: Option<Catalogue>,
}

/// The facilitator of one worker.
#[derive(Clone)]
pub(super) struct Desk {
    service: Rc<Service<store::Handle, Chains, WorkerHost>>,
    shared: Shared,
    tasks: Tasks,
}

/// An answer and what is told of it.
struct Told {
    response: Response<Bytes>,
    outcome: MoneyOutcome,
    caller: Option<Known>,
    asked: Option<Box<Asked>>,
    reason: Option<&'static str>,
    limited: Option<Limit>,
}

impl Told {
    fn of(outcome: MoneyOutcome, response: Response<Bytes>) -> Self {
        Self { response, outcome, caller: None, asked: None, reason: None, limited: None }
    }
}

impl Shared {
    pub(super) fn new(
        config: &Config,
        callers: Callers,
        catalogue: Option<Catalogue>,
        operation: Operation,
        links: &[Link],
    ) -> Self {
        let supported = Bytes::from(supported(config, links).to_string());
        Self { callers, operation, supported, catalogue }
    }
}

/// What is settled here, and by which keys.
fn supported(config: &Config, links: &[Link]) -> Value {
    let networks = || config.networks.iter().map(|network| network.network);
    let kind = |version: u8, network: String| json!({ "x402Version": version, "scheme": "exact", "network": network });
    let v2 = networks().map(|network| kind(2, network.to_string()));
    let v1 = networks().filter_map(Network::v1_name).map(|name| kind(1, name.to_owned()));
    let mut signers: Vec<String> = links.iter().flat_map(Link::signers).map(|signer| signer.to_string()).collect();
    signers.sort();
    signers.dedup();
    let extensions: &[&str] =
        if config.service.as_ref().is_some_and(|service| service.discovery) { &["bazaar"] } else { &[] };
    json!({ "kinds": v2.chain(v1).collect::<Vec<_>>(), "extensions": extensions, "signers": { "eip155:*": signers } })
}

impl Desk {
    pub(super) fn new(service: Rc<Service<store::Handle, Chains, WorkerHost>>, shared: Shared, tasks: Tasks) -> Self {
        Self { service, shared, tasks }
    }

    /// Answers one request.
    pub(super) async fn call(self, request: Request<Incoming>, peer: Peer) -> Response<Full<Bytes>> {
        let start = Instant::now();
        let from = self.shared.callers.address(peer.address.ip(), request.headers());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let told = self.answer(request, from).await;
        let proven = matches!(told.outcome, MoneyOutcome::Verified | MoneyOutcome::Settled | MoneyOutcome::Pending);
        let payer = told.asked.as_ref().filter(|_| proven).map(|asked| protocol::Payer(asked.credential.fields.from));
        self.shared.operation.telemetry.finished(&Finished {
            method: method.as_str(),
            path: &path,
            route: PATHS.into_iter().find(|known| *known == path),
            caller: told.caller.as_ref().and_then(Known::name),
            status: told.response.status().as_u16(),
            outcome: told.outcome,
            payer,
            amount: told.asked.as_ref().filter(|_| proven).map(|asked| asked.requirements.amount()),
            hold: None,
            reason: told.reason,
            limited: told.limited,
            source_ip: from,
            latency_us: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
            upstream_us: None,
            upstream_status: None,
            settlement_us: None,
        });
        let mut response = told.response;
        if PUBLIC.contains(&path.as_str()) {
            // Nothing here is anybody's own: web pages may read it.
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        response.map(Full::new)
    }

    async fn answer(&self, request: Request<Incoming>, from: IpAddr) -> Told {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let own = |response| Told::of(MoneyOutcome::Own, response);
        match (method, path.as_str()) {
            (Method::POST, "/verify") => self.verify(request, from).await,
            (Method::POST, "/settle") => self.settle(request, from).await,
            (_, "/verify" | "/settle") => own(answer::method_not_allowed("POST")),
            (Method::GET | Method::HEAD, "/supported") => own(self.supported()),
            (_, "/supported") => own(answer::method_not_allowed("GET, HEAD")),
            (Method::GET | Method::HEAD, path @ ("/discovery/resources" | "/discovery/search")) => {
                self.look_up(path, request.uri().query().unwrap_or_default(), from)
            }
            (Method::POST, "/discovery/resources") => self.register(request, from).await,
            (_, "/discovery/resources") => own(answer::method_not_allowed("GET, HEAD, POST")),
            (_, "/discovery/search") => own(answer::method_not_allowed("GET, HEAD")),
            (method, path @ ("/livez" | "/readyz")) => {
                let answer = self.shared.operation.answer(path, &method, request.headers());
                own(answer.unwrap_or_else(answer::not_found))
            }
            _ => own(answer::not_found()),
        }
    }

    fn supported(&self) -> Response<Bytes> {
        let mut response = answer::say(StatusCode::OK, &Value::Null);
        *response.body_mut() = self.shared.supported.clone();
        response
    }

    async fn verify(&self, request: Request<Incoming>, from: IpAddr) -> Told {
        let (caller, asked, _) = match self.asked("/verify", request, from).await {
            Ok(asked) => asked,
            Err(told) => return told,
        };
        let verdict = self.service.verify(&asked).await;
        // Recovering a signature takes as long as all the rest together. Whoever else has asked meanwhile is looked at first, so that
        // the answers go out one behind the other: whoever reads them is woken once and not for each.
        tokio::task::yield_now().await;
        let (outcome, reason) = match verdict {
            Verdict::Valid(_) => (MoneyOutcome::Verified, None),
            Verdict::Refused(refusal, _) => (MoneyOutcome::Refused, Some(refusal.code())),
            Verdict::Fault(fault) => (MoneyOutcome::Fault, Some(fault.code())),
        };
        let told = Told::of(outcome, answer::verdict(verdict));
        Told { caller: Some(caller), asked: Some(asked), reason, ..told }
    }

    /// Settlement goes on when the caller hangs up.
    async fn settle(&self, request: Request<Incoming>, from: IpAddr) -> Told {
        let (caller, asked, body) = match self.asked("/settle", request, from).await {
            Ok(asked) => asked,
            Err(told) => return told,
        };
        let (service, payment) = (Rc::clone(&self.service), asked.clone());
        let settled = self.tasks.spawn(async move { service.settle(&payment).await }).await;
        let outcome = settled.unwrap_or_else(|error| {
            error!(%error, "a settlement's task ended without an answer");
            Outcome::Fault(gate::Fault { kind: gate::FaultKind::Invariant, money: protocol::MoneyState::Unknown })
        });
        let (word, reason) = match outcome {
            Outcome::Settled(_) | Outcome::SettledBefore(_) => (MoneyOutcome::Settled, None),
            Outcome::Refused(refusal, _) => (MoneyOutcome::Refused, Some(refusal.code())),
            Outcome::Pending(..) => (MoneyOutcome::Pending, None),
            Outcome::Fault(fault) => (MoneyOutcome::Fault, Some(fault.code())),
        };
        if let (Outcome::Settled(_), Some(catalogue)) = (outcome, self.shared.catalogue.clone()) {
            let (service, payment) = (Rc::clone(&self.service), asked.clone());
            self.tasks.spawn(async move { catalogue.settled(&payment, &body, &service.journal).await });
        }
        point::before(Act::Tell);
        let version: Version = asked.credential.accepted.version;
        let told = Told::of(word, answer::outcome(outcome, version, asked.requirements.network));
        Told { caller: Some(caller), asked: Some(asked), reason, ..told }
    }

    /// What is listed. Anybody may ask.
    fn look_up(&self, path: &str, query: &str, from: IpAddr) -> Told {
        if let Err(told) = self.admit_reader(from) {
            return told;
        }
        let answer = self.shared.catalogue.as_ref().map(|catalogue| match path {
            "/discovery/search" => catalogue.search(query),
            _ => catalogue.resources(query),
        });
        let response = match answer {
            None => answer::not_found(),
            Some(None) => answer::bad_query(),
            Some(Some(found)) => answer::say(StatusCode::OK, &found),
        };
        Told::of(MoneyOutcome::Own, response)
    }

    /// A server lists itself. Anybody may, whose key is paid.
    async fn register(&self, request: Request<Incoming>, from: IpAddr) -> Told {
        if let Err(turned) = self.shared.callers.admit_listing(from, now_ms()) {
            return limited(turned);
        }
        let own = |response| Told::of(MoneyOutcome::Own, response);
        let Some(catalogue) = &self.shared.catalogue else { return own(answer::not_found()) };
        let body = match read(request.into_body()).await {
            Ok(body) => body,
            Err(status) => return own(answer::body_refused(status)),
        };
        let said = Listing::of_registration(&body, now_ms() / 1_000).map_err(NotListed::Refused);
        let listed = match said {
            Ok(said) => catalogue.register(said, &self.service.journal).await,
            Err(why) => Err(why),
        };
        own(match listed {
            Ok(Value::Null) => answer::say(StatusCode::OK, &json!({ "removed": true })),
            Ok(item) => answer::say(StatusCode::OK, &item),
            Err(why) => answer::not_listed(why),
        })
    }

    fn admit_reader(&self, from: IpAddr) -> Result<(), Told> {
        self.shared.callers.admit_reader(from, now_ms()).map_err(limited)
    }

    /// Who asks, and for what.
    async fn asked(
        &self,
        path: &'static str,
        request: Request<Incoming>,
        from: IpAddr,
    ) -> Result<(Known, Box<Asked>, Bytes), Told> {
        let known = self.shared.callers.admit(request.headers(), from, now_ms()).map_err(|turned| {
            let outcome = match turned {
                Turned::Unknown => MoneyOutcome::Denied,
                Turned::Limited { .. } => MoneyOutcome::RateLimited,
            };
            let limited = matches!(turned, Turned::Limited { .. }).then_some(Limit::Caller);
            Told { limited, ..Told::of(outcome, answer::turned(turned)) }
        })?;
        let said = |outcome, response| Told { caller: Some(known.clone()), ..Told::of(outcome, response) };
        let body = read(request.into_body()).await;
        let body = body.map_err(|status| said(MoneyOutcome::BadRequest, answer::body_refused(status)))?;
        let asked = Asked::parse(&body).map_err(|refusal| {
            let told = said(MoneyOutcome::Refused, answer::unread(path, refusal));
            Told { reason: Some(refusal.code()), ..told }
        })?;
        if !known.may_pay(asked.requirements.payee) {
            return Err(said(MoneyOutcome::Denied, answer::payee_not_allowed()));
        }
        Ok((known, Box::new(asked), body))
    }
}

/// Too often, by an address.
fn limited(turned: Turned) -> Told {
    Told { limited: Some(Limit::Address), ..Told::of(MoneyOutcome::RateLimited, answer::turned(turned)) }
}

async fn read(body: Incoming) -> Result<Bytes, StatusCode> {
    let whole = Limited::new(body, BODY_MAX_BYTES).collect();
    match tokio::time::timeout(BODY_WAIT, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}
