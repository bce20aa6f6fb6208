//! The sidecar without a proxy: what a check charges, and what a report gives back.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::*;
use crate::kit::{PRICE, Raw, TRUST_SECRET};

const ROUTES: &str = "  - { path: /free/*, free: true }
  - { path: /paid/*, price: \"0.01\", settlement: direct }
  - { path: /tab/*, price: \"0.01\", settlement: tab }
";
const CHECK: &str = "/__pay/check";

fn sidecar() -> World {
    let options = GateOptions {
        routes: ROUTES,
        arguments: &["--sidecar"],
        proxy: "trust_secret: { env: PONTAGE_TRUST_SECRET }",
        // Nothing settles while the test looks at the tab.
        more: "tab: { settle_age_s: 600 }".to_owned(),
        ..GateOptions::direct()
    };
    World::with(ChainOptions::default(), &options)
}

fn check(world: &World, path: &str, more: &[(&str, &str)]) -> Answer {
    let headers = [&[("host", "localhost"), ("x-original-uri", path)], more].concat();
    get(&world.url(CHECK), &headers)
}

/// A payment for a path.
fn payment(world: &World, path: &str) -> String {
    world.payer.payment(&Payer::offer(&format!("{}{path}", world.url(CHECK)))).0
}

/// Pays for a check, and what it is called.
fn pay(world: &World, path: &str) -> String {
    let header = payment(world, path);
    let answer = check(world, path, &[("payment-signature", &header)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.headers["x-pay-hold"].clone()
}

fn report(world: &World, body: &str) -> Answer {
    request("POST", &world.url("/__pay/outcome"), &[("content-type", "application/json")], body.as_bytes())
}

fn ended(world: &World, hold: &str, status: u64) -> (u16, String, String) {
    let answer = report(world, &format!("{{\"hold\": \"{hold}\", \"status\": {status}}}"));
    let state = answer.json()["state"].as_str().unwrap_or_default().to_owned();
    (answer.status, if state.is_empty() { answer.error() } else { state }, answer.money())
}

/// A name with the tag that this gate gives it.
fn tagged(name: &str, secret: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    let mac = mac.chain_update(name).finalize().into_bytes();
    let tag: String = mac.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}.{tag}")
}

#[test]
fn what_was_not_served_is_given_back_once() {
    let world = sidecar();
    for (path, status, end) in [
        ("/tab/ok", 500, problem(200, "not_charged", "untouched")),
        ("/tab/ok", 0, problem(200, "not_charged", "untouched")),
        ("/tab/ok", 404, problem(200, "not_charged", "untouched")),
        ("/paid/ok", 500, problem(200, "owed_back", "moved")),
        ("/paid/ok", 0, problem(200, "owed_back", "moved")),
    ] {
        let hold = pay(&world, path);
        for status in [status, status, 200, 503] {
            assert_eq!(ended(&world, &hold, status), end, "{path} {status}");
        }
    }
    assert_eq!(world.books().balance("refund_due:"), 2 * i128::try_from(PRICE).expect("fits"));
    assert_eq!(world.books().exposed(), 0);
    world.agree();
    assert_eq!(world.paid(), 2 * PRICE, "what is on the tab of nobody never moves");
}

#[test]
fn what_was_served_stays_until_it_is_said_otherwise() {
    let world = sidecar();
    let (tab, direct) = (pay(&world, "/tab/ok"), pay(&world, "/paid/ok"));
    for status in [200, 304, 399] {
        assert_eq!(ended(&world, &tab, status), problem(200, "held", "held"));
        assert_eq!(ended(&world, &direct, status), problem(200, "settled", "moved"));
    }
    assert_eq!(world.books().balance("refund_due:"), 0);
    assert_eq!(ended(&world, &tab, 500), problem(200, "not_charged", "untouched"));
    assert_eq!(ended(&world, &direct, 500), problem(200, "owed_back", "moved"));
    world.agree();
}

/// Nobody who was not told its name gives a payment back.
#[test]
fn reports_of_others_do_nothing() {
    let world = sidecar();
    let hold = pay(&world, "/tab/ok");
    let (name, tag) = hold.split_once('.').expect("a name and a tag");
    let other: String = name.chars().rev().collect();
    let flipped = tag.strip_prefix('0').map_or(format!("0{}", &tag[1..]), |rest| format!("1{rest}"));
    for forged in [
        name.to_owned(),
        format!("{name}."),
        format!("{name}.{}", &tag[..30]),
        format!("{name}.{flipped}"),
        format!("{other}.{tag}"),
        format!("{}.{tag}", name.to_uppercase()),
        tagged(name, "another secret"),
        format!("{hold}."),
    ] {
        assert_eq!(ended(&world, &forged, 500), problem(400, "bad_request", "untouched"), "{forged}");
    }
    for body in ["", "{}", "[]", "{\"hold\": 1, \"status\": 500}", "not json"] {
        assert_eq!(said(&report(&world, body)), problem(400, "bad_request", "untouched"), "{body}");
    }
    for status in ["1000", "-1", "\"500\"", "5e2", "500.5", "null"] {
        let body = format!("{{\"hold\": \"{hold}\", \"status\": {status}}}");
        assert_eq!(said(&report(&world, &body)), problem(400, "bad_request", "untouched"), "{body}");
    }
    let long = format!("{{\"hold\": \"{hold}\", \"status\": 500, \"more\": \"{}\"}}", "x".repeat(5_000));
    assert_eq!(said(&report(&world, &long)), problem(400, "bad_request", "untouched"));
    assert_eq!(get(&world.url("/__pay/outcome"), &[]).status, 405);
    let unknown = tagged(&"ab".repeat(16), TRUST_SECRET);
    assert_eq!(ended(&world, &unknown, 500).0, 404);
    assert_eq!(only(&world).state, "answered", "nothing of this did anything");
    // The tag is the one of the shared secret, so that it outlives the process.
    assert_eq!(hold, tagged(name, TRUST_SECRET));
}

#[test]
fn a_report_after_a_kill_is_taken() {
    let mut world = sidecar();
    let (tab, direct) = (pay(&world, "/tab/ok"), pay(&world, "/paid/ok"));
    until("it is noted that the check was answered", || {
        world.books().claims().iter().all(|claim| claim.answer == "delivered")
    });
    world.gate.kill_and_restart();
    assert_eq!(ended(&world, &tab, 502), problem(200, "not_charged", "untouched"));
    assert_eq!(ended(&world, &direct, 0), problem(200, "owed_back", "moved"));
    world.gate.kill_and_restart();
    assert_eq!(ended(&world, &tab, 502), problem(200, "not_charged", "untouched"));
    assert_eq!(ended(&world, &direct, 0), problem(200, "owed_back", "moved"));
    assert_eq!(world.books().balance("refund_due:"), i128::try_from(PRICE).expect("fits"));
    world.agree();
}

/// A payment passes one call, however many checks it is shown to.
#[test]
fn one_payment_is_good_for_one_check() {
    let world = sidecar();
    for path in ["/tab/ok", "/paid/ok"] {
        let header = payment(&world, path);
        let answers = at_once(16, |_| check(&world, path, &[("payment-signature", &header)]));
        assert_eq!(count(&answers, 200, ""), 1, "{path}");
        // While the money moves nobody can say more than that it may have.
        let pending = count(&answers, 503, "settlement_pending");
        assert_eq!(answers.iter().filter(|answer| answer.status == 409).count() + pending, 15, "{path}");
        assert!(answers.iter().all(|answer| answer.status == 200 || !answer.headers.contains_key("x-pay-hold")));
        let other = check(&world, "/tab/other", &[("payment-signature", &header)]);
        assert_eq!((other.status, other.error().as_str()), (409, "authorization_conflict"));
    }
    assert_eq!(world.paid(), PRICE);
}

/// A proxy that is gone before it is told anything passes nothing on: nobody is charged in the end.
#[test]
fn proxies_that_leave_leave_nothing_open() {
    let world = sidecar();
    for path in ["/tab/ok", "/paid/ok"] {
        let offer = Payer::offer(&format!("{}{path}", world.url(CHECK)));
        for _ in 0..24 {
            let (header, _) = world.payer.payment(&offer);
            let headers = [("x-original-uri", path), ("payment-signature", header.as_str())];
            drop(Raw::get(world.gate.url(), CHECK, &headers));
        }
    }
    until("every check has ended", || {
        let claims = world.books().claims();
        claims.iter().all(|claim| {
            let given_out = claim.rail == "tab" && claim.state == "answered" && claim.answer == "delivered";
            given_out
                || matches!(claim.state.as_str(), "burnt" | "released")
                || (claim.state == "posted" && claim.answer != "pending")
        })
    });
    for claim in world.books().claims() {
        assert_ne!((claim.state.as_str(), claim.answer.as_str()), ("answered", "live"), "{claim:?}");
    }
    assert_eq!(world.gate.log().matches("a step that must not happen").count(), 0);
}
