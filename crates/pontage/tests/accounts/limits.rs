//! Rates, quotas and spend guards.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};
use xtask::chain::ChainOptions;

use super::kit::{ADMIN, Admin, Answer, GateOptions, World, get, until};

fn world(accounts: &str, routes: &'static str) -> (World, Admin) {
    let defaults = GateOptions::default();
    let routes = if routes.is_empty() { defaults.routes } else { routes };
    let options = GateOptions { more: format!("accounts: {{ {accounts} }}\n{ADMIN}"), routes, ..defaults };
    let world = World::with(ChainOptions::default(), &options);
    let admin = Admin::of(&world.gate);
    (world, admin)
}

fn key(admin: &Admin, credits: u64, policy: &Value) -> (String, String) {
    admin.key(&json!({ "name": "shop", "credits": credits, "policy": policy }))
}

fn paid(world: &World, secret: &str) -> Answer {
    get(&world.url("/paid/ok"), &[("x-api-key", secret)])
}

fn balance(admin: &Admin, id: &str) -> u64 {
    let told = admin.get(&format!("/admin/v1/keys/{id}/balance")).json();
    told["balance"].as_u64().unwrap_or_else(|| panic!("{told}"))
}

/// What so many calls at once were answered, by status and error.
fn at_once(world: &World, secret: &str, calls: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..calls).map(|_| scope.spawn(|| paid(world, secret))).collect();
        for answer in asking.into_iter().map(|asked| asked.join().unwrap()) {
            *counts.entry(format!("{} {}", answer.status, answer.error()).trim().to_owned()).or_insert(0) += 1;
        }
    });
    counts
}

fn counts<const N: usize>(want: [(&str, usize); N]) -> BTreeMap<String, usize> {
    want.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

/// P-044: quotas by calls and by credits, of which each is exact whoever comes at once.
#[test]
fn p044_sixty_four_calls_at_once_and_a_quota_of_ten() {
    let (world, admin) = world("", "");
    let calls = json!({ "budgets": [{ "span": "month", "measure": "calls", "limit": 10, "action": "deny" }] });
    let (id, secret) = key(&admin, 1_000, &calls);
    assert_eq!(at_once(&world, &secret, 64), counts([("200", 10), ("429 quota_exceeded", 54)]));
    assert_eq!((balance(&admin, &id), world.origin.runs("/paid/ok")), (990, 10));
    let refused = paid(&world, &secret);
    let told = refused.json();
    assert_eq!(
        (told["scope"].as_str(), told["window"].as_str(), told["used"].as_u64()),
        (Some("key"), Some("month"), Some(10))
    );
    assert_eq!((refused.money().as_str(), refused.headers["x-credits-remaining"].as_str()), ("untouched", "990"));
    let wait: u64 = refused.headers["retry-after"].parse().unwrap();
    assert!((1..=31 * 86_400).contains(&wait), "{wait}");

    let credits = json!({ "budgets": [{ "span": "day", "measure": "amount", "limit": 10, "burst_percent": 20, "action": "deny" }] });
    let (id, secret) = key(&admin, 1_000, &credits);
    assert_eq!(at_once(&world, &secret, 64), counts([("200", 12), ("429 spending_limit_reached", 52)]));
    assert_eq!(balance(&admin, &id), 988);
}

/// What is not charged does not count, and what the balance does not pay for neither.
#[test]
fn what_the_upstream_refuses_uses_no_quota() {
    let (world, admin) = world("", "");
    let two = json!({ "budgets": [{ "span": "day", "measure": "calls", "limit": 2, "action": "deny" }] });
    let (id, secret) = key(&admin, 2, &two);
    for _ in 0..5 {
        assert_eq!(get(&world.url("/paid/500"), &[("x-api-key", &secret)]).status, 500);
    }
    assert_eq!(at_once(&world, &secret, 8), counts([("200", 2), ("429 quota_exceeded", 6)]));
    assert_eq!(balance(&admin, &id), 0);
}

/// P-045, P-050: the four things that a budget does, of keys, routes and the gate.
#[test]
fn p045_budgets_warn_throttle_and_deny() {
    let (world, admin) = world(
        "budgets: [{ scope: gate, per: day, usd: \"0.06\", action: warn }]",
        "  - { path: /free/*, free: true }\n  - path: /paid/*\n    price: \"0.01\"\n    budgets:\n      - { scope: key, per: day, calls: 3, action: throttle, throttle_s: 3600 }\n      - { scope: route, per: lifetime, calls: 8 }\n",
    );
    let (_, one) = key(&admin, 100, &json!({}));
    let (_, two) = key(&admin, 100, &json!({}));
    let asked = |secret: &str| {
        let answer = paid(&world, secret);
        let warning = answer.headers.get("x-budget-warning").cloned().unwrap_or_default();
        (answer.status, answer.error(), warning)
    };
    let ok = |warning: &str| (200, String::new(), warning.to_owned());
    for _ in 0..3 {
        assert_eq!(asked(&one), ok(""));
    }
    assert_eq!(asked(&one), ok("key_route;day;calls;max=3"), "a trickle");
    assert_eq!(asked(&one).1, "quota_exceeded", "no more for an hour");
    assert_eq!((asked(&two), asked(&two)), (ok(""), ok("")), "another key has its own");
    assert_eq!(asked(&two), ok("gate;day;amount;max=60000"), "seven cents of six: told of, and served");
    assert_eq!(asked(&two).0, 200, "its trickle, and the eighth of the route");
    let (_, three) = key(&admin, 100, &json!({}));
    let never = paid(&world, &three);
    assert_eq!((never.status, never.error().as_str()), (403, "quota_exceeded"), "{}", never.text());
    assert!(!never.headers.contains_key("retry-after") && never.json()["scope"] == "route");
    until("the log tells of it", || world.gate.log().contains("a call above a budget was served"));
}

/// P-050: a key that goes above what suspends is suspended, whatever it calls, also after a restart; others are not.
#[test]
fn p050_a_cap_suspends_a_key_and_survives_a_restart() {
    let (mut world, admin) = world(
        "budgets: [{ scope: key, per: lifetime, calls: 2, action: suspend }]",
        "  - { path: /paid/*, price: \"0.01\" }\n  - { path: /other/*, price: \"0.01\" }\n",
    );
    let (id, one) = key(&admin, 100, &json!({}));
    let (_, two) = key(&admin, 100, &json!({}));
    assert_eq!(at_once(&world, &one, 2), counts([("200", 2)]));
    assert_eq!(paid(&world, &one).error(), "quota_exceeded");
    world.gate.kill_and_restart();
    let other = get(&world.url("/other/ok"), &[("x-api-key", &one)]);
    assert_eq!((other.status, other.error().as_str(), other.money().as_str()), (403, "key_suspended", "untouched"));
    assert_eq!(paid(&world, &two).status, 200);
    // Who has suspended nobody opens it again; the next call above the cap closes it.
    let admin = Admin::of(&world.gate);
    let resumed = admin.post(&format!("/admin/v1/keys/{id}/resume"), &json!({}));
    assert_eq!(resumed.status, 200, "{}", resumed.text());
    assert_eq!(
        (paid(&world, &one).error().as_str(), paid(&world, &one).error().as_str()),
        ("quota_exceeded", "key_suspended")
    );
}

/// mcp.md B12: the cap of one key is not that of another whose secret begins alike, and no digest is told.
#[test]
fn b12_budgets_are_of_keys_and_not_of_the_beginnings_of_their_secrets() {
    let (world, admin) = world("budgets: [{ scope: key, per: day, calls: 1 }]", "");
    for _ in 0..3 {
        let (_, secret) = key(&admin, 5, &json!({}));
        assert_eq!(at_once(&world, &secret, 4), counts([("200", 1), ("429 quota_exceeded", 3)]));
        assert!(!paid(&world, &secret).text().contains(&secret[..10]));
    }
}

/// P-038: topped up below its threshold, once in a step, so often in a day; numbers out of bounds are refused.
#[test]
fn p038_a_balance_tops_itself_up() {
    let (world, admin) = world("", "");
    let rule = |amount: &Value| json!({ "auto_topup": { "below": 2, "amount": amount, "per_day": 3 } });
    let (id, secret) = key(&admin, 0, &rule(&json!(4)));
    assert_eq!(at_once(&world, &secret, 40), counts([("200", 12), ("402 insufficient_credits", 28)]));
    let grants = admin.get(&format!("/admin/v1/keys/{id}/balance"));
    assert_eq!(balance(&admin, &id), 0, "{}", grants.text());
    for amount in [json!(0), json!(100_000_001), json!(-1), json!(1.5), json!("NaN"), json!(1e300), Value::Null] {
        let refused = admin.post("/admin/v1/keys", &json!({ "name": "x", "policy": rule(&amount) }));
        assert_eq!(refused.status, 400, "{amount}: {}", refused.text());
    }
}

/// Q1, D-17: the rates of a key, of a key on a route, and of its policy; what each answer says of them.
#[test]
fn rates_are_of_keys_and_of_keys_on_routes() {
    let (world, admin) = world(
        "rate_per_key: 5/min",
        "  - { path: /paid/*, price: \"0.01\" }\n  - { path: /tight/*, price: \"0.01\", rate_per_key: 2/min }\n",
    );
    let (id, secret) = key(&admin, 100, &json!({}));
    let ask = |path: &str, secret: &str| get(&world.url(path), &[("x-api-key", secret)]);
    let first = ask("/tight/ok", &secret);
    let header = |answer: &Answer, name: &str| answer.headers[name].clone();
    assert_eq!(first.status, 200);
    assert_eq!(
        (header(&first, "ratelimit-limit"), header(&first, "ratelimit-remaining")),
        ("2".to_owned(), "1".to_owned())
    );
    assert_eq!(header(&first, "x-ratelimit-remaining"), "1", "the tightest");
    assert!(header(&first, "ratelimit-reset").parse::<u64>().unwrap() <= 60);
    assert_eq!(ask("/tight/ok", &secret).status, 200);
    let refused = ask("/tight/ok", &secret);
    assert_eq!((refused.status, refused.error().as_str()), (429, "rate_limited"));
    let wait: u64 = header(&refused, "retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(header(&refused, "x-credits-remaining"), "98");
    assert_eq!(ask("/paid/ok", &secret).status, 200, "another route");
    assert_eq!(balance(&admin, &id), 97);

    let wide =
        json!({ "rates": [{ "calls": 20, "span_s": 60 }, { "calls": 1, "span_s": 60, "routes": "GET /paid/one" }] });
    let (_, secret) = key(&admin, 100, &wide);
    let statuses: Vec<u16> = (0..8).map(|_| ask("/paid/ok", &secret).status).collect();
    assert_eq!(statuses, [200; 8], "its own rate in the place of everybody's");
    assert_eq!((ask("/paid/one", &secret).status, ask("/paid/one", &secret).status), (200, 429));
    let text = get(&format!("{}/metrics", admin.url), &[]).text();
    assert!(text.contains("limit=\"key\"} 2") || text.contains("limit=\"key\"} 2\n"), "{text}");
}

/// Q3: so many calls of a key run at once; further ones wait, and where none may wait they are told so at once.
#[test]
fn calls_in_flight_are_bounded_for_a_key_and_for_a_route() {
    let (world, admin) = world_with_line(
        "in_flight_per_key: 1",
        "  - { path: /paid/*, price: \"0.01\" }\n  - { path: /narrow/*, price: \"0.01\", in_flight_max: 1 }\n",
        "in_flight: { queue_max: 0 }",
    );
    let (id, one) = key(&admin, 100, &json!({}));
    let (_, two) = key(&admin, 100, &json!({ "in_flight_max": 5 }));
    let ask = |path: &str, secret: &str| get(&world.url(path), &[("x-api-key", secret)]);
    thread::scope(|scope| {
        let running = scope.spawn(|| ask("/narrow/gate", &one));
        until("the call runs", || world.origin.runs("/narrow/gate") == 1);
        let crowded = ask("/paid/ok", &one);
        assert_eq!((crowded.status, crowded.error().as_str()), (429, "too_many_in_flight"), "{}", crowded.text());
        assert_eq!((crowded.money().as_str(), crowded.headers["retry-after"].as_str()), ("untouched", "1"));
        assert_eq!(ask("/narrow/ok", &two).error(), "too_many_in_flight", "the route's only turn");
        assert_eq!(ask("/paid/ok", &two).status, 200, "another key on another route");
        world.origin.let_go();
        assert_eq!(running.join().unwrap().status, 200);
    });
    assert_eq!(ask("/narrow/ok", &one).status, 200);
    assert_eq!(balance(&admin, &id), 98);
}

/// mcp.md B14: whoever has no key takes no turn, so that nobody with one waits for him.
#[test]
fn b14_callers_without_a_key_take_no_turns() {
    let (world, admin) = world_with_line("", "", "in_flight: { max: 2, queue_max: 0 }");
    let (_, secret) = key(&admin, 100, &json!({}));
    let forged = format!("pg_{}", "0".repeat(48));
    thread::scope(|scope| {
        let strangers: Vec<_> = (0..40)
            .map(|nth| {
                let (url, forged) = (world.url("/paid/gate"), &forged);
                scope.spawn(move || match nth % 2 {
                    0 => get(&url, &[("x-api-key", forged)]),
                    _ => get(&url, &[]),
                })
            })
            .collect();
        for _ in 0..10 {
            assert_eq!(paid(&world, &secret).status, 200);
        }
        for stranger in strangers {
            assert!([401, 402].contains(&stranger.join().unwrap().status));
        }
    });
    assert_eq!(world.origin.runs("/paid/gate"), 0);
}

fn world_with_line(accounts: &str, routes: &'static str, line: &str) -> (World, Admin) {
    let defaults = GateOptions::default();
    let routes = if routes.is_empty() { defaults.routes } else { routes };
    let more =
        format!("accounts: {{ {accounts} }}\n{line}\nrate_limits: {{ per_agent: off, verification: off }}\n{ADMIN}");
    let world = World::with(ChainOptions::default(), &GateOptions { more, routes, ..defaults });
    let admin = Admin::of(&world.gate);
    (world, admin)
}

/// Who waits longest for his turn is served first, but for who has a better place.
#[test]
fn a_better_place_is_served_first() {
    let (world, admin) = world_with_line("", "", "in_flight: { max: 1, queue_max: 10, queue_wait_ms: 30000 }");
    let (_, holds) = key(&admin, 10, &json!({}));
    let (_, last) = key(&admin, 10, &json!({ "priority": 9 }));
    let (_, first) = key(&admin, 10, &json!({ "priority": 0 }));
    let waiting = |count: usize| {
        let line = format!("pontage_calls_queued {count}\n");
        until("the calls wait", || get(&format!("{}/metrics", admin.url), &[]).text().contains(&line));
    };
    thread::scope(|scope| {
        let ask = |path: &'static str, secret: &str| {
            let (url, secret) = (world.url(path), secret.to_owned());
            scope.spawn(move || get(&url, &[("x-api-key", &secret)]).status)
        };
        let mut asked = vec![ask("/paid/gate", &holds)];
        until("the first runs", || world.origin.runs("/paid/gate") == 1);
        asked.push(ask("/paid/late", &last));
        waiting(1);
        asked.push(ask("/paid/early", &first));
        waiting(2);
        world.origin.let_go();
        for asked in asked {
            assert_eq!(asked.join().unwrap(), 200);
        }
    });
    assert!(world.origin.last().line.contains("/paid/late"));
}
