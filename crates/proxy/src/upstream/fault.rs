//! What can go wrong between this proxy and an upstream, and whether the request may have left.

use std::error::Error;
use std::fmt;

use crate::h1::Cause;

/// A failed exchange with an upstream. Its text is for the log, never for the wire.
#[derive(Debug)]
pub struct UpstreamFault {
    /// Whether a byte of the request may have left. False is a promise, true is not.
    pub sent: bool,
    /// What failed.
    pub kind: UpstreamFaultKind,
    cause: Option<Cause>,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamFaultKind {
    /// The name did not resolve or nobody accepted the connection.
    Connect,
    /// The TLS handshake failed, or this machine's trust store cannot be read.
    Tls,
    /// No connection (TLS included) within its time limit.
    ConnectTimeout,
    /// No answer head within its time limit.
    HeadTimeout,
    /// The answer's body stood still for longer than its time limit.
    IdleTimeout,
    /// The connection ended before the message did.
    Reset,
    /// What came, or what was to be sent, is not the HTTP/1.1 that this proxy speaks.
    Protocol,
    /// The request's own body failed or did not match its length: the caller's doing, not the upstream's.
    RequestBody,
}

impl UpstreamFaultKind {
    /// The stable word for log and metric.
    pub fn code(&self) -> &'static str {
        match self {
            UpstreamFaultKind::Connect => "connect",
            UpstreamFaultKind::Tls => "tls",
            UpstreamFaultKind::ConnectTimeout => "connect_timeout",
            UpstreamFaultKind::HeadTimeout => "head_timeout",
            UpstreamFaultKind::IdleTimeout => "idle_timeout",
            UpstreamFaultKind::Reset => "reset",
            UpstreamFaultKind::Protocol => "protocol",
            UpstreamFaultKind::RequestBody => "request_body",
        }
    }
}

impl UpstreamFault {
    pub(super) fn new(sent: bool, kind: UpstreamFaultKind) -> UpstreamFault {
        UpstreamFault { sent, kind, cause: None }
    }

    pub(super) fn caused(sent: bool, kind: UpstreamFaultKind, cause: impl Into<Cause>) -> Self {
        UpstreamFault { sent, kind, cause: Some(cause.into()) }
    }
}

impl fmt::Display for UpstreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = if self.sent { "sent" } else { "not sent" };
        write!(f, "upstream {} ({sent})", self.kind.code())?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for UpstreamFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        }
    }
}
