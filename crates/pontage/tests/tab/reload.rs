//! A configuration that changes while payments are under way.

use super::*;

/// Asks for it once the gate answers calls.
fn reload(world: &World) {
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 402);
    world.gate.ask_to_reload();
}

fn reloaded(world: &World, count: usize) {
    reload(world);
    until("it is reloaded", || world.gate.log().matches("the configuration was reloaded").count() == count);
}

/// What a call costs now, in atomic units.
fn asked(world: &World) -> u128 {
    Payer::offer(&world.url("/paid/ok")).amount_atomic
}

#[test]
fn who_signed_for_the_old_price_is_served() {
    let world = World::with(ChainOptions::default(), &by(4));
    let old = Payer::offer(&world.url("/paid/ok"));
    let sign = |version| world.payer.sign(version, &old, &world.payer.fields(&old));
    let (v1, v2) = (sign(Version::V1), sign(Version::V2));
    world.gate.rewrite("\"0.01\", settlement: tab", "\"0.03\", settlement: tab");
    assert_eq!(asked(&world), PRICE);
    reloaded(&world, 1);
    until("the new price is asked for", || asked(&world) == 3 * PRICE);
    let challenge = get(&world.url("/paid/ok"), &[]);
    assert_eq!(challenge.json()["accepts"][0]["maxAmountRequired"], "30000", "{}", challenge.text());

    // Each worker hears of it by itself; a call that is refused by none of them has met all.
    for (header, signed) in [("x-payment", &v1), ("payment-signature", &v2)] {
        let answer = get(&world.url("/paid/ok"), &[("host", "localhost"), (header, signed)]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
        assert_eq!(answer.receipt()["amount"], PRICE.to_string());
        let again = get(&world.url("/paid/ok"), &[("host", "localhost"), (header, signed)]);
        conflict(&again, "already_served", "held");
    }
    for _ in 0..2 {
        let payment = Paying::new(&world);
        assert_eq!(payment.offer.amount_atomic, 3 * PRICE);
        payment.served(&world);
    }
    settled(&world);
    assert_eq!((world.paid(), chain_txs(&world).len()), (8 * PRICE, 1));
    // What is wrong with a payment is said by the price of today.
    let mut wrong = world.payer.fields(&old);
    wrong.value = U256::from(PRICE - 1);
    let wrong = world.payer.sign(Version::V2, &old, &wrong);
    let answer = get(&world.url("/paid/ok"), &[("payment-signature", &wrong)]);
    assert_eq!(answer.status, 402, "{}", answer.text());
    assert_eq!(answer.json()["accepts"][0]["maxAmountRequired"], "30000");
}

#[test]
fn a_file_with_a_mistake_changes_nothing() {
    let world = World::with(ChainOptions::default(), &tab());
    world.gate.rewrite("\"0.01\", settlement: tab", "\"three\", settlement: tab");
    reload(&world);
    until("it is refused", || world.gate.log().contains("was not reloaded, and nothing has changed"));
    let log = world.gate.log();
    assert!(log.contains("routes[1].price") && log.contains("Fix: "), "{log}");
    assert_eq!(asked(&world), PRICE);
    Paying::new(&world).served(&world);
    world.gate.rewrite("\"three\", settlement: tab", "\"0.02\", settlement: tab");
    reloaded(&world, 1);
    until("the new price is asked for", || asked(&world) == 2 * PRICE);
    settled(&world);
}

#[test]
fn what_takes_a_restart_is_named() {
    let world = World::with(ChainOptions::default(), &tab());
    world.gate.rewrite("127.0.0.1:0", "127.0.0.1:1");
    world.gate.rewrite("timeout: 5s", "timeout: 6s");
    world.gate.rewrite("batch_max: 5", "batch_max: 6");
    world.gate.rewrite("\"0.01\", settlement: tab", "\"0.02\", settlement: tab");
    reload(&world);
    until("it is refused", || world.gate.log().contains("these take a restart"));
    let log = world.gate.log();
    assert!(log.contains("\"keys\":\"listen, proxy, tab\""), "{log}");
    assert!(!log.contains("the configuration was reloaded"), "{log}");
    assert_eq!(asked(&world), PRICE);
    Paying::new(&world).served(&world);
    settled(&world);
}

#[test]
fn a_cap_that_changes_holds_at_once() {
    let world = World::with(
        ChainOptions::default(),
        &terms("tab: { settle_age_s: 600, batch_max: 3 }\nexposure: { per_payer: \"1.00\" }"),
    );
    Paying::new(&world).served(&world);
    world.gate.rewrite("per_payer: \"1.00\"", "per_payer: \"0.01\"");
    reloaded(&world, 1);
    // Half of the earlier cap is far, so the first one stays where it is.
    until("what comes now is direct", || {
        let answer = Paying::new(&world).get(&world, "/paid/ok");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.receipt()["transaction"] != ""
    });
    world.gate.rewrite("per_payer: \"0.01\"", "per_payer: \"0.50\"");
    reloaded(&world, 2);
    until("what comes now is on the tab", || {
        let answer = Paying::new(&world).get(&world, "/paid/ok");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.receipt()["transaction"] == ""
    });
}

/// Half of the cap that holds is what settles the tab.
#[test]
fn a_cap_that_changes_is_settled_by_its_half() {
    let world = World::with(
        ChainOptions::default(),
        &terms("tab: { settle_age_s: 600, batch_max: 50 }\nexposure: { per_payer: \"1.00\" }"),
    );
    world.gate.rewrite("per_payer: \"1.00\"", "per_payer: \"0.04\"");
    reloaded(&world, 1);
    for _ in 0..2 {
        Paying::new(&world).served(&world);
    }
    settled(&world);
    assert_eq!((world.paid(), world.books().batches().len()), (2 * PRICE, 1));
}

/// Prices change; what each call was told is what it pays, whatever comes between.
#[test]
fn several_changes_are_all_honoured() {
    let world = World::with(ChainOptions::default(), &by(50));
    let mut payments = vec![Paying::new(&world)];
    for (count, (from, to)) in [("0.01", "0.02"), ("0.02", "0.03"), ("0.03", "0.04")].into_iter().enumerate() {
        world.gate.rewrite(&format!("\"{from}\", settlement: tab"), &format!("\"{to}\", settlement: tab"));
        reloaded(&world, count + 1);
        let price = PRICE * (count as u128 + 2);
        until("the new price is asked for", || asked(&world) == price);
        payments.push(Paying::new(&world));
    }
    for payment in &payments {
        payment.served(&world);
    }
    assert_eq!(world.books().exposed(), 100_000);
    let mut world = world;
    assert!(world.gate.stop().success());
    world.gate.restart();
    settled(&world);
    assert_eq!(world.paid(), 10 * PRICE);
}

/// Who is paid changes, and when the money moves: what was signed before goes the way it was signed for.
#[test]
fn who_signed_for_the_old_payee_pays_him() {
    const NEW: &str = KEYS[9].address;
    let world = World::with(ChainOptions::default(), &by(2));
    let old = [Paying::new(&world), Paying::new(&world)];
    world.gate.rewrite(PAYEE, NEW);
    world.gate.rewrite(
        "path: /paid/*, price: \"0.01\", settlement: tab",
        "path: /paid/*, price: \"0.01\", settlement: direct",
    );
    reloaded(&world, 1);
    let asked = || Payer::offer(&world.url("/paid/ok"));
    until("the new payee is asked for", || asked().payee.to_string().eq_ignore_ascii_case(NEW));
    for payment in &old {
        payment.served(&world);
    }
    let answer = Paying::new(&world).get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
    assert_eq!(answer.receipt()["transaction"].as_str().map(str::len), Some(66));
    until("all has ended", || world.books().unfinished() == 0);
    let paid = |payee: &str| world.chain.balance(payee).unwrap();
    let booked = |payee: &str| {
        let upper = world.books().balance(&format!("revenue:{payee}"));
        upper + if upper == 0 { world.books().balance(&format!("revenue:{}", payee.to_ascii_lowercase())) } else { 0 }
    };
    assert_eq!((paid(PAYEE), paid(NEW)), (2 * PRICE, PRICE));
    assert_eq!((booked(PAYEE), booked(NEW)), (money(2), money(1)));
    assert_eq!((world.books().unbalanced(), world.books().exposed()), (0, 0));
}

/// A service manager does not wait for anything before it asks.
#[test]
fn who_is_asked_while_he_starts_does_not_end() {
    let (mut world, link) = node::bare(&tab());
    world.gate.kill();
    link.hold("eth_chainId", "\u{0}");
    world.gate.restart_while(|pid| {
        until("it asks its node", || link.held() > 0);
        assert!(std::process::Command::new("kill").args(["-HUP", &pid.to_string()]).status().unwrap().success());
        link.let_go("eth_chainId");
    });
    Paying::new(&world).served(&world);
    settled(&world);
}
