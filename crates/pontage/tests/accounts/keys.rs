//! API keys, their lives and what derives from them.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use xtask::chain::ChainOptions;

use super::kit::{ADMIN, Admin, Answer, GateOptions, World, get, request, until};

const ROUTES: &str = "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n  \
                      - { path: /other/*, price: \"0.01\", settlement: direct }\n";

fn world() -> (World, Admin) {
    let options = GateOptions { more: format!("accounts: {{}}\n{ADMIN}"), routes: ROUTES, ..GateOptions::default() };
    let world = World::with(ChainOptions::default(), &options);
    let admin = Admin::of(&world.gate);
    (world, admin)
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn call(world: &World, path: &str, secret: &str) -> Answer {
    get(&world.url(path), &[("x-api-key", secret)])
}

/// The status, and the word for it where there is one.
fn said(answer: &Answer) -> (u16, String) {
    (answer.status, if answer.status == 200 { String::new() } else { answer.error() })
}

fn denied(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn open() -> (u16, String) {
    (200, String::new())
}

fn done(answer: &Answer) -> Value {
    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
    answer.json()
}

fn patch(admin: &Admin, key: &str, change: &Value) -> Value {
    done(&admin.ask("PATCH", &format!("/admin/v1/keys/{key}"), &[], change.to_string().as_bytes()))
}

fn put(admin: &Admin, path: &str, body: &Value) -> Answer {
    admin.ask("PUT", path, &[], body.to_string().as_bytes())
}

/// A plan and the key's own policy over it; what is refused takes nothing, and says what is left.
#[test]
fn a_key_does_what_its_plan_and_its_own_policy_allow() {
    let (world, admin) = world();
    let plan = json!({ "policy": { "routes": { "allow": ["/paid/*"], "deny": ["/paid/404"] } } });
    done(&put(&admin, "/admin/v1/plans/pro", &plan));
    let (id, secret) = admin.key(&json!({ "name": "shop", "alias": "shop", "credits": 50, "plan": "pro" }));
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), open());
    let seen = world.origin.last();
    assert!(seen.headers.iter().all(|(_, value)| !value.contains(&secret)), "the upstream gets no secret: {seen:?}");
    for path in ["/other/ok", "/paid/404", "/PAID/404", "/paid/404;a=b"] {
        let answer = call(&world, path, &secret);
        assert_eq!(said(&answer), denied(403, "acl_denied"), "{path}");
        assert_eq!(
            (&answer.json()["money"], answer.headers["x-credits-remaining"].as_str()),
            (&json!("untouched"), "49")
        );
    }
    assert_eq!(world.origin.runs("/other"), 0);
    // The key has more than its plan; what the plan denies stays denied.
    patch(&admin, "shop", &json!({ "policy": { "routes": { "allow": ["GET /other/*", "/paid/*"] } } }));
    assert_eq!(said(&call(&world, "/other/ok", &secret)), open());
    assert_eq!(said(&call(&world, "/paid/404", &secret)), denied(403, "acl_denied"));
    let posted = request("POST", &world.url("/other/ok"), &[("x-api-key", &secret)], b"");
    assert_eq!(said(&posted), denied(403, "acl_denied"));
    // From elsewhere it opens nothing; the plan changes for all of its keys with the next call.
    done(&put(&admin, "/admin/v1/plans/pro", &json!({ "policy": { "addresses": ["10.0.0.0/8", "::1"] } })));
    assert_eq!(said(&call(&world, "/other/ok", &secret)), denied(403, "ip_not_allowed"));
    done(&put(&admin, "/admin/v1/plans/pro", &json!({ "policy": { "addresses": ["127.0.0.0/8"] } })));
    assert_eq!(said(&call(&world, "/other/ok", &secret)), open());
    let used = admin.ask("DELETE", "/admin/v1/plans/pro", &[], b"");
    assert_eq!(said(&used), denied(409, "plan_in_use"));
    patch(&admin, &id, &json!({ "plan": null }));
    done(&admin.ask("DELETE", "/admin/v1/plans/pro", &[], b""));
    let bad = put(&admin, "/admin/v1/plans/bad", &json!({ "policy": { "addresses": ["10.0.0.1/8"] } }));
    assert_eq!(bad.status, 400, "{}", bad.text());
}

/// Nobody's key, and keys that are the upstream's.
#[test]
fn what_is_no_key_of_ours() {
    let (world, admin) = world();
    let (_, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
    let nobody = "pg_000000000000000000000000000000000000000000000000";
    for shown in [nobody, &secret[..50], "pg_", "pgt_x.y"] {
        let answer = call(&world, "/paid/ok", shown);
        assert_eq!(said(&answer), denied(401, "invalid_api_key"), "{shown}");
        assert!(answer.headers["www-authenticate"].starts_with("Bearer"), "{:?}", answer.headers);
    }
    assert_eq!(said(&get(&world.url("/paid/ok"), &[("authorization", &format!("Bearer {secret}"))])), open());
    let two = [("x-api-key", secret.as_str()), ("authorization", &format!("Bearer {nobody}"))];
    assert_eq!(said(&get(&world.url("/paid/ok"), &two)), denied(401, "invalid_api_key"));
    // What does not look like ours is the upstream's, and pays nothing.
    let theirs = [("x-api-key", "sk_live_1"), ("authorization", "Bearer abc")];
    assert_eq!(get(&world.url("/paid/ok"), &theirs).status, 402);
    assert_eq!(get(&world.url("/free/ok"), &theirs).status, 200);
    let seen = world.origin.last().headers;
    for (name, value) in theirs {
        assert!(seen.iter().any(|(seen, of)| seen.eq_ignore_ascii_case(name) && of == value), "{name}: {seen:?}");
    }
}

/// Active, suspended, expired, revoked: by hand, by the clock and by the schedule; also after the process was killed.
#[test]
fn a_key_lives_and_ends() {
    let (mut world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "alias": "a", "credits": 50 }));
    let act = |act: &str| done(&admin.ask("POST", &format!("/admin/v1/keys/a/{act}"), &[], b""))["status"].clone();
    assert_eq!(act("suspend"), "suspended");
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(403, "key_suspended"));
    // The operator goes on with it, and its balance is its holder's.
    done(&admin.post("/admin/v1/keys/a/grants", &json!({ "amount": 5 })));
    assert_eq!(act("resume"), "active");
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), open());
    let ends_ms = now_ms() - 1_000;
    let key = patch(&admin, "a", &json!({ "expires_at_ms": ends_ms, "grace_ms": 3_600_000 }));
    assert_eq!(key["status"], "grace");
    let warned = call(&world, "/paid/ok", &secret);
    assert_eq!(said(&warned), open());
    assert!(warned.headers["sunset"].ends_with("GMT"), "{:?}", warned.headers);
    assert_eq!(patch(&admin, "a", &json!({ "grace_ms": 0 }))["status"], "expired");
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(403, "key_expired"));
    assert_eq!(world.origin.runs("/paid/ok"), 2);
    let sunset = patch(&admin, "a", &json!({ "expires_at_ms": null, "sunset_at_ms": 4_102_444_800_000u64 }));
    assert_eq!(sunset["status"], "active");
    assert_eq!(call(&world, "/paid/ok", &secret).headers["sunset"], "Fri, 01 Jan 2100 00:00:00 GMT");
    // Carried out in their time, the balance once, and by the money as well.
    for (after_ms, act) in [(300, json!({ "top_up": 7 })), (600, json!("suspend")), (86_400_000, json!("revoke"))] {
        let body = json!({ "at_ms": now_ms() + after_ms, "act": act });
        done(&admin.post("/admin/v1/keys/a/schedule", &body));
    }
    until("the schedule suspends it", || {
        said(&call(&world, "/__pay/balance", &secret)) == denied(403, "key_suspended")
    });
    until("what was due is carried out", || {
        admin.get("/admin/v1/keys/a").json()["schedule"].as_array().unwrap().len() == 1
    });
    let key = admin.get("/admin/v1/keys/a").json();
    assert_eq!((&key["state"], &key["balance"]), (&json!("suspended"), &json!(50 + 5 + 7 - 3)), "{key}");
    world.gate.kill_and_restart();
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(403, "key_suspended"));
    let admin = Admin::of(&world.gate);
    done(&admin.ask("POST", &format!("/admin/v1/keys/{id}/revoke"), &[], b""));
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(403, "key_revoked"));
    let resumed = admin.ask("POST", "/admin/v1/keys/a/resume", &[], b"");
    assert_eq!(said(&resumed), denied(409, "key_revoked"));
    assert_eq!(admin.get("/admin/v1/keys/a").json()["balance"], key["balance"], "nothing was taken");
}

/// By the operator, with an overlap; by the holder, every five minutes; balance and policy stay.
#[test]
fn a_secret_is_rotated() {
    let (world, admin) = world();
    let policy = json!({ "routes": { "allow": ["/paid/*"] } });
    let (id, first) = admin.key(&json!({ "name": "a", "credits": 50, "policy": policy }));
    let rotated = |path: &str, secret: &str| request("POST", &world.url(path), &[("x-api-key", secret)], b"");
    let second = done(&admin.post(&format!("/admin/v1/keys/{id}/rotate"), &json!({ "overlap_s": 600 })));
    assert_eq!((&second["key"]["id"], &second["key"]["policy"]), (&json!(id), &policy));
    let second = second["secret"].as_str().unwrap().to_owned();
    for secret in [&first, &second] {
        assert_eq!(said(&call(&world, "/paid/ok", secret)), open());
        assert_eq!(said(&call(&world, "/other/ok", secret)), denied(403, "acl_denied"));
    }
    let again = rotated("/__pay/account/rotate", &second);
    assert_eq!(said(&again), denied(429, "rotated_lately"), "{}", again.text());
    assert_eq!(again.headers["retry-after"], "300");
    let replaced = rotated("/__pay/account/rotate?overlap_s=0", &first);
    assert_eq!(said(&replaced), denied(403, "not_its_secret"), "{}", replaced.text());

    let (other, secret) = admin.key(&json!({ "name": "b", "credits": 9 }));
    for (path, status) in [("/__pay/account/rotate?overlap_s=x", 400), ("/__pay/account/rotate?overlap_s=86401", 400)] {
        assert_eq!(rotated(path, &secret).status, status, "{path}");
    }
    assert_eq!(said(&rotated("/__pay/account/rotate", "pg_no")), denied(401, "invalid_api_key"));
    assert_eq!(request("POST", &world.url("/__pay/account/rotate"), &[], b"").status, 401);
    assert_eq!(call(&world, "/__pay/account/rotate", &secret).status, 405);
    let mine = done(&rotated("/portal/rotate?overlap_s=0", &secret));
    let new = mine["secret"].as_str().unwrap();
    assert_eq!((&mine["key"], new.len()), (&json!(other), 51));
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(401, "invalid_api_key"));
    let paid = call(&world, "/paid/ok", new);
    assert_eq!((said(&paid), paid.headers["x-credits-remaining"].as_str()), (open(), "8"));
}

/// For less and for a while, without the journal; void by itself, with all of its key's, and with what signed it.
#[test]
fn a_token_is_a_part_of_its_key() {
    let (world, admin) = world();
    let (id, secret) =
        admin.key(&json!({ "name": "a", "credits": 50, "policy": { "routes": { "deny": ["/paid/404"] } } }));
    let issue = |body: Value| admin.post(&format!("/admin/v1/keys/{id}/tokens"), &body);
    let token =
        || done(&issue(json!({ "routes": ["GET /paid/*"], "ttl_s": 600 })))["token"].as_str().unwrap().to_owned();
    let bearer = |path: &str, token: &str| get(&world.url(path), &[("authorization", &format!("Bearer {token}"))]);
    let first = token();
    assert!(first.starts_with("pgt_"));
    let paid = bearer("/paid/ok", &first);
    assert_eq!((said(&paid), paid.headers["x-credits-remaining"].as_str()), (open(), "49"));
    assert!(world.origin.last().headers.iter().all(|(_, value)| !value.contains(&first)));
    assert_eq!(said(&bearer("/other/ok", &first)), denied(403, "acl_denied"));
    assert_eq!(said(&bearer("/paid/404", &first)), denied(403, "acl_denied"));
    let rotate = request("POST", &world.url("/__pay/account/rotate"), &[("x-api-key", &first)], b"");
    assert_eq!(said(&rotate), denied(403, "not_its_secret"));
    assert_eq!(said(&bearer("/paid/ok", &format!("{first}A"))), denied(401, "invalid_api_key"));
    let short = done(&issue(json!({ "ttl_s": 1 })))["token"].as_str().unwrap().to_owned();
    until("its second is over", || said(&bearer("/__pay/balance", &short)) == denied(401, "token_expired"));
    for body in
        [json!({ "ttl_s": 86_401 }), json!({ "ttl_s": 0 }), json!({ "routes": ["nowhere"] }), json!({ "scope": [] })]
    {
        assert_eq!(issue(body.clone()).status, 400, "{body}");
    }
    let second = token();
    done(&admin.post("/admin/v1/tokens/revoke", &json!({ "token": first })));
    assert_eq!(said(&bearer("/paid/ok", &first)), denied(401, "token_revoked"));
    assert_eq!(said(&bearer("/paid/ok", &second)), open());
    let listed = admin.get("/admin/v1/tokens/revoked").json();
    assert_eq!(listed["tokens"].as_array().or(listed["revoked"].as_array()).map(Vec::len), Some(1), "{listed}");
    done(&admin.ask("POST", &format!("/admin/v1/keys/{id}/tokens/void"), &[], b""));
    assert_eq!(said(&bearer("/paid/ok", &second)), denied(401, "token_revoked"));
    let third = token();
    done(&admin.post("/admin/v1/tokens/rotate", &json!({ "at_once": true })));
    assert_eq!(said(&bearer("/paid/ok", &third)), denied(401, "invalid_api_key"));
    done(&admin.ask("POST", &format!("/admin/v1/keys/{id}/suspend"), &[], b""));
    assert_eq!(issue(json!({})).status, 409);
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(403, "key_suspended"));
}

/// Who has read the key on its way, from a log, cannot use it: a call is signed for itself, once.
#[test]
fn a_signed_call_is_made_once() {
    let (world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "credits": 50, "policy": { "signed": true } }));
    let signing = |body: Value| {
        let answer = done(&admin.post(&format!("/admin/v1/keys/{id}/signing"), &body));
        answer["secret"].as_str().unwrap().to_owned()
    };
    let with = signing(json!({}));
    assert_eq!(signing(json!({})), with);
    let sign = |with: &str, nonce: &str, method: &str, target: &str| {
        let at_ms = now_ms();
        let mac = Hmac::<Sha256>::new_from_slice(with.as_bytes()).unwrap();
        let mac = mac.chain_update(format!("{at_ms}\n{nonce}\n{method}\n{target}")).finalize().into_bytes();
        let tag: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={at_ms},n={nonce},s={tag}")
    };
    let signed =
        |target: &str, signature: &str| get(&world.url(target), &[("x-api-key", &secret), ("x-signature", signature)]);
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(401, "signature_required"));
    let first = sign(&with, "nonce-0001", "GET", "/paid/ok?a=1");
    assert_eq!(said(&signed("/paid/ok?a=2", &first)), denied(401, "bad_signature"));
    assert_eq!(said(&signed("/paid/ok?a=1", &first)), open());
    assert_eq!(said(&signed("/paid/ok?a=1", &first)), denied(401, "signature_replayed"));
    assert_eq!(
        said(&signed("/paid/ok", &sign(&secret, "nonce-0002", "GET", "/paid/ok"))),
        denied(401, "bad_signature")
    );
    assert_eq!(said(&signed("/paid/ok", "t=1,n=nonce-0003,s=00")), denied(401, "bad_signature"));
    // Sixteen at once with one nonce, on all workers: one is made.
    let crowd = sign(&with, "nonce-0004", "GET", "/paid/ok");
    let served = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..16).map(|_| scope.spawn(|| signed("/paid/ok", &crowd).status)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).filter(|status| *status == 200).count()
    });
    assert_eq!((served, world.origin.runs("/paid/ok")), (1, 2));
    let new = signing(json!({ "anew": true }));
    assert_eq!(said(&signed("/paid/ok", &sign(&with, "nonce-0005", "GET", "/paid/ok"))), denied(401, "bad_signature"));
    assert_eq!(said(&signed("/paid/ok", &sign(&new, "nonce-0005", "GET", "/paid/ok"))), open());
}

/// Templates, clones, bulk, export and import, each as an operator does it.
#[test]
fn keys_are_provisioned() {
    let (world, admin) = world();
    let template =
        json!({ "credits": 3, "tags": { "tier": "trial" }, "policy": { "routes": { "deny": ["/other/*"] } } });
    done(&put(&admin, "/admin/v1/templates/trial", &template));
    let (trial, secret) = admin.key(&json!({ "name": "t", "template": "trial", "alias": "t" }));
    assert_eq!(said(&call(&world, "/other/ok", &secret)), denied(403, "acl_denied"));
    let clone = done(&admin.post("/admin/v1/keys/t/clone", &json!({ "name": "c", "alias": "c", "credits": 1 })));
    let cloned = clone["secret"].as_str().unwrap();
    assert_eq!(said(&call(&world, "/paid/ok", cloned)), open());
    assert_eq!(call(&world, "/paid/ok", cloned).status, 402, "it has its own balance alone");
    let items: Vec<Value> = (0..40)
        .map(|number| json!({ "act": "create", "new": { "name": format!("n{number:02}"), "tags": { "lot": "1" } } }))
        .chain([json!({ "act": "suspend", "key": trial }), json!({ "act": "revoke", "key": "nobody" })])
        .collect();
    let results = done(&admin.post("/admin/v1/keys/bulk", &json!({ "items": items })));
    let results = results["results"].as_array().unwrap();
    let secrets: BTreeSet<_> = results.iter().filter_map(|result| result["secret"].as_str()).collect();
    assert_eq!((results.len(), secrets.len(), &results[41]["code"]), (42, 40, &json!("unknown_key")));
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(403, "key_suspended"));

    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/admin/v1/keys?tag=lot=1&sort=name&order=desc&limit=9{cursor}")).json();
        names.extend(page["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let want: Vec<_> = (0..40).rev().map(|number| format!("n{number:02}")).collect();
    assert_eq!(names, want);

    for (format, body) in [("json", "keys"), ("csv", "csv")] {
        let export = admin.get(&format!("/admin/v1/keys/export?format={format}"));
        assert_eq!(export.status, 200, "{}", export.text());
        let text = if format == "csv" { json!(export.text()) } else { export.json()["keys"].clone() };
        for (mode, want) in [("skip", "skipped"), ("overwrite", "overwritten"), ("error", "key_exists")] {
            let taken = done(&admin.post("/admin/v1/keys/import", &json!({ body: text, "mode": mode })));
            let taken = taken["results"].as_array().unwrap();
            let all = taken.iter().all(|item| item["result"] == want || item["code"] == want);
            assert!(taken.len() == 42 && all, "{format} {mode}: {taken:?}");
        }
    }
    assert_eq!(said(&call(&world, "/paid/ok", &secret)), denied(403, "key_suspended"), "it is as it was");
}

/// Of no secret more is kept than its digest: not in the journal, the log, the audit, an export or an error.
#[test]
fn no_secret_is_kept_or_told_again() {
    let (mut world, admin) = world();
    let brought = "pg_0123456789abcdef0123456789abcdef0123456789abcdef";
    let import = json!({ "keys": [{ "apiKey": brought, "name": "old", "credits": 3 }, { "apiKey": "pg_bad", "name": "x" }], "mode": "skip" });
    let taken = done(&admin.post("/admin/v1/keys/import", &import));
    assert_eq!(
        (&taken["results"][0]["result"], &taken["results"][1]["code"]),
        (&json!("made"), &json!("bad_value")),
        "{taken}"
    );
    assert_eq!(said(&call(&world, "/paid/ok", brought)), open(), "a key of another gate goes on here");
    let csv = format!("secret,name\n{brought},again\n");
    let again = done(&admin.post("/admin/v1/keys/import", &json!({ "csv": csv, "mode": "overwrite" })));
    assert_eq!(again["results"][0]["result"], "overwritten", "{again}");
    let (id, made) = admin.key(&json!({ "name": "a", "credits": 3, "policy": { "signed": true } }));
    let text = |answer: Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let rotated =
        text(done(&admin.post(&format!("/admin/v1/keys/{id}/rotate"), &json!({ "overlap_s": 60 }))), "secret");
    let token = text(done(&admin.post(&format!("/admin/v1/keys/{id}/tokens"), &json!({}))), "token");
    let signing = text(done(&admin.post(&format!("/admin/v1/keys/{id}/signing"), &json!({}))), "secret");
    done(&admin.post("/admin/v1/tokens/revoke", &json!({ "token": token })));
    let mut told = String::new();
    for shown in [&made, &rotated, &token, "pg_111111111111111111111111111111111111111111111111"] {
        told += &call(&world, "/paid/ok", shown).text();
        told += &admin.post("/admin/v1/keys", &json!({ "name": shown, "plan": shown })).text();
    }
    for path in [
        "/admin/v1/audit",
        "/admin/v1/keys",
        "/admin/v1/keys/export",
        "/admin/v1/keys/export?format=csv",
        "/admin/v1/tokens/revoked",
    ] {
        told += &admin.get(path).text();
    }
    world.gate.stop();
    let journal = std::fs::read(world.gate.journal()).unwrap();
    let (kept, told) = (String::from_utf8_lossy(&journal), told + &world.gate.log());
    for secret in [brought, &made, &rotated, &token, &signing] {
        // The name of a key that was never made is nobody's secret, and still not repeated.
        assert!(!told.contains(secret), "told: {}", &secret[..12]);
        assert!(!kept.contains(secret) && !kept.contains(&secret[4..]), "kept: {}", &secret[..12]);
    }
}
