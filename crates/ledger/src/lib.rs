//! Holds, entries and accounts: what may become of an authorization, decided from the rows that a command touches.
//!
//! Pure. A store loads the rows, asks [`reserve`] or [`advance`], and writes the [`Change`] in one durable step.
#![deny(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic))]

mod account;
mod decide;
mod entry;
mod exposure;
mod hold;
mod refund;

pub use account::{
    Budget, BudgetScope, Charge, ChargeChange, ChargeRecord, ChargeState, ChargeStep, ChargeViolation, Charged,
    Counted, Counter, Draw, Grant, GrantChange, GrantId, GrantSource, Guards, Judged, KeyId, Measure, Over, OverAction,
    Purchase, Refill, Unit, Use, Used, Window, advance_charge, available, bought, charge, count, counts,
    give_back_unpaid, give_up, grant, lapse, refill, transfer, withdraw,
};
pub use decide::{Change, Reservation, Step, Violation, advance, reserve};
pub use entry::{About, Account, Entry, EntryKind, Line, Side};
pub use exposure::{Exposure, Funds};
pub use hold::{
    AnswerState, BlockRef, BurnReason, HANDED, Hold, HoldId, LossReason, Rail, Record, ReleaseReason, Source, State,
    told,
};
pub use refund::{
    REFUND_VALID_BEFORE_S, Refund, RefundChange, RefundId, RefundProblem, RefundRefusal, RefundState, RefundStep,
    RefundViolation, Signed, Today, advance_refund, left_to_refund, less_refunded, refund_micros, refundable,
    request_refund,
};
