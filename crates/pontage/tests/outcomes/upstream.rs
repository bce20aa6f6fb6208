//! What the upstream and the caller do.

use super::*;

#[test]
fn an_upstream_that_refuses_costs_nothing() {
    let world = World::new();
    for status in ["404", "500"] {
        let payment = Paying::new(&world);
        let path = format!("/paid/{status}");
        for run in 1..=2 {
            let answer = payment.get(&world, &path);
            assert_eq!((answer.status, answer.text().as_str()), (status.parse().unwrap(), "not served"));
            assert!(!answer.headers.contains_key("payment-response"), "{:?}", answer.headers);
            assert_eq!(answer.headers["x-origin"], "yes");
            // The claim is let go, so the same payment may run again.
            assert_eq!(world.origin.runs(&path), run);
            assert_eq!(world.books().newest(), state("released", "free_status"));
        }
    }
    untouched(&world);
    let payment = Paying::new(&world);
    assert_eq!(payment.get(&world, "/paid/500?other").status, 500);
    let answer = payment.get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"));
    already_served(&world, &payment.get(&world, "/paid/ok"));
    assert_eq!((world.paid(), world.origin.runs("/paid/ok")), (PRICE, 1));
    world.agree();
}

#[test]
fn an_upstream_without_an_answer_is_not_paid_and_not_run_again() {
    let world = World::with(ChainOptions::default(), &GateOptions { timeout: "1s", ..GateOptions::default() });
    // So that a pooled connection is there.
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    for (path, status, error) in [
        ("/paid/reset", 502, "bad_gateway"),
        ("/paid/hang", 504, "upstream_timeout"),
        ("/paid/reset?2", 502, "bad_gateway"),
    ] {
        let payment = Paying::new(&world);
        let answer = payment.get(&world, path);
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{}", answer.text());
        assert_eq!(answer.money(), "untouched");
        assert_eq!(world.books().newest(), state("burnt", "unanswered"));
        not_charged(&payment.get(&world, path));
        assert_eq!(world.origin.most_runs(path), 1);
    }
    untouched(&world);
}

#[test]
fn an_upstream_that_is_not_there_is_not_paid() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gate = Gate::start(chain.rpc_url(), &format!("http://{gone}"), &GateOptions::default());
    let world = World { gate, origin: Origin::start(), chain, payer: Payer::new(PAYER) };
    let payment = Paying::new(&world);
    for _ in 0..2 {
        let answer = payment.get(&world, "/paid/ok");
        assert_eq!((answer.status, answer.error().as_str()), (502, "bad_gateway"), "{}", answer.text());
        assert_eq!(answer.money(), "untouched");
        assert_eq!(world.books().newest(), state("released", "not_sent"));
    }
    untouched(&world);
}

#[test]
fn an_answer_that_breaks_is_owed_back_or_not_charged() {
    let world = World::new();
    for (payment, key) in
        [(Paying::new(&world), None), (Paying::new(&world), Some(("idempotency-key", "a key of sixteen bytes")))]
    {
        let paid = world.paid();
        let owed = world.books().balance("refund_due:");
        let answer = payment.raw(&world, "/paid/half", key.as_slice()).read_all();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("payment-response: ") && answer.contains("content-length: 10"), "{answer}");
        // Cut off: the caller must see that something is missing.
        assert!(answer.ends_with("half"), "{answer}");
        let again = || payment.get_with_key(&world, "/paid/half", "k");
        if world.on_tab() {
            // Nothing has moved yet, so nothing is owed.
            until("the hold is burnt", || world.books().newest() == state("burnt", "broken"));
            not_charged(&again());
        } else {
            until("the charge is owed back", || world.books().balance("refund_due:") == owed + money(1));
            assert_eq!((world.paid(), world.books().newest().0), (paid + PRICE, "posted".to_owned()));
            owed_back(&again());
        }
    }
    assert_eq!((world.books().balance("revenue:"), world.origin.runs("/paid/half")), (0, 2));
    world.agree();
}

#[test]
fn a_caller_who_leaves_before_the_head_is_not_charged() {
    let world = World::new();
    let payment = Paying::new(&world);
    let caller = payment.raw(&world, "/paid/gate", &[]);
    until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
    caller.hang_up();
    until("the hold is burnt", || world.books().newest() == state("burnt", "unanswered"));
    world.origin.let_go();
    not_charged(&payment.get(&world, "/paid/gate"));
    assert_eq!(world.origin.runs("/paid/gate"), 1);
    untouched(&world);
}

#[test]
fn a_caller_who_leaves_before_anything_was_sent_has_lost_nothing() {
    let world = World::new();
    let payment = Paying::new(&world);
    let lock = Connection::open(world.gate.journal()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    payment.raw(&world, "/paid/ok", &[]).hang_up();
    lock.execute_batch("ROLLBACK").unwrap();
    until("the hold is let go", || world.books().unfinished() == 0);
    // He may have left before or after the claim; or the call was sent before his leaving was seen.
    let answer = payment.get(&world, "/paid/ok");
    world.rest();
    match world.origin.runs("/paid/ok") {
        1 if answer.status == 200 => assert_eq!(world.paid(), PRICE),
        1 if answer.error() == "already_served" => assert_eq!(world.paid(), PRICE),
        1 => not_charged(&answer),
        // The claim of the one who left was let go while the second waited for its end: he is told to send it again.
        0 if answer.error() == "released" => assert_eq!(world.paid(), 0),
        runs => panic!("{runs} runs: {} {}", answer.status, answer.text()),
    }
    world.agree();
}

#[test]
fn a_caller_who_leaves_before_the_settlement_ends_is_charged_and_can_have_his_answer() {
    let world = World::with(still(), &GateOptions::default());
    let (keyed, plain) = (Paying::new(&world), Paying::new(&world));
    let text = format!(
        "POST /paid/echo HTTP/1.1\r\nhost: localhost\r\npayment-signature: {}\r\nidempotency-key: key of the first call\r\ncontent-length: 5\r\n\r\nhello",
        keyed.header
    );
    let with_key = Raw::send(world.gate.url(), text.as_bytes());
    let without = plain.raw(&world, "/paid/ok", &[]);
    until("both are submitted", || world.books().holds("submitted") == 2);
    with_key.hang_up();
    without.hang_up();
    world.chain.set_automine(true).unwrap();
    until("both are posted", || world.books().holds("posted") == 2);

    let again = |key: &str, body: &[u8]| {
        let headers = [("host", "localhost"), ("payment-signature", keyed.header.as_str()), ("idempotency-key", key)];
        request("POST", &world.url("/paid/echo"), &headers, body)
    };
    until("the answer is stored", || again("key of the first call", b"hello").status == 200);
    let answer = again("key of the first call", b"hello");
    assert_eq!((answer.text().as_str(), &answer.receipt()["success"]), ("hello", &true.into()));
    assert_eq!(answer.headers["x-origin"], "yes");
    already_served(&world, &again("key of another call", b"hello"));
    let other = again("key of the first call", b"other");
    assert_eq!((other.status, other.error().as_str()), (409, "authorization_conflict"), "{}", other.text());
    already_served(&world, &plain.get(&world, "/paid/ok"));
    already_served(&world, &plain.get_with_key(&world, "/paid/ok", "key of the first call"));
    assert_eq!((world.origin.runs("/paid/echo"), world.origin.runs("/paid/ok")), (1, 1));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, money(2)));
    world.agree();
}

#[test]
fn a_caller_who_leaves_half_way_is_charged_and_can_have_his_answer() {
    let world = World::new();
    let (keyed, plain) = (Paying::new(&world), Paying::new(&world));
    let mut with_key = keyed.raw(&world, "/paid/slow", &[("idempotency-key", "key of the first call")]);
    let mut without = plain.raw(&world, "/paid/slow?2", &[]);
    for caller in [&mut with_key, &mut without] {
        assert!(caller.read_until("first").ends_with("first"));
    }
    with_key.hang_up();
    without.hang_up();
    world.origin.let_go();
    until("the answer is stored", || keyed.get_with_key(&world, "/paid/slow", "key of the first call").status == 200);
    let answer = keyed.get_with_key(&world, "/paid/slow", "key of the first call");
    assert_eq!((answer.text().as_str(), &answer.receipt()["success"]), ("firstlater", &true.into()));
    already_served(&world, &keyed.get(&world, "/paid/slow"));
    already_served(&world, &plain.get(&world, "/paid/slow?2"));
    assert_eq!(world.origin.most_runs("/paid/slow"), 1);
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, money(2)));
    world.agree();
}

#[test]
fn an_endless_answer_is_not_kept_for_a_caller_who_left() {
    let world = World::new();
    for (payment, key) in
        [(Paying::new(&world), None), (Paying::new(&world), Some(("idempotency-key", "a key of sixteen bytes")))]
    {
        let before = world.origin.runs("broken off");
        let mut caller = payment.raw(&world, "/paid/endless", key.as_slice());
        assert!(caller.read_until("xxx").starts_with("HTTP/1.1 200"));
        caller.hang_up();
        // Whatever more comes is worth nothing to anybody: it is more than an answer that is kept may have.
        until("the upstream is broken off", || world.origin.runs("broken off") > before);
        already_served(&world, &payment.get_with_key(&world, "/paid/endless", "k"));
    }
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, money(2)));
    world.agree();
}
