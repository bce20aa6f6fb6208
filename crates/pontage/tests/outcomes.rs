//! The outcome table: how a run of the upstream ends, and what becomes of the money, in the books and on the chain.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outcomes/faults.rs"]
mod faults;
#[path = "kit/kit.rs"]
mod kit;
#[path = "outcomes/payer.rs"]
mod payer;
#[path = "outcomes/pending.rs"]
mod pending;
#[path = "outcomes/upstream.rs"]
mod upstream;

use std::net::TcpListener;
use std::thread::{self, ScopedJoinHandle};

use alloy_primitives::U256;
use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use rusqlite::Connection;
use xtask::chain::{ChainOptions, KEYS, USDC};

use kit::{
    Answer, FUNDS, Gate, GateOptions, Link, Origin, PAYEE, PAYER, PRICE, Payer, Raw, SETTLER, World, cancel, get, land,
    move_all, request, start_chain, until,
};

/// One signed payment.
struct Paying {
    header: String,
    offer: Offer,
    fields: Fields,
}

impl Paying {
    fn new(world: &World) -> Self {
        Self::until(world, None)
    }

    /// Valid for so many seconds from now.
    fn for_s(world: &World, seconds: u64) -> Self {
        Self::until(world, Some(seconds))
    }

    fn until(world: &World, seconds: Option<u64>) -> Self {
        let offer = Payer::offer(&world.url("/paid/ok"));
        let mut fields = world.payer.fields(&offer);
        if let Some(seconds) = seconds {
            fields.valid_before = fields.valid_before - U256::from(offer.max_timeout_s) + U256::from(seconds);
        }
        let header = world.payer.sign(Version::V2, &offer, &fields);
        Self { header, offer, fields }
    }

    /// Sends it for a path.
    fn get(&self, world: &World, path: &str) -> Answer {
        get(&world.url(path), &[("host", "localhost"), ("payment-signature", &self.header)])
    }

    /// The same with an `Idempotency-Key`.
    fn get_with_key(&self, world: &World, path: &str, key: &str) -> Answer {
        let headers = [("host", "localhost"), ("payment-signature", self.header.as_str()), ("idempotency-key", key)];
        get(&world.url(path), &headers)
    }

    /// Sends it over a connection that can be broken off.
    fn raw(&self, world: &World, path: &str, more: &[(&str, &str)]) -> Raw {
        let mut headers = vec![("payment-signature", self.header.as_str())];
        headers.extend_from_slice(more);
        Raw::get(world.gate.url(), path, &headers)
    }

    /// Sends it in a thread, and returns once the upstream runs.
    fn start<'scope, 'a: 'scope>(
        &'a self,
        scope: &'scope thread::Scope<'scope, 'a>,
        world: &'a World,
        path: &'static str,
    ) -> ScopedJoinHandle<'scope, Answer> {
        let call = scope.spawn(move || self.get(world, path));
        until("the upstream runs", || world.origin.runs(path) > 0);
        call
    }

    fn land(&self, world: &World) -> String {
        land(&world.payer, &self.offer, &self.fields)
    }
}

fn state(state: &str, reason: &str) -> (String, Option<String>) {
    (state.to_owned(), Some(reason.to_owned()))
}

fn money(price_times: u128) -> i128 {
    i128::try_from(PRICE * price_times).expect("fits")
}

/// Nothing moved, and everything has ended.
fn untouched(world: &World) {
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (0, FUNDS));
    assert!(world.chain.transfers_to(PAYEE).unwrap().is_empty());
    assert_eq!((world.books().balance("revenue:"), world.books().balance("refund_due:")), (0, 0));
    world.agree();
}

/// A replay of what was served: the receipt, and nothing else. On the tab it may be held still, and is settled.
fn already_served(world: &World, answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (409, "already_served"), "{}", answer.text());
    let held = world.on_tab() && answer.receipt()["transaction"] == "";
    assert_eq!(
        (answer.money().as_str(), &answer.receipt()["success"]),
        (if held { "held" } else { "moved" }, &true.into())
    );
    assert!(!answer.headers.contains_key("payment-required"));
    world.settled_before(answer);
}

/// A replay of what moved and is owed back.
fn owed_back(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (409, "answer_lost"), "{}", answer.text());
    assert_eq!((answer.money().as_str(), &answer.receipt()["success"]), ("moved", &true.into()));
    assert!(!answer.headers.contains_key("payment-required"));
}

/// A replay of what was not charged.
fn not_charged(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (409, "not_charged"), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
}

/// Never a 402: the settlement is on its way.
fn pending(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (503, "settlement_pending"), "{}", answer.text());
    assert_eq!(answer.money(), "unknown");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.headers.contains_key("payment-required"));
    let receipt = answer.receipt();
    assert_eq!((&receipt["success"], &receipt["errorReason"]), (&false.into(), &"settlement_pending".into()));
}

fn pickup(answer: &Answer) -> String {
    answer.json()["pickup_url"].as_str().expect("a pick-up URL").to_owned()
}

/// A chain on which a test says when a block comes.
fn still() -> ChainOptions {
    ChainOptions { mining: false, ..ChainOptions::default() }
}
