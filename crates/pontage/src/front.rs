//! The HTTP front: a request becomes a `Call`, the flow decides, and its answer becomes a response. It knows no money.

mod account;
mod answer;
mod arrived;
mod arriving;
mod check;
pub(crate) mod cors;
mod own;
pub(crate) mod page;
mod paid;
mod prepared;
mod proxied;
pub(crate) mod public;
pub(crate) mod rate_headers;
mod receipt;
mod request;
mod shared;
mod sign_in;
mod story;
mod trust;
mod upload;
mod words;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use facilitator::point::{self, Act};
use gate::{
    Call, ChargePermit, Denial, FreePass, Opened, Permit, Prepaid, Presented, Progress, Quote, Replay, Standing, Taken,
    Unpaid,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use protocol::Payer;
use protocol::x402::Challenge;
use protocol::x402::ext::SIGN_IN_WITH_X;
use proxy::{CleanPath, Incoming, Peer, Upstream, UpstreamBody, UpstreamFault, UpstreamFaultKind};
use tracing::warn;

use crate::accounts::{Directory, Unresolved};
use crate::host::{Tasks, WorkerFlow, WorkerHost, now_ms};
use crate::limits::Key;
use crate::plan::Plan;
use crate::price::Prices;
use crate::problem::Problem;
use crate::source;
use crate::telemetry::{Limit, MoneyOutcome};

use account::Revoked;
use account::holder::Question;
use account::rotate;
use answer::{Body, full};
use arrived::{Answering, Arrived};
use arriving::{Arriving, Seen};
use cors::Whose;
use request::Forward;
use story::{Story, Told};
use trust::Word;
use upload::Upload;
use words::{strip_callers_words, strip_payment_words};

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
    /// Who has which key, where there are accounts.
    directory: Option<Directory>,
    revoked: Revoked,
    shared: Shared,
    tasks: Tasks,
}

/// What lets a call through to the upstream.
enum Pass<'a> {
    Free(&'a FreePass),
    Paid(&'a mut Permit<WorkerHost>),
    Prepaid(&'a Prepaid<WorkerHost>),
    Charged(&'a mut ChargePermit<WorkerHost>),
    /// `pontage mock` charges for nothing.
    Mock,
}

impl Front {
    pub(crate) fn new(
        flow: Rc<WorkerFlow>,
        upstream: Option<Upstream>,
        prices: Prices,
        directory: Option<Directory>,
        shared: Shared,
        tasks: Tasks,
    ) -> Self {
        let mut plans = shared.plan.clone();
        let newest = RefCell::new(Arc::clone(&plans.borrow_and_update()));
        let front = Self(Rc::new(Inner {
            flow,
            upstream,
            plan: newest,
            prices,
            directory,
            revoked: Revoked::default(),
            shared,
            tasks,
        }));
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
    pub(crate) fn call(&self, request: Request<Incoming>, peer: Peer) -> Answering {
        let (mut parts, body) = request.into_parts();
        let arrived = Arrived::of(self, &parts, peer);
        let path = match CleanPath::parse(&parts.uri) {
            Ok(path) => path,
            Err(refusal) => {
                let story = Story::of(MoneyOutcome::BadRequest).because(refusal.code());
                return arrived.now(None, story.with(Problem::bad_path(refusal).into_response()));
            }
        };
        if let Some(told) = self.not_sold(&parts, &path) {
            return arrived.now(None, told);
        }
        let position = arrived.plan.snapshot.position(parts.method.as_str(), path.path());
        if self.0.directory.is_some()
            && let Some(question) = Question::of(&parts, &path, position.is_some())
        {
            let told = self.ask(&arrived, &parts, &path, question);
            return arrived.now(None, told);
        }
        let front = self.clone();
        if own::is_own(&path) || self.0.directory.is_some() && rotate::is_alias(&parts, &path, position.is_some()) {
            let request = Request::from_parts(parts, body);
            return Answering::Later(Box::pin(async move {
                let told = front.own(&arrived, request, &path).await;
                arrived.tell(None, told)
            }));
        }
        if position.is_none()
            && let Some(name) = self.asks_for_receipt(&parts.method, path.path()).map(str::to_owned)
        {
            return Answering::Later(Box::pin(async move {
                let told = front.receipt(&parts.method, &name, arrived.from).await.full();
                arrived.tell(None, told)
            }));
        }
        proxy::strip_hop_by_hop(&mut parts.headers);
        let role = self.0.shared.role;
        if role == Role::Sidecar {
            return arrived.now(position, Story::of(MoneyOutcome::Own).with(Problem::not_found().into_response()));
        }
        let arriving = Arriving::of(&arrived, position, &path, Seen::of(&arrived.plan, &parts, &path));
        if let Some(told) = self.before_the_flow(&arriving, &parts.method, &parts.headers) {
            return arrived.now(position, told);
        }
        let seen = arriving.seen();
        Answering::Later(Box::pin(async move {
            let arriving = Arriving::of(&arrived, position, &path, seen);
            let told = match role {
                // What is rare is apart: each call's state is as large as its largest part.
                Role::Mock => Box::pin(front.mocked(&arriving, parts, body)).await,
                Role::Proxy | Role::Sidecar => front.proxied(&arriving, parts, body).await,
            };
            point::before(Act::Tell);
            arrived.tell(position, told)
        }))
    }

    /// The answer to what is no call of a route: what cannot be one, and documents of the gate.
    fn not_sold(&self, parts: &Parts, path: &CleanPath) -> Option<Told<Bytes>> {
        if parts.method == Method::CONNECT {
            let refused = Problem::method_not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            return Some(Story::of(MoneyOutcome::BadRequest).because("method_not_allowed").with(refused));
        }
        // A proxy that puts the caller's path behind ours would be answered for another one.
        if self.0.shared.role == Role::Sidecar && !check::is_normal(&parts.uri, path) {
            let story = Story::of(MoneyOutcome::BadRequest).because("path_not_normal");
            return Some(story.with(check::not_normal().into_response()));
        }
        self.published(parts, path).map(|response| Story::of(MoneyOutcome::Own).with(response))
    }

    /// What needs no flow: preflights, an empty bucket, and the 402 of whoever shows nothing.
    fn before_the_flow(&self, arriving: &Arriving<'_>, method: &Method, headers: &HeaderMap) -> Option<Told<Bytes>> {
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
        let shows = arriving.shown.pays() || arriving.shown.sign_in.is_some() || self.names_account(arriving);
        let prepared = arriving.route_plan.and_then(|route| route.prepared.as_ref());
        let prepared = prepared.filter(|_| !shows && !arriving.wants_page)?;
        // What the bucket said is in the answer already.
        let story = Story { amount: arriving.asked(), ..Story::of(MoneyOutcome::Offered) };
        Some(story.with(prepared.response(&arriving.url, arriving.taken.get())))
    }

    /// Takes from the buckets that are before the flow.
    fn paced(&self, arriving: &Arriving<'_>) -> Result<(), Told<Bytes>> {
        self.in_maintenance().map_or(Ok(()), Err)?;
        let (limits, now_ms) = (&self.0.shared.limits, now_ms());
        if let (Some(route), true) = (arriving.route, arriving.route_plan.is_some_and(|plan| plan.rate_limit.is_some()))
        {
            let taken = limits.take(Key::Route(&route.id), now_ms);
            arriving.taken.set(taken);
            arriving.allowed(Limit::Route)?;
        }
        let from = source::source(arriving.from);
        if arriving.shown.pays() || arriving.shown.sign_in.is_some() || self.names_account(arriving) {
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

    /// Whether the caller shows a key or a pass, and such are ours.
    fn names_account(&self, arriving: &Arriving<'_>) -> bool {
        self.0.directory.is_some() && arriving.shown.names_account || self.shown_pass(arriving).is_some()
    }

    /// The answer to a call that has its turn. Each way is a future of its own, so that none is as large as the largest.
    async fn answered(
        &self,
        arriving: &Arriving<'_>,
        parts: Parts,
        upload: Upload,
        unasked: Option<Opened<WorkerHost>>,
    ) -> Told<Body> {
        let forward = |parts| Forward::of(parts, arriving.path, arriving.route_plan, self.0.directory.is_some());
        if let Some(shown) = self.shown_pass(arriving).filter(|_| unasked.is_none()) {
            return Box::pin(self.with_pass(arriving, shown, forward(parts), upload)).await;
        }
        let opened = match unasked {
            Some(opened) => opened,
            None => Box::pin(self.open(arriving)).await,
        };
        match opened {
            Opened::Free(pass) => Box::pin(self.free(arriving, pass, forward(parts), upload)).await,
            Opened::Permit(permit) => Box::pin(self.paid(arriving, upload, forward(parts), permit)).await,
            Opened::Replay(Replay::Stored { hold, receipt }) => {
                Story::of(MoneyOutcome::Replayed).with(Box::pin(self.stored(upload, hold, receipt)).await)
            }
            other => self.refused(arriving, other).await.full(),
        }
    }

    /// What the flow says of a call without asking anybody, if it can.
    fn unasked(&self, arriving: &Arriving<'_>) -> Option<Opened<WorkerHost>> {
        if arriving.shown.sign_in.is_some() || arriving.route_plan.is_some_and(|route| route.quoted.is_some()) {
            return None;
        }
        let _step = arriving.trace.step("open");
        self.0.flow.unasked(&arriving.plan.snapshot, &arriving.call(None))
    }

    /// Whether a key may pay for a call. Where nothing is sold it has nothing to say, whatever is shown beside it.
    fn sells(&self, arriving: &Arriving<'_>) -> bool {
        match arriving.plan.snapshot.quote(&arriving.call(None)) {
            Quote::Due(..) | Quote::Unknown => true,
            Quote::Free | Quote::Blocked | Quote::Listed => false,
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

    /// The answer to a call that is not run.
    async fn refused(&self, arriving: &Arriving<'_>, opened: Opened<WorkerHost>) -> Told<Bytes> {
        let accounts_alone = arriving.route_plan.is_some_and(|route| route.accounts_alone);
        if accounts_alone && matches!(opened, Opened::Challenge { .. }) {
            return self.unresolved(arriving, Unresolved::Denied(Denial::MissingApiKey, None));
        }
        match self.refused_shortly(arriving, &opened) {
            Ok(told) => told,
            Err(story) => story.with(Box::pin(self.explained(arriving, opened, story.taken)).await),
        }
    }

    /// The answer that is printed already, or else what is told of the call. A payment, or a proof, that is none takes from the
    /// bucket of its address besides: forging raises nobody's tier.
    fn refused_shortly(&self, arriving: &Arriving<'_>, opened: &Opened<WorkerHost>) -> Result<Told<Bytes>, Story> {
        let mut story = Story::refused(opened, arriving.asked());
        let refusal = if let Opened::Challenge { refusal } = opened { *refusal } else { None };
        let sign_in_refused = arriving.sign_in_refused();
        if (refusal.is_some() || sign_in_refused.is_some())
            && let Err(limited) = self.takes_from_address(arriving)
        {
            return Ok(limited);
        }
        story.taken = arriving.taken.get();
        let (Some(refusal), Some(route), false, None) =
            (refusal, arriving.route_plan, arriving.wants_page, sign_in_refused)
        else {
            return Err(story);
        };
        let challenge = || self.0.flow.challenge(&arriving.plan.snapshot, &arriving.call(None), Some(refusal));
        let prepared = route.refused(refusal, challenge).ok_or(story)?;
        Ok(Story { taken: None, ..story }.with(prepared.response(&arriving.url, story.taken)))
    }

    fn takes_from_address(&self, arriving: &Arriving<'_>) -> Result<(), Told<Bytes>> {
        match self.0.shared.limits.take(Key::Address(source::source(arriving.from)), now_ms()) {
            Some(taken) => {
                arriving.taken.set(Some(taken));
                arriving.allowed(Limit::Address)
            }
            None => Ok(()),
        }
    }

    /// The answer to a call that is not run, printed for it alone.
    async fn explained(
        &self,
        arriving: &Arriving<'_>,
        opened: Opened<WorkerHost>,
        taken: Option<Taken>,
    ) -> Response<Bytes> {
        let sign_in_refused = arriving.sign_in_refused();
        match opened {
            Opened::Blocked => Problem::blocked().into_response(),
            Opened::Challenge { refusal } => {
                let challenge = self.0.flow.challenge(&arriving.plan.snapshot, &arriving.call(None), refusal);
                let challenge = self.dress(arriving, challenge.unwrap_or_default()).await;
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
            Opened::TooMany => Problem::too_many(taken.map_or(1, |taken| taken.retry_after_s)).into_response(),
            Opened::Replay(replay) => self.replayed(arriving, replay),
            Opened::Fault(fault) => {
                warn!(path = short(arriving.path.path()), %fault, "a payment could not be taken");
                Problem::fault(fault).into_response()
            }
            // They are run; whoever asks for their answer without running them has nothing for the caller.
            Opened::Free(_) | Opened::Permit(_) => Problem::blocked().into_response(),
        }
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
            Pass::Charged(permit) => permit.reached(Progress::Sent),
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
    async fn free(&self, arriving: &Arriving<'_>, pass: FreePass, mut forward: Forward, upload: Upload) -> Told<Body> {
        if let Some(word) = Word::unpaid(pass.why()) {
            self.tell_origin(&word, &mut forward);
        }
        if pass.why() == Unpaid::Unverified {
            warn!(path = short(arriving.path.path()), "nobody can verify payments: a call is passed on unpaid");
        }
        let story = Story { taken: arriving.taken.get(), ..Story::unpaid(pass.why()) }.whose(Whose::Passed);
        match self.run(arriving, Pass::Free(&pass), forward, upload).await {
            Ok(ran) => {
                let story = ran.of(story);
                let mut response = answer::pass(ran.response);
                if !matches!(pass.why(), Unpaid::Free | Unpaid::Passthrough | Unpaid::Unverified) {
                    answer::keep_private(response.headers_mut());
                }
                story.with(response)
            }
            Err(fault) => {
                let story = story.whose(Whose::Ours).because(fault.kind.code());
                story.with(full(upstream_problem(&fault, "No payment was asked for.").into_response()))
            }
        }
    }

    /// `pontage mock`: any payment header pays, nothing is verified and nothing moves.
    async fn mocked(&self, arriving: &Arriving<'_>, parts: Parts, body: Incoming) -> Told<Body> {
        let mut forward = Forward::of(parts, arriving.path, arriving.route_plan, false);
        self.quote(arriving).await;
        let call = Call { presented: Presented::Nothing, ..arriving.call(None) };
        let upload = Upload::new(body);
        match self.0.flow.open(&arriving.plan.snapshot, &call, |_, _| true).await {
            Opened::Free(pass) => return self.free(arriving, pass, forward, upload).await,
            Opened::Challenge { .. } if arriving.shown.pays() => {}
            other => return self.refused(arriving, other).await.full(),
        }
        self.tell_origin(&Word::mock(), &mut forward);
        let story = Story::of(MoneyOutcome::Mock);
        match self.run(arriving, Pass::Mock, forward, upload).await {
            Ok(ran) => ran.of(story.whose(Whose::Paid)).with(answer::mocked(ran.response)),
            Err(fault) => story.with(full(upstream_problem(&fault, "Nothing moves in mock mode.").into_response())),
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

/// The beginning of a path, for a log line.
fn short(path: &str) -> &str {
    path.char_indices().nth(128).map_or(path, |(end, _)| path.get(..end).unwrap_or_default())
}

fn bytes(text: Vec<u8>) -> Bytes {
    Bytes::from(text)
}
