//! An `Idempotency-Key`: a call that has one is run once, and its answer is given out again.

use std::time::{Duration, Instant};

use gate::{AccountCall, Accounts as _, Answer, Call, Journal as _, OpenedCharge, Repeat};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use ledger::{AnswerState, ChargeRecord, ChargeState, HoldId};
use protocol::MoneyState;
use tracing::warn;

use super::super::answer::{Body, Relay, full, header_list, keep_private, restored};
use super::super::upload::{Digest, Upload};
use super::super::{BODY_WAIT, Front, strip_payment_words};
use crate::host::WorkerHost;
use crate::problem::Problem;

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How often it is looked whether a call has ended: first, and at the seldomest.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_millis(200);

/// An answer that says that the same call may go well in a while: it is not kept, and the call is run again.
const fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

impl Front {
    /// Holds the price of a call. One that repeats a call that is running waits for that one's end, as long as `replay.wait_ms` lets it.
    pub(super) async fn open_once(&self, call: &Call<'_>, account: AccountCall) -> OpenedCharge<WorkerHost> {
        if call.idempotency.is_none() {
            return self.0.flow.open_charge(call, account).await;
        }
        let until = Instant::now() + Duration::from_millis(self.plan().snapshot.replay_wait_ms);
        loop {
            match self.0.flow.open_charge(call, account.clone()).await {
                OpenedCharge::Repeat(Repeat::InFlight(first)) if self.has_ended(first, until).await => {}
                opened => return opened,
            }
        }
    }

    /// Waits until a call is answered; `false` when that takes too long.
    async fn has_ended(&self, charge: HoldId, until: Instant) -> bool {
        let mut pause = LOOK_FIRST;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            match self.0.flow.journal.charged(charge).await {
                Ok(Some(record)) if is_running(&record) => tokio::time::sleep(pause.min(left)).await,
                Ok(_) => return true,
                Err(_) => return false,
            }
            pause = (pause * 2).min(LOOK_LAST);
        }
    }

    /// Stores an answer that nothing is charged for, before its charge ends. One that is too long, or that passes, is not stored.
    pub(super) async fn kept_free(
        &self,
        charge: HoldId,
        mut response: Response<Relay>,
        request: &Digest,
    ) -> Response<Relay> {
        strip_payment_words(response.headers_mut());
        let status = response.status();
        if is_passing(status) {
            return response;
        }
        let max = usize::try_from(self.0.shared.answer_max_bytes).unwrap_or(usize::MAX);
        if let Some(body) = response.body_mut().read_whole(max).await {
            let headers = header_list(response.headers());
            let answer = Answer { status: status.as_u16(), headers, body, request_digest: request.value() };
            if let Err(fault) = self.0.flow.journal.keep_charged_answer(charge, answer).await {
                warn!(%charge, %fault, "an answer was not stored");
            }
        }
        response
    }

    /// Gives a stored answer out again, if the body of the request is the same.
    pub(super) async fn charged_before(&self, upload: Upload, charge: HoldId) -> Response<Body> {
        let digest = tokio::time::timeout(BODY_WAIT, upload.drain()).await.ok().flatten();
        match self.0.flow.journal.answer(charge).await {
            Err(fault) => full(Problem::fault(gate::Fault { money: MoneyState::Moved, ..fault }).into_response()),
            Ok(Some(answer)) if digest.is_some() && digest == answer.request_digest => {
                let mut response = full(restored(answer));
                keep_private(response.headers_mut());
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

/// Whether a call with an `Idempotency-Key` is still to be answered.
const fn is_running(record: &ChargeRecord) -> bool {
    match record.state {
        ChargeState::Open => true,
        ChargeState::Captured(taken) => {
            matches!(record.answer, AnswerState::Live | AnswerState::Pending) && (taken == 0 || record.refunded < taken)
        }
        ChargeState::Released(_) | ChargeState::Burnt(_) => false,
    }
}

/// What a caller reads whose `Idempotency-Key` was used before, where there is no answer to give out again.
pub(super) fn repeated(repeat: &Repeat) -> Problem {
    let problem = |status, error, message: &str, money| Problem::new(status, error, message, money);
    match repeat {
        Repeat::Other => problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_mismatch",
            "This Idempotency-Key was used for another request. Nothing was charged for this one.",
            MoneyState::Untouched,
        ),
        Repeat::InFlight(_) => problem(
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
