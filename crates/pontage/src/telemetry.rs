//! What is told of every call when it has ended: counted for the metrics, and one line in the access log.

use std::net::IpAddr;

use ledger::HoldId;
use protocol::{Amount, MoneyState, Payer};

use crate::log::AccessLog;
use crate::metrics::Metrics;

/// Both, for all workers.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: Metrics,
    access: AccessLog,
}

/// A call that has ended, as far as its head: bodies may still be on their way. It borrows what is known and holds no credential.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) method: &'a str,
    /// Without the query, which may hold a secret.
    pub(crate) path: &'a str,
    /// The route's id, where one matched.
    pub(crate) route: Option<&'a str>,
    /// Who asked a facilitator, by the name of the token.
    pub(crate) caller: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) outcome: MoneyOutcome,
    /// Proven, not claimed.
    pub(crate) payer: Option<Payer>,
    /// What was paid; where nothing was, what the first offer asked for.
    pub(crate) amount: Option<Amount>,
    pub(crate) hold: Option<HoldId>,
    /// The code of the refusal or the fault.
    pub(crate) reason: Option<&'static str>,
    /// Which bucket was empty.
    pub(crate) limited: Option<Limit>,
    pub(crate) source_ip: IpAddr,
    pub(crate) latency_us: u64,
    /// Until the upstream's head.
    pub(crate) upstream_us: Option<u64>,
    /// What the upstream answered, which is not always what the caller is told.
    pub(crate) upstream_status: Option<u16>,
    /// How long a `direct` settlement took.
    pub(crate) settlement_us: Option<u64>,
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$note])* $variant,)+ }

        impl $name {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word in logs and metrics.
            pub(crate) const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

codes! {
    /// How a call ended, as far as its money goes.
    MoneyOutcome {
        /// A free route.
        Free = "free",
        /// No route; passed on unpaid.
        Passthrough = "passthrough",
        /// No route; refused.
        Blocked = "blocked",
        /// A 402 for a call without a payment.
        Offered = "offered",
        /// A payment came and was refused.
        Refused = "refused",
        /// The call is not one that can be sold: its path or its shape.
        BadRequest = "bad_request",
        /// Served, and the money has moved.
        ServedSettled = "served_settled",
        /// Served, and the money is on the tab.
        ServedTab = "served_tab",
        /// Served, and charged to a balance.
        ServedBalance = "served_balance",
        /// Served to a pass for a time, which was paid for before.
        ServedPass = "served_pass",
        /// The payment was used before.
        Replayed = "replayed",
        /// Paid, run, and not charged: the upstream failed or refused.
        NotCharged = "not_charged",
        /// The money moved and the answer broke off: it is owed back.
        OwedBack = "owed_back",
        /// Whether the money moved is not known yet.
        Pending = "pending",
        /// Ours or a dependency's: nothing could be said.
        Fault = "fault",
        /// A bucket was empty.
        RateLimited = "rate_limited",
        /// Too many calls at once.
        Busy = "busy",
        /// Let through unpaid while nobody could verify payments.
        PassedOpen = "passed_open",
        /// Let through uncharged because accounts are tried out.
        Rehearsed = "rehearsed",
        /// Let through unpaid by proof of a listed key.
        Allowlisted = "allowlisted",
        /// Let through unpaid by proof of a key that paid before.
        PaidBefore = "paid_before",
        /// Paid for in play.
        Mock = "mock",
        /// A facilitator said that a payment is good.
        Verified = "verified",
        /// A facilitator has moved the money.
        Settled = "settled",
        /// Somebody asked a facilitator who may not.
        Denied = "denied",
        /// One of the gate's own endpoints.
        Own = "own",
        /// A browser asked whether it may call.
        Preflight = "preflight",
    }
}

codes! {
    /// Which bucket.
    Limit {
        Address = "address",
        Payer = "payer",
        Route = "route",
        Verification = "verification",
        Caller = "caller",
        Key = "key",
        InFlight = "in_flight",
        Budget = "budget",
    }
}

impl MoneyOutcome {
    /// Where the caller's money is.
    pub(crate) const fn money(self) -> Option<MoneyState> {
        match self {
            Self::ServedSettled | Self::ServedBalance | Self::Settled | Self::OwedBack => Some(MoneyState::Moved),
            Self::ServedTab => Some(MoneyState::Held),
            Self::Pending => Some(MoneyState::Unknown),
            Self::Offered | Self::Refused | Self::NotCharged | Self::Verified | Self::Denied => {
                Some(MoneyState::Untouched)
            }
            // A replay's and a fault's money stands in the answer; the others have none.
            _ => None,
        }
    }
}

impl Telemetry {
    pub(crate) fn new(metrics: Metrics, access: AccessLog) -> Self {
        Self { metrics, access }
    }

    /// Counts a call and writes its line. Never waits: a line for which there is no room is lost and counted.
    pub(crate) fn finished(&self, call: &Finished<'_>) {
        self.metrics.finished(call);
        self.access.write(call);
    }
}
