//! The HTTP front: a request becomes a `Call`, the flow decides, and its answer becomes a response. It knows no money.

mod answer;
mod check;
pub(crate) mod cors;
mod own;
pub(crate) mod page;
mod paid;
mod prepared;
pub(crate) mod public;
pub(crate) mod rate_headers;
mod request;
mod trust;
mod upload;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gate::{Call, FreePass, Journal, Opened, Permit, Prepaid, Progress, Replay, Route, Unpaid};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use ledger::HoldId;
use protocol::x402::{Challenge, Receipt};
use protocol::{MoneyState, Payer, Refusal};
use proxy::{CleanPath, Peer, Upstream, UpstreamBody, UpstreamFault, UpstreamFaultKind};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::host::{Tasks, WorkerFlow, WorkerHost, now_ms};
use crate::plan::{Plan, RoutePlan};
use crate::price::Prices;
use crate::problem::{Problem, money_of};

use answer::{Body, full};
use request::{Forward, Shown, resource_url, source};
use trust::Word;
use upload::Upload;

pub(crate) use trust::TrustKey;

/// What is never forwarded.
const OWN: &str = "/__pay";

/// How long the body of a repeated request may take, until it is known to be the same.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// What the front does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Passes them on.
    Proxy,
    /// Only says to another proxy whether they are paid for.
    Sidecar,
    /// Passes them on for any payment header, and takes no money.
    Mock,
}

/// What every worker's front shares.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) plan: watch::Receiver<Arc<Plan>>,
    pub(crate) answer_max_bytes: u64,
    pub(crate) role: Role,
    /// Where there is a secret to share with the origin.
    pub(crate) trust: Option<TrustKey>,
    /// Signs the names of holds that a sidecar's proxy reports on.
    pub(crate) names: TrustKey,
}

/// The front of one worker.
#[derive(Clone)]
pub(crate) struct Front(Rc<Inner>);

struct Inner {
    flow: Rc<WorkerFlow>,
    upstream: Option<Upstream>,
    /// The newest; calls under way go on with theirs.
    plan: RefCell<Arc<Plan>>,
    prices: Prices,
    shared: Shared,
    tasks: Tasks,
}

/// What lets a call through to the upstream.
enum Pass<'a> {
    Free(&'a FreePass),
    Paid(&'a mut Permit<WorkerHost>),
    Prepaid(&'a Prepaid<WorkerHost>),
    /// `pontage mock` charges for nothing.
    Mock,
}

/// One call, as far as it was read.
struct Arriving<'a> {
    plan: &'a Plan,
    route: Option<&'a Route>,
    route_plan: Option<&'a RoutePlan>,
    path: &'a CleanPath,
    method: String,
    url: String,
    shown: Shown,
    from: IpAddr,
}

impl Front {
    pub(crate) fn new(
        flow: Rc<WorkerFlow>,
        upstream: Option<Upstream>,
        prices: Prices,
        shared: Shared,
        tasks: Tasks,
    ) -> Self {
        let mut plans = shared.plan.clone();
        let newest = RefCell::new(Arc::clone(&plans.borrow_and_update()));
        let front = Self(Rc::new(Inner { flow, upstream, plan: newest, prices, shared, tasks }));
        let follower = front.clone();
        tokio::task::spawn_local(async move {
            while plans.changed().await.is_ok() {
                *follower.0.plan.borrow_mut() = Arc::clone(&plans.borrow_and_update());
            }
        });
        front
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.plan.borrow())
    }

    /// Answers one request.
    pub(crate) async fn call(self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let path = match CleanPath::parse(request.uri()) {
            Ok(path) => path,
            Err(refusal) => return full(Problem::bad_path(refusal).into_response()),
        };
        // A proxy that puts the caller's path behind ours would be answered for another one.
        if self.0.shared.role == Role::Sidecar && !check::is_normal(request.uri(), &path) {
            return full(check::not_normal().into_response());
        }
        let plan = self.plan();
        if own::is_own(&path) {
            return self.own(&plan, request, &path, peer.address.ip()).await;
        }
        let (mut parts, body) = request.into_parts();
        proxy::strip_hop_by_hop(&mut parts.headers);
        match self.0.shared.role {
            Role::Proxy => self.proxied(&plan, parts, body, &path, peer.address.ip()).await,
            Role::Mock => self.mocked(&plan, parts, body, &path).await,
            Role::Sidecar => full(Problem::not_found().into_response()),
        }
    }

    async fn proxied(
        &self,
        plan: &Plan,
        parts: Parts,
        body: Incoming,
        path: &CleanPath,
        from: IpAddr,
    ) -> Response<Body> {
        let arriving = Arriving::of(plan, &parts, path, parts.method.as_str(), from);
        let forward = Forward::of(parts, path, arriving.route_plan);
        match self.open(&arriving).await {
            Opened::Free(pass) => self.free(pass, forward, body).await,
            Opened::Permit(permit) => self.paid(&arriving, body, forward, permit).await,
            Opened::Replay(Replay::Stored { hold, receipt }) => self.stored(body, hold, receipt).await,
            other => full(self.refused(&arriving, other)),
        }
    }

    /// Judges a call by the flow.
    async fn open(&self, arriving: &Arriving<'_>) -> Opened<WorkerHost> {
        let quoted = match (arriving.route, arriving.route_plan.and_then(|route| route.quoted.as_ref())) {
            (Some(route), Some(quoted)) => {
                let target = arriving.path.path_and_query();
                let call = (arriving.method.as_str(), target.as_str());
                self.0.prices.of(quoted, &route.id, call, arriving.shown.pays(), now_ms()).await
            }
            _ => Vec::new(),
        };
        let call = arriving.call(&quoted, None);
        self.0.flow.open(&arriving.plan.snapshot, &call, |_, _| true).await
    }

    /// The answer to a call that is not run.
    fn refused(&self, arriving: &Arriving<'_>, opened: Opened<WorkerHost>) -> Response<Bytes> {
        match opened {
            Opened::Blocked => Problem::blocked().into_response(),
            Opened::Challenge { challenge, refusal } => {
                if let Some(refusal) = refusal {
                    info!(
                        path = short(arriving.path.path()),
                        reason = refusal.code(),
                        field = refusal.field(),
                        "payment refused"
                    );
                }
                Problem::challenge(arriving.dress(challenge), refusal).into_response()
            }
            Opened::SignIn => Problem::sign_in(arriving.dress(Challenge::default())).into_response(),
            Opened::TooMany => Problem::too_many(1).into_response(),
            Opened::Replay(replay) => Problem::replay(replay).into_response(),
            Opened::Fault(fault) => {
                warn!(path = short(arriving.path.path()), %fault, "a payment could not be taken");
                Problem::fault(fault).into_response()
            }
            // They are run; whoever asks for their answer without running them has nothing for the caller.
            Opened::Free(_) | Opened::Permit(_) => Problem::blocked().into_response(),
        }
    }

    /// The one way to the upstream: with what the flow gave for this call.
    async fn run(&self, pass: Pass<'_>, request: Request<Upload>) -> Result<Response<UpstreamBody>, UpstreamFault> {
        let upstream = self.0.upstream.as_ref().expect("only a sidecar has no upstream, and it runs nothing");
        let on_sent = || match pass {
            Pass::Free(FreePass { .. }) | Pass::Prepaid(Prepaid { .. }) | Pass::Mock => {}
            Pass::Paid(permit) => permit.reached(Progress::Sent),
        };
        upstream.send(request, on_sent).await
    }

    /// Tells the origin about the call.
    fn tell_origin(&self, word: &Word, forward: &mut Forward) {
        let (method, target) = (forward.method.clone(), forward.path_and_query().to_owned());
        let key = self.0.shared.trust.as_ref();
        word.put(&mut forward.headers, key, now_ms() / 1_000, method.as_str(), &target);
    }

    /// Passes a call on unpaid.
    async fn free(&self, pass: FreePass, mut forward: Forward, body: Incoming) -> Response<Body> {
        if let Some(word) = Word::unpaid(pass.why()) {
            self.tell_origin(&word, &mut forward);
        }
        if pass.why() == Unpaid::Unverified {
            warn!(path = short(forward.path_and_query()), "nobody can verify payments: a call is passed on unpaid");
        }
        let (upload, _) = Upload::new(body);
        match self.run(Pass::Free(&pass), forward.into_request(upload)).await {
            Ok(response) => answer::pass(response),
            Err(fault) => full(upstream_problem(&fault, "No payment was asked for.").into_response()),
        }
    }

    /// `pontage mock`: any payment header pays, nothing is verified and nothing moves.
    async fn mocked(&self, plan: &Plan, parts: Parts, body: Incoming, path: &CleanPath) -> Response<Body> {
        let arriving = Arriving::of(plan, &parts, path, parts.method.as_str(), IpAddr::from([127, 0, 0, 1]));
        let mut forward = Forward::of(parts, path, arriving.route_plan);
        let pays = arriving.shown.pays();
        let unpaid = Arriving { shown: Shown::nothing(), ..arriving };
        match self.open(&unpaid).await {
            Opened::Free(pass) => return self.free(pass, forward, body).await,
            Opened::Challenge { .. } if pays => {}
            other => return full(self.refused(&unpaid, other)),
        }
        self.tell_origin(&Word::mock(), &mut forward);
        let (upload, _) = Upload::new(body);
        match self.run(Pass::Mock, forward.into_request(upload)).await {
            Ok(response) => answer::mocked(response),
            Err(fault) => full(upstream_problem(&fault, "Nothing moves in mock mode.").into_response()),
        }
    }

    /// Gives a stored answer to a caller who knows the secret, if his request's body is the same.
    async fn stored(&self, body: Incoming, hold: HoldId, receipt: Receipt) -> Response<Body> {
        // Whoever dawdles with his body is not waited for: his answer stays where it is.
        let digest = tokio::time::timeout(BODY_WAIT, Upload::drain(body)).await.ok().flatten();
        let money = money_of(&receipt);
        match self.0.flow.journal.answer(hold).await {
            Err(fault) => full(Problem::fault(gate::Fault { money, ..fault }).into_response()),
            Ok(Some(answer)) if digest.is_some() && digest == answer.request_digest => answer::stored(answer, &receipt),
            // The first call's body was not read to its end, or this one's: nobody can say whether they are the same.
            Ok(Some(answer)) if digest.is_none() || answer.request_digest.is_none() => {
                full(Problem::replay(Replay::AlreadyServed(receipt)).into_response())
            }
            Ok(Some(_)) => full(Problem::replay(Replay::Conflict(money)).into_response()),
            Ok(None) => full(Problem::replay(Replay::AlreadyServed(receipt)).into_response()),
        }
    }
}

impl<'a> Arriving<'a> {
    fn of(plan: &'a Plan, parts: &Parts, path: &'a CleanPath, method: &str, from: IpAddr) -> Self {
        let position = plan.snapshot.position(method, path.path());
        Self {
            plan,
            route: position.and_then(|position| plan.snapshot.routes.get(position)),
            route_plan: position.and_then(|position| plan.route(position)),
            path,
            method: method.to_owned(),
            url: resource_url(plan, parts, path),
            shown: Shown::of(&parts.headers),
            from,
        }
    }

    fn call<'c>(&'c self, quoted: &'c [gate::Terms], signed_in: Option<Payer>) -> Call<'c> {
        Call {
            method: &self.method,
            path: self.path.path(),
            url: &self.url,
            presented: self.shown.presented(),
            idempotency: self.shown.idempotency,
            source: source(self.from),
            route: self.route,
            quoted,
            signed_in,
        }
    }

    /// Adds what the route says about itself.
    fn dress(&self, mut challenge: Challenge) -> Challenge {
        challenge.resource.url.clone_from(&self.url);
        if let Some(route) = self.route_plan {
            challenge.resource.description.clone_from(&route.description);
            challenge.resource.mime_type.clone_from(&route.mime_type);
            challenge.extensions = route.extensions.clone();
        }
        challenge
    }
}

fn upstream_problem(fault: &UpstreamFault, money: &str) -> Problem {
    match fault.kind {
        UpstreamFaultKind::HeadTimeout | UpstreamFaultKind::ConnectTimeout | UpstreamFaultKind::IdleTimeout => {
            Problem::upstream(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", money)
        }
        UpstreamFaultKind::Connect
        | UpstreamFaultKind::Tls
        | UpstreamFaultKind::Reset
        | UpstreamFaultKind::Protocol
        | UpstreamFaultKind::RequestBody => Problem::upstream(StatusCode::BAD_GATEWAY, "bad_gateway", money),
    }
}

/// Payment words of an upstream or a caller that must not pass: they would be taken for ours. CGI and its kin read an underscore
/// as a hyphen.
fn strip_payment_words(headers: &mut HeaderMap) {
    let names: Vec<_> = headers.keys().filter(|name| is_payment_word(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn is_payment_word(name: &str) -> bool {
    let as_read = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let begins =
        |word: &str| name.len() >= word.len() && name.bytes().map(as_read).zip(word.bytes()).all(|(a, b)| a == b);
    let is = |word: &str| name.len() == word.len() && begins(word);
    begins("x-pay-")
        || begins("x-payment")
        || begins("payment-")
        || is("x-402-signature")
        || is("x-402-nonce")
        || is("sign-in-with-x")
}

/// The beginning of a path, for a log line.
fn short(path: &str) -> &str {
    path.char_indices().nth(128).map_or(path, |(end, _)| path.get(..end).unwrap_or_default())
}

fn bytes(text: Vec<u8>) -> Bytes {
    Bytes::from(text)
}
