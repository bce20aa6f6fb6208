//! The configuration: G-012 to G-044.

use crate::commands::{GOOD, refused, taken};
use crate::kit::{GateOptions, PRICE, Payer, World, get, request};
use crate::world;
use xtask::chain::ChainOptions;

/// What is said about the good configuration with one thing changed.
pub(crate) fn changed(what: &str, with: &str) -> String {
    assert!(GOOD.contains(what), "{what}");
    refused(&GOOD.replace(what, with))
}

#[test]
fn g_012_version_is_one() {
    for version in ["2", "one", "\"\"", "1.0"] {
        let said = changed("version: 1", &format!("version: {version}"));
        assert!(said.contains("pontage.yaml:1  version"), "{said}");
    }
    assert!(changed("version: 1\n", "").contains("version"));
}

#[test]
fn g_013_provider_address_is_forty_hex_digits() {
    let good = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
    for bad in
        ["209693Bc6afc0C5328bA36FaF03C514EF312287C", "0x209693", "0xZZ9693Bc6afc0C5328bA36FaF03C514EF312287C", ""]
    {
        assert!(changed(good, bad).contains("provider_address"), "{bad}");
    }
    taken(&GOOD.replace(good, &good.to_lowercase()));
}

#[test]
fn g_014_target_is_http_or_https() {
    for bad in ["127.0.0.1:3000", "ftp://127.0.0.1", "http://", ""] {
        assert!(changed("http://127.0.0.1:3000", bad).contains("proxy.target"), "{bad}");
    }
    taken(&GOOD.replace("http://127.0.0.1:3000", "https://api.example.com"));
}

#[test]
fn g_015_timeout_of_each_request() {
    let world = World::with(ChainOptions::default(), &GateOptions { timeout: "300ms", ..GateOptions::direct() });
    let answer = get(&world.url("/free/hang"), &[]);
    assert_eq!((answer.status, answer.error().as_str()), (504, "upstream_timeout"));
    assert!(changed("3000\"", "3000\", timeout: soon").contains("proxy.timeout"));
    taken(GOOD);
}

#[test]
fn g_016_the_first_match_wins() {
    let world = world(
        "  - { path: /a/free, free: true }\n  - { path: /a/*, price: \"0.01\" }\n  - { path: /a/late, free: true }\n",
        "",
    );
    for (path, status) in [("/a/free", 200), ("/a/x", 402), ("/a/late", 402)] {
        assert_eq!(get(&world.url(path), &[]).status, status, "{path}");
    }
}

#[test]
fn g_017_a_path_is_a_glob_and_never_empty() {
    let world = world("  - { path: /api/v1/*, price: \"0.01\" }\n", "");
    for (path, status) in [("/api/v1/x", 402), ("/api/v1/x/y", 402), ("/api/v2/x", 403)] {
        assert_eq!(get(&world.url(path), &[]).status, status, "{path}");
    }
    for bad in ["\"\"", "paid"] {
        assert!(changed("/paid/*", bad).contains("routes[0].path"), "{bad}");
    }
}

#[test]
fn g_018_method_in_any_case_and_the_next_route() {
    let world = world("  - { path: /a, method: post, price: \"0.01\" }\n  - { path: /a, free: true }\n", "");
    for (method, status) in [("POST", 402), ("GET", 200), ("DELETE", 200)] {
        assert_eq!(request(method, &world.url("/a"), &[], b"").status, status, "{method}");
    }
}

#[test]
fn g_019_a_price_is_a_positive_decimal() {
    for bad in ["0", "0.00", "-1", "-0.01", "text", "", "1e2", ".", "0x1", "NaN"] {
        assert!(changed("\"0.01\"", &format!("\"{bad}\"")).contains("routes[0].price"), "{bad}");
    }
    for good in ["0.01", "1", "$0.01", "1000"] {
        taken(&GOOD.replace("\"0.01\"", &format!("\"{good}\"")));
    }
}

#[test]
fn g_020_tab_up_to_a_dollar_and_direct_above() {
    let routes = "  - { path: /one, price: \"1.00\" }\n  - { path: /more, price: \"1.01\" }\n  - { path: /direct, price: \"0.01\", settlement: direct }\n";
    let world = world(routes, "tab: { settle_age_s: 1 }");
    for (path, on_tab) in [("/one", true), ("/more", false), ("/direct", false)] {
        let answer = world.payer.buy(&world.url(path));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.receipt()["transaction"] == "", on_tab, "{path}");
    }
    world.agree();
    assert_eq!(world.paid(), 202 * PRICE);
    assert!(changed("\"0.01\"", "\"0.01\", settlement: later").contains("routes[0].settlement"));
}

#[test]
fn g_021_free_is_free() {
    let world = World::new();
    assert_eq!((get(&world.url("/free/ok"), &[]).status, world.paid()), (200, 0));
}

#[test]
fn g_024_a_route_says_what_it_costs() {
    assert!(changed(", price: \"0.01\"", "").contains("routes[0]"));
    assert!(changed("price: \"0.01\"", "free: false").contains("routes[0]"));
}

#[test]
fn g_030_default_action_block_unless_it_is_said() {
    let routes = "  - { path: /free, free: true }\n";
    for (more, status) in [("", 403), ("default_action: block", 403), ("default_action: passthrough", 200)] {
        assert_eq!(get(&world(routes, more).url("/other"), &[]).status, status, "{more}");
    }
    assert!(changed("version: 1", "version: 1\ndefault_action: maybe").contains("default_action"));
}

#[test]
fn g_038_unknown_keys_are_named_with_their_line() {
    for (what, with, place) in [
        ("version: 1", "version: 1\nverbose: true", "pontage.yaml:2  verbose"),
        ("price: \"0.01\"", "price: \"0.01\", prise: 1", "pontage.yaml:5  routes[0].prise"),
        ("3000\"", "3000\", retries: 1", "pontage.yaml:3  proxy.retries"),
    ] {
        let said = changed(what, with);
        assert!(said.contains(place), "{place}\n{said}");
    }
}

#[test]
fn g_039_variables_and_their_defaults() {
    let price = |value: &str| GOOD.replace("\"0.01\"", &format!("\"{value}\""));
    // A variable that every process has, one that none has, and a dollar sign.
    taken(&price("${PONTAGE_NOBODY_SETS_THIS:-0.02}"));
    taken(&price("$$0.02"));
    taken(&GOOD.replace("/paid/*", "\"/${PATH:-x}\"").replace("/${PATH:-x}", "/a${PONTAGE_NOBODY_SETS_THIS:-}b"));
    let said = refused(&price("${PONTAGE_NOBODY_SETS_THIS}"));
    assert!(said.contains("routes[0].price") && said.contains("PONTAGE_NOBODY_SETS_THIS"), "{said}");
    let said = refused(&price("${PONTAGE_NOBODY_SETS_THIS:-}"));
    assert!(said.contains("routes[0].price"), "an empty value is no price: {said}");
}

/// A `*` at the end is everything beneath, as in pay-gate's binary, not one segment: what is not priced by a slip is given away.
#[test]
fn g_044_globs_of_the_worker() {
    let routes = "  - { path: /one/*/end, free: true }
  - { path: /any/**/end, free: true }
  - { path: \"/users/:id/posts\", free: true }
  - { path: /img-*, free: true }
  - { path: /last/*, free: true }
";
    let world = world(routes, "");
    for (path, status) in [
        ("/one/a/end", 200),
        ("/one/a/b/end", 403),
        ("/one/end", 403),
        ("/any/end", 200),
        ("/any/a/b/c/end", 200),
        ("/any/a/other", 403),
        ("/users/7/posts", 200),
        ("/users/7/8/posts", 403),
        ("/users/posts", 403),
        ("/img-1.png", 200),
        ("/img-", 200),
        ("/img-1/x", 403),
        ("/img", 403),
        ("/last/a", 200),
        ("/last/a/b", 200),
    ] {
        assert_eq!(get(&world.url(path), &[]).status, status, "{path}");
    }
}

/// The five lines of pay-gate's README; beside them, pontage has to be told of a node, and of a key that settles.
#[test]
fn g_041_the_minimal_configuration_charges() {
    taken(GOOD);
    let world = world("  - { path: /api/*, price: \"0.01\" }\n", "");
    assert_eq!(get(&world.url("/api/x"), &[]).status, 402);
    assert_eq!(Payer::offer(&world.url("/api/x")).amount_atomic, PRICE);
}
