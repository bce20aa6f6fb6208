//! What a facilitator says, in the words of x402 (reference x402 §1, §3, §17).

use bytes::Bytes;
use facilitator::service::{Outcome, Verdict};
use gate::Fault;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use protocol::x402::{Receipt, Version};
use protocol::{Network, Refusal};
use serde_json::{Value, json};

use super::callers::Turned;
use super::catalogue::NotListed;

/// A JSON answer that nobody keeps.
pub(super) fn say(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Something that is no business answer: it has no `isValid` and no `success`, so that no server takes it for one.
fn problem(status: StatusCode, error: &str, message: &str, money: &str) -> Response<Bytes> {
    say(status, &json!({ "error": error, "message": message, "money": money }))
}

/// The answer to `/verify`. A payment that is not good is said with 200, as servers expect it.
pub(super) fn verdict(verdict: Verdict) -> Response<Bytes> {
    match verdict {
        Verdict::Valid(payer) => say(StatusCode::OK, &json!({ "isValid": true, "payer": payer.to_string() })),
        Verdict::Refused(refusal, payer) => {
            let mut body = invalid(refusal);
            body["payer"] = payer.to_string().into();
            say(StatusCode::OK, &body)
        }
        Verdict::Fault(fault) => unavailable(fault, "It cannot be said now whether this payment is good."),
    }
}

/// The answer to `/settle`, in the version in which it was asked.
pub(super) fn outcome(outcome: Outcome, version: Version, network: Network) -> Response<Bytes> {
    let again = matches!(outcome, Outcome::SettledBefore(_));
    let receipt = match outcome {
        Outcome::Settled(settled) | Outcome::SettledBefore(settled) => Receipt::Settled(settled),
        Outcome::Refused(refusal, payer) => Receipt::Refused { network, payer, refusal },
        Outcome::Pending(payer, chain_tx) => Receipt::Pending { network, payer, chain_tx },
        Outcome::Fault(fault) => {
            return unavailable(
                fault,
                "The settlement was not carried out, or it is not known. Ask again with the same payment.",
            );
        }
    };
    // Who asked in v1 named the network by its v1 name.
    let mut body = receipt.to_object(version).unwrap_or_else(|| receipt.to_v2());
    if again {
        // Money moves once; who serves once for it has to tell the first answer from the others.
        body["extra"] = json!({ "settled": "before" });
    }
    say(StatusCode::OK, &body)
}

/// A body that holds no payment, or not in a form that can be judged. What is not JSON at all is a bad request.
pub(super) fn unread(path: &str, refusal: Refusal) -> Response<Bytes> {
    let (status, message) = match refusal {
        Refusal::InvalidJson => (StatusCode::BAD_REQUEST, "The body does not hold one JSON object."),
        refusal => (StatusCode::OK, refusal.message()),
    };
    if path == "/verify" {
        let mut body = invalid(refusal);
        body["invalidMessage"] = message.into();
        return say(status, &body);
    }
    let mut body = json!({
        "success": false, "transaction": "", "network": "",
        "errorReason": refusal.code(), "errorMessage": message,
    });
    if let Some(field) = refusal.field() {
        body["extra"] = json!({ "field": field });
    }
    say(status, &body)
}

fn invalid(refusal: Refusal) -> Value {
    let mut body = json!({ "isValid": false, "invalidReason": refusal.code(), "invalidMessage": refusal.message() });
    if let Some(field) = refusal.field() {
        body["extra"] = json!({ "field": field });
    }
    body
}

/// Nobody can say now: never a bad payment.
fn unavailable(fault: Fault, message: &str) -> Response<Bytes> {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, fault.code(), message, fault.money.code());
    response.headers_mut().insert(RETRY_AFTER, fault.retry_after_s().into());
    response
}

/// Somebody who is not answered.
pub(super) fn turned(turned: Turned) -> Response<Bytes> {
    match turned {
        Turned::Unknown => {
            let message = "This facilitator answers those whom it knows by their token.";
            let mut response = problem(StatusCode::UNAUTHORIZED, "unauthorized", message, "untouched");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Turned::Limited { retry_after_s } => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let mut response = problem(status, "rate_limited", "Too many requests.", "untouched");
            response.headers_mut().insert(RETRY_AFTER, retry_after_s.into());
            response
        }
    }
}

/// He may not have payments to this address settled.
pub(super) fn payee_not_allowed() -> Response<Bytes> {
    let message = "This token is not for payments to this address.";
    problem(StatusCode::FORBIDDEN, "payee_not_allowed", message, "untouched")
}

/// The body did not come whole.
pub(super) fn body_refused(status: StatusCode) -> Response<Bytes> {
    let (error, message) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "A payment and its requirements take no more than 64 KiB."),
        _ => ("body_incomplete", "The body did not come to its end."),
    };
    problem(status, error, message, "untouched")
}

/// A registration that is not taken.
pub(super) fn not_listed(why: NotListed) -> Response<Bytes> {
    match why {
        NotListed::Refused(refusal) => {
            problem(StatusCode::BAD_REQUEST, "invalid_listing", &refusal.to_string(), "untouched")
        }
        NotListed::TooMany => {
            let message =
                "This payee has as many entries already as may be listed before anybody has paid for them here.";
            problem(StatusCode::FORBIDDEN, "too_many_listings", message, "untouched")
        }
        NotListed::Fault(fault) => unavailable(fault, "This cannot be done now. Ask again."),
    }
}

/// A query that is none.
pub(super) fn bad_query() -> Response<Bytes> {
    let message = "limit is 1 to 100; offset and cursor are whole numbers.";
    problem(StatusCode::BAD_REQUEST, "invalid_query", message, "untouched")
}

/// Nothing is at this path.
pub(super) fn not_found() -> Response<Bytes> {
    let message =
        "Here are POST /verify, POST /settle, GET /supported, GET /discovery/resources and GET /discovery/search.";
    problem(StatusCode::NOT_FOUND, "not_found", message, "untouched")
}

/// Another method is needed.
pub(super) fn method_not_allowed(allow: &'static str) -> Response<Bytes> {
    let message = format!("This takes {allow}.");
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message, "untouched");
    response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(allow));
    response
}
