//! What an offer says of a route, and what is checked before it is paid for: G-025 to G-027, G-051, G-052, G-054, G-071, G-074 to
//! G-076.

use serde_json::{Value, json};

use crate::config::changed;
use crate::kit::{PAYEE, PRICE, Payer, World, get, request};
use crate::{challenge, world};

const ROUTES: &str = "  - { path: /free/*, free: true }
  - path: /weather/*
    price: \"0.01\"
    settlement: direct
    description: Weather – today
    mime_type: application/json
  - path: /make/*
    method: POST
    price: \"0.01\"
    settlement: direct
    info:
      input: { type: http, method: POST, bodyType: json, body: { city: { type: string, required: true } } }
  - path: /find/*
    price: \"0.01\"
    settlement: direct
    info: { input: { type: http, method: GET, queryParams: { q: { type: string, required: true } } } }
  - route_template: /users/:id
    price: \"1.50\"
    info: { input: { type: http, method: GET }, output: { example: { name: Ann } } }
  - { path: /plain/*, price: \"5.00\" }
";

fn told_world() -> World {
    world(ROUTES, "discovery: { name: Weather, description: What it is, keywords: [rain, sun], category: data }")
}

fn asked(world: &World, path: &str) -> Value {
    challenge(&get(&world.url(path), &[]))
}

#[test]
fn g_025_description_and_mime_type_are_in_the_402() {
    let world = told_world();
    let resource = &asked(&world, "/weather/ok")["resource"];
    assert_eq!(
        (&resource["description"], &resource["mimeType"]),
        (&"Weather – today".into(), &"application/json".into())
    );
    let plain = &asked(&world, "/plain/ok")["resource"];
    assert!(plain.get("description").is_none() && plain.get("mimeType").is_none(), "{plain}");
}

#[test]
fn g_026_info_is_checked_and_told() {
    for bad in [
        "{ input: { type: http, method: POST } }",
        "{ input: { type: http, method: TRACE } }",
        "{ input: { type: ftp } }",
        "{ input: { type: mcp } }",
    ] {
        assert!(changed("\"0.01\"", &format!("\"0.01\", info: {bad}")).contains("routes[0].info"), "{bad}");
    }
    let world = told_world();
    let challenge = challenge(&request("POST", &world.url("/make/ok"), &[], b"{}"));
    let input = &challenge["extensions"]["bazaar"]["info"]["input"];
    assert_eq!(
        (&input["type"], &input["method"], &input["bodyType"]),
        (&"http".into(), &"POST".into(), &"json".into())
    );
}

#[test]
fn g_027_a_template_matches_and_is_told() {
    for bad in ["users/:id", "/a/../b", "/a/%2e%2e/b", "/a/%2e./b", "/a/.%2e/b", "/a://b"] {
        let said = changed("path: /paid/*", &format!("route_template: \"{bad}\""));
        assert!(said.contains("routes[0].route_template"), "{bad}: {said}");
    }
    let world = told_world();
    let challenge = asked(&world, "/users/7");
    assert_eq!(challenge["accepts"][0]["amount"], "1500000");
    assert_eq!(challenge["extensions"]["bazaar"]["routeTemplate"], "/users/:id");
    assert_eq!(get(&world.url("/users/7/more"), &[]).status, 403, "it is one segment");
}

/// The facilitator is nobody that a client has to know: it is left out.
#[test]
fn g_051_extra_says_how_it_is_settled() {
    let world = told_world();
    for (path, settlement) in [("/weather/ok", "direct"), ("/plain/ok", "direct")] {
        let extra = &asked(&world, path)["accepts"][0]["extra"];
        assert_eq!(extra["settlement"], settlement, "{path}");
        assert!(extra.get("facilitator").is_none(), "{extra}");
        assert_eq!((&extra["name"], &extra["version"]), (&"USDC".into(), &"2".into()));
    }
    let tab = crate::world("  - { path: /paid/*, price: \"0.01\" }\n", "");
    assert_eq!(asked(&tab, "/paid/ok")["accepts"][0]["extra"]["settlement"], "tab");
}

#[test]
fn g_052_extensions_is_an_object_and_holds_the_bazaar() {
    let world = told_world();
    assert!(asked(&world, "/plain/ok")["extensions"].is_object(), "also where nothing is in it");
    let bazaar = asked(&world, "/users/7")["extensions"]["bazaar"].clone();
    assert_eq!(bazaar["info"]["output"]["example"], json!({ "name": "Ann" }));
    assert_eq!(bazaar["routeTemplate"], "/users/:id");
    assert_eq!(bazaar["schema"]["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let schema = jsonschema::draft202012::new(&bazaar["schema"]).expect("a JSON Schema of 2020-12");
    assert!(schema.is_valid(&bazaar["info"]), "{bazaar}");
}

#[test]
fn g_054_a_browser_gets_a_page_and_a_program_gets_json() {
    let world = told_world();
    let ask = |accept| get(&world.url("/weather/ok"), &[("accept", accept)]);
    for accept in ["text/html", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"] {
        let page = ask(accept);
        assert_eq!((page.status, page.headers["content-type"].as_str()), (402, "text/html; charset=utf-8"));
        assert!(page.text().contains("Payment Required") && page.text().contains("$0.01"), "{}", page.text());
        assert!(page.headers.contains_key("payment-required"));
    }
    for accept in ["text/html, application/json", "application/json", "*/*"] {
        assert_eq!(ask(accept).error(), "payment_required", "{accept}");
    }
}

/// Where pay-gate checks a call once it is paid for, and keeps the money, this is checked before.
#[test]
fn g_071_nobody_pays_for_a_call_that_would_be_refused() {
    let world = told_world();
    let offer = |method: &str, path: &str| {
        let answer = request(method, &world.url(path), &[], b"");
        let header = answer.headers["payment-required"].clone();
        protocol::x402::Challenge::parse_v2(header.as_bytes()).unwrap().offers.remove(0)
    };
    let pay = |method: &str, path: &str, kind: &str, body: &str| {
        let (header, _) = world.payer.payment(&offer(method, path));
        let headers = [("payment-signature", header.as_str()), ("content-type", kind)];
        request(method, &world.url(path), &headers, body.as_bytes())
    };
    for (method, path, kind, body, word) in [
        ("POST", "/make/ok", "text/plain", "{\"city\": \"Bern\"}", "type"),
        ("POST", "/make/ok", "application/json", "{\"town\": \"Bern\"}", "city"),
        ("POST", "/make/ok", "application/json", "{nope", "JSON"),
        ("GET", "/find/ok?r=1", "application/json", "", "q"),
    ] {
        let answer = pay(method, path, kind, body);
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{body}: {}", answer.text());
        assert_eq!(answer.money(), "untouched");
        assert!(answer.json()["message"].as_str().unwrap().contains(word), "{word}: {}", answer.text());
    }
    assert_eq!((world.origin.runs(""), world.paid()), (0, 0));
    assert!(world.books().claims().is_empty(), "nothing was even claimed");
    assert_eq!(pay("POST", "/make/echo", "application/json", "{\"city\": \"Bern\"}").text(), "{\"city\": \"Bern\"}");
    assert_eq!(pay("GET", "/find/ok?q=1", "", "").status, 200);
    assert_eq!(world.paid(), 2 * PRICE);
}

#[test]
fn g_074_health() {
    let world = told_world();
    let health = get(&world.url("/__pay/health"), &[]).json();
    assert_eq!((&health["status"], &health["facilitator"]), (&"ok".into(), &"reachable".into()), "{health}");
    assert_eq!((&health["network"], &health["chain_id"]), (&"testnet".into(), &84_532.into()));
    assert!(health["uptime"].is_u64(), "{health}");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    for path in ["/livez", "/readyz"] {
        let answer = get(&world.url(path), &[]);
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"ok".into()), "{path}");
    }
    assert_eq!(world.origin.runs(""), 0);
}

#[test]
fn g_075_manifest() {
    let world = told_world();
    let manifest = get(&world.url("/__pay/manifest"), &[]).json();
    let paths: Vec<_> = manifest["routes"].as_array().unwrap().iter().map(|route| route["path"].clone()).collect();
    assert_eq!(paths, ["/free/*", "/weather/*", "/make/*", "/find/*", "/users/:id", "/plain/*"]);
    assert_eq!((&manifest["routes"][1]["price"], &manifest["default_action"]), (&"0.01".into(), &"block".into()));
    assert_eq!(manifest["discovery"]["name"], "Weather");
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn g_076_well_known() {
    let world = told_world();
    let told = get(&world.url("/.well-known/x402"), &[]).json();
    assert_eq!(
        (&told["x402Version"], &told["payTo"], &told["network"]),
        (&2.into(), &PAYEE.into(), &"eip155:84532".into())
    );
    assert_eq!(told["asset"], xtask::chain::USDC);
    let endpoints = told["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 5, "what is paid for");
    assert_eq!(
        (&endpoints[0]["description"], &endpoints[0]["mimeType"]),
        (&"Weather – today".into(), &"application/json".into())
    );
    assert_eq!((&endpoints[1]["method"], &endpoints[1]["info"]["input"]["bodyType"]), (&"POST".into(), &"json".into()));
    assert_eq!((&endpoints[3]["path"], &endpoints[3]["routeTemplate"]), (&"/users/:id".into(), &"/users/:id".into()));
    // What it asks for is what the 402 asks for.
    assert_eq!(endpoints[0]["paymentRequirements"], asked(&world, "/weather/ok")["accepts"][0]);
    let offer = Payer::offer(&world.url("/weather/ok"));
    assert_eq!(endpoints[0]["paymentRequirements"]["amount"], offer.amount_atomic.to_string());
    let described = get(&world.url("/openapi.json"), &[]).json();
    assert!(described["paths"]["/users/{id}"]["get"]["x-payment-info"].is_object(), "{described}");
}
