//! What the flow needs of balances.

use ledger::{Budget, Charge, ChargeRecord, ChargeStep, Guards, HoldId, Over};

use crate::{Answer, Fault};

/// The answer to a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charging {
    /// It is held, and so much is left for further charges.
    Won {
        /// In the account's unit.
        available: u64,
        /// The budgets that it goes above and that let it pass.
        warned: Vec<Budget>,
    },
    /// The balance has only so much.
    Short {
        /// In the account's unit.
        available: u64,
    },
    /// The caller's `Idempotency-Key` names this charge, which was not let go.
    Taken(ChargeRecord),
    /// A budget does not let it pass. Nothing was held.
    Over(Over),
    /// A budget has closed the account.
    Suspended {
        /// Until when; `None` when somebody must open it.
        until_ms: Option<u64>,
    },
    /// There is no such account, or it may not pay now.
    Closed,
}

/// The durable store of balances. A method returns `Ok` only when its effect would survive a crash.
pub trait Accounts {
    /// Holds the price of a call in one step, counts it on its budgets and tops the balance up where its guards say so: of two
    /// charges for one balance the second sees what the first one left.
    fn charge(&self, charge: Charge, guards: Guards) -> impl Future<Output = Result<Charging, Fault>>;

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
