//! Facilitators of others: whatever they do, nobody is asked to pay twice, nobody is charged twice, and the books say what the chain
//! says.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "facilitators/crash.rs"]
mod crash;
#[path = "facilitators/fail_over.rs"]
mod fail_over;
#[path = "kit/kit.rs"]
mod kit;
#[path = "facilitators/settle.rs"]
mod settle;
#[path = "facilitators/tab.rs"]
mod tab;
#[path = "facilitators/verify.rs"]
mod verify;

use protocol::x402::Version;
use xtask::chain::{Chain, ChainOptions, USDC};

use kit::{
    Act, Answer, FUNDS, Facilitator, Gate, GateOptions, Origin, PAYEE, PAYER, PRICE, Payer, TOKEN, WORDS, World, get,
    move_all, start_chain, until,
};

/// How long everything may take: short, so that what hangs is over soon.
const TIMES: &str = "verify_timeout_ms: 1000, settle_timeout_ms: 2000";

/// A chain with a token and a payer with funds.
fn chain() -> Chain {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    chain
}

/// A gate on these facilitators, and all around it. Without a node a facilitator's word is all there is.
fn world(chain: Chain, urls: &[&str], node: bool) -> World {
    let options = GateOptions { facilitator: format!("urls: {urls:?}, {TIMES}"), node, ..GateOptions::direct() };
    world_with(chain, &options)
}

fn world_with(chain: Chain, options: &GateOptions) -> World {
    let origin = Origin::start();
    let gate = Gate::start(chain.rpc_url(), &origin.url(), options);
    World { gate, origin, chain, payer: Payer::new(PAYER) }
}

/// A signed payment's header.
fn payment(world: &World) -> String {
    world.payer.payment(&Payer::offer(&world.url("/paid/ok"))).0
}

fn pay(world: &World, header: &str, path: &str) -> Answer {
    let answer = get(&world.url(path), &[("host", "localhost"), ("payment-signature", header)]);
    quiet(&answer);
    answer
}

/// Nothing of what another system says is in an answer.
fn quiet(answer: &Answer) {
    assert!(!answer.text().contains(WORDS), "{}", answer.text());
    assert!(answer.headers.values().all(|value| !value.contains(WORDS)), "{:?}", answer.headers);
}

/// A fault before anything was claimed.
fn unreachable(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (503, "service_unavailable"), "{}", answer.text());
    assert_eq!(answer.json()["message"], "Payment facilitator is unreachable.");
    assert_eq!(answer.money(), "untouched");
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
}

/// Served, and its outcome not known.
fn pending(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (503, "settlement_pending"), "{}", answer.text());
    assert_eq!(answer.money(), "unknown");
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
}

fn served(world: &World, answer: &Answer) -> String {
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
    world.settled(answer)
}

/// The answer that was pending is picked up, and the same payment buys nothing more.
fn picked_up(world: &World, header: &str, path: &str, first: &Answer) {
    let pickup = first.json()["pickup_url"].as_str().expect("a pick-up URL").to_owned();
    let mut answer = get(&world.url(&pickup), &[]);
    until("the answer can be picked up", || {
        answer = get(&world.url(&pickup), &[]);
        quiet(&answer);
        answer.status == 200
    });
    assert_eq!(answer.text(), "served");
    already_served(world, header, path);
}

fn already_served(world: &World, header: &str, path: &str) {
    let again = pay(world, header, path);
    assert_eq!((again.status, again.error().as_str()), (409, "already_served"), "{}", again.text());
}
