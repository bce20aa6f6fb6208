//! The HTTP front: a request becomes a `Call`, the flow decides, and its answer becomes a response. It knows no money.

mod answer;
mod request;
mod upload;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::hex;
use bytes::Bytes;
use gate::{
    Call, Closed, FreePass, FreeReason, Journal, Opened, Outcome, Permit, Progress, Replay, Snapshot, secret_digest,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use ledger::{AnswerState, HoldId, Record, State};
use protocol::x402::{Challenge, Receipt};
use protocol::{MoneyState, Settled};
use proxy::{CleanPath, Peer, Upstream, UpstreamBody, UpstreamFault, UpstreamFaultKind};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::host::{Tasks, WorkerFlow, WorkerHost};
use crate::problem::Problem;

use answer::{Body, Keeper, full};
use request::{Arrived, Forward, resource_url};
use upload::{Digest, Upload};

/// What is never forwarded.
const OWN: &str = "/__pay";
/// Where an answer that was not delivered can be fetched; the code follows.
const PICKUP: &str = "/__pay/answers/";

/// How long the body of a repeated request may take, until it is known to be the same.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// What every worker's front shares.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) answer_max_bytes: u64,
}

/// The front of one worker.
#[derive(Clone)]
pub(crate) struct Front(Rc<Inner>);

struct Inner {
    flow: Rc<WorkerFlow>,
    upstream: Upstream,
    shared: Shared,
    tasks: Tasks,
}

/// What lets a call through to the upstream.
enum Pass<'a> {
    Free(FreePass),
    Paid(&'a mut Permit<WorkerHost>),
}

/// What the detached end of a paid call tells the connection, if that is still there.
enum Ended {
    Released(Response<Body>),
    Problem(Problem),
}

impl Front {
    pub(crate) fn new(flow: Rc<WorkerFlow>, upstream: Upstream, shared: Shared, tasks: Tasks) -> Self {
        Self(Rc::new(Inner { flow, upstream, shared, tasks }))
    }

    /// Answers one request.
    pub(crate) async fn call(self, request: Request<Incoming>, _peer: Peer) -> Response<Body> {
        let path = match CleanPath::parse(request.uri()) {
            Ok(path) => path,
            Err(refusal) => return full(Problem::bad_path(refusal).into_response()),
        };
        // In any case of letters, as routes are matched.
        let ours = path.path().split_at_checked(OWN.len()).filter(|(start, _)| start.eq_ignore_ascii_case(OWN));
        if let Some((_, rest)) = ours.filter(|(_, rest)| rest.is_empty() || rest.starts_with('/')) {
            return self.own(request.method(), rest, &path).await;
        }
        let (arrived, body) = Arrived::take(request, &path);
        let url = resource_url(&arrived.parts, &path);
        let call = arrived.call(&path, &url);
        let opened = self.0.flow.open(&self.0.shared.snapshot, &call).await;
        match opened {
            Opened::Free(pass) => self.free(pass, arrived.forward, body).await,
            Opened::Permit(permit) => self.paid(&call, body, arrived.forward.clone(), permit).await,
            Opened::Blocked => full(Problem::blocked().into_response()),
            Opened::Challenge { challenge, refusal } => {
                if let Some(refusal) = refusal {
                    info!(path = short(call.path), reason = refusal.code(), field = refusal.field(), "payment refused");
                }
                full(Problem::challenge(challenge, refusal).into_response())
            }
            Opened::Replay(Replay::Stored { hold, settled }) => self.stored(body, hold, settled).await,
            Opened::Replay(replay) => full(Problem::replay(replay).into_response()),
            Opened::Fault(fault) => {
                warn!(path = short(call.path), %fault, "a payment could not be taken");
                full(Problem::fault(fault).into_response())
            }
        }
    }

    /// The one way to the upstream: with what the flow gave for this call.
    async fn run(&self, pass: Pass<'_>, request: Request<Upload>) -> Result<Response<UpstreamBody>, UpstreamFault> {
        let on_sent = || match pass {
            Pass::Free(FreePass { .. }) => {}
            Pass::Paid(permit) => permit.reached(Progress::Sent),
        };
        self.0.upstream.send(request, on_sent).await
    }

    /// Passes a call on unpaid.
    async fn free(&self, pass: FreePass, forward: Forward, body: Incoming) -> Response<Body> {
        let (upload, _) = Upload::new(body);
        match self.run(Pass::Free(pass), forward.into_request(upload)).await {
            Ok(response) => answer::pass(response),
            Err(fault) => full(upstream_problem(&fault, "No payment was asked for.").into_response()),
        }
    }

    /// Runs the upstream for a permit. Whatever happens to this future, the permit closes its hold.
    async fn paid(
        &self,
        call: &Call<'_>,
        body: Incoming,
        forward: Forward,
        mut permit: Permit<WorkerHost>,
    ) -> Response<Body> {
        let (upload, digest) = Upload::new(body);
        let response = match self.run(Pass::Paid(&mut permit), forward.into_request(upload)).await {
            Ok(response) => response,
            Err(fault) => return self.not_answered(permit, &fault).await,
        };
        if response.status().as_u16() >= 400 {
            return match self.close_detached(permit, Outcome::Free(FreeReason::Status)).await {
                Some(Closed::Fault(fault)) => full(Problem::fault(fault).into_response()),
                Some(Closed::NothingDue | Closed::Settled(_) | Closed::Refused { .. } | Closed::Pending { .. })
                | None => answer::pass(response),
            };
        }
        permit.reached(Progress::Head);
        // From here on the connection owns nothing: the money is settled, and an answer that is owed is kept, without it.
        let (tell, told) = oneshot::channel();
        let challenge = self.0.flow.challenge(&self.0.shared.snapshot, call, None);
        let end = End { front: self.clone(), digest, idempotent: call.idempotency.is_some(), challenge };
        self.0.tasks.spawn(end.of_call(permit, response, tell));
        match told.await {
            Ok(Ended::Released(response)) => response,
            Ok(Ended::Problem(problem)) => full(problem.into_response()),
            Err(_) => {
                let message = "It is not known yet whether the payment moved. Do not pay again.";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                full(Problem::new(status, "interrupted", message, MoneyState::Unknown).retry_after(2).into_response())
            }
        }
    }

    async fn not_answered(&self, permit: Permit<WorkerHost>, fault: &UpstreamFault) -> Response<Body> {
        warn!(kind = fault.kind.code(), sent = fault.sent, cause = %fault, "the upstream failed");
        let (outcome, money) = if fault.sent {
            (Outcome::Unanswered, "Nothing was charged. This payment is not accepted again: sign a new one.")
        } else {
            (Outcome::NotSent, "Nothing was charged. The same payment may be sent again.")
        };
        match self.close_detached(permit, outcome).await {
            Some(Closed::Fault(fault)) => full(Problem::fault(fault).into_response()),
            Some(Closed::NothingDue | Closed::Settled(_) | Closed::Refused { .. } | Closed::Pending { .. }) | None => {
                full(upstream_problem(fault, money).into_response())
            }
        }
    }

    /// Closes in a task of its own and waits for it. `None` when the worker is going down.
    async fn close_detached(&self, permit: Permit<WorkerHost>, outcome: Outcome) -> Option<Closed> {
        let flow = Rc::clone(&self.0.flow);
        self.0.tasks.spawn(async move { flow.close(permit, outcome).await }).await.ok()
    }

    /// Gives a stored answer to a caller who knows the secret, if his request's body is the same.
    async fn stored(&self, body: Incoming, hold: HoldId, settled: Settled) -> Response<Body> {
        // Whoever dawdles with his body is not waited for: his answer stays where it is.
        let digest = tokio::time::timeout(BODY_WAIT, Upload::drain(body)).await.ok().flatten();
        match self.0.flow.journal.answer(hold).await {
            Err(fault) => full(Problem::fault(gate::Fault { money: MoneyState::Moved, ..fault }).into_response()),
            Ok(Some(answer)) if digest.is_some() && digest == answer.request_digest => {
                answer::stored(answer, &Receipt::Settled(settled))
            }
            // The first call's body was not read to its end, or this one's: nobody can say whether they are the same.
            Ok(Some(answer)) if digest.is_none() || answer.request_digest.is_none() => {
                full(Problem::replay(Replay::AlreadyServed(settled)).into_response())
            }
            Ok(Some(_)) => full(Problem::replay(Replay::Conflict(MoneyState::Moved)).into_response()),
            Ok(None) => full(Problem::replay(Replay::AlreadyServed(settled)).into_response()),
        }
    }

    /// Our own endpoints. They are never forwarded.
    async fn own(&self, method: &Method, rest: &str, path: &CleanPath) -> Response<Body> {
        let code = path.path().strip_prefix(PICKUP).and_then(|code| hex::decode_to_array::<_, 16>(code).ok());
        let not_found =
            || Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here.", MoneyState::Untouched);
        let Some(code) = code.filter(|_| rest.starts_with("/answers/")) else {
            return full(not_found().into_response());
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let message = "An answer is picked up with GET.";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return full(Problem::new(status, "method_not_allowed", message, MoneyState::Untouched).into_response());
        }
        match self.0.flow.journal.picked(secret_digest(&code)).await {
            Err(fault) => full(Problem::fault(gate::Fault { money: MoneyState::Unknown, ..fault }).into_response()),
            Ok(None) => full(not_found().into_response()),
            Ok(Some(record)) => self.pick_up(&record).await,
        }
    }

    async fn pick_up(&self, record: &Record) -> Response<Body> {
        let key = &record.hold.authorization.key;
        let pending = |chain_tx| Receipt::Pending { network: key.asset.network, payer: key.payer, chain_tx };
        let gone = |error, message: &str, money| Problem::new(StatusCode::GONE, error, message, money);
        let problem = match record.state {
            _ if record.late => gone(
                "in_suspense",
                "The money arrived after the call had ended. It is kept apart and refundable.",
                MoneyState::Moved,
            ),
            State::Open => Problem::pending(pending(None), None),
            State::Submitted(chain_tx) => Problem::pending(pending(Some(chain_tx)), None),
            State::Released(_) | State::Burnt(_) => gone(
                "not_charged",
                "The payment did not move, so there is no answer. Sign a new one.",
                MoneyState::Untouched,
            ),
            State::Posted(settled) => match (record.answer, self.0.flow.journal.answer(record.hold.id).await) {
                (_, Err(fault)) => Problem::fault(gate::Fault { money: MoneyState::Moved, ..fault }),
                (AnswerState::Kept, Ok(Some(answer))) => return answer::stored(answer, &Receipt::Settled(settled)),
                (AnswerState::Pending, Ok(_)) => {
                    let message = "The payment moved and the answer is being stored. Ask again.";
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    Problem::new(status, "answer_pending", message, MoneyState::Moved).retry_after(1)
                }
                (AnswerState::Lost, Ok(_)) => gone(
                    "answer_lost",
                    "The payment moved, the answer was lost: the payment is owed back.",
                    MoneyState::Moved,
                )
                .with_receipt(Receipt::Settled(settled)),
                (AnswerState::Kept | AnswerState::Live, Ok(_)) => {
                    let message = "The payment moved; the answer is no longer kept.";
                    gone("answer_expired", message, MoneyState::Moved).with_receipt(Receipt::Settled(settled))
                }
            },
        };
        full(problem.into_response())
    }
}

/// The end of a paid call, which no connection owns.
struct End {
    front: Front,
    digest: Digest,
    idempotent: bool,
    challenge: Option<Challenge>,
}

impl End {
    /// Settles, and then releases the answer, keeps it, or discards it. Whether anybody is still there to be told makes no
    /// difference to the money; an answer that is released to nobody ends as one whose caller left.
    async fn of_call(self, permit: Permit<WorkerHost>, response: Response<UpstreamBody>, tell: oneshot::Sender<Ended>) {
        let flow = &self.front.0.flow;
        let Some((id, route)) = permit.hold().map(|hold| (hold.id, hold.route.clone())) else { return };
        let ended = match flow.close(permit, Outcome::Served { reading: None }).await {
            Closed::Settled(settled) => {
                info!(hold = %id, route, payer = %settled.payer, amount_atomic = settled.amount.atomic,
                    chain_tx = %settled.chain_tx, block = settled.block, "paid and served");
                let keeper = Keeper::new(self.front.clone(), id, self.idempotent, self.digest);
                Ended::Released(answer::release(response, &Receipt::Settled(settled), keeper))
            }
            Closed::Pending { hold, pickup, receipt } => {
                warn!(%hold, route, "the settlement is not confirmed; the answer is kept for pick-up");
                let url = format!("{PICKUP}{}", hex::encode(pickup));
                tell.send(Ended::Problem(Problem::pending(receipt, Some(url)))).ok();
                return answer::keep_whole(&self.front, hold, response, &self.digest).await;
            }
            Closed::Refused { receipt, refusal } => {
                warn!(hold = %id, route, reason = refusal.code(), "the chain refused after the run");
                Ended::Problem(Problem::settlement_refused(self.challenge, refusal, receipt))
            }
            Closed::Fault(fault) => Ended::Problem(Problem::fault(fault)),
            Closed::NothingDue => Ended::Problem(Problem::replay(Replay::Burnt)),
        };
        tell.send(ended).ok();
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
    let ours = |name: &http::HeaderName| {
        let name = name.as_str().replace('_', "-");
        name.starts_with("x-pay-")
            || name.starts_with("x-payment")
            || name.starts_with("payment-")
            || name == "x-402-signature"
            || name == "x-402-nonce"
    };
    let names: Vec<_> = headers.keys().filter(|name| ours(name)).cloned().collect();
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
