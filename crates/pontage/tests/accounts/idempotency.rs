//! An `Idempotency-Key` of a caller with a key, and answers that are given out again.

use std::collections::BTreeMap;
use std::thread;

use serde_json::json;
use xtask::chain::ChainOptions;

use super::kit::{ADMIN, Admin, Answer, GateOptions, World, get, request, until};

const ROUTES: &str = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\" }\n  - { path: /other/*, price: \"0.01\" }\n  - { path: /cached/*, price: \"0.01\", cache_s: 600 }\n";

fn world(accounts: &str, more: &str) -> (World, Admin) {
    let more = format!("accounts: {{ {accounts} }}\n{more}\n{ADMIN}");
    let world = World::with(ChainOptions::default(), &GateOptions { more, routes: ROUTES, ..GateOptions::default() });
    let admin = Admin::of(&world.gate);
    (world, admin)
}

fn key(admin: &Admin, credits: u64) -> (String, String) {
    admin.key(&json!({ "name": "shop", "credits": credits }))
}

fn balance(admin: &Admin, id: &str) -> u64 {
    let told = admin.get(&format!("/admin/v1/keys/{id}/balance")).json();
    told["balance"].as_u64().unwrap_or_else(|| panic!("{told}"))
}

fn ask(world: &World, path: &str, secret: &str, name: &str) -> Answer {
    get(&world.url(path), &[("x-api-key", secret), ("idempotency-key", name)])
}

fn replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|word| word == "true")
}

/// D-01, P-069: run once and charged once; the answer is given out again with a marker, also after a restart.
#[test]
fn d01_an_answer_is_given_out_again_and_charged_once() {
    // Its port is another one after the restart.
    let (mut world, admin) = world("", "public_url: \"http://api.example\"");
    let (id, secret) = key(&admin, 10);
    let url = world.url("/paid/echo?a=1");
    let body =
        |body: &[u8], header: &'static str| request("POST", &url, &[("x-api-key", &secret), (header, "1")], body);
    let first = body(b"hello", "idempotency-key");
    assert_eq!((first.status, first.text().as_str(), replayed(&first)), (200, "hello", false));
    until("the answer is kept", || replayed(&body(b"hello", "x-idempotency-key")));
    let again = body(b"hello", "x-idempotency-key");
    assert_eq!((again.status, again.text().as_str()), (200, "hello"));
    assert_eq!(
        (&again.headers["content-type"], &again.headers["x-origin"]),
        (&first.headers["content-type"], &first.headers["x-origin"])
    );
    assert_eq!(again.headers["x-credits-remaining"], "9");
    assert_eq!((world.origin.runs("/paid/echo"), balance(&admin, &id)), (1, 9));

    // Other parameters: the body, the query, the method.
    let other = body(b"hullo", "idempotency-key");
    assert_eq!(
        (other.status, other.error().as_str(), other.money().as_str()),
        (422, "idempotency_mismatch", "untouched")
    );
    let headers = [("x-api-key", secret.as_str()), ("idempotency-key", "1")];
    assert_eq!(request("POST", &world.url("/paid/echo?a=2"), &headers, b"hello").status, 422);
    assert_eq!(request("PUT", &world.url("/paid/echo?a=1"), &headers, b"hello").status, 422);
    assert_eq!((world.origin.runs("/paid/echo"), balance(&admin, &id)), (1, 9));

    world.gate.kill_and_restart();
    let after = request("POST", &world.url("/paid/echo?a=1"), &headers, b"hello");
    assert!(replayed(&after), "{} {}", after.status, after.text());
    assert_eq!(world.origin.runs("/paid/echo"), 1);
}

/// Names are their caller's, on their route; names that are none are refused.
#[test]
fn names_are_of_callers_and_routes() {
    let (world, admin) = world("", "");
    let ((_, one), (_, two)) = (key(&admin, 10), key(&admin, 10));
    assert_eq!(ask(&world, "/paid/ok", &one, "n").status, 200);
    until("the answer is kept", || replayed(&ask(&world, "/paid/ok", &one, "n")));
    assert!(!replayed(&ask(&world, "/paid/ok", &two, "n")), "another caller");
    assert!(!replayed(&ask(&world, "/other/ok", &one, "n")), "another route");
    assert_eq!(world.origin.runs("/ok"), 3);
    let long = "x".repeat(256);
    let bad = ask(&world, "/paid/ok", &one, &long);
    assert_eq!((bad.status, bad.error().as_str(), bad.money().as_str()), (400, "bad_idempotency_key", "untouched"));
    assert_eq!(ask(&world, "/paid/ok", &one, &long[..255]).status, 200);
    let two = [("x-api-key", one.as_str()), ("idempotency-key", "a"), ("x-idempotency-key", "b")];
    assert_eq!(get(&world.url("/paid/ok"), &two).error(), "bad_idempotency_key");
}

/// Duplicates of a call that runs wait for its end, and get its answer; where that takes too long they are told to come again.
#[test]
fn duplicates_in_flight_wait_and_get_the_answer() {
    let (world, admin) = world("", "");
    let (id, secret) = key(&admin, 10);
    thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&world, "/paid/gate", &secret, "n"))).collect();
        until("the call runs", || world.origin.runs("/paid/gate") == 1);
        world.origin.let_go();
        let answers: Vec<Answer> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        let mut kinds = BTreeMap::new();
        for answer in &answers {
            assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
            *kinds.entry(replayed(answer)).or_insert(0) += 1;
        }
        assert_eq!(kinds, BTreeMap::from([(false, 1), (true, 7)]));
    });
    assert_eq!((world.origin.runs("/paid/gate"), balance(&admin, &id)), (1, 9));
}

#[test]
fn a_duplicate_that_has_waited_long_enough_is_told_to_come_again() {
    let (world, admin) = world("", "replay: { wait_ms: 50 }");
    let (_, secret) = key(&admin, 10);
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&world, "/paid/gate", &secret, "n"));
        until("the call runs", || world.origin.runs("/paid/gate") == 1);
        let second = ask(&world, "/paid/gate", &secret, "n");
        assert_eq!((second.status, second.error().as_str(), second.money().as_str()), (409, "in_flight", "held"));
        assert!(second.headers.contains_key("retry-after"));
        world.origin.let_go();
        assert_eq!(first.join().unwrap().status, 200);
    });
}

/// A 500 is kept and free; what says that it passes is asked again; what was refused before it ran is not kept.
#[test]
fn d01_a_500_is_given_out_again_and_a_503_is_asked_again() {
    let (world, admin) = world("", "");
    let (id, secret) = key(&admin, 1);
    let first = ask(&world, "/paid/500", &secret, "five");
    let again = ask(&world, "/paid/500", &secret, "five");
    assert_eq!((first.status, replayed(&first), again.status, replayed(&again)), (500, false, 500, true));
    assert_eq!(first.body, again.body);
    for _ in 0..2 {
        assert!(!replayed(&ask(&world, "/paid/503", &secret, "unavailable")));
    }
    assert_eq!((world.origin.runs("/paid/500"), world.origin.runs("/paid/503"), balance(&admin, &id)), (1, 2, 1));

    assert_eq!(ask(&world, "/paid/ok", &secret, "a").status, 200);
    assert_eq!(ask(&world, "/paid/ok", &secret, "b").error(), "insufficient_credits");
    admin.post(&format!("/admin/v1/keys/{id}/grants"), &json!({ "amount": 1 }));
    assert_eq!(ask(&world, "/paid/ok", &secret, "b").status, 200, "nothing was kept of what was refused");
}

/// mcp.md B1: an answer is its key's. Who has none, or another one, or has lost his, does not get it.
#[test]
fn b1_a_cached_answer_is_looked_up_after_who_asks_is_known() {
    let (world, admin) = world("", "");
    let ((id, one), (other, two)) = (key(&admin, 3), key(&admin, 1));
    let cached = |headers: &[(&str, &str)]| get(&world.url("/cached/ok"), headers);
    let word = |answer: &Answer| answer.headers.get("x-cache").cloned();
    let first = cached(&[("x-api-key", &one)]);
    assert_eq!((first.status, word(&first).as_deref()), (200, Some("miss")));
    let second = cached(&[("x-api-key", &one)]);
    assert_eq!((second.status, word(&second).as_deref(), second.body == first.body), (200, Some("hit"), true));
    assert!(second.headers.contains_key("age") && second.headers["cache-control"].contains("private"));
    assert_eq!((world.origin.runs("/cached/ok"), balance(&admin, &id)), (1, 1), "a hit costs what a call does");

    let nobody = cached(&[]);
    assert_eq!((nobody.status, word(&nobody)), (402, None));
    let forged = format!("pg_{}", "0".repeat(48));
    let stranger = cached(&[("x-api-key", &forged)]);
    assert_eq!((stranger.status, word(&stranger)), (401, None));
    assert!(!nobody.text().contains("served") && !stranger.text().contains("served"));
    let theirs = cached(&[("x-api-key", &two)]);
    assert_eq!((theirs.status, word(&theirs).as_deref()), (200, Some("miss")));
    assert_eq!((world.origin.runs("/cached/ok"), balance(&admin, &other)), (2, 0));
    assert_eq!(cached(&[("x-api-key", &two)]).error(), "insufficient_credits", "a hit is no way around the balance");
    assert_eq!(cached(&[("x-api-key", &one), ("cookie", "a=1")]).headers["x-cache"], "miss");
}

/// What may not be kept is not: other methods, what the upstream forbids, what failed; hits may be free.
#[test]
fn what_may_not_be_kept_is_asked_again() {
    let (world, admin) = world("cache_hits: free", "");
    let (id, secret) = key(&admin, 20);
    let headers = [("x-api-key", secret.as_str())];
    for (method, path, runs) in [
        ("GET", "/cached/ok", 1),
        ("HEAD", "/cached/ok?head", 1),
        ("POST", "/cached/ok?post", 2),
        ("GET", "/cached/no-store", 2),
        ("GET", "/cached/private", 2),
        ("GET", "/cached/500", 2),
        ("GET", "/paid/ok", 2),
    ] {
        for _ in 0..2 {
            request(method, &world.url(path), &headers, b"");
        }
        assert_eq!(world.origin.runs(&format!("{method} {path} ")), runs, "{method} {path}");
    }
    assert_eq!(balance(&admin, &id), 10, "hits and failures are free");
    let fresh = [("x-api-key", secret.as_str()), ("cache-control", "no-cache")];
    assert!(!get(&world.url("/cached/ok"), &fresh).headers.contains_key("x-cache"));
}

/// An answer is its holder's, whatever the upstream lets shared caches do with it: served, at hand, given out again, or tried out.
#[test]
fn no_shared_cache_may_keep_what_is_a_holders() {
    let (world, admin) = world("", "");
    let (_, secret) = key(&admin, 9);
    let (_, tried) = admin.key(&json!({ "name": "tried", "credits": 9, "sandbox": true }));
    let asked = |path: &str, headers: &[(&str, &str)]| {
        let answer = get(&world.url(path), headers);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let told = ["cdn-cache-control", "surrogate-control"].map(|name| answer.headers.contains_key(name));
        let control = answer.headers["cache-control"].as_str();
        assert_eq!((control, told), ("private, s-maxage=600", [false; 2]), "{path} {headers:?}");
        answer
    };
    asked("/paid/shared", &[("x-api-key", &secret)]);
    for word in ["miss", "hit"] {
        assert_eq!(asked("/cached/shared", &[("x-api-key", &secret)]).headers["x-cache"], word);
    }
    let named = [("x-api-key", secret.as_str()), ("idempotency-key", "a")];
    until("it is given out again", || replayed(&asked("/paid/shared", &named)));
    asked("/paid/shared", &[("x-api-key", &tried)]);
    // Who pays nothing is told what the upstream says.
    assert!(get(&world.url("/free/shared"), &[]).headers["cache-control"].contains("public"));
}

/// A hit that costs nothing is nobody's whose account a budget has closed.
#[test]
fn who_is_suspended_gets_no_hits() {
    let (world, admin) = world("cache_hits: free", "");
    let two = json!({ "budgets": [{ "span": "day", "measure": "calls", "limit": 1, "action": "suspend" }] });
    let (_, secret) = admin.key(&json!({ "name": "shop", "credits": 9, "policy": two }));
    let asked = |path: &str| get(&world.url(path), &[("x-api-key", &secret)]);
    for word in ["miss", "hit"] {
        assert_eq!(asked("/cached/ok").headers["x-cache"], word);
    }
    let over = asked("/paid/ok");
    assert_eq!(over.error(), "quota_exceeded");
    let closed = asked("/paid/ok");
    let hit = asked("/cached/ok");
    assert_eq!((hit.status, hit.error()), (closed.status, closed.error()));
    assert!(!hit.headers.contains_key("x-cache") && hit.status >= 400, "{}", hit.text());
}
