//! What is told of a call once its answer's head is made.

use bytes::Bytes;
use gate::{Opened, Replay, Taken, Unpaid};
use http::Response;
use ledger::{Hold, HoldId};
use protocol::{Amount, Payer};

use super::answer::{Body, full};
use super::cors::Whose;
use crate::host::WorkerHost;
use crate::telemetry::{Limit, MoneyOutcome};

#[derive(Clone, Copy, Debug)]
pub(super) struct Story {
    pub(super) outcome: MoneyOutcome,
    pub(super) whose: Whose,
    pub(super) payer: Option<Payer>,
    pub(super) amount: Option<Amount>,
    pub(super) hold: Option<HoldId>,
    pub(super) reason: Option<&'static str>,
    pub(super) limited: Option<Limit>,
    pub(super) taken: Option<Taken>,
    pub(super) upstream_us: Option<u64>,
    pub(super) upstream_status: Option<u16>,
    pub(super) settlement_us: Option<u64>,
}

/// An answer with its story.
#[must_use]
pub(super) struct Told<B> {
    pub(super) response: Response<B>,
    pub(super) story: Story,
}

impl Told<Bytes> {
    /// An answer of ours.
    pub(super) fn full(self) -> Told<Body> {
        self.story.with(full(self.response))
    }
}

impl Story {
    pub(super) const fn of(outcome: MoneyOutcome) -> Self {
        Self {
            outcome,
            whose: Whose::Ours,
            payer: None,
            amount: None,
            hold: None,
            reason: None,
            limited: None,
            taken: None,
            upstream_us: None,
            upstream_status: None,
            settlement_us: None,
        }
    }

    pub(super) const fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    pub(super) fn about(self, hold: &Hold) -> Self {
        let authorization = &hold.authorization;
        Self { payer: Some(authorization.key.payer), amount: Some(authorization.amount()), hold: Some(hold.id), ..self }
    }

    pub(super) const fn whose(self, whose: Whose) -> Self {
        Self { whose, ..self }
    }

    pub(super) const fn with<B>(self, response: Response<B>) -> Told<B> {
        Told { response, story: self }
    }

    /// A call that is not charged for.
    pub(super) fn unpaid(why: Unpaid) -> Self {
        let by = |outcome, payer| Self { payer: Some(payer), ..Self::of(outcome) };
        match why {
            Unpaid::Free => Self::of(MoneyOutcome::Free),
            Unpaid::Passthrough => Self::of(MoneyOutcome::Passthrough),
            Unpaid::Allowlisted(payer) => by(MoneyOutcome::Allowlisted, payer),
            Unpaid::PaidBefore(payer) => by(MoneyOutcome::PaidBefore, payer),
            Unpaid::Pass { payer, payment } => Self { hold: Some(payment), ..by(MoneyOutcome::ServedPass, payer) },
            Unpaid::Unverified => Self::of(MoneyOutcome::PassedOpen),
            Unpaid::Rehearsed => Self::of(MoneyOutcome::Rehearsed),
        }
    }

    /// A call that the flow does not run. `asked` is what it would cost.
    pub(super) fn refused(opened: &Opened<WorkerHost>, asked: Option<Amount>) -> Self {
        match opened {
            Opened::Blocked => Self::of(MoneyOutcome::Blocked),
            Opened::Challenge { refusal } => {
                let outcome = if refusal.is_some() { MoneyOutcome::Refused } else { MoneyOutcome::Offered };
                Self { amount: asked, reason: refusal.map(protocol::Refusal::code), ..Self::of(outcome) }
            }
            Opened::SignIn => Self::of(MoneyOutcome::Offered).because("sign_in_required"),
            Opened::TooMany => Self { limited: Some(Limit::Payer), ..Self::of(MoneyOutcome::RateLimited) },
            Opened::Replay(Replay::Pending(_)) => Self::of(MoneyOutcome::Pending),
            Opened::Replay(_) => Self::of(MoneyOutcome::Replayed),
            Opened::Fault(fault) => Self::of(MoneyOutcome::Fault).because(fault.code()),
            Opened::Free(pass) => Self::unpaid(pass.why()),
            Opened::Permit(_) => Self::of(MoneyOutcome::Fault),
        }
    }
}
