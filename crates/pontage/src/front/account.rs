//! A call that is paid from a balance: from its key to its end.

mod answer;
mod cached;
pub(super) mod guards;
pub(super) mod holder;
mod once;
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
use gate::{AccountCall, Call, ChargePermit, Denial, FreeReason, OpenedCharge, Outcome, Progress, Repeat, Taken};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ledger::{KeyId, Unit};
use protocol::MoneyState;
use proxy::UpstreamFault;
use tracing::warn;

use alloy_primitives::B256;
pub(super) use answer::Charged;
use answer::Metered;
use cached::Looked;
use once::repeated;
pub(super) use pass::{Revoked, X_PAYMENT_PASS};
use price::Due;

use super::answer::{Body, Relay, full, keep_private, pass_read};
use super::arrived::Arrived;
use super::cors::Whose;
use super::own::TOP_UP;
use super::request::Forward;
use super::story::{Story, Told};
use super::trust::Word;
use super::upload::Upload;
use super::{Arriving, Front, Pass, upstream_problem};
use crate::accounts::{Knock, Principal, Unresolved};
use crate::cache::Cachable;
use crate::host::{WorkerHost, now_ms};
use crate::limits::Key;
use crate::plan::RoutePlan;
use crate::problem::Problem;
use crate::source;
use crate::telemetry::{Limit, MoneyOutcome};

const REMAINING: HeaderName = HeaderName::from_static("x-credits-remaining");
const UNIT: HeaderName = HeaderName::from_static("x-credits-unit");
/// Says that a key of the sandbox calls: to the upstream, and to the caller.
const SANDBOX: HeaderName = HeaderName::from_static("x-pay-sandbox");

/// What is sent to the upstream for a charge, and how it is counted.
struct Sent {
    forward: Forward,
    upload: Upload,
    /// Where only the answer tells what is due.
    meter: Option<Meter>,
    /// Where its answer may be kept for calls like it.
    cachable: Option<Cachable>,
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

    /// The answer to a question whose key opens nothing. It takes from the same bucket as a call.
    fn turned_away(&self, arrived: &Arrived, story: Story, why: Unresolved) -> Told<Bytes> {
        let denial = match why {
            Unresolved::Denied(denial, _) => denial,
            Unresolved::Fault(fault) => {
                return story.because(fault.code()).with(Problem::fault(fault).into_response());
            }
        };
        let taken = self.0.shared.limits.take(Key::Address(source::source(arrived.from)), now_ms());
        match taken.filter(|taken| !taken.allowed) {
            Some(taken) => too_many(taken),
            None => story.because(denial.code()).with(denied(denial).into_response()),
        }
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
        let named = match arriving.shown.name() {
            Ok(named) => named,
            Err(problem) => return arriving.invalid(problem).full(),
        };
        let Due { account, meter } = due;
        let account = AccountCall { tags, guards: self.guards(arriving, principal), ..account };
        let meter = meter.filter(|_| !principal.sandbox);
        let is_sandbox = principal.sandbox;
        let sent = Sent { forward, upload, meter, cachable: None, is_sandbox };
        let sent = match named {
            None => self.cached(arriving, principal, sent),
            Some(_) => Looked::up(sent),
        };
        if let Some(hit) = sent.hit.as_ref().filter(|_| self.hits_are_free()) {
            return self.free_hit(arriving, account.key, hit);
        }
        Box::pin(self.opened(arriving, named, account, sent)).await
    }

    /// Holds the price of a call, and answers it.
    async fn opened(
        &self,
        arriving: &Arriving<'_>,
        named: Option<B256>,
        account: AccountCall,
        looked: Looked,
    ) -> Told<Body> {
        let call = Call { idempotency: named, ..arriving.call(None) };
        let (key, unit, amount) = (account.key, account.unit, account.amount);
        let step = arriving.trace.step("open");
        let opened = self.open_once(&call, account).await;
        drop(step);
        let Looked { sent, hit } = looked;
        let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::NotCharged) };
        match opened {
            OpenedCharge::Permit(permit) => {
                let warning = guards::warning(key, permit.warned());
                let mut told = match hit {
                    Some(hit) => self.charged_hit(story, &hit, permit).await,
                    None => Box::pin(self.charged(arriving, story, sent, permit)).await,
                };
                told.response.headers_mut().extend(warning);
                told
            }
            OpenedCharge::Short { available } => self.short(arriving, Left { unit, available }, amount).await.full(),
            OpenedCharge::Over(over) => self.over(arriving, key, &over).full(),
            OpenedCharge::Suspended { until_ms } => self.suspended(arriving, key, until_ms).full(),
            OpenedCharge::Closed => self.unresolved(arriving, suspended(key)).full(),
            OpenedCharge::Repeat(Repeat::Stored(charge)) => {
                let story = Story { hold: Some(charge), ..Story::of(MoneyOutcome::Replayed) };
                let mut response = Box::pin(self.charged_before(sent.upload, charge)).await;
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
        Sent { mut forward, mut upload, meter, cachable, is_sandbox }: Sent,
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
            let response = response.map(Relay::new);
            let response = match charge.idempotency {
                // Before the charge ends: nobody finds it ended and the answer not there.
                Some(_) => self.kept_free(charge.id, response, &request).await,
                None => response,
            };
            return match self.end_charge(permit, Outcome::Free(FreeReason::Status)).await {
                Err(fault) => faulted(story, fault),
                Ok(available) => {
                    let mut response = pass_read(response);
                    keep_private(response.headers_mut());
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
        let slot = cachable.as_ref().and_then(|call| call.slot(response.status(), response.headers()));
        let story = Story { outcome: MoneyOutcome::ServedBalance, ..story }.whose(Whose::Paid);
        let amount = Some(charge.unit.amount(charge.amount));
        // If the caller leaves meanwhile, the answer that he has paid for is still kept for him where it has a name.
        let (front, response) = (self.clone(), response.map(Relay::new));
        let end = self.0.tasks.spawn(async move {
            let available = front.0.flow.close_charge(permit, Outcome::Served { reading: None }).await?;
            Ok(answer::release(&front, response, charge, request, Left { available, ..left }, slot))
        });
        match end.await.unwrap_or(Err(LOST)) {
            Err(fault) => faulted(story, fault),
            Ok(mut response) => {
                if cachable.is_some() {
                    response.headers_mut().insert(cached::X_CACHE, HeaderValue::from_static("miss"));
                }
                Story { amount, ..story }.with(response)
            }
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
}

/// Its address has asked too often.
fn too_many(taken: Taken) -> Told<Bytes> {
    let story = Story { taken: Some(taken), limited: Some(Limit::Address), ..Story::of(MoneyOutcome::RateLimited) };
    story.with(Problem::too_many(taken.retry_after_s).into_response())
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

fn faulted(story: Story, fault: gate::Fault) -> Told<Body> {
    let story = Story { outcome: MoneyOutcome::Fault, ..story }.because(fault.code());
    story.with(full(Problem::fault(fault).into_response()))
}

fn interrupted(story: Story) -> Told<Body> {
    let message = "The charge for this call has ended already.";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted", message, MoneyState::Unknown);
    Story { outcome: MoneyOutcome::Pending, ..story }.with(full(problem.retry_after(2).into_response()))
}
