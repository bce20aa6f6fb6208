//! Prepaid balances: grants, and the charges that are drawn from them.

mod budget;
mod charge;
mod grant;
mod purchase;
mod refill;
mod unit;

pub use budget::{
    Budget, BudgetScope, Counted, Counter, Judged, Measure, Over, OverAction, Use, Used, Window, count, counts,
};
pub use charge::{
    Charge, ChargeChange, ChargeRecord, ChargeState, ChargeStep, ChargeViolation, Charged, Draw, Guards,
    advance_charge, charge,
};
pub use grant::{Grant, GrantChange, GrantId, GrantSource, available, grant, lapse, transfer, withdraw};
pub use purchase::{Purchase, bought, give_back_unpaid, give_up};
pub use refill::{Refill, refill};
pub use unit::{KeyId, Unit};
