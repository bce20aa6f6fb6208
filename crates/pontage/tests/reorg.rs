//! Reorgs: what was posted and is taken out of the chain again, on the books and on the chain.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[allow(dead_code, reason = "what the tests of the books use besides")]
#[path = "ledger/run.rs"]
mod run;

use kit::{FUNDS, GateOptions, PAYER, PRICE, Payer, World, cancel, get, move_all, try_request, until};
use protocol::Offer;
use protocol::exact::Fields;
use protocol::x402::Version;
use rusqlite::Connection;
use serde_json::{Value, json};
use xtask::chain::{ChainOptions, USDC};

const PRICE_I: i128 = 10_000;

fn options() -> GateOptions {
    GateOptions {
        routes: "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n\
                 \x20 - { path: /tab/*, price: \"0.01\", settlement: tab }\n",
        more: "tab: { settle_age_s: 1, batch_max: 5 }".to_owned(),
        pinned: true,
        ..GateOptions::default()
    }
}

/// Anvil, whatever the run: our own chain has no reorgs.
fn world(options: &GateOptions) -> World {
    let chain = xtask::chain::Chain::start(&kit::root(), &ChainOptions::default()).unwrap();
    chain.plant_token().unwrap();
    chain.plant_multicall().unwrap();
    World::on(chain, options)
}

/// One payment that was posted.
struct Paid {
    offer: Offer,
    fields: Fields,
    id: String,
}

fn pay(world: &World, path: &str) -> Paid {
    let offer = Payer::offer(&world.url(path));
    let fields = world.payer.fields(&offer);
    let header = world.payer.sign(Version::V2, &offer, &fields);
    let answer = try_request("GET", &world.url(path), &[("payment-signature", &header)], b"");
    if !path.ends_with("/half") {
        assert_eq!(answer.unwrap().status, 200);
    }
    let nonce = fields.nonce.to_string();
    until("it is posted", || {
        world.books().claims().iter().any(|claim| claim.nonce == nonce && claim.state == "posted")
    });
    until("the gas is booked", || run::unmined(&world.gate.journal()) == 0);
    Paid { id: run::payment_of(&world.gate.journal(), &nonce).unwrap(), offer, fields }
}

/// A reorg of so many blocks, with transactions in the new ones.
fn reorg(world: &World, depth: u64, transactions: &[(Value, u64)]) {
    world.chain.rpc("anvil_reorg", json!([depth, transactions])).unwrap();
}

fn read<T: rusqlite::types::FromSql>(world: &World, sql: &str) -> T {
    let db = Connection::open(world.gate.journal()).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Payee's revenue, what is in loss, and the payer's wallet, by the books.
fn balances(world: &World) -> [i128; 3] {
    ["revenue:", "loss:", "external:"].map(|account| world.books().balance(account))
}

fn audited(world: &World, summary: &str) -> String {
    let audit = run::Books::of(&world.gate).run(&["audit"]);
    assert!(audit.code == 0 && audit.out.trim_end().ends_with(summary), "{summary}: {audit}");
    audit.out
}

fn status(world: &World, paid: &Paid) -> Value {
    get(&world.url(&format!("/__pay/payments/{}", paid.id)), &[]).json()
}

#[test]
fn what_was_taken_out_is_sent_again_and_comes_back() {
    for (path, depth) in [("/paid/ok", 1), ("/tab/ok", 1), ("/paid/ok", 3), ("/tab/ok", 3)] {
        let mut world = world(&options());
        let paid = pay(&world, path);
        let before = status(&world, &paid);
        assert_eq!((&before["state"], &before["final"]), (&"settled".into(), &false.into()), "{before}");
        let gas = world.books().balance("gas:");
        (1..depth).for_each(|_| world.chain.mine().unwrap());
        world.chain.set_automine(false).unwrap();
        reorg(&world, depth, &[]);
        assert_eq!((world.paid(), world.chain.balance(PAYER.address).unwrap()), (0, FUNDS), "it is out");
        until("it is un-settled", || world.books().holds("submitted") == 1);
        assert_eq!(balances(&world), [PRICE_I, -PRICE_I, 0], "{path}: earned, not there");
        until("its gas is taken back", || world.books().balance("gas:") == 0 && gas > 0);
        assert_eq!(status(&world, &paid)["state"], "submitted");
        audited(&world, "1 payment: 1 submitted; 0 differences");
        // In the middle of it the process is killed.
        world.gate.kill_and_restart();
        until("it is back", || {
            world.chain.mine().unwrap();
            world.books().holds("posted") == 1 && run::unmined(&world.gate.journal()) == 0
        });
        assert_eq!(balances(&world), [PRICE_I, 0, -PRICE_I], "{path}: earned once");
        let after = status(&world, &paid);
        assert_eq!((&after["state"], &after["transaction"]), (&"settled".into(), &before["transaction"]), "{after}");
        assert_eq!((world.paid(), world.origin.runs(path)), (PRICE, 1), "served once, paid once");
        assert_eq!(world.books().sequences(), [0], "the same bytes");
        assert!(!world.books().claims()[0].refund_due);
        audited(&world, "1 payment: 1 matched; 0 differences");
        until("it is final", || {
            world.chain.mine().unwrap();
            status(&world, &paid)["final"] == true
        });
        assert!(status(&world, &paid)["confirmations"].as_u64().unwrap() > 12);
        let story = run::Books::of(&world.gate).run(&["show", &paid.id]).out;
        assert!(story.contains("final") && story.contains("unsettled:") && story.contains("resettled:"), "{story}");
        world.chain.set_automine(true).unwrap();
        pay(&world, path);
        audited(&world, "2 payments: 2 matched; 0 differences");
    }
}

#[test]
fn what_lands_in_another_block_by_itself_is_noted_there() {
    for path in ["/paid/ok", "/tab/ok"] {
        let world = world(&options());
        let paid = pay(&world, path);
        (0..2).for_each(|_| world.chain.mine().unwrap());
        let (block, raw): (i64, Vec<u8>) =
            (read(&world, "SELECT settled_block FROM holds"), read(&world, "SELECT raw FROM chain_txs"));
        // Two blocks later than before, at a lower base fee.
        reorg(&world, 3, &[(alloy_primitives::hex::encode_prefixed(raw).into(), 2)]);
        assert_eq!(world.paid(), PRICE);
        until("it is found in its new block", || read::<i64>(&world, "SELECT settled_block FROM holds") == block + 2);
        until("so is its gas", || read::<i64>(&world, "SELECT block FROM chain_txs WHERE fate = 'mined'") == block + 2);
        assert_eq!(balances(&world), [PRICE_I, 0, -PRICE_I], "{path}");
        assert_eq!(read::<i64>(&world, "SELECT reorgs FROM holds"), 0, "it was never out");
        assert_eq!(status(&world, &paid)["block"], block + 2);
        audited(&world, "1 payment: 1 matched; 0 differences");
    }
}

#[test]
fn what_cannot_come_back_is_lost_and_the_books_say_why() {
    for (path, depth, emptied) in
        [("/paid/ok", 1, false), ("/tab/ok", 3, false), ("/paid/ok", 3, true), ("/tab/ok", 1, true)]
    {
        let world = world(&options());
        let paid = pay(&world, path);
        (1..depth).for_each(|_| world.chain.mine().unwrap());
        let data = match emptied {
            true => move_all(FUNDS),
            false => cancel(&world.payer, &paid.offer, &paid.fields),
        };
        let request = json!({"from": PAYER.address, "to": USDC, "data": data, "gas": "0xf4240"});
        reorg(&world, depth, &[(request, 0)]);
        until("it is lost", || world.books().holds("lost") == 1);
        assert_eq!(world.books().newest(), ("lost".to_owned(), Some("reorged".to_owned())), "{path}");
        assert_eq!(balances(&world), [PRICE_I, -PRICE_I, 0], "{path}: earned and missing");
        assert_eq!((world.paid(), world.origin.runs(path)), (0, 1));
        until("the gas is booked", || run::unmined(&world.gate.journal()) == 0);
        let audit = audited(&world, "1 payment: 1 lost; 0 differences");
        assert!(audit.contains("reorged: "), "{audit}");
        assert_eq!(
            (&status(&world, &paid)["state"], &status(&world, &paid)["money"]),
            (&"failed".into(), &"untouched".into())
        );
    }
}

#[test]
fn what_was_owed_back_is_not_while_its_money_is_out() {
    let world = world(&options());
    pay(&world, "/paid/half");
    until("it is owed back", || world.books().balance("refund_due:") == PRICE_I);
    world.chain.set_automine(false).unwrap();
    reorg(&world, 1, &[]);
    until("it is un-settled", || world.books().holds("submitted") == 1);
    assert_eq!((world.books().balance("refund_due:"), balances(&world)), (0, [PRICE_I, -PRICE_I, 0]));
    audited(&world, "1 payment: 1 submitted; 0 differences");
    until("it is back", || {
        world.chain.mine().unwrap();
        world.books().holds("posted") == 1 && run::unmined(&world.gate.journal()) == 0
    });
    assert_eq!((world.books().balance("refund_due:"), balances(&world)), (PRICE_I, [0, 0, -PRICE_I]));
    audited(&world, "1 payment: 1 owed back; 0 differences");
}

#[test]
fn direct_waits_for_its_confirmations_and_the_node_says_what_is_final() {
    let mut world = world(&options());
    world.gate.kill();
    world.gate.rewrite("eip155:84532: { ", "eip155:84532: { finality: { confirmations: 3, final: finalized }, ");
    world.gate.restart();
    world.chain.set_automine(false).unwrap();
    let offer = Payer::offer(&world.url("/paid/ok"));
    let (header, nonce) = world.payer.payment(&offer);
    let url = world.url("/paid/ok");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| get(&url, &[("payment-signature", &header)]));
        until("it is submitted", || world.books().holds("submitted") == 1);
        for depth in 1..=3 {
            assert!(!call.is_finished(), "answered with {} of 3 confirmations", depth - 1);
            until("the pool has it", || {
                depth > 1 || world.chain.rpc("txpool_status", json!([])).unwrap()["pending"] == "0x1"
            });
            world.chain.mine().unwrap();
            if depth < 3 {
                // A look of the reconciler goes by.
                std::thread::park_timeout(std::time::Duration::from_millis(1_500));
                assert_eq!(world.books().holds("submitted"), 1, "posted at {depth} of 3 confirmations");
            }
        }
        assert_eq!(call.join().unwrap().status, 200);
    });
    let id = run::payment_of(&world.gate.journal(), &nonce.to_string()).unwrap();
    let status = || get(&world.url(&format!("/__pay/payments/{id}")), &[]).json();
    world.chain.rpc("anvil_mine", json!(["0x14"])).unwrap();
    until("it is 20 deep", || status()["confirmations"].as_u64() > Some(20));
    assert_eq!(status()["final"], false, "anvil calls final what is 64 deep");
    world.chain.rpc("anvil_mine", json!(["0x40"])).unwrap();
    until("it is final", || status()["final"] == true);
}
