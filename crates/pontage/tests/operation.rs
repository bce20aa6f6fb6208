//! What operators see of calls, and what nobody may see.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use kit::{GateOptions, Payer, SETTLER, World, get, until};
use protocol::x402::decode_header;
use xtask::chain::ChainOptions;

const IDEMPOTENCY: &str = "an-idempotency-key-that-nobody-else-knows";
const BEARER: &str = "a-bearer-of-the-upstreams-own";
const QUERY: &str = "a-secret-in-the-query";

/// Everything secret that a payment's header holds.
fn secrets_of(header: &str) -> Vec<String> {
    let credential = decode_header(header.as_bytes()).unwrap();
    let payload = &credential["payload"];
    let text = |value: &serde_json::Value| value.as_str().unwrap().trim_start_matches("0x").to_owned();
    vec![header.to_owned(), text(&payload["signature"]), text(&payload["authorization"]["nonce"])]
}

/// At the finest level, a call that pays, one that is repeated and one that is refused leave no secret in the log.
#[test]
fn no_credential_is_in_the_log() {
    let mut world = World::new();
    let url = world.url(&format!("/paid/ok?key={QUERY}"));
    let offer = Payer::offer(&url);
    let (header, _) = world.payer.payment(&offer);
    let mut fields = world.payer.fields(&offer);
    fields.valid_before = fields.valid_after;
    let refused = world.payer.sign(protocol::x402::Version::V2, &offer, &fields);
    let bearer = format!("Bearer {BEARER}");
    let call = |header: &str| {
        let headers = [("payment-signature", header), ("idempotency-key", IDEMPOTENCY), ("authorization", &bearer)];
        get(&url, &headers).status
    };
    assert_eq!((call(&header), call(&header), call(&refused)), (200, 200, 402));
    assert!(world.gate.stop().success());
    let log = world.gate.log().to_lowercase();
    for told in ["\"outcome\":\"served_", "\"outcome\":\"refused\"", "\"path\":\"/paid/ok\""] {
        assert!(log.contains(told), "{told} is not in the log:\n{log}");
    }
    let mut secrets = secrets_of(&header);
    secrets.extend(secrets_of(&refused));
    secrets.extend([IDEMPOTENCY, BEARER, QUERY].map(str::to_owned));
    secrets.push(SETTLER.secret.trim_start_matches("0x").to_owned());
    for secret in secrets {
        assert!(!log.contains(&secret.to_lowercase()), "{secret} is in the log:\n{log}");
    }
}

/// A start says what runs, and what of it may surprise.
#[test]
fn m_029_a_start_says_what_may_surprise() {
    let world = World::new();
    for line in ["1 paid and 1 free routes, the rest is blocked", "public_url is not set"] {
        until(line, || world.gate.log().contains(line));
    }
}

/// A paid call is counted by its route, its money and the books.
#[test]
fn metrics_tell_what_became_of_a_call() {
    let options = GateOptions { more: "admin: { listen: \"127.0.0.1:0\" }".to_owned(), ..GateOptions::default() };
    let world = World::with(ChainOptions::default(), &options);
    let mut admin = String::new();
    until("the admin listener is named", || {
        let log = world.gate.log();
        let line = log.lines().find(|line| line.contains("the admin listener"));
        let address = line.and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        admin = address.and_then(|line| line["address"].as_str().map(str::to_owned)).unwrap_or_default();
        !admin.is_empty()
    });
    world.settled(&world.payer.buy(&world.url("/paid/ok")));
    world.rest();
    let outcome = if world.on_tab() { "served_tab" } else { "served_settled" };
    let counted = |page: &str, name: &str, want: &str| {
        page.lines().any(|line| line.starts_with(name) && line.ends_with(&format!(" {want}")))
    };
    let mut page = String::new();
    until("everything is counted", || {
        page = get(&format!("http://{admin}/metrics"), &[]).text();
        counted(&page, "pontage_books_atomic_total{entry=\"posted\"", "10000")
            && counted(&page, &format!("pontage_calls_total{{route=\"* /paid/*\",outcome=\"{outcome}\"}}"), "1")
    });
    for (name, want) in [
        ("pontage_calls_total{route=\"* /paid/*\",outcome=\"offered\"}", "1"),
        ("pontage_amount_atomic_total{flow=\"offered\"", "10000"),
        ("pontage_amount_atomic_total{flow=\"served\"", "10000"),
        ("pontage_facilitator_up{", "1"),
        ("pontage_payments_unsettled", "0"),
    ] {
        assert!(counted(&page, name, want), "{name} {want}\n{page}");
    }
    assert_eq!(get(&format!("http://{admin}/readyz"), &[]).status, 200);
}
