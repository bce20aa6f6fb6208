//! What is fetched by a receipt's name: M-020, M-021, M-022.

use rusqlite::Connection;

use super::*;
use crate::kit::{get, until};

const NOT_FOUND: &str = r#"{"error":"Receipt not found","message":"Receipt may have expired or never existed"}"#;

fn named(answer: &Answer) -> String {
    receipt(answer)["receipt"]["id"].as_str().expect("a name").to_owned()
}

/// The journal, for what a test changes in it.
fn journal(world: &World) -> Connection {
    let journal = Connection::open(world.gate.journal()).expect("the journal opens");
    journal.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    journal
}

fn rows(world: &World) -> i64 {
    journal(world).query_row("SELECT count(*) FROM receipts", [], |row| row.get(0)).expect("a count")
}

fn fetched(world: &World, beneath: &str, name: &str) -> Value {
    let answer = get(&world.url(&format!("{beneath}{name}")), &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.json()
}

#[test]
fn m_020_a_receipt_is_looked_up_by_its_name() {
    let world = world(&format!("{}cors: {{ origins: [\"*\"] }}\n", ON.replace(" }\n", ", lookups_per_min: 1000 }\n")));
    let answer = buy(&world, "/paid/echo", &[], b"a question");
    let (name, first) = (named(&answer), receipt(&answer));
    until("it is written", || rows(&world) == 1);
    let payment = first["receipt"]["payment"]["id"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    for (beneath, name) in [
        ("/receipts/", &name),
        ("/api/receipts/", &name),
        ("/__pay/receipts/", &name),
        ("/__pay/receipts/", &payment),
        ("/api/receipts/", &payment),
    ] {
        let again = fetched(&world, beneath, name);
        assert_eq!(again["status"], "valid");
        for part in ["id", "timestamp", "payment", "service"] {
            assert_eq!(again["receipt"][part], first["receipt"][part], "{part}");
        }
        assert_eq!(again["receipt"]["settlement"]["state"], "settled");
        let file = write(folder.path(), "again", again.to_string());
        assert_eq!(verify(&file, &["--signer", SETTLER.address]).1, 0);
    }
    for path in
        ["/receipts/rcpt_ffffffffffff", "/api/receipts/rcpt_ffffffffffff", "/__pay/receipts/rcpt_x", "/__pay/receipts/"]
    {
        let answer = get(&world.url(path), &[]);
        assert_eq!((answer.status, answer.text().as_str()), (404, NOT_FOUND), "{path}");
    }
    assert_eq!(request("POST", &world.url("/__pay/receipts/rcpt_ffffffffffff"), &[], b"").status, 405);
    // Other names and methods are the operator's.
    assert_eq!(get(&world.url("/receipts/mine"), &[]).status, 403);
    assert_eq!(request("DELETE", &world.url(&format!("/receipts/{name}")), &[], b"").status, 403);
    let page = get(&world.url(&format!("/receipts/{name}")), &[("origin", "https://app.example")]);
    assert!(page.headers["access-control-expose-headers"].contains("X-402-RECEIPT"), "{:?}", page.headers);
}

/// A route of the operator goes before our look-up; beneath our own path it is always there.
#[test]
fn m_020_no_route_is_shadowed() {
    let routes = "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n  - { path: /receipts/*, free: true }\n  - { path: /api/**, price: \"0.01\" }\n";
    let options = GateOptions { routes, more: ON.to_owned(), ..GateOptions::direct() };
    let world = World::with(ChainOptions::default(), &options);
    let name = named(&buy(&world, "/paid/ok", &[], b""));
    until("it is written", || rows(&world) == 1);
    assert_eq!(get(&world.url(&format!("/receipts/{name}")), &[]).text(), "served", "by the origin");
    assert_eq!(get(&world.url(&format!("/api/receipts/{name}")), &[]).status, 402);
    assert_eq!(fetched(&world, "/__pay/receipts/", &name)["status"], "valid");
}

#[test]
fn m_021_so_many_look_ups_in_a_minute_and_for_a_day() {
    let mut world = world(ON);
    let name = named(&buy(&world, "/paid/ok", &[], b""));
    until("it is written", || rows(&world) == 1);
    // Ten, whatever is asked for, and one more if a sixth of the minute goes by meanwhile.
    assert_eq!(get(&world.url("/api/receipts/rcpt_ffffffffffff"), &[]).status, 404);
    let mut allowed = 1;
    let limited = loop {
        let answer = get(&world.url(&format!("/receipts/{name}")), &[]);
        if answer.status != 200 {
            break answer;
        }
        allowed += 1;
    };
    assert!((10..=12).contains(&allowed), "{allowed}");
    assert_eq!((limited.status, limited.error().as_str()), (429, "rate_limited"));
    assert_eq!(limited.headers["x-ratelimit-limit"], "10");
    assert!(limited.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    assert_eq!(buy(&world, "/paid/ok", &[], b"").status, 200, "other calls are counted apart");
    // A day later it is gone for everybody, and soon from the file.
    until("the second is written", || rows(&world) == 2);
    let a_day_ago =
        "UPDATE receipts SET at_ms = at_ms - 86400000 WHERE hold = (SELECT id FROM holds ORDER BY turn LIMIT 1)";
    assert_eq!(journal(&world).execute(a_day_ago, []).unwrap(), 1);
    world.gate.kill_and_restart();
    assert_eq!(get(&world.url(&format!("/receipts/{name}")), &[]).text(), NOT_FOUND);
    until("it is forgotten", || rows(&world) == 1);
}

/// Neither what was asked nor what was answered is anywhere in the journal.
#[test]
fn m_022_digests_alone_are_kept() {
    let world = world(ON);
    let answer = buy(&world, "/paid/echo?who=somebody-in-the-query", &[], b"a-question-that-is-nobodys-business");
    assert_eq!(answer.text(), "a-question-that-is-nobodys-business");
    until("it is written", || rows(&world) == 1);
    let journal = world.gate.journal();
    let mut files: Vec<u8> = Vec::new();
    for end in ["", "-wal"] {
        let mut path = journal.clone().into_os_string();
        path.push(end);
        files.extend(std::fs::read(path).unwrap_or_default());
    }
    let holds = |text: &str| files.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("/paid/echo"), "the path is there");
    assert!(!holds("somebody-in-the-query") && !holds("nobodys-business"));
}

/// What is given out says that the payment is held. What is fetched later says where it was settled, and the first stays good.
#[test]
fn on_the_tab_a_receipt_fetched_later_names_the_transaction() {
    let world = world(&format!("{ON}tab: {{ settle_age_s: 1 }}\n"));
    let answer = buy(&world, "/tab/echo", &[], b"a question");
    let first = receipt(&answer);
    assert_eq!(first["receipt"]["settlement"]["state"], "held");
    assert!(first["receipt"]["settlement"]["transaction"].is_null());
    assert_eq!(first["receipt"]["payment"]["id"], answer.receipt()["extra"]["payment"]);
    assert_eq!(first["receipt"]["service"]["response_hash"], sha256(b"a question"));
    until("it is settled", || world.books().holds("posted") == 1);
    let later = fetched(&world, "/receipts/", &named(&answer));
    let settlement = &later["receipt"]["settlement"];
    assert_eq!(settlement["state"], "settled");
    assert_eq!(settlement["transaction"], world.books().posted_chain_txs()[0].to_string());
    assert_eq!(later["receipt"]["service"], first["receipt"]["service"]);
    let folder = tempfile::tempdir().unwrap();
    for text in [first.to_string(), later.to_string()] {
        assert_eq!(verify(&write(folder.path(), "one", text), &["--signer", SETTLER.address]).1, 0);
    }
}
