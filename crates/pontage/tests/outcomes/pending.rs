//! Settlements that are not confirmed in time. `direct` alone: on the tab nobody waits for them, and `tab::mempool` and
//! `tab::node` have what becomes of them there.

use super::*;

#[test]
fn a_settlement_that_is_not_confirmed_in_time_is_pending_and_resolves_by_itself() {
    let world = World::with(still(), &GateOptions::direct());
    let (payment, keyed) = (Paying::new(&world), Paying::new(&world));
    let (large, broken) = (Paying::new(&world), Paying::new(&world));
    let (answer, with_key, large_answer, broken_answer) = thread::scope(|scope| {
        let calls = [
            scope.spawn(|| payment.get(&world, "/paid/ok")),
            scope.spawn(|| keyed.get_with_key(&world, "/paid/ok?key", "key of the first call")),
            scope.spawn(|| large.get(&world, "/paid/big")),
            scope.spawn(|| broken.get(&world, "/paid/half")),
        ];
        calls.map(|call| call.join().unwrap()).into()
    });
    for answer in [&answer, &with_key, &large_answer, &broken_answer] {
        pending(answer);
        assert!(answer.json()["transaction"].as_str().is_some_and(|hash| hash.len() == 66), "{}", answer.text());
    }
    until("what can be kept is kept", || {
        let answers: Vec<_> = world.books().claims().into_iter().map(|claim| claim.answer).collect();
        answers.iter().filter(|answer| *answer == "kept").count() == 2
            && answers.iter().filter(|answer| *answer == "lost").count() == 2
    });
    // A retry is never told to pay again, and nothing is given out that is not paid.
    pending(&payment.get(&world, "/paid/ok"));
    pending(&keyed.get_with_key(&world, "/paid/ok?key", "key of the first call"));
    pending(&large.get(&world, "/paid/big"));
    let picked = |answer: &Answer| get(&world.url(&pickup(answer)), &[]);
    pending(&picked(&answer));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (0, 0));

    world.chain.set_automine(true).unwrap();
    until("the reconciler posts all", || world.books().holds("posted") == 4);
    let body = picked(&answer);
    assert_eq!((body.status, body.text().as_str()), (200, "served"));
    assert_eq!((&body.receipt()["success"], &body.receipt()["amount"]), (&true.into(), &PRICE.to_string().into()));
    already_served(&world, &payment.get(&world, "/paid/ok"));
    let body = keyed.get_with_key(&world, "/paid/ok?key", "key of the first call");
    assert_eq!((body.status, body.text().as_str()), (200, "served"));
    for lost in [&large_answer, &broken_answer] {
        let gone = picked(lost);
        assert_eq!((gone.status, gone.error().as_str(), gone.money().as_str()), (410, "answer_lost", "moved"));
        assert_eq!(gone.receipt()["success"], true);
    }
    assert_eq!((world.books().balance("revenue:"), world.books().balance("refund_due:")), (money(2), money(2)));
    assert_eq!((world.origin.runs("/paid/"), world.origin.most_runs("/paid/")), (4, 1));
    assert_eq!(world.chain.transfers_to(PAYEE).unwrap().len(), 4);
    world.agree();
}

#[test]
fn a_pending_settlement_survives_a_kill() {
    let mut world = World::with(still(), &GateOptions::direct());
    let (kept, lost) = (Paying::new(&world), Paying::new(&world));
    let answer = kept.get(&world, "/paid/ok");
    pending(&answer);
    until("the answer is kept", || world.books().claims()[0].answer == "kept");
    // This one's answer is with its caller when the process dies.
    let mut caller = lost.raw(&world, "/paid/ok?lost", &[]);
    until("both are submitted", || world.books().holds("submitted") == 2);
    world.gate.kill();
    assert_eq!(caller.read_all(), "");
    world.gate.restart();
    let picked = |world: &World| get(&world.url(&pickup(&answer)), &[]);
    pending(&picked(&world));
    pending(&kept.get(&world, "/paid/ok"));
    pending(&lost.get(&world, "/paid/ok?lost"));

    world.chain.set_automine(true).unwrap();
    until("both are posted", || world.books().holds("posted") == 2);
    let body = picked(&world);
    assert_eq!((body.status, body.text().as_str(), &body.receipt()["success"]), (200, "served", &true.into()));
    already_served(&world, &kept.get(&world, "/paid/ok"));
    owed_back(&lost.get(&world, "/paid/ok?lost"));
    assert_eq!((world.books().balance("revenue:"), world.books().balance("refund_due:")), (money(1), money(1)));
    assert_eq!((world.origin.runs("/paid/ok"), world.origin.most_runs("/paid/ok")), (2, 1));
    world.agree();
}

#[test]
fn a_chain_tx_that_the_node_forgets_is_sent_again_and_one_that_comes_too_late_moves_nothing() {
    let world = World::with(still(), &GateOptions::direct());
    let (good, late) = (Paying::for_s(&world, 85), Paying::for_s(&world, 42));
    let (answer, late_answer) = thread::scope(|scope| {
        let call = scope.spawn(|| good.get(&world, "/paid/ok"));
        let late = scope.spawn(|| late.get(&world, "/paid/ok?late"));
        (call.join().unwrap(), late.join().unwrap())
    });
    pending(&answer);
    pending(&late_answer);
    let chain_tx = answer.json()["transaction"].clone();
    world.chain.rpc("anvil_dropTransaction", serde_json::json!([chain_tx])).unwrap();
    // It comes back with the same bytes, or as a higher bid at the same sequence.
    let waiting = || world.chain.rpc("txpool_status", serde_json::json!([])).unwrap()["pending"] == "0x2";
    until("it is sent again", waiting);
    world.chain.increase_time(45).unwrap();
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
    until("both have ended", || world.books().unfinished() == 0);
    assert_eq!(get(&world.url(&pickup(&answer)), &[]).status, 200);
    let gone = get(&world.url(&pickup(&late_answer)), &[]);
    assert_eq!((gone.status, gone.error().as_str(), gone.money().as_str()), (410, "not_charged", "untouched"));
    not_charged(&late.get(&world, "/paid/ok?late"));
    let claims = world.books().claims();
    let burnt: Vec<_> = claims.iter().filter(|claim| claim.state == "burnt").collect();
    assert_eq!(burnt.len(), 1);
    assert_eq!(burnt[0].reason.as_deref(), Some("settlement_refused"));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (PRICE, money(1)));
    world.agree();
}

#[test]
fn a_settlement_that_never_lands_is_let_go_when_it_is_final() {
    let world = World::with(ChainOptions::default(), &GateOptions::direct());
    // Without gas no node takes the settlement; the gate would not serve, had it known before.
    let payment = Paying::for_s(&world, 42);
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| payment.get(&world, "/paid/gate"));
        until("it runs", || world.origin.runs("/paid/gate") == 1);
        world.chain.set_native_balance(SETTLER.address, 0).unwrap();
        world.origin.let_go();
        call.join().unwrap()
    });
    pending(&answer);
    world.chain.increase_time(52).unwrap();
    world.chain.mine().unwrap();
    // Expired, but not final: it stays as it is.
    pending(&payment.get(&world, "/paid/gate"));
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
    until("it is let go", || world.books().newest() == state("released", "expired"));
    let again = payment.get(&world, "/paid/gate");
    assert_eq!((again.status, again.error().as_str(), again.money().as_str()), (409, "expired", "untouched"));
    let gone = get(&world.url(&pickup(&answer)), &[]);
    assert_eq!((gone.status, gone.error().as_str()), (410, "not_charged"));
    untouched(&world);
    // The lane goes on once there is gas: the old chain_tx reverts and frees its sequence.
    world.chain.set_native_balance(SETTLER.address, 1_000_000_000_000_000_000).unwrap();
    until("the gate knows it", || Paying::for_s(&world, 88).get(&world, "/paid/ok?next").status == 200);
    assert_eq!((world.paid(), world.origin.runs("/paid/")), (PRICE, 2));
    world.agree();
}
