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
