//! `settle_first`: the money moves before the API is called. Whoever has paid gets his answer or is owed his money.

use super::*;
use crate::kit::{PRICE, Raw};

const ROUTES: &str = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settle_first: true }\n";

fn options() -> GateOptions {
    GateOptions { routes: ROUTES, timeout: "1s", ..GateOptions::direct() }
}

fn first() -> World {
    World::with(ChainOptions::default(), &options())
}

fn owed(world: &World) -> i128 {
    world.books().balance("refund_due:")
}

/// A payment and the headers that show it, from one host whatever the port.
fn payment(world: &World, path: &str) -> String {
    world.payer.payment(&Payer::offer(&world.url(path))).0
}

fn show<'a>(header: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("host", "localhost"), ("payment-signature", header)], more].concat()
}

fn price() -> i128 {
    i128::try_from(PRICE).expect("fits")
}

#[test]
fn the_money_has_moved_when_the_api_is_called() {
    let world = World::with(ChainOptions::default(), &GateOptions { timeout: "30s", ..options() });
    let offer = Payer::offer(&world.url("/paid/gate"));
    assert!(offer.max_timeout_s < 3_600, "not on the tab: {offer:?}");
    let header = payment(&world, "/paid/gate");
    thread::scope(|scope| {
        let call = scope.spawn(|| get(&world.url("/paid/gate"), &show(&header, &[])));
        until("the API is called", || world.origin.runs("/paid/gate") == 1);
        assert_eq!(world.paid(), PRICE, "before its answer");
        assert_eq!((only(&world).state.as_str(), only(&world).answer.as_str()), ("posted", "pending"));
        world.origin.let_go();
        let answer = call.join().expect("a caller");
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
        world.settled(&answer);
    });
    until("its answer is noted", || only(&world).answer == "delivered");
    assert_eq!(owed(&world), 0);
    world.agree();
}

/// The API fails in every way there is: what moved is owed back, the payer is told so, and nothing is run again.
#[test]
fn an_api_that_fails_after_the_payment() {
    let world = first();
    let mut total = 0;
    for (path, status, error) in [
        ("/paid/500", 500, ""),
        ("/paid/404", 404, ""),
        ("/paid/reset", 502, "bad_gateway"),
        ("/paid/hang", 504, "upstream_timeout"),
    ] {
        let header = payment(&world, path);
        let answer = get(&world.url(path), &show(&header, &[]));
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{path} {}", answer.text());
        if !error.is_empty() {
            assert_eq!(answer.money(), "moved", "{path}");
        }
        let chain_tx = world.settled(&answer);
        total += price();
        until("what moved is owed back", || owed(&world) == total);
        let again = get(&world.url(path), &show(&header, &[]));
        assert_eq!(said(&again), problem(409, "answer_lost", "moved"), "{path}");
        assert_eq!(again.receipt()["transaction"], chain_tx.as_str(), "{path}");
        assert_eq!(world.origin.runs(path), 1, "{path}");
    }
    // The head has gone out when the body breaks off.
    let header = payment(&world, "/paid/half");
    let whole = Raw::get(world.gate.url(), "/paid/half", &show(&header, &[])[1..]).read_all();
    assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("half"), "{whole}");
    until("what moved is owed back", || owed(&world) == total + price());
    world.agree();
}

/// A power cut at the one moment at which the payer has paid and got nothing.
#[test]
fn a_kill_between_the_payment_and_the_answer() {
    let mut world = World::with(ChainOptions::default(), &GateOptions { timeout: "30s", ..options() });
    let header = payment(&world, "/paid/gate");
    let url = world.gate.url().to_owned();
    let mut call = Raw::get(&url, "/paid/gate", &show(&header, &[])[1..]);
    until("the API is called", || world.origin.runs("/paid/gate") == 1);
    world.gate.kill_and_restart();
    assert_eq!(call.read_all(), "");
    until("what moved is owed back", || owed(&world) == price());
    assert_eq!((only(&world).state.as_str(), only(&world).answer.as_str()), ("posted", "lost"));
    let again = get(&world.url("/paid/gate"), &show(&header, &[]));
    assert_eq!(said(&again), problem(409, "answer_lost", "moved"));
    world.settled_before(&again);
    assert_eq!(world.origin.runs("/paid/gate"), 1);
    world.agree();
}

#[test]
fn a_caller_who_leaves_before_his_answer_is_owed_his_money() {
    let world = World::with(ChainOptions::default(), &GateOptions { timeout: "30s", ..options() });
    let header = payment(&world, "/paid/gate");
    let call = Raw::get(world.gate.url(), "/paid/gate", &show(&header, &[])[1..]);
    until("the API is called", || world.origin.runs("/paid/gate") == 1);
    drop(call);
    until("what moved is owed back", || owed(&world) == price());
    let again = get(&world.url("/paid/gate"), &show(&header, &[]));
    assert_eq!(said(&again), problem(409, "answer_lost", "moved"));
    world.agree();
}

/// He leaves while the chain is at it: whatever comes of it is his.
#[test]
fn a_caller_who_leaves_while_the_money_moves() {
    let world = World::with(ChainOptions::default(), &options());
    world.chain.set_automine(false).expect("the chain stands still");
    let header = payment(&world, "/paid/ok");
    let call = Raw::get(world.gate.url(), "/paid/ok", &show(&header, &[])[1..]);
    until("it is submitted", || world.books().holds("submitted") == 1);
    drop(call);
    until("it has moved, and is owed back", || {
        world.chain.mine().expect("a block");
        owed(&world) == price()
    });
    assert_eq!(world.origin.runs("/paid"), 0, "nobody is there to be answered");
    world.agree();
}

#[test]
fn one_payment_many_times_at_once_is_one_run_and_one_transfer() {
    let world = first();
    for keyed in [false, true] {
        let path = if keyed { "/paid/ok?keyed" } else { "/paid/ok" };
        let header = payment(&world, path);
        let key = [("idempotency-key", header.as_str())];
        let headers = show(&header, if keyed { &key } else { &[] });
        let answers = at_once(16, |_| get(&world.url(path), &headers));
        let served = count(&answers, 200, "");
        assert!(if keyed { served >= 1 } else { served == 1 }, "{served}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            // While the money moves nobody can say more than that it may have.
            let told = matches!(
                (answer.status, answer.error().as_str()),
                (409, "already_served" | "in_flight") | (503, "settlement_pending")
            );
            assert!(told, "{}", answer.text());
        }
        assert_eq!(world.origin.runs(&format!("{path} ")), 1);
        if keyed {
            until("it is stored", || world.books().claims().iter().any(|claim| claim.answer == "kept"));
            let stored = get(&world.url(path), &headers);
            assert_eq!((stored.status, stored.text().as_str()), (200, "served"));
        }
    }
    assert_eq!((world.paid(), owed(&world)), (2 * PRICE, 0));
    world.agree();
}
