//! The process is killed as by a power cut, on either rail.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use xtask::chain::ChainOptions;

use kit::{GateOptions, PRICE, Payer, Raw, World, get, killed, until};

/// On the tab some go by age and some by number, so that kills find both.
fn options() -> GateOptions {
    GateOptions { tab: "settle_age_s: 1, batch_max: 8", ..GateOptions::uncapped() }
}

#[test]
fn killed_at_random_moments_nothing_is_served_or_charged_twice_and_nothing_is_missing() {
    killed(50, &ChainOptions::default(), &options(), 20..=400);
}

/// Most kills find settlements on their way: they are sent again, and reconciled.
#[test]
fn the_same_while_settlements_wait_for_their_block() {
    killed(15, &ChainOptions { block_time_s: Some(1), ..ChainOptions::default() }, &options(), 20..=400);
}

/// One kill at three moments of a call: before its answer, within, and after.
#[test]
fn what_runs_when_the_process_dies_is_not_charged_and_what_was_answered_is() {
    let mut world = World::new();
    let offer = Payer::offer(&world.url("/paid/ok"));
    let [running, begun, ended] =
        ["/paid/gate", "/paid/slow", "/paid/ok"].map(|path| (path, world.payer.payment(&offer)));
    let send = |(path, (header, _)): &(&str, (String, _))| {
        Raw::get(world.gate.url(), path, &[("payment-signature", header.as_str())])
    };
    let mut first = send(&running);
    until("the upstream runs", || world.origin.runs(running.0) == 1);
    let mut second = send(&begun);
    assert!(second.read_until("first").ends_with("first"));
    assert!(send(&ended).read_all().ends_with("served"));
    world.gate.kill();
    assert_eq!((first.read_all().as_str(), second.read_all().as_str()), ("", ""));
    // Nobody waits for them any more; what the upstream says now comes too late.
    world.origin.let_go();
    world.gate.restart();

    let again = |(path, (header, _)): &(&str, (String, _))| {
        get(&world.url(path), &[("host", "localhost"), ("payment-signature", header.as_str())])
    };
    let state = |nonce: &str| {
        let claim = world.books().claims().into_iter().find(|claim| claim.nonce == nonce).unwrap();
        (claim.state, claim.reason)
    };
    let answer = again(&running);
    assert_eq!((answer.status, answer.error().as_str(), answer.money().as_str()), (409, "not_charged", "untouched"));
    assert_eq!(state(&running.1.1.to_string()), ("burnt".to_owned(), Some("interrupted".to_owned())));
    for call in [&begun, &ended] {
        let answer = again(call);
        assert_eq!((answer.status, answer.error().as_str()), (409, "already_served"), "{}: {}", call.0, answer.text());
        world.settled_before(&answer);
        assert_eq!(state(&call.1.1.to_string()), ("posted".to_owned(), None));
    }
    for (path, _) in [&running, &begun, &ended] {
        assert_eq!(world.origin.runs(path), 1, "{path}");
    }
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, i128::try_from(2 * PRICE).unwrap()));
    world.agree();
}
