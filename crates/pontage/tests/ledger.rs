//! `pontage ledger` against the real binary and a local chain: books that agree, losses with their evidence, and books that somebody
//! has changed.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;
#[path = "ledger/run.rs"]
mod run;

use kit::{FUNDS, GateOptions, PAYEE, PAYER, PRICE, Payer, World, cancel, get, land, move_all, try_request, until};
use protocol::x402::Version;
use run::{Books, copy, tamper};
use xtask::chain::{ChainOptions, USDC};

/// A direct route and one on the tab, which waits until there are five or the gate stops.
fn options() -> GateOptions {
    GateOptions {
        routes: "  - { path: /free/*, free: true }\n  - { path: /paid/*, price: \"0.01\", settlement: direct }\n\
                 \x20 - { path: /tab/*, price: \"0.01\", settlement: tab }\n",
        more: "tab: { settle_age_s: 2, batch_max: 5 }".to_owned(),
        ..GateOptions::default()
    }
}

/// What a payment on the tab was, so that a test can find it again.
struct Bought {
    id: String,
    nonce: String,
}

/// A call on the tab, or directly settled.
fn buy(world: &World, path: &str) -> Bought {
    let (header, nonce) = world.payer.payment(&Payer::offer(&world.url(path)));
    let answer = get(&world.url(path), &[("payment-signature", &header)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let nonce = nonce.to_string();
    until("it is in the journal", || run::payment_of(&world.gate.journal(), &nonce).is_some());
    Bought { id: run::payment_of(&world.gate.journal(), &nonce).unwrap(), nonce }
}

/// Two direct payments, three on the tab that are paid, one that was cancelled and one whose payer emptied his wallet; stopped.
struct Told {
    world: World,
    direct: Bought,
    cancelled: Bought,
    emptied: Bought,
}

fn told() -> Told {
    let mut world = World::with(ChainOptions::default(), &options());
    buy(&world, "/paid/ok");
    let direct = buy(&world, "/paid/ok");
    for _ in 0..3 {
        buy(&world, "/tab/ok");
    }
    until("they are posted", || world.books().holds("posted") == 5);
    let offer = Payer::offer(&world.url("/tab/ok"));
    let fields = world.payer.fields(&offer);
    let header = world.payer.sign(Version::V2, &offer, &fields);
    assert_eq!(get(&world.url("/tab/ok"), &[("payment-signature", &header)]).status, 200);
    world.chain.send_as(PAYER.address, USDC, &cancel(&world.payer, &offer, &fields)).unwrap();
    let nonce = fields.nonce.to_string();
    until("it is lost", || world.books().holds("lost") == 1);
    let cancelled = Bought { id: run::payment_of(&world.gate.journal(), &nonce).unwrap(), nonce };
    // A payer of his own for the other loss, so that the first one's wallet stays as it is.
    let other = &xtask::chain::KEYS[3];
    world.chain.mint(other.address, FUNDS).unwrap();
    world.payer = Payer::new(other);
    buy(&world, "/paid/ok");
    let emptied = buy(&world, "/tab/ok");
    world.chain.send_as(other.address, USDC, &move_all(FUNDS - PRICE)).unwrap();
    until("it is lost", || world.books().holds("lost") == 2);
    until("the gas is booked", || world.books().balance("gas:") > 0 && run::unmined(&world.gate.journal()) == 0);
    // The payee is paid by others, too.
    world.chain.mint(PAYEE, 7).unwrap();
    assert!(world.gate.stop().success());
    Told { world, direct, cancelled, emptied }
}

#[test]
fn books_that_agree_and_losses_with_their_evidence() {
    let told = told();
    let books = Books::of(&told.world.gate);
    let audit = books.run(&["audit"]);
    assert_eq!(audit.code, 0, "{audit}");
    let summary = audit.out.lines().last().unwrap();
    assert_eq!(summary, "8 payments: 6 matched, 2 lost; 1 unrelated transfer; 0 differences", "{audit}");
    let json = books.run(&["audit", "--format", "json", "--all"]).json();
    assert_eq!(json["states"], serde_json::json!({"lost": 2, "matched": 6}));
    let loss = |bought: &Bought| {
        let of = |finding: &&serde_json::Value| finding["id"] == bought.id.as_str();
        json["findings"].as_array().unwrap().iter().find(of).unwrap().clone()
    };
    let (cancelled, emptied) = (loss(&told.cancelled), loss(&told.emptied));
    let words = |finding: &serde_json::Value| finding["found"].as_str().unwrap().to_owned();
    assert!(words(&cancelled).starts_with("gone: cancelled in 0x"), "{cancelled}");
    assert!(words(&emptied).starts_with("emptied: 999."), "{emptied}");
    assert!(cancelled["chain_tx"].is_string() && emptied["block"].is_u64());
    assert_eq!(json["findings"].as_array().unwrap().len(), 9, "every payment, and the unrelated transfer");
    assert!(json["newest_seal"]["last_entry"] == json["entries"], "sealed to the end when it stopped: {json}");
    // Each format says the same.
    let csv = books.run(&["audit", "--format", "csv"]);
    assert_eq!(
        csv.out.lines().next().unwrap(),
        "state,difference,kind,id,network,asset,amount_atomic,amount,chain_tx,block,found,action"
    );
    assert_eq!(csv.out.lines().count(), 3);
    assert!(csv.err.contains("8 payments: 6 matched"), "{csv}");
    let offline = books.run(&["audit", "--offline"]);
    assert_eq!(offline.code, 0);
    assert!(
        offline.out.ends_with("8 payments: 6 posted, 2 lost; not compared with the chain; 0 differences\n"),
        "{offline}"
    );
}

#[test]
fn while_a_gate_runs_everything_has_a_word() {
    let more = "tab: { settle_age_s: 600, batch_max: 50 }".to_owned();
    let world = World::with(ChainOptions::default(), &GateOptions { more, ..options() });
    buy(&world, "/paid/ok");
    let held = buy(&world, "/tab/ok");
    until("it is held", || world.books().holds("answered") == 1);
    let books = Books::of(&world.gate);
    let audit = books.run(&["audit"]);
    assert_eq!(audit.code, 0, "{audit}");
    assert!(audit.out.contains("2 payments: 1 matched, 1 held; 0 differences"), "{audit}");
    let show = books.run(&["show"]).out;
    assert!(show.contains("the gate: $0.01 of $100.00 on the tab") && show.contains(PAYER.address), "{show}");
    let story = books.run(&["show", &held.id]).out;
    assert!(story.contains("held: on the tab, it settles by itself"), "{story}");
}

#[test]
fn a_payment_is_found_by_each_of_its_ids() {
    let told = told();
    let books = Books::of(&told.world.gate);
    for id in [&told.direct.id, &told.direct.nonce] {
        let story = books.run(&["show", id]);
        assert!(story.out.starts_with(&format!("payment {}\n", told.direct.id)), "{story}");
        assert!(story.out.contains("0.010000 USDC on eip155:84532") && story.out.contains("with sequence "), "{story}");
    }
    let story = books.run(&["show", &told.direct.nonce, "--format", "json"]).json();
    let payment = &story["payments"][0];
    assert_eq!((&payment["state"], &payment["amount"]), (&"posted".into(), &"0.010000".into()));
    let kinds: Vec<_> = payment["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].clone()).collect();
    assert!(kinds.contains(&"posted".into()) && kinds.contains(&"gas".into()), "{kinds:?}");
    let hash = payment["chain_tx"].as_str().unwrap();
    let by_hash = books.run(&["show", hash]);
    assert!(
        by_hash.out.starts_with(&format!("transaction {hash}\n")) && by_hash.out.contains(&told.direct.id),
        "{by_hash}"
    );
    assert!(by_hash.out.contains("payments   1\n") && by_hash.out.contains(" ETH"), "{by_hash}");
    let lost = books.run(&["show", &told.cancelled.id]);
    assert!(lost.out.contains("lost: served and not paid (gone)") && lost.out.contains("uncollected"), "{lost}");
    for id in ["", "xyz", "0x12", &"00".repeat(16), &"00".repeat(32)] {
        let nothing = books.run(&["show", id]);
        assert!(nothing.code == 1 && nothing.out.is_empty(), "{nothing}");
    }
}

#[test]
fn rows_come_out_as_they_are_in_the_journal() {
    let told = told();
    let books = Books::of(&told.world.gate);
    let csv = books.run(&["export", "--what", "payments", "--format", "csv"]).out;
    assert!(csv.starts_with("payment_id,opened_at_ms,") && csv.lines().count() == 9, "{csv}");
    let json = books.run(&["export", "--what", "payments", "--format", "json"]).json();
    let payments = json.as_array().unwrap();
    assert_eq!(payments.len(), 8);
    let opened: Vec<u64> = payments.iter().map(|payment| payment["opened_at_ms"].as_u64().unwrap()).collect();
    assert!(opened.is_sorted());
    let (from, to) = (opened[2].to_string(), opened[5].to_string());
    let some = books.run(&["export", "--what", "payments", "--format", "json", "--from", &from, "--to", &to]).json();
    assert_eq!(some.as_array().unwrap().len(), opened.iter().filter(|ms| (opened[2]..opened[5]).contains(ms)).count());
    let lines = books.run(&["export", "--what", "entries", "--format", "json"]).json();
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), run::lines(&told.world.gate.journal()));
    let entries = books.run(&["export", "--what", "entries", "--format", "csv"]).out;
    assert_eq!(entries.lines().count(), lines.len() + 1);
    let revenue = lines.iter().filter(|line| line["account"].as_str().unwrap().starts_with("revenue:"));
    let revenue: u128 = revenue.map(|line| line["amount_atomic"].as_str().unwrap().parse::<u128>().unwrap()).sum();
    assert_eq!(revenue, 8 * PRICE);
    let table = books.run(&["export", "--what", "payments"]).out;
    assert_eq!(table.lines().count(), 9);
}

#[test]
fn books_that_somebody_changed_are_found_out() {
    let told = told();
    let here = Books::of(&told.world.gate);
    let posted = "(SELECT min(id) FROM entries WHERE kind = 'posted')";
    let nine = "x'00000000000000000000000000000009'";
    let direct = &told.direct.id;
    for (sql, wants) in [
        (
            format!("UPDATE lines SET amount = {nine} WHERE entry = {posted} AND side = 'credit'"),
            vec!["! unbalanced", "! misbooked", "! broken seal", "see entry 1"],
        ),
        (format!("UPDATE lines SET amount = {nine} WHERE entry = {posted}"), vec!["! misbooked", "! broken seal"]),
        (
            format!("UPDATE holds SET chain_tx = x'{}' WHERE id = x'{direct}'", "ab".repeat(32)),
            vec!["! missing", "the chain has no transaction 0xabab…abab; its authorization was used in 0x"],
        ),
        (
            format!(
                "UPDATE holds SET chain_tx = (SELECT chain_tx FROM holds WHERE state = 'posted' AND id <> x'{direct}' LIMIT 1)
                 WHERE id = x'{direct}'"
            ),
            vec!["! missing", "does not hold this payment"],
        ),
        (format!("UPDATE holds SET amount = {nine} WHERE id = x'{direct}'"), vec!["! over", "! misbooked"]),
        (
            format!("UPDATE holds SET valid_before_s = 1 WHERE id = x'{}'", told.cancelled.id),
            vec!["! misbooked", "is not what 0x3C44…93BC has signed"],
        ),
        (
            format!(
                "INSERT INTO holds SELECT NULL, zeroblob(16), {} FROM holds WHERE id = x'{direct}'",
                run::columns(&told.world.gate.journal(), "holds")[2..].join(", ")
            ),
            vec!["! misbooked", "has moved money for an earlier payment already"],
        ),
        (
            format!("UPDATE holds SET state = 'burnt', reason = 'unanswered' WHERE id = x'{direct}'"),
            vec!["unposted", "! misbooked"],
        ),
        ("DELETE FROM lines WHERE entry = 1".to_owned(), vec!["! unbalanced", "! broken seal"]),
        (
            "DELETE FROM entries WHERE id = 1".to_owned(),
            vec!["entry 1, sealed by seal 1, is missing", "has no posted entry", "its entry is missing"],
        ),
        ("UPDATE entries SET at_ms = 1 WHERE id = 2".to_owned(), vec!["! broken seal", "is not what seal"]),
        ("UPDATE seals SET signature = zeroblob(65) WHERE id = 1".to_owned(), vec!["the signature of seal 1 is not by 0x"]),
        ("INSERT INTO tabs VALUES ('payer', zeroblob(20), 5)".to_owned(), vec!["! sums differ", "tab of payer 0x0000…0000"]),
        ("UPDATE tabs SET micros = 5 WHERE scope = 'gate'".to_owned(), vec!["! sums differ", "the tab of gate is kept as"]),
        ("UPDATE chain_txs SET fee = x'00000000000000000000000000000001'".to_owned(), vec!["! fee differs", "! misbooked"]),
        ("DELETE FROM chain_txs WHERE sequence = 1".to_owned(), vec!["! sequence gap", "not in the journal: sequence 1 of the key 0x"]),
    ] {
        let folder = copy(&told.world.gate);
        tamper(folder.path(), &sql);
        let audit = Books::in_folder(folder.path()).run(&["audit"]);
        assert_eq!(audit.code, 1, "{sql}: {audit}");
        for want in wants {
            assert!(audit.out.contains(want), "{sql}: {want}: {audit}");
        }
    }
    assert_eq!(here.run(&["audit"]).code, 0, "the copies were changed, not the journal");
}

#[test]
fn a_chain_that_cannot_be_read_is_said_to_be_so() {
    let mut world = World::with(ChainOptions::default(), &options());
    buy(&world, "/paid/ok");
    until("the gas is booked", || run::unmined(&world.gate.journal()) == 0);
    assert!(world.gate.stop().success());
    let books = Books::of(&world.gate);
    assert_eq!(books.run(&["audit"]).code, 0);
    let World { gate, chain, .. } = world;
    drop(chain);
    let audit = books.run(&["audit"]);
    assert_eq!(audit.code, 2, "{audit}");
    assert!(
        audit.out.contains("1 payment: 1 unread; eip155:84532 COULD NOT BE READ (its node does not answer)"),
        "{audit}"
    );
    assert_eq!(books.run(&["audit", "--format", "json"]).json()["exit_code"], 2);
    assert_eq!(books.run(&["audit", "--offline"]).code, 0);
    // Another chain with the same id is none that this journal can be compared with.
    let other = World::with(ChainOptions::default(), &options());
    run::set_node(&gate, other.chain.rpc_url());
    let audit = books.run(&["audit"]);
    assert_eq!(audit.code, 2, "{audit}");
    assert!(audit.out.contains("on another chain"), "{audit}");
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(Books::in_folder(nowhere.path()).run(&["audit"]).code, 2);
}

#[test]
fn a_gate_seals_when_it_starts_and_when_it_stops() {
    let mut world = World::with(ChainOptions::default(), &options());
    buy(&world, "/paid/ok");
    until("the gas is booked", || run::unmined(&world.gate.journal()) == 0);
    world.gate.kill_and_restart();
    until("what the crash left is sealed", || run::seals(&world.gate.journal()) == 1);
    buy(&world, "/paid/ok");
    until("the gas is booked", || run::unmined(&world.gate.journal()) == 0);
    let audit = Books::of(&world.gate).run(&["audit"]);
    assert!(audit.code == 0 && audit.out.contains("unsealed"), "{audit}");
    assert!(world.gate.stop().success());
    assert_eq!(run::seals(&world.gate.journal()), 2);
    let audit = Books::of(&world.gate).run(&["audit"]);
    assert!(audit.code == 0 && !audit.out.contains("unsealed"), "{audit}");
}

/// Enough blocks that what is in one is final.
fn bury(world: &World) {
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
}

/// The same, and time enough for a gate to look at it.
fn forget(world: &World) {
    bury(world);
    world.chain.increase_time(100).unwrap();
    bury(world);
}

#[test]
fn what_landed_while_no_gate_ran_is_a_difference_until_one_runs() {
    let mut world = World::with(ChainOptions::default(), &options());
    buy(&world, "/paid/ok");
    until("the gas is booked", || run::unmined(&world.gate.journal()) == 0);
    world.chain.set_automine(false).unwrap();
    buy(&world, "/tab/ok");
    until("it is given out", || world.books().unfinished() == 1);
    assert!(world.gate.stop().success());
    let books = Books::of(&world.gate);
    let audit = books.run(&["audit"]);
    assert!(audit.code == 0 && audit.out.contains("2 payments: 1 matched, 1 submitted;"), "{audit}");
    world.chain.mine().unwrap();
    let audit = books.run(&["audit"]);
    assert!(audit.code == 0 && audit.out.contains("2 payments: 1 matched, 1 unposted; 0 differences"), "{audit}");
    bury(&world);
    assert_eq!(books.run(&["audit"]).code, 0, "final, and only now");
    forget(&world);
    let audit = books.run(&["audit"]);
    assert!(audit.code == 1 && audit.out.contains("! unposted  payment"), "{audit}");
    assert!(audit.out.contains("its gas is not in the books") && audit.out.contains("; 2 differences"), "{audit}");
    world.gate.restart();
    until("it is posted", || world.books().holds("posted") == 2 && run::unmined(&world.gate.journal()) == 0);
    let audit = books.run(&["audit"]);
    assert!(audit.code == 0 && audit.out.contains("2 payments: 2 matched"), "{audit}");
}

#[test]
fn what_is_owed_to_payers_is_listed_and_no_difference() {
    let world = World::with(ChainOptions::default(), &options());
    buy(&world, "/paid/ok");
    // Cut off behind its head: paid for, and owed back.
    let (header, _) = world.payer.payment(&Payer::offer(&world.url("/paid/half")));
    assert!(try_request("GET", &world.url("/paid/half"), &[("payment-signature", &header)], b"").is_err());
    until("it is owed back", || world.books().claims().iter().any(|claim| claim.refund_due));
    // Not answered, and landed by its payer all the same.
    let offer = Payer::offer(&world.url("/paid/reset"));
    let fields = world.payer.fields(&offer);
    let header = world.payer.sign(Version::V2, &offer, &fields);
    assert_eq!(get(&world.url("/paid/reset"), &[("payment-signature", &header)]).status, 502);
    // On the tab, emptied, and landed by its payer once he has money again.
    let tab = Payer::offer(&world.url("/tab/ok"));
    let later = world.payer.fields(&tab);
    let second = world.payer.sign(Version::V2, &tab, &later);
    assert_eq!(get(&world.url("/tab/ok"), &[("payment-signature", &second)]).status, 200);
    let rest = world.chain.balance(PAYER.address).unwrap();
    world.chain.send_as(PAYER.address, USDC, &move_all(rest)).unwrap();
    until("it is lost", || world.books().holds("lost") == 1);
    world.chain.mint(PAYER.address, FUNDS).unwrap();
    world.chain.send_as(PAYER.address, USDC, &land(&world.payer, &offer, &fields)).unwrap();
    world.chain.send_as(PAYER.address, USDC, &land(&world.payer, &tab, &later)).unwrap();
    let books = Books::of(&world.gate);
    until("the gas is booked", || run::unmined(&world.gate.journal()) == 0);
    bury(&world);
    let audit = books.run(&["audit"]);
    let want = "4 payments: 1 matched, 1 owed back, 2 unposted; 0 differences";
    assert!(audit.code == 0 && audit.out.contains(want), "{audit}");
    assert!(audit.out.contains("nothing: it is booked when its validity has ended"), "{audit}");
    world.chain.increase_time(4_000).unwrap();
    bury(&world);
    until("the late money is booked", || world.books().claims().iter().filter(|claim| claim.late).count() == 2);
    let audit = books.run(&["audit"]);
    let want = "4 payments: 1 matched, 1 owed back, 1 late, 1 recovered; 0 differences";
    assert!(audit.code == 0 && audit.out.contains(want), "{audit}");
    assert!(audit.out.contains("send the amount back to 0x3C44…93BC"), "{audit}");
    let offline = books.run(&["audit", "--offline"]);
    assert!(offline.code == 0 && offline.out.contains("1 posted, 1 owed back, 1 late, 1 recovered"), "{offline}");
}
