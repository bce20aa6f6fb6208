//! What a route takes for payment, and what it takes at all.

use super::*;
use crate::kit::PRICE;

const OTHER_PAYEE: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";

#[test]
fn an_entry_of_accepts_has_its_own_price_and_payee() {
    let routes = "  - path: /two/*
    price: \"0.01\"
    settlement: direct
    accepts:
      - { network: \"eip155:84532\", price: \"0.02\", pay_to: \"0x90F79bf6EB2c4f870365E785982E1f101E93b906\" }
  - { path: /paid/*, price: \"0.01\", settlement: direct }
";
    let world = world(routes, "");
    let offer = Payer::offer(&world.url("/two/ok"));
    assert_eq!((offer.amount_atomic, offer.payee.to_string().as_str()), (2 * PRICE, OTHER_PAYEE));
    // The route's price and the gate's payee are not enough.
    for spoil in [
        |offer: &mut Offer| offer.amount_atomic = PRICE,
        |offer: &mut Offer| {
            offer.payee = crate::kit::PAYEE.parse().expect("an address");
        },
    ] {
        let mut other = offer.clone();
        spoil(&mut other);
        let (header, _) = world.payer.payment(&other);
        let answer = get(&world.url("/two/ok"), &[("payment-signature", &header)]);
        assert_eq!((answer.status, answer.money().as_str()), (402, "untouched"), "{}", answer.text());
    }
    assert_eq!(world.origin.runs("/two"), 0);
    assert_eq!(world.payer.buy(&world.url("/two/ok")).status, 200);
    assert_eq!((world.paid(), world.chain.balance(OTHER_PAYEE).unwrap()), (0, 2 * PRICE));
    // A payment for the one route is none for the other.
    let (header, _) = world.payer.payment(&offer);
    assert_eq!(get(&world.url("/paid/ok"), &[("payment-signature", &header)]).status, 402);
    assert_eq!(world.books().unbalanced(), 0);
}

#[test]
fn too_many_at_once_are_told_to_come_back_and_pay_nothing() {
    let routes = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n";
    let options = GateOptions {
        routes,
        timeout: "30s",
        more: "in_flight: { max: 1, queue_max: 1, queue_wait_ms: 30000 }".to_owned(),
        ..GateOptions::direct()
    };
    let world = World::with(ChainOptions::default(), &options);
    let offer = Payer::offer(&world.url("/paid/ok"));
    let headers: Vec<_> = (0..9).map(|_| world.payer.payment(&offer).0).collect();
    thread::scope(|scope| {
        let first = scope.spawn(|| get(&world.url("/free/gate"), &[]));
        until("it is under way", || world.origin.runs("/free/gate") == 1);
        let calls: Vec<_> = headers
            .iter()
            .map(|header| scope.spawn(|| get(&world.url("/paid/ok"), &[("payment-signature", header)])))
            .collect();
        // All but the one that may wait are turned away while the first goes on.
        until("eight are turned away", || calls.iter().filter(|call| call.is_finished()).count() == 8);
        assert_eq!((world.books().claims().len(), world.origin.runs("/paid")), (0, 0), "nothing is claimed in a queue");
        // What costs nothing to say is said all the same.
        assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
        world.origin.let_go();
        assert_eq!(first.join().expect("a caller").status, 200);
        let answers: Vec<_> = calls.into_iter().map(|call| call.join().expect("a caller")).collect();
        assert_eq!((count(&answers, 200, ""), count(&answers, 503, "overloaded")), (1, 8));
        for busy in answers.iter().filter(|answer| answer.status == 503) {
            assert_eq!(busy.money(), "untouched");
            assert!(busy.headers["retry-after"].parse::<u32>().is_ok_and(|seconds| seconds >= 1));
        }
    });
    // The same payments are good later.
    let served: Vec<_> =
        headers.iter().map(|header| get(&world.url("/paid/ok"), &[("payment-signature", header)]).status).collect();
    assert_eq!(served.iter().filter(|status| **status == 200).count(), 8, "{served:?}");
    assert_eq!(served.iter().filter(|status| **status == 409).count(), 1, "{served:?}");
    world.agree();
    assert_eq!(world.paid(), 9 * PRICE);
}

#[test]
fn a_body_that_cannot_be_judged_is_refused_before_it_is_paid_for() {
    let routes = "  - path: /paid/*
    price: \"0.01\"
    settlement: direct
    method: POST
    info: { input: { type: http, method: POST, bodyType: json, body: { text: hello } } }
";
    let world = world(routes, "");
    let asked = request("POST", &world.url("/paid/echo"), &[], b"");
    assert_eq!(asked.status, 402);
    let challenge =
        protocol::x402::Challenge::parse_v2(asked.headers["payment-required"].as_bytes()).expect("a challenge");
    let offer = challenge.offers[0].clone();
    let body = |bytes: usize| format!("{{\"text\": \"{}\"}}", "x".repeat(bytes - 12)).into_bytes();
    let buy = |body: &[u8]| {
        let (header, _) = world.payer.payment(&offer);
        let headers = [("payment-signature", header.as_str()), ("content-type", "application/json")];
        request("POST", &world.url("/paid/echo"), &headers, body)
    };
    let max = 1024 * 1024;
    assert_eq!(said(&buy(&body(max + 1))), problem(413, "body_too_large", "untouched"));
    for bad in [b"".as_slice(), b"{", b"[]", b"{\"other\": 1}"] {
        let answer = buy(bad);
        assert_eq!((answer.status, answer.money().as_str()), (400, "untouched"), "{}", answer.text());
    }
    assert_eq!((world.books().claims().len(), world.origin.runs("/paid")), (0, 0));
    let whole = body(max);
    let answer = buy(&whole);
    assert!(answer.status == 200 && answer.body == whole, "{}", answer.status);
    world.agree();
}

#[test]
fn a_head_is_paid_for_like_its_get() {
    let routes = "  - { path: /paid/*, method: GET, price: \"0.01\", settlement: direct }\n";
    let world = world(routes, "");
    let asked = request("HEAD", &world.url("/paid/ok"), &[], b"");
    assert_eq!((asked.status, asked.body.len()), (402, 0));
    let offer = Payer::offer(&world.url("/paid/ok"));
    let (header, _) = world.payer.payment(&offer);
    let paid = [("payment-signature", header.as_str())];
    let answer = request("HEAD", &world.url("/paid/ok"), &paid, b"");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    world.settled(&answer);
    assert!(world.origin.last().line.starts_with("HEAD "));
    // It is another request than the GET.
    assert_eq!(said(&get(&world.url("/paid/ok"), &paid)), problem(409, "authorization_conflict", "moved"));
    assert_eq!(world.origin.runs("/paid"), 1);
    world.agree();
}
