//! How a run of the upstream ended, and what is due for it.

use ledger::{BurnReason, ReleaseReason};

/// Why a run costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeReason {
    /// The upstream answered 400 or above.
    Status,
    /// It ran, and a rule makes it free (an MCP error).
    Policy,
}

/// How a run ended. A `reading` is what a meter counted, in atomic units; without one the price is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was sent upstream.
    NotSent,
    /// Sent; no answer head came (timeout, reset, or the caller left before it).
    Unanswered,
    /// Answered, and free.
    Free(FreeReason),
    /// Answered.
    Served {
        /// The meter's count, if there is a meter.
        reading: Option<u128>,
    },
    /// The caller left after the first body byte had reached him.
    Cut {
        /// The meter's count, if there is a meter.
        reading: Option<u128>,
    },
    /// The upstream failed after its head.
    Broken {
        /// The meter's count, if there is a meter.
        reading: Option<u128>,
    },
    /// A sidecar cannot see the answer.
    Unseen,
}

/// What an outcome means for a `direct` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The authorization may be claimed again.
    Release(ReleaseReason),
    /// Not charged, never run again.
    Burn(BurnReason),
    /// Charge this much, never more than was held.
    Charge {
        /// Atomic units.
        atomic: u128,
        /// Whether the charge is owed back, since the answer broke.
        refund: bool,
    },
}

impl Outcome {
    /// What is due of `held_atomic` on a `direct` route.
    #[must_use]
    pub fn due(self, held_atomic: u128) -> Due {
        let (reading, refund) = match self {
            Self::NotSent => return Due::Release(ReleaseReason::NotSent),
            Self::Free(FreeReason::Status) => return Due::Release(ReleaseReason::FreeStatus),
            Self::Unanswered | Self::Free(FreeReason::Policy) => return Due::Burn(BurnReason::Unanswered),
            Self::Served { reading } | Self::Cut { reading } => (reading, false),
            Self::Broken { reading } => (reading, true),
            Self::Unseen => (None, false),
        };
        match reading.unwrap_or(held_atomic).min(held_atomic) {
            0 => Due::Burn(BurnReason::Unanswered),
            atomic => Due::Charge { atomic, refund },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_table() {
        let charge = |atomic, refund| Due::Charge { atomic, refund };
        for (outcome, want) in [
            (Outcome::NotSent, Due::Release(ReleaseReason::NotSent)),
            (Outcome::Unanswered, Due::Burn(BurnReason::Unanswered)),
            (Outcome::Free(FreeReason::Status), Due::Release(ReleaseReason::FreeStatus)),
            (Outcome::Free(FreeReason::Policy), Due::Burn(BurnReason::Unanswered)),
            (Outcome::Served { reading: None }, charge(100, false)),
            (Outcome::Served { reading: Some(40) }, charge(40, false)),
            (Outcome::Served { reading: Some(100) }, charge(100, false)),
            (Outcome::Served { reading: Some(101) }, charge(100, false)),
            (Outcome::Served { reading: Some(0) }, Due::Burn(BurnReason::Unanswered)),
            (Outcome::Cut { reading: None }, charge(100, false)),
            (Outcome::Cut { reading: Some(7) }, charge(7, false)),
            (Outcome::Broken { reading: None }, charge(100, true)),
            (Outcome::Broken { reading: Some(7) }, charge(7, true)),
            (Outcome::Unseen, charge(100, false)),
        ] {
            assert_eq!(outcome.due(100), want, "{outcome:?}");
        }
    }
}
