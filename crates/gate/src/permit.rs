//! The right to run the upstream once.

use ledger::Hold;

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
    progress: Progress,
    host: H,
}

impl<H: Host> Permit<H> {
    pub(crate) const fn new(hold: Hold, host: H) -> Self {
        Self { hold: Some(hold), progress: Progress::NotSent, host }
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

    /// Takes the hold out: from here on the caller closes it.
    pub(crate) const fn take(&mut self) -> Option<Hold> {
        self.hold.take()
    }
}

/// The right to run the upstream for a call that costs nothing. Only [`Flow::open`](crate::Flow::open) makes one.
#[derive(Debug)]
pub struct FreePass(());

impl FreePass {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

impl<H: Host> Drop for Permit<H> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.host.close(hold, self.progress.outcome());
        }
    }
}
