//! API keys, balances, passes, prices and limits, through the shipped binary.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "accounts/admin.rs"]
mod admin;
#[path = "accounts/books.rs"]
mod books;
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
#[allow(dead_code, reason = "what the tests of the ledger use besides")]
#[path = "ledger/run.rs"]
mod run;
#[path = "accounts/topup.rs"]
mod topup;
