//! What the README of `examples/sidecar` says of every proxy, in the order of one day.

use std::process::Command;

use hmac::{Hmac, KeyInit as _, Mac as _};
use protocol::x402::decode_header;
use serde_json::Value;
use sha2::Sha256;
use xtask::peers;

use crate::World;
use crate::kit::{Answer, PAYER, PRICE, Raw, TRUST_SECRET, get, request, root, until};
use crate::proxy::Kind;

/// All the headers that only the gate may set, as a caller would forge them, and two of them in another spelling.
const FORGED: [(&str, &str); 10] = [
    ("X-Pay-Verified", "forged"),
    ("X-Pay-From", "forged"),
    ("X-Pay-Amount", "forged"),
    ("X-Pay-Settlement", "forged"),
    ("X-Pay-Tab", "forged"),
    ("X-Pay-Signature", "forged"),
    ("X-Pay-Hold", "forged"),
    ("X_Pay_Verified", "forged"),
    ("X-Pay_From", "forged"),
    ("X-Forwarded-For", "203.0.113.7"),
];

/// One sentence of the README, on a world that all of them share.
type Check = fn(&mut World);

pub(crate) fn all(kind: Kind) {
    let mut world = World::new(kind);
    let checks: [(&str, Check); 9] = [
        ("free calls pass", free),
        ("a challenge is whole", unpaid),
        ("no caller says what is priced", games),
        ("a paid call is run", paid),
        ("a reference client buys", reference),
        ("the outcome is reported", outcome),
        ("who leaves has paid", leaves),
        ("refusals and faults pass", refusals),
        ("no gate, no call", gate_down),
    ];
    for (name, check) in checks {
        eprintln!("--- {name}");
        check(&mut world);
    }
}

/// Nothing of [`FORGED`] has reached the origin, and neither proxy nor caller has added to the caller's address.
fn nothing_forged(world: &World) {
    for (name, value) in world.origin.last().headers {
        assert!(!value.contains("forged"), "{name}: {value}");
    }
    assert_eq!(world.seen("x-forwarded-for"), "127.0.0.1");
    let asked = world.tap.take();
    assert_eq!(asked.matches("\r\nx-forwarded-for: 127.0.0.1\r\n").count(), asked.matches("/__pay/check").count());
    assert!(asked.contains("/__pay/check") && !asked.contains("203.0.113.7"), "{asked}");
}

/// The signature is that of the rule, over what the origin saw.
fn signed(world: &World) {
    let (seen, signature) = (world.origin.last(), world.seen("x-pay-signature"));
    let t = signature.trim_start_matches("t=").split(',').next().unwrap_or_default().to_owned();
    let mut words = seen.line.split(' ');
    let mut message = vec![t.clone(), words.next().unwrap().to_owned(), words.next().unwrap().to_owned()];
    message
        .extend(["verified", "from", "amount", "settlement", "tab"].map(|name| world.seen(&format!("x-pay-{name}"))));
    let mac = Hmac::<Sha256>::new_from_slice(TRUST_SECRET.as_bytes()).expect("any length");
    let mac = mac.chain_update(message.join("\n")).finalize().into_bytes();
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(signature, format!("t={t},v1={hex}"), "{seen:?}");
}

fn is_challenge(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (402, "payment_required"), "{}", answer.text());
    let challenge = decode_header(answer.headers["payment-required"].as_bytes()).expect("a challenge");
    assert_eq!(challenge["accepts"][0]["amount"], "10000");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

/// The path and query that a challenge is for.
fn resource(answer: &Answer) -> String {
    let challenge = decode_header(answer.headers["payment-required"].as_bytes()).expect("a challenge");
    let url = challenge["resource"]["url"].as_str().expect("a URL").to_owned();
    url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default()
}

fn free(world: &mut World) {
    for target in ["/free/ok?x=%20&x=2&y=a%2Fb", "/free/%c3%a9%7E/ok?"] {
        world.tap.take();
        let answer = get(&world.url(target), &FORGED);
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{target}");
        assert_eq!(world.seen("x-pay-verified"), "free");
        nothing_forged(world);
        for name in ["from", "amount", "settlement", "tab", "hold"] {
            assert_eq!(world.seen(&format!("x-pay-{name}")), "");
        }
        signed(world);
    }
    let answer = get(&world.url("/free/ok?x=%20&x=2&y=a%2Fb"), &[]);
    assert_eq!(answer.status, 200);
    assert!(world.origin.last().line.starts_with("GET /free/ok?x=%20&x=2&y=a%2Fb HTTP/"));
    let body = vec![b'x'; 1 << 20];
    for method in ["POST", "PUT", "PATCH"] {
        let answer = request(method, &world.url("/free/echo"), &[], &body);
        assert!(answer.status == 200 && answer.body == body, "{method} {}", answer.status);
    }
    let head = request("HEAD", &world.url("/free/ok"), &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(world.origin.last().line.starts_with("HEAD "));
    assert_eq!(get(&world.url("/free/500"), &[]).status, 500);
}

fn unpaid(world: &mut World) {
    let answer = get(&world.url("/paid/ok?x=1&y=%20"), &FORGED);
    is_challenge(&answer);
    assert_eq!(resource(&answer), "/paid/ok?x=1&y=%20");
    for method in ["DELETE", "PUT", "PATCH", "POST"] {
        is_challenge(&request(method, &world.url("/paid/ok?x=1"), &[], b""));
    }
    is_challenge(&request("POST", &world.url("/paid/ok"), &[], b"a body that nobody reads"));
    is_challenge(&get(&world.url("/paid/ok"), &[("payment-signature", "")]));
    // On one connection, so that a body where none may be would show.
    let twice = "HEAD /paid/ok HTTP/1.1\r\nhost: localhost\r\n\r\n\
                 GET /paid/ok HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let both = Raw::send(&world.proxy.url(), twice.as_bytes()).read_all();
    let heads: Vec<_> = both.match_indices("HTTP/1.1 402").map(|(at, _)| at).collect();
    assert_eq!(heads.len(), 2, "{both}");
    let first = both[..heads[1]].to_ascii_lowercase();
    assert!(first.contains("payment-required: ") && first.ends_with("\r\n\r\n"), "{first}");
    assert_eq!(world.origin.runs(" /paid"), 0);
}

fn games(world: &mut World) {
    for name in ["X-Original-URI", "X-Forwarded-Uri", "X-Original-URL", "X-Rewrite-URL"] {
        let answer = get(&world.url("/paid/ok?x=1"), &[(name, "/free/ok")]);
        is_challenge(&answer);
        assert_eq!(resource(&answer), "/paid/ok?x=1", "{name}");
    }
    for name in ["X-Original-Method", "X-Forwarded-Method"] {
        world.tap.take();
        is_challenge(&request("POST", &world.url("/paid/ok"), &[(name, "PURGE")], b"x"));
        let asked = world.tap.take();
        // The first of the two names counts.
        let own = asked.contains("x-original-method: post\r\n");
        assert!(own || asked.contains("x-forwarded-method: post\r\n") && !asked.contains("purge"), "{name}: {asked}");
    }
    // Whoever names a header here asks for it to be left out on the way.
    let named = "X-Original-URI, X-Original-Method, X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-For";
    world.tap.take();
    let answer = request("POST", &world.url("/paid/ok?x=1"), &[("connection", named)], b"x");
    // Envoy does not go along with that.
    if answer.status != 400 {
        is_challenge(&answer);
        assert_eq!(resource(&answer), "/paid/ok?x=1");
        let asked = world.tap.take();
        assert!(asked.contains("-method: post\r\n") && asked.contains("x-forwarded-for: 127.0.0.1\r\n"), "{asked}");
    }
    for path in [
        "/free/../paid/ok",
        "/paid/../free/ok",
        "/paid/%2e%2e/free/ok",
        "/free/%2e%2e/paid/ok",
        "/free/..%2fpaid/ok",
        "/paid/..%2ffree/ok",
        "//paid/ok",
        "//free//../paid/ok",
        "/./paid/ok",
        "/%70aid/ok",
        "/PAID/ok",
        "/free/ok#/../paid/ok",
        "/paid/../../../livez",
        "/paid/%2e%2e/%2e%2e/%2e%2e/livez",
        "/__pay/check",
        "/__pay/check/free/ok",
        "/__pay/outcome",
        "/__pay/health",
        "/../__pay/health",
    ] {
        let before = world.origin.runs("");
        let answer = Raw::get(&world.proxy.url(), path, &[]).answer().expect("an answer");
        // A proxy may clean the path, for the gate and the origin alike. Else nothing unpaid is run.
        if world.origin.runs("") > before {
            let line = world.origin.last().line;
            assert!(line.starts_with("GET /free/") && !line.contains("..") && !line.contains("2e"), "{path}: {line}");
        } else {
            assert!(answer.status >= 400 || answer.status == 301, "{path}: {} {}", answer.status, answer.text());
        }
    }
    assert_eq!(world.origin.runs(" /paid"), 0);
}

fn paid(world: &mut World) {
    let body = vec![b'x'; 1 << 20];
    for (path, settlement) in [("/paid/echo?a=1", "direct"), ("/tab/echo?a=%20", "tab")] {
        world.tap.take();
        let answer = world.buy("POST", path, &FORGED, &body);
        assert!(answer.status == 200 && answer.body == body, "{} {}", answer.status, answer.text().len());
        assert!(world.origin.last().line.starts_with(&format!("POST {path} HTTP/")));
        let claim = world.books().claims().last().expect("a hold").clone();
        let tab = if settlement == "tab" { claim.id.as_str() } else { "" };
        let amount = PRICE.to_string();
        for (name, value) in [
            ("verified", "true"),
            ("from", PAYER.address),
            ("amount", amount.as_str()),
            ("settlement", settlement),
            ("tab", tab),
        ] {
            assert_eq!(world.seen(&format!("x-pay-{name}")), value, "{name}");
        }
        signed(world);
        assert_eq!(world.seen("payment-signature"), "");
        // The hold is a right to the money back: it goes to the origin only where the proxy cannot use it.
        let hold = world.seen("x-pay-hold");
        assert_eq!(hold.split('.').next(), Some(if world.kind.outcome { "" } else { claim.id.as_str() }));
        if world.kind.receipt {
            let receipt = answer.receipt();
            assert_eq!(receipt["success"], true, "{:?}", answer.headers);
            assert_eq!(receipt["payer"].as_str().map(str::to_lowercase), Some(PAYER.address.to_lowercase()));
        }
        assert!(!answer.headers.contains_key("x-accel-redirect") && !answer.headers.contains_key("x-pay-hold"));
        world.tap.take();
        get(&world.url("/free/ok"), &FORGED);
        nothing_forged(world);
    }
    assert_eq!(world.chain.transfers_to(crate::kit::PAYEE).expect("the chain answers").len(), 1);
    let head = world.buy("HEAD", "/tab/ok", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(world.origin.last().line.starts_with("HEAD "));
}

fn reference(world: &mut World) {
    peers::npm(&root()).expect("the npm clients are installed");
    let output = Command::new("node")
        .arg(root().join("peers/js/pay-fetch.mjs"))
        .args([world.url("/tab/echo?by=fetch").as_str(), "--body", "of the reference client"])
        .env("PAYER_KEY", PAYER.secret)
        .output()
        .expect("the client starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"of the reference client".into()), "{answer}");
    assert_eq!(answer["receipt"]["success"], if world.kind.receipt { true.into() } else { Value::Null }, "{answer}");
    assert_eq!(world.origin.runs("by=fetch"), 1);
}

fn outcome(world: &mut World) {
    let burnt = |world: &World| world.books().claims().iter().filter(|claim| claim.state == "burnt").count();
    let owed = |world: &World| world.books().claims().iter().filter(|claim| claim.refund_due).count();
    assert_eq!((burnt(world), owed(world)), (0, 0));
    world.tap.take();
    assert_eq!(world.buy("GET", "/tab/500", &[], b"").status, 500);
    assert_eq!(world.buy("GET", "/paid/404", &[], b"").status, 404);
    if !world.kind.outcome {
        assert_eq!(world.tap.heard("/__pay/outcome"), 0);
        // The origin can do it with the hold that it was given.
        let report = format!("{{\"hold\": \"{}\", \"status\": 404}}", world.seen("x-pay-hold"));
        let answer = request("POST", &format!("{}/__pay/outcome", world.gate.url()), &[], report.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((burnt(world), owed(world)), (0, 1));
        return;
    }
    until("both reports are heard", || (burnt(world), owed(world)) == (1, 1));
    let failed = world.buy("GET", "/tab/reset", &[], b"").status;
    assert!(failed >= 500, "{failed}");
    if world.kind.no_answer {
        until("the missing answer is heard", || burnt(world) == 2);
    }
    assert_eq!(get(&world.url("/free/500"), &[]).status, 500);
    let reports = if world.kind.no_answer { 3 } else { 2 };
    assert_eq!(world.tap.heard("/__pay/outcome"), reports);
}

fn leaves(world: &mut World) {
    if !world.kind.outcome {
        return;
    }
    let payment = world.payment("/tab/gate");
    let leaver = Raw::get(&world.proxy.url(), "/tab/gate", &[("payment-signature", &payment)]);
    until("the origin runs", || world.origin.runs("/tab/gate") == 1);
    let id = world.books().claims().last().expect("a hold").id.clone();
    leaver.hang_up();
    world.origin.let_go();
    world.tap.take();
    // Another call is reported meanwhile.
    assert_eq!(world.buy("GET", "/tab/500?again", &[], b"").status, 500);
    until("the next one is heard", || world.tap.heard("/__pay/outcome") >= 1 && world.books().newest().0 == "burnt");
    let state = world.books().claims().iter().find(|claim| claim.id == id).expect("the hold").state.clone();
    assert_eq!(state, "answered");
}

fn refusals(world: &mut World) {
    let served = world.payment("/tab/ok");
    let pay = |payment: &str| get(&world.url("/tab/ok"), &[("payment-signature", payment)]);
    assert_eq!(pay(&served).status, 200);
    let runs = world.origin.runs("");
    let replay = pay(&served);
    assert_eq!((replay.status, replay.error().as_str()), (409, "already_served"));
    assert_eq!(replay.receipt()["success"], true);
    let garbage = pay(&"A".repeat(12_000));
    assert_eq!((garbage.status, garbage.error().as_str()), (400, "invalid_json"), "{}", garbage.text());
    let nowhere = get(&world.url("/else"), &[]);
    assert_eq!((nowhere.status, nowhere.error().as_str()), (403, "forbidden"));

    let waiting = world.payment("/tab/ok");
    world.link.cut();
    let fault = pay(&waiting);
    assert_eq!(fault.status, 503, "{}", fault.text());
    let after: u32 = fault.headers["retry-after"].parse().expect("seconds");
    assert!(after >= 1);
    if world.kind.faults {
        assert_eq!(fault.error(), "chain_unavailable");
    }
    assert_eq!(world.origin.runs(""), runs);
}

fn gate_down(world: &mut World) {
    let payment = world.payment("/tab/ok");
    world.gate.kill();
    let runs = world.origin.runs("");
    for (path, payment) in [("/tab/ok", ""), ("/tab/ok", payment.as_str()), ("/free/ok", "")] {
        let answer = get(&world.url(path), &[("payment-signature", payment)]);
        assert!(answer.status >= 500, "{path}: {} {}", answer.status, answer.text());
    }
    assert_eq!(world.origin.runs(""), runs);
}
