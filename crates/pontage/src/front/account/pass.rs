//! Calls that a pass pays for, and passes that are given out.

use std::cell::RefCell;
use std::collections::HashSet;

use bytes::Bytes;
use gate::price::Meter;
use gate::{
    AccountCall, Admission, Call, ChargePermit, Host as _, Journal as _, OpenedCharge, Outcome, Pass, PassRefusal,
    Price, Quote, Repeat, Replay,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use ledger::{ChargeStep, Guards, Hold, HoldId, KeyId, Purchase, Record, State, Unit};
use protocol::{MoneyState, Payer};
use tracing::info;

use super::super::answer::Body;
use super::super::check::HOLD;
use super::super::request::Forward;
use super::super::story::{Story, Told};
use super::super::trust::Word;
use super::super::upload::Upload;
use super::super::{Arriving, Front};
use super::once::repeated;
use super::price::{Due, Unpriced, size_of};
use super::unseen::metered;
use super::{Left, Sent};
use crate::accounts::Principal;
use crate::host::{WorkerHost, now_ms};
use crate::plan::Plan;
use crate::problem::Problem;
use crate::telemetry::MoneyOutcome;

/// A pass, in answers and in requests.
pub(in crate::front) const X_PAYMENT_PASS: HeaderName = HeaderName::from_static("x-payment-pass");

/// The passes that were taken back, as a worker knows them.
#[derive(Debug, Default)]
pub(in crate::front) struct Revoked {
    list: RefCell<Option<(u64, HashSet<HoldId>)>>,
}

impl Revoked {
    /// Whether a pass was taken back. The journal is asked once after each change.
    fn has(&self, journal: &store::Handle, payment: HoldId) -> Result<bool, gate::Fault> {
        // Read before the journal is: what changes in between is asked for again.
        let generation = journal.access_generation();
        let mut list = self.list.borrow_mut();
        if list.as_ref().is_none_or(|(known, _)| *known != generation) {
            *list = Some((generation, journal.revoked_passes(now_ms())?.into_iter().collect()));
        }
        Ok(list.as_ref().is_some_and(|(_, revoked)| revoked.contains(&payment)))
    }
}

impl Front {
    /// The pass that a call shows, where one may pay for it. A payment that comes beside it pays.
    pub(in crate::front) fn shown_pass<'a>(&self, arriving: &'a Arriving<'_>) -> Option<&'a HeaderValue> {
        let pass = arriving.shown.pass.as_ref()?;
        let sells = arriving.route.is_some_and(|route| route.price != Price::Free);
        (arriving.plan.takes_passes && sells && !arriving.shown.pays()).then_some(pass)
    }

    /// Runs a call that shows a pass.
    pub(in crate::front) async fn with_pass(
        &self,
        arriving: &Arriving<'_>,
        shown: &HeaderValue,
        forward: Forward,
        upload: Upload,
    ) -> Told<Body> {
        let (key, unit) = match self.opened_by(arriving, shown) {
            Ok(Admission::Free(pass)) => return Box::pin(self.free(arriving, pass, forward, upload)).await,
            Ok(Admission::Balance { key, unit }) => (key, unit),
            Err(why) => return self.uncharged(arriving, why, None).await.full(),
        };
        let size = size_of(&upload);
        match self.charge_pass(arriving, (key, unit), &forward.headers, size).await {
            Ok((permit, meter)) => {
                let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::NotCharged) };
                let sent = Sent { forward, upload, meter, cachable: None, is_sandbox: false };
                Box::pin(self.charged(arriving, story, sent, permit)).await
            }
            Err(Uncharged::Repeat(Repeat::Stored(charge))) => {
                let story = Story { hold: Some(charge), ..Story::of(MoneyOutcome::Replayed) };
                story.with(Box::pin(self.charged_before(upload, charge)).await)
            }
            Err(why) => self.uncharged(arriving, why, Some(key)).await.full(),
        }
    }

    /// Says whether a sidecar's call may pass for its pass. The upstream's answer will not be seen: what counts is due with the check.
    pub(in crate::front) async fn check_pass(
        &self,
        arriving: &Arriving<'_>,
        shown: &HeaderValue,
        headers: &HeaderMap,
        target: &str,
    ) -> Told<Bytes> {
        let (key, unit) = match self.opened_by(arriving, shown) {
            Ok(Admission::Free(pass)) => {
                let story = Story { taken: arriving.taken.get(), ..Story::unpaid(pass.why()) };
                return story.with(self.allow(arriving, target, Word::unpaid(pass.why()).as_ref()));
            }
            Ok(Admission::Balance { key, unit }) => (key, unit),
            Err(why) => return self.uncharged(arriving, why, None).await,
        };
        let permit = match self.charge_pass(arriving, (key, unit), headers, None).await {
            Ok((permit, None)) => permit,
            // Nobody would count what is due. The permit that is dropped here gives back what was held.
            Ok((_, Some(_))) => {
                let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::Refused) };
                return story.because("metered_route").with(metered().into_response());
            }
            Err(why) => return self.uncharged(arriving, why, Some(key)).await,
        };
        let Some(charge) = permit.charge().cloned() else {
            return self.uncharged(arriving, Uncharged::Repeat(Repeat::Gone), None).await;
        };
        if charge.idempotency.is_some() {
            // There is none to be given out again.
            self.0.flow.host.later_charge(charge.id, ChargeStep::LoseAnswer);
        }
        match self.end_charge(permit, Outcome::Unseen).await {
            Ok(available) => {
                info!(charge = %charge.id, route = charge.route, pass = %key, amount = charge.amount, "checked and charged");
                let mut response = self.allow(arriving, target, Some(&Word::charged(&charge)));
                Left { unit, available }.put(response.headers_mut());
                response.headers_mut().insert(HOLD, self.named(charge.id));
                let amount = Some(unit.amount(charge.amount));
                let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::ServedBalance) };
                Story { hold: Some(charge.id), amount, ..story }.with(response)
            }
            Err(fault) => self.uncharged(arriving, Uncharged::Fault(fault), None).await,
        }
    }

    /// What a pass opens here.
    fn opened_by(&self, arriving: &Arriving<'_>, shown: &HeaderValue) -> Result<Admission, Uncharged> {
        let pass = self.0.shared.pass_keys.read(shown.as_bytes()).map_err(Uncharged::Refused)?;
        let route = arriving.route.ok_or(Uncharged::Refused(PassRefusal::WrongRoute))?;
        let revoked = self.0.revoked.has(&self.0.flow.journal, pass.payment).map_err(Uncharged::Fault)?;
        pass.opens(route, revoked, now_ms() / 1_000).map_err(Uncharged::Refused)
    }

    /// Holds the price of a call on the account of a pass.
    async fn charge_pass(
        &self,
        arriving: &Arriving<'_>,
        (key, unit): (KeyId, Unit),
        headers: &HeaderMap,
        size: Option<u64>,
    ) -> Result<(ChargePermit<WorkerHost>, Option<Meter>), Uncharged> {
        self.quote(arriving).await;
        let named = arriving.shown.name().map_err(|problem| Uncharged::Invalid(Box::new(problem)))?;
        let call = Call { idempotency: named, ..arriving.call(None) };
        let Due { account, meter } =
            self.due_of_pass(arriving, key, unit, headers, size).map_err(Uncharged::Unpriced)?;
        let _step = arriving.trace.step("open");
        match self.0.flow.open_charge(&call, account).await {
            OpenedCharge::Permit(permit) => Ok((permit, meter)),
            // Nothing guards it but what it was bought for.
            OpenedCharge::Short { .. } | OpenedCharge::Over(_) => Err(Uncharged::Refused(PassRefusal::UsedUp)),
            // It has an account from the moment on at which its payment was posted.
            OpenedCharge::Closed | OpenedCharge::Suspended { .. } => Err(Uncharged::Refused(PassRefusal::Revoked)),
            OpenedCharge::Repeat(repeat) => Err(Uncharged::Repeat(repeat)),
            OpenedCharge::Fault(fault) => Err(Uncharged::Fault(fault)),
        }
    }

    /// What a call costs a pass: as much as the holder of a key without a plan. Where there are no keys, no price rests on the call.
    fn due_of_pass(
        &self,
        arriving: &Arriving<'_>,
        key: KeyId,
        unit: Unit,
        headers: &HeaderMap,
        size: Option<u64>,
    ) -> Result<Due, Unpriced> {
        if self.0.shared.accounts.is_some() {
            return self.due(arriving, &Principal::of_pass(key, unit), headers, size);
        }
        let Quote::Due(_, terms) = arriving.plan.snapshot.quote(&arriving.call(None)) else {
            return Err(Unpriced::NotSold);
        };
        let micros = terms.exposure_micros;
        let amount = if unit == Unit::Call { 1 } else { micros };
        let account = AccountCall { key, unit, amount, micros, tags: None, guards: Guards::default() };
        Ok(Due { account, meter: None })
    }

    /// The answer to a call that its pass does not pay for. Where another pass, or a payment, would, the 402 says so.
    async fn uncharged(&self, arriving: &Arriving<'_>, why: Uncharged, key: Option<KeyId>) -> Told<Bytes> {
        let told = match why {
            Uncharged::Refused(refusal) => {
                // Guessing is slow.
                if refusal == PassRefusal::Bad
                    && let Err(limited) = self.takes_from_address(arriving)
                {
                    return limited;
                }
                self.quote(arriving).await;
                let challenge = self.0.flow.challenge(&arriving.plan.snapshot, &arriving.call(None), None);
                let challenge = self.dress(arriving, challenge.unwrap_or_default()).await;
                let status = StatusCode::PAYMENT_REQUIRED;
                let problem = Problem::new(status, refusal.code(), refusal.message(), MoneyState::Untouched);
                let story = Story::of(MoneyOutcome::Refused).because(refusal.code());
                story.with(problem.with_challenge(challenge).into_response())
            }
            Uncharged::Invalid(problem) => return arriving.invalid(*problem),
            Uncharged::Unpriced(why) => return self.unpriced(arriving, why).await,
            Uncharged::Repeat(repeat) => Story::of(MoneyOutcome::Replayed).with(repeated(&repeat).into_response()),
            Uncharged::Fault(fault) => {
                Story::of(MoneyOutcome::Fault).because(fault.code()).with(Problem::fault(fault).into_response())
            }
        };
        let Told { mut response, story } = told;
        if let Some(key) = key {
            self.put_left(key, response.headers_mut());
        }
        Story { taken: arriving.taken.get(), ..story }.with(response)
    }

    /// The pass that a payment buys, where it buys one. It is the same each time that it is made.
    pub(in crate::front) fn pass_of(&self, plan: &Plan, hold: &Hold) -> Option<HeaderValue> {
        let purchase = hold.buys.as_ref()?;
        self.pass_text(plan, hold.id, hold.authorization.key.payer, &hold.route, purchase)
    }

    fn pass_text(
        &self,
        plan: &Plan,
        payment: HoldId,
        payer: Payer,
        route: &str,
        purchase: &Purchase,
    ) -> Option<HeaderValue> {
        let found = plan.snapshot.routes.iter().find(|known| known.id == route);
        let scope = found.and_then(|route| route.pass_scope.clone()).unwrap_or_else(|| route.to_owned());
        let pass = Pass::bought(payment, payer, scope, purchase)?;
        HeaderValue::try_from(self.0.shared.pass_keys.issue(&pass)).ok()
    }

    /// Gives a pass out again to whoever has its payment, or the secret of its answer.
    pub(in crate::front) fn put_pass(&self, record: &Record, headers: &mut HeaderMap) {
        let moved = matches!(record.state, State::Posted(_));
        if let Some(pass) = self.pass_of(&self.plan(), &record.hold).filter(|_| moved) {
            headers.insert(X_PAYMENT_PASS, pass);
        }
    }

    /// The answer to a payment that was used before, with the pass that it bought.
    pub(in crate::front) fn replayed(&self, arriving: &Arriving<'_>, replay: Replay) -> Response<Bytes> {
        let pass = match (&replay, arriving.route) {
            (Replay::Bought { hold, purchase, settled }, Some(route)) => {
                self.pass_text(arriving.plan, *hold, settled.payer, &route.id, purchase)
            }
            _ => None,
        };
        let mut response = Problem::replay(replay).into_response();
        pass.map(|pass| response.headers_mut().insert(X_PAYMENT_PASS, pass));
        response
    }

    /// The same with a stored answer, where passes are sold at all.
    pub(in crate::front) async fn put_stored_pass(&self, hold: HoldId, headers: &mut HeaderMap) {
        if self.plan().takes_passes
            && let Ok(Some(record)) = self.0.flow.journal.payment(hold).await
        {
            self.put_pass(&record, headers);
        }
    }
}

/// Why nothing is charged to a pass.
enum Uncharged {
    Refused(PassRefusal),
    Invalid(Box<Problem>),
    Unpriced(Unpriced),
    Repeat(Repeat),
    Fault(gate::Fault),
}
