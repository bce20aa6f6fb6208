//! `pontage refund` against the real binary and a local chain: with a gate that runs and without one, twice, many at once, through a
//! crash; parts of a payment, the cap, an empty wallet, and by hand.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[path = "refund/run.rs"]
mod run;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use kit::{FUNDS, GateOptions, PAYEE, PAYER, PRICE, Payer, REFUNDER, World, get, try_request, until};
use run::{Ran, refund, start_refund};
use serde_json::{Value, json};
use xtask::chain::{ChainOptions, USDC};

const WALLET: u128 = 1_000_000;

fn options(refunds: &str) -> GateOptions {
    GateOptions {
        routes: "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n  - { path: /tab/*, price: \"0.01\", settlement: tab }\n",
        more: format!("refunds: {{ {refunds} }}\ntab: {{ settle_age_s: 600 }}"),
        pinned: true,
        ..GateOptions::default()
    }
}

/// A gate with a funded refunds wallet.
fn world(refunds: &str) -> World {
    let world =
        World::with(ChainOptions::default(), &options(&format!("signer: {{ env: PONTAGE_REFUNDS_KEY }}, {refunds}")));
    world.chain.mint(REFUNDER.address, WALLET).unwrap();
    world
}

/// Pays for a call, and says by which payment.
fn pay(world: &World) -> String {
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url("/paid/ok")));
    assert_eq!(get(&world.url("/paid/ok"), &[("payment-signature", &header)]).status, 200);
    id_of(world, &nonce.to_string())
}

fn id_of(world: &World, nonce: &str) -> String {
    world.books().claims().into_iter().find(|claim| claim.nonce == nonce).unwrap().id
}

/// Enough blocks that everything is final.
fn bury(world: &World) {
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
}

/// The transfers from the refunds wallet to the payer.
fn given_back(world: &World) -> Vec<u128> {
    let mut given: Vec<u128> = world
        .chain
        .transfers_to(PAYER.address)
        .unwrap()
        .into_iter()
        .filter(|transfer| transfer.from.eq_ignore_ascii_case(REFUNDER.address))
        .map(|transfer| transfer.value)
        .collect();
    given.sort_unstable();
    given
}

fn states(answer: &Value) -> Vec<&str> {
    answer["refunds"].as_array().unwrap().iter().map(|refund| refund["state"].as_str().unwrap()).collect()
}

/// Every entry balances, nothing is owed that should not be, and the audit agrees with the chain.
fn agree(world: &World, still_due: i128) {
    let books = world.books();
    assert_eq!(books.unbalanced(), 0);
    assert_eq!(books.balance("refund_due:"), still_due);
    let audit = run::pontage(&world.gate, &["ledger", "audit"]);
    assert_eq!(audit.code, 0, "{audit}");
}

#[test]
fn a_refund_moves_once_with_a_gate_and_without() {
    let mut world = world("");
    let payment = pay(&world);
    let early = refund(&world.gate, &[&payment]);
    assert!(early.code == 1 && early.err.contains("not_final"), "{early}");
    bury(&world);
    // Over the socket, 12 at once.
    let asked: Vec<_> = (0..12).map(|_| start_refund(&world.gate, &[&payment, "--json"])).collect();
    let answers: Vec<Ran> = asked.into_iter().map(Ran::of).collect();
    for answer in &answers {
        assert_eq!(answer.code, 0, "{answer}");
        assert_eq!(states(&answer.json()), ["refunded"], "{answer}");
        assert_eq!(answer.json(), answers[0].json(), "one refund, one answer");
    }
    assert_eq!(given_back(&world), [PRICE]);
    assert_eq!(world.chain.balance(PAYER.address).unwrap(), FUNDS);
    agree(&world, 0);
    // Once more, with nobody running.
    let second = pay(&world);
    bury(&world);
    assert!(world.gate.stop().success());
    let again = refund(&world.gate, &[&payment, "--json"]);
    assert_eq!((again.code, again.json()), (0, answers[0].json()));
    // 12 at once again, each of which takes the journal in its turn.
    let asked: Vec<_> = (0..12).map(|_| start_refund(&world.gate, &[&second])).collect();
    for answer in asked.into_iter().map(Ran::of) {
        assert!(answer.code == 0 && answer.out.starts_with("refunded: 0.010000 USDC to 0x3C44"), "{answer}");
    }
    assert_eq!(given_back(&world), [PRICE, PRICE]);
    agree(&world, 0);
}

#[test]
fn a_crash_between_sending_and_answering_moves_it_once() {
    let mut world = world("");
    let payment = pay(&world);
    bury(&world);
    world.chain.set_automine(false).unwrap();
    let asked = start_refund(&world.gate, &[&payment]);
    until("it is on its way", || run::count(&world.gate, "SELECT count(*) FROM refund_bids") == 1);
    world.gate.kill();
    let lost = Ran::of(asked);
    // Whoever asked has no answer, or has taken the journal himself meanwhile.
    assert_ne!(lost.code, 0, "{lost}");
    world.gate.restart();
    let again = start_refund(&world.gate, &[&payment]);
    world.chain.set_automine(true).unwrap();
    world.chain.mine().unwrap();
    let again = Ran::of(again);
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(given_back(&world), [PRICE]);
    until("the gas is booked", || run::count(&world.gate, "SELECT count(*) FROM chain_txs WHERE fate IS NULL") == 0);
    agree(&world, 0);
}

#[test]
fn whoever_was_killed_stands_in_nobodys_way() {
    let mut world = world("");
    let payment = pay(&world);
    bury(&world);
    let socket = world.gate.journal().with_extension("db.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    for (line, says) in [("nonsense\n", "no command"), ("{\"command\":\"stop\",\"by_hand\":true}\n", "no command")] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with("{\"error\":") && answer.contains(says), "{answer}");
    }
    // It leaves its socket behind.
    world.gate.kill();
    assert!(socket.exists());
    let alone = refund(&world.gate, &[&payment]);
    assert!(alone.code == 0 && alone.out.starts_with("refunded: 0.010000 USDC"), "{alone}");
    world.gate.restart();
    let asked = refund(&world.gate, &[&payment]);
    assert_eq!((asked.code, &asked.out), (0, &alone.out));
    assert_eq!(given_back(&world), [PRICE]);
    agree(&world, 0);
    assert!(world.gate.stop().success());
    assert!(!socket.exists(), "a gate that stops takes it away");
}

#[test]
fn a_reorg_that_takes_a_refund_back_does_not_take_it_from_the_payer() {
    let world = world("");
    let payment = pay(&world);
    bury(&world);
    let before = world.chain.rpc("evm_snapshot", json!([])).unwrap();
    assert_eq!(refund(&world.gate, &[&payment]).code, 0);
    world.chain.set_automine(false).unwrap();
    world.chain.rpc("evm_revert", json!([before])).unwrap();
    assert!(given_back(&world).is_empty());
    // As high as before, and without it; then with it, once.
    world.chain.mine().unwrap();
    until("it has moved again", || {
        world.chain.mine().unwrap();
        given_back(&world) == [PRICE]
            && run::count(&world.gate, "SELECT count(*) FROM refunds WHERE state = 'refunded'") == 1
    });
    let again = refund(&world.gate, &[&payment]);
    assert!(again.code == 0 && again.out.starts_with("refunded: 0.010000 USDC"), "{again}");
    assert_eq!(given_back(&world), [PRICE]);
    let books = world.books();
    assert_eq!((books.unbalanced(), books.balance("refund_due:")), (0, 0));
    assert_eq!(books.balance("external:"), 0);
}

#[test]
fn parts_add_up_to_what_was_paid() {
    let world = world("");
    let payment = pay(&world);
    bury(&world);
    let ask = |args: &[&str]| refund(&world.gate, &[&[payment.as_str()], args].concat());
    for (args, code, says) in [
        (&["--amount", "0.011"][..], 1, "0.010000 USDC of this payment are left to give back (too_much)"),
        (&["--amount", "0"], 1, "(zero)"),
        (&["--amount", "x"], 1, "(bad_amount)"),
        (&["--amount", "0.004"], 0, "refunded: 0.004000 USDC"),
        (&["--amount", "0.004"], 0, "refunded: 0.004000 USDC"),
        (&["--amount", "0.004", "--key", "second"], 0, "refunded: 0.004000 USDC"),
        (&["--amount", "0.004", "--key", "third"], 1, "0.002000 USDC of this payment are left"),
        (&[], 0, "refunded: 0.002000 USDC"),
        (&[], 0, "refunded: 0.002000 USDC"),
        (&["--amount", "0.01"], 1, "0.000000 USDC of this payment are left"),
    ] {
        let ran = ask(args);
        assert!(ran.code == code && format!("{ran}").contains(says), "{args:?}: {ran}");
    }
    assert_eq!(given_back(&world), [2_000, 4_000, 4_000]);
    agree(&world, 0);
    let story = run::pontage(&world.gate, &["ledger", "show", &payment]);
    assert!(story.out.contains("0.010000 USDC given back"), "{story}");
    assert_eq!(story.out.matches(" refunded: 0.004000 USDC from refund_due:").count(), 2, "{story}");
    // What was never paid, or is on the tab, is not given back.
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url("/tab/ok")));
    assert_eq!(get(&world.url("/tab/ok"), &[("payment-signature", &header)]).status, 200);
    until("it is held", || world.books().holds("answered") == 1);
    let held = refund(&world.gate, &[&id_of(&world, &nonce.to_string())]);
    assert!(held.code == 1 && held.err.contains("not settled yet") && held.err.contains("(not_paid)"), "{held}");
    let unknown = refund(&world.gate, &[&"00".repeat(16)]);
    assert!(unknown.code == 1 && unknown.err.contains("(unknown_payment)"), "{unknown}");
}

#[test]
fn what_is_above_the_cap_and_what_the_wallet_has_not_stays_due() {
    let world = world("daily_cap_usd: \"0.015\"");
    let payments: Vec<String> = (0..2).map(|_| pay(&world)).collect();
    bury(&world);
    assert_eq!(refund(&world.gate, &[&payments[0]]).code, 0);
    let capped = refund(&world.gate, &[&payments[1]]);
    assert!(capped.code == 2 && capped.out.contains("the day's cap"), "{capped}");
    assert_eq!(given_back(&world), [PRICE]);
    agree(&world, PRICE.cast_signed());
    // There is room for a part of another.
    let third = pay(&world);
    bury(&world);
    assert_eq!(refund(&world.gate, &[&third, "--amount", "0.005"]).code, 0);
    assert_eq!(given_back(&world), [5_000, PRICE]);
}

#[test]
fn an_empty_wallet_pays_when_it_is_funded() {
    let mut world = World::with(ChainOptions::default(), &options("signer: { env: PONTAGE_REFUNDS_KEY }"));
    // Cut off behind its head: paid for, and owed back by the gate's own word.
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url("/paid/half")));
    assert!(try_request("GET", &world.url("/paid/half"), &[("payment-signature", &header)], b"").is_err());
    until("it is owed back", || world.books().claims().iter().any(|claim| claim.refund_due));
    let payment = id_of(&world, &nonce.to_string());
    bury(&world);
    let empty = refund(&world.gate, &["--due"]);
    assert!(empty.code == 2 && empty.out.contains("has less: fund it"), "{empty}");
    agree(&world, PRICE.cast_signed());
    // A gate that runs pays it by itself.
    world.chain.mint(REFUNDER.address, WALLET).unwrap();
    until("it is paid", || given_back(&world) == [PRICE]);
    let paid = refund(&world.gate, &[&payment]);
    assert!(paid.code == 0 && paid.out.starts_with("refunded: 0.010000 USDC"), "{paid}");
    let story = run::pontage(&world.gate, &["ledger", "show", &payment]);
    let hash = paid.out.split(" in ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(
        story.out.contains("refund_due: 0.010000 USDC") && story.out.contains(&format!("moved in {hash}")),
        "{story}"
    );
    let by_hash = run::pontage(&world.gate, &["ledger", "show", hash]);
    assert!(by_hash.out.contains("payments   1\n") && by_hash.out.contains(&payment), "{by_hash}");
    let nothing = refund(&world.gate, &["--due"]);
    assert!(nothing.code == 0 && nothing.out == "nothing is owed back\n", "{nothing}");
    agree(&world, 0);
    // Without one the command does.
    let rest = WALLET - PRICE;
    world.chain.send_as(REFUNDER.address, USDC, &kit::move_all(rest)).unwrap();
    let second = pay(&world);
    bury(&world);
    assert!(world.gate.stop().success());
    assert_eq!(refund(&world.gate, &[&second]).code, 2);
    world.chain.mint(REFUNDER.address, WALLET).unwrap();
    assert_eq!(refund(&world.gate, &["--due"]).code, 0);
    assert_eq!(given_back(&world), [PRICE, PRICE]);
    agree(&world, 0);
}

#[test]
fn by_hand() {
    let world = World::with(ChainOptions::default(), &options(""));
    let payment = pay(&world);
    bury(&world);
    let none = refund(&world.gate, &[&payment]);
    assert!(none.code == 1 && none.err.contains("(no_signer)"), "{none}");
    let printed = refund(&world.gate, &[&payment, "--unsigned", "--json"]);
    let refunds = printed.json()["refunds"].clone();
    let (state, transfer) = (&refunds[0]["state"], &refunds[0]["unsigned"]);
    assert_eq!((printed.code, state), (0, &"awaiting".into()), "{printed}");
    assert_eq!((&transfer["to"], &transfer["value"], &transfer["chainId"]), (&USDC.into(), &"0".into(), &84532.into()));
    let uri = format!("ethereum:{USDC}@84532/transfer?address={}&uint256=10000", PAYER.address);
    assert!(transfer["uri"].as_str().unwrap().eq_ignore_ascii_case(&uri), "{transfer}");
    agree(&world, PRICE.cast_signed());
    let again = refund(&world.gate, &["--due", "--unsigned", "--json"]);
    assert_eq!((again.code, &again.json()["refunds"]), (0, &refunds), "it is printed as often as it is asked for");
    // Anything else is not it.
    world.chain.mint(REFUNDER.address, WALLET).unwrap();
    let other = world.chain.send_as(REFUNDER.address, USDC, &kit::move_all(PRICE)).unwrap();
    let wrong = refund(&world.gate, &[&payment, "--settled-by", &other]);
    assert!(wrong.code == 1 && wrong.err.contains("(no_such_transfer)"), "{wrong}");
    let hash = world.chain.send_as(REFUNDER.address, USDC, transfer["data"].as_str().unwrap()).unwrap();
    for _ in 0..2 {
        let linked = refund(&world.gate, &[&payment, "--settled-by", &hash]);
        assert!(linked.code == 0 && linked.out.contains(&format!("in {hash}")), "{linked}");
    }
    agree(&world, 0);
    // It counts for one.
    let second = pay(&world);
    bury(&world);
    let taken = refund(&world.gate, &[&second, "--settled-by", &hash]);
    assert!(taken.code == 1 && taken.err.contains("(no_such_transfer)"), "{taken}");
    assert_eq!(world.chain.balance(PAYEE).unwrap(), 2 * PRICE);
}
