//! What callers are told, and what the upstream's and the caller's ways to end mean for the money.

use std::thread;

use rusqlite::Connection;

use super::*;

#[test]
fn the_receipt_comes_in_both_forms_to_both_kinds_of_client() {
    let world = World::with(ChainOptions::default(), &by(2));
    for (version, header) in [(Version::V1, "x-payment"), (Version::V2, "payment-signature")] {
        let offer = Payer::offer(&world.url("/paid/ok"));
        let fields = world.payer.fields(&offer);
        let signed = world.payer.sign(version, &offer, &fields);
        let answer = get(&world.url("/paid/ok"), &[(header, &signed)]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
        let read = |name: &str| protocol::x402::decode_header(answer.headers[name].as_bytes()).unwrap();
        let name = read("payment-response")["extra"]["payment"].as_str().unwrap().to_owned();
        assert_eq!(name.len(), 32);
        for (header, network) in [("payment-response", "eip155:84532"), ("x-payment-response", "base-sepolia")] {
            let want = json!({
                "success": true, "transaction": "", "network": network, "payer": world.payer.address(),
                "amount": PRICE.to_string(),
                "extra": { "state": "held", "payment": name, "status_url": format!("/__pay/payments/{name}") },
            });
            let mut receipt = read(header);
            let payer = receipt["payer"].as_str().unwrap().to_ascii_lowercase();
            assert_eq!(payer, world.payer.address().to_ascii_lowercase());
            receipt["payer"] = want["payer"].clone();
            assert_eq!(receipt, want, "{header}");
        }
        assert_eq!(answer.headers["cache-control"], "private");
        // The forged words of the upstream have not passed.
        assert!(!answer.headers.contains_key("x-pay-verified"));
        assert_eq!(world.books().claims().last().unwrap().id, name);
    }
    settled(&world);
    assert_eq!(world.paid(), 2 * PRICE);
}

#[test]
fn the_status_says_where_a_payment_stands() {
    let world = world(&terms("tab: { settle_age_s: 600, batch_max: 2 }"));
    let [first, second] = [Paying::new(&world), Paying::of(&world, CHEATER)];
    // Running: the upstream has not answered yet.
    let mut caller = first.raw(&world, "/paid/gate", &[]);
    until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
    let status = first.status(&world);
    assert_eq!(told(&status), words("running", "held"));
    let want = json!({
        "payment": first.claim(&world).id, "state": "running", "money": "held", "settlement": "tab",
        "network": "eip155:84532", "asset": status["asset"], "amount": "10000", "payer": status["payer"],
        "payTo": status["payTo"], "nonce": first.fields.nonce.to_string(), "transaction": null, "block": null,
        "confirmations": null, "final": false,
    });
    assert_eq!(status, want);
    let same = |name: &str, other: &str| assert!(status[name].as_str().unwrap().eq_ignore_ascii_case(other), "{name}");
    same("asset", USDC);
    same("payer", PAYER.address);
    same("payTo", PAYEE);
    world.origin.let_go();
    assert!(caller.read_all().ends_with("served"));
    until("it is held", || told(&first.status(&world)) == words("held", "held"));

    // Submitted: no block comes.
    world.chain.set_automine(false).unwrap();
    let held = second.served(&world);
    assert_eq!(held.receipt()["extra"]["payment"], second.claim(&world).id);
    until("both are submitted", || world.books().holds("submitted") == 2);
    let status = first.status(&world);
    assert_eq!(told(&status), words("submitted", "held"));
    let chain_tx = status["transaction"].clone();
    assert_eq!(second.status(&world)["transaction"], chain_tx);
    world.chain.set_automine(true).unwrap();
    until("they are settled", || world.books().holds("posted") == 2);
    let transfer = &world.chain.transfers_to(PAYEE).unwrap()[0];
    for payment in [&first, &second] {
        let status = payment.status(&world);
        assert_eq!(told(&status), words("settled", "moved"));
        assert_eq!(
            (&status["transaction"], &status["block"]),
            (&transfer.chain_tx.as_str().into(), &transfer.block.into())
        );
    }

    // Released, not charged, failed, and owed back on `direct`.
    let [free, broken, failed] = [(); 3].map(|()| Paying::of(&world, CHEATER));
    let owed = Paying::direct(&world, CHEATER);
    assert_eq!(free.get(&world, "/paid/500").status, 500);
    assert_eq!(told(&free.status(&world)), words("released", "untouched"));
    broken.raw(&world, "/paid/half", &[]).read_all();
    until("it is burnt", || told(&broken.status(&world)) == words("not_charged", "untouched"));
    owed.raw(&world, "/direct/half", &[]).read_all();
    until("it is owed back", || told(&owed.status(&world)) == words("owed_back", "moved"));
    assert_eq!(owed.status(&world)["settlement"], "direct");
    failed.served(&world);
    world.chain.send_as(CHEATER.address, USDC, &failed.cancel()).unwrap();
    Paying::new(&world).served(&world);
    until("it has failed", || told(&failed.status(&world)) == words("failed", "untouched"));
    settled(&world);
}

#[test]
fn what_is_asked_for_wrongly_is_told_nothing() {
    let world = World::with(ChainOptions::default(), &tab());
    let payment = Paying::new(&world);
    let name = payment.served(&world).receipt()["extra"]["payment"].as_str().unwrap().to_owned();
    let path = |name: &str| world.url(&format!("/__pay/payments/{name}"));
    assert_eq!(get(&path(&name), &[]).status, 200);
    // Hexadecimal has no case; a path of ours has one spelling, and no other is forwarded.
    assert_eq!(get(&path(&name.to_ascii_uppercase()), &[]).status, 200);
    for url in [
        path("00000000000000000000000000000000"),
        path(""),
        path(&name[..30]),
        path(&format!("{name}00")),
        path(&format!("{}zz", &name[..30])),
        path(&format!("{name}/")),
        world.url("/__pay"),
        world.url("/__pay/"),
        world.url("/__pay/payments"),
        world.url(&format!("/__PAY/payments/{name}")),
        world.url(&format!("/__pay/PAYMENTS/{name}")),
        world.url(&format!("/__pay/answers/{name}")),
        world.url(&format!("/__pay/Answers/{name}")),
    ] {
        let answer = get(&url, &[]);
        assert_eq!((answer.status, answer.error().as_str()), (404, "not_found"), "{url}: {}", answer.text());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = request(method, &path(&name), &[], b"");
        assert_eq!((answer.status, answer.error().as_str()), (405, "method_not_allowed"), "{method}");
    }
    let head = request("HEAD", &path(&name), &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(get(&path(&name), &[]).headers["cache-control"], "no-store");
    assert_eq!(world.origin.runs("__"), 0);
    settled(&world);
}

#[test]
fn an_upstream_that_refuses_costs_nothing() {
    let world = World::with(ChainOptions::default(), &tab());
    let payment = Paying::new(&world);
    for (path, run) in [("/paid/404", 1), ("/paid/404", 2), ("/paid/503", 1), ("/paid/503", 2)] {
        let answer = payment.get(&world, path);
        assert_eq!((format!("/paid/{}", answer.status).as_str(), answer.text().as_str()), (path, "not served"));
        assert!(!answer.headers.contains_key("payment-response"));
        assert_eq!(payment.state(&world), state("released", "free_status"));
        assert_eq!((world.origin.runs(path), world.books().exposed()), (run, 0));
    }
    // The same authorization is good for a call that is answered.
    payment.served(&world);
    settled(&world);
    assert_eq!(world.paid(), PRICE);
}

#[test]
fn an_answer_that_the_upstream_breaks_off_is_not_charged_and_not_run_again() {
    let world = World::with(ChainOptions::default(), &tab());
    for key in [None, Some(("idempotency-key", "a key of sixteen bytes"))] {
        let payment = Paying::new(&world);
        let path = if key.is_some() { "/paid/half?key" } else { "/paid/half" };
        let answer = payment.raw(&world, path, key.as_slice()).read_all();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("payment-response: "), "{answer}");
        // Cut off: the caller must see that something is missing.
        assert!(answer.contains("content-length: 10") && answer.ends_with("half"), "{answer}");
        until("it is burnt", || payment.state(&world) == state("burnt", "broken"));
        assert_eq!(told(&payment.status(&world)), words("not_charged", "untouched"));
        conflict(&payment.get_with(&world, path, key.as_slice()), "not_charged", "untouched");
        assert_eq!(world.origin.most_runs(path), 1);
    }
    for path in ["/paid/reset", "/paid/reset?2"] {
        let payment = Paying::new(&world);
        let answer = payment.get(&world, path);
        assert_eq!((answer.status, answer.error().as_str()), (502, "bad_gateway"), "{}", answer.text());
        assert_eq!(payment.state(&world), state("burnt", "unanswered"));
        conflict(&payment.get(&world, path), "not_charged", "untouched");
        assert_eq!(world.origin.most_runs(path), 1);
    }
    settled(&world);
    assert_eq!((world.paid(), world.books().balance("revenue:"), world.books().balance("refund_due:")), (0, 0, 0));
}

#[test]
fn a_caller_who_leaves_half_way_is_charged_and_can_have_his_answer() {
    let world = World::with(ChainOptions::default(), &tab());
    let key = ("idempotency-key", "key of the first call");
    let (keyed, plain, early) = (Paying::new(&world), Paying::new(&world), Paying::new(&world));
    let mut with_key = keyed.raw(&world, "/paid/slow", &[key]);
    let mut without = plain.raw(&world, "/paid/slow?2", &[]);
    for caller in [&mut with_key, &mut without] {
        assert!(caller.read_until("first").ends_with("first"));
    }
    // This one leaves before the head, so nobody can say that he was served.
    let before = early.raw(&world, "/paid/gate", &[]);
    until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
    for caller in [with_key, without, before] {
        caller.hang_up();
    }
    until("the early one is burnt", || early.state(&world) == state("burnt", "unanswered"));
    world.origin.let_go();
    until("the answer is stored", || keyed.get_with(&world, "/paid/slow", &[key]).status == 200);
    let answer = keyed.get_with(&world, "/paid/slow", &[key]);
    assert_eq!((answer.text().as_str(), &answer.receipt()["success"]), ("firstlater", &true.into()));
    settled(&world);
    conflict(&keyed.get(&world, "/paid/slow"), "already_served", "moved");
    conflict(&plain.get(&world, "/paid/slow?2"), "already_served", "moved");
    conflict(&early.get(&world, "/paid/gate"), "not_charged", "untouched");
    assert_eq!((world.origin.most_runs("/paid/slow"), world.origin.runs("/paid/gate")), (1, 1));
    assert_eq!((world.paid(), world.books().balance("revenue:")), (2 * PRICE, money(2)));
}

#[test]
fn an_answer_that_goes_on_is_not_settled_before_its_end() {
    let world = World::with(ChainOptions::default(), &tab());
    let slow = Paying::new(&world);
    let mut caller = slow.raw(&world, "/paid/slow", &[]);
    assert!(caller.read_until("first").ends_with("first"));
    // A later one is settled by its age, so the slow one is older than that.
    let later = Paying::new(&world);
    later.served(&world);
    until("the later one is settled", || later.state(&world) == posted());
    assert_eq!(told(&slow.status(&world)), words("held", "held"));
    assert_eq!((slow.claim(&world).answer.as_str(), world.books().exposed()), ("live", 10_000));
    world.origin.let_go();
    assert!(caller.read_all().ends_with("later"));
    settled(&world);
    assert_eq!((world.paid(), slow.state(&world)), (2 * PRICE, posted()));
}

/// An answer without a body ends with its head.
#[test]
fn an_answer_without_a_body_is_charged() {
    let world = World::with(ChainOptions::default(), &by(2));
    for path in ["/paid/ok", "/paid/big"] {
        let payment = Paying::new(&world);
        let answer = request("HEAD", &world.url(path), &[("payment-signature", &payment.header)], b"");
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.receipt()["extra"]["state"], "held");
    }
    settled(&world);
    assert_eq!((world.paid(), chain_txs(&world).len()), (2 * PRICE, 1));
}

/// What is not durably answered is not given out.
#[test]
fn nothing_is_released_that_the_journal_does_not_have() {
    let world = World::with(ChainOptions::default(), &tab());
    let payment = Paying::new(&world);
    let answer = thread::scope(|scope| {
        let call = scope.spawn(|| payment.get(&world, "/paid/gate"));
        until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
        let lock = Connection::open(world.gate.journal()).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        world.origin.let_go();
        let answer = call.join().unwrap();
        lock.execute_batch("ROLLBACK").unwrap();
        answer
    });
    assert_eq!((answer.status, answer.error().as_str()), (503, "journal_unavailable"), "{}", answer.text());
    assert!(!answer.text().contains("served") && answer.headers.contains_key("retry-after"));
    assert!(!answer.headers.contains_key("payment-response"), "{:?}", answer.headers);
    until("it is burnt", || world.books().unfinished() == 0);
    assert_eq!(payment.state(&world), state("burnt", "broken"));
    conflict(&payment.get(&world, "/paid/gate"), "not_charged", "untouched");
    settled(&world);
    assert_eq!((world.paid(), world.origin.runs("/paid/gate")), (0, 1));
}
