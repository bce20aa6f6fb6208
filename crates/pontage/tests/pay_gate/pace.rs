//! How many calls are taken, and from whom: G-033 to G-035, G-067, G-079, G-X13, and M-023, M-025 of MicroAI's users.

use std::time::Instant;

use protocol::Signer as _;
use protocol::x402::Version;

use crate::config::changed;
use crate::kit::{Answer, Payer, Raw, World, get};
use crate::world;

const ROUTES: &str = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n";
const TIERS: &str = "limits: tiers\n";

/// How many of some calls were taken.
fn taken(calls: usize, mut call: impl FnMut() -> Answer) -> usize {
    (0..calls).filter(|_| call().status != 429).count()
}

/// The 429 is whole.
fn limited(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (429, "rate_limited"), "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["message"], &body["money"]), (&"Too many requests.".into(), &"untouched".into()));
    let seconds: u64 = answer.headers["retry-after"].parse().unwrap();
    assert!(seconds >= 1 && body["retry_after"] == seconds, "{body}");
}

/// A payment that nobody signed.
fn forged(world: &World, payer: &Payer) -> String {
    let offer = Payer::offer(&world.url("/paid/ok"));
    let fields = payer.fields(&offer);
    let mut claimed = fields;
    claimed.from = world.payer.key.address();
    payer.sign(Version::V2, &offer, &claimed)
}

#[test]
fn g_033_calls_of_an_address_and_of_a_payer() {
    let world = world(ROUTES, "rate_limits: { per_agent: 4/min }");
    let free = || get(&world.url("/free/ok"), &[]);
    assert_eq!(taken(10, free), 4);
    limited(&free());
    // A payer who has proved his key has a bucket of his own.
    let offer = limited_offer(&world);
    for _ in 0..4 {
        let (header, _) = world.payer.payment(&offer);
        assert_eq!(get(&world.url("/paid/ok"), &[("payment-signature", &header)]).status, 200);
    }
    let (header, _) = world.payer.payment(&offer);
    limited(&get(&world.url("/paid/ok"), &[("payment-signature", &header)]));
    assert_eq!(world.origin.runs("/paid/"), 4);
}

/// The offer of a gate that answers nobody any more: it is what `/.well-known/x402` says.
fn limited_offer(world: &World) -> protocol::Offer {
    let told = get(&world.url("/.well-known/x402"), &[]).json();
    let entry = told["endpoints"][0]["paymentRequirements"].clone();
    let challenge = serde_json::json!({ "x402Version": 2, "resource": { "url": "http://localhost/" },
        "accepts": [entry], "extensions": {} });
    let header = protocol::x402::encode_header(&challenge);
    protocol::x402::Challenge::parse_v2(header.as_bytes()).unwrap().offers.remove(0)
}

#[test]
fn g_034_signatures_of_an_address() {
    let world = world(ROUTES, "rate_limits: { per_agent: off, verification: 3/min }");
    let offer = Payer::offer(&world.url("/paid/ok"));
    let pay = || {
        let (header, _) = world.payer.payment(&offer);
        get(&world.url("/paid/ok"), &[("payment-signature", &header)])
    };
    assert_eq!(taken(6, pay), 3);
    limited(&pay());
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402, "who shows nothing is not counted here");
}

#[test]
fn g_035_the_grammar_of_rates() {
    for rate in ["2/s", "2/sec", "2/second", "2/m", "2/min", "2/minute"] {
        let world = world(ROUTES, &format!("rate_limits: {{ per_agent: \"{rate}\" }}"));
        let answer = get(&world.url("/free/ok"), &[]);
        assert_eq!((answer.status, answer.headers["x-ratelimit-limit"].as_str()), (200, "2"), "{rate}");
    }
    for bad in ["banana", "10", "10/h", "0/s", "-1/s", "1.5/s", "/s", ""] {
        let said = changed("version: 1", &format!("version: 1\nrate_limits: {{ per_agent: \"{bad}\" }}"));
        assert!(said.contains("rate_limits.per_agent"), "{bad}: {said}");
    }
}

#[test]
fn g_067_too_many_requests_within_two_hundred_at_fifty_a_second() {
    let world = world(ROUTES, "rate_limits: { per_agent: 50/s }");
    // In one go on one connection, so that they are faster than what comes back, however busy the machine is.
    let call = "GET /paid/ok HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let last = call.replace("host:", "connection: close\r\nhost:");
    let said = Raw::send(world.gate.url(), format!("{}{last}", call.repeat(199)).as_bytes()).read_all();
    let (taken, refused) = (said.matches("HTTP/1.1 402").count(), said.matches("HTTP/1.1 429").count());
    assert!(taken >= 50 && refused > 0 && taken + refused == 200, "{taken} and {refused}");
    assert_eq!(said.matches("\"error\":\"rate_limited\"").count(), refused);
    assert!(said.matches("\r\nretry-after: ").count() >= refused);
}

#[test]
fn g_079_own_endpoints_are_not_limited_and_not_proxied() {
    let world = world(ROUTES, "rate_limits: { per_agent: 1/min, verification: 1/min }\ndefault_action: passthrough");
    assert_eq!(taken(3, || get(&world.url("/free/ok"), &[])), 1);
    let runs = world.origin.runs("");
    for path in ["/__pay/health", "/__pay/manifest", "/.well-known/x402", "/openapi.json", "/livez", "/readyz"] {
        for _ in 0..20 {
            let answer = get(&world.url(path), &[]);
            assert_eq!((answer.status, answer.headers.contains_key("x-ratelimit-limit")), (200, false), "{path}");
        }
    }
    assert_eq!(get(&world.url("/__pay/nothing"), &[]).status, 404);
    assert_eq!(world.origin.runs(""), runs);
}

/// One proxy in front is not one bucket for everybody.
#[test]
fn g_x13_behind_a_proxy_each_caller_has_a_bucket() {
    let from = |world: &World, address: &str| get(&world.url("/free/ok"), &[("x-forwarded-for", address)]);
    let behind = world(ROUTES, "rate_limits: { per_agent: 2/min }\ntrusted_proxies: 1");
    for address in ["203.0.113.1", "203.0.113.2", "2001:db8:1::1"] {
        assert_eq!(taken(4, || from(&behind, address)), 2, "{address}");
    }
    // What a caller writes in front of the proxy's own word is not believed, and an IPv6 address counts with its /64.
    assert_eq!(taken(2, || from(&behind, "198.51.100.9, 203.0.113.1")), 0);
    assert_eq!(taken(2, || from(&behind, "2001:db8:1::2")), 0);
    // Without a proxy the header is anybody's word.
    let alone = world(ROUTES, "rate_limits: { per_agent: 2/min }");
    let mut last = 0;
    assert_eq!(
        taken(4, || {
            last += 1;
            from(&alone, &format!("203.0.113.{last}"))
        }),
        2
    );
}

#[test]
fn m_023_tiers_of_addresses_and_payers() {
    let free = world(ROUTES, TIERS);
    let call = || get(&free.url("/free/ok"), &[]);
    let begun = Instant::now();
    let first = call();
    assert_eq!(first.headers["x-ratelimit-limit"], "5", "{:?}", first.headers);
    let four_and = |begun: Instant| 4..=4 + usize::try_from(begun.elapsed().as_secs() / 6).unwrap();
    let rest = taken(9, call);
    assert!(four_and(begun).contains(&rest), "ten a minute, five at once: {rest}");

    let paid = world(ROUTES, TIERS);
    let offer = limited_offer(&paid);
    let pay = || {
        let (header, _) = paid.payer.payment(&offer);
        get(&paid.url("/paid/ok"), &[("payment-signature", &header)])
    };
    assert_eq!(pay().headers["x-ratelimit-limit"], "20", "sixty a minute, twenty at once, until one is settled");
    let second = pay();
    assert_eq!((second.status, second.headers["x-ratelimit-limit"].as_str()), (200, "50"), "who has paid has more");

    // A forged signature raises nobody's tier: it takes from the address, and none of the payer's.
    let liar = Payer::new(&xtask::chain::KEYS[3]);
    let world = world(ROUTES, TIERS);
    let begun = Instant::now();
    let header = forged(&world, &liar);
    let lie = || get(&world.url("/paid/ok"), &[("payment-signature", &header)]);
    let answer = lie();
    assert_eq!((answer.status, answer.headers["x-ratelimit-limit"].as_str()), (402, "5"), "{}", answer.text());
    let rest = taken(8, lie);
    assert!(four_and(begun).contains(&(rest + 1)), "one of the five was the question for the price: {rest}");
    let offer = limited_offer(&world);
    let (honest, _) = world.payer.payment(&offer);
    let answer = get(&world.url("/paid/ok"), &[("payment-signature", &honest)]);
    assert_eq!((answer.status, answer.headers["x-ratelimit-remaining"].as_str()), (200, "19"));
}

#[test]
fn m_025_headers_of_every_answer() {
    let world = world(ROUTES, "rate_limits: { per_agent: 3/min }");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (path, left) in [("/free/ok", "2"), ("/paid/ok", "1"), ("/other", "0")] {
        let answer = get(&world.url(path), &[]);
        assert_eq!(answer.headers["x-ratelimit-limit"], "3", "{path}");
        assert_eq!(answer.headers["x-ratelimit-remaining"], left, "{path}");
        let reset: u64 = answer.headers["x-ratelimit-reset"].parse().unwrap();
        assert!((now..now + 120).contains(&reset), "{path}: {reset} is a time, now is {now}");
    }
    let answer = get(&world.url("/free/ok"), &[]);
    limited(&answer);
    assert_eq!(answer.headers["x-ratelimit-remaining"], "0");
}
