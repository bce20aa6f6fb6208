//! `pontage reconcile` against the real binary and a local chain: each payment has its state and what is to be done, in every format.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[path = "ledger/run.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod ledger_run;
#[path = "refund/run.rs"]
#[allow(dead_code, reason = "another suite uses the rest")]
mod run;

use std::path::Path;
use std::process::{Command, Stdio};

use kit::{FUNDS, GateOptions, PAYEE, PAYER, PRICE, Payer, REFUNDER, World, get, land, move_all, try_request, until};
use ledger_run::{copy, tamper};
use protocol::x402::Version;
use serde_json::Value;
use xtask::chain::{ChainOptions, KEYS, USDC};

fn options() -> GateOptions {
    GateOptions {
        routes: "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n  - { path: /tab/*, price: \"0.01\", settlement: tab }\n",
        more: "refunds: { signer: { env: PONTAGE_REFUNDS_KEY } }\ntab: { settle_age_s: 2, batch_max: 5 }".to_owned(),
        pinned: true,
        ..GateOptions::default()
    }
}

/// What the command printed in the folder of a gate, and how it ended.
fn reconcile(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.arg("reconcile").args(args).arg("--config").arg(folder.join("pontage.yaml"));
    // Reading needs no key.
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn rows(folder: &Path, args: &[&str]) -> (i32, Vec<Value>) {
    let (code, out, err) = reconcile(folder, &[&["--format", "json"], args].concat());
    let json: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!(json["exit_code"], code);
    (code, json["rows"].as_array().unwrap().clone())
}

fn row<'r>(rows: &'r [Value], id: &str) -> &'r Value {
    rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("{id} is not in {rows:?}"))
}

/// State, action, command and what does not go together.
fn said(row: &Value) -> [&str; 4] {
    ["state", "action", "command", "mismatch"].map(|name| row[name].as_str().unwrap_or_default())
}

/// Enough blocks that what is in one is final.
fn bury(world: &World) {
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
}

fn id_of(world: &World, nonce: &str) -> String {
    until("it is in the journal", || ledger_run::payment_of(&world.gate.journal(), nonce).is_some());
    ledger_run::payment_of(&world.gate.journal(), nonce).unwrap()
}

fn buy(world: &World, path: &str) -> String {
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url(path)));
    let answer = get(&world.url(path), &[("payment-signature", &header)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    id_of(world, &nonce.to_string())
}

/// A payment of every kind, in a journal that nobody has any more.
struct Told {
    world: World,
    matched: String,
    refunded: String,
    part: String,
    owed_back: String,
    late: String,
    emptied: String,
    /// The transaction that pays the payee for nothing.
    extra: String,
}

fn told() -> Told {
    let mut world = World::with(ChainOptions::default(), &options());
    world.chain.mint(REFUNDER.address, FUNDS).unwrap();
    let matched = buy(&world, "/paid/ok");
    let [refunded, part] = [(); 2].map(|()| buy(&world, "/paid/ok"));
    // Cut off behind its head: paid for, and owed back.
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url("/paid/half")));
    assert!(try_request("GET", &world.url("/paid/half"), &[("payment-signature", &header)], b"").is_err());
    let owed_back = id_of(&world, &nonce.to_string());
    // Not answered, and landed by its payer all the same.
    let offer = Payer::offer(&world.url("/paid/reset"));
    let fields = world.payer.fields(&offer);
    let header = world.payer.sign(Version::V2, &offer, &fields);
    assert_eq!(get(&world.url("/paid/reset"), &[("payment-signature", &header)]).status, 502);
    world.chain.send_as(PAYER.address, USDC, &land(&world.payer, &offer, &fields)).unwrap();
    let late = id_of(&world, &fields.nonce.to_string());
    // Served on the tab, and emptied before it was settled.
    let other = &KEYS[3];
    world.chain.mint(other.address, FUNDS).unwrap();
    world.payer = Payer::new(other);
    buy(&world, "/paid/ok");
    let emptied = buy(&world, "/tab/ok");
    world.chain.send_as(other.address, USDC, &move_all(FUNDS - PRICE)).unwrap();
    until("it is lost", || world.books().holds("lost") == 1);
    let to = PAYEE.trim_start_matches("0x").to_lowercase();
    let transfer = format!("0xa9059cbb{to:0>64}{:064x}", 7);
    let extra = world.chain.send_as(PAYER.address, USDC, &transfer).unwrap();
    bury(&world);
    for args in [&[refunded.as_str()][..], &[part.as_str(), "--amount", "0.004"]] {
        let ran = run::refund(&world.gate, args);
        assert_eq!(ran.code, 0, "{ran}");
    }
    world.chain.increase_time(4_000).unwrap();
    bury(&world);
    until("the late money is booked", || world.books().claims().iter().any(|claim| claim.late));
    until("the gas is booked", || ledger_run::unmined(&world.gate.journal()) == 0);
    assert!(world.gate.stop().success());
    Told { world, matched, refunded, part, owed_back, late, emptied, extra }
}

#[test]
fn each_payment_has_its_state_and_what_is_to_be_done() {
    let told = told();
    let journal = told.world.gate.journal();
    let folder = journal.parent().unwrap();
    let (code, found) = rows(folder, &[]);
    assert_eq!(code, 0, "{found:#?}");
    let refund = |id: &str| format!("pontage refund {id}");
    for (id, want) in [
        (&told.matched, ["matched", "nothing", "", ""]),
        (&told.refunded, ["refunded", "nothing", "", ""]),
        (&told.part, ["matched", "nothing", "", ""]),
        (&told.owed_back, ["owed_back", "refund", &refund(&told.owed_back), "paid_not_served"]),
        (&told.late, ["late", "refund", &refund(&told.late), "paid_not_served"]),
        (&told.emptied, ["lost", "write_off", &format!("pontage ledger show {}", told.emptied), "served_not_paid"]),
        (&told.extra, ["extra", "identify", "", ""]),
    ] {
        assert_eq!(said(row(&found, id)), want, "{}", row(&found, id));
    }
    let extra = row(&found, &told.extra);
    assert!(extra["from"].as_str().unwrap().eq_ignore_ascii_case(PAYER.address), "{extra}");
    assert_eq!((&extra["chain_tx"], &extra["amount_atomic"]), (&told.extra.as_str().into(), &"7".into()));
    assert_eq!(row(&found, &told.part)["refunded_atomic"], "4000");
    // What it says to do can be done, and then there is nothing left to do.
    for id in [&told.owed_back, &told.late] {
        let command = row(&found, id)["command"].as_str().unwrap().to_owned();
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let ran = run::pontage(&told.world.gate, &words);
        assert_eq!(ran.code, 0, "{ran}");
    }
    let (code, after) = rows(folder, &[]);
    for id in [&told.owed_back, &told.late] {
        assert_eq!(said(row(&after, id)), ["refunded", "nothing", "", ""], "{}", row(&after, id));
    }
    assert_eq!(code, 0);
    // Each format says the same.
    let (code, csv, err) = reconcile(folder, &["--format", "csv"]);
    assert_eq!((code, csv.lines().count()), (0, after.len() + 1));
    assert!(
        csv.starts_with("state,difference,kind,id,at_utc,") && err.contains("7 payments: 1 extra, 1 lost,"),
        "{csv}{err}"
    );
    // Columns are as wide as what is in them.
    let words = |table: String| table.split_whitespace().collect::<Vec<_>>().join(" ");
    let (code, table, _) = reconcile(folder, &[]);
    let table = words(table);
    assert_eq!(code, 0);
    assert!(table.contains("extra transaction 0x") && table.contains("served not paid"), "{table}");
    assert!(!table.contains("matched payment"), "what needs nothing is not listed: {table}");
    let all = words(reconcile(folder, &["--all"]).1);
    assert!(all.contains("matched payment") && all.contains("0.004000 USDC given back in 0x"), "{all}");
    // A period.
    let none = rows(folder, &["--until", "2020-01-01"]).1;
    assert!(none.is_empty(), "{none:?}");
    let some = rows(folder, &["--since", "2020-01-01T00:00:00", "--until", "2100-01-01"]).1;
    assert_eq!(some.len(), after.len());
    assert_eq!(reconcile(folder, &["--since", "yesterday"]).0, 2);
}

#[test]
fn what_differs_has_a_word_and_an_action() {
    let told = told();
    let (matched, refunded) = (&told.matched, &told.refunded);
    let of = |atomic: u128| format!("x'{atomic:032x}'");
    let show = |id: &str| format!("pontage ledger show {id}");
    for (sql, id, want) in [
        (
            format!("UPDATE holds SET chain_tx = x'{}' WHERE id = x'{matched}'", "ab".repeat(32)),
            matched.clone(),
            ["missing", "compare", &show(matched), "served_not_paid"],
        ),
        (
            format!("UPDATE holds SET amount = {} WHERE id = x'{matched}'", of(PRICE - 1)),
            matched.clone(),
            ["over", "compare", &show(matched), ""],
        ),
        (
            format!("UPDATE holds SET amount = {} WHERE id = x'{matched}'", of(PRICE + 1)),
            matched.clone(),
            ["under", "compare", &show(matched), ""],
        ),
        (
            format!("UPDATE refunds SET chain_tx = x'{}' WHERE hold = x'{refunded}'", "cd".repeat(32)),
            refund_of(&told, refunded),
            ["missing", "compare", "", ""],
        ),
    ] {
        let folder = copy(&told.world.gate);
        tamper(folder.path(), &sql);
        let (code, found) = rows(folder.path(), &[]);
        assert_eq!(code, 1, "{sql}");
        let found: Vec<_> = found.into_iter().filter(|row| row["state"] != "misbooked").collect();
        assert_eq!(said(row(&found, &id)), want, "{sql}: {}", row(&found, &id));
        assert_eq!(row(&found, &id)["difference"], true, "{sql}");
        let (_, table, _) = reconcile(folder.path(), &[]);
        assert!(table.contains(&format!("! {}", want[0])), "{table}");
    }
    // A journal that has forgotten payments: their money is on the chain, and nothing explains it.
    let folder = copy(&told.world.gate);
    tamper(folder.path(), &format!("DELETE FROM holds WHERE id = x'{matched}'"));
    let (code, found) = rows(folder.path(), &[]);
    assert_eq!((code, found.iter().filter(|row| row["state"] == "extra").count()), (1, 2));
}

#[test]
fn what_a_reorg_took_out_is_missing_until_a_gate_runs() {
    let mut world = World::with(ChainOptions::default(), &options());
    let before = world.chain.rpc("evm_snapshot", serde_json::json!([])).unwrap();
    let payment = buy(&world, "/paid/ok");
    until("the gas is booked", || ledger_run::unmined(&world.gate.journal()) == 0);
    assert!(world.gate.stop().success());
    world.chain.set_automine(false).unwrap();
    world.chain.rpc("evm_revert", serde_json::json!([before])).unwrap();
    bury(&world);
    let journal = world.gate.journal();
    let folder = journal.parent().unwrap();
    let (code, found) = rows(folder, &[]);
    assert_eq!((code, said(row(&found, &payment))), (1, ["missing", "start_gate", "pontage start", "served_not_paid"]));
    world.gate.restart();
    until("it is sent again", || {
        world.chain.mine().unwrap();
        world.paid() == PRICE && ledger_run::unmined(&journal) == 0
    });
    until("it is settled again", || {
        bury(&world);
        let (code, found) = rows(folder, &[]);
        code == 0 && said(row(&found, &payment)) == ["matched", "nothing", "", ""]
    });
}

/// The refund of a payment.
fn refund_of(told: &Told, payment: &str) -> String {
    let story = run::pontage(&told.world.gate, &["ledger", "show", payment, "--format", "json"]).json();
    story["payments"][0]["refunds"][0]["refund_id"].as_str().unwrap().to_owned()
}

#[test]
fn the_log_of_calls_is_compared() {
    let told = told();
    let journal = told.world.gate.journal();
    let folder = journal.parent().unwrap();
    let log = told.world.gate.log();
    let file = folder.join("calls.log");
    let path = file.to_str().unwrap();
    let with = |text: &str| {
        std::fs::write(&file, text).unwrap();
        rows(folder, &["--served", path])
    };
    assert_eq!(with(&log).0, 0, "the log says what the journal says: {:#?}", with(&log));
    let (_, table, _) = reconcile(folder, &["--served", path]);
    assert!(table.contains("and none of 0 that were served"), "{table}");
    let line = log.lines().find(|line| line.contains(&told.matched) && line.contains("served_settled")).unwrap();
    for (text, want) in [
        (format!("{log}\n{line}\n"), ["served_twice", "compare", &format!("pontage ledger show {}", told.matched), ""]),
        (
            log.replace(line, &line.replace("served_settled", "not_charged")),
            ["log_differs", "compare", &format!("pontage ledger show {}", told.matched), ""],
        ),
        (
            log.replace(line, &line.replace("\"10000\"", "\"9\"")),
            ["log_differs", "compare", &format!("pontage ledger show {}", told.matched), ""],
        ),
    ] {
        let (code, found) = with(&text);
        let found: Vec<_> = found.into_iter().filter(|row| row["state"] != "matched").collect();
        assert_eq!((code, said(row(&found, &told.matched))), (1, want));
    }
    let stranger = "ee".repeat(16);
    let (code, found) = with(&log.replace(line, &line.replace(&told.matched, &stranger)));
    assert_eq!((code, said(row(&found, &stranger))[0]), (1, "not_in_journal"));
    let (_, table, _) = reconcile(folder, &["--served", path]);
    assert!(table.contains("and none of 1 that were served"), "{table}");
    // A log that is no log.
    std::fs::write(&file, "nothing\nof use\n").unwrap();
    assert_eq!(reconcile(folder, &["--served", path]).0, 2);
}
