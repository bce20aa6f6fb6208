//! A paid call from its permit to its end.

use std::rc::Rc;

use alloy_primitives::hex;
use gate::{Closed, FreeReason, Outcome, Permit, Prepaid, Progress, Replay};
use http::{Response, StatusCode};
use hyper::body::Incoming;
use ledger::{HoldId, Rail};
use protocol::MoneyState;
use protocol::x402::{Challenge, Receipt};
use proxy::{UpstreamBody, UpstreamFault};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::answer::{self, Body, Keeper, full};
use super::own::PICKUP;
use super::request::Forward;
use super::trust::Word;
use super::upload::{Digest, Upload};
use super::{Arriving, Front, Pass, upstream_problem};
use crate::host::WorkerHost;
use crate::problem::Problem;

/// What the detached end of a paid call tells the connection, if that is still there.
enum Ended {
    Released(Response<Body>),
    Problem(Problem),
}

/// What the caller reads when the task that moves his money has gone.
fn interrupted() -> Problem {
    let message = "It is not known yet whether the payment moved. Do not pay again.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted", message, MoneyState::Unknown).retry_after(2)
}

impl Front {
    /// Runs the upstream for a permit. Whatever happens to this future, the permit closes its hold.
    pub(super) async fn paid(
        &self,
        arriving: &Arriving<'_>,
        body: Incoming,
        mut forward: Forward,
        mut permit: Permit<WorkerHost>,
    ) -> Response<Body> {
        let Some(hold) = permit.hold() else { return full(interrupted().into_response()) };
        let authorization = &hold.authorization;
        let word = Word::paid(authorization.key.payer, authorization.amount_atomic, hold.rail, hold.id);
        self.tell_origin(&word, &mut forward);
        if permit.is_first() {
            return self.paid_first(arriving, body, forward, permit).await;
        }
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
        let challenge = arriving.challenge(self);
        let end = End { front: self.clone(), digest, idempotent: arriving.shown.idempotency.is_some(), challenge };
        self.0.tasks.spawn(end.of_call(permit, response, tell));
        match told.await {
            Ok(Ended::Released(response)) => response,
            Ok(Ended::Problem(problem)) => full(problem.into_response()),
            Err(_) => full(interrupted().into_response()),
        }
    }

    /// Moves the money, then runs the upstream. If it does not answer, or with an error, the money is owed back.
    async fn paid_first(
        &self,
        arriving: &Arriving<'_>,
        body: Incoming,
        forward: Forward,
        permit: Permit<WorkerHost>,
    ) -> Response<Body> {
        let prepaid = match self.prepay(permit).await {
            Ok(prepaid) => prepaid,
            Err(closed) => return full(self.not_prepaid(arriving, closed).into_response()),
        };
        let receipt = Receipt::Settled(*prepaid.settled());
        let (upload, digest) = Upload::new(body);
        match self.run(Pass::Prepaid(&prepaid), forward.into_request(upload)).await {
            Ok(response) if response.status().as_u16() >= 400 => answer::pass_with(response, &receipt),
            Ok(response) => {
                let idempotent = arriving.shown.idempotency.is_some();
                answer::release(response, &receipt, Keeper::prepaid(self.clone(), prepaid, idempotent, digest))
            }
            Err(fault) => {
                warn!(kind = fault.kind.code(), cause = %fault, "the upstream failed after the payment: it is owed back");
                let problem = upstream_problem(&fault, "The payment moved before and is owed back.");
                full(problem.moved().with_receipt(receipt).into_response())
            }
        }
    }

    /// Moves the money in a task that no connection owns. If the caller leaves meanwhile, what moved is owed back.
    pub(super) async fn prepay(&self, permit: Permit<WorkerHost>) -> Result<Prepaid<WorkerHost>, Closed> {
        let flow = Rc::clone(&self.0.flow);
        let lost = gate::Fault { kind: gate::FaultKind::Settlement, money: MoneyState::Unknown };
        self.0.tasks.spawn(async move { flow.prepay(permit).await }).await.unwrap_or(Err(Closed::Fault(lost)))
    }

    /// What the caller reads when his money did not move, or nobody knows whether it did. The upstream was not run.
    pub(super) fn not_prepaid(&self, arriving: &Arriving<'_>, closed: Closed) -> Problem {
        match closed {
            Closed::Refused { refusal, receipt } => {
                Problem::settlement_refused(arriving.challenge(self), refusal, receipt)
            }
            Closed::Pending { receipt, .. } => Problem::pending(receipt, None),
            Closed::Fault(fault) => Problem::fault(fault),
            Closed::Settled(_) | Closed::Held(_) | Closed::NothingDue => Problem::replay(Replay::Burnt),
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
}

impl Arriving<'_> {
    /// What would pay for the call, for one whose payment failed after its run.
    fn challenge(&self, front: &Front) -> Option<Challenge> {
        let challenge = front.0.flow.challenge(&self.plan.snapshot, &self.call(&[], None), None);
        challenge.map(|challenge| self.dress(challenge))
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
