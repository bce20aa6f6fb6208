//! What the flow needs of balances.

use ledger::{Charge, ChargeRecord, ChargeStep, HoldId};

use crate::{Answer, Fault};

/// The answer to a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charging {
    /// It is held, and so much is left for further charges.
    Won {
        /// In the account's unit.
        available: u64,
    },
    /// The balance has only so much.
    Short {
        /// In the account's unit.
        available: u64,
    },
    /// The caller's `Idempotency-Key` names this charge, which was not let go.
    Taken(ChargeRecord),
    /// There is no such account, or it may not pay now.
    Closed,
}

/// The durable store of balances. A method returns `Ok` only when its effect would survive a crash.
pub trait Accounts {
    /// Holds the price of a call in one step: of two charges for one balance the second sees what the first one left.
    fn charge(&self, charge: Charge) -> impl Future<Output = Result<Charging, Fault>>;

    /// Moves a charge on, and says what the balance has left. A repeat changes nothing; `None` when there is no such charge.
    fn advance_charge(
        &self,
        charge: HoldId,
        step: ChargeStep,
    ) -> impl Future<Output = Result<Option<(ChargeRecord, u64)>, Fault>>;

    /// A charge by its name.
    fn charged(&self, charge: HoldId) -> impl Future<Output = Result<Option<ChargeRecord>, Fault>>;

    /// Stores the answer of a charge that was captured, for who knows its `Idempotency-Key`; `false` when there is no room.
    fn keep_charged_answer(&self, charge: HoldId, answer: Answer) -> impl Future<Output = Result<bool, Fault>>;
}
