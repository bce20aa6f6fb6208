//! The one table from refusals, faults and replays to HTTP.

use bytes::Bytes;
use gate::{Fault, FaultKind, Replay};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use protocol::x402::ext::SignInRefusal;
use protocol::x402::{Challenge, Extensions, Receipt, encode_header};
use protocol::{MoneyState, Refusal, print_decimal};
use serde_json::{Map, Value, json};

use crate::maintenance::Closed;

pub(crate) const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
pub(crate) const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
pub(crate) const X_PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("x-payment-response");

/// An answer of ours: `application/problem+json` with `error`, `message` and `money`.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    error: &'static str,
    message: String,
    money: MoneyState,
    more: Map<String, Value>,
    retry_after_s: Option<u32>,
    receipt: Option<Receipt>,
    challenge: Option<Challenge>,
    asks_for_bearer: bool,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>, money: MoneyState) -> Self {
        Self {
            status,
            error,
            message: message.into(),
            money,
            more: Map::new(),
            retry_after_s: None,
            receipt: None,
            challenge: None,
            asks_for_bearer: false,
        }
    }

    /// No route covers the call.
    pub(crate) fn blocked() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "This endpoint is not available.", MoneyState::Untouched)
    }

    /// Nothing is served at this path.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here.", MoneyState::Untouched)
    }

    /// Another method is needed.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Response<Bytes> {
        let message = format!("This takes {allow}.");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut response = Self::new(status, "method_not_allowed", message, MoneyState::Untouched).into_response();
        response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(allow));
        response
    }

    /// Only those on an allowlist are served here, once they have signed in.
    pub(crate) fn sign_in(challenge: Challenge) -> Self {
        let message = "This endpoint is open to wallets on its list, who sign in with SIGN-IN-WITH-X.";
        let problem = Self::new(StatusCode::PAYMENT_REQUIRED, "sign_in_required", message, MoneyState::Untouched);
        Self { challenge: Some(challenge), ..problem }
    }

    /// The proof of a key is none.
    pub(crate) fn sign_in_refused(challenge: Challenge, refusal: SignInRefusal) -> Self {
        let status = StatusCode::PAYMENT_REQUIRED;
        let mut problem = Self::new(status, refusal.code(), refusal.message(), MoneyState::Untouched);
        if let Some(field) = refusal.field() {
            problem.more.insert("field".to_owned(), field.into());
        }
        Self { challenge: Some(challenge), ..problem }
    }

    /// The call does not look as the route says; it is not sold.
    pub(crate) fn invalid_request(field: &str, what: &str) -> Self {
        let message = format!("This call would fail, so its payment was not taken: {field} {what}.");
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid_request", message, MoneyState::Untouched);
        problem.more.insert("field".to_owned(), field.into());
        problem
    }

    /// One call too many.
    pub(crate) fn too_many(retry_after_s: u32) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut problem = Self::new(status, "rate_limited", "Too many requests.", MoneyState::Untouched);
        problem.more.insert("retry_after".to_owned(), retry_after_s.into());
        problem.retry_after(retry_after_s)
    }

    /// The path cannot be taken as it is.
    pub(crate) fn bad_path(refusal: proxy::PathRefusal) -> Self {
        let message = format!("This path is not taken: {refusal}.");
        Self::new(StatusCode::BAD_REQUEST, refusal.code(), message, MoneyState::Untouched)
    }

    /// The 402, or a 4xx where what came is no payment at all.
    pub(crate) fn challenge(challenge: Challenge, refusal: Option<Refusal>) -> Self {
        let Some(refusal) = refusal else {
            // A pass pays for more than the one call, or for less of it.
            let of_call = challenge.offers.iter().filter(|offer| offer.extra.get("pass").is_none());
            let cheapest = of_call.min_by_key(|offer| offer.amount_atomic);
            let price = cheapest.map(|offer| print_decimal(offer.amount_atomic, offer.asset_info.decimals));
            let message = format!("This endpoint requires payment. ${} per request.", price.unwrap_or_default());
            let problem = Self::new(StatusCode::PAYMENT_REQUIRED, "payment_required", message, MoneyState::Untouched);
            return Self { challenge: Some(challenge), ..problem };
        };
        let mut problem = Self::new(status_of(refusal), refusal.code(), refusal.message(), MoneyState::Untouched);
        if let Some(field) = refusal.field() {
            problem.more.insert("field".to_owned(), field.into());
        }
        problem.challenge = Some(challenge);
        problem
    }

    /// The chain refused after the run: 402 with the receipt of the failure.
    pub(crate) fn settlement_refused(challenge: Option<Challenge>, refusal: Refusal, receipt: Receipt) -> Self {
        let status = StatusCode::PAYMENT_REQUIRED;
        let problem = Self::new(status, refusal.code(), refusal.message(), MoneyState::Untouched);
        Self { receipt: Some(receipt), challenge, ..problem }
    }

    /// Ours or a dependency's. Never a 402.
    pub(crate) fn fault(fault: Fault) -> Self {
        let message = match fault.money {
            MoneyState::Untouched if fault.kind == FaultKind::Facilitator => "Payment facilitator is unreachable.",
            MoneyState::Untouched => {
                "Nothing was charged. Try again soon with the same payment, or later with a new one."
            }
            MoneyState::Held => "Try again later with the same payment. It is held and will be let go or settled.",
            MoneyState::Moved => "The payment moved, but this gate could not write it down. Do not pay again.",
            MoneyState::Unknown => "It is not known yet whether the payment moved. Do not pay again.",
        };
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, fault.code(), message, fault.money);
        Self { retry_after_s: Some(fault.retry_after_s()), ..problem }
    }

    /// The operator has closed the gate for a while.
    pub(crate) fn maintenance(closed: &Closed) -> Self {
        let words = if closed.message.is_empty() { "This gate is closed for maintenance." } else { &closed.message };
        let message = format!("{words} Nothing was charged.");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "maintenance_mode", message, MoneyState::Untouched).retry_after(closed.retry_after_s)
    }

    /// There is no turn for the call: see `turns.rs`.
    pub(crate) fn overloaded() -> Self {
        let message = "This gate has as many calls as it takes at once. Nothing was charged. Try again soon.";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message, MoneyState::Untouched);
        Self { retry_after_s: Some(1), ..problem }
    }

    /// The settlement is not confirmed; the answer can be picked up.
    pub(crate) fn pending(receipt: Receipt, pickup: Option<String>) -> Self {
        let message = "The settlement is not confirmed yet. Do not pay again: the same payment, or the pick-up URL, \
                       will be answered when it is.";
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "settlement_pending", message, MoneyState::Unknown);
        if let Receipt::Pending { chain_tx: Some(chain_tx), .. } = receipt {
            problem.more.insert("transaction".to_owned(), chain_tx.to_string().into());
        }
        if let Some(pickup) = pickup {
            problem.more.insert("pickup_url".to_owned(), pickup.into());
        }
        Self { retry_after_s: Some(2), receipt: Some(receipt), ..problem }
    }

    /// The authorization was claimed before.
    pub(crate) fn replay(replay: Replay) -> Self {
        let conflict = |error, message, money| Self::new(StatusCode::CONFLICT, error, message, money);
        match replay {
            Replay::Conflict(money) => conflict(
                "authorization_conflict",
                "This payment was used for another request. Sign a new payment for this one.",
                money,
            ),
            Replay::Namesake => conflict(
                "identifier_conflict",
                "The identifier or Idempotency-Key names another payment of yours. Nothing was charged for this one.",
                MoneyState::Untouched,
            ),
            Replay::InFlight => Self {
                retry_after_s: Some(2),
                ..conflict("in_flight", "The call that this payment pays for is still running.", MoneyState::Held)
            },
            Replay::Released => Self {
                retry_after_s: Some(0),
                ..conflict(
                    "released",
                    "The call that claimed this payment was not charged. Send the same payment again.",
                    MoneyState::Untouched,
                )
            },
            Replay::Expired => conflict(
                "expired",
                "This payment was never settled and is no longer valid. Sign a new payment.",
                MoneyState::Untouched,
            ),
            Replay::Burnt => conflict(
                "not_charged",
                "The call for this payment may have run, was not charged, and will not run again. Sign a new payment.",
                MoneyState::Untouched,
            ),
            Replay::InSuspense => conflict(
                "in_suspense",
                "The money for this payment arrived after its call had ended. It is kept apart and refundable.",
                MoneyState::Moved,
            ),
            Replay::OwedBack(settled) => Self {
                receipt: Some(Receipt::Settled(settled)),
                ..conflict(
                    "answer_lost",
                    "The payment moved and the answer was lost or broke off: the payment is owed back.",
                    MoneyState::Moved,
                )
            },
            Replay::Pending(receipt) => Self::pending(receipt, None),
            Replay::AlreadyServed(receipt) | Replay::Stored { receipt, .. } => {
                let money = money_of(&receipt);
                let problem = conflict("already_served", "This payment was used: its call was served.", money);
                problem.with_receipt(receipt)
            }
            Replay::Bought { settled, .. } => {
                let message = "This payment was used, and what it bought stands.";
                conflict("already_served", message, MoneyState::Moved).with_receipt(Receipt::Settled(settled))
            }
            Replay::Recovered => conflict(
                "already_served",
                "The call for this payment was served, and the payment arrived late.",
                MoneyState::Moved,
            ),
            Replay::Uncollected => conflict(
                "payment_failed",
                "The call for this payment was served, and the payment could not be collected. Sign a new payment.",
                MoneyState::Untouched,
            ),
        }
    }

    /// The upstream failed.
    pub(crate) fn upstream(status: StatusCode, error: &'static str, money: &str) -> Self {
        let what = match status {
            StatusCode::GATEWAY_TIMEOUT => "The upstream did not answer in time.",
            _ => "The upstream cannot be reached or broke off.",
        };
        let problem = Self::new(status, error, format!("{what} {money}"), MoneyState::Untouched);
        Self { retry_after_s: Some(2), ..problem }
    }

    /// The money has moved.
    pub(crate) fn moved(self) -> Self {
        Self { money: MoneyState::Moved, ..self }
    }

    pub(crate) fn with_receipt(self, receipt: Receipt) -> Self {
        Self { receipt: Some(receipt), ..self }
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// Says something more, for programs.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// A key, or another, would do.
    pub(crate) fn asks_for_bearer(self) -> Self {
        Self { asks_for_bearer: true, ..self }
    }

    /// A word of the query is not what it must be.
    pub(crate) fn bad_query(field: &str, what: &str) -> Self {
        let message = format!("{field} of the query {what}.");
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, MoneyState::Untouched).with("field", field)
    }

    /// Says what would pay. A challenge without offers says nothing.
    pub(crate) fn with_challenge(self, challenge: Challenge) -> Self {
        let challenge = Some(challenge).filter(|challenge| !challenge.offers.is_empty());
        Self { challenge, ..self }
    }

    /// The answer with its headers. Nothing of it may be cached.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut body = json!({ "status": self.status.as_u16(), "error": self.error, "message": self.message, "money": self.money.code() });
        if let Value::Object(members) = &mut body {
            members.extend(self.more);
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.asks_for_bearer {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(challenge) = &self.challenge {
            insert(headers, PAYMENT_REQUIRED, encode_header(&challenge.to_v2()));
            let accepts = challenge.to_v1_accepts();
            if !accepts.is_empty() {
                body["x402Version"] = 1.into();
                body["accepts"] = accepts.into();
            }
        }
        if let Some(receipt) = &self.receipt {
            receipts(headers, receipt, Extensions::new());
        }
        *response.body_mut() = Bytes::from(body.to_string());
        response
    }
}

/// Where the money of a call that was served is.
pub(crate) const fn money_of(receipt: &Receipt) -> MoneyState {
    match receipt {
        Receipt::Settled(_) => MoneyState::Moved,
        Receipt::Held { .. } => MoneyState::Held,
        Receipt::Pending { .. } => MoneyState::Unknown,
        Receipt::Refused { .. } => MoneyState::Untouched,
    }
}

/// Puts the receipt into both headers: v1 clients read the one, v2 clients the other.
pub(crate) fn receipts(headers: &mut http::HeaderMap, receipt: &Receipt, extensions: Extensions) {
    let (v2, v1) = receipt.to_headers(extensions);
    insert(headers, PAYMENT_RESPONSE, v2);
    if let Some(v1) = v1 {
        insert(headers, X_PAYMENT_RESPONSE, v1);
    }
}

/// The receipt of `pontage mock`, which certifies nothing.
pub(crate) fn mock_receipt(headers: &mut http::HeaderMap) {
    let receipt = json!({
        "success": true, "transaction": "", "network": "", "payer": "0xmock", "extra": { "state": "mock" },
    });
    insert(headers, PAYMENT_RESPONSE, encode_header(&receipt));
}

fn insert(headers: &mut http::HeaderMap, name: HeaderName, base64: String) {
    headers.insert(name, HeaderValue::try_from(base64).expect("base64 is a header value"));
}

/// What is no payment at all is a bad request; a payment that does not pay is a 402.
fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::SeveralCredentials
        | Refusal::ForeignFormat(_)
        | Refusal::InvalidBase64
        | Refusal::InvalidJson
        | Refusal::InvalidVersion
        | Refusal::InvalidPayload(_)
        | Refusal::InvalidRequirements(_)
        | Refusal::PaymentIdentifierRequired => StatusCode::BAD_REQUEST,
        Refusal::UnsupportedScheme(_)
        | Refusal::NetworkMismatch(_)
        | Refusal::MissingDomain
        | Refusal::TokenName
        | Refusal::TokenVersion
        | Refusal::NoMatchingOffer(_)
        | Refusal::RecipientMismatch
        | Refusal::ValueMismatch
        | Refusal::ValidBeforeTooSoon
        | Refusal::ValidBeforeTooFar
        | Refusal::ValidAfter
        | Refusal::SignatureShape
        | Refusal::Signature
        | Refusal::AssetNotDeployed
        | Refusal::NonceAlreadyUsed
        | Refusal::InsufficientBalance
        | Refusal::SimulationFailed
        | Refusal::TransactionFailed
        | Refusal::TransferEventMismatch => StatusCode::PAYMENT_REQUIRED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_no_turn_is_told_when_to_come_again() {
        let Problem { status, error, money, retry_after_s, .. } = Problem::overloaded();
        assert_eq!((status.as_u16(), error, retry_after_s), (503, "overloaded", Some(1)));
        assert_eq!(money, MoneyState::Untouched);
    }
}
