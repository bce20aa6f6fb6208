//! Passes: one payment, many calls.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use protocol::Offer;
use protocol::x402::Challenge;
use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::Sha256;
use xtask::chain::ChainOptions;

use super::kit::{self, Answer, FUNDS, GateOptions, PAYER, World, until};

const ROUTES: &str = "  - { path: /free/*, free: true }
  - { path: /paid/one, price: \"0.01\", settlement: direct,
      pass: [{ price: \"0.05\", for: 1h }, { price: \"0.03\", calls: 3 }, { price: \"0.04\", amount: \"0.025\" }, { price: \"0.02\", for: 1s }] }
  - { path: /paid/shared, price: \"0.01\", settlement: tab, pass: { price: \"0.05\", calls: 2, for: 1h }, pass_scope: news }
  - { path: /paid/other, price: \"0.02\", settlement: direct, pass_scope: news }
  - { path: /paid/dear, price: \"0.50\", settlement: direct, pass: { price: \"0.02\", calls: 3 } }
  - { path: /paid/*, price: \"0.01\", settlement: direct }
";
const ONE: &str = "/paid/one";

fn world() -> World {
    World::with(ChainOptions::default(), &GateOptions { routes: ROUTES, ..GateOptions::direct() })
}

/// GET under a name that stays when the gate listens at another port.
fn get(url: &str, headers: &[(&str, &str)]) -> Answer {
    kit::get(url, &[&[("host", "localhost")], headers].concat())
}

/// The offers of a 402, by what their passes are.
fn offers(url: &str) -> BTreeMap<String, Offer> {
    let answer = get(url, &[]);
    assert_eq!(answer.status, 402, "{}", answer.text());
    offered(&answer)
}

fn offered(answer: &Answer) -> BTreeMap<String, Offer> {
    let challenge = Challenge::parse_v2(answer.headers["payment-required"].as_bytes()).expect("a challenge");
    let named = |offer: &Offer| match offer.extra.get("pass") {
        None => "call".to_owned(),
        Some(pass) => format!("{} {}", pass["kind"].as_str().unwrap_or_default(), pass["seconds"]),
    };
    challenge.offers.iter().map(|offer| (named(offer), offer.clone())).collect()
}

/// Buys a pass with a call, and returns it.
fn buy(world: &World, path: &str, which: &str) -> String {
    let answer = pay(world, path, which);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.receipt()["success"], true);
    answer.headers["x-payment-pass"].clone()
}

fn pay(world: &World, path: &str, which: &str) -> Answer {
    let offer = offers(&world.url(path)).remove(which).unwrap_or_else(|| panic!("no offer for {which}"));
    let (header, _) = world.payer.payment(&offer);
    get(&world.url(path), &[("payment-signature", &header)])
}

fn show(world: &World, path: &str, pass: &str) -> Answer {
    get(&world.url(path), &[("x-payment-pass", pass)])
}

/// It opens nothing, says why, and what would.
fn refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (402, code), "{}", answer.text());
    assert_eq!(answer.money(), "untouched");
    assert!(!offered(answer).is_empty());
    assert!(!answer.headers.contains_key("payment-response"));
}

fn payload(pass: &str) -> Value {
    let (payload, _) = pass.split_once('.').expect("two parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// A pass as anybody with the secret makes it.
fn forge(payload: &Value, secret: &[u8]) -> String {
    let payload = payload.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(payload.as_bytes());
    let tag = mac.finalize().into_bytes();
    format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(tag))
}

/// The money of all purchases is on the chain and in the books, once.
fn agree(world: &World, paid: u128) {
    let books = world.books();
    until("every hold ends", || books.unfinished() == 0);
    assert_eq!(books.unbalanced(), 0);
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (paid, FUNDS - paid));
    assert_eq!(books.balance("external:"), -i128::try_from(paid).unwrap());
}

fn revoke(world: &World, payment: &str) -> Value {
    let config = world.gate.journal().with_file_name("pontage.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(["pass", "revoke", payment, "--json", "--config"]).arg(config);
    let out = command.output().expect("it runs");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn a_pass_for_a_time_is_bought_with_a_call_and_reused() {
    let world = world();
    let found = offers(&world.url(ONE));
    let amounts: Vec<_> = found.iter().map(|(name, offer)| (name.as_str(), offer.amount_atomic)).collect();
    let want =
        [("amount null", 40_000), ("call", 10_000), ("calls null", 30_000), ("time 1", 20_000), ("time 3600", 50_000)];
    assert_eq!(amounts, want);
    let pass = buy(&world, ONE, "time 3600");
    let says = payload(&pass);
    assert_eq!((&says["kind"], &says["scope"]), (&"time".into(), &"* /paid/one".into()));
    assert_eq!(says["payer"].as_str().map(str::to_lowercase), Some(PAYER.address.to_lowercase()));
    let rows = |table: &str| {
        let db = Connection::open(world.gate.journal()).unwrap();
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = ["holds", "charges", "entries", "accounts"].map(rows);
    for _ in 0..20 {
        assert_eq!(show(&world, ONE, &pass).status, 200);
    }
    assert_eq!(["holds", "charges", "entries", "accounts"].map(rows), before, "a time is not counted");
    assert_eq!(world.origin.runs(ONE), 21);
    // The origin is told who paid, and never the pass.
    assert_eq!(show(&world, "/paid/one", &format!("{pass}x")).error(), "bad_pass");
    agree(&world, 50_000);
}

#[test]
fn a_pass_of_calls_opens_so_many_also_when_all_come_at_once() {
    let world = world();
    let pass = buy(&world, ONE, "calls null");
    assert_eq!(payload(&pass).get("exp"), None);
    let served = thread::scope(|scope| {
        let calls: Vec<_> = (0..16).map(|_| scope.spawn(|| show(&world, ONE, &pass))).collect();
        let answers: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        answers.iter().filter(|answer| answer.status != 200).for_each(|answer| refused(answer, "pass_used_up"));
        answers.iter().filter(|answer| answer.status == 200).count()
    });
    assert_eq!((served, world.origin.runs(ONE)), (3, 4), "the call that bought it is paid for besides");
    let used_up = show(&world, ONE, &pass);
    refused(&used_up, "pass_used_up");
    assert_eq!(used_up.headers["x-credits-remaining"], "0");
    agree(&world, 30_000);
}

#[test]
fn a_pass_of_an_amount_is_drawn_by_price_and_what_fails_is_given_back() {
    let world = world();
    let pass = buy(&world, ONE, "amount null");
    let left = |answer: &Answer| answer.headers["x-credits-remaining"].clone();
    assert_eq!(left(&show(&world, ONE, &pass)), "15000");
    assert_eq!(left(&show(&world, ONE, &pass)), "5000");
    let short = show(&world, ONE, &pass);
    refused(&short, "pass_used_up");
    assert_eq!(left(&short), "5000");
    agree(&world, 40_000);
}

#[test]
fn a_pass_opens_the_routes_of_its_scope_and_no_others() {
    let world = world();
    let news = buy(&world, "/paid/shared", "calls 3600");
    assert_eq!(payload(&news)["scope"], "news");
    assert_eq!(show(&world, "/paid/other", &news).status, 200, "of the same scope, whatever a call costs there");
    refused(&show(&world, ONE, &news), "pass_wrong_route");
    refused(&show(&world, "/paid/ok", &news), "pass_wrong_route");
    let one = buy(&world, ONE, "time 3600");
    refused(&show(&world, "/paid/shared", &one), "pass_wrong_route");
    assert_eq!(show(&world, "/free/ok", &one).status, 200, "what is free needs none");
    // The tab's route sold its pass directly.
    agree(&world, 100_000);
}

#[test]
fn a_pass_whose_time_is_over_opens_nothing() {
    let world = world();
    let pass = buy(&world, ONE, "time 1");
    until("its time is over", || show(&world, ONE, &pass).status != 200);
    refused(&show(&world, ONE, &pass), "pass_expired");
    assert_eq!(payload(&pass)["kind"], "time");
}

#[test]
fn nobody_makes_himself_a_pass() {
    let world = world();
    let pass = buy(&world, ONE, "time 1");
    let mut longer = payload(&pass);
    longer["exp"] = 9_999_999_999_u64.into();
    let (_, tag) = pass.split_once('.').unwrap();
    let grafted = format!("{}.{tag}", URL_SAFE_NO_PAD.encode(longer.to_string()));
    let no_tag = format!("{}.", URL_SAFE_NO_PAD.encode(longer.to_string()));
    for forged in [grafted, no_tag, forge(&longer, b""), forge(&longer, b"guess"), "a.b".to_owned(), "x".repeat(5_000)]
    {
        refused(&show(&world, ONE, &forged), "bad_pass");
    }
    assert_eq!(world.origin.runs(ONE), 1);
}

#[test]
fn a_pass_is_taken_back_while_the_gate_runs_and_stays_so() {
    let mut world = world();
    let (time, calls) = (buy(&world, ONE, "time 3600"), buy(&world, ONE, "calls null"));
    for pass in [&time, &calls] {
        assert_eq!(show(&world, ONE, pass).status, 200);
        let id = payload(pass)["jti"].as_str().unwrap().to_owned();
        assert_eq!(revoke(&world, &id), json!({ "payment": id, "state": "revoked" }));
        refused(&show(&world, ONE, pass), "pass_revoked");
        assert_eq!(revoke(&world, &id)["state"], "revoked");
    }
    assert_eq!(revoke(&world, &"0".repeat(32))["state"], "unknown");
    world.gate.kill_and_restart();
    refused(&show(&world, ONE, &time), "pass_revoked");
    refused(&show(&world, ONE, &calls), "pass_revoked");
    assert_eq!(show(&world, ONE, &buy(&world, ONE, "time 3600")).status, 200);
}

/// The same payment again is no second pass, and the pass is not lost with the answer.
#[test]
fn whoever_lost_the_answer_asks_again_with_the_same_payment() {
    let mut world = world();
    for which in ["time 3600", "calls null"] {
        let offer = offers(&world.url(ONE)).remove(which).unwrap();
        let (header, _) = world.payer.payment(&offer);
        let first = get(&world.url(ONE), &[("payment-signature", &header)]);
        world.gate.kill_and_restart();
        let again = get(&world.url(ONE), &[("payment-signature", &header)]);
        assert_eq!((again.status, again.error().as_str(), again.money().as_str()), (409, "already_served", "moved"));
        assert_eq!(again.headers["x-payment-pass"], first.headers["x-payment-pass"]);
        assert_eq!(show(&world, ONE, &first.headers["x-payment-pass"]).status, 200);
        let stranger = get(&world.url("/paid/ok"), &[("payment-signature", &header)]);
        assert_eq!((stranger.status, stranger.headers.get("x-payment-pass")), (409, None));
    }
    agree(&world, 80_000);
}

/// What an upstream refuses is no sale: neither money nor pass.
#[test]
fn a_call_that_is_not_served_sells_no_pass() {
    let routes = "  - { path: /paid/*, price: \"0.01\", settlement: direct, pass: { price: \"0.05\", calls: 3 } }\n";
    let world = World::with(ChainOptions::default(), &GateOptions { routes, ..GateOptions::direct() });
    let answer = pay(&world, "/paid/500", "calls null");
    assert_eq!((answer.status, answer.headers.get("x-payment-pass")), (500, None));
    agree(&world, 0);
    let pass = buy(&world, "/paid/ok", "calls null");
    let failed = show(&world, "/paid/500", &pass);
    assert_eq!((failed.status, failed.headers["x-credits-remaining"].as_str()), (500, "3"), "given back");
    assert_eq!(show(&world, "/paid/ok", &pass).headers["x-credits-remaining"], "2");
}

/// Killed anywhere around the step that posts the payment, there is one payment, one pass, and all of its calls.
#[test]
fn a_gate_that_dies_while_it_sells_sells_once() {
    for point in
        ["before-claim", "after-claim", "before-submit", "after-submit", "before-post", "after-post", "before-tell"]
    {
        let mut world = world();
        world.gate.kill();
        world.gate.restart_to_die(point);
        let offer = offers_until(&world, point);
        let Some(offer) = offer else { continue };
        let (header, _) = world.payer.payment(&offer);
        let headers = [("host", "localhost"), ("payment-signature", header.as_str())];
        drop(kit::try_request("GET", &world.url(ONE), &headers, b""));
        world.gate.died(point);
        world.gate.restart();
        let mut answer = get(&world.url(ONE), &[("payment-signature", &header)]);
        until(&format!("{point}: the payment is known"), || {
            if answer.status == 503 || answer.error() == "in_flight" {
                answer = get(&world.url(ONE), &[("payment-signature", &header)]);
            }
            answer.status != 503 && answer.error() != "in_flight"
        });
        let Some(pass) = answer.headers.get("x-payment-pass") else {
            // The call may have run when the process died: it is not run again, and nothing was taken.
            assert_eq!((answer.status, answer.error().as_str()), (409, "not_charged"), "{point}: {}", answer.text());
            agree(&world, 0);
            continue;
        };
        agree(&world, 30_000);
        let served = (0..5).filter(|_| show(&world, ONE, pass).status == 200).count();
        assert_eq!(served, 3, "{point}");
    }
}

fn offers_until(world: &World, point: &str) -> Option<Offer> {
    // The point that is before any answer is reached by the question for the price.
    let answer = kit::try_request("GET", &world.url(ONE), &[], b"").ok()?;
    assert_eq!(answer.status, 402, "{point}");
    offered(&answer).remove("calls null")
}

/// Two secrets hold at once; one that is taken out holds no more.
#[test]
fn a_secret_is_changed_while_passes_are_out() {
    let (old, new) = ("o".repeat(32), "n".repeat(40));
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    let (old_path, new_path) = (put("old", &old), put("new", &new));
    let more = format!("passes: {{ secret: {{ file: \"{old_path}\" }} }}");
    let options = GateOptions { routes: ROUTES, more, ..GateOptions::direct() };
    let mut world = World::with(ChainOptions::default(), &options);
    let first = buy(&world, ONE, "time 3600");
    assert_eq!(first, forge(&payload(&first), old.as_bytes()), "the documented form");
    let both = format!("secret: {{ file: \"{new_path}\" }}, previous: {{ file: \"{old_path}\" }}");
    world.gate.rewrite(&format!("secret: {{ file: \"{old_path}\" }}"), &both);
    world.gate.kill_and_restart();
    assert_eq!(show(&world, ONE, &first).status, 200);
    let second = buy(&world, ONE, "time 3600");
    assert_eq!(second, forge(&payload(&second), new.as_bytes()));
    world.gate.rewrite(&format!(", previous: {{ file: \"{old_path}\" }}"), "");
    world.gate.kill_and_restart();
    refused(&show(&world, ONE, &first), "bad_pass");
    assert_eq!(show(&world, ONE, &second).status, 200);
    assert!(!world.gate.log().contains(&new) && !world.gate.log().contains(&second), "secrets are in no log");
}

/// Passes beside the other ways to pay: a payment pays, a key does not get in the way.
#[test]
fn a_payment_beside_a_pass_pays() {
    let world = world();
    let pass = buy(&world, ONE, "calls null");
    let offer = offers(&world.url(ONE)).remove("call").unwrap();
    let (header, _) = world.payer.payment(&offer);
    let answer = get(&world.url(ONE), &[("x-payment-pass", &pass), ("payment-signature", &header)]);
    assert_eq!((answer.status, answer.headers.get("x-payment-pass")), (200, None));
    assert_eq!(show(&world, ONE, &pass).headers["x-credits-remaining"], "2");
    agree(&world, 40_000);
}

/// A settlement that takes its time: neither pass nor calls before the money, and both with the answer at the pick-up.
#[test]
fn a_pass_comes_with_its_money() {
    let mut world = World::with(
        ChainOptions { mining: false, ..ChainOptions::default() },
        &GateOptions { routes: ROUTES, ..GateOptions::direct() },
    );
    let offer = offers(&world.url(ONE)).remove("calls null").unwrap();
    let (header, _) = world.payer.payment(&offer);
    let answer = get(&world.url(ONE), &[("payment-signature", &header)]);
    assert_eq!((answer.status, answer.error().as_str()), (503, "settlement_pending"), "{}", answer.text());
    assert_eq!(answer.headers.get("x-payment-pass"), None);
    let pickup = answer.json()["pickup_url"].as_str().unwrap().to_owned();
    until("the answer is kept", || world.books().claims()[0].answer == "kept");
    let early = get(&world.url(&pickup), &[]);
    assert_eq!((early.status, early.headers.get("x-payment-pass")), (503, None));
    world.gate.kill_and_restart();
    world.chain.set_automine(true).unwrap();
    until("the reconciler posts it", || world.books().holds("posted") == 1);
    let picked = get(&world.url(&pickup), &[]);
    assert_eq!((picked.status, picked.text().as_str()), (200, "served"));
    let pass = &picked.headers["x-payment-pass"];
    assert_eq!((0..5).filter(|_| show(&world, ONE, pass).status == 200).count(), 3);
    agree(&world, 30_000);
}

/// A refund is no gift: what is given back opens nothing any more.
#[test]
fn a_pass_that_is_refunded_is_over() {
    let more = "refunds: { signer: { env: PONTAGE_REFUNDS_KEY } }".to_owned();
    let options = GateOptions { routes: ROUTES, more, network: "finality: { final: 1 }", ..GateOptions::direct() };
    let world = World::with(ChainOptions::default(), &options);
    world.chain.mint(kit::REFUNDER.address, 1_000_000).unwrap();
    let (time, calls) = (buy(&world, ONE, "time 3600"), buy(&world, ONE, "calls null"));
    assert_eq!(show(&world, ONE, &calls).status, 200);
    for _ in 0..20 {
        world.chain.mine().unwrap();
    }
    let id = |pass: &str| payload(pass)["jti"].as_str().unwrap().to_owned();
    let refused_refund = refund(&world, &id(&calls), None);
    assert_eq!(refused_refund["refused"][0]["code"], "used", "one of three calls was made: {refused_refund}");
    assert_eq!(refund(&world, &id(&calls), Some("0.02"))["refunds"][0]["state"], "refunded");
    assert_eq!(refund(&world, &id(&time), Some("0.01"))["refunds"][0]["state"], "refunded");
    refused(&show(&world, ONE, &calls), "pass_used_up");
    refused(&show(&world, ONE, &time), "pass_revoked");
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (80_000, FUNDS - 50_000));
    assert_eq!((world.books().unbalanced(), world.books().balance("refund_due:")), (0, 0));
}

fn refund(world: &World, payment: &str, amount: Option<&str>) -> Value {
    let config = world.gate.journal().with_file_name("pontage.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(["refund", payment, "--json", "--config"]).arg(config);
    command.args(amount.iter().flat_map(|amount| ["--amount", amount]));
    command.env("PONTAGE_SIGNER_KEY", kit::SETTLER.secret).env("PONTAGE_REFUNDS_KEY", kit::REFUNDER.secret);
    let out = command.output().expect("it runs");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
}

/// A sidecar sells passes and takes them; what counts is due with the check.
#[test]
fn a_sidecar_sells_and_takes_passes() {
    let options = GateOptions { routes: ROUTES, arguments: &["--sidecar"], ..GateOptions::direct() };
    let world = World::with(ChainOptions::default(), &options);
    let check = |headers: &[(&str, &str)]| get(&world.url("/__pay/check/paid/one"), headers);
    for (which, passes) in [("time 3600", 5), ("calls null", 3)] {
        let offer = offered(&check(&[])).remove(which).unwrap();
        let (header, _) = world.payer.payment(&offer);
        let bought = check(&[("payment-signature", &header)]);
        assert_eq!(bought.status, 200, "{}", bought.text());
        let pass = &bought.headers["x-payment-pass"];
        let let_through = (0..5).filter(|_| check(&[("x-payment-pass", pass)]).status == 200).count();
        assert_eq!(let_through, passes, "{which}");
    }
    refused(&check(&[("x-payment-pass", "a.b")]), "bad_pass");
    agree(&world, 80_000);

    // A retry by name, however short, is not charged again, and is told at once: there is no answer to wait for.
    let offer = offered(&check(&[])).remove("calls null").unwrap();
    let bought = check(&[("payment-signature", &world.payer.payment(&offer).0)]);
    let pass = bought.headers["x-payment-pass"].as_str();
    for name in ["idempotency-key", "x-idempotency-key"] {
        let named = || check(&[("x-payment-pass", pass), (name, name)]);
        assert_eq!(named().status, 200, "{name}");
        until("it is known that its answer is not kept", || named().error() == "already_served");
    }
    assert_eq!(check(&[("x-payment-pass", pass)]).headers["x-credits-remaining"], "0");
}

/// What a call costs is said, not what a pass does.
#[test]
fn the_price_of_a_call_is_not_its_passes() {
    let world = world();
    let message = get(&world.url("/paid/dear"), &[]).json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("$0.5 per request") || message.contains("$0.50 per request"), "{message}");
}

/// The client of `examples/pass` with the reference client beneath it: bought, reused three times, and bought again.
#[test]
fn the_example_buys_once_and_reuses() {
    xtask::peers::npm(&kit::root()).expect("the npm clients are installed");
    let world = world();
    let output = Command::new("node")
        .arg(kit::root().join("peers/js/pay-pass.mjs"))
        .arg(world.url(ONE))
        .env("PAYER_KEY", PAYER.secret)
        .output()
        .expect("the client starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
    assert_eq!(said["body"], json!({ "statuses": [200, 200, 200, 200, 200, 200, 200], "bought": 2 }));
    agree(&world, 60_000);
}
