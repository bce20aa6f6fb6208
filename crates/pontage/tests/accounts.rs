//! API keys, balances, passes, prices and limits, through the shipped binary.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "accounts/admin.rs"]
mod admin;
#[path = "accounts/calls.rs"]
mod calls;
#[path = "accounts/idempotency.rs"]
mod idempotency;
#[path = "accounts/keys.rs"]
mod keys;
#[path = "kit/kit.rs"]
mod kit;
#[path = "accounts/limits.rs"]
mod limits;
#[path = "accounts/passes.rs"]
mod passes;
#[path = "accounts/prices.rs"]
mod prices;
#[path = "accounts/topup.rs"]
mod topup;
