//! Faults of the journal and of the chain node.

use super::*;

#[test]
fn nothing_paid_is_served_without_the_journal() {
    let world = World::new();
    let (payment, other) = (Paying::new(&world), Paying::new(&world));
    let lock = Connection::open(world.gate.journal()).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for payment in [&payment, &other] {
        let answer = payment.get(&world, "/paid/ok");
        assert_eq!((answer.status, answer.error().as_str()), (503, "journal_unavailable"), "{}", answer.text());
        assert_eq!(answer.money(), "untouched");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.headers.contains_key("payment-required"));
    }
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (0, 0));
    lock.execute_batch("ROLLBACK").unwrap();
    for payment in [&payment, &other] {
        let answer = payment.get(&world, "/paid/ok");
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
        world.settled(&answer);
    }
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (2, 2 * PRICE));
    world.agree();
}

#[test]
fn a_journal_that_fails_during_the_run_leaves_nothing_half_done() {
    let world = World::new();
    let (served, failed) = (Paying::new(&world), Paying::new(&world));
    let lock = Connection::open(world.gate.journal()).unwrap();
    let (first, second) = thread::scope(|scope| {
        let first = served.start(scope, &world, "/paid/gate?1");
        let second = failed.start(scope, &world, "/paid/gate?2");
        lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
        world.origin.let_go();
        (first.join().unwrap(), second.join().unwrap())
    });
    for answer in [&first, &second] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.text().contains("served"));
    }
    assert_eq!(world.paid(), 0);
    lock.execute_batch("ROLLBACK").unwrap();
    until("both holds end", || world.books().unfinished() == 0);
    for payment in [&served, &failed] {
        let path = if std::ptr::eq(payment, &served) { "/paid/gate?1" } else { "/paid/gate?2" };
        let again = payment.get(&world, path);
        assert_eq!(again.status, 409, "{}", again.text());
        if world.on_tab() {
            // What cannot be noted as answered is not released, so it is not charged either.
            not_charged(&again);
        }
    }
    assert_eq!(world.origin.most_runs("/paid/gate"), 1);
    world.agree();
}

/// `direct` alone: on the tab the answer was released before the money moved, so there is nothing to owe.
#[test]
fn a_journal_that_fails_after_the_money_moved_owes_it_back() {
    let world = World::with(still(), &GateOptions::direct());
    let payment = Paying::new(&world);
    let lock = Connection::open(world.gate.journal()).unwrap();
    let answer = thread::scope(|scope| {
        let call = scope.spawn(|| payment.get(&world, "/paid/ok"));
        until("it is submitted", || world.books().holds("submitted") == 1);
        lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
        world.chain.set_automine(true).unwrap();
        call.join().unwrap()
    });
    assert_eq!((answer.status, answer.error().as_str()), (503, "journal_unavailable"), "{}", answer.text());
    assert_eq!(answer.money(), "moved");
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
    lock.execute_batch("ROLLBACK").unwrap();
    until("it is owed back", || world.books().balance("refund_due:") == money(1));
    owed_back(&payment.get(&world, "/paid/ok"));
    assert_eq!((world.paid(), world.origin.runs("/paid/ok")), (PRICE, 1));
    world.agree();
}

#[test]
fn a_chain_node_that_is_away_is_a_fault_and_never_a_402() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    let (link, origin) = (Link::to(chain.rpc_url()), Origin::start());
    let gate = Gate::start(link.url(), &origin.url(), &GateOptions::default());
    let world = World { gate, origin, chain, payer: Payer::new(PAYER) };
    let (payment, running) = (Paying::new(&world), Paying::new(&world));

    link.cut();
    let answer = payment.get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.error().as_str()), (503, "chain_unavailable"), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"));
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    assert_eq!(world.origin.runs("/paid/ok"), 0);
    link.mend();
    world.settled(&payment.get(&world, "/paid/ok"));

    // Away from the head to the end of the budget: what was signed is sent when the node is back. On the tab nobody waits for it.
    let answer = thread::scope(|scope| {
        let call = running.start(scope, &world, "/paid/gate");
        link.cut();
        world.origin.let_go();
        call.join().unwrap()
    });
    already_served(&world, &payment.get(&world, "/paid/ok"));
    if world.on_tab() {
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
        until("it is on the tab", || world.books().holds("answered") == 1);
        link.mend();
        world.settled(&answer);
    } else {
        pending(&answer);
        pending(&running.get(&world, "/paid/gate"));
        link.mend();
        until("it is posted", || world.books().holds("posted") == 2);
        assert_eq!(get(&world.url(&pickup(&answer)), &[]).text(), "served");
    }
    already_served(&world, &running.get(&world, "/paid/gate"));
    assert_eq!((world.paid(), world.origin.runs("/paid/gate")), (2 * PRICE, 1));
    world.agree();
}
