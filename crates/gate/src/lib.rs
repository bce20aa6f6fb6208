//! The one flow of a paid call: routes and prices, `open` and `close`, and the ports that a host implements.
//!
//! Pure: no runtime, no sockets, no clock, no randomness. It knows no HTTP status codes.
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

mod access;
mod account;
mod answer;
mod call;
mod fault;
mod flow;
mod outcome;
mod pass;
mod pattern;
mod permit;
mod port;
pub mod price;
mod rate;
mod replay;
mod reply;
mod sale;
mod snapshot;

pub use access::{
    AddressRule, BudgetAction, BudgetMeasure, BudgetRule, BudgetSpan, Denial, KeyChange, KeyRecord, KeyRefusal,
    KeyStanding, KeyState, KeyStep, Multiplier, Note, Plan, Policy, PriceRule, RateRule, RequestSignature, RouteRule,
    SECRET_PREFIX, SIGNATURE_WINDOW_MS, Scheduled, ScheduledAct, Scope, SecretDigest, TOKEN_PREFIX, Token, ToolRule,
    TopUpRule, new_secret, secret_prefix, signing_secret,
};
pub use account::{AccountCall, Accounts, ChargePermit, Charging, OpenedCharge, Repeat};
pub use answer::{Answer, secret_digest};
pub use call::{Call, Presented};
pub use fault::{Fault, FaultKind};
pub use flow::Flow;
pub use outcome::{Due, FreeReason, Outcome};
pub use pass::{Admission, Pass, PassKeys, PassKind, PassRefusal};
pub use pattern::{Pattern, PatternRefusal};
pub use permit::{FreePass, Permit, Prepaid, Progress, Unpaid};
pub use port::{Check, Depth, Facilitator, Host, Journal, Seen, Settlement, Standing, Until};
pub use rate::{Bucket, Rate, Taken};
pub use replay::money_of;
pub use reply::{Closed, Opened, Replay};
pub use sale::Sale;
pub use snapshot::{DefaultAction, Honoured, Price, Quote, Route, Snapshot, Terms};
