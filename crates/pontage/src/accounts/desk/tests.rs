//! The desk and the directory on one journal: what is changed here counts there with the next call.

use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use alloy_primitives::hex;
use gate::{Denial, KeyRefusal, Plan, ScheduledAct};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::accounts::{Directory, Knock, Nonces, Principal, Unresolved};

struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
    journal: Handle,
    desk: Desk,
    directory: Directory,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let limits = store::Limits { answers_max_bytes: 1 << 20, answers_keep_s: 1 };
    let path = folder.path().join("pontage.db");
    let store = store::Store::open(&path, limits, now_ms).unwrap();
    let journal = store.handle().unwrap();
    Bench {
        _folder: folder,
        path,
        desk: Desk::new(journal.clone(), Unit::Credit),
        directory: Directory::new(store.handle().unwrap(), Arc::new(Nonces::new(now_ms()))),
        journal,
    }
}

fn shown(name: &'static str, value: &str) -> HeaderMap {
    [(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())].into_iter().collect()
}

/// A call, of which the tests say what matters to them.
struct TestCall {
    headers: HeaderMap,
    method: &'static str,
    path: &'static str,
    from: &'static str,
    now_ms: u64,
}

impl TestCall {
    fn with(secret: &str) -> Self {
        Self::of(shown("x-api-key", secret))
    }

    fn of(headers: HeaderMap) -> Self {
        Self { headers, method: "GET", path: "/paid", from: "127.0.0.1", now_ms: now_ms() }
    }
}

impl Bench {
    async fn make(&self, asked: serde_json::Value) -> (String, String) {
        let made = self.desk.create(&serde_json::from_value(asked).unwrap(), false).await.unwrap();
        (made.key.record.id.to_string(), made.secret.unwrap())
    }

    fn resolve(&self, call: &TestCall) -> Result<Option<Rc<Principal>>, Unresolved> {
        self.directory.resolve(&Knock {
            headers: &call.headers,
            method: call.method,
            path: Some(call.path),
            target: call.path,
            from: call.from.parse::<IpAddr>().unwrap(),
            now_ms: call.now_ms,
        })
    }

    /// `open`, or the word for why not.
    fn said(&self, call: &TestCall) -> &'static str {
        match self.resolve(call) {
            Ok(Some(_)) => "open",
            Ok(None) => "nobody",
            Err(Unresolved::Denied(denial, _)) => denial.code(),
            Err(Unresolved::Fault(_)) => "fault",
        }
    }

    async fn step(&self, key: &str, step: KeyStep) {
        self.desk.step(key, step, false).await.unwrap();
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, DeskError>) -> KeyRefusal {
    match outcome {
        Err(DeskError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_change_counts_with_the_next_call() {
    let bench = bench();
    let (id, secret) = bench.make(json!({ "name": "shop", "alias": "shop", "credits": 5 })).await;
    let call = TestCall::with(&secret);
    assert_eq!(bench.said(&call), "open");
    assert_eq!(bench.resolve(&call).unwrap().unwrap().key.to_string(), id);
    assert_eq!(bench.said(&TestCall::of(shown("authorization", &format!("bearer {secret}")))), "open");
    bench.step("shop", KeyStep::Suspend).await;
    assert_eq!(bench.said(&call), "key_suspended");
    bench.step(&id, KeyStep::Resume).await;
    assert_eq!(bench.said(&call), "open");
    let later = now_ms() + 1_000;
    let expires = |at_ms: Option<u64>, grace_ms| KeyChange {
        expires_at_ms: Some(at_ms),
        grace_ms: Some(grace_ms),
        ..KeyChange::default()
    };
    bench.desk.update("shop", expires(Some(later), 500), false).await.unwrap();
    for (now_ms, want) in [(later - 1, "open"), (later + 499, "open"), (later + 500, "key_expired")] {
        assert_eq!(bench.said(&TestCall { now_ms, ..TestCall::with(&secret) }), want, "{now_ms}");
    }
    bench.desk.update("shop", expires(None, 0), false).await.unwrap();
    bench.step("shop", KeyStep::Schedule(later, ScheduledAct::Suspend)).await;
    assert_eq!(
        (bench.said(&call), bench.said(&TestCall { now_ms: later, ..TestCall::with(&secret) })),
        ("open", "key_suspended")
    );
    bench.step("shop", KeyStep::Revoke).await;
    assert_eq!(bench.said(&call), "key_revoked");
    assert_eq!(refused(bench.desk.step("shop", KeyStep::Resume, false).await), KeyRefusal::Revoked);
}

#[tokio::test]
async fn a_key_is_named_to_its_holder_alone() {
    let bench = bench();
    let policy = json!({ "routes": { "deny": ["/no"] }, "addresses": ["127.0.0.1"] });
    let (id, secret) = bench.make(json!({ "name": "a", "alias": "a", "policy": policy })).await;
    let signed = json!({ "name": "b", "policy": { "routes": { "deny": ["/no"] }, "signed": true } });
    let (_, signed) = bench.make(signed).await;
    let named = |call: TestCall| match bench.resolve(&call) {
        Err(Unresolved::Denied(denial, key)) => (denial, key.map(|key| key.to_string())),
        other => panic!("{other:?}"),
    };
    let paid = || TestCall::with(&secret);
    assert_eq!(named(TestCall { path: "/no", ..paid() }), (Denial::AclDenied, Some(id)));
    assert_eq!(named(TestCall { path: "/no", from: "10.0.0.1", ..paid() }), (Denial::IpNotAllowed, None));
    assert_eq!(named(TestCall { path: "/no", ..TestCall::with(&signed) }), (Denial::AclDenied, None));
    assert_eq!(named(TestCall::with(&signed)), (Denial::SignatureRequired, None));
    bench.step("a", KeyStep::Suspend).await;
    assert_eq!(named(paid()), (Denial::KeySuspended, None));
    bench.step("a", KeyStep::Revoke).await;
    assert_eq!(named(paid()), (Denial::KeyRevoked, None));
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let bench = bench();
    let (_, secret) = bench.make(json!({ "name": "a" })).await;
    let (_, other) = bench.make(json!({ "name": "b" })).await;
    for (name, value, want) in [
        ("x-api-key", "sk_live_of_the_upstream", "nobody"),
        ("authorization", "Bearer eyJhbGciOi", "nobody"),
        ("authorization", "Basic cGdfOg==", "nobody"),
        ("x-other", secret.as_str(), "nobody"),
        ("authorization", secret.as_str(), "nobody"),
        ("x-api-key", "pg_", "invalid_api_key"),
        ("x-api-key", &secret[..50], "invalid_api_key"),
        ("x-api-key", &secret.to_uppercase(), "nobody"),
        ("x-api-key", "pg_000000000000000000000000000000000000000000000000", "invalid_api_key"),
        ("x-api-key", "pgt_nothing", "invalid_api_key"),
        ("x-api-key", &format!(" {secret} "), "open"),
    ] {
        // Twice: what nobody has is remembered.
        for _ in 0..2 {
            assert_eq!(bench.said(&TestCall::of(shown(name, value))), want, "{name} {value:.12}");
        }
    }
    let mut two = shown("x-api-key", &secret);
    two.append("authorization", HeaderValue::from_str(&format!("Bearer {other}")).unwrap());
    assert_eq!(bench.said(&TestCall::of(two.clone())), "invalid_api_key", "which one pays?");
    two.append("x-api-key", HeaderValue::from_static("the upstream's"));
    crate::accounts::strip(&mut two);
    assert_eq!(two, shown("x-api-key", "the upstream's"));
}

#[tokio::test]
async fn a_plan_and_a_key_say_who_may_call_what_from_where() {
    let bench = bench();
    let plan = json!({ "name": "pro", "policy": {
        "routes": { "allow": ["/paid", "GET /v1/*"], "deny": ["/v1/admin/*"] }, "addresses": ["127.0.0.0/8", "2001:db8::/32"] } });
    let plan: Plan = serde_json::from_value(plan).unwrap();
    bench.desk.put_plan(plan, false).await.unwrap();
    let (id, secret) =
        bench.make(json!({ "name": "a", "plan": "pro", "policy": { "routes": { "deny": ["/v1/x"] } } })).await;
    for (method, path, from, want) in [
        ("GET", "/paid", "127.0.0.1", "open"),
        ("POST", "/paid", "127.0.0.1", "open"),
        ("GET", "/v1/a", "2001:db8::1", "open"),
        ("POST", "/v1/a", "127.0.0.1", "acl_denied"),
        ("GET", "/v1/admin/a", "127.0.0.1", "acl_denied"),
        ("GET", "/V1/ADMIN/a", "127.0.0.1", "acl_denied"),
        ("GET", "/v1/x", "127.0.0.1", "acl_denied"),
        ("GET", "/v1/x;a=b", "127.0.0.1", "acl_denied"),
        ("GET", "/other", "127.0.0.1", "acl_denied"),
        ("GET", "/paid", "10.0.0.1", "ip_not_allowed"),
        ("GET", "/paid", "::ffff:127.0.0.1", "open"),
        ("GET", "/paid", "2001:db9::1", "ip_not_allowed"),
    ] {
        assert_eq!(
            bench.said(&TestCall { method, path, from, ..TestCall::with(&secret) }),
            want,
            "{method} {path} {from}"
        );
    }
    // The plan changes for all of its keys, and one key may leave it.
    bench.desk.put_plan(Plan { name: "pro".to_owned(), policy: gate::Policy::default() }, false).await.unwrap();
    assert_eq!(bench.said(&TestCall { path: "/other", ..TestCall::with(&secret) }), "open");
    assert_eq!(bench.desk.plans().unwrap()[0].keys, 1);
    assert_eq!(refused(bench.desk.delete_plan("pro", false).await), KeyRefusal::PlanInUse);
    bench.desk.update(&id, KeyChange { plan: Some(None), ..KeyChange::default() }, false).await.unwrap();
    bench.desk.delete_plan("pro", false).await.unwrap();
}

#[tokio::test]
async fn rotation_has_an_overlap_and_belongs_to_the_present_secret() {
    let bench = bench();
    let (id, first) = bench.make(json!({ "name": "a" })).await;
    let holder = |secret: &str| bench.resolve(&TestCall::with(secret)).unwrap().unwrap();
    let made = bench.desk.rotate_own(&holder(&first), 60).await.unwrap();
    let second = made.secret.unwrap();
    assert_eq!((bench.said(&TestCall::with(&first)), bench.said(&TestCall::with(&second))), ("open", "open"));
    let later = TestCall { now_ms: now_ms() + 60_001, ..TestCall::with(&first) };
    assert_eq!(bench.said(&later), "invalid_api_key");
    assert_eq!(refused(bench.desk.rotate_own(&holder(&first), 60).await), KeyRefusal::NotItsSecret);
    assert_eq!(refused(bench.desk.rotate_own(&holder(&second), 60).await), KeyRefusal::RotatedLately);
    assert_eq!(refused(bench.desk.rotate_own(&holder(&second), 86_401).await).field(), Some("overlap_s"));
    let tried = bench.desk.rotate(&id, 0, true).await.unwrap();
    assert_eq!((tried.secret, bench.said(&TestCall::with(&second))), (None, "open"));
    let third = bench.desk.rotate(&id, 0, false).await.unwrap().secret.unwrap();
    let words = [&first, &second, &third].map(|secret| bench.said(&TestCall::with(secret)));
    assert_eq!(words, ["invalid_api_key", "invalid_api_key", "open"]);
    assert_eq!(bench.desk.get(&id).unwrap().shown, [&third[..11]]);
}

#[tokio::test]
async fn a_token_does_less_than_its_key_for_a_while() {
    let bench = bench();
    let (id, secret) = bench.make(json!({ "name": "a", "policy": { "routes": { "deny": ["/paid/secret"] } } })).await;
    let ask =
        |routes: &str| serde_json::from_str::<TokenAsk>(&format!(r#"{{"ttl_s":60,"routes":["{routes}"]}}"#)).unwrap();
    let made = bench.desk.issue_token(&id, &ask("GET /paid/*"), false).await.unwrap();
    let token = made.token.clone().unwrap();
    let call =
        |method, path| TestCall { method, path, ..TestCall::of(shown("authorization", &format!("Bearer {token}"))) };
    assert_eq!(bench.said(&call("GET", "/paid/a")), "open");
    assert_eq!(bench.said(&TestCall { path: "/paid/a", ..TestCall::with(&token) }), "open");
    assert_eq!(bench.said(&call("POST", "/paid/a")), "acl_denied");
    assert_eq!(bench.said(&call("GET", "/paid/secret")), "acl_denied", "its key may not");
    assert_eq!(bench.said(&TestCall { now_ms: made.expires_at_ms, ..call("GET", "/paid/a") }), "token_expired");
    // One of sixteen tags ends with an A of its own.
    let bent = format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'E' } else { 'A' });
    assert_eq!(bench.said(&TestCall::with(&bent)), "invalid_api_key");
    let holder = bench.resolve(&call("GET", "/paid/a")).unwrap().unwrap();
    assert_eq!(refused(bench.desk.rotate_own(&holder, 0).await), KeyRefusal::NotItsSecret);
    bench.step(&id, KeyStep::Suspend).await;
    assert_eq!(bench.said(&call("GET", "/paid/a")), "key_suspended");
    assert_eq!(refused(bench.desk.issue_token(&id, &ask("/a"), false).await), KeyRefusal::NotUsable);
    bench.step(&id, KeyStep::Resume).await;

    // Void by itself; with all of its key's; with the key that signed it.
    let revoke = RevokeToken { token: Some(token.clone()), ..RevokeToken::default() };
    bench.desk.revoke_token(&revoke, true).await.unwrap();
    assert_eq!(bench.said(&call("GET", "/paid/a")), "open", "it was only tried");
    assert_eq!(bench.desk.revoke_token(&revoke, false).await.unwrap().id, made.id);
    assert_eq!(bench.said(&call("GET", "/paid/a")), "token_revoked");
    assert_eq!(bench.desk.void(Some(&id)).unwrap()[0].id, made.id);
    let other = bench.desk.issue_token(&id, &TokenAsk::default(), false).await.unwrap().token.unwrap();
    assert_eq!(bench.said(&TestCall::with(&other)), "open");
    bench.desk.void_tokens(&id, false).await.unwrap();
    assert_eq!(bench.said(&TestCall::with(&other)), "token_revoked");
    let voided_ms = bench.desk.get(&id).unwrap().record.tokens_after_ms;
    while now_ms() <= voided_ms {}
    let third = bench.desk.issue_token(&id, &TokenAsk::default(), false).await.unwrap().token.unwrap();
    bench.desk.rotate_token_key(false, false).await.unwrap();
    assert_eq!(bench.said(&TestCall::with(&third)), "open", "what the old key signed holds to its end");
    bench.desk.rotate_token_key(true, false).await.unwrap();
    assert_eq!(bench.said(&TestCall::with(&third)), "invalid_api_key");
    assert_eq!(bench.said(&TestCall { path: "/paid/a", ..TestCall::with(&secret) }), "open");
    for (ask, field) in [
        (TokenAsk { ttl_s: Some(86_401), ..TokenAsk::default() }, "ttl_s"),
        (TokenAsk { ttl_s: Some(0), ..TokenAsk::default() }, "ttl_s"),
    ] {
        assert_eq!(refused(bench.desk.issue_token(&id, &ask, true).await).field(), Some(field));
    }
}

fn sign(secret: &str, at_ms: u64, nonce: &str, method: &str, path: &str) -> HeaderValue {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let mac = mac.chain_update(format!("{at_ms}\n{nonce}\n{method}\n{path}")).finalize().into_bytes();
    HeaderValue::from_str(&format!("t={at_ms},n={nonce},s={}", hex::encode(mac))).unwrap()
}

#[tokio::test]
async fn signed_calls_need_a_secret_that_does_not_travel() {
    let bench = bench();
    let (id, secret) = bench.make(json!({ "name": "a", "policy": { "signed": true } })).await;
    let call = |signature: Option<HeaderValue>| {
        let mut call = TestCall::with(&secret);
        call.headers.extend(signature.map(|value| (HeaderName::from_static("x-signature"), value)));
        call
    };
    assert_eq!(bench.said(&call(None)), "signature_required");
    let signing = bench.desk.signing_secret(&id, false, false).await.unwrap().unwrap();
    assert_eq!(
        bench.desk.signing_secret(&id, false, false).await.unwrap().as_ref(),
        Some(&signing),
        "it can be told again"
    );
    // A gate takes nothing that was signed before it started.
    let now = now_ms() + 1_000;
    let signed = |nonce: &str| call(Some(sign(&signing, now, nonce, "GET", "/paid")));
    assert_eq!(bench.said(&signed("nonce-01")), "open");
    assert_eq!(bench.said(&signed("nonce-01")), "signature_replayed");
    assert_eq!(bench.said(&signed("nonce-02")), "open");
    let denied = TestCall { from: "10.0.0.1", ..signed("nonce-03") };
    assert_eq!(bench.said(&denied), "open", "no address rule");
    for (value, want) in [
        (sign(&signing, now, "nonce-04", "POST", "/paid"), "bad_signature"),
        (sign(&signing, now, "nonce-04", "GET", "/paid?x"), "bad_signature"),
        (sign(&secret, now, "nonce-04", "GET", "/paid"), "bad_signature"),
        (sign(&signing, now - 302_000, "nonce-04", "GET", "/paid"), "signature_expired"),
        (sign(&signing, now + 302_000, "nonce-04", "GET", "/paid"), "signature_expired"),
        (HeaderValue::from_static("t=1"), "bad_signature"),
        (sign(&signing, now, "nonce-04", "GET", "/paid"), "open"),
    ] {
        assert_eq!(bench.said(&call(Some(value.clone()))), want, "{value:?}");
    }
    let other = bench.desk.signing_secret(&id, true, false).await.unwrap().unwrap();
    assert_ne!(other, signing);
    assert_eq!(bench.said(&signed("nonce-05")), "bad_signature");
    assert_eq!(bench.said(&call(Some(sign(&other, now, "nonce-05", "GET", "/paid")))), "open");
}

#[tokio::test]
async fn keys_are_made_of_templates_and_like_others() {
    let bench = bench();
    let template = json!({ "name": "trial", "key": { "credits": 10, "tags": { "tier": "trial" }, "grace_ms": 5, "sandbox": true } });
    bench.desk.put_template(&serde_json::from_value(template).unwrap(), false).await.unwrap();
    let new = |json: serde_json::Value| serde_json::from_value::<NewKey>(json).unwrap();
    let made = bench.desk.create(&new(json!({ "template": "trial", "name": "a", "credits": 3 })), false).await.unwrap();
    let key = &made.key;
    assert_eq!(
        (key.balance, key.record.grace_ms, key.record.sandbox, &key.record.tags["tier"][..]),
        (3, 5, true, "trial")
    );
    assert_eq!(
        refused(bench.desk.create(&new(json!({ "template": "none", "name": "a" })), false).await),
        KeyRefusal::UnknownTemplate
    );
    assert_eq!(
        refused(bench.desk.create(&new(json!({ "template": "trial" })), false).await),
        KeyRefusal::BadValue("name")
    );
    for bad in [
        json!({ "template": "x" }),
        json!({ "alias": "x" }),
        json!({ "unit": "call" }),
        json!({ "grace_ms": u64::MAX }),
    ] {
        let template = serde_json::from_value(json!({ "name": "bad", "key": bad })).unwrap();
        assert!(bench.desk.put_template(&template, false).await.is_err(), "{bad}");
    }
    let id = key.record.id.to_string();
    bench.step(&id, KeyStep::Note("private".to_owned())).await;
    let clone = CloneAsk { alias: Some("b".to_owned()), credits: Some(1), ..CloneAsk::default() };
    let like = bench.desk.clone_key(&id, &clone, false).await.unwrap();
    assert_eq!((like.key.balance, like.key.record.notes.len(), &like.key.record.tags), (1, 0, &key.record.tags));
    assert_ne!(like.secret, made.secret);
    assert_eq!(refused(bench.desk.clone_key(&id, &clone, false).await), KeyRefusal::AliasTaken);
    let tried = bench.desk.create(&new(json!({ "name": "tried", "alias": "t", "credits": 4 })), true).await.unwrap();
    assert_eq!((tried.secret, tried.key.balance), (None, 4));
    assert_eq!(refused(bench.desk.get("t").map(drop)), KeyRefusal::UnknownKey);
}

#[tokio::test]
async fn many_are_done_in_one_step_each_with_its_result() {
    let bench = bench();
    let (id, secret) = bench.make(json!({ "name": "a", "alias": "a", "credits": 1 })).await;
    let items: Vec<BulkItem> = serde_json::from_value(json!([
        { "act": "create", "new": { "name": "b", "alias": "b", "credits": 2 } },
        { "act": "create", "new": { "name": "c", "alias": "a" } },
        { "act": "top_up", "key": "a", "amount": 4 },
        { "act": "top_up", "key": "a", "amount": 0 },
        { "act": "suspend", "key": "none" },
        { "act": "update", "key": "a", "change": { "name": "A" } },
        { "act": "rotate", "key": id, "overlap_s": 60 },
        { "act": "suspend", "key": "a" },
        { "act": "resume", "key": "a" },
        { "act": "revoke", "key": "0123456789abcdef0123456789abcdef" },
    ]))
    .unwrap();
    let words =
        |results: &[ItemResult]| results.iter().map(|result| result.code.unwrap_or(result.result)).collect::<Vec<_>>();
    let want = vec![
        "made",
        "alias_taken",
        "changed",
        "bad_value",
        "unknown_key",
        "changed",
        "changed",
        "changed",
        "changed",
        "unknown_key",
    ];
    let tried = bench.desk.bulk(&items, true).await.unwrap();
    assert_eq!(words(&tried), want);
    assert!(tried.iter().all(|result| result.secret.is_none()));
    assert_eq!(bench.desk.get("a").unwrap().balance, 1);
    let done = bench.desk.bulk(&items, false).await.unwrap();
    assert_eq!(words(&done), want);
    let key = bench.desk.get("a").unwrap();
    assert_eq!((key.balance, &key.record.name[..], key.status), (5, "A", "active"));
    for secret in [done[0].secret.as_deref().unwrap(), done[6].secret.as_deref().unwrap(), &secret] {
        assert_eq!(bench.said(&TestCall::with(secret)), "open");
    }
    let most = vec![BulkItem::Suspend { key: "a".to_owned() }; 1_001];
    assert_eq!(refused(bench.desk.bulk(&most, false).await).field(), Some("items"));
    for nonsense in [
        json!([{ "act": "delete", "key": "a" }]),
        json!([{ "act": "suspend" }]),
        json!([{ "act": "suspend", "key": "a", "x": 1 }]),
    ] {
        assert!(serde_json::from_value::<Vec<BulkItem>>(nonsense).is_err());
    }
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere_without_a_secret() {
    let here = bench();
    let (_, secret) = here
        .make(json!({ "name": "=1+1, \"x\"", "alias": "a", "credits": 7, "tags": { "env": "prod" },
        "policy": { "routes": { "deny": ["/x"] } }, "unit": "usd" }))
        .await;
    here.make(json!({ "name": "b", "expires_at_ms": 5_000_000_000_000u64, "sandbox": true })).await;
    here.step("a", KeyStep::Note("two\nlines".to_owned())).await;
    here.step("a", KeyStep::Suspend).await;
    for format in [Format::Json, Format::Csv] {
        let first = here.desk.export(&KeyQuery { limit: Some(1), ..KeyQuery::default() }, format).unwrap();
        assert!(first.next.is_some());
        let text = here.desk.export(&KeyQuery::default(), format).unwrap().text;
        let digest = SecretDigest::of_secret(&secret).unwrap().0;
        assert!(!text.contains(&secret) && !text.contains(&hex::encode(digest)), "{text}");
        let there = bench();
        let made = there.desk.import(&text, format, ImportMode::Error, false).await.unwrap();
        assert!(made.iter().all(|item| item.result == "made" && item.secret.is_some()), "{made:?}");
        let (a, b) = (here.desk.get("a").unwrap(), there.desk.get("a").unwrap());
        assert_eq!((a.record.id, &a.record.name, a.record.unit), (b.record.id, &b.record.name, b.record.unit));
        assert_eq!(
            (&a.record.policy, &a.record.tags, a.status, a.balance),
            (&b.record.policy, &b.record.tags, "suspended", b.balance)
        );
        assert_eq!(b.record.notes[0].text, "two\nlines");
        let again = there.desk.export(&KeyQuery::default(), format).unwrap().text;
        assert_eq!(again.len(), text.len(), "{again}");
        let words =
            |items: Vec<ItemResult>| items.iter().map(|item| item.code.unwrap_or(item.result)).collect::<Vec<_>>();
        for (mode, want) in [
            (ImportMode::Skip, ["skipped"; 2]),
            (ImportMode::Overwrite, ["overwritten"; 2]),
            (ImportMode::Error, ["key_exists"; 2]),
        ] {
            let items = there.desk.import(&text, format, mode, false).await.unwrap();
            assert!(items.iter().all(|item| item.secret.is_none()));
            assert_eq!(words(items), want, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn secrets_of_other_gates_are_taken_and_only_their_digests_kept() {
    let bench = bench();
    let secret = "pg_0123456789abcdef0123456789abcdef0123456789abcdef";
    let text = json!([
        { "apiKey": secret, "name": "old", "credits": 12 },
        { "key": "pg_short", "name": "bad" },
        { "name": "new" },
        { "name": "x", "unknown": 1 },
        { "name": "x", "credits": 1.5 },
    ]);
    let items = bench.desk.import(&text.to_string(), Format::Json, ImportMode::Skip, false).await.unwrap();
    let words: Vec<_> = items.iter().map(|item| item.code.unwrap_or(item.result)).collect();
    assert_eq!(words, ["made", "bad_value", "made", "bad_value", "bad_value"]);
    assert_eq!((items[0].secret.as_deref(), items[2].secret.as_deref().map(str::len)), (None, Some(51)));
    assert_eq!(bench.said(&TestCall::with(secret)), "open");
    let csv = format!("secret,name,credits\r\n{secret},again,1\r\n");
    let again = bench.desk.import(&csv, Format::Csv, ImportMode::Error, false).await.unwrap();
    assert_eq!(again[0].code, Some("key_exists"));
    // One that cannot be done undoes the others.
    let two = json!([{ "name": "fine", "alias": "fine" }, { "name": "" }]).to_string();
    let items = bench.desk.import(&two, Format::Json, ImportMode::Error, false).await.unwrap();
    assert_eq!((items[0].result, items[1].code), ("undone", Some("bad_value")));
    assert_eq!(refused(bench.desk.get("fine").map(drop)), KeyRefusal::UnknownKey);
    for (text, format) in [
        ("{}", Format::Json),
        ("[", Format::Json),
        ("nothing\nx", Format::Csv),
        ("name\n\"x", Format::Csv),
        ("name\na,b", Format::Csv),
    ] {
        assert_eq!(
            refused(bench.desk.import(text, format, ImportMode::Skip, false).await),
            KeyRefusal::BadValue("keys")
        );
    }
    // Of no secret the journal has more than its digest and how it begins.
    drop(bench.journal);
    for end in ["", "-wal"] {
        let mut path = bench.path.clone().into_os_string();
        path.push(end);
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(20).any(|window| window == &secret.as_bytes()[..20]));
    }
}

#[tokio::test]
async fn a_list_goes_on_where_it_ended() {
    let bench = bench();
    for number in 0..7 {
        bench.make(json!({ "name": format!("k{}", number % 2), "credits": number })).await;
    }
    let query = |json: serde_json::Value| serde_json::from_value::<KeyQuery>(json).unwrap();
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let asked = KeyQuery { cursor, ..query(json!({ "sort": "name", "descending": true, "limit": 3 })) };
        let page = bench.desk.list(&asked).unwrap();
        seen.extend(page.keys.iter().map(|key| (key.record.name.clone(), key.record.id.to_string())));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert!(seen.len() == 7 && seen == sorted);
    let next = bench.desk.list(&query(json!({ "limit": 1 }))).unwrap().next.unwrap();
    for (asked, field) in [
        (json!({ "sort": "size" }), "sort"),
        (json!({ "limit": 501 }), "limit"),
        (json!({ "status": "dead" }), "status"),
        (json!({ "cursor": "x" }), "cursor"),
        (json!({ "cursor": next, "sort": "name" }), "cursor"),
        (json!({ "cursor": next, "descending": true }), "cursor"),
        (json!({ "search": "x".repeat(501) }), "search"),
        (json!({ "balance_min": u64::MAX }), "balance_min"),
    ] {
        assert_eq!(refused(bench.desk.list(&query(asked.clone()))).field(), Some(field), "{asked}");
    }
    assert_eq!(bench.desk.list(&query(json!({ "balance_min": 5 }))).unwrap().keys.len(), 2);
}

#[test]
fn a_denial_says_whether_another_proof_would_help() {
    assert!(Denial::InvalidApiKey.is_of_identity() && !Denial::AclDenied.is_of_identity());
}
