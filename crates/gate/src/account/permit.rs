//! The right to run the upstream once, for a call that is paid from a balance.

use ledger::{Budget, BurnReason, Charge, ChargeStep, ReleaseReason};

use crate::{Host, Progress};

/// Proof inside the process that a charge was won. Only [`Flow::open_charge`](crate::Flow::open_charge) makes one. Dropped, it ends
/// its charge by the progress of the run.
#[derive(Debug)]
pub struct ChargePermit<H: Host> {
    charge: Option<Charge>,
    available: u64,
    warned: Vec<Budget>,
    progress: Progress,
    /// What a meter has counted; `None` where the price is fixed.
    reading: Option<u64>,
    host: H,
}

impl<H: Host> ChargePermit<H> {
    pub(super) const fn new(charge: Charge, host: H) -> Self {
        Self {
            charge: Some(charge),
            available: 0,
            warned: Vec::new(),
            progress: Progress::NotSent,
            reading: None,
            host,
        }
    }

    pub(super) fn won(&mut self, available: u64, warned: Vec<Budget>) {
        self.available = available;
        self.warned = warned;
    }

    /// What the balance has left besides, in the account's unit.
    #[must_use]
    pub const fn available(&self) -> u64 {
        self.available
    }

    /// The budgets that the call goes above and that let it pass.
    #[must_use]
    pub fn warned(&self) -> &[Budget] {
        &self.warned
    }

    /// The charge that was won.
    #[must_use]
    pub const fn charge(&self) -> Option<&Charge> {
        self.charge.as_ref()
    }

    /// Says that the run has come further. It never goes back.
    pub fn reached(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
    }

    /// Says what the meter shows now, in the account's unit: so much is due if the answer is cut here.
    pub const fn reads(&mut self, units: u64) {
        self.reading = Some(units);
    }

    /// Whether the caller has some of the answer's body.
    pub(super) fn gives_out(&self) -> bool {
        self.progress == Progress::Body
    }

    /// Takes the charge out: from here on the caller ends it.
    pub(super) const fn take(&mut self) -> Option<Charge> {
        self.charge.take()
    }

    /// What the charge comes to when nobody is left to say more. A meter's answer is due by its reading, also one that the upstream
    /// broke off.
    pub(super) fn step(&self, charge: &Charge) -> ChargeStep {
        match self.progress {
            Progress::NotSent => ChargeStep::Release(ReleaseReason::NotSent),
            Progress::Sent => ChargeStep::Burn(BurnReason::Unanswered),
            Progress::Head | Progress::Body => ChargeStep::Capture(self.reading.unwrap_or(charge.amount)),
        }
    }
}

impl<H: Host> Drop for ChargePermit<H> {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            let step = self.step(&charge);
            self.host.later_charge(charge.id, step);
        }
    }
}
