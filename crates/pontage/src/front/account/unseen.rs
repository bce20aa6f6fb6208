//! A sidecar's charge to a balance: the upstream's answer will not be seen, so the price is due with the check.

use bytes::Bytes;
use gate::{AccountCall, Accounts as _, Call, Denial, FreeReason, Host as _, OpenedCharge, Outcome};
use http::{HeaderMap, HeaderValue, StatusCode};
use ledger::{ChargeState, ChargeStep, HoldId};
use protocol::MoneyState;
use tracing::{info, warn};

use super::super::check::HOLD;
use super::super::story::{Story, Told};
use super::super::trust::Word;
use super::super::{Arriving, Front};
use super::holder::{answer, charge_json};
use super::once::repeated;
use super::price::Due;
use super::rehearsed::Verdict;
use super::{Left, SANDBOX, suspended};
use crate::accounts::{Principal, Unresolved};
use crate::problem::Problem;
use crate::telemetry::MoneyOutcome;

impl Front {
    /// The word on a checked call that shows a pass or a key in the place of a payment. `None` where it shows neither.
    pub(in crate::front) async fn check_prepaid(
        &self,
        arriving: &Arriving<'_>,
        headers: &HeaderMap,
        target: &str,
    ) -> Option<Told<Bytes>> {
        if let Some(shown) = self.shown_pass(arriving) {
            return Some(self.check_pass(arriving, shown, headers, target).await);
        }
        if arriving.shown.pays() || !self.sells(arriving) {
            return None;
        }
        Some(match self.holder(arriving, headers) {
            Ok(None) => return None,
            Ok(Some(holder)) => self.check_on_account(arriving, &holder, headers, target).await,
            Err(Unresolved::Denied(Denial::InvalidApiKey, _)) if self.rehearses() => {
                return self.takes_from_address(arriving).err();
            }
            Err(why) if self.rehearses() => self.rehearsed_unseen(arriving, &Verdict::of_key(&why), target),
            Err(why) => self.unresolved(arriving, why),
        })
    }

    /// Charges a checked call to a balance.
    pub(in crate::front) async fn check_on_account(
        &self,
        arriving: &Arriving<'_>,
        principal: &Principal,
        headers: &HeaderMap,
        target: &str,
    ) -> Told<Bytes> {
        self.quote(arriving).await;
        let story = Story { taken: arriving.taken.get(), ..Story::of(MoneyOutcome::Refused) };
        // The body is not shown to a sidecar, so its size is not either.
        let due = self.due(arriving, principal, headers, None);
        if self.rehearses() {
            let verdict = self.verdict(principal, due.as_ref().map(|due| due.account.amount));
            return self.rehearsed_unseen(arriving, &verdict, target);
        }
        let account = match due {
            Ok(Due { account, meter: None }) => account,
            // Nobody would count what is due.
            Ok(Due { meter: Some(_), .. }) => return story.because("metered_route").with(metered().into_response()),
            Err(why) => return self.unpriced(arriving, why).await,
        };
        let named = match arriving.shown.name() {
            Ok(named) => named,
            Err(problem) => return arriving.invalid(problem),
        };
        if let Err(limited) = self.keeps_pace(arriving, principal) {
            return limited;
        }
        let call = Call { idempotency: named, ..arriving.call(None) };
        let account = AccountCall { guards: self.guards(arriving, principal), ..account };
        let (key, unit, amount) = (account.key, account.unit, account.amount);
        let fault = |fault: gate::Fault| {
            let story = Story { outcome: MoneyOutcome::Fault, ..story }.because(fault.code());
            story.with(Problem::fault(fault).into_response())
        };
        let permit = match self.0.flow.open_charge(&call, account).await {
            OpenedCharge::Permit(permit) => permit,
            OpenedCharge::Short { available } => return self.short(arriving, Left { unit, available }, amount).await,
            OpenedCharge::Over(over) => return self.over(arriving, key, &over),
            OpenedCharge::Suspended { until_ms } => return self.suspended(arriving, key, until_ms),
            OpenedCharge::Closed => return self.unresolved(arriving, suspended(key)),
            OpenedCharge::Repeat(repeat) => {
                return Story::of(MoneyOutcome::Replayed).with(repeated(&repeat).into_response());
            }
            OpenedCharge::Fault(why) => return fault(why),
        };
        let Some(charge) = permit.charge().cloned() else { return story.with(Problem::blocked().into_response()) };
        if named.is_some() && !principal.sandbox {
            // There is none to be given out again.
            self.0.flow.host.later_charge(charge.id, ChargeStep::LoseAnswer);
        }
        // A key of the sandbox moves no money: what was held is given back.
        let outcome = if principal.sandbox { Outcome::Free(FreeReason::Status) } else { Outcome::Unseen };
        let available = match self.end_charge(permit, outcome).await {
            Ok(available) => available,
            Err(why) => return fault(why),
        };
        let mut response = self.allow(arriving, target, Some(&Word::charged(&charge)));
        Left { unit, available }.put(response.headers_mut());
        response.headers_mut().insert(HOLD, self.named(charge.id));
        if principal.sandbox {
            response.headers_mut().insert(SANDBOX, HeaderValue::from_static("1"));
            return Story { outcome: MoneyOutcome::NotCharged, hold: Some(charge.id), ..story }.with(response);
        }
        info!(charge = %charge.id, route = charge.route, key = %key, amount, "checked and charged");
        let amount = Some(unit.amount(amount));
        Story { outcome: MoneyOutcome::ServedBalance, hold: Some(charge.id), amount, ..story }.with(response)
    }

    /// Takes a proxy's report of how a checked call ended that was charged to a balance.
    pub(in crate::front) async fn charge_outcome(&self, charge: HoldId, status: u64) -> http::Response<Bytes> {
        let unknown = |fault| Problem::fault(gate::Fault { money: MoneyState::Unknown, ..fault }).into_response();
        let journal = &self.0.flow.journal;
        let record = match journal.charged(charge).await {
            Ok(Some(record)) => record,
            Ok(None) => return Problem::not_found().into_response(),
            Err(fault) => return unknown(fault),
        };
        let (false, ChargeState::Captured(taken)) = ((1..400).contains(&status), record.state) else {
            return answer(&charge_json(&record));
        };
        warn!(%charge, status, "a checked call was not served: its price is given back");
        match journal.advance_charge(charge, ChargeStep::Refund(taken)).await {
            Ok(Some((record, _))) => answer(&charge_json(&record)),
            Ok(None) => Problem::not_found().into_response(),
            Err(fault) => unknown(fault),
        }
    }
}

/// What is due for a call of this route is counted on its answer, which a sidecar does not see.
pub(super) fn metered() -> Problem {
    let message = "This route is metered, and a sidecar does not see answers: it is sold by the proxy alone. Nothing was charged.";
    Problem::new(StatusCode::NOT_IMPLEMENTED, "metered_route", message, MoneyState::Untouched)
}
