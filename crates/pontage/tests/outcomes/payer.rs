//! What the payer, or a stranger, does with the authorization.

use super::*;

/// What a payer does to his authorization while the upstream runs, and how the call ends then.
fn during_the_run(
    options: &GateOptions,
    sender: &str,
    data: impl Fn(&World, &Paying) -> String,
) -> (World, Answer, Answer) {
    let world = World::with(ChainOptions::default(), options);
    let payment = Paying::new(&world);
    let (answer, again) = thread::scope(|scope| {
        let call = payment.start(scope, &world, "/paid/gate");
        let chain_tx = world.chain.send_as(sender, USDC, &data(&world, &payment)).unwrap();
        assert_eq!(world.chain.succeeded(&chain_tx).unwrap(), Some(true));
        world.origin.let_go();
        (call.join().unwrap(), payment.get(&world, "/paid/gate"))
    });
    assert_eq!(world.origin.runs("/paid/gate"), 1);
    (world, answer, again)
}

fn refused_after_the_run(answer: &Answer, reason: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (402, reason), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
    assert!(!answer.text().contains("served"), "the body is not released: {}", answer.text());
    assert!(answer.headers.contains_key("payment-required"));
    let receipt = answer.receipt();
    assert_eq!((&receipt["success"], &receipt["errorReason"]), (&false.into(), &reason.into()));
}

/// `direct` alone: on the tab he is served and his payment is lost, as `tab::poison` says.
#[test]
fn a_payer_who_empties_his_wallet_during_the_run_gets_nothing() {
    let (world, answer, again) = during_the_run(&GateOptions::direct(), PAYER.address, |_, _| move_all(FUNDS));
    refused_after_the_run(&answer, "invalid_exact_evm_insufficient_balance");
    not_charged(&again);
    assert_eq!(world.books().newest(), state("burnt", "settlement_refused"));
    assert_eq!(world.paid(), 0);
    world.agree();
}

/// `direct` alone, for the same reason.
#[test]
fn a_payer_who_cancels_during_the_run_gets_nothing() {
    let data = |world: &World, payment: &Paying| cancel(&world.payer, &payment.offer, &payment.fields);
    let (world, answer, again) = during_the_run(&GateOptions::direct(), PAYER.address, data);
    refused_after_the_run(&answer, "invalid_exact_evm_nonce_already_used");
    not_charged(&again);
    assert_eq!(world.books().newest(), state("burnt", "settlement_refused"));
    untouched(&world);
}

#[test]
fn a_payer_who_lands_it_during_the_run_has_paid() {
    let landed = |world: &World, payment: &Paying| payment.land(world);
    let (world, answer, again) = during_the_run(&GateOptions::default(), PAYER.address, landed);
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    already_served(&world, &again);
    let transfers = world.chain.transfers_to(PAYEE).unwrap();
    assert_eq!(transfers.len(), 1);
    assert_eq!(world.settled(&answer), transfers[0].chain_tx);
    assert_eq!(world.books().sequences(), Vec::<u64>::new(), "no gas was spent on what has landed");
    assert_eq!(world.books().balance("revenue:"), money(1));
    world.agree();
}

#[test]
fn an_authorization_that_a_stranger_lands_during_the_run_is_in_suspense() {
    let landed = |world: &World, payment: &Paying| payment.land(world);
    let (world, answer, again) = during_the_run(&GateOptions::default(), KEYS[5].address, landed);
    // Whose books it belongs in is for a person to say: not served free, not charged twice, never told to pay again.
    if world.on_tab() {
        assert_eq!((answer.status, &answer.receipt()["extra"]["state"]), (200, &"held".into()), "{}", answer.text());
        assert_eq!((again.status, again.error().as_str(), again.money().as_str()), (409, "already_served", "held"));
    } else {
        pending(&answer);
        pending(&again);
    }
    assert_eq!((world.paid(), world.chain.transfers_to(PAYEE).unwrap().len()), (PRICE, 1));
    assert_eq!(world.books().balance("revenue:"), 0);
    let valid_s = Payer::offer(&world.url("/paid/ok")).max_timeout_s;
    world.chain.increase_time(60 + valid_s).unwrap();
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
    until("the money is in the books", || world.books().balance("suspense:") == money(1));
    assert_eq!(world.books().newest(), state("burnt", "foreign_transfer"));
    world.agree();
}

#[test]
fn an_authorization_that_its_payer_lands_before_or_after_the_call() {
    let world = World::new();
    let before = Paying::new(&world);
    world.chain.send_as(PAYER.address, USDC, &before.land(&world)).unwrap();
    let answer = before.get(&world, "/paid/before");
    let reason = "invalid_exact_evm_nonce_already_used";
    assert_eq!((answer.status, answer.error().as_str()), (402, reason), "{}", answer.text());
    assert_eq!((world.origin.runs("/paid/before"), world.paid()), (0, PRICE));

    let after = Paying::new(&world);
    world.settled(&after.get(&world, "/paid/after"));
    let chain_tx = world.chain.send_as(PAYER.address, USDC, &after.land(&world)).unwrap();
    assert_eq!(world.chain.succeeded(&chain_tx).unwrap(), Some(false));
    already_served(&world, &after.get(&world, "/paid/after"));
    assert_eq!((world.origin.runs("/paid/after"), world.paid()), (1, 2 * PRICE));
    assert_eq!(world.books().balance("revenue:"), money(1));
}

#[test]
fn an_authorization_that_its_payer_lands_after_a_free_answer_is_in_suspense_once() {
    let world = World::new();
    let payments = [Paying::for_s(&world, 55), Paying::for_s(&world, 90)];
    for payment in &payments {
        // Claimed and let go twice: money that comes later belongs to one of the two.
        for _ in 0..2 {
            assert_eq!(payment.get(&world, "/paid/500").status, 500);
        }
        world.chain.send_as(PAYER.address, USDC, &payment.land(&world)).unwrap();
        let answer = payment.get(&world, "/paid/500");
        assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_exact_evm_nonce_already_used"));
    }
    assert_eq!(world.books().balance("suspense:"), 0);
    // The second comes in a later round of the reconciler, which must not find the first one again.
    for (seconds, found) in [(62, 1), (60, 2)] {
        world.chain.increase_time(seconds).unwrap();
        for _ in 0..13 {
            world.chain.mine().unwrap();
        }
        until("the money is in suspense", || world.books().balance("suspense:") >= money(found));
        assert_eq!(world.books().balance("suspense:"), money(found));
    }
    assert_eq!((world.origin.runs("/paid/500"), world.paid()), (4, 2 * PRICE));
    world.agree();
}
