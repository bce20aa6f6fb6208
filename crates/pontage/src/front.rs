//! The HTTP front: a request becomes a `Call`, the flow decides, and its answer becomes a response. It knows no money.

mod answer;
mod own;
#[cfg_attr(not(test), expect(dead_code, reason = "the front is about to use it"))]
mod prepared;
mod request;
mod upload;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::hex;
use bytes::Bytes;
use gate::{Call, Closed, FreePass, FreeReason, Journal, Opened, Outcome, Permit, Progress, Replay, Snapshot};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use ledger::{HoldId, Rail};
use protocol::MoneyState;
use protocol::x402::{Challenge, Receipt};
use proxy::{CleanPath, Peer, Upstream, UpstreamBody, UpstreamFault, UpstreamFaultKind};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use crate::host::{Tasks, WorkerFlow, WorkerHost};
use crate::problem::{Problem, money_of};

use answer::{Body, Keeper, full};
use own::PICKUP;
use request::{Arrived, Forward, resource_url};
use upload::{Digest, Upload};

/// What is never forwarded.
const OWN: &str = "/__pay";

/// How long the body of a repeated request may take, until it is known to be the same.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// What every worker's front shares.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) answer_max_bytes: u64,
}

/// The front of one worker.
#[derive(Clone)]
pub(crate) struct Front(Rc<Inner>);

struct Inner {
    flow: Rc<WorkerFlow>,
    upstream: Upstream,
    /// The newest; calls under way go on with theirs.
    snapshot: RefCell<Arc<Snapshot>>,
    answer_max_bytes: u64,
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
        let Shared { mut snapshot, answer_max_bytes } = shared;
        let newest = RefCell::new(Arc::clone(&snapshot.borrow_and_update()));
        let front = Self(Rc::new(Inner { flow, upstream, snapshot: newest, answer_max_bytes, tasks }));
        let follower = front.clone();
        tokio::task::spawn_local(async move {
            while snapshot.changed().await.is_ok() {
                *follower.0.snapshot.borrow_mut() = Arc::clone(&snapshot.borrow_and_update());
            }
        });
        front
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// Answers one request.
    pub(crate) async fn call(self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let path = match CleanPath::parse(request.uri()) {
            Ok(path) => path,
            Err(refusal) => return full(Problem::bad_path(refusal).into_response()),
        };
        if own::is_own(&path) {
            return self.own(request.method(), &path).await;
        }
        let (arrived, body) = Arrived::take(request, &path);
        let url = resource_url(&arrived.parts, &path);
        let call = arrived.call(&path, &url, peer.address.ip());
        let snapshot = self.snapshot();
        match self.0.flow.open(&snapshot, &call).await {
            Opened::Free(pass) => self.free(pass, arrived.forward, body).await,
            Opened::Permit(permit) => self.paid(&snapshot, &call, body, arrived.forward.clone(), permit).await,
            Opened::Blocked => full(Problem::blocked().into_response()),
            Opened::Challenge { challenge, refusal } => {
                if let Some(refusal) = refusal {
                    info!(path = short(call.path), reason = refusal.code(), field = refusal.field(), "payment refused");
                }
                full(Problem::challenge(challenge, refusal).into_response())
            }
            Opened::Replay(Replay::Stored { hold, receipt }) => self.stored(body, hold, receipt).await,
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
        snapshot: &Snapshot,
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
                Err(fault) => full(Problem::fault(fault).into_response()),
                Ok(()) => answer::pass(response),
            };
        }
        permit.reached(Progress::Head);
        // From here on the connection owns nothing: the money is settled, and an answer that is owed is kept, without it.
        let (tell, told) = oneshot::channel();
        let challenge = self.0.flow.challenge(snapshot, call, None);
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
            Err(fault) => full(Problem::fault(fault).into_response()),
            Ok(()) => full(upstream_problem(fault, money).into_response()),
        }
    }

    /// Closes a run that costs nothing, in a task of its own, and waits for it.
    async fn close_detached(&self, permit: Permit<WorkerHost>, outcome: Outcome) -> Result<(), gate::Fault> {
        let flow = Rc::clone(&self.0.flow);
        match self.0.tasks.spawn(async move { flow.close(permit, outcome).await }).await {
            Ok(Closed::Fault(fault)) => Err(fault),
            // The other case is a worker that is going down, with nobody left to be told.
            Ok(_) | Err(_) => Ok(()),
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

/// The end of a paid call, which no connection owns.
struct End {
    front: Front,
    digest: Digest,
    idempotent: bool,
    challenge: Option<Challenge>,
}

impl End {
    /// Settles, or puts it on the tab, and then releases the answer, keeps it, or discards it. Whether anybody is still there to
    /// be told makes no difference to the money; an answer that is released to nobody ends as one whose caller left.
    async fn of_call(self, permit: Permit<WorkerHost>, response: Response<UpstreamBody>, tell: oneshot::Sender<Ended>) {
        let Some(hold) = permit.hold() else { return };
        let ended = match hold.rail {
            Rail::Tab => self.on_tab(permit, response).await,
            Rail::Direct => {
                let (id, route) = (hold.id, hold.route.clone());
                match self.front.0.flow.close(permit, Outcome::Served { reading: None }).await {
                    Closed::Pending { hold, pickup, receipt } => {
                        warn!(%hold, route, "the settlement is not confirmed; the answer is kept for pick-up");
                        let url = format!("{PICKUP}{}", hex::encode(pickup));
                        tell.send(Ended::Problem(Problem::pending(receipt, Some(url)))).ok();
                        return answer::keep_whole(&self.front, hold, response, &self.digest).await;
                    }
                    closed => self.settled(id, &route, closed, response),
                }
            }
        };
        tell.send(ended).ok();
    }

    /// The body follows once the journal has it that the call is answered.
    async fn on_tab(self, mut permit: Permit<WorkerHost>, response: Response<UpstreamBody>) -> Ended {
        let flow = &self.front.0.flow;
        match flow.answer(&mut permit).await {
            Ok(receipt) => {
                if let Some(hold) = permit.hold() {
                    info!(hold = %hold.id, route = hold.route, payer = %hold.authorization.key.payer,
                        amount_atomic = hold.authorization.amount_atomic, "served on the tab");
                }
                let keeper = Keeper::on_tab(self.front.clone(), permit, self.idempotent, self.digest);
                Ended::Released(answer::release(response, &receipt, keeper))
            }
            Err(fault) => {
                flow.close(permit, Outcome::Broken { reading: None }).await;
                Ended::Problem(Problem::fault(fault))
            }
        }
    }

    /// What a `direct` settlement means for the answer.
    fn settled(self, hold: HoldId, route: &str, closed: Closed, response: Response<UpstreamBody>) -> Ended {
        match closed {
            Closed::Settled(settled) => {
                info!(%hold, route, payer = %settled.payer, amount_atomic = settled.amount.atomic,
                    chain_tx = %settled.chain_tx, block = settled.block, "paid and served");
                let keeper = Keeper::settled(self.front, hold, self.idempotent, self.digest);
                Ended::Released(answer::release(response, &Receipt::Settled(settled), keeper))
            }
            Closed::Refused { receipt, refusal } => {
                warn!(%hold, route, reason = refusal.code(), "the chain refused after the run");
                Ended::Problem(Problem::settlement_refused(self.challenge, refusal, receipt))
            }
            Closed::Fault(fault) => Ended::Problem(Problem::fault(fault)),
            Closed::Pending { receipt, .. } => Ended::Problem(Problem::pending(receipt, None)),
            Closed::NothingDue | Closed::Held(_) => Ended::Problem(Problem::replay(Replay::Burnt)),
        }
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
