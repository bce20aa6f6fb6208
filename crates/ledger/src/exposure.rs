//! What is served and not settled yet, and what a payer can pay.

/// Unsettled money on the tab, in millionths of a dollar: what it is now, or the caps on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Of one payer.
    pub payer_micros: u64,
    /// Of one source address, whoever pays.
    pub source_micros: u64,
    /// Of everyone.
    pub gate_micros: u64,
}

impl Exposure {
    /// Whether `more` on top of this stays within the caps.
    #[must_use]
    pub const fn has_room(&self, more_micros: u64, caps: &Self) -> bool {
        self.payer_micros.saturating_add(more_micros) <= caps.payer_micros
            && self.source_micros.saturating_add(more_micros) <= caps.source_micros
            && self.gate_micros.saturating_add(more_micros) <= caps.gate_micros
    }
}

/// What a claim is measured by, read in the same step that writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funds {
    /// What the chain showed at `hold.seen`; `None` where it was not asked (`verify: local`).
    pub balance_atomic: Option<u128>,
    /// What the payer owes in this asset that the balance does not show yet.
    pub unsettled_atomic: u128,
    /// What is on the tab.
    pub exposed: Exposure,
    /// How much may be.
    pub caps: Exposure,
}
