//! Prices that somebody else says: G-023, G-070, G-X06, G-X07.

use serde_json::Value;

use crate::config::changed;
use crate::kit::{Payer, World, get, request};
use crate::stub::Stub;
use crate::{challenge, world};

/// A route whose price an endpoint says, and that route's further keys.
fn priced(stub: &Stub, keys: &str, more: &str) -> World {
    let route = format!("  - {{ path: /paid/*, settlement: direct, price_endpoint: {keys}{more} }}\n");
    world(route.replace("URL", stub.url()).leak(), "")
}

fn amount(world: &World, path: &str) -> Value {
    challenge(&get(&world.url(path), &[]))["accepts"][0]["amount"].clone()
}

#[test]
fn g_023_a_quoted_price_is_honoured_until_it_lapses() {
    let stub = Stub::start(200, "{\"price\": \"0.05\"}");
    let world = priced(&stub, "{ url: \"URL/price\", quote_s: 2 }", "");
    let url = world.url("/paid/ok?n=1");
    let offer = Payer::offer(&url);
    assert_eq!(offer.amount_atomic, 50_000);
    // The price moves, and whoever was told the old one pays that; nobody is asked again for his call.
    stub.say(200, "{\"price\": \"0.07\"}");
    let asked = stub.asked().len();
    let (header, _) = world.payer.payment(&offer);
    assert_eq!(get(&url, &[("payment-signature", &header)]).status, 200);
    assert_eq!((stub.asked().len(), world.paid()), (asked, 50_000));
    // Once it has lapsed, it is a price like any other that nobody offers.
    let (late, _) = world.payer.payment(&offer);
    std::thread::park_timeout(std::time::Duration::from_millis(2_100));
    let answer = get(&url, &[("payment-signature", &late)]);
    assert_eq!((answer.status, challenge(&answer)["accepts"][0]["amount"].clone()), (402, "70000".into()));
    assert_eq!(world.payer.buy(&url).status, 200);
    assert_eq!(world.paid(), 120_000);
}

#[test]
fn g_070_the_endpoint_is_asked_and_its_price_is_the_price() {
    let stub = Stub::start(200, "{\"price\": \"0.05\"}");
    let world = priced(&stub, "\"URL/price\"", "");
    assert_eq!(amount(&world, "/paid/ok?size=2"), "50000");
    let asked = stub.asked().pop().unwrap();
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert!(asked.line.starts_with("POST /price "), "{}", asked.line);
    assert_eq!((&body["method"], &body["path"]), (&"GET".into(), &"/paid/ok".into()));
    assert_eq!(request("POST", &world.url("/paid/ok"), &[], b"x").status, 402);
    let body: Value = serde_json::from_slice(&stub.asked().pop().unwrap().body).unwrap();
    assert_eq!(body["method"], "POST");
    // A number is taken by its digits.
    stub.say(200, "{\"price\": 0.06}");
    assert_eq!(amount(&world, "/paid/ok"), "60000");
}

#[test]
fn g_070_without_its_price_the_static_one_is_used_or_503_is_said() {
    let stub = Stub::start(500, "words");
    let fallback = priced(&stub, "{ url: \"URL\", timeout_ms: 300 }", ", price: \"0.02\"");
    let alone = priced(&stub, "{ url: \"URL\", timeout_ms: 300 }", "");
    for (status, said) in [
        (500, "{\"price\": \"0.05\"}"),
        (200, "no JSON"),
        (200, "{}"),
        (200, "{\"price\": null}"),
        (200, "{\"price\": \"0\"}"),
        (200, "{\"price\": \"-1\"}"),
        (200, "{\"price\": 0}"),
        (200, ""),
    ] {
        stub.say(status, said);
        assert_eq!(amount(&fallback, "/paid/ok"), "20000", "{said}");
        unpriced(&alone, said);
    }
    stub.hang();
    assert_eq!(amount(&fallback, "/paid/ok"), "20000");
    unpriced(&alone, "nothing");
    assert_eq!((alone.origin.runs(""), fallback.origin.runs("")), (0, 0));
}

fn unpriced(world: &World, said: &str) {
    let answer = get(&world.url("/paid/ok"), &[]);
    assert_eq!((answer.status, answer.money().as_str()), (503, "untouched"), "{said}: {}", answer.text());
    assert!(answer.headers.contains_key("retry-after") && !answer.headers.contains_key("payment-required"), "{said}");
}

#[test]
fn g_x06_no_price_is_rounded_to_nothing() {
    for small in ["0.0000001", "0.00000001", "0.0000009"] {
        let said = changed("\"0.01\"", &format!("\"{small}\""));
        assert!(said.contains("routes[0].price") && said.contains("more decimal places"), "{said}");
    }
    // Nor when an endpoint says it; the smallest that the token has is exact.
    let stub = Stub::start(200, "{\"price\": \"0.0000001\"}");
    let world = priced(&stub, "\"URL\"", "");
    unpriced(&world, "less than the token has");
    stub.say(200, "{\"price\": \"0.000001\"}");
    assert_eq!(amount(&world, "/paid/ok"), "1");
    stub.say(200, "{\"price\": \"0.1\"}");
    assert_eq!(amount(&world, "/paid/ok?2"), "100000", "which no binary fraction is");
}
