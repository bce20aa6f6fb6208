//! Pages of other origins, and caches: G-072, G-X12.

use crate::kit::{PRICE, get, request};
use crate::world;

const ROUTES: &str = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n";
const PREFLIGHT: [(&str, &str); 3] = [
    ("origin", "https://app.example"),
    ("access-control-request-method", "GET"),
    ("access-control-request-headers", "payment-signature, x-mine"),
];

#[test]
fn g_072_options_costs_nothing() {
    let world = world(ROUTES, "");
    let answer = request("OPTIONS", &world.url("/paid/ok"), &[], b"");
    assert_eq!((answer.status, answer.headers["allow"].contains("GET")), (204, true));
    assert_eq!(request("OPTIONS", &world.url("/paid/ok"), &PREFLIGHT, b"").status, 204);
    // The origin would run unpaid: what is priced is answered by the gate, and what is free is the origin's.
    assert_eq!(world.origin.runs("/paid/"), 0);
    assert_eq!(request("OPTIONS", &world.url("/free/ok"), &PREFLIGHT, b"").status, 200);
    assert_eq!(world.origin.runs("OPTIONS /free/ok"), 1);
    // A route that is written for it is sold like any other.
    let sold = crate::world("  - { path: /paid/*, method: OPTIONS, price: \"0.01\" }\n", "");
    assert_eq!(request("OPTIONS", &sold.url("/paid/ok"), &PREFLIGHT, b"").status, 402);
}

#[test]
fn g_x12_a_page_may_ask_pay_and_read() {
    let world = world(ROUTES, "");
    let preflight = request("OPTIONS", &world.url("/paid/ok"), &PREFLIGHT, b"");
    assert_eq!(preflight.headers["access-control-allow-origin"], "*");
    let allowed = preflight.headers["access-control-allow-headers"].to_ascii_lowercase();
    for name in ["payment-signature", "x-payment", "sign-in-with-x", "idempotency-key", "x-mine"] {
        assert!(allowed.contains(name), "{name}: {allowed}");
    }
    let unpaid = get(&world.url("/paid/ok"), &PREFLIGHT[..1]);
    assert_eq!((unpaid.status, unpaid.headers["cache-control"].as_str()), (402, "no-store"));
    let offer = crate::kit::Payer::offer(&world.url("/paid/ok"));
    let (header, _) = world.payer.payment(&offer);
    let paid = get(&world.url("/paid/ok"), &[PREFLIGHT[0], ("payment-signature", &header)]);
    assert_eq!((paid.status, world.paid()), (200, PRICE));
    for answer in [&unpaid, &paid] {
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        let exposed = answer.headers["access-control-expose-headers"].to_ascii_lowercase();
        for name in ["payment-required", "payment-response", "x-payment-response", "retry-after", "x-ratelimit-limit"] {
            assert!(exposed.contains(name), "{name}: {exposed}");
        }
    }
}

#[test]
fn g_x12_nothing_is_cached_and_429_says_when() {
    let world = world(ROUTES, "rate_limits: { per_agent: 2/min }");
    for (path, status) in [("/paid/ok", 402), ("/other", 403), ("/free/ok", 429)] {
        let answer = get(&world.url(path), &[]);
        assert_eq!((answer.status, answer.headers["cache-control"].as_str()), (status, "no-store"), "{path}");
        let seconds = answer.headers.get("retry-after").and_then(|value| value.parse::<u64>().ok());
        assert_eq!(seconds.is_some_and(|seconds| seconds >= 1), status == 429, "{path}");
    }
    // A page from anywhere can read it, too.
    assert_eq!(get(&world.url("/free/ok"), &PREFLIGHT[..1]).headers["access-control-allow-origin"], "*");
}
