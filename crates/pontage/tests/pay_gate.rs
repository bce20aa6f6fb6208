//! What pay-gate's users have, line by line: the name of a test begins with the line's. docs/compatibility.md lists them all.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "pay_gate/challenge.rs"]
mod challenge;
#[path = "pay_gate/commands.rs"]
mod commands;
#[path = "pay_gate/config.rs"]
mod config;
#[path = "kit/kit.rs"]
mod kit;
#[path = "pay_gate/proxied.rs"]
mod proxied;
#[path = "pay_gate/wrong.rs"]
mod wrong;

use kit::{GateOptions, World};
use xtask::chain::ChainOptions;

/// A world with these routes, and further lines of configuration.
fn world(routes: &'static str, more: &str) -> World {
    World::with(ChainOptions::default(), &GateOptions { routes, more: more.to_owned(), ..GateOptions::direct() })
}
