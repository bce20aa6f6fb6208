//! What an admin is told where nothing was done.

use bytes::Bytes;
use gate::{Fault, FaultKind};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// A request that was not carried out, as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    error: &'static str,
    message: String,
    field: Option<String>,
    retry_after_s: Option<u32>,
    /// What happened to the money.
    money: &'static str,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), field: None, retry_after_s: None, money: "untouched" }
    }

    /// A value that is not taken.
    pub(super) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let refused = Self::new(StatusCode::BAD_REQUEST, "invalid_request", message);
        Self { field: Some(field.into()), ..refused }
    }

    /// There is nothing of this name.
    pub(super) fn unknown(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
    }

    /// It cannot be done as things stand.
    pub(super) fn conflict(error: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, message)
    }

    /// The journal did not take it, or cannot be read.
    pub(super) fn fault(fault: Fault) -> Self {
        let message = match fault.kind {
            FaultKind::Invariant => "The journal refused this step; the log says why.",
            _ => {
                "The journal did not answer in time. It may have been done: ask again with the same Idempotency-Key, \
                 it is done once."
            }
        };
        let refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, "journal_unavailable", message);
        Self { retry_after_s: Some(2), money: "unknown", ..refused }
    }

    pub(super) fn about(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "status": self.status.as_u16(), "error": self.error, "message": self.message, "money": self.money,
        });
        if let Some(field) = &self.field {
            body["field"] = field.as_str().into();
        }
        body
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pontage admin\""));
        }
        response
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::fault(fault)
    }
}
