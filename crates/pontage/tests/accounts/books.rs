//! What `pontage ledger` says of balances: books that agree, what a charge, a grant and an account were, and books that somebody has
//! changed.

use serde_json::{Value, json};
use xtask::chain::ChainOptions;

use super::calls::call;
use super::kit::{ADMIN, Admin, GateOptions, World, try_request, until};
use super::run::{Books, copy, tamper};

const ROUTES: &str = "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n";

/// What is looked for again.
struct Told {
    world: World,
    giver: String,
    taker: String,
    charge: String,
}

/// Four calls, of which two are charged, one failed and one broke off; a refund, a transfer and a withdrawal; stopped.
fn told() -> Told {
    let options = GateOptions { more: format!("accounts: {{}}\n{ADMIN}"), routes: ROUTES, ..GateOptions::default() };
    let mut world = World::with(ChainOptions::default(), &options);
    let admin = Admin::of(&world.gate);
    let (giver, secret) = admin.key(&json!({ "name": "giver", "credits": 100 }));
    let (taker, _) = admin.key(&json!({ "name": "taker" }));
    for path in ["/paid/ok", "/paid/ok", "/paid/500"] {
        call(&world, path, &secret);
    }
    try_request("GET", &world.url("/paid/half"), &[("x-api-key", &secret)], b"").unwrap_err();
    let keys = format!("/admin/v1/keys/{giver}");
    let charges = || admin.get(&format!("{keys}/charges")).json()["charges"].as_array().unwrap().clone();
    until("what broke off is given back", || charges().iter().any(|charge| charge["refunded"] == 1));
    let charge = charges().pop().unwrap()["id"].as_str().unwrap().to_owned();
    for (path, body) in [
        (format!("/admin/v1/charges/{charge}/refund"), json!({})),
        (format!("{keys}/transfer"), json!({ "to": taker, "amount": 30 })),
        (format!("{keys}/withdraw"), json!({ "amount": 9 })),
    ] {
        let done = admin.post(&path, &body);
        assert_eq!(done.status / 100, 2, "{path}: {}", done.text());
    }
    assert!(world.gate.stop().success());
    Told { world, giver, taker, charge }
}

#[test]
fn books_of_balances_that_agree() {
    let told = told();
    let books = Books::of(&told.world.gate);
    let audit = books.run(&["audit", "--offline"]);
    assert_eq!(audit.code, 0, "{audit}");
    assert!(audit.out.contains("2 accounts, 4 charges"), "{audit}");
    let show = |id: &str| books.run(&["show", id, "--format", "json"]).json();
    let account = &show(&told.giver)["account"];
    // 100, less 30 and 9, and one call.
    assert_eq!((&account["left_atomic"], &account["spent_atomic"]), (&json!("60"), &json!("1")), "{account}");
    assert_eq!(account["calls"], 3, "the one that broke off was taken first");
    let charge = &show(&told.charge)["charge"];
    assert_eq!((&charge["state"], &charge["refunded_atomic"]), (&json!("captured"), &json!("1")), "{charge}");
    let kinds: Vec<&Value> = charge["entries"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["captured", "given_back"]);
    let other = &show(&told.taker)["account"];
    let grant = &other["grants"][0];
    assert_eq!((&grant["source"], &grant["source_id"]), (&json!("transfer"), &json!(told.giver)), "{other}");
    assert_eq!(show(grant["grant_id"].as_str().unwrap())["grant"]["left_atomic"], "30");
    let table = books.run(&["show", &told.charge]);
    assert!(table.out.contains("captured: 1 credits were taken, 1 credits given back"), "{table}");
    let export = |what: &str| books.run(&["export", "--what", what, "--format", "json"]).json();
    let charges = export("charges");
    assert_eq!(charges.as_array().unwrap().len(), 4, "{charges}");
    assert_eq!(export("grants").as_array().unwrap().len(), 2);
    let entries = export("entries");
    assert!(entries.as_array().unwrap().iter().any(|line| line["charge_id"] == told.charge), "{entries}");
}

#[test]
fn books_of_balances_that_somebody_changed() {
    let told = told();
    let (giver, charge) = (&told.giver, &told.charge);
    for (sql, wants) in [
        (
            format!("UPDATE grants SET left_over = left_over + 1 WHERE account = x'{giver}'"),
            vec!["! sums differ", "left and 0 held; its entries come to 60"],
        ),
        (
            format!("UPDATE grants SET granted = granted + 1 WHERE account = x'{giver}'"),
            vec!["! misbooked", "is of 101; its entries come to 100"],
        ),
        (
            format!("UPDATE charges SET captured = 0, refunded = 0 WHERE id = x'{charge}'"),
            vec!["! misbooked", "its entries come to 1 and 1"],
        ),
        (
            format!(
                "UPDATE charges SET state = 'burnt', reason = 'broken', captured = NULL, refunded = 0 WHERE id = x'{charge}'"
            ),
            vec!["! misbooked", "! sums differ"],
        ),
        (
            format!("UPDATE accounts SET spent = 0 WHERE id = x'{giver}'"),
            vec!["! sums differ", "notes 3 calls for 0; its charges come to 3 for 1"],
        ),
        (format!("DELETE FROM charges WHERE id = x'{charge}'"), vec!["! misbooked", "its charge is missing"]),
        (
            format!("DELETE FROM grants WHERE account = x'{}'", told.taker),
            vec!["its grant is missing", "! sums differ"],
        ),
        (
            format!("DELETE FROM accounts WHERE id = x'{}'", told.taker),
            vec!["is of an account that is missing", "in a unit that no account of this name has"],
        ),
        (
            format!(
                "UPDATE lines SET account = 'balance:{}' WHERE account = 'balance:{giver}' AND side = 'credit'",
                told.taker
            ),
            vec!["! misbooked", "! broken seal"],
        ),
    ] {
        let folder = copy(&told.world.gate);
        tamper(folder.path(), &sql);
        let audit = Books::in_folder(folder.path()).run(&["audit", "--offline"]);
        assert_eq!(audit.code, 1, "{sql}: {audit}");
        for want in wants {
            assert!(audit.out.contains(want), "{sql}: {want}: {audit}");
        }
    }
    assert_eq!(Books::of(&told.world.gate).run(&["audit", "--offline"]).code, 0);
}
