//! Planted bugs: each is one sentence of the invariants broken, at a port. The auditor must find every one.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The journal lets every claim win.
    NoReservation,
    /// A settlement that is not known in time is reported as refused.
    TimeoutIsFailure,
    /// The journal says that a chain_tx is marked before it is.
    NoMark,
    /// The journal never knows a claim when it is asked before the checks.
    NoRecall,
    /// Exposure is read before the step that claims.
    EarlyExposure,
    /// A stored answer is given to whoever shows the credential, with any secret.
    NoSecret,
    /// A submitted hold is let go when its settlement is late.
    ReleaseOfSubmitted,
    /// A hold expires while its run goes on.
    ExpiryUnderRun,
    /// A new sequence is given at start before the old chain_txs are sent again, and the journal does not look at sequences.
    NewSequenceFirst,
    /// The journal leaves a payment posted whose money a reorg took out of the chain.
    NoUnsettle,
    /// At start the newest chain_tx is not known: its sequence is given once more, to other payments, and the journal does not look at
    /// sequences.
    ReusedSequence,
    /// What a chain_tx has cost is booked once for each bid at its sequence.
    BumpPaysTwice,
    /// What a call with a key costs is taken with the hold, before it is run.
    DebitBeforeHold,
    /// A charge goes by what the balance had before the step that holds it.
    GrantUsedTwice,
    /// The journal does not look at the names of grants.
    GrantTwice,
    /// A charge that was let go can be refunded.
    RefundOfRelease,
    /// What a metered call did not use stays held.
    RemainderKept,
    /// A transfer leaves with the giver what it gives.
    TransferCopies,
    /// At start, charges that a crash left open are left open.
    NoChargeRecovery,
    /// What a payment bought stays when a reorg takes the payment.
    KeepsBought,
}

impl Bug {
    /// Every one.
    pub const ALL: [Self; 20] = [
        Self::NoReservation,
        Self::TimeoutIsFailure,
        Self::NoMark,
        Self::NoRecall,
        Self::EarlyExposure,
        Self::NoSecret,
        Self::ReleaseOfSubmitted,
        Self::ExpiryUnderRun,
        Self::NewSequenceFirst,
        Self::NoUnsettle,
        Self::ReusedSequence,
        Self::BumpPaysTwice,
        Self::DebitBeforeHold,
        Self::GrantUsedTwice,
        Self::GrantTwice,
        Self::RefundOfRelease,
        Self::RemainderKept,
        Self::TransferCopies,
        Self::NoChargeRecovery,
        Self::KeepsBought,
    ];
}
