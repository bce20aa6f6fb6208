//! `payment-identifier`: one name, one payment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::x402::decode_header;
use serde_json::json;

use super::*;
use crate::kit::PRICE;

const ROUTES: &str = "  - { path: /free/*, free: true }
  - { path: /paid/*, price: \"0.01\", settlement: direct }
  - { path: /tab/*, price: \"0.01\", settlement: tab }
  - { path: /first/*, price: \"0.01\", settle_first: true }
";
const ID: &str = "order_0123456789abcdef";

fn optional() -> World {
    world(ROUTES, "extensions: { payment_identifier: optional }\ntab: { settle_age_s: 1 }")
}

/// A fresh payment with a name.
fn named(payer: &Payer, offer: &Offer, id: &str) -> String {
    let (header, _) = payer.payment(offer);
    let mut payment = decode_header(header.as_bytes()).expect("a payment");
    payment["extensions"] = json!({ "payment-identifier": { "info": { "required": false, "id": id } } });
    STANDARD.encode(payment.to_string())
}

fn fresh(world: &World, path: &str, id: &str) -> String {
    named(&world.payer, &Payer::offer(&world.url(path)), id)
}

fn show(world: &World, method: &str, path: &str, header: &str, body: &[u8]) -> Answer {
    request(method, &world.url(path), &[("payment-signature", header)], body)
}

#[test]
fn the_same_payment_gets_the_stored_answer() {
    let world = optional();
    for (nth, path) in ["/paid/echo", "/tab/echo", "/first/echo"].into_iter().enumerate() {
        let header = fresh(&world, path, &format!("{ID}{nth}"));
        let answer = show(&world, "POST", path, &header, b"hello");
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{path}");
        until("it is stored", || {
            world.books().claims().iter().filter(|claim| claim.answer == "kept").count() == nth + 1
        });
        let again = show(&world, "POST", path, &header, b"hello");
        assert_eq!((again.status, again.text().as_str()), (200, "hello"), "{path} {}", again.text());
        // Nobody gets it who asks for something else.
        let other = show(&world, "POST", path, &header, b"other");
        assert_eq!((other.status, other.error().as_str()), (409, "authorization_conflict"), "{path}");
        assert_eq!(world.origin.runs(path), 1, "{path}");
    }
    world.agree();
    assert_eq!(world.paid(), 3 * PRICE);
}

#[test]
fn another_payment_of_the_same_name_is_not_taken() {
    let world = optional();
    let offered = get(&world.url("/paid/ok"), &[]);
    let challenge = decode_header(offered.headers["payment-required"].as_bytes()).expect("a challenge");
    assert_eq!(challenge["extensions"]["payment-identifier"]["info"]["required"], false);
    let header = fresh(&world, "/paid/ok", ID);
    assert_eq!(show(&world, "GET", "/paid/ok", &header, b"").status, 200);
    for path in ["/paid/ok", "/paid/other", "/tab/ok", "/first/ok"] {
        let second = fresh(&world, path, ID);
        let answer = show(&world, "GET", path, &second, b"");
        assert_eq!(said(&answer), problem(409, "identifier_conflict", "untouched"), "{path}");
        // And is good as ever without the name: it is the authorization that pays.
    }
    assert_eq!((world.books().claims().len(), world.paid()), (1, PRICE));
    // A call that was not charged for gives its name back.
    let other = format!("{ID}-reset");
    assert_eq!(show(&world, "GET", "/paid/reset", &fresh(&world, "/paid/reset", &other), b"").status, 502);
    assert_eq!(show(&world, "GET", "/paid/500", &fresh(&world, "/paid/500", &other), b"").status, 500);
    assert_eq!(show(&world, "GET", "/paid/ok", &fresh(&world, "/paid/ok", &other), b"").status, 200);
    world.agree();
}

#[test]
fn of_32_payments_of_one_name_at_once_one_is_taken() {
    let world = optional();
    for path in ["/paid/ok", "/tab/ok", "/first/ok"] {
        let before = world.origin.runs(path);
        let offer = Payer::offer(&world.url(path));
        let headers: Vec<_> =
            (0..32).map(|_| named(&world.payer, &offer, &format!("{ID}{path}").replace('/', "_"))).collect();
        let answers = at_once(32, |nth| show(&world, "GET", path, &headers[nth], b""));
        assert_eq!(count(&answers, 200, ""), 1, "{path}");
        assert_eq!(count(&answers, 409, "identifier_conflict"), 31, "{path}");
        assert_eq!(world.origin.runs(path), before + 1, "{path}");
    }
    world.agree();
    assert_eq!(world.paid(), 3 * PRICE);
}

#[test]
fn a_payment_without_the_name_that_is_required() {
    let world = world(ROUTES, "extensions: { payment_identifier: required }");
    let offer = Payer::offer(&world.url("/paid/ok"));
    let (plain, _) = world.payer.payment(&offer);
    let answer = show(&world, "GET", "/paid/ok", &plain, b"");
    assert_eq!(said(&answer), problem(400, "payment_identifier_required", "untouched"));
    for bad in ["short", "with spaces in the name", "0123456789abcdef\u{e9}"] {
        let header = named(&world.payer, &offer, bad);
        assert_eq!(show(&world, "GET", "/paid/ok", &header, b"").status, 400, "{bad}");
    }
    assert_eq!((world.books().claims().len(), world.origin.runs("/paid")), (0, 0));
    assert_eq!(show(&world, "GET", "/paid/ok", &named(&world.payer, &offer, ID), b"").status, 200);
    world.agree();
}
