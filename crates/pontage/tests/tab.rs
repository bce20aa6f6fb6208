//! Served now, settled later: many payments in one chain_tx, and what becomes of those that cannot be collected.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "tab/answers.rs"]
mod answers;
#[path = "tab/batches.rs"]
mod batches;
#[path = "tab/caps.rs"]
mod caps;
#[path = "kit/kit.rs"]
mod kit;
#[path = "tab/local.rs"]
mod local;
#[path = "tab/mempool.rs"]
mod mempool;
#[path = "tab/node.rs"]
mod node;
#[path = "tab/poison.rs"]
mod poison;
#[path = "tab/reload.rs"]
mod reload;
#[path = "tab/replay.rs"]
mod replay;

use std::collections::BTreeSet;

use alloy_primitives::U256;
use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use serde_json::{Value, json};
use xtask::chain::{Chain, ChainOptions, KEYS, TestKey, USDC};

use kit::{
    Answer, Claim, FUNDS, Gate, GateOptions, Link, Origin, PAYEE, PAYER, PRICE, Payer, Raw, SETTLER, World, block,
    cancel, get, land, move_all, request, root, unblock, until,
};

/// Who cheats, and who lands what is not his.
const CHEATER: &TestKey = &KEYS[3];
const STRANGER: &TestKey = &KEYS[5];

const ROUTES: &str = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: tab }\n  \
                      - { path: /direct/*, price: \"0.01\", settlement: direct }\n";

/// Everything on the tab, on these terms.
fn terms(more: &str) -> GateOptions {
    GateOptions { routes: ROUTES, more: more.to_owned(), pinned: true, ..GateOptions::default() }
}

/// Everything on the tab, settled after a second or by fives.
fn tab() -> GateOptions {
    terms("tab: { settle_age_s: 1, batch_max: 5 }")
}

/// Settled by size alone, as far as a test lasts.
fn by(size: usize) -> GateOptions {
    terms(&format!("tab: {{ settle_age_s: 600, batch_max: {size} }}"))
}

/// A world on these terms, in which the cheater has funds as well.
fn world(options: &GateOptions) -> World {
    let world = World::with(ChainOptions::default(), options);
    world.chain.mint(CHEATER.address, FUNDS).unwrap();
    world
}

/// One signed payment.
struct Paying {
    payer: Payer,
    header: String,
    offer: Offer,
    fields: Fields,
}

impl Paying {
    fn new(world: &World) -> Self {
        Self::of(world, PAYER)
    }

    fn of(world: &World, key: &TestKey) -> Self {
        Self::by(world, Payer::new(key), "/paid/ok")
    }

    /// For a route that is settled before it is served, whose payments are valid for a shorter time.
    fn direct(world: &World, key: &TestKey) -> Self {
        Self::by(world, Payer::new(key), "/direct/ok")
    }

    fn by(world: &World, payer: Payer, path: &str) -> Self {
        let offer = Payer::offer(&world.url(path));
        let fields = payer.fields(&offer);
        let header = payer.sign(Version::V2, &offer, &fields);
        Self { payer, header, offer, fields }
    }

    /// Sends it for a path. The port changes with every start of the gate; the resource does not.
    fn get(&self, world: &World, path: &str) -> Answer {
        self.get_with(world, path, &[])
    }

    fn get_with(&self, world: &World, path: &str, more: &[(&str, &str)]) -> Answer {
        let mut headers = vec![("host", "localhost"), ("payment-signature", self.header.as_str())];
        headers.extend_from_slice(more);
        get(&world.url(path), &headers)
    }

    /// Is served on the tab.
    fn served(&self, world: &World) -> Answer {
        let answer = self.get(world, "/paid/ok");
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
        assert_eq!(answer.receipt()["extra"]["state"], "held", "{}", answer.receipt());
        answer
    }

    /// Sends it over a connection that can be broken off.
    fn raw(&self, world: &World, path: &str, more: &[(&str, &str)]) -> Raw {
        let mut headers = vec![("payment-signature", self.header.as_str())];
        headers.extend_from_slice(more);
        Raw::get(world.gate.url(), path, &headers)
    }

    fn land(&self) -> String {
        land(&self.payer, &self.offer, &self.fields)
    }

    fn cancel(&self) -> String {
        cancel(&self.payer, &self.offer, &self.fields)
    }

    /// Its hold, once it is in the journal.
    fn claim(&self, world: &World) -> Claim {
        let nonce = self.fields.nonce.to_string();
        world.books().claims().into_iter().rev().find(|claim| claim.nonce == nonce).expect("a hold")
    }

    /// State and reason of its hold.
    fn state(&self, world: &World) -> (String, Option<String>) {
        let claim = self.claim(world);
        (claim.state, claim.reason)
    }

    /// What the gate says of it to whoever knows its name.
    fn status(&self, world: &World) -> Value {
        let answer = get(&world.url(&format!("/__pay/payments/{}", self.claim(world).id)), &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

/// State and money of a status.
fn told(status: &Value) -> (String, String) {
    (status["state"].as_str().unwrap().to_owned(), status["money"].as_str().unwrap().to_owned())
}

fn words(state: &str, money: &str) -> (String, String) {
    (state.to_owned(), money.to_owned())
}

fn state(state: &str, reason: &str) -> (String, Option<String>) {
    (state.to_owned(), Some(reason.to_owned()))
}

fn posted() -> (String, Option<String>) {
    ("posted".to_owned(), None)
}

fn money(price_times: i128) -> i128 {
    i128::try_from(PRICE).expect("fits") * price_times
}

/// A conflict of this kind, and where it says the money is.
fn conflict(answer: &Answer, error: &str, money: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (409, error), "{}", answer.text());
    assert_eq!(answer.money(), money);
    assert!(!answer.headers.contains_key("payment-required"));
}

/// The chain_txs that moved money to the payee.
fn chain_txs(world: &World) -> BTreeSet<String> {
    world.chain.transfers_to(PAYEE).unwrap().into_iter().map(|transfer| transfer.chain_tx).collect()
}

/// The end of every test: books and chain agree, nothing is on the tab, and the caps know it.
fn settled(world: &World) {
    world.agree();
    assert_eq!(world.books().exposure_off(), Vec::<String>::new());
    assert_eq!(world.books().exposed(), 0);
}

/// Lets the clock of the chain run past the end of everything that was signed, and buries it.
fn outlive(world: &World) {
    world.chain.increase_time(4_000).unwrap();
    for _ in 0..14 {
        world.chain.mine().unwrap();
    }
}

#[test]
fn a_call_on_the_tab_is_served_before_it_is_settled() {
    let world = World::with(ChainOptions { mining: false, ..ChainOptions::default() }, &tab());
    let answer = world.payer.buy(&world.url("/paid/ok"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt = answer.receipt();
    assert_eq!((&receipt["success"], &receipt["transaction"]), (&true.into(), &"".into()), "{receipt}");
    assert_eq!(receipt["extra"]["state"], "held");
    let status = || get(&world.url(receipt["extra"]["status_url"].as_str().unwrap()), &[]).json();
    assert_eq!((&status()["money"], &status()["settlement"]), (&"held".into(), &"tab".into()));
    until("it is submitted", || status()["state"] == "submitted");
    assert_eq!(world.paid(), 0);
    world.chain.set_automine(true).unwrap();
    until("it is settled", || status()["state"] == "settled");
    assert_eq!(world.paid(), PRICE);
    assert_eq!(status()["transaction"], world.chain.transfers_to(PAYEE).unwrap()[0].chain_tx.as_str());
    settled(&world);
}

#[test]
fn many_go_in_one_chain_tx() {
    let world = World::with(ChainOptions::default(), &by(5));
    for _ in 0..5 {
        Paying::new(&world).served(&world);
    }
    settled(&world);
    assert_eq!((world.chain.transfers_to(PAYEE).unwrap().len(), chain_txs(&world).len()), (5, 1));
}
