//! What pay-gate's users have, line by line: the name of a test begins with the line's. docs/compatibility.md lists them all.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "pay_gate/allowlist.rs"]
mod allowlist;
#[path = "pay_gate/browsers.rs"]
mod browsers;
#[path = "pay_gate/challenge.rs"]
mod challenge;
#[path = "pay_gate/checks.rs"]
mod checks;
#[path = "pay_gate/commands.rs"]
mod commands;
#[path = "pay_gate/config.rs"]
mod config;
#[path = "pay_gate/faults.rs"]
mod faults;
#[path = "kit/kit.rs"]
mod kit;
#[path = "pay_gate/listed.rs"]
mod listed;
#[path = "pay_gate/micro_ai.rs"]
mod micro_ai;
#[path = "pay_gate/modes.rs"]
mod modes;
#[path = "pay_gate/operation.rs"]
mod operation;
#[path = "pay_gate/pace.rs"]
mod pace;
#[path = "pay_gate/price.rs"]
mod price;
#[path = "pay_gate/proxied.rs"]
mod proxied;
#[path = "pay_gate/rewritten.rs"]
mod rewritten;
#[path = "pay_gate/started.rs"]
mod started;
#[path = "pay_gate/stub.rs"]
mod stub;
#[path = "pay_gate/told.rs"]
mod told;
#[path = "pay_gate/wrong.rs"]
mod wrong;

use kit::{Answer, GateOptions, World};
use protocol::x402::decode_header;
use serde_json::Value;
use xtask::chain::ChainOptions;

/// A world with these routes, and further lines of configuration.
fn world(routes: &'static str, more: &str) -> World {
    World::with(ChainOptions::default(), &GateOptions { routes, more: more.to_owned(), ..GateOptions::direct() })
}

/// What PAYMENT-REQUIRED holds.
fn challenge(answer: &Answer) -> Value {
    assert_eq!(answer.status, 402, "{}", answer.text());
    decode_header(answer.headers["payment-required"].as_bytes()).expect("a challenge")
}
