//! Access: who may call what. An API key is the access side of an account, and has the account's name.

mod address;
mod denial;
mod key;
mod plan;
mod policy;
mod refusal;
mod rule;
mod secret;
mod signing;
mod token;
mod words;

pub use address::AddressRule;
pub use denial::Denial;
pub use key::{KeyChange, KeyRecord, KeyStanding, KeyState, KeyStep, Note, Scheduled, ScheduledAct};
pub use plan::Plan;
pub use policy::{
    BudgetAction, BudgetMeasure, BudgetRule, BudgetSpan, Multiplier, Policy, PriceRule, RateRule, Scope, TopUpRule,
};
pub use refusal::KeyRefusal;
pub use rule::{RouteRule, ToolRule};
pub use secret::{SECRET_PREFIX, SecretDigest, TOKEN_PREFIX, new_secret, secret_prefix};
pub use signing::{RequestSignature, SIGNATURE_WINDOW_MS, signing_secret};
pub use token::Token;

#[cfg(test)]
mod tests;
