//! Answers that are not at hand when their head goes out, and those that never come to an end.

use rusqlite::Connection;

use super::*;
use crate::kit::{Raw, get, try_request, until};

/// The names of the payments whose receipts are written.
fn payments(world: &World) -> Vec<String> {
    let journal = Connection::open(world.gate.journal()).expect("the journal opens");
    let mut rows = journal.prepare("SELECT lower(hex(hold)) FROM receipts ORDER BY at_ms").expect("a statement");
    let names = rows.query_map([], |row| row.get(0)).expect("rows");
    names.map(|name| name.expect("a name")).collect()
}

fn fetch(world: &World, path: &str) -> Value {
    let answer = get(&world.url(path), &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["receipt"].clone()
}

fn many() -> String {
    ON.replace(" }\n", ", lookups_per_min: 1000 }\n")
}

#[test]
fn an_answer_that_streams_is_digested_as_it_passes() {
    for path in ["/paid/slow", "/tab/slow", "/first/slow"] {
        let world = world(&many());
        let answer = std::thread::scope(|scope| {
            let buyer = scope.spawn(|| buy(&world, path, &[], b""));
            until("the answer has begun", || payments(&world).len() == 1);
            let so_far = fetch(&world, &format!("/__pay/receipts/{}", payments(&world)[0]));
            assert_eq!(so_far["service"]["complete"], false, "{path}");
            assert!(so_far["service"]["response_hash"].is_null());
            assert_eq!(so_far["service"]["request_hash"], sha256(b""));
            world.origin.let_go();
            buyer.join().expect("an answer")
        });
        assert_eq!(answer.text(), "firstlater");
        assert_eq!(
            header(&answer),
            format!("/__pay/receipts/{}", payments(&world)[0]),
            "where it is, for it is not there yet"
        );
        until("the end is written", || fetch(&world, header(&answer))["service"]["complete"] == true);
        assert_eq!(fetch(&world, header(&answer))["service"]["response_hash"], sha256(b"firstlater"));
    }
}

#[test]
fn a_large_answer_and_a_large_request_have_their_digests() {
    let world = world(&many());
    let big = vec![b'x'; 8 * 1024 * 1024];
    for (path, body) in [("/paid/big", &b""[..]), ("/tab/big", b""), ("/paid/echo", &big[..]), ("/tab/echo", &big[..])]
    {
        let answer = buy(&world, path, &[], body);
        assert!(answer.body == big, "{path}: {}", answer.body.len());
        until("the end is written", || fetch(&world, header(&answer))["service"]["complete"] == true);
        let service = fetch(&world, header(&answer))["service"].clone();
        assert_eq!(
            (&service["response_hash"], &service["request_hash"]),
            (&sha256(&big).into(), &sha256(body).into()),
            "{path}"
        );
    }
}

/// Who got half of an answer has a receipt that says so, and what became of his money.
#[test]
fn an_answer_that_breaks_off_has_no_digest() {
    for (path, state) in [("/paid/half", "owed_back"), ("/tab/half", "not_charged"), ("/first/half", "owed_back")] {
        let world = world(&many());
        let (payment, _) = world.payer.payment(&Payer::offer(&world.url(path)));
        assert!(
            try_request("GET", &world.url(path), &[("payment-signature", &payment)], b"").is_err(),
            "it breaks off"
        );
        until("it is written", || payments(&world).len() == 1);
        let path = format!("/__pay/receipts/{}", payments(&world)[0]);
        until("the money is where it belongs", || fetch(&world, &path)["settlement"]["state"] == state);
        let service = &fetch(&world, &path)["service"];
        assert!(service["complete"] == false && service["response_hash"].is_null(), "{service}");
    }
}

/// All of the answer was at hand, and nobody took it: what is fetched says so, whatever a header that nobody read would have said.
#[test]
fn an_answer_whose_caller_has_left_was_not_given_out_to_its_end() {
    let options = GateOptions { routes: ROUTES, more: many(), timeout: "20s", ..GateOptions::direct() };
    let world = World::with(ChainOptions::default(), &options);
    let (payment, _) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    world.chain.set_automine(false).expect("the chain stops mining");
    let caller = Raw::get(world.gate.url(), "/paid/ok", &[("payment-signature", &payment)]);
    until("the upstream has answered", || world.origin.runs("/paid/ok") == 1);
    drop(caller);
    std::thread::sleep(std::time::Duration::from_millis(500));
    world.chain.set_automine(true).expect("the chain goes on");
    world.chain.mine().expect("a block");
    until("it is written", || payments(&world).len() == 1);
    let said = fetch(&world, &format!("/__pay/receipts/{}", payments(&world)[0]));
    assert_eq!(said["settlement"]["state"], "settled");
    assert!(said["service"]["complete"] == false && said["service"]["response_hash"].is_null(), "{said}");
}

/// Who asks again with the same key gets the stored answer, and the same receipt as it is now.
#[test]
fn a_stored_answer_comes_with_its_receipt() {
    let world = world(&many());
    for path in ["/paid/echo", "/tab/echo"] {
        let url = world.url(path);
        let (payment, _) = world.payer.payment(&Payer::offer(&url));
        let headers = [("payment-signature", payment.as_str()), ("idempotency-key", "a-key-of-some-length")];
        let headers =
            if path == "/tab/echo" { [headers[0], ("idempotency-key", "another-key-of-some-length")] } else { headers };
        let first = request("POST", &url, &headers, b"a question");
        let again = request("POST", &url, &headers, b"a question");
        assert_eq!((again.status, again.text().as_str()), (200, "a question"), "{path}");
        let (first, again) = (receipt(&first), receipt(&again));
        for part in ["id", "payment", "service", "timestamp"] {
            assert_eq!(first["receipt"][part], again["receipt"][part], "{path} {part}");
        }
        assert_eq!(first["receipt"]["service"]["response_hash"], sha256(b"a question"));
    }
}

/// An answer that could not be released is kept; its receipt waits for it.
#[test]
fn an_answer_that_is_picked_up_comes_with_its_receipt() {
    let options = GateOptions { routes: ROUTES, more: many(), timeout: "20s", ..GateOptions::direct() };
    let world = World::with(ChainOptions::default(), &options);
    world.chain.set_automine(false).expect("the chain stops mining");
    let pending = buy(&world, "/paid/echo", &[], b"a question");
    assert_eq!((pending.status, header(&pending)), (503, ""), "{}", pending.text());
    world.chain.set_automine(true).expect("the chain goes on");
    world.chain.mine().expect("a block");
    let url = world.url(pending.json()["pickup_url"].as_str().expect("where it is kept"));
    until("it is there", || get(&url, &[]).status == 200);
    let answer = get(&url, &[]);
    assert_eq!(answer.text(), "a question");
    let said = receipt(&answer)["receipt"].clone();
    assert_eq!(
        (&said["settlement"]["state"], &said["service"]["response_hash"]),
        (&"settled".into(), &sha256(b"a question").into())
    );
}

/// A crash takes the end of an answer with it, not what was written at its head.
#[test]
fn an_answer_that_died_with_the_process_has_a_receipt_without_its_digest() {
    for path in ["/paid/slow", "/tab/slow"] {
        let mut world = world(&format!("{}tab: {{ settle_age_s: 1 }}\n", many()));
        let (url, payment) = (world.url(path), world.payer.payment(&Payer::offer(&world.url(path))).0);
        let buyer =
            std::thread::spawn(move || try_request("GET", &url, &[("payment-signature", &payment)], b"").is_err());
        until("the answer has begun", || payments(&world).len() == 1);
        world.gate.kill_and_restart();
        assert!(buyer.join().expect("a buyer"), "the answer broke off");
        let path = format!("/__pay/receipts/{}", payments(&world)[0]);
        until("it is settled", || fetch(&world, &path)["settlement"]["state"] == "settled");
        let service = &fetch(&world, &path)["service"];
        assert!(service["complete"] == false && service["response_hash"].is_null(), "{service}");
    }
}

/// Many at once: each has its own, and all are written.
#[test]
fn of_many_calls_at_once_each_has_its_own_receipt() {
    let more = format!("{}{}\n", many(), GateOptions::uncapped().more);
    let options = GateOptions { routes: ROUTES, more, ..GateOptions::direct() };
    let world = World::with(ChainOptions::default(), &options);
    let offer = Payer::offer(&world.url("/tab/echo"));
    let answers: Vec<(usize, Answer)> = std::thread::scope(|scope| {
        let (world, offer) = (&world, &offer);
        let buy = |nth: usize| {
            let (payment, _) = world.payer.payment(offer);
            let body = format!("question {nth}");
            request("POST", &world.url("/tab/echo"), &[("payment-signature", &payment)], body.as_bytes())
        };
        let calls: Vec<_> = (0..48).map(|nth| scope.spawn(move || (nth, buy(nth)))).collect();
        calls.into_iter().map(|call| call.join().expect("a caller")).collect()
    });
    until("all are written", || payments(&world).len() == 48);
    for (nth, answer) in &answers {
        let digest = sha256(format!("question {nth}").as_bytes());
        let said = receipt(answer)["receipt"].clone();
        assert_eq!(
            (&said["service"]["request_hash"], &said["service"]["response_hash"]),
            (&digest.clone().into(), &digest.into())
        );
        assert_eq!(said["payment"]["id"], answer.receipt()["extra"]["payment"]);
        let name = said["id"].as_str().unwrap();
        assert_eq!(fetch(&world, &format!("/receipts/{name}"))["payment"], said["payment"]);
    }
}
