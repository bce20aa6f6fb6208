//! What reaches the origin in the place of what was asked for: G-028, G-029.

use crate::kit::{PRICE, get};
use crate::world;

const ROUTES: &str = "  - path: /forecast
    price: \"0.01\"
    settlement: direct
    proxy_rewrite: /v1/ok
    proxy_params: { key: \"of the origin & secret\", days: \"3\" }
  - { path: /moved/*, free: true, proxy_rewrite: /elsewhere/ok }
  - { path: /keyed/*, free: true, proxy_params: { key: hidden-key-4711 } }
";

fn line(world: &crate::kit::World) -> String {
    world.origin.last().line
}

#[test]
fn g_028_the_origin_gets_the_path_of_the_route() {
    let world = world(ROUTES, "");
    assert_eq!(get(&world.url("/moved/from/here?x=1&y=%20"), &[]).status, 200);
    assert_eq!(line(&world), "GET /elsewhere/ok?x=1&y=%20 HTTP/1.1");
    assert_eq!(world.payer.buy(&world.url("/forecast?city=Bern")).status, 200);
    assert!(line(&world).starts_with("GET /v1/ok?city=Bern&"), "{}", line(&world));
    assert_eq!((world.paid(), world.origin.runs("/forecast")), (PRICE, 0));
}

#[test]
fn g_029_parameters_that_no_caller_replaces_or_reads() {
    let world = world(ROUTES, "");
    let seen = |query: &str| {
        let answer = get(&world.url(&format!("/keyed/ok{query}")), &[]);
        assert_eq!(answer.status, 200, "{query}");
        assert!(!answer.text().contains("4711") && !format!("{:?}", answer.headers).contains("4711"));
        let line = line(&world);
        line.split(' ').nth(1).unwrap().split_once('?').unwrap().1.to_owned()
    };
    let ours = "key=hidden%2Dkey%2D4711";
    assert_eq!(seen(""), ours);
    assert_eq!(seen("?a=1"), format!("a=1&{ours}"));
    for theirs in ["?key=mine", "?k%65y=mine", "?key", "?key=&key=x", "?%6b%65%79=1", "?key=1&%4bey=2"] {
        let query = seen(theirs);
        assert_eq!(query.matches("key=").count(), 1, "{theirs}: {query}");
        assert!(query.ends_with(ours) && !query.contains("mine"), "{theirs}: {query}");
    }
    assert_eq!(world.payer.buy(&world.url("/forecast?days=9")).status, 200);
    let paid = line(&world);
    assert!(paid.contains("key=of%20the%20origin%20%26%20secret") && paid.contains("days=3"), "{paid}");
    assert!(!paid.contains("days=9"), "{paid}");
    // Nowhere is it told.
    let places = ["/__pay/manifest", "/.well-known/x402", "/openapi.json", "/forecast", "/livez"];
    for path in places {
        let answer = get(&world.url(path), &[]);
        assert!(!answer.text().contains("4711") && !answer.text().contains("of the origin"), "{path}");
    }
    let log = world.gate.log();
    assert!(!log.contains("4711") && !log.contains("of the origin") && !log.contains("of%20the"), "{log}");
}
