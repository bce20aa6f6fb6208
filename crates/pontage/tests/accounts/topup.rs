//! Balances that payments raise.

use std::process::Command;
use std::thread;

use protocol::Offer;
use protocol::x402::{Challenge, Version};
use rusqlite::Connection;
use serde_json::{Value, json};
use xtask::chain::{Chain, ChainOptions};

use super::kit::{self, ADMIN, Admin, Answer, FUNDS, GateOptions, PAYER, World, until};

const FIVE: &str = "/__pay/topup?amount=5usd";

/// A gate with accounts, and a key without a balance.
fn world(chain: ChainOptions) -> (World, String) {
    started(World::with(chain, &options()))
}

fn options() -> GateOptions {
    let more = format!("accounts: {{ topup: {{ min: \"0.50\", max: \"20\" }} }}\n{ADMIN}");
    GateOptions { more, ..GateOptions::direct() }
}

fn started(world: World) -> (World, String) {
    let (_, secret) = Admin::of(&world.gate).key(&json!({ "name": "shop" }));
    (world, secret)
}

fn ask(world: &World, key: &str, path: &str, payment: Option<&str>) -> Answer {
    let mut headers = vec![("host", "localhost"), ("x-api-key", key)];
    headers.extend(payment.map(|payment| ("payment-signature", payment)));
    kit::request("POST", &world.url(path), &headers, b"")
}

fn offer(answer: &Answer) -> Offer {
    assert_eq!(answer.status, 402, "{}", answer.text());
    let challenge = Challenge::parse_v2(answer.headers["payment-required"].as_bytes()).expect("a challenge");
    assert_eq!(challenge.offers.len(), 1, "one network with one token");
    challenge.offers[0].clone()
}

/// A signed payment for five dollars.
fn five(world: &World, key: &str) -> String {
    world.payer.payment(&offer(&ask(world, key, FIVE, None))).0
}

fn balance(world: &World, key: &str) -> u64 {
    let answer = kit::get(&world.url("/__pay/balance"), &[("x-api-key", key)]);
    answer.json()["available"].as_u64().unwrap_or_else(|| panic!("{}", answer.text()))
}

fn raised(answer: &Answer, available: u64) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json();
    assert_eq!((&said["granted"], &said["unit"]), (&json!(500), &json!("credit")), "{said}");
    assert_eq!(
        (&said["available"], answer.headers["x-credits-remaining"].as_str()),
        (&json!(available), &*available.to_string())
    );
    assert_eq!((&answer.receipt()["success"], &answer.receipt()["amount"]), (&json!(true), &json!("5000000")));
    assert_eq!(said["grant"], said["payment"]);
    said
}

/// So many dollars were paid and converted, and the credits of them are what is left and what was spent.
fn agree(world: &World, dollars: u128, spent: i128) {
    let (books, paid) = (world.books(), dollars * 1_000_000);
    until("every hold ends", || books.unfinished() == 0);
    assert_eq!(books.unbalanced(), 0);
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (paid, FUNDS - paid));
    let (paid, credits) = (i128::try_from(paid).unwrap(), i128::try_from(dollars * 100).unwrap());
    assert_eq!((books.balance("external:"), books.balance("revenue:"), books.balance("earned")), (-paid, 0, spent));
    assert_eq!((books.balance("conversion"), books.balance("balance:")), (paid - credits, credits - spent));
}

/// The audit finds what it should of such payments, beside the chain.
fn audited(world: &World) {
    let config = world.gate.journal().with_file_name("pontage.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    let out = command.args(["ledger", "audit", "--config"]).arg(config).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.trim_end().ends_with("0 differences"), "{said}");
}

#[test]
fn a_payment_raises_a_balance_which_pays_for_calls() {
    let (world, key) = world(ChainOptions::default());
    let asked = ask(&world, &key, FIVE, None);
    assert_eq!((asked.error().as_str(), asked.headers["x-credits-remaining"].as_str()), ("payment_required", "0"));
    let offer = offer(&asked);
    assert_eq!((offer.amount_atomic, offer.extra.get("settlement")), (5_000_000, Some(&json!("direct"))));
    assert_eq!(offer.extra.get("topup"), Some(&json!({ "unit": "credit", "amount": 500 })));
    let short = kit::get(&world.url("/paid/ok"), &[("x-api-key", &key)]);
    assert_eq!((short.status, short.json()["topUpUrl"].as_str()), (402, Some("/__pay/topup")));

    let (payment, _) = world.payer.payment(&offer);
    let said = raised(&ask(&world, &key, FIVE, Some(&payment)), 500);
    let called = kit::get(&world.url("/paid/ok"), &[("x-api-key", &key)]);
    assert_eq!((called.status, called.headers["x-credits-remaining"].as_str()), (200, "499"));
    // The same payment again is the same top-up, as it stands now.
    assert_eq!(raised(&ask(&world, &key, FIVE, Some(&payment)), 499)["grant"], said["grant"]);
    // As JSON, and for another amount.
    let body = json!({ "amount": "$2.50" }).to_string();
    let headers = [("host", "localhost"), ("x-api-key", key.as_str()), ("content-type", "application/json")];
    let asked = kit::request("POST", &world.url("/__pay/topup"), &headers, body.as_bytes());
    assert_eq!(self::offer(&asked).amount_atomic, 2_500_000);
    agree(&world, 5, 1);
    audited(&world);
}

#[test]
fn what_is_asked_for_wrongly_costs_nothing() {
    let (world, key) = world(ChainOptions::default());
    for (path, want) in [
        ("/__pay/topup", (400, "bad_amount")),
        ("/__pay/topup?amount=", (400, "bad_amount")),
        ("/__pay/topup?amount=0.49", (400, "bad_amount")),
        ("/__pay/topup?amount=20.01usd", (400, "bad_amount")),
        ("/__pay/topup?amount=-5", (400, "bad_amount")),
        ("/__pay/topup?amount=5eur", (400, "bad_amount")),
        ("/__pay/topup?amount=99999999999999999999999", (400, "bad_amount")),
        ("/__pay/topup?amount=0.50", (402, "payment_required")),
        ("/__pay/topup?amount=%2420.00%20USD", (402, "payment_required")),
    ] {
        let answer = ask(&world, &key, path, None);
        assert_eq!(
            (answer.status, answer.error().as_str(), answer.money().as_str()),
            (want.0, want.1, "untouched"),
            "{path}"
        );
    }
    assert_eq!(ask(&world, "pg_nobody", FIVE, None).status, 401);
    assert_eq!(kit::request("POST", &world.url(FIVE), &[], b"").status, 401);
    assert_eq!(kit::get(&world.url(FIVE), &[("x-api-key", &key)]).status, 405);
    // Paid with too little.
    let asked = offer(&ask(&world, &key, FIVE, None));
    let less = Offer { amount_atomic: 10_000, ..asked.clone() };
    let fields = world.payer.fields(&less);
    let answer = ask(&world, &key, FIVE, Some(&world.payer.sign(Version::V2, &asked, &fields)));
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (402, "invalid_exact_evm_payload_authorization_value_mismatch"),
        "{}",
        answer.text()
    );
    assert_eq!(balance(&world, &key), 0);
    agree(&world, 0, 0);
}

/// Whoever shows another key learns nothing, and gets nothing.
/// What it would buy could never be spent.
#[test]
fn a_key_of_the_sandbox_is_sold_nothing() {
    let (world, _) = world(ChainOptions::default());
    let (_, tried) = Admin::of(&world.gate).key(&json!({ "name": "tried", "sandbox": true }));
    let refused = ask(&world, &tried, FIVE, None);
    assert_eq!((refused.status, refused.error().as_str()), (403, "sandbox_key"), "{}", refused.text());
    assert_eq!(refused.money(), "untouched");
}

#[test]
fn a_payment_is_one_keys() {
    let (world, key) = world(ChainOptions::default());
    let (_, other) = Admin::of(&world.gate).key(&json!({ "name": "thief" }));
    let payment = five(&world, &key);
    raised(&ask(&world, &key, FIVE, Some(&payment)), 500);
    let stolen = ask(&world, &other, FIVE, Some(&payment));
    assert_eq!((stolen.status, stolen.error().as_str()), (409, "authorization_conflict"), "{}", stolen.text());
    assert!(!stolen.text().contains("grant"));
    assert_eq!((balance(&world, &key), balance(&world, &other)), (500, 0));
    // Nor does it pay for a call.
    let call = kit::get(&world.url("/paid/ok"), &[("host", "localhost"), ("payment-signature", &payment)]);
    assert_eq!(call.status, 409);
    agree(&world, 5, 0);
}

#[test]
fn one_payment_from_many_at_once_is_one_top_up_and_many_are_many() {
    let (world, key) = world(ChainOptions::default());
    let payment = five(&world, &key);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&world, &key, FIVE, Some(&payment)))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    answers.iter().for_each(|answer| drop(raised(answer, 500)));
    let more: Vec<String> = (0..4).map(|_| five(&world, &key)).collect();
    thread::scope(|scope| {
        for payment in &more {
            let (world, key) = (&world, &key);
            scope.spawn(move || assert_eq!(ask(world, key, FIVE, Some(payment)).status, 200));
        }
    });
    assert_eq!(balance(&world, &key), 2_500);
    agree(&world, 25, 0);
}

/// The grant comes with the money, also when the process that was asked is long gone.
#[test]
fn what_is_not_confirmed_in_time_is_granted_when_it_is() {
    for killed in [false, true] {
        let (mut world, key) = world(ChainOptions { mining: false, ..ChainOptions::default() });
        let payment = five(&world, &key);
        let answer = ask(&world, &key, FIVE, Some(&payment));
        assert_eq!(
            (answer.status, answer.error().as_str(), answer.money().as_str()),
            (503, "settlement_pending", "unknown")
        );
        let pickup = answer.json()["pickup_url"].as_str().unwrap().to_owned();
        until("the answer is kept", || world.books().claims()[0].answer == "kept");
        assert_eq!(ask(&world, &key, FIVE, Some(&payment)).error(), "settlement_pending");
        assert_eq!(balance(&world, &key), 0);
        if killed {
            world.gate.kill_and_restart();
        }
        world.chain.set_automine(true).unwrap();
        until("the reconciler posts it", || world.books().holds("posted") == 1);
        assert_eq!(balance(&world, &key), 500);
        let picked = kit::get(&world.url(&pickup), &[]);
        assert_eq!((picked.status, &picked.json()["granted"]), (200, &json!(500)), "{}", picked.text());
        raised(&ask(&world, &key, FIVE, Some(&payment)), 500);
        agree(&world, 5, 0);
    }
}

/// Killed anywhere, and its answer lost: the same payment again says what became of it, and it is granted once or not at all.
#[test]
fn a_gate_that_dies_raises_the_balance_once() {
    for point in ["before-claim", "after-claim", "before-submit", "after-submit", "before-post", "after-post"] {
        let (mut world, key) = world(ChainOptions::default());
        let payment = five(&world, &key);
        world.gate.kill();
        world.gate.restart_to_die(point);
        let headers = [("host", "localhost"), ("x-api-key", key.as_str()), ("payment-signature", payment.as_str())];
        drop(kit::try_request("POST", &world.url(FIVE), &headers, b""));
        world.gate.died(point);
        world.gate.restart();
        let mut answer = ask(&world, &key, FIVE, Some(&payment));
        until(&format!("{point}: it is known"), || {
            let waits = answer.status == 503 || answer.error() == "in_flight";
            if waits {
                answer = ask(&world, &key, FIVE, Some(&payment));
            }
            !waits
        });
        let granted = match (answer.status, answer.error().as_str()) {
            (200, _) => 500,
            // It was claimed and not sent: nothing was taken, and nothing is granted.
            (409, "not_charged") => 0,
            _ => panic!("{point}: {} {}", answer.status, answer.text()),
        };
        assert_eq!(balance(&world, &key), granted, "{point}");
        agree(&world, u128::from(granted) / 100, 0);
    }
}

/// A reorg takes back what is left, and gives it back with the money. What was spent meanwhile is the operator's loss.
#[test]
fn a_reorg_takes_back_what_is_left() {
    // Anvil, whatever the run: our own chain has no reorgs.
    let chain = Chain::start(&kit::root(), &ChainOptions::default()).unwrap();
    chain.plant_token().unwrap();
    chain.plant_multicall().unwrap();
    let (world, key) = started(World::on(chain, &options()));
    let payment = five(&world, &key);
    raised(&ask(&world, &key, FIVE, Some(&payment)), 500);
    for _ in 0..3 {
        assert_eq!(kit::get(&world.url("/paid/ok"), &[("x-api-key", &key)]).status, 200);
    }
    until("the gas is booked", || {
        let db = Connection::open(world.gate.journal()).unwrap();
        db.query_row("SELECT count(*) FROM chain_txs WHERE fate IS NULL", [], |row| row.get::<_, i64>(0)).unwrap() == 0
    });
    world.chain.set_automine(false).unwrap();
    world.chain.rpc("anvil_reorg", json!([1, []])).unwrap();
    until("it is un-settled", || world.books().holds("submitted") == 1);
    assert_eq!(balance(&world, &key), 0);
    let short = kit::get(&world.url("/paid/ok"), &[("x-api-key", &key)]);
    assert_eq!((short.status, short.error().as_str()), (402, "insufficient_credits"));
    assert_eq!(ask(&world, &key, FIVE, Some(&payment)).error(), "settlement_pending");
    assert_eq!((world.books().balance("conversion"), world.books().unbalanced()), (-3, 0));
    audited(&world);
    until("it is back", || {
        world.chain.mine().unwrap();
        world.books().holds("posted") == 1
    });
    raised(&ask(&world, &key, FIVE, Some(&payment)), 497);
    assert_eq!(world.books().balance("conversion"), 5_000_000 - 500);
    audited(&world);
}

/// What is given back is no balance any more, and what was used is not given back.
#[test]
fn a_refund_takes_its_part_of_the_balance() {
    let mut options = options();
    options.more.push_str("\nrefunds: { signer: { env: PONTAGE_REFUNDS_KEY } }");
    let (world, key) = started(World::with(ChainOptions::default(), &options));
    world.chain.mint(kit::REFUNDER.address, 10_000_000).unwrap();
    let payment = five(&world, &key);
    let said = raised(&ask(&world, &key, FIVE, Some(&payment)), 500);
    assert_eq!(kit::get(&world.url("/paid/ok"), &[("x-api-key", &key)]).status, 200);
    for _ in 0..20 {
        world.chain.mine().unwrap();
    }
    let refund = |amount: Option<&str>| {
        let config = world.gate.journal().with_file_name("pontage.yaml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
        command.args(["refund", said["payment"].as_str().unwrap(), "--json", "--config"]).arg(config);
        command.args(amount.iter().flat_map(|amount| ["--amount", amount]));
        command.env("PONTAGE_SIGNER_KEY", kit::SETTLER.secret).env("PONTAGE_REFUNDS_KEY", kit::REFUNDER.secret);
        let out = command.output().expect("it runs");
        serde_json::from_slice::<Value>(&out.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)))
    };
    let all = refund(None);
    assert_eq!(all["refused"][0]["code"], "used", "{all}");
    assert!(all["refused"][0]["message"].as_str().unwrap().contains("4.99"), "{all}");
    assert_eq!(balance(&world, &key), 499);
    for _ in 0..2 {
        assert_eq!(refund(Some("1.00"))["refunds"][0]["state"], "refunded");
        assert_eq!(balance(&world, &key), 399, "asked for twice it is one");
    }
    assert_eq!(refund(Some("3.99"))["refunds"][0]["state"], "refunded");
    assert_eq!((balance(&world, &key), world.books().unbalanced()), (0, 0));
    assert_eq!(world.chain.balance(PAYER.address).unwrap(), FUNDS - 10_000);
    audited(&world);
}
