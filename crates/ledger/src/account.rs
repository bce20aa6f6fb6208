//! Prepaid balances: grants, and the charges that are drawn from them.

mod charge;
mod grant;
mod purchase;
mod unit;

pub use charge::{
    Charge, ChargeChange, ChargeRecord, ChargeState, ChargeStep, ChargeViolation, Charged, Draw, advance_charge, charge,
};
pub use grant::{Grant, GrantChange, GrantId, GrantSource, available, grant, lapse, transfer, withdraw};
pub use purchase::{Purchase, bought, give_up};
pub use unit::{KeyId, Unit};
