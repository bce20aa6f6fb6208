//! The process is killed as by a power cut, two hundred times, while payers call on the tab.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use kit::{GateOptions, killed};
use xtask::chain::ChainOptions;

fn options() -> GateOptions {
    GateOptions { on_tab: true, tab: "settle_age_s: 1, batch_max: 20", ..GateOptions::uncapped() }
}

/// Mostly soon after its start, where the tab is settled by what the process before left.
#[test]
fn killed_two_hundred_times_nothing_on_the_tab_is_lost_or_doubled() {
    killed(200, &ChainOptions::default(), &options(), 2..=280);
}

/// Most kills find batches on their way: they are sent again, and reconciled.
#[test]
fn the_same_while_batches_wait_for_their_block() {
    killed(25, &ChainOptions { block_time_s: Some(1), ..ChainOptions::default() }, &options(), 2..=280);
}
