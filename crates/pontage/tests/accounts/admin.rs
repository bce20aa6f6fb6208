//! The admin API.

#[path = "admin/conforms.rs"]
mod conforms;
#[path = "admin/operated.rs"]
mod operated;

use serde_json::json;
use xtask::chain::ChainOptions;

use crate::kit::{ADMIN, Admin, GateOptions, World, get};

fn world() -> (World, Admin) {
    let options = GateOptions { more: format!("accounts: {{}}\n{ADMIN}"), ..GateOptions::default() };
    let world = World::with(ChainOptions::default(), &options);
    let admin = Admin::of(&world.gate);
    (world, admin)
}

/// A grant is given once for each key of a request, and what is tried only changes nothing.
#[test]
fn a_balance_is_raised_once() {
    let (world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "shop", "credits": 5 }));
    let path = format!("/admin/v1/keys/{id}");
    let balance = || admin.get(&format!("{path}/balance")).json()["balance"].as_u64();
    assert_eq!(balance(), Some(5));

    let tried = admin.post(&format!("{path}/grants?dry_run=true"), &json!({ "amount": 7 })).json();
    assert_eq!((&tried["dry_run"], &tried["changes"]), (&json!(true), &json!(true)), "{tried}");
    assert_eq!((&tried["before"]["balance"], &tried["after"]["balance"]), (&json!(5), &json!(12)));
    assert_eq!(balance(), Some(5));

    let asked = json!({ "amount": 7, "label": "gift" });
    let first = admin.post_once(&format!("{path}/grants"), &asked, "order-1");
    let again = admin.post_once(&format!("{path}/grants"), &asked, "order-1");
    assert_eq!((first.status, first.json()["balance"].as_u64()), (200, Some(12)), "{}", first.text());
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(again.headers.get("idempotent-replayed").map(String::as_str), Some("true"));
    let other = admin.post_once(&format!("{path}/grants"), &json!({ "amount": 8 }), "order-1");
    assert_eq!((other.status, other.error().as_str()), (422, "idempotency_key_reused"));
    assert_eq!(balance(), Some(12));

    // The balance pays for a call, and the call can be given back.
    let paid = get(&world.url("/paid/ok"), &[("x-api-key", &secret)]);
    assert_eq!(paid.status, 200, "{}", paid.text());
    let charges = admin.get(&format!("{path}/charges")).json();
    let charge = charges["charges"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(charges["charges"][0]["captured"], 1, "{charges}");
    let refunded = admin.post(&format!("/admin/v1/charges/{charge}/refund"), &json!({}));
    assert_eq!((refunded.status, &refunded.json()["refunded"]), (200, &json!(1)), "{}", refunded.text());
    assert_eq!(balance(), Some(12));

    let acts = admin.get("/admin/v1/audit").json();
    let names: Vec<&str> = acts["acts"].as_array().unwrap().iter().filter_map(|act| act["action"].as_str()).collect();
    assert_eq!(names, ["refund", "grant", "create_key"], "what was only tried or repeated is not among them");
    assert_eq!(acts["acts"][1]["before"]["balance"], 5);
    assert_eq!(acts["acts"][1]["after"]["balance"], 12);
    assert!(!acts.to_string().contains(&secret));
    assert_eq!(acts["acts"][1]["asked"]["body"]["label"], "gift");
}

/// Who has no token is told how to get one; a viewer reads, an admin changes balances, an owner makes admins.
#[test]
fn roles_and_tokens() {
    let (_world, owner) = world();
    let nobody = owner.with("nobody-has-this-token");
    assert_eq!((nobody.get("/admin/v1/me").status, nobody.get("/admin/v1/nothing").status), (401, 401));
    assert!(nobody.get("/admin/v1/me").text().contains("PONTAGE_ADMIN_TOKEN"));
    let token = |name: &str, role: &str| {
        let made = owner.post("/admin/v1/admins", &json!({ "name": name, "role": role }));
        assert_eq!(made.status, 200, "{}", made.text());
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["token"].as_str().unwrap().to_owned())
    };
    let ((viewer_id, viewer), (_, admin)) = (token("reader", "viewer"), token("clerk", "admin"));
    let (viewer, admin) = (owner.with(&viewer), owner.with(&admin));
    let (id, _) = admin.key(&json!({ "name": "a", "credits": 5 }));
    let path = format!("/admin/v1/keys/{id}");
    for (who, method, path, body, want) in [
        (&viewer, "GET", format!("{path}/balance"), json!(null), 200),
        (&viewer, "GET", "/admin/v1/audit".to_owned(), json!(null), 200),
        (&viewer, "POST", format!("{path}/grants"), json!({ "amount": 1 }), 403),
        (&viewer, "POST", format!("{path}/grants?dry_run=true"), json!({ "amount": 1 }), 403),
        (&viewer, "GET", "/admin/v1/admins".to_owned(), json!(null), 403),
        (&admin, "POST", format!("{path}/grants"), json!({ "amount": 1 }), 200),
        (&admin, "POST", "/admin/v1/admins".to_owned(), json!({ "name": "x", "role": "owner" }), 403),
        (&admin, "PUT", "/admin/v1/maintenance".to_owned(), json!({}), 403),
        (&admin, "POST", "/admin/v1/backups".to_owned(), json!(null), 403),
        (&owner, "POST", "/admin/v1/admins".to_owned(), json!({ "name": "clerk", "role": "viewer" }), 409),
        (&owner, "POST", format!("/admin/v1/admins/{viewer_id}/revoke"), json!(null), 200),
        (&viewer, "GET", "/admin/v1/me".to_owned(), json!(null), 401),
    ] {
        let answer = who.ask(method, &path, &[], body.to_string().as_bytes());
        assert_eq!(answer.status, want, "{method} {path}: {}", answer.text());
    }
}

/// While the gate is closed no call is taken and no money moves, also after a restart; health and this API go on.
#[test]
fn maintenance_outlives_the_process() {
    let (mut world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
    let status = |world: &World| get(&world.url("/status"), &[]).json()["status"].clone();
    assert_eq!(status(&world), "operating");
    let begun = admin.ask("PUT", "/admin/v1/maintenance", &[], br#"{"message":"Back at noon."}"#);
    assert_eq!((begun.status, &begun.json()["status"]), (200, &json!("maintenance")), "{}", begun.text());
    let closed = |world: &World| {
        for path in ["/paid/ok", "/free/ok"] {
            let answer = get(&world.url(path), &[("x-api-key", &secret)]);
            assert_eq!((answer.status, answer.error().as_str()), (503, "maintenance_mode"));
            assert!(answer.text().contains("Back at noon.") && answer.text().contains("\"money\":\"untouched\""));
            assert_eq!(answer.headers.get("retry-after").map(String::as_str), Some("60"));
        }
        let headers = [("x-api-key", secret.as_str()), ("content-type", "application/json")];
        let topped = crate::kit::request("POST", &world.url("/__pay/topup"), &headers, br#"{"amount":"1"}"#);
        assert_eq!((topped.status, topped.error().as_str()), (503, "maintenance_mode"), "no money is taken either");
        assert_eq!((status(world), get(&world.url("/livez"), &[]).status), (json!("maintenance"), 200));
    };
    closed(&world);
    world.gate.stop();
    world.gate.restart();
    closed(&world);
    let admin = Admin::of(&world.gate);
    assert_eq!(admin.ask("DELETE", "/admin/v1/maintenance", &[], b"").json()["status"], "operating");
    assert_eq!(get(&world.url("/paid/ok"), &[("x-api-key", &secret)]).status, 200);
    assert_eq!(admin.get(&format!("/admin/v1/keys/{id}/balance")).json()["balance"], 4);
}

/// What is not taken is refused with a word and a field, and changes nothing.
#[test]
fn hostile_input_is_refused() {
    let (_world, admin) = world();
    let (id, _) = admin.key(&json!({ "name": "a", "credits": 5 }));
    let grants = format!("/admin/v1/keys/{id}/grants");
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let long = format!("{{\"amount\":1,\"label\":\"{}\"}}", "x".repeat(101));
    let huge = format!("{{\"amount\":1,\"label\":\"{}\"}}", "x".repeat(1 << 20));
    for (body, status, field) in [
        ("", 400, "body"),
        ("nonsense", 400, "body"),
        (deep.as_str(), 400, "body"),
        ("{}", 400, "body"),
        (r#"{"amount":0}"#, 400, "amount"),
        (r#"{"amount":-1}"#, 400, "amount"),
        (r#"{"amount":1.5}"#, 400, "amount"),
        (r#"{"amount":1e3}"#, 400, "amount"),
        (r#"{"amount":"pg_secret"}"#, 400, "amount"),
        (r#"{"amount":1000000000000001}"#, 400, "amount"),
        (r#"{"amount":1,"amount":2}"#, 400, "body"),
        (r#"{"amount":1,"other":2}"#, 400, "other"),
        (r#"{"amount":1,"label":"a\u0007b"}"#, 400, "label"),
        (r#"{"amount":1,"expires_at_ms":1}"#, 400, "expires_at_ms"),
        (r#"{"amount":1} {}"#, 400, "body"),
        (long.as_str(), 400, "label"),
        (huge.as_str(), 413, ""),
    ] {
        let answer = admin.ask("POST", &grants, &[], body.as_bytes());
        let shown = &body[..body.len().min(80)];
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        let told = answer.json();
        assert_eq!(told["field"].as_str().unwrap_or_default(), field, "{shown}: {told}");
        assert_eq!(told["money"], "untouched");
        assert!(!answer.text().contains("pg_secret"), "{}", answer.text());
    }
    for (path, status) in [
        (format!("{grants}?limit=1"), 400),
        ("/admin/v1/usage?limit=0".to_owned(), 400),
        ("/admin/v1/usage?limit=10001".to_owned(), 400),
        ("/admin/v1/usage?limit=1&limit=2".to_owned(), 400),
        ("/admin/v1/usage?key=0x".to_owned(), 400),
        ("/admin/v1/usage?tag=a%22b=c".to_owned(), 400),
        ("/admin/v1/usage?tag=team=%27%20OR%201=1".to_owned(), 200),
        ("/admin/v1/usage?route=%27%3B%20DROP%20TABLE%20charges".to_owned(), 200),
        ("/admin/v1/usage?nothing=1".to_owned(), 400),
        ("/admin/v1/usage?dry_run=true".to_owned(), 400),
        ("/admin/v1/keys/../audit".to_owned(), 404),
    ] {
        assert_eq!(admin.get(&path).status, status, "{path}");
    }
    assert_eq!(admin.get(&format!("/admin/v1/keys/{id}/balance")).json()["balance"], 5);
}

/// Every answer has what keeps browsers out, and a name that the caller may choose.
#[test]
fn headers_of_every_answer() {
    let (_world, admin) = world();
    for path in ["/livez", "/docs", "/admin/v1/me", "/admin/v1/openapi.json", "/nothing", "/admin/v1/nothing"] {
        let answer = admin.ask("GET", path, &[("x-request-id", "mine-1")], b"");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-xss-protection", "0"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-request-id", "mine-1"),
        ] {
            assert_eq!(answer.headers.get(name).map(String::as_str), Some(value), "{path} {name}");
        }
        assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'"));
        assert!(!answer.headers.contains_key("x-powered-by"));
    }
    let drawn = admin.ask("GET", "/livez", &[("x-request-id", "not one word")], b"").headers["x-request-id"].clone();
    assert!(drawn.len() == 20 && drawn.starts_with("req_"), "{drawn}");
}

/// What was called can be had by key, route, time and tag, in pages, and as CSV.
#[test]
fn usage_is_found_and_summed() {
    let (world, admin) = world();
    let (one, first) = admin.key(&json!({ "name": "one", "credits": 10 }));
    let (_, second) = admin.key(&json!({ "name": "two", "credits": 10 }));
    for (secret, path) in [(&first, "/paid/ok"), (&first, "/paid/other"), (&second, "/paid/ok")] {
        assert_eq!(get(&world.url(path), &[("x-api-key", secret)]).status, 200);
    }
    let count = |path: &str| admin.get(path).json()["charges"].as_array().map(Vec::len);
    assert_eq!(count("/admin/v1/usage"), Some(3));
    assert_eq!(count(&format!("/admin/v1/usage?key={one}")), Some(2));
    assert_eq!(count(&format!("/admin/v1/keys/{one}/usage")), Some(2));
    assert_eq!(count("/admin/v1/usage?to_ms=1000"), Some(0));
    assert_eq!(count("/admin/v1/usage?state=released"), Some(0));
    let page = admin.get("/admin/v1/usage?limit=2").json();
    let rest = count(&format!("/admin/v1/usage?limit=2&cursor={}", page["next"].as_str().unwrap()));
    assert_eq!((page["charges"].as_array().map(Vec::len), rest), (Some(2), Some(1)));
    let csv = admin.get("/admin/v1/usage?format=csv");
    assert!(csv.headers["content-type"].starts_with("text/csv"));
    assert_eq!(csv.text().lines().count(), 4, "{}", csv.text());
    let sums = admin.get("/admin/v1/usage/summary").json();
    let of_one = sums["sums"].as_array().unwrap().iter().find(|sum| sum["group"] == one.as_str()).cloned();
    assert_eq!(of_one.map(|sum| (sum["captured"].clone(), sum["amount"].clone())), Some((json!(2), json!(2))));
    assert_eq!(admin.get("/admin/v1/usage/summary?by=route").json()["sums"][0]["charges"], 3);
    let day = &admin.get("/admin/v1/usage/summary?by=day").json()["sums"][0]["group"];
    assert_eq!(day.as_str().map(str::len), Some(10), "{day}");
}
