//! What calls cost.

#[path = "prices/pieces.rs"]
mod pieces;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gate::{KeyRecord, Policy, SecretDigest, new_secret, secret_prefix};
use ledger::{Grant, GrantId, GrantSource, KeyId, Unit};
use serde_json::{Value, json};
use store::{KeyTask, KeyToMake, Limits, Store, Together};

use crate::kit::{Answer, Gate, GateOptions, Payer, get, request, start_chain, until};
use pieces::Pieces;
use xtask::chain::{Chain, ChainOptions};

/// A credit is a cent. KB are counted in credits, so that a test can count along.
const ROUTES: &str = "  - { path: /fixed, price: \"0.05\", credits: 4 }
  - { path: /listed, price: \"0.031\" }
  - { path: /free/*, free: true }
  - { path: /in, method: POST, price: { in: credits, call: 2, per_kb_in: 5 } }
  - { path: /out/*, price: { in: credits, call: 1, per_kb_out: 1, max: 9, offer: \"0.10\" } }
  - { path: /json, price: { in: credits, per: { t: 1 }, usage: { t: { pointer: /usage/tokens } }, max: 50 } }
  - { path: /strict, price: { in: credits, per: { t: 1 }, usage: { t: { pointer: /usage/tokens } }, max: 50, unreported: max } }
  - { path: /events, price: { in: credits, call: 1, per: { t: 1 }, usage: { t: { pointer: /usage/tokens } }, max: 50 } }
  - { path: /header, price: { formula: 'usd(\"0.02\") * usage.t + (request.headers[\"x-size\"] == \"l\" ? usd(\"0.01\") : 0)', usage: { t: { header: x-tokens } }, max: \"1\" } }
  - { path: /trailer, price: { in: credits, per: { t: 3 }, usage: { t: { trailer: x-tokens } }, max: 50 } }
  - { path: /divides, price: { formula: '100 / request.size' } }
  - { path: /month, price: { in: credits, call: 10, volume: [{ calls: 2, percent: 50 }] } }\n";
const MORE: &str = "accounts: { credit_usd: \"0.01\" }";
const KB: usize = 1_024;

/// A chain that nobody moves money on, an upstream, and a gate with keys.
struct Shop {
    gate: Gate,
    origin: Pieces,
    _chain: Chain,
}

/// Whoever has a key.
struct Holder {
    id: KeyId,
    secret: String,
}

/// What a key is made of.
struct Wanted {
    unit: Unit,
    balance: u64,
    policy: Value,
    sandbox: bool,
}

impl Wanted {
    fn credits(balance: u64) -> Self {
        Self { unit: Unit::Credit, balance, policy: json!({}), sandbox: false }
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Shop {
    fn new(wanted: &[Wanted]) -> (Self, Vec<Holder>) {
        Self::with(wanted, MORE)
    }

    fn with(wanted: &[Wanted], more: &str) -> (Self, Vec<Holder>) {
        let chain = start_chain(ChainOptions::default());
        chain.plant_token().unwrap();
        chain.plant_multicall().unwrap();
        let origin = Pieces::start();
        let options = GateOptions { routes: ROUTES, more: more.to_owned(), ..GateOptions::direct() };
        let mut gate = Gate::start(chain.rpc_url(), &origin.url(), &options);
        assert!(gate.stop().success());
        let holders = make_keys(&gate, wanted);
        gate.restart();
        (Self { gate, origin, _chain: chain }, holders)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gate.url())
    }

    fn get(&self, holder: &Holder, path: &str) -> Answer {
        get(&self.url(path), &[("x-api-key", &holder.secret)])
    }

    fn post(&self, holder: &Holder, path: &str, body: &[u8]) -> Answer {
        request("POST", &self.url(path), &[("x-api-key", &holder.secret)], body)
    }

    fn history(&self, holder: &Holder) -> Vec<Value> {
        let answer = get(&self.url("/__pay/balance/history"), &[("x-api-key", &holder.secret)]);
        answer.json()["charges"].as_array().cloned().unwrap_or_default()
    }

    /// The newest charge, once it has ended: how it did, what was held, and what was taken.
    fn newest(&self, holder: &Holder) -> (String, u64, u64) {
        let mut found = (String::new(), 0, 0);
        until("the charge ends", || {
            let charge = self.history(holder).first().cloned().unwrap_or_default();
            found = (
                charge["state"].as_str().unwrap_or_default().to_owned(),
                charge["held"].as_u64().unwrap_or_default(),
                charge["taken"].as_u64().unwrap_or_default(),
            );
            !matches!(found.0.as_str(), "" | "open")
        });
        found
    }

    fn balance(&self, holder: &Holder) -> u64 {
        get(&self.url("/__pay/balance"), &[("x-api-key", &holder.secret)]).json()["available"].as_u64().unwrap()
    }

    /// Sends a GET by hand, so that its caller can leave when he likes; reads the head.
    fn open(&self, holder: &Holder, path: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.gate.url().trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n\r\n", holder.secret).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        reader
    }
}

/// Makes keys in the journal of a gate that does not run.
fn make_keys(gate: &Gate, wanted: &[Wanted]) -> Vec<Holder> {
    let limits = Limits { answers_max_bytes: 1 << 20, answers_keep_s: 60 };
    let store = Store::open(&gate.journal(), limits, now_ms).unwrap();
    let journal = store.handle().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = wanted.iter().zip(1_u8..).map(|(wanted, number)| {
        let secret = new_secret([number; 24]);
        let id = KeyId([number; 16]);
        let policy: Policy = serde_json::from_value(wanted.policy.clone()).unwrap();
        let record = KeyRecord::new(id, wanted.unit, format!("key {number}"), now_ms());
        let record = KeyRecord { policy, sandbox: wanted.sandbox, ..record };
        let opening = (wanted.balance > 0).then(|| Grant {
            id: GrantId([number; 16]),
            key: id,
            unit: wanted.unit,
            source: GrantSource::Operator,
            label: "opening".to_owned(),
            priority: 100,
            granted: wanted.balance,
            left: wanted.balance,
            granted_at_ms: now_ms(),
            expires_at_ms: None,
        });
        let digest = SecretDigest::of_secret(&secret).unwrap();
        let key = KeyToMake { record, secret: digest, shown: secret_prefix(&secret), opening };
        let made = runtime.block_on(journal.change_keys(vec![KeyTask::Make(key)], Together::default())).unwrap();
        assert!(made[0].is_ok(), "{made:?}");
        Holder { id, secret }
    });
    made.collect()
}

fn left(answer: &Answer) -> u64 {
    answer.headers["x-credits-remaining"].parse().unwrap()
}

#[test]
fn an_own_price_goes_before_the_routes_and_that_before_the_dollars() {
    let own = json!({ "price_multiplier": "1.5", "prices": [
        { "routes": "/fixed", "amount": 7 }, { "routes": "/month", "free": true } ] });
    let wanted = [
        Wanted::credits(100),
        Wanted { policy: json!({ "price_multiplier": "0.5" }), ..Wanted::credits(100) },
        Wanted { policy: own, ..Wanted::credits(100) },
        Wanted { unit: Unit::Usd, ..Wanted::credits(1_000_000) },
    ];
    let (shop, holders) = Shop::new(&wanted);
    for (nth, path, taken) in [
        (0, "/fixed", 4),
        (0, "/listed", 4),
        (1, "/fixed", 2),
        (1, "/listed", 2),
        (2, "/fixed", 7),
        (2, "/listed", 5),
        (2, "/month", 0),
        (3, "/fixed", 50_000),
        (3, "/listed", 31_000),
    ] {
        let before = shop.balance(&holders[nth]);
        let answer = shop.get(&holders[nth], path);
        assert_eq!((answer.status, before - left(&answer)), (200, taken), "{nth} {path}: {}", answer.text());
    }
}

#[test]
fn two_credits_and_five_for_each_kb_are_seventeen_for_three() {
    let (shop, holders) = Shop::new(&[Wanted::credits(100)]);
    let mut balance = 100;
    for (bytes, taken) in [(1, 7), (KB, 7), (KB + 1, 12), (3 * KB, 17)] {
        let answer = shop.post(&holders[0], "/in", &vec![b'x'; bytes]);
        balance -= taken;
        assert_eq!((answer.status, left(&answer)), (200, balance), "{bytes} bytes: {}", answer.text());
    }
    // Nobody says how long it will be.
    let mut stream = TcpStream::connect(shop.gate.url().trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /in HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        holders[0].secret
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 411") && said.contains("length_required"), "{said}");
    assert_eq!(shop.balance(&holders[0]), balance);
}

#[test]
fn an_answer_is_charged_by_its_size_up_to_the_ceiling() {
    let (shop, holders) = Shop::new(&[Wanted::credits(100), Wanted::credits(8)]);
    let mut balance = 100;
    for (bytes, taken) in [(0, 1), (1, 2), (KB, 2), (KB + 1, 3), (8 * KB, 9), (20 * KB, 9)] {
        let answer = shop.get(&holders[0], &format!("/out/sized?{bytes}"));
        balance -= taken;
        assert_eq!((answer.status, answer.body.len()), (200, bytes), "{}", answer.text());
        assert_eq!(shop.newest(&holders[0]), ("captured".to_owned(), 9, taken), "{bytes} bytes");
        assert_eq!(shop.balance(&holders[0]), balance);
        // What is there as a whole is charged before its head is given out, and said in it.
        if let Some(surcharge) = answer.headers.get("x-output-surcharge") {
            assert_eq!((surcharge.parse(), left(&answer)), (Ok(taken - 1), balance));
        }
    }
    // The ceiling is held, so it must be there.
    let refused = shop.get(&holders[1], "/out/sized?0");
    assert_eq!((refused.status, refused.error().as_str()), (402, "insufficient_credits"));
    assert_eq!(refused.json()["creditsRequired"], 9);
}

#[test]
fn a_stream_that_is_cut_at_any_piece_is_charged_what_was_delivered() {
    let (shop, holders) = Shop::new(&[Wanted::credits(1_000)]);
    for pieces in 0..=5 {
        shop.origin.allow(0);
        let mut stream = shop.open(&holders[0], "/out/pieces");
        shop.origin.allow(pieces);
        let mut got = 0;
        while got < pieces * KB {
            let mut buffer = [0; 700];
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0);
            got += buffer[..count].iter().filter(|byte| **byte == b'x').count();
        }
        drop(stream);
        let taken = 1 + u64::try_from(pieces).unwrap();
        assert_eq!(shop.newest(&holders[0]), ("captured".to_owned(), 9, taken), "{pieces} pieces");
        shop.origin.allow(9);
    }
    assert_eq!(shop.balance(&holders[0]), 1_000 - (1 + 2 + 3 + 4 + 5 + 6));
}

#[test]
fn a_stream_that_the_upstream_breaks_off_is_charged_what_was_delivered() {
    let (shop, holders) = Shop::new(&[Wanted::credits(100)]);
    shop.origin.allow(9);
    let mut stream = shop.open(&holders[0], "/out/broken");
    let mut all = Vec::new();
    drop(stream.read_to_end(&mut all));
    assert_eq!(shop.newest(&holders[0]), ("captured".to_owned(), 9, 6));
}

#[test]
fn events_are_charged_by_the_last_that_was_delivered() {
    let (shop, holders) = Shop::new(&[Wanted::credits(1_000)]);
    for events in [0, 1, 3, 5] {
        shop.origin.allow(0);
        let mut stream = shop.open(&holders[0], "/events");
        shop.origin.allow(events);
        let (mut got, mut line) = (0, String::new());
        while got < events {
            line.clear();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0);
            got += usize::from(line.starts_with("data: "));
        }
        // The empty lines behind an event change nothing.
        drop(stream);
        let taken = 1 + u64::try_from(events).unwrap();
        assert_eq!(shop.newest(&holders[0]), ("captured".to_owned(), 50, taken), "{events} events");
        shop.origin.allow(9);
    }
}

#[test]
fn what_the_upstream_reports_is_charged() {
    let (shop, holders) = Shop::new(&[Wanted::credits(1_000)]);
    shop.origin.allow(9);
    for (path, headers, taken) in [
        ("/json", vec![], 12),
        ("/json?silent", vec![], 0),
        ("/strict", vec![], 12),
        ("/strict?silent", vec![], 50),
        ("/header", vec![], 6),
        ("/header", vec![("x-size", "l")], 7),
        ("/trailer", vec![], 12),
    ] {
        let secret = holders[0].secret.as_str();
        let answer =
            get(&shop.url(path), &[&[("x-api-key", secret), ("accept-encoding", "gzip")], headers.as_slice()].concat());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let (state, _, found) = shop.newest(&holders[0]);
        assert_eq!((state.as_str(), found), ("captured", taken), "{path}");
        let head = shop.origin.last_head();
        assert_eq!(
            head.contains("accept-encoding: identity"),
            path.starts_with("/json") || path.starts_with("/strict"),
            "{head}"
        );
    }
}

/// P-X06, the other way round: elsewhere a failing call is charged unless a flag is set.
#[test]
fn px06_a_failing_call_is_not_charged() {
    let (shop, holders) = Shop::new(&[Wanted::credits(100)]);
    for path in ["/out/500", "/fixed/nowhere", "/header/none"] {
        let answer = shop.get(&holders[0], path);
        assert!(answer.status >= 400, "{path}");
        assert_eq!(shop.balance(&holders[0]), 100, "{path}");
    }
    assert_eq!(shop.newest(&holders[0]).0, "released");
}

#[test]
fn a_formula_without_a_price_for_a_call_refuses_it_before_it_is_run() {
    let (shop, holders) = Shop::new(&[Wanted::credits(100)]);
    let answer = shop.get(&holders[0], "/divides");
    assert_eq!((answer.status, answer.money().as_str()), (503, "untouched"), "{}", answer.text());
    assert!(shop.origin.heads.lock().unwrap().is_empty());
    assert_eq!(shop.history(&holders[0]).len(), 0);
}

#[test]
fn a_month_of_calls_makes_them_cheaper() {
    let (shop, holders) = Shop::new(&[Wanted::credits(100)]);
    let taken: Vec<_> = (0..4)
        .map(|_| {
            let before = shop.balance(&holders[0]);
            before - left(&shop.get(&holders[0], "/month"))
        })
        .collect();
    assert_eq!(taken, [10, 10, 5, 5]);
}

#[test]
fn who_pays_by_x402_pays_the_offer_and_nothing_where_there_is_none() {
    let (shop, _) = Shop::new(&[]);
    let offer = Payer::offer(&shop.url("/out/sized?3000"));
    assert_eq!(offer.amount_atomic, 100_000);
    for headers in [vec![], vec![("payment-signature", "e30=")]] {
        let refused = get(&shop.url("/json"), &headers);
        assert_eq!((refused.status, refused.error().as_str()), (401, "missing_api_key"), "{}", refused.text());
        assert!(!refused.headers.contains_key("payment-required"));
    }
}

#[test]
fn a_key_of_the_sandbox_moves_no_money() {
    let (shop, holders) = Shop::new(&[Wanted { sandbox: true, ..Wanted::credits(10) }]);
    for (path, held) in [("/fixed", 4), ("/out/sized?2000", 9)] {
        let answer = shop.get(&holders[0], path);
        assert_eq!((answer.status, left(&answer)), (200, 10), "{}", answer.text());
        assert_eq!(answer.headers["x-pay-sandbox"], "1");
        assert!(shop.origin.last_head().contains("x-pay-sandbox: 1"));
        assert_eq!(shop.newest(&holders[0]), ("released".to_owned(), held, 0));
    }
    // It is judged as any other key.
    let refused = shop.get(&holders[0], "/strict");
    assert_eq!(refused.error(), "insufficient_credits");
}

/// P-047: it says what it would have done, and never blocks.
#[test]
fn shadow_says_what_it_would_have_done_and_never_blocks() {
    let (shop, holders) = Shop::with(&[Wanted::credits(5)], "accounts: { credit_usd: \"0.01\", shadow: true }");
    let stranger = Holder { id: KeyId([9; 16]), secret: new_secret([9; 24]) };
    for (holder, path, word) in
        [(&holders[0], "/fixed", "charged"), (&holders[0], "/out/sized?9", "insufficient_credits")]
    {
        let answer = shop.get(holder, path);
        assert_eq!((answer.status, answer.headers["x-pay-shadow"].as_str()), (200, word), "{path}");
    }
    assert_eq!((shop.balance(&holders[0]), shop.history(&holders[0]).len()), (5, 0));
    // Who shows no key is asked to pay as ever, and so is who makes one up.
    assert_eq!(get(&shop.url("/fixed"), &[]).status, 402);
    let made_up = shop.get(&stranger, "/fixed");
    assert_eq!((made_up.status, made_up.error().as_str()), (402, "payment_required"));
    assert!(shop.gate.log().contains("SHADOW MODE"));
}

#[test]
fn cost_tags_are_kept_and_reported() {
    let (mut shop, holders) =
        Shop::new(&[Wanted::credits(100), Wanted { unit: Unit::Usd, ..Wanted::credits(1_000_000) }]);
    for (nth, tags) in [
        (0, r#"{"team":"red","job":"a"}"#),
        (0, r#"{"team":"blue"}"#),
        (0, r#"{"team":"red"}"#),
        (1, r#"{"team":"red"}"#),
    ] {
        let answer = get(&shop.url("/fixed"), &[("x-api-key", &holders[nth].secret), ("x-cost-tags", tags)]);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(shop.history(&holders[0])[2]["tags"], r#"{"job":"a","team":"red"}"#);
    for bad in ["", "[]", r#"{"a":1}"#, r#"{"a":"x","a":"y"}"#, r#"{"a b":"c"}"#] {
        let refused = get(&shop.url("/fixed"), &[("x-api-key", &holders[0].secret), ("x-cost-tags", bad)]);
        assert_eq!(
            (refused.status, refused.error().as_str(), refused.money().as_str()),
            (400, "bad_cost_tags", "untouched"),
            "{bad}"
        );
    }
    assert_eq!(shop.history(&holders[0]).len(), 3);
    assert!(shop.gate.stop().success());
    let limits = Limits { answers_max_bytes: 1 << 20, answers_keep_s: 60 };
    let journal = Store::open(&shop.gate.journal(), limits, now_ms).unwrap();
    let journal = journal.handle().unwrap();
    let report = |account: Option<KeyId>, tag: &str, from_ms, to_ms| {
        let rows = journal.cost_by_tag(account, tag, from_ms, to_ms).unwrap();
        rows.into_iter().map(|row| (row.value, row.unit, row.calls, row.spent)).collect::<Vec<_>>()
    };
    let of = |value: &str, unit, calls, spent| (value.to_owned(), unit, calls, spent);
    let red_usd = of("red", Unit::Usd, 1, 50_000);
    let (red, blue) = (of("red", Unit::Credit, 2, 8), of("blue", Unit::Credit, 1, 4));
    assert_eq!(report(None, "team", 0, u64::MAX), [red_usd, red.clone(), blue.clone()]);
    assert_eq!(report(Some(holders[0].id), "team", 0, u64::MAX), [red, blue]);
    assert_eq!(report(Some(holders[0].id), "job", 0, u64::MAX), [of("a", Unit::Credit, 1, 4)]);
    for (tag, from_ms, to_ms) in
        [("team", u64::MAX, u64::MAX), ("team", 0, 1), ("none", 0, u64::MAX), ("a\"b", 0, u64::MAX), ("", 0, u64::MAX)]
    {
        assert_eq!(report(None, tag, from_ms, to_ms), [], "{tag} {from_ms} {to_ms}");
    }
}

#[test]
fn quotes_say_what_calls_would_cost_and_run_nothing() {
    let policy = json!({ "price_multiplier": "0.5", "routes": { "deny": ["/listed"] } });
    let (shop, holders) = Shop::new(&[Wanted { policy, ..Wanted::credits(20) }]);
    let url = shop.url("/__pay/quote");
    let ask = |headers: &[(&str, &str)], body: &Value| request("POST", &url, headers, body.to_string().as_bytes());
    let secret = holders[0].secret.as_str();
    let one = ask(&[("x-api-key", secret)], &json!({ "method": "POST", "url": "/in?x=1", "size": 3 * KB })).json();
    for (name, want) in [
        ("outcome", json!("priced")),
        ("price_usd", json!("0.17")),
        ("unit", json!("credit")),
        ("amount", json!(9)),
        ("available", json!(20)),
        ("affords", json!(2)),
        ("metered", json!(false)),
        ("offers", json!([])),
    ] {
        assert_eq!(one[name], want, "{name}: {one}");
    }
    let calls = json!({ "calls": [
        { "url": "/out/sized" },
        { "url": "/free/x" },
        { "url": "/listed" },
        { "url": "https://api.example.com/fixed" },
        { "url": "/nowhere" },
        { "url": "/header", "headers": { "x-size": "l" } },
        { "url": "/divides", "size": 0 },
        { "url": "/divides", "size": 7 },
        { "url": "no url" },
    ] });
    let with_key = ask(&[("x-api-key", secret)], &calls);
    assert_eq!(with_key.headers["x-credits-remaining"], "20");
    let told = |answer: &Answer, name: &str| {
        answer.json()["quotes"].as_array().unwrap().iter().map(|quote| quote[name].clone()).collect::<Vec<_>>()
    };
    let outcomes = ["priced", "free", "acl_denied", "priced", "blocked", "priced", "unknown", "priced", "bad_url"];
    assert_eq!(told(&with_key, "outcome"), outcomes);
    let null = Value::Null;
    let amounts =
        [json!(5), null.clone(), null.clone(), json!(2), null.clone(), json!(50), null.clone(), json!(1), null.clone()];
    assert_eq!(told(&with_key, "amount"), amounts);
    assert_eq!(told(&with_key, "metered")[0], true);
    assert_eq!(told(&with_key, "offers")[3][0]["amount"], "50000");
    let without = ask(&[], &calls);
    assert_eq!(told(&without, "outcome")[2], "priced");
    assert_eq!(told(&without, "price_usd")[0], "0.09");
    assert_eq!(told(&without, "amount"), vec![null; 9]);
    for bad in [
        json!({}),
        json!([]),
        json!({ "calls": [] }),
        json!({ "url": "/a", "size": -1 }),
        json!({ "url": "/a", "x": 1 }),
        json!({ "calls": vec![json!({ "url": "/a" }); 101] }),
    ] {
        let refused = ask(&[], &bad);
        assert_eq!((refused.status, refused.error().as_str()), (400, "bad_request"), "{bad}");
    }
    assert_eq!(get(&url, &[]).status, 405);
    assert_eq!(ask(&[("x-api-key", &new_secret([8; 24]))], &calls).error(), "invalid_api_key");
    assert!(shop.origin.heads.lock().unwrap().is_empty());
    assert_eq!((shop.balance(&holders[0]), shop.history(&holders[0]).len()), (20, 0));
}

#[test]
fn who_can_fetch_the_whole_answer_is_charged_the_whole() {
    let (shop, holders) = Shop::new(&[Wanted::credits(100)]);
    shop.origin.allow(0);
    let key = "a-name-of-my-own-for-this-call-1";
    let mut stream = TcpStream::connect(shop.gate.url().trim_start_matches("http://")).unwrap();
    let secret = &holders[0].secret;
    write!(
        stream,
        "GET /out/pieces HTTP/1.1\r\nhost: {}\r\nx-api-key: {secret}\r\nidempotency-key: {key}\r\n\r\n",
        shop.gate.url().trim_start_matches("http://")
    )
    .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    drop(stream);
    shop.origin.allow(9);
    assert_eq!(shop.newest(&holders[0]), ("captured".to_owned(), 9, 6));
    let mut again = None;
    until("the answer is kept", || {
        again = Some(get(&shop.url("/out/pieces"), &[("x-api-key", secret), ("idempotency-key", key)]));
        again.as_ref().is_some_and(|answer| answer.status == 200)
    });
    let again = again.unwrap();
    assert_eq!((again.body.len(), again.headers["idempotency-replayed"].as_str()), (5 * KB, "true"));
    assert_eq!((shop.history(&holders[0]).len(), shop.balance(&holders[0])), (1, 94));
}

#[test]
fn a_sidecar_sells_nothing_that_it_cannot_count() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.plant_multicall().unwrap();
    let options =
        GateOptions { routes: ROUTES, more: MORE.to_owned(), arguments: &["--sidecar"], ..GateOptions::direct() };
    let mut gate = Gate::start(chain.rpc_url(), "http://127.0.0.1:1", &options);
    assert!(gate.stop().success());
    let tried = Wanted { sandbox: true, ..Wanted::credits(10) };
    let holders = make_keys(&gate, &[Wanted::credits(100), tried]);
    gate.restart();
    let check_of = |holder: &Holder, path: &str| {
        let headers = [("x-api-key", holder.secret.as_str()), ("x-original-uri", path), ("x-original-method", "GET")];
        get(&format!("{}/__pay/check", gate.url()), &headers)
    };
    let check = |path: &str| check_of(&holders[0], path);
    let refused = check("/json");
    assert_eq!((refused.status, refused.error().as_str()), (501, "metered_route"), "{}", refused.text());
    let served = check("/fixed");
    assert_eq!((served.status, left(&served)), (200, 96), "{}", served.text());
    // A key of the sandbox moves no money here either.
    for _ in 0..3 {
        let tried = check_of(&holders[1], "/fixed");
        assert_eq!((tried.status, left(&tried)), (200, 10), "{}", tried.text());
        assert_eq!(tried.headers["x-pay-sandbox"], "1");
    }
}

/// A process that dies in the middle of a metered answer gives back what it held: it does not know what was delivered.
#[test]
fn a_kill_in_the_middle_of_a_metered_answer_charges_nothing() {
    let (mut shop, holders) = Shop::new(&[Wanted::credits(100)]);
    shop.origin.allow(2);
    let stream = shop.open(&holders[0], "/out/pieces");
    shop.gate.kill_and_restart();
    drop(stream);
    let (state, held, taken) = shop.newest(&holders[0]);
    assert!(matches!(state.as_str(), "not_charged" | "released"), "{state}");
    assert_eq!((held, taken, shop.balance(&holders[0])), (9, 0, 100));
    shop.origin.allow(9);
}
