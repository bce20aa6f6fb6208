//! The right to run the upstream once.

use ledger::{Hold, HoldId, Step};
use protocol::{Payer, Settled};

use crate::{Host, Outcome};

/// How far the run of the upstream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing has left for the upstream.
    NotSent,
    /// A byte may have left.
    Sent,
    /// The answer's head was seen; no body byte was released to the caller.
    Head,
    /// The answer's body is being released.
    Body,
}

impl Progress {
    /// What it means when nobody is left to say more.
    const fn outcome(self) -> Outcome {
        match self {
            Self::NotSent => Outcome::NotSent,
            Self::Sent => Outcome::Unanswered,
            Self::Head => Outcome::Served { reading: None },
            Self::Body => Outcome::Cut { reading: None },
        }
    }
}

/// Proof inside the process that a hold was won. Nothing reaches the upstream of a paid route without one, and only
/// [`Flow::open`](crate::Flow::open) makes one. Dropped, it closes its hold by the progress of the run.
#[derive(Debug)]
pub struct Permit<H: Host> {
    hold: Option<Hold>,
    settle_first: bool,
    progress: Progress,
    host: H,
}

impl<H: Host> Permit<H> {
    pub(crate) const fn new(hold: Hold, settle_first: bool, host: H) -> Self {
        Self { hold: Some(hold), settle_first, progress: Progress::NotSent, host }
    }

    /// Whether the money moves before the run: the permit is for [`Flow::prepay`](crate::Flow::prepay) then.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.settle_first
    }

    /// Says that the run has come further. It never goes back.
    pub fn reached(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
    }

    /// The hold that was won.
    #[must_use]
    pub const fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// The journal may have won another hold than was asked for: `direct` where the tab has no room.
    pub(crate) fn won(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    pub(crate) const fn host(&self) -> &H {
        &self.host
    }

    /// Takes the hold out: from here on the caller closes it.
    pub(crate) const fn take(&mut self) -> Option<Hold> {
        self.hold.take()
    }
}

/// Why a call is run unpaid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpaid {
    /// Its route is free.
    Free,
    /// No route covers it, and such calls are passed on.
    Passthrough,
    /// This address is on an allowlist, and has proved that it has the key.
    Allowlisted(Payer),
    /// This address has paid for the same resource not long ago, and has proved that it has the key.
    PaidBefore(Payer),
    /// Accounts are tried out.
    Rehearsed,
    /// A pass for a time has paid for it.
    Pass {
        /// Who paid for the pass.
        payer: Payer,
        /// The payment that bought it.
        payment: HoldId,
    },
    /// It shows a payment that nobody can verify now, and the operator lets such calls through.
    Unverified,
}

/// The right to run the upstream for a call that is not charged for. Only [`Flow::open`](crate::Flow::open),
/// [`Pass::opens`](crate::Pass::opens) and [`Self::rehearsal`] make one.
#[derive(Debug)]
pub struct FreePass(Unpaid);

impl FreePass {
    pub(crate) const fn new(why: Unpaid) -> Self {
        Self(why)
    }

    /// For a gate that is tried out: its operator has said that calls with a key are judged, and neither charged nor refused.
    #[must_use]
    pub const fn rehearsal() -> Self {
        Self(Unpaid::Rehearsed)
    }

    /// Why nothing is charged.
    #[must_use]
    pub const fn why(&self) -> Unpaid {
        self.0
    }
}

/// The right to run the upstream for a call whose money has moved already. Dropped before the answer is [`served`](Self::served),
/// the money is owed back.
#[derive(Debug)]
pub struct Prepaid<H: Host> {
    hold: Option<HoldId>,
    settled: Settled,
    host: H,
}

impl<H: Host> Prepaid<H> {
    pub(crate) const fn new(hold: HoldId, settled: Settled, host: H) -> Self {
        Self { hold: Some(hold), settled, host }
    }

    /// What moved.
    #[must_use]
    pub const fn settled(&self) -> &Settled {
        &self.settled
    }

    /// The payment's name.
    #[must_use]
    pub const fn hold(&self) -> Option<HoldId> {
        self.hold
    }

    /// The answer was given out, or its caller left: nothing is owed.
    pub fn served(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.host.later(hold, Step::Deliver);
        }
    }
}

impl<H: Host> Drop for Prepaid<H> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.host.later(hold, Step::LoseAnswer);
        }
    }
}

impl<H: Host> Drop for Permit<H> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.host.close(hold, self.progress.outcome());
        }
    }
}
