//! The HTTP front: a request becomes a `Call`, the flow decides, and its answer becomes a response. It knows no money.

mod answer;
mod arriving;
mod check;
pub(crate) mod cors;
mod own;
pub(crate) mod page;
mod paid;
mod prepared;
pub(crate) mod public;
pub(crate) mod rate_headers;
mod request;
mod shared;
mod sign_in;
mod story;
mod trust;
mod upload;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gate::{Call, FreePass, Journal, Opened, Permit, Prepaid, Presented, Progress, Replay, Standing, Unpaid};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use ledger::HoldId;
use protocol::Payer;
use protocol::x402::ext::SIGN_IN_WITH_X;
use protocol::x402::{Challenge, Receipt};
use proxy::{CleanPath, Incoming, Peer, Upstream, UpstreamBody, UpstreamFault, UpstreamFaultKind};
use tracing::warn;

use crate::host::{Tasks, WorkerFlow, WorkerHost, now_ms};
use crate::limits::Key;
use crate::plan::Plan;
use crate::price::Prices;
use crate::problem::{Problem, money_of};
use crate::source;
use crate::telemetry::{Finished, Limit, MoneyOutcome};
use crate::trace::CallTrace;

use answer::{Body, full};
use arriving::Arriving;
use cors::Whose;
use rate_headers::rate_headers;
use request::Forward;
use story::Story;
use trust::Word;
use upload::Upload;

pub(crate) use prepared::Prepared;
pub(crate) use shared::{Role, Shared};

/// What is never forwarded.
const OWN: &str = "/__pay";

/// How long the body of a request may take that must be read before it is judged: one that repeats another, or whose shape is known.
const BODY_WAIT: Duration = Duration::from_secs(30);

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

    /// Answers one request, and tells of it.
    pub(crate) async fn call(self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let begun = Instant::now();
        let (plan, operation) = (self.plan(), &self.0.shared.operation);
        let _present = operation.telemetry.metrics.in_flight();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let from = source::address(peer.address.ip(), request.headers(), plan.trusted_proxies);
        let trace = operation.traces.call(method.as_str(), uri.path(), request.headers());
        let asks = cors::asks(&plan.cors_origins, request.headers());
        let (mut response, position) = match CleanPath::parse(request.uri()) {
            Ok(path) => self.judged(&plan, request, &path, from, &trace).await,
            Err(refusal) => {
                let story = Story::of(MoneyOutcome::BadRequest).because(refusal.code());
                (full(story.with(Problem::bad_path(refusal).into_response())), None)
            }
        };
        let told = response.extensions_mut().remove::<Story>();
        let story = told.unwrap_or(Story::of(MoneyOutcome::Fault).because("untold"));
        cors::decorate(&plan.cors_origins, &asks, story.whose, response.headers_mut());
        if let Some(taken) = story.taken {
            rate_headers(response.headers_mut(), taken);
        }
        let route = position.and_then(|position| plan.snapshot.routes.get(position));
        let finished = Finished {
            method: method.as_str(),
            path: uri.path(),
            route: route.map(|route| route.id.as_str()),
            status: response.status().as_u16(),
            outcome: story.outcome,
            payer: story.payer,
            amount: story.amount,
            hold: story.hold,
            reason: story.reason,
            limited: story.limited,
            source_ip: from,
            latency_us: micros(begun),
            upstream_us: story.upstream_us,
            upstream_status: story.upstream_status,
            settlement_us: story.settlement_us,
        };
        if story.reason == Some(gate::Fault::untouched(gate::FaultKind::Journal).code()) {
            operation.journal_failed();
        }
        operation.telemetry.finished(&finished);
        trace.finished(&finished);
        response
    }

    /// Finds out what a request is for, and answers it. Says which route covers it.
    async fn judged(
        &self,
        plan: &Plan,
        request: Request<Incoming>,
        path: &CleanPath,
        from: IpAddr,
        trace: &CallTrace,
    ) -> (Response<Body>, Option<usize>) {
        if request.method() == Method::CONNECT {
            let refused = Problem::method_not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            return (full(Story::of(MoneyOutcome::BadRequest).because("method_not_allowed").with(refused)), None);
        }
        // A proxy that puts the caller's path behind ours would be answered for another one.
        if self.0.shared.role == Role::Sidecar && !check::is_normal(request.uri(), path) {
            let story = Story::of(MoneyOutcome::BadRequest).because("path_not_normal");
            return (full(story.with(check::not_normal().into_response())), None);
        }
        if let Some(response) = self.published(&request, path) {
            return (Story::of(MoneyOutcome::Own).with(full(response)), None);
        }
        if own::is_own(path) {
            return (Box::pin(self.own(plan, request, path, from, trace)).await, None);
        }
        let position = plan.snapshot.position(request.method().as_str(), path.path());
        let (mut parts, body) = request.into_parts();
        proxy::strip_hop_by_hop(&mut parts.headers);
        let response = match self.0.shared.role {
            Role::Sidecar => Story::of(MoneyOutcome::Own).with(full(Problem::not_found().into_response())),
            Role::Proxy | Role::Mock => {
                let method = parts.method.clone();
                let arriving = Arriving::of(plan, position, &parts, path, method.as_str(), from, trace);
                match self.before_the_flow(&arriving, &method, &parts.headers) {
                    Some(response) => full(response),
                    // What is rare, and what waits for others anyway, is apart: each call's state is as large as its largest part.
                    None if self.0.shared.role == Role::Mock => Box::pin(self.mocked(&arriving, parts, body)).await,
                    None => Box::pin(self.proxied(&arriving, parts, body)).await,
                }
            }
        };
        (response, position)
    }

    /// What needs no flow: preflights, an empty bucket, and the 402 of whoever shows nothing.
    fn before_the_flow(
        &self,
        arriving: &Arriving<'_>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Response<Bytes>> {
        if *method == Method::OPTIONS && arriving.keeps_options() {
            match (self.0.shared.role, arriving.route) {
                (Role::Proxy | Role::Mock, _) => {
                    return Some(Story::of(MoneyOutcome::Preflight).with(arriving.options(headers)));
                }
                // A proxy that asks takes every success for leave to pass the call on.
                (Role::Sidecar, None) => {
                    return Some(Story::of(MoneyOutcome::Blocked).with(Problem::blocked().into_response()));
                }
                (Role::Sidecar, Some(_)) => {}
            }
        }
        if let Err(limited) = self.paced(arriving) {
            return Some(limited);
        }
        let shows = arriving.shown.pays() || arriving.shown.sign_in.is_some();
        let prepared = arriving.route_plan.and_then(|route| route.prepared.as_ref());
        let prepared = prepared.filter(|_| !shows && !arriving.wants_page)?;
        let offered = arriving.route.and_then(|route| match &route.price {
            gate::Price::Due(terms) => terms.offers.first().map(protocol::Offer::amount),
            gate::Price::Free | gate::Price::Quoted(_) => None,
        });
        let story = Story { taken: arriving.taken.get(), amount: offered, ..Story::of(MoneyOutcome::Offered) };
        Some(story.with(prepared.response(&arriving.url)))
    }

    /// Takes from the buckets that are before the flow.
    fn paced(&self, arriving: &Arriving<'_>) -> Result<(), Response<Bytes>> {
        let (limits, now_ms) = (&self.0.shared.limits, now_ms());
        if let (Some(route), true) = (arriving.route, arriving.route_plan.is_some_and(|plan| plan.rate_limit.is_some()))
        {
            let taken = limits.take(Key::Route(&route.id), now_ms);
            arriving.taken.set(taken);
            arriving.allowed(Limit::Route)?;
        }
        let from = source::source(arriving.from);
        if arriving.shown.pays() || arriving.shown.sign_in.is_some() {
            // Counted apart, and not shown: what a payer is told of is his own bucket.
            return match limits.take(Key::Verification(from), now_ms) {
                Some(taken) if !taken.allowed => Err(arriving.limited(taken, Limit::Verification)),
                Some(_) | None => Ok(()),
            };
        }
        if let Some(taken) = limits.take(Key::Address(from), now_ms) {
            arriving.taken.set(Some(taken));
        }
        arriving.allowed(Limit::Address)
    }

    async fn proxied(&self, arriving: &Arriving<'_>, parts: Parts, body: Incoming) -> Response<Body> {
        let busy = || full(Story::of(MoneyOutcome::Busy).with(Problem::overloaded().into_response()));
        let upload = match arriving.fits(&parts, body, &self.0.shared.bodies).await {
            Ok(Some(upload)) => upload,
            Ok(None) => return busy(),
            Err(refused) => return full(refused),
        };
        let forward = Forward::of(parts, arriving.path, arriving.route_plan);
        let Ok(turn) = self.0.shared.turns.take().await else { return busy() };
        answer::holding(turn, self.answered(arriving, forward, upload).await)
    }

    /// The answer to a call that has its turn.
    async fn answered(&self, arriving: &Arriving<'_>, forward: Forward, upload: Upload) -> Response<Body> {
        match self.open(arriving).await {
            Opened::Free(pass) => self.free(arriving, pass, forward, upload).await,
            Opened::Permit(permit) => Box::pin(self.paid(arriving, upload, forward, permit)).await,
            Opened::Replay(Replay::Stored { hold, receipt }) => {
                Story::of(MoneyOutcome::Replayed).with(Box::pin(self.stored(upload, hold, receipt)).await)
            }
            other => full(Box::pin(self.refused(arriving, other)).await),
        }
    }

    /// Judges a call by the flow.
    async fn open(&self, arriving: &Arriving<'_>) -> Opened<WorkerHost> {
        let _step = arriving.trace.step("open");
        self.quote(arriving).await;
        let call = arriving.call(self.signed_in(arriving));
        let limits = &self.0.shared.limits;
        let paces = |payer: Payer, standing: Standing| {
            let trusted = standing.settled && !standing.risky;
            let taken = limits.take(if trusted { Key::Trusted(payer) } else { Key::Payer(payer) }, now_ms());
            arriving.taken.set(taken.or(arriving.taken.get()));
            taken.is_none_or(|taken| taken.allowed)
        };
        self.0.flow.open(&arriving.plan.snapshot, &call, paces).await
    }

    /// Asks the route's price endpoint, where it has one.
    async fn quote(&self, arriving: &Arriving<'_>) {
        let quoted = arriving.route_plan.and_then(|route| route.quoted.as_ref());
        if let (Some(route), Some(quoted)) = (arriving.route, quoted) {
            let target = arriving.path.path_and_query();
            let call = (arriving.method, target.as_str());
            let terms = Box::pin(self.0.prices.of(quoted, &route.id, call, arriving.shown.pays(), now_ms())).await;
            // A call is judged once; a second answer would change nothing.
            arriving.quoted.set(terms).ok();
        }
    }

    /// Whose key the caller proves, where that opens anything.
    fn signed_in(&self, arriving: &Arriving<'_>) -> Option<Payer> {
        let header = arriving.shown.sign_in.as_ref().filter(|_| arriving.plan.signs_in(arriving.route_plan))?;
        let verified = self.0.shared.sign_ins.verify(arriving.plan, header, now_ms() / 1_000);
        verified.inspect_err(|refusal| arriving.shown.sign_in_refused.set(Some(*refusal))).ok()
    }

    /// The answer to a call that is not run. A payment, or a proof, that is none takes from the bucket of its address besides:
    /// forging raises nobody's tier.
    async fn refused(&self, arriving: &Arriving<'_>, opened: Opened<WorkerHost>) -> Response<Bytes> {
        let mut story = Story::refused(&opened);
        let sign_in_refused = arriving.shown.sign_in_refused.get().filter(|_| !arriving.shown.pays());
        let forged = matches!(opened, Opened::Challenge { refusal: Some(_), .. }) || sign_in_refused.is_some();
        if forged && let Some(taken) = self.0.shared.limits.take(Key::Address(source::source(arriving.from)), now_ms())
        {
            arriving.taken.set(Some(taken));
            if !taken.allowed {
                return arriving.limited(taken, Limit::Address);
            }
        }
        story.taken = arriving.taken.get();
        let response = match opened {
            Opened::Blocked => Problem::blocked().into_response(),
            Opened::Challenge { challenge, refusal } => {
                if let (Some(refusal), false, None) = (refusal, arriving.wants_page, sign_in_refused)
                    && let Some(prepared) = arriving.route_plan.and_then(|route| route.refused(refusal, &challenge))
                {
                    return story.with(prepared.response(&arriving.url));
                }
                let challenge = self.dress(arriving, challenge).await;
                let page = arriving.wants_page.then(|| challenge.clone());
                let problem = match sign_in_refused {
                    Some(refusal) => Problem::sign_in_refused(challenge, refusal),
                    None => Problem::challenge(challenge, refusal),
                };
                let response = problem.into_response();
                match page.filter(|_| response.status() == StatusCode::PAYMENT_REQUIRED) {
                    Some(challenge) => arriving.page(response, &challenge, refusal.map(protocol::Refusal::message)),
                    None => response,
                }
            }
            Opened::SignIn => {
                let challenge = self.dress(arriving, Challenge::default()).await;
                match sign_in_refused {
                    Some(refusal) => Problem::sign_in_refused(challenge, refusal).into_response(),
                    None => Problem::sign_in(challenge).into_response(),
                }
            }
            Opened::TooMany => Problem::too_many(story.taken.map_or(1, |taken| taken.retry_after_s)).into_response(),
            Opened::Replay(replay) => Problem::replay(replay).into_response(),
            Opened::Fault(fault) => {
                warn!(path = short(arriving.path.path()), %fault, "a payment could not be taken");
                Problem::fault(fault).into_response()
            }
            // They are run; whoever asks for their answer without running them has nothing for the caller.
            Opened::Free(_) | Opened::Permit(_) => Problem::blocked().into_response(),
        };
        story.with(response)
    }

    /// Adds what the route says about itself, what signing in is good for, and the gate's signature under its offers.
    async fn dress(&self, arriving: &Arriving<'_>, challenge: Challenge) -> Challenge {
        let mut challenge = match arriving.route_plan {
            Some(route) => route.dress(challenge, &arriving.url),
            None => challenge,
        };
        let (shared, now_s) = (&self.0.shared, now_ms() / 1_000);
        if arriving.plan.signs_in(arriving.route_plan) {
            let offer = shared.sign_ins.offer(arriving.plan, &arriving.url, now_s);
            challenge.extensions.insert(SIGN_IN_WITH_X.to_owned(), offer.to_json());
        }
        shared.sign_offers(&mut challenge, now_s).await;
        challenge
    }

    /// The one way to the upstream: with what the flow gave for this call.
    async fn run(
        &self,
        arriving: &Arriving<'_>,
        pass: Pass<'_>,
        mut forward: Forward,
        upload: Upload,
    ) -> Result<Ran, UpstreamFault> {
        let upstream = self.0.upstream.as_ref().expect("only a sidecar has no upstream, and it runs nothing");
        let step = arriving.trace.step("upstream");
        step.propagate(&mut forward.headers);
        let begun = Instant::now();
        let on_sent = || match pass {
            Pass::Free(FreePass { .. }) | Pass::Prepaid(Prepaid { .. }) | Pass::Mock => {}
            Pass::Paid(permit) => permit.reached(Progress::Sent),
        };
        let response = upstream.send(forward.into_request(upload), on_sent).await?;
        Ok(Ran { upstream_us: micros(begun), response })
    }

    /// Tells the origin about the call.
    fn tell_origin(&self, word: &Word, forward: &mut Forward) {
        let (method, target) = (forward.method.clone(), forward.path_and_query().to_owned());
        let key = self.0.shared.trust.as_ref();
        word.put(&mut forward.headers, key, now_ms() / 1_000, method.as_str(), &target);
    }

    /// Passes a call on unpaid.
    async fn free(
        &self,
        arriving: &Arriving<'_>,
        pass: FreePass,
        mut forward: Forward,
        upload: Upload,
    ) -> Response<Body> {
        if let Some(word) = Word::unpaid(pass.why()) {
            self.tell_origin(&word, &mut forward);
        }
        if pass.why() == Unpaid::Unverified {
            warn!(path = short(arriving.path.path()), "nobody can verify payments: a call is passed on unpaid");
        }
        let story = Story { taken: arriving.taken.get(), ..Story::unpaid(pass.why()) }.whose(Whose::Passed);
        match self.run(arriving, Pass::Free(&pass), forward, upload).await {
            Ok(ran) => ran.of(story).with(answer::pass(ran.response)),
            Err(fault) => {
                let story = story.whose(Whose::Ours).because(fault.kind.code());
                full(story.with(upstream_problem(&fault, "No payment was asked for.").into_response()))
            }
        }
    }

    /// `pontage mock`: any payment header pays, nothing is verified and nothing moves.
    async fn mocked(&self, arriving: &Arriving<'_>, parts: Parts, body: Incoming) -> Response<Body> {
        let mut forward = Forward::of(parts, arriving.path, arriving.route_plan);
        self.quote(arriving).await;
        let call = Call { presented: Presented::Nothing, ..arriving.call(None) };
        let upload = Upload::new(body);
        match self.0.flow.open(&arriving.plan.snapshot, &call, |_, _| true).await {
            Opened::Free(pass) => return self.free(arriving, pass, forward, upload).await,
            Opened::Challenge { .. } if arriving.shown.pays() => {}
            other => return full(self.refused(arriving, other).await),
        }
        self.tell_origin(&Word::mock(), &mut forward);
        let story = Story::of(MoneyOutcome::Mock);
        match self.run(arriving, Pass::Mock, forward, upload).await {
            Ok(ran) => ran.of(story.whose(Whose::Paid)).with(answer::mocked(ran.response)),
            Err(fault) => full(story.with(upstream_problem(&fault, "Nothing moves in mock mode.").into_response())),
        }
    }

    /// Gives a stored answer to a caller who knows the secret, if his request's body is the same.
    async fn stored(&self, upload: Upload, hold: HoldId, receipt: Receipt) -> Response<Body> {
        // Whoever dawdles with his body is not waited for: his answer stays where it is.
        let digest = tokio::time::timeout(BODY_WAIT, upload.drain()).await.ok().flatten();
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

/// The upstream's answer, and how long its head took.
struct Ran {
    upstream_us: u64,
    response: Response<UpstreamBody>,
}

impl Ran {
    /// Tells of the upstream besides.
    fn of(&self, story: Story) -> Story {
        Story { upstream_us: Some(self.upstream_us), upstream_status: Some(self.response.status().as_u16()), ..story }
    }
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
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

/// Payment words of an upstream that must not pass: they would be taken for ours.
fn strip_payment_words(headers: &mut HeaderMap) {
    strip(headers, is_payment_word);
}

/// What a caller says that his upstream must not read: payment words, and those that some upstreams take for another path or method
/// than the one that was matched.
fn strip_callers_words(headers: &mut HeaderMap) {
    strip(headers, |name| is_payment_word(name) || REWRITES.iter().any(|word| reads(name, word, true)));
}

const REWRITES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-method-override", "x-http-method"];

/// Every word that is stripped begins with one of these, and few other names do.
fn may_be_stripped(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'p' | b's' | b'x'))
}

fn is_payment_word(name: &str) -> bool {
    const BEGIN: [&str; 3] = ["x-pay-", "x-payment", "payment-"];
    const ARE: [&str; 3] = ["x-402-signature", "x-402-nonce", "sign-in-with-x"];
    BEGIN.iter().any(|word| reads(name, word, false)) || ARE.iter().any(|word| reads(name, word, true))
}

/// Whether a name begins with a word, or is it. CGI and its kin read an underscore as a hyphen.
fn reads(name: &str, word: &str, whole: bool) -> bool {
    let fits = if whole { name.len() == word.len() } else { name.len() >= word.len() };
    let as_read = |byte: u8| if byte == b'_' { b'-' } else { byte };
    fits && name.bytes().map(as_read).zip(word.bytes()).all(|(name, word)| name == word)
}

fn strip(headers: &mut HeaderMap, is_stripped: impl Fn(&str) -> bool) {
    let is_stripped = |name: &&HeaderName| may_be_stripped(name.as_str()) && is_stripped(name.as_str());
    let names: Vec<_> = headers.keys().filter(is_stripped).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The beginning of a path, for a log line.
fn short(path: &str) -> &str {
    path.char_indices().nth(128).map_or(path, |(end, _)| path.get(..end).unwrap_or_default())
}

fn bytes(text: Vec<u8>) -> Bytes {
    Bytes::from(text)
}
