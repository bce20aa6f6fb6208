//! A paid call from its permit to its end.

use std::rc::Rc;
use std::time::Instant;

use alloy_primitives::hex;
use bytes::Bytes;
use gate::{Closed, FreeReason, Journal as _, Outcome, Permit, Prepaid, Progress, Replay};
use http::{HeaderValue, Response, StatusCode};
use ledger::{HoldId, Rail};
use protocol::MoneyState;
use protocol::x402::{Challenge, Extensions, Receipt};
use proxy::UpstreamFault;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::account::X_PAYMENT_PASS;
use super::answer::{self, Body, Keeper, Relay, full};
use super::cors::Whose;
use super::own::PICKUP;
use super::receipt::Noted;
use super::request::Forward;
use super::story::{Story, Told};
use super::trust::Word;
use super::upload::Upload;
use super::{Arriving, BODY_WAIT, Front, Pass, micros, upstream_problem};
use crate::host::WorkerHost;
use crate::problem::{Problem, money_of};
use crate::telemetry::MoneyOutcome;

impl Front {
    /// Runs the upstream for a permit. Whatever happens to this future, the permit closes its hold.
    pub(super) async fn paid(
        &self,
        arriving: &Arriving<'_>,
        mut upload: Upload,
        mut forward: Forward,
        mut permit: Permit<WorkerHost>,
    ) -> Told<Body> {
        let Some(hold) = permit.hold() else { return interrupted(Story::of(MoneyOutcome::Fault)) };
        let authorization = &hold.authorization;
        let word = Word::paid(authorization.key.payer, authorization.amount_atomic, hold.rail, hold.id);
        let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::NotCharged) }.about(hold);
        let (idempotent, on_tab) = (hold.idempotency.is_some(), hold.rail == Rail::Tab);
        arriving.trace.payment(hold.id);
        self.tell_origin(&word, &mut forward);
        let request = upload.digest(idempotent || self.0.shared.receipts.is_some());
        let draft = self.draft(arriving, hold, request.clone());
        let pass = self.pass_of(arriving.plan, hold);
        let noted = Noted { request, draft };
        if permit.is_first() {
            return Box::pin(self.paid_first(arriving, story, (forward, upload, noted), permit)).await;
        }
        let ran = match self.run(arriving, Pass::Paid(&mut permit), forward, upload).await {
            Ok(ran) => ran,
            Err(fault) => return self.not_answered(story, permit, &fault).await,
        };
        let (story, response) = (ran.of(story), ran.response);
        if response.status().as_u16() >= 400 {
            return match self.close_detached(permit, Outcome::Free(FreeReason::Status)).await {
                Err(fault) => faulted(story, fault),
                Ok(()) => story.whose(Whose::Paid).with(answer::pass(response)),
            };
        }
        permit.reached(Progress::Head);
        let response = response.map(Relay::new);
        if on_tab && !idempotent {
            let _step = arriving.trace.step("close");
            return self.on_tab(story, permit, response, noted, idempotent).await;
        }
        // From here on the connection owns nothing: the money is settled, and an answer that is owed is kept, without it.
        let (tell, told) = oneshot::channel();
        let end = End {
            front: self.clone(),
            noted,
            idempotent,
            // On the tab nothing is refused after the run.
            challenge: if on_tab { None } else { arriving.challenge(self).await },
            url: arriving.url.clone(),
            pass,
            story,
        };
        let step = arriving.trace.step("close");
        self.0.tasks.spawn(async move {
            let _step = step;
            end.of_call(permit, response, tell).await;
        });
        told.await.unwrap_or_else(|_| interrupted(story))
    }

    /// Moves the money, then runs the upstream. If it does not answer, or with an error, the money is owed back.
    async fn paid_first(
        &self,
        arriving: &Arriving<'_>,
        story: Story,
        (forward, upload, noted): (Forward, Upload, Noted),
        permit: Permit<WorkerHost>,
    ) -> Told<Body> {
        let (begun, idempotent) = (Instant::now(), permit.hold().is_some_and(|hold| hold.idempotency.is_some()));
        let prepaid = match self.prepay(permit).await {
            Ok(prepaid) => prepaid,
            Err(closed) => return self.not_prepaid(arriving, closed).await.full(),
        };
        let story = Story { outcome: MoneyOutcome::OwedBack, settlement_us: Some(micros(begun)), ..story };
        let receipt = Receipt::Settled(*prepaid.settled());
        let extensions = self.0.shared.sign_receipt(&receipt, &arriving.url).await;
        match self.run(arriving, Pass::Prepaid(&prepaid), forward, upload).await {
            Ok(ran) => {
                let (story, response) = (ran.of(story).whose(Whose::Paid), ran.response);
                if response.status().as_u16() >= 400 {
                    return story.with(answer::pass_with(response, &receipt));
                }
                let story = Story { outcome: MoneyOutcome::ServedSettled, ..story };
                let keeper = Keeper::prepaid(self.clone(), prepaid, idempotent, noted);
                let mut response = response.map(Relay::new);
                if keeper.gives_receipt() {
                    response.body_mut().is_whole().await;
                }
                story.with(answer::release(response, &receipt, extensions, keeper))
            }
            Err(fault) => {
                warn!(kind = fault.kind.code(), cause = %fault, "the upstream failed after the payment: it is owed back");
                let problem = upstream_problem(&fault, "The payment moved before and is owed back.");
                story.because(fault.kind.code()).with(full(problem.moved().with_receipt(receipt).into_response()))
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
    pub(super) async fn not_prepaid(&self, arriving: &Arriving<'_>, closed: Closed) -> Told<Bytes> {
        let (outcome, problem) = match closed {
            Closed::Refused { refusal, receipt } => {
                let challenge = arriving.challenge(self).await;
                (MoneyOutcome::Refused, Problem::settlement_refused(challenge, refusal, receipt))
            }
            Closed::Pending { receipt, .. } => (MoneyOutcome::Pending, Problem::pending(receipt, None)),
            Closed::Fault(fault) => (MoneyOutcome::Fault, Problem::fault(fault)),
            Closed::Settled(_) | Closed::Held(_) | Closed::NothingDue => {
                (MoneyOutcome::NotCharged, Problem::replay(Replay::Burnt))
            }
        };
        Story { taken: arriving.taken.get(), ..Story::of(outcome) }.with(problem.into_response())
    }

    /// Puts a call on the tab. Its answer is released once the journal has it that the call is answered. A caller who leaves meanwhile
    /// has bought it: the permit that is dropped with this says so.
    async fn on_tab(
        &self,
        story: Story,
        mut permit: Permit<WorkerHost>,
        mut response: Response<Relay>,
        noted: Noted,
        idempotent: bool,
    ) -> Told<Body> {
        let Some(hold) = permit.hold().map(|hold| hold.id) else { return interrupted(story) };
        let flow = &self.0.flow;
        // What is kept for a repetition is due when it is kept.
        let looks = !idempotent || noted.draft.is_some();
        let whole = looks && response.body_mut().is_whole().await && !idempotent;
        let answered = if whole {
            flow.answer_whole(permit).await.map(|receipt| (receipt, None))
        } else {
            match flow.answer(&mut permit).await {
                Ok(receipt) => Ok((receipt, Some(permit))),
                Err(fault) => self.close_detached(permit, Outcome::Broken { reading: None }).await.and(Err(fault)),
            }
        };
        match answered {
            Ok((receipt, permit)) => {
                if noted.draft.is_some() {
                    // The journal took its time: more may be at hand.
                    response.body_mut().is_whole().await;
                }
                let story = Story { outcome: MoneyOutcome::ServedTab, ..story }.whose(Whose::Paid);
                let keeper = Keeper::on_tab(self.clone(), hold, permit, idempotent, noted);
                story.with(answer::release(response, &receipt, Extensions::new(), keeper))
            }
            Err(fault) => faulted(story, fault),
        }
    }

    /// Gives a stored answer to a caller who knows the secret, if his request's body is the same.
    pub(super) async fn stored(&self, upload: Upload, hold: HoldId, receipt: Receipt) -> Response<Body> {
        // Whoever dawdles with his body is not waited for: his answer stays where it is.
        let digest = tokio::time::timeout(BODY_WAIT, upload.drain()).await.ok().flatten();
        let money = money_of(&receipt);
        match self.0.flow.journal.answer(hold).await {
            Err(fault) => full(Problem::fault(gate::Fault { money, ..fault }).into_response()),
            Ok(Some(answer)) if digest.is_some() && digest == answer.request_digest => {
                let mut response = answer::stored(answer, &receipt);
                self.receipt_again(hold, response.headers_mut()).await;
                self.put_stored_pass(hold, response.headers_mut()).await;
                response
            }
            // The first call's body was not read to its end, or this one's: nobody can say whether they are the same.
            Ok(Some(answer)) if digest.is_none() || answer.request_digest.is_none() => {
                full(Problem::replay(Replay::AlreadyServed(receipt)).into_response())
            }
            Ok(Some(_)) => full(Problem::replay(Replay::Conflict(money)).into_response()),
            Ok(None) => full(Problem::replay(Replay::AlreadyServed(receipt)).into_response()),
        }
    }

    async fn not_answered(&self, story: Story, permit: Permit<WorkerHost>, fault: &UpstreamFault) -> Told<Body> {
        warn!(kind = fault.kind.code(), sent = fault.sent, cause = %fault, "the upstream failed");
        let (outcome, money) = if fault.sent {
            (Outcome::Unanswered, "Nothing was charged. This payment is not accepted again: sign a new one.")
        } else {
            (Outcome::NotSent, "Nothing was charged. The same payment may be sent again.")
        };
        match self.close_detached(permit, outcome).await {
            Err(fault) => faulted(story, fault),
            Ok(()) => story.because(fault.kind.code()).with(full(upstream_problem(fault, money).into_response())),
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
    async fn challenge(&self, front: &Front) -> Option<Challenge> {
        let challenge = front.0.flow.challenge(&self.plan.snapshot, &self.call(None), None)?;
        Some(front.dress(self, challenge).await)
    }
}

/// The end of a paid call, which no connection owns.
struct End {
    front: Front,
    noted: Noted,
    idempotent: bool,
    challenge: Option<Challenge>,
    url: String,
    /// What the payment buys besides, given out once it has moved.
    pass: Option<HeaderValue>,
    story: Story,
}

impl End {
    /// Settles, or puts it on the tab, and then releases the answer, keeps it, or discards it. Whether anybody is still there to
    /// be told makes no difference to the money; an answer that is released to nobody ends as one whose caller left.
    async fn of_call(self, permit: Permit<WorkerHost>, response: Response<Relay>, tell: oneshot::Sender<Told<Body>>) {
        let Some(hold) = permit.hold() else { return };
        let ended = match hold.rail {
            Rail::Tab => self.front.on_tab(self.story, permit, response, self.noted, self.idempotent).await,
            Rail::Direct => {
                let (id, route, begun) = (hold.id, hold.route.clone(), Instant::now());
                match self.front.0.flow.close(permit, Outcome::Served { reading: None }).await {
                    Closed::Pending { hold, pickup, receipt } => {
                        warn!(%hold, route, "the settlement is not confirmed; the answer is kept for pick-up");
                        let url = format!("{PICKUP}{}", hex::encode(pickup));
                        let story = Story { outcome: MoneyOutcome::Pending, ..self.story };
                        tell.send(story.with(full(Problem::pending(receipt, Some(url)).into_response()))).ok();
                        return answer::keep_whole(&self.front, hold, response, self.noted).await;
                    }
                    closed => {
                        let story = Story { settlement_us: Some(micros(begun)), ..self.story };
                        Self { story, ..self }.settled(id, &route, closed, response).await
                    }
                }
            }
        };
        tell.send(ended).ok();
    }

    /// What a `direct` settlement means for the answer.
    async fn settled(self, hold: HoldId, route: &str, closed: Closed, mut response: Response<Relay>) -> Told<Body> {
        let story = self.story;
        let problem = |outcome, problem: Problem| Story { outcome, ..story }.with(full(problem.into_response()));
        match closed {
            Closed::Settled(settled) => {
                info!(%hold, route, payer = %settled.payer, amount_atomic = settled.amount.atomic,
                    chain_tx = %settled.chain_tx, block = settled.block, "settled");
                let receipt = Receipt::Settled(settled);
                let extensions = self.front.0.shared.sign_receipt(&receipt, &self.url).await;
                let keeper = Keeper::settled(self.front, hold, self.idempotent, self.noted);
                if keeper.gives_receipt() {
                    response.body_mut().is_whole().await;
                }
                let story = Story { outcome: MoneyOutcome::ServedSettled, ..story }.whose(Whose::Paid);
                let mut response = answer::release(response, &receipt, extensions, keeper);
                self.pass.map(|pass| response.headers_mut().insert(X_PAYMENT_PASS, pass));
                story.with(response)
            }
            Closed::Refused { receipt, refusal } => {
                warn!(%hold, route, reason = refusal.code(), "the chain refused after the run");
                problem(MoneyOutcome::Refused, Problem::settlement_refused(self.challenge, refusal, receipt))
            }
            Closed::Fault(fault) => faulted(story, fault),
            Closed::Pending { receipt, .. } => problem(MoneyOutcome::Pending, Problem::pending(receipt, None)),
            Closed::NothingDue | Closed::Held(_) => problem(MoneyOutcome::NotCharged, Problem::replay(Replay::Burnt)),
        }
    }
}

/// Ours or a dependency's.
fn faulted(story: Story, fault: gate::Fault) -> Told<Body> {
    let story = Story { outcome: MoneyOutcome::Fault, ..story }.because(fault.code());
    story.with(full(Problem::fault(fault).into_response()))
}

/// What the caller reads when the task that moves his money has gone.
fn interrupted(story: Story) -> Told<Body> {
    let message = "It is not known yet whether the payment moved. Do not pay again.";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted", message, MoneyState::Unknown);
    Story { outcome: MoneyOutcome::Pending, ..story }.with(full(problem.retry_after(2).into_response()))
}
