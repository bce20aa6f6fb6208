//! What is over a cap is settled before it is served.

use super::*;

/// Served in full, and paid for before.
fn direct(world: &World, payment: &Paying) {
    let answer = payment.get(world, "/paid/ok");
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{}", answer.text());
    let receipt = answer.receipt();
    assert_eq!(receipt["extra"], Value::Null, "{receipt}");
    assert_eq!(receipt["transaction"], payment.claim(world).chain_tx.unwrap());
    assert_eq!((payment.claim(world).rail.as_str(), payment.state(world)), ("direct", posted()));
}

fn full(cap: &str) -> World {
    // Half of the cap would be settled at once, so the tab is filled by answers that go on.
    world(&terms(&format!("tab: {{ settle_age_s: 600, batch_max: 50 }}\nexposure: {{ {cap}: \"0.02\" }}")))
}

/// Fills the tab of a payer by two calls that are being answered.
fn fill(world: &World) -> Vec<(Paying, Raw)> {
    let start = |path: &str| {
        let payment = Paying::new(world);
        let mut caller = payment.raw(world, path, &[]);
        assert!(caller.read_until("first").ends_with("first"));
        (payment, caller)
    };
    let calls = vec![start("/paid/slow"), start("/paid/slow?2")];
    assert_eq!(world.books().exposed(), 20_000);
    calls
}

#[test]
fn a_payer_over_his_cap_pays_directly_and_others_do_not() {
    let world = full("per_payer");
    let calls = fill(&world);
    direct(&world, &Paying::new(&world));
    Paying::of(&world, CHEATER).served(&world);
    assert_eq!(world.books().claims().last().unwrap().rail, "tab");
    ends(&world, calls);
    // There is room again.
    Paying::new(&world).served(&world);
    settled(&world);
    assert_eq!(world.paid(), 5 * PRICE);
}

#[test]
fn a_source_over_its_cap_pays_directly_whoever_pays() {
    let world = full("per_source");
    let calls = fill(&world);
    for key in [PAYER, CHEATER] {
        direct(&world, &Paying::of(&world, key));
    }
    ends(&world, calls);
    Paying::of(&world, CHEATER).served(&world);
    settled(&world);
    assert_eq!(world.paid(), 5 * PRICE);
}

#[test]
fn a_gate_over_its_cap_serves_directly_whoever_pays() {
    let world = full("per_gate");
    let calls = fill(&world);
    for key in [PAYER, CHEATER] {
        direct(&world, &Paying::of(&world, key));
    }
    ends(&world, calls);
    Paying::of(&world, CHEATER).served(&world);
    settled(&world);
    assert_eq!(world.paid(), 5 * PRICE);
}

/// A payment that is not valid for long enough to wait is settled at once.
#[test]
fn a_short_payment_is_settled_directly() {
    let world = world(&by(50));
    let mut payment = Paying::new(&world);
    payment.fields.valid_before -= U256::from(3_600 - 300);
    payment.header = payment.payer.sign(Version::V2, &payment.offer, &payment.fields);
    direct(&world, &payment);
    settled(&world);
}

/// What is on the tab is no longer in the wallet, as far as a further call is concerned.
#[test]
fn nobody_is_served_more_than_his_wallet_holds() {
    let world = World::with(ChainOptions::default(), &by(3));
    world.chain.mint(KEYS[6].address, 3 * PRICE - 1).unwrap();
    for _ in 0..2 {
        Paying::of(&world, &KEYS[6]).served(&world);
    }
    let answer = Paying::of(&world, &KEYS[6]).get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_exact_evm_insufficient_balance"));
    Paying::new(&world).served(&world);
    settled(&world);
    let answer = Paying::of(&world, &KEYS[6]).get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_exact_evm_insufficient_balance"));
    assert_eq!((world.paid(), world.origin.runs("/paid/ok"), world.books().balance("loss:")), (3 * PRICE, 3, 0));
}

fn ends(world: &World, calls: Vec<(Paying, Raw)>) {
    world.origin.let_go();
    for (payment, mut caller) in calls {
        assert!(caller.read_all().ends_with("later"));
        until("it is settled", || payment.state(world) == posted());
        assert_eq!(payment.claim(world).rail, "tab");
    }
    until("nothing is on the tab", || world.books().unfinished() == 0);
}
