//! What a gate does besides selling a call: money that moves first, checks for another proxy, payments with a name, signed offers
//! and receipts, calls that were paid before, several tokens, and too many calls at once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "features/checked.rs"]
mod checked;
#[path = "features/first.rs"]
mod first;
#[path = "kit/kit.rs"]
mod kit;
#[path = "features/named.rs"]
mod named;
#[path = "features/shaped.rs"]
mod shaped;
#[path = "features/signed.rs"]
mod signed;

use std::thread;

use kit::{Answer, Claim, GateOptions, Payer, World, get, request, until};
use protocol::Offer;
use serde_json::Value;
use xtask::chain::ChainOptions;

/// A gate with these routes and further keys, whose `direct` is that on either run of the suites.
fn world(routes: &'static str, more: &str) -> World {
    World::with(ChainOptions::default(), &GateOptions { routes, more: more.to_owned(), ..GateOptions::direct() })
}

/// The same call many times at once.
fn at_once(count: usize, call: impl Fn(usize) -> Answer + Sync) -> Vec<Answer> {
    let call = &call;
    thread::scope(|scope| {
        let calls: Vec<_> = (0..count).map(|nth| scope.spawn(move || call(nth))).collect();
        calls.into_iter().map(|call| call.join().expect("a caller")).collect()
    })
}

/// How many answers have a status and an error.
fn count(answers: &[Answer], status: u16, error: &str) -> usize {
    answers.iter().filter(|answer| answer.status == status && answer.error() == error).count()
}

fn only(world: &World) -> Claim {
    let mut claims = world.books().claims();
    assert_eq!(claims.len(), 1, "{claims:?}");
    claims.remove(0)
}

/// What a problem says and where the money is.
fn said(answer: &Answer) -> (u16, String, String) {
    (answer.status, answer.error(), answer.money())
}

fn problem(status: u16, error: &str, money: &str) -> (u16, String, String) {
    (status, error.to_owned(), money.to_owned())
}
