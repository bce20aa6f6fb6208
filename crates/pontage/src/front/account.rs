//! A call that is paid from a balance: from its key to its end.

mod answer;
pub(super) mod holder;
mod pass;
mod price;
pub(super) mod quote;
pub(super) mod rehearsed;
pub(super) mod rotate;
mod tags;
mod top_up;
mod unseen;

use std::rc::Rc;

use bytes::Bytes;
use gate::price::Meter;
use gate::{AccountCall, ChargePermit, Denial, FreeReason, OpenedCharge, Outcome, Progress, Repeat};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use ledger::{HoldId, KeyId, Over, Unit};
use protocol::MoneyState;
use proxy::UpstreamFault;
use tracing::warn;

pub(super) use answer::Charged;
use answer::Metered;
pub(super) use pass::{Revoked, X_PAYMENT_PASS};
use price::Due;

use super::answer::{Body, Relay, full, pass, restored};
use super::cors::Whose;
use super::own::TOP_UP;
use super::request::Forward;
use super::story::{Story, Told};
use super::trust::Word;
use super::upload::Upload;
use super::{Arriving, BODY_WAIT, Front, Pass, upstream_problem};
use crate::accounts::{Knock, Principal, Unresolved};
use crate::host::{WorkerHost, now_ms};
use crate::plan::RoutePlan;
use crate::problem::Problem;
use crate::telemetry::MoneyOutcome;

const REMAINING: HeaderName = HeaderName::from_static("x-credits-remaining");
const UNIT: HeaderName = HeaderName::from_static("x-credits-unit");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Says that a key of the sandbox calls: to the upstream, and to the caller.
const SANDBOX: HeaderName = HeaderName::from_static("x-pay-sandbox");

/// What is sent to the upstream for a charge, and how it is counted.
struct Sent {
    forward: Forward,
    upload: Upload,
    /// Where only the answer tells what is due.
    meter: Option<Meter>,
    is_sandbox: bool,
}

/// The task that ends a call is gone.
const LOST: gate::Fault = gate::Fault { kind: gate::FaultKind::Journal, money: MoneyState::Held };

/// What a balance has left, as each answer to its holder says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) unit: Unit,
    pub(super) available: u64,
}

impl Left {
    pub(super) fn put(self, headers: &mut HeaderMap) {
        headers.insert(REMAINING, self.available.into());
        headers.insert(UNIT, HeaderValue::from_static(self.unit.code()));
    }
}

impl Front {
    /// Who pays for a call from a balance. `None` where nobody says that he does.
    pub(super) fn holder(
        &self,
        arriving: &Arriving<'_>,
        headers: &HeaderMap,
    ) -> Result<Option<Rc<Principal>>, Unresolved> {
        let Some(directory) = self.0.directory.as_ref().filter(|_| arriving.shown.names_account) else {
            return Ok(None);
        };
        directory.resolve(&Knock {
            headers,
            method: arriving.method,
            path: Some(arriving.path.path()),
            target: &arriving.path.path_and_query(),
            from: arriving.from,
            now_ms: now_ms(),
        })
    }

    /// The answer to a call whose key opens nothing. It takes from the bucket of its address: guessing is slow.
    pub(super) fn unresolved(&self, arriving: &Arriving<'_>, why: Unresolved) -> Told<Bytes> {
        let (denial, key) = match why {
            Unresolved::Denied(denial, key) => (denial, key),
            Unresolved::Fault(fault) => {
                let story = Story::of(MoneyOutcome::Fault).because(fault.code());
                return story.with(Problem::fault(fault).into_response());
            }
        };
        if let Err(limited) = self.takes_from_address(arriving) {
            return limited;
        }
        let mut response = denied(denial).into_response();
        if let Some(key) = key {
            self.put_left(key, response.headers_mut());
        }
        Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::Denied) }.because(denial.code()).with(response)
    }

    /// Says what the balance of a key has left, where the journal can be read.
    fn put_left(&self, key: KeyId, headers: &mut HeaderMap) {
        if let Ok(Some((row, available, _))) = self.0.flow.journal.balance(key, now_ms()) {
            Left { unit: row.unit, available }.put(headers);
        }
    }

    /// Charges a call to a balance and runs it.
    pub(super) async fn on_account(
        &self,
        arriving: &Arriving<'_>,
        principal: &Principal,
        forward: Forward,
        upload: Upload,
    ) -> Told<Body> {
        self.quote(arriving).await;
        let call = arriving.call(None);
        let tags = match tags::tags(&forward.headers) {
            Ok(tags) => tags,
            Err(problem) => return arriving.invalid(problem).full(),
        };
        let due = self.due(arriving, principal, &forward.headers, price::size_of(&upload));
        if self.rehearses() {
            let verdict = self.verdict(principal, due.as_ref().map(|due| due.account.amount));
            return self.rehearsed(arriving, verdict, forward, upload).await;
        }
        let due = match due {
            Ok(due) => due,
            Err(why) => return self.unpriced(arriving, why).await.full(),
        };
        let Due { account, meter } = due;
        let account = AccountCall { tags, ..account };
        let (key, unit, amount) = (account.key, account.unit, account.amount);
        let step = arriving.trace.step("open");
        let opened = self.0.flow.open_charge(&call, account).await;
        drop(step);
        let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::NotCharged) };
        match opened {
            OpenedCharge::Permit(permit) => {
                let meter = meter.filter(|_| !principal.sandbox);
                let sent = Sent { forward, upload, meter, is_sandbox: principal.sandbox };
                Box::pin(self.charged(arriving, story, sent, permit)).await
            }
            OpenedCharge::Short { available } => self.short(arriving, Left { unit, available }, amount).await.full(),
            OpenedCharge::Over(over) => self.over(arriving, key, &over).full(),
            OpenedCharge::Closed | OpenedCharge::Suspended { .. } => self.unresolved(arriving, suspended(key)).full(),
            OpenedCharge::Repeat(Repeat::Stored(charge)) => {
                let story = Story { hold: Some(charge), ..Story::of(MoneyOutcome::Replayed) };
                let mut response = Box::pin(self.charged_before(upload, charge)).await;
                self.put_left(key, response.headers_mut());
                story.with(response)
            }
            OpenedCharge::Repeat(repeat) => {
                let mut response = full(repeated(&repeat).into_response());
                self.put_left(key, response.headers_mut());
                Story::of(MoneyOutcome::Replayed).with(response)
            }
            OpenedCharge::Fault(fault) => {
                let story = Story { outcome: MoneyOutcome::Fault, ..story }.because(fault.code());
                story.with(full(Problem::fault(fault).into_response()))
            }
        }
    }

    /// A budget keeps the call from being charged.
    fn over(&self, arriving: &Arriving<'_>, key: KeyId, over: &Over) -> Told<Bytes> {
        let message =
            "A budget of this key, of this route or of the gate has no room for the call. Nothing was charged.";
        let status = StatusCode::TOO_MANY_REQUESTS;
        let problem = Problem::new(status, over.code(), message, MoneyState::Untouched)
            .with("reason", over.code())
            .with("used", over.used)
            .with("resets_at_ms", over.resets_at_ms);
        let wait_ms = over.resets_at_ms.map(|resets| resets.saturating_sub(now_ms()));
        let wait_s = wait_ms.map(|ms| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1));
        let problem = match wait_s {
            Some(seconds) => problem.retry_after(seconds),
            None => problem,
        };
        let mut response = problem.into_response();
        self.put_left(key, response.headers_mut());
        Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::RateLimited) }
            .because(over.code())
            .with(response)
    }

    /// The balance has less than the call costs. Where the route takes payments, what would pay stands beside.
    async fn short(&self, arriving: &Arriving<'_>, left: Left, needed: u64) -> Told<Bytes> {
        let challenge = self.0.flow.challenge(&arriving.plan.snapshot, &arriving.call(None), None);
        let challenge = self.dress(arriving, challenge.unwrap_or_default()).await;
        let message = "The balance of this key is too low for the call. Nothing was charged.";
        let status = StatusCode::PAYMENT_REQUIRED;
        let problem = Problem::new(status, "insufficient_credits", message, MoneyState::Untouched)
            .with("reason", "insufficient_credits")
            .with("creditsRequired", needed)
            .with("remainingCredits", left.available)
            .with("unit", left.unit.code())
            .with("topUpUrl", TOP_UP)
            .with_challenge(challenge);
        let mut response = problem.into_response();
        left.put(response.headers_mut());
        Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::Refused) }
            .because("insufficient_credits")
            .with(response)
    }

    /// Runs the upstream for a charge. Whatever happens to this future, the permit ends its charge.
    async fn charged(
        &self,
        arriving: &Arriving<'_>,
        story: Story,
        Sent { mut forward, mut upload, meter, is_sandbox }: Sent,
        mut permit: ChargePermit<WorkerHost>,
    ) -> Told<Body> {
        let Some(charge) = permit.charge().cloned() else { return interrupted(story) };
        let left = Left { unit: charge.unit, available: permit.available() };
        let story = Story { hold: Some(charge.id), ..story };
        arriving.trace.payment(charge.id);
        self.tell_origin(&Word::charged(&charge), &mut forward);
        if is_sandbox {
            forward.headers.insert(SANDBOX, HeaderValue::from_static("1"));
        }
        let request = upload.digest(charge.idempotency.is_some());
        if meter.is_some() && arriving.route_plan.is_some_and(RoutePlan::reads_body) {
            price::read_plainly(&mut forward);
        }
        let ran = match self.run(arriving, Pass::Charged(&mut permit), forward, upload).await {
            Ok(ran) => ran,
            Err(fault) => return self.not_charged(story, left, permit, &fault).await,
        };
        let (story, response) = (ran.of(story), ran.response);
        // A key of the sandbox moves no money: what was held is given back, whatever the answer.
        if response.status().as_u16() >= 400 || is_sandbox {
            return match self.end_charge(permit, Outcome::Free(FreeReason::Status)).await {
                Err(fault) => faulted(story, fault),
                Ok(available) => {
                    let mut response = pass(response);
                    if is_sandbox {
                        response.headers_mut().insert(SANDBOX, HeaderValue::from_static("1"));
                    }
                    Left { available, ..left }.put(response.headers_mut());
                    story.whose(Whose::Paid).with(response)
                }
            };
        }
        permit.reached(Progress::Head);
        if let Some(meter) = meter {
            let story = Story { outcome: MoneyOutcome::ServedBalance, ..story }.whose(Whose::Paid);
            let metered = Metered::new(meter, permit, response.headers());
            let response = response.map(Relay::new);
            return match answer::release_metered(self, response, charge, request, metered).await {
                Ok(response) => story.with(response),
                Err(fault) => faulted(story, fault),
            };
        }
        let story = Story { outcome: MoneyOutcome::ServedBalance, ..story }.whose(Whose::Paid);
        let amount = Some(charge.unit.amount(charge.amount));
        // If the caller leaves meanwhile, the answer that he has paid for is still kept for him where it has a name.
        let (front, response) = (self.clone(), response.map(Relay::new));
        let end = self.0.tasks.spawn(async move {
            let available = front.0.flow.close_charge(permit, Outcome::Served { reading: None }).await?;
            Ok(answer::release(&front, response, charge, request, Left { available, ..left }))
        });
        match end.await.unwrap_or(Err(LOST)) {
            Err(fault) => faulted(story, fault),
            Ok(response) => Story { amount, ..story }.with(response),
        }
    }

    /// The upstream did not answer.
    async fn not_charged(
        &self,
        story: Story,
        left: Left,
        permit: ChargePermit<WorkerHost>,
        fault: &UpstreamFault,
    ) -> Told<Body> {
        warn!(kind = fault.kind.code(), sent = fault.sent, cause = %fault, "the upstream failed");
        let outcome = if fault.sent { Outcome::Unanswered } else { Outcome::NotSent };
        match self.end_charge(permit, outcome).await {
            Err(fault) => faulted(story, fault),
            Ok(available) => {
                let mut response = full(upstream_problem(fault, "Nothing was charged.").into_response());
                Left { available, ..left }.put(response.headers_mut());
                story.because(fault.kind.code()).with(response)
            }
        }
    }

    /// Ends a charge in a task of its own, and waits for it.
    async fn end_charge(&self, permit: ChargePermit<WorkerHost>, outcome: Outcome) -> Result<u64, gate::Fault> {
        let flow = Rc::clone(&self.0.flow);
        self.0.tasks.spawn(async move { flow.close_charge(permit, outcome).await }).await.unwrap_or(Err(LOST))
    }

    /// Gives a stored answer out again, if the body of the request is the same.
    async fn charged_before(&self, upload: Upload, charge: HoldId) -> Response<Body> {
        use gate::Journal as _;
        let digest = tokio::time::timeout(BODY_WAIT, upload.drain()).await.ok().flatten();
        match self.0.flow.journal.answer(charge).await {
            Err(fault) => full(Problem::fault(gate::Fault { money: MoneyState::Moved, ..fault }).into_response()),
            Ok(Some(answer)) if digest.is_some() && digest == answer.request_digest => {
                let mut response = full(restored(answer));
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                response
            }
            Ok(Some(answer)) if digest.is_some() && answer.request_digest.is_some() => {
                full(repeated(&Repeat::Other).into_response())
            }
            Ok(_) => full(repeated(&Repeat::Gone).into_response()),
        }
    }
}

/// Why a key opens nothing.
fn denied(denial: Denial) -> Problem {
    let status = if denial.is_of_identity() { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
    let message = format!("Nothing was charged: {denial}.");
    let problem = Problem::new(status, denial.code(), message, MoneyState::Untouched).with("reason", denial.code());
    if denial.is_of_identity() { problem.asks_for_bearer() } else { problem }
}

/// The account was closed between the look at its key and the charge.
const fn suspended(key: KeyId) -> Unresolved {
    Unresolved::Denied(Denial::KeySuspended, Some(key))
}

/// What a caller reads whose `Idempotency-Key` was used before, where there is no answer to give out again.
fn repeated(repeat: &Repeat) -> Problem {
    let problem = |status, error, message: &str, money| Problem::new(status, error, message, money);
    match repeat {
        Repeat::Other => problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_mismatch",
            "This Idempotency-Key was used for another request. Nothing was charged for this one.",
            MoneyState::Untouched,
        ),
        Repeat::InFlight => problem(
            StatusCode::CONFLICT,
            "in_flight",
            "The call with this Idempotency-Key is still running.",
            MoneyState::Held,
        )
        .retry_after(2),
        Repeat::Stored(_) | Repeat::Gone => problem(
            StatusCode::CONFLICT,
            "already_served",
            "The call with this Idempotency-Key was served and charged once; its answer is no longer kept.",
            MoneyState::Moved,
        ),
        Repeat::Burnt => problem(
            StatusCode::CONFLICT,
            "not_charged",
            "The call with this Idempotency-Key may have run and was not charged. Use a new key to run it again.",
            MoneyState::Untouched,
        ),
    }
}

fn faulted(story: Story, fault: gate::Fault) -> Told<Body> {
    let story = Story { outcome: MoneyOutcome::Fault, ..story }.because(fault.code());
    story.with(full(Problem::fault(fault).into_response()))
}

fn interrupted(story: Story) -> Told<Body> {
    let message = "The charge for this call has ended already.";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted", message, MoneyState::Unknown);
    Story { outcome: MoneyOutcome::Pending, ..story }.with(full(problem.retry_after(2).into_response()))
}
