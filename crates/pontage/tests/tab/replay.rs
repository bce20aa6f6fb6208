//! The same payment shown again.

use std::sync::Barrier;
use std::thread;

use super::*;

const KEY: (&str, &str) = ("idempotency-key", "key of the first call");

#[test]
fn who_knows_the_secret_gets_his_answer_again_with_the_receipt_of_the_time() {
    let world = World::with(ChainOptions::default(), &by(2));
    let payment = Paying::new(&world);
    let post = |key: &str, body: &[u8]| {
        let headers = [("host", "localhost"), ("payment-signature", payment.header.as_str()), ("idempotency-key", key)];
        request("POST", &world.url("/paid/echo"), &headers, body)
    };
    let first = post(KEY.1, b"hello");
    assert_eq!((first.status, first.text().as_str()), (200, "hello"));
    let again = post(KEY.1, b"hello");
    assert_eq!((again.status, again.text().as_str()), (200, "hello"));
    assert_eq!(again.receipt(), first.receipt());
    assert_eq!((again.receipt()["extra"]["state"].as_str(), &again.headers["x-origin"]), (Some("held"), &"yes".into()));
    conflict(&post(KEY.1, b"other"), "authorization_conflict", "held");
    conflict(&post("key of another call", b"hello"), "already_served", "held");
    assert_eq!(post("key of another call", b"hello").receipt(), first.receipt());

    Paying::new(&world).served(&world);
    settled(&world);
    let later = post(KEY.1, b"hello");
    assert_eq!((later.status, later.text().as_str()), (200, "hello"));
    let chain_tx = payment.claim(&world).chain_tx.unwrap();
    assert_eq!((&later.receipt()["transaction"], &later.receipt()["success"]), (&chain_tx.into(), &true.into()));
    assert_eq!(later.receipt()["extra"], Value::Null);
    conflict(&post(KEY.1, b"other"), "authorization_conflict", "moved");
    conflict(&post("key of another call", b"hello"), "already_served", "moved");
    assert_eq!((world.origin.runs("/paid/echo"), world.paid()), (1, 2 * PRICE));
}

#[test]
fn without_the_secret_it_is_already_served() {
    let world = World::with(ChainOptions { mining: false, ..ChainOptions::default() }, &by(2));
    let payment = Paying::new(&world);
    let receipt = payment.served(&world).receipt();
    let again = payment.get(&world, "/paid/ok");
    conflict(&again, "already_served", "held");
    assert_eq!(again.receipt(), receipt);
    // Nothing was stored for him, so a secret that comes later opens nothing.
    conflict(&payment.get_with(&world, "/paid/ok", &[KEY]), "already_served", "held");
    // Another request for the same payment.
    conflict(&payment.get(&world, "/paid/ok?other"), "authorization_conflict", "held");
    // Other terms under the same nonce.
    let mut fields = payment.fields;
    fields.valid_before -= U256::ONE;
    let other = world.payer.sign(Version::V2, &payment.offer, &fields);
    let headers = [("host", "localhost"), ("payment-signature", other.as_str())];
    conflict(&get(&world.url("/paid/ok"), &headers), "authorization_conflict", "held");

    Paying::new(&world).served(&world);
    until("both are submitted", || world.books().holds("submitted") == 2);
    let again = payment.get(&world, "/paid/ok");
    conflict(&again, "already_served", "held");
    assert_eq!(again.receipt(), receipt);
    conflict(&payment.get(&world, "/paid/ok?other"), "authorization_conflict", "held");
    world.chain.set_automine(true).unwrap();
    settled(&world);
    let again = payment.get(&world, "/paid/ok");
    conflict(&again, "already_served", "moved");
    assert_eq!(again.receipt()["transaction"], payment.claim(&world).chain_tx.unwrap());
    conflict(&payment.get(&world, "/paid/ok?other"), "authorization_conflict", "moved");
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (2, 2 * PRICE));
}

#[test]
fn sixty_four_at_once_with_one_payment_run_once() {
    let world = World::with(ChainOptions::default(), &tab());
    for (path, key) in [("/paid/gate", None), ("/paid/ok?keyed", Some(KEY))] {
        let payment = Paying::new(&world);
        let start = Barrier::new(64);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let calls: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        payment.get_with(&world, path, key.as_slice())
                    })
                })
                .collect();
            until("the upstream runs", || world.origin.runs(path) > 0);
            world.origin.let_go();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        assert_eq!(world.origin.runs(path), 1);
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        // Without the secret one caller alone has the answer; with it everyone.
        assert_eq!(served, if key.is_some() { 64 } else { 1 });
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!((answer.status, answer.error().as_str()), (409, "already_served"), "{}", answer.text());
        }
    }
    settled(&world);
    assert_eq!((world.paid(), world.chain.transfers_to(PAYEE).unwrap().len()), (2 * PRICE, 2));
}

#[test]
fn what_was_lost_is_not_served_again() {
    let world = world(&by(2));
    let bad = Paying::of(&world, CHEATER);
    assert_eq!(bad.get_with(&world, "/paid/ok", &[KEY]).status, 200);
    world.chain.send_as(CHEATER.address, USDC, &bad.cancel()).unwrap();
    Paying::new(&world).served(&world);
    settled(&world);
    assert_eq!(bad.state(&world), state("lost", "gone"));
    for key in [None, Some(KEY)] {
        conflict(&bad.get_with(&world, "/paid/ok", key.as_slice()), "payment_failed", "untouched");
    }
    assert_eq!(world.origin.runs("/paid/ok"), 2);
}
