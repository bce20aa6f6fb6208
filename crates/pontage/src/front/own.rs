//! pontage's own endpoints: what became of a payment, and answers to be picked up. They are never forwarded.

use alloy_primitives::{B256, hex};
use bytes::Bytes;
use gate::{Journal, money_of, secret_digest};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use ledger::{AnswerState, HoldId, Rail, Record, State};
use protocol::x402::{PAYMENTS, Receipt};
use protocol::{MoneyState, Settled};
use proxy::{CleanPath, Incoming};
use serde_json::{Value, json};

use super::account::quote::is_quote;
use super::account::rotate;
use super::answer::{self, Body, full};
use super::arrived::Arrived;
use super::story::{Story, Told};
use super::{Front, OWN, Role, check, receipt};
use crate::host::now_ms;
use crate::problem::Problem;
use crate::telemetry::MoneyOutcome;

/// Where an answer that was not delivered can be fetched; the code follows.
pub(super) const PICKUP: &str = "/__pay/answers/";
/// Where a balance is raised by a payment.
pub(super) const TOP_UP: &str = "/__pay/topup";
/// Whose key signs what this gate certifies.
const SIGNER: &str = "/__pay/signer";

/// What is beneath a path of ours, if it is one: in any case of letters, as routes are matched.
pub(super) fn is_own(path: &CleanPath) -> bool {
    let own = path.path().split_at_checked(OWN.len()).filter(|(start, _)| start.eq_ignore_ascii_case(OWN));
    own.is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
}

impl Front {
    /// Answers for a path of ours.
    pub(super) async fn own(&self, arrived: &Arrived, request: Request<Incoming>, path: &CleanPath) -> Told<Body> {
        let own = Story::of(MoneyOutcome::Own);
        if self.0.shared.role == Role::Sidecar {
            if let Some(beneath) = check::beneath(request.uri()).map(str::to_owned) {
                return self.check(arrived, request, beneath).await;
            }
            if path.path() == check::OUTCOME {
                return own.with(self.outcome(request).await);
            }
        }
        if rotate::is_asked(path) {
            return self.rotate(arrived, &request.into_parts().0, path).await.full();
        }
        if let (SIGNER, Some(key)) = (path.path(), &self.0.shared.signer) {
            let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
            let refused = || Problem::method_not_allowed("GET, HEAD");
            return own.with(full(if is_read { receipt::signer(key) } else { refused() }));
        }
        if is_quote(path) {
            return Box::pin(self.quoted(arrived, request)).await.full();
        }
        if path.path() == TOP_UP && self.0.directory.is_some() {
            if let Some(closed) = self.in_maintenance() {
                return closed.full();
            }
            return self.top_up(arrived, request, path).await.full();
        }
        if let Some(name) = receipt::name_beneath(path.path()) {
            return self.receipt(request.method(), name, arrived.from).await.full();
        }
        own.with(self.looked_up(&request, path).await)
    }

    /// The documents of the gate and its health. `None` where the path is not one of theirs.
    pub(super) fn published(&self, parts: &Parts, path: &CleanPath) -> Option<Response<Bytes>> {
        self.0.shared.operation.answer(path.path(), &parts.method, &parts.headers)
    }

    /// The answer to every call while the gate is closed. What was paid before can still be looked up.
    pub(super) fn in_maintenance(&self) -> Option<Told<Bytes>> {
        let closed = self.0.shared.operation.maintenance.closed(now_ms())?;
        let story = Story::of(MoneyOutcome::Busy).because("maintenance_mode");
        Some(story.with(Problem::maintenance(&closed).into_response()))
    }

    /// What became of a payment, or an answer that was kept.
    async fn looked_up(&self, request: &Request<Incoming>, path: &CleanPath) -> Response<Body> {
        let name =
            |beneath| path.path().strip_prefix(beneath).and_then(|name| hex::decode_to_array::<_, 16>(name).ok());
        let (payment, code) = (name(PAYMENTS), name(PICKUP));
        if payment.is_none() && code.is_none() {
            return full(Problem::not_found().into_response());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return full(Problem::method_not_allowed("GET, HEAD"));
        }
        let journal = &self.0.flow.journal;
        let found = match (payment, code) {
            (Some(payment), _) => journal.payment(HoldId(payment)).await,
            (None, code) => journal.picked(secret_digest(&code.unwrap_or_default())).await,
        };
        match found {
            Err(fault) => full(Problem::fault(gate::Fault { money: MoneyState::Unknown, ..fault }).into_response()),
            Ok(None) => full(Problem::not_found().into_response()),
            Ok(Some(record)) if payment.is_some() => full(self.status(&record)),
            Ok(Some(record)) => self.pick_up(&record).await,
        }
    }

    /// What became of a payment.
    pub(super) fn status(&self, record: &Record) -> Response<Bytes> {
        let network = record.hold.authorization.key.asset.network;
        status(record, self.0.flow.facilitator.newest_block(network))
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
            State::Open | State::Answered => Problem::pending(pending(None), None),
            State::Submitted(chain_tx) => Problem::pending(pending(ledger::told(chain_tx)), None),
            State::Released(_) | State::Burnt(_) | State::Lost(_) => gone(
                "not_charged",
                "The payment did not move, so there is no answer. Sign a new one.",
                MoneyState::Untouched,
            ),
            State::Posted(settled) => match (record.answer, self.0.flow.journal.answer(record.hold.id).await) {
                (_, Err(fault)) => Problem::fault(gate::Fault { money: MoneyState::Moved, ..fault }),
                (AnswerState::Kept, Ok(Some(answer))) => {
                    let mut response = answer::stored(answer, &Receipt::Settled(settled));
                    self.receipt_again(record.hold.id, response.headers_mut()).await;
                    self.put_pass(record, response.headers_mut());
                    return response;
                }
                (AnswerState::Pending, Ok(_)) => {
                    let message = "The payment moved and the answer is being stored. Ask again.";
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    Problem::new(status, "answer_pending", message, MoneyState::Moved).retry_after(1)
                }
                (AnswerState::Lost, Ok(_)) if record.hold.buys.is_some() => {
                    let message = "The payment moved and the answer was lost. What it bought stands.";
                    gone("answer_lost", message, MoneyState::Moved).with_receipt(Receipt::Settled(settled))
                }
                (AnswerState::Lost, Ok(_)) => gone(
                    "answer_lost",
                    "The payment moved, the answer was lost: the payment is owed back.",
                    MoneyState::Moved,
                )
                .with_receipt(Receipt::Settled(settled)),
                (AnswerState::Kept | AnswerState::Live | AnswerState::Delivered, Ok(_)) => {
                    let message = "The payment moved; the answer is no longer kept.";
                    gone("answer_expired", message, MoneyState::Moved).with_receipt(Receipt::Settled(settled))
                }
            },
        };
        let mut response = problem.into_response();
        self.put_pass(record, response.headers_mut());
        full(response)
    }
}

/// A facilitator's word names no block.
pub(super) fn block_of(settled: Settled) -> Option<u64> {
    (settled.block != 0).then_some(settled.block)
}

/// What became of a payment: in a word, in which chain_tx, in which block.
pub(super) fn state(record: &Record) -> (&'static str, Option<B256>, Option<u64>) {
    match record.state {
        State::Lost(_) if record.late && record.refund_due => ("owed_back", None, None),
        State::Lost(_) if record.late => ("recovered", None, None),
        _ if record.late => ("in_suspense", None, None),
        State::Open => ("running", None, None),
        State::Answered => ("held", None, None),
        State::Submitted(chain_tx) => ("submitted", ledger::told(chain_tx), None),
        State::Posted(settled) if record.refund_due => ("owed_back", Some(settled.chain_tx), block_of(settled)),
        State::Posted(settled) => ("settled", Some(settled.chain_tx), block_of(settled)),
        State::Released(_) => ("released", None, None),
        State::Burnt(_) => ("not_charged", None, None),
        State::Lost(_) => ("failed", None, None),
    }
}

/// The same for its payer, with the network's newest block: its name is 128 bits that only he was told.
fn status(record: &Record, newest_block: Option<u64>) -> Response<Bytes> {
    let authorization = &record.hold.authorization;
    let (state, chain_tx, block) = state(record);
    let rail = match record.hold.rail {
        Rail::Direct => "direct",
        Rail::Tab => "tab",
    };
    let body = json!({
        "payment": record.hold.id.to_string(),
        "state": state,
        "money": money_of(record).code(),
        "settlement": rail,
        "network": authorization.key.asset.network.to_string(),
        "asset": authorization.key.asset.address.to_string(),
        "amount": authorization.amount_atomic.to_string(),
        "payer": authorization.key.payer.to_string(),
        "payTo": authorization.payee.to_string(),
        "nonce": authorization.key.nonce.to_string(),
        "transaction": chain_tx.map_or(Value::Null, |hash| hash.to_string().into()),
        "block": block,
        "confirmations": block.zip(newest_block).map(|(block, newest)| newest.saturating_sub(block) + 1),
        "final": record.is_final,
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
