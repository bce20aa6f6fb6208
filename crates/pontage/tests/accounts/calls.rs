//! A call that is paid from a balance.

use std::thread;

use serde_json::{Value, json};
use xtask::chain::ChainOptions;

use super::kit::{ADMIN, Admin, Answer, GateOptions, World, get, request, try_request, until};

const ROUTES: &str = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n  - { path: /meter/*, price: { in: credits, call: 2, per_kb_out: 1, max: 9, offer: \"0.10\" } }\n";

fn world() -> (World, Admin) {
    let options = GateOptions { more: format!("accounts: {{}}\n{ADMIN}"), routes: ROUTES, ..GateOptions::default() };
    let world = World::with(ChainOptions::default(), &options);
    let admin = Admin::of(&world.gate);
    (world, admin)
}

pub(super) fn call(world: &World, path: &str, secret: &str) -> Answer {
    get(&world.url(path), &[("x-api-key", secret)])
}

fn left(answer: &Answer) -> Option<&str> {
    answer.headers.get("x-credits-remaining").map(String::as_str)
}

fn balance(admin: &Admin, id: &str) -> Value {
    admin.get(&format!("/admin/v1/keys/{id}/balance")).json()
}

/// A balance for ten, and 64 at once: ten are served, and no more.
#[test]
fn sixty_four_at_once_on_a_balance_for_ten() {
    let (world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "crowd", "credits": 10 }));
    let served = thread::scope(|scope| {
        let calls: Vec<_> = (0..64).map(|_| scope.spawn(|| call(&world, "/paid/ok", &secret))).collect();
        calls
            .into_iter()
            .map(|call| call.join().unwrap())
            .filter(|answer| {
                let fits = matches!(answer.status, 200 | 402);
                assert!(fits && left(answer).is_some(), "{} {}", answer.status, answer.text());
                answer.status == 200
            })
            .count()
    });
    assert_eq!(served, 10);
    let holder = call(&world, "/__pay/balance", &secret).json();
    assert_eq!((&holder["available"], &holder["spent"], &holder["calls"]), (&json!(0), &json!(10), &json!(10)));
    assert_eq!(balance(&admin, &id)["balance"], 0);
    assert_eq!(world.origin.runs("/paid/ok"), 10);
}

/// What a failed call costs: nothing. An upstream that says so, one that is gone, and one that breaks its answer off.
#[test]
fn a_failed_call_is_not_charged() {
    let (world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
    let failed = call(&world, "/paid/500", &secret);
    assert_eq!((failed.status, left(&failed)), (500, Some("5")), "{}", failed.text());
    let reset = call(&world, "/paid/reset", &secret);
    assert_eq!((reset.status, left(&reset)), (502, Some("5")), "{}", reset.text());
    let half = try_request("GET", &world.url("/paid/half"), &[("x-api-key", &secret)], b"");
    assert!(half.is_err(), "{half:?}");
    until("what was taken for half an answer is back", || balance(&admin, &id)["balance"] == 5);
    assert_eq!(left(&call(&world, "/paid/ok", &secret)), Some("4"));
}

/// A journal that is gone when an answer is to be charged: its caller reads that in the answer's place, and owes nothing.
#[test]
fn an_answer_that_could_not_be_charged_costs_nothing() {
    for path in ["/paid/gate", "/meter/gate"] {
        let (world, admin) = world();
        let (id, secret) = admin.key(&json!({ "name": "a", "credits": 20 }));
        let journal = world.gate.journal();
        let kept = journal.with_extension("kept");
        let unserved = thread::scope(|scope| {
            let asked = scope.spawn(|| call(&world, path, &secret));
            until("the call is run", || world.origin.runs(path) == 1);
            std::fs::rename(&journal, &kept).unwrap();
            world.origin.let_go();
            asked.join().unwrap()
        });
        assert_eq!((unserved.status, unserved.error().as_str()), (503, "journal_unavailable"), "{path}");
        std::fs::rename(&kept, &journal).unwrap();
        until("the charge has ended", || balance(&admin, &id)["held"] == 0);
        let history = call(&world, "/__pay/balance/history", &secret).json();
        assert_eq!(balance(&admin, &id)["balance"], 20, "{path}: {history}");
    }
}

/// Too little: what is missing, where to get it, and the challenge of who would rather pay this call.
#[test]
fn too_little_is_said_with_what_would_pay() {
    let (world, admin) = world();
    let (_, secret) = admin.key(&json!({ "name": "a" }));
    let short = call(&world, "/paid/ok", &secret);
    assert_eq!((short.status, short.error().as_str(), left(&short)), (402, "insufficient_credits", Some("0")));
    let body = short.json();
    assert_eq!(
        (&body["creditsRequired"], &body["remainingCredits"], &body["money"], &body["topUpUrl"]),
        (&json!(1), &json!(0), &json!("untouched"), &json!("/__pay/topup"))
    );
    assert!(short.headers.contains_key("payment-required") && body["accepts"].is_array(), "{body}");
    assert_eq!(world.origin.runs("/paid/ok"), 0);
}

/// A key that is none is told so at once, and never reaches the upstream; one of the upstream's own does.
#[test]
fn keys_that_are_not_ours_are_left_alone() {
    let (world, admin) = world();
    let (_, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
    let nobodys = call(&world, "/paid/ok", &format!("pg_{}", "0".repeat(48)));
    assert_eq!((nobodys.status, nobodys.error().as_str()), (401, "invalid_api_key"));
    assert_eq!(nobodys.headers.get("www-authenticate").map(String::as_str), Some("Bearer"));
    let theirs = call(&world, "/paid/ok", "of-the-upstream");
    assert_eq!((theirs.status, theirs.error().as_str()), (402, "payment_required"));
    let bearer = get(&world.url("/paid/ok"), &[("authorization", &format!("Bearer {secret}"))]);
    assert_eq!((bearer.status, left(&bearer)), (200, Some("4")), "{}", bearer.text());
    assert_eq!(call(&world, "/free/ok", &secret).status, 200);
    let beside = [("x-api-key", secret.as_str()), ("sign-in-with-x", "a")];
    assert_eq!(get(&world.url("/free/ok"), &beside).status, 200, "nothing is sold here");
    assert_eq!(get(&world.url("/paid/ok"), &beside).status, 200);
}

/// Guessing is slow where the holder asks, too.
#[test]
fn unknown_secrets_take_from_the_bucket_of_their_address() {
    let limits = "rate_limits: { per_agent: 2/min, verification: off }\n";
    let more = format!("accounts: {{}}\n{limits}{ADMIN}");
    for (method, path) in [("GET", "/__pay/balance"), ("POST", "/__pay/account/rotate"), ("POST", "/__pay/quote")] {
        let options = GateOptions { more: more.clone(), routes: ROUTES, ..GateOptions::default() };
        let world = World::with(ChainOptions::default(), &options);
        let (_, secret) = Admin::of(&world.gate).key(&json!({ "name": "a", "credits": 5 }));
        let ask = |secret: &str| {
            let body: &[u8] = if path.ends_with("quote") { br#"{"url":"/free/ok"}"# } else { b"" };
            request(method, &world.url(path), &[("x-api-key", secret), ("content-type", "application/json")], body)
                .status
        };
        let guess = |number: u32| format!("pg_{number:048x}");
        assert_eq!([0, 1, 2].map(|number| ask(&guess(number))), [401, 401, 429], "{path}");
        if method == "GET" {
            assert_eq!(ask(&secret), 200, "whoever has a key is not held up");
        }
    }
}

/// The holder sees what he has and where it went, by the gate's path and by the short one.
#[test]
fn the_holder_sees_his_balance_and_its_history() {
    let (world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
    assert_eq!(call(&world, "/paid/ok", &secret).status, 200);
    for path in ["/__pay/balance", "/balance"] {
        let balance = call(&world, path, &secret);
        assert_eq!(balance.status, 200, "{path}: {}", balance.text());
        let balance = balance.json();
        assert_eq!((&balance["key"], &balance["available"], &balance["spent"]), (&json!(id), &json!(4), &json!(1)));
        let history = call(&world, &format!("{path}/history?limit=10"), &secret).json();
        assert_eq!((&history["charges"][0]["taken"], &history["charges"][0]["state"]), (&json!(1), &json!("captured")));
    }
    assert_eq!(request("POST", &world.url("/__pay/balance"), &[("x-api-key", &secret)], b"").status, 405);
    assert_eq!(get(&world.url("/__pay/balance"), &[]).status, 401);
    assert_eq!(call(&world, "/__pay/balance/history?limit=x", &secret).status, 400);
}

/// What was held when the process died is given back at the next start; what was taken stays taken.
#[test]
fn a_kill_between_hold_and_capture_takes_nothing() {
    let (mut world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
    for (point, want) in [("after-charge", 5), ("before-capture", 5), ("after-capture", 4)] {
        world.gate.stop();
        world.gate.restart_to_die(point);
        let cut = try_request("GET", &world.url("/paid/ok"), &[("x-api-key", &secret)], b"");
        assert!(cut.is_err(), "{point}");
        world.gate.died(point);
        world.gate.restart();
        let found = balance(&Admin::of(&world.gate), &id);
        assert_eq!((&found["balance"], &found["held"]), (&json!(want), &json!(0)), "{point}: {found}");
    }
}

/// P-X07, the other way round: what there is outlives the process, and not in a file that is written anew for each change.
#[test]
fn px07_a_kill_forgets_nothing() {
    let (mut world, admin) = world();
    assert!(admin.ask("PUT", "/admin/v1/plans/small", &[], br#"{"policy":{"in_flight_max":3}}"#).status < 300);
    let (id, secret) = admin.key(&json!({ "name": "a", "credits": 5, "plan": "small", "tags": { "team": "blue" } }));
    let answer = call(&world, "/paid/ok", &secret);
    assert_eq!((answer.status, left(&answer)), (200, Some("4")));
    let all = |admin: &Admin| {
        let paths = ["", "/balance", "/grants", "/charges"].map(|part| format!("/admin/v1/keys/{id}{part}"));
        let others = ["/admin/v1/plans", "/admin/v1/audit", "/admin/v1/usage"].map(str::to_owned);
        paths
            .into_iter()
            .chain(others)
            .map(|path| {
                let answer = admin.get(&path);
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                answer.json()
            })
            .collect::<Vec<_>>()
    };
    let before = all(&admin);
    world.gate.kill_and_restart();
    assert_eq!(all(&Admin::of(&world.gate)), before);
    assert_eq!(left(&call(&world, "/paid/ok", &secret)), Some("3"));
}

/// PayGate's B10, the other way round: a secret is a digest in the journal, and what is taken and what the books say of it are one step.
#[test]
fn b10_secrets_are_digests_and_a_debit_is_one_step_with_its_entry() {
    for point in ["before-capture", "after-capture"] {
        let (mut world, admin) = world();
        let (id, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
        world.gate.stop();
        world.gate.restart_to_die(point);
        assert!(try_request("GET", &world.url("/paid/ok"), &[("x-api-key", &secret)], b"").is_err(), "{point}");
        world.gate.died(point);
        world.gate.restart();
        let has = balance(&Admin::of(&world.gate), &id)["balance"].as_i64().unwrap();
        world.gate.stop();
        let db = rusqlite::Connection::open(world.gate.journal()).unwrap();
        let sum = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let (captured, entries) = (
            sum("SELECT coalesce(sum(captured), 0) FROM charges"),
            sum("SELECT count(*) FROM entries WHERE kind = 'captured'"),
        );
        assert_eq!((has + captured, captured), (5, entries), "{point}");
        let file = std::fs::read(world.gate.journal()).unwrap();
        let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds(&secret) && holds(&secret[..11]), "{point}: its digest is there, and how it begins");
    }
}
