//! When the tab is settled.

use super::*;

#[test]
fn whole_batches_go_and_the_rest_waits() {
    let world = World::with(ChainOptions::default(), &by(3));
    for _ in 0..7 {
        Paying::new(&world).served(&world);
    }
    until("two batches are settled", || world.books().holds("posted") == 6);
    let last = Paying::new(&world);
    last.served(&world);
    assert_eq!(told(&last.status(&world)), words("held", "held"));
    Paying::new(&world).served(&world);
    settled(&world);
    // A look may fall between two of the calls, so a batch is never larger, and never smaller either.
    let sizes: Vec<_> = world.books().batches().into_iter().map(|(size, _)| size).collect();
    assert_eq!((sizes, chain_txs(&world).len()), (vec![3, 3, 3], 3));
    assert_eq!(world.paid(), 9 * PRICE);
}

#[test]
fn what_waits_too_long_is_settled_with_all_the_rest() {
    let world = World::with(ChainOptions::default(), &terms("tab: { settle_age_s: 2, batch_max: 50 }"));
    for _ in 0..5 {
        Paying::new(&world).served(&world);
    }
    settled(&world);
    assert_eq!((world.paid(), world.chain.transfers_to(PAYEE).unwrap().len()), (5 * PRICE, 5));
    let claims = world.books().claims();
    assert!(claims.iter().all(|claim| claim.rail == "tab" && claim.state == "posted"), "{claims:?}");
}

#[test]
fn half_of_a_cap_is_settled_at_once() {
    for cap in ["per_payer", "per_source", "per_gate"] {
        let more = format!("tab: {{ settle_age_s: 600, batch_max: 50 }}\nexposure: {{ {cap}: \"0.08\" }}");
        let world = World::with(ChainOptions::default(), &terms(&more));
        for _ in 0..3 {
            Paying::new(&world).served(&world);
        }
        assert_eq!((world.books().holds("answered"), world.books().exposed()), (3, 30_000), "{cap}");
        Paying::new(&world).served(&world);
        settled(&world);
        assert_eq!(world.books().batches().len(), 1, "{cap}");
        assert_eq!(world.paid(), 4 * PRICE);
    }
}

#[test]
fn a_stop_submits_what_is_on_the_tab() {
    let chain = ChainOptions { mining: false, ..ChainOptions::default() };
    let mut world = World::with(chain, &terms("tab: { settle_age_s: 600, batch_max: 3 }"));
    let payments: Vec<_> = (0..5)
        .map(|_| {
            let payment = Paying::new(&world);
            payment.served(&world);
            payment
        })
        .collect();
    // This one is still being given out when the stop comes.
    let slow = Paying::new(&world);
    let mut caller = slow.raw(&world, "/paid/slow", &[]);
    assert!(caller.read_until("first").ends_with("first"));
    world.gate.ask_to_stop();
    until("it is stopping", || world.gate.log().contains("stopping"));
    world.origin.let_go();
    assert!(caller.read_all().ends_with("later"));
    assert!(world.gate.ended().success());
    let log = world.gate.log();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    assert!(log.contains("the tab was submitted"), "{log}");
    assert_eq!((world.books().holds("submitted"), world.paid()), (6, 0));

    world.chain.set_automine(true).unwrap();
    until("the chain has them", || world.paid() == 6 * PRICE);
    world.gate.restart();
    settled(&world);
    assert_eq!((world.paid(), chain_txs(&world).len()), (6 * PRICE, 2));
    assert!(payments.iter().chain([&slow]).all(|payment| payment.state(&world) == posted()));
}

#[test]
fn what_was_on_the_tab_when_the_process_died_is_settled() {
    let mut world = World::with(ChainOptions::default(), &by(50));
    let payments: Vec<_> = (0..4)
        .map(|_| {
            let payment = Paying::new(&world);
            payment.served(&world);
            payment
        })
        .collect();
    // One is being given out, of one the upstream has not answered.
    let (cut, running) = (Paying::new(&world), Paying::new(&world));
    let mut caller = cut.raw(&world, "/paid/slow", &[]);
    assert!(caller.read_until("first").ends_with("first"));
    let waiting = running.raw(&world, "/paid/gate", &[]);
    until("the upstream runs", || world.origin.runs("/paid/gate") == 1);
    world.gate.kill();
    world.gate.rewrite("settle_age_s: 600", "settle_age_s: 1");
    world.gate.restart();
    settled(&world);
    assert_eq!((world.paid(), world.chain.transfers_to(PAYEE).unwrap().len()), (5 * PRICE, 5));
    for payment in payments.iter().chain([&cut]) {
        assert_eq!(payment.state(&world), posted());
    }
    // He had a part of it; it may have been the whole for all we know.
    conflict(&cut.get(&world, "/paid/slow"), "already_served", "moved");
    conflict(&payments[0].get(&world, "/paid/ok"), "already_served", "moved");
    assert_eq!(running.state(&world), state("burnt", "interrupted"));
    conflict(&running.get(&world, "/paid/gate"), "not_charged", "untouched");
    assert_eq!(world.origin.most_runs("/paid/"), 4);
    waiting.hang_up();
}

#[test]
fn gas_is_in_the_books() {
    let world = world(&by(3));
    for _ in 0..2 {
        Paying::new(&world).served(&world);
    }
    let bad = Paying::of(&world, CHEATER);
    world.chain.set_automine(false).unwrap();
    bad.served(&world);
    until("all are submitted", || world.books().holds("submitted") == 3);
    // One member fails in the block: the gas was spent all the same.
    mempool::first(&world, CHEATER.address, &bad.cancel());
    world.chain.set_automine(true).unwrap();
    assert_eq!(Paying::direct(&world, PAYER).get(&world, "/direct/ok").status, 200);
    settled(&world);
    let spent: u128 = ours(&world).iter().map(|(gas, price)| gas * price).sum();
    until("all gas is written", || world.books().balance("gas:") == i128::try_from(spent).unwrap());
    assert_eq!(world.books().balance("key:"), -i128::try_from(spent).unwrap());
    assert_eq!((world.books().unbalanced(), ours(&world).len()), (0, 2));
}

/// Gas and its price of every chain_tx that the settler has sent, from the chain.
fn ours(world: &World) -> Vec<(u128, u128)> {
    let head = world.chain.rpc("eth_blockNumber", json!([])).unwrap();
    let number = |value: &Value| u128::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let mut found = Vec::new();
    for at in 0..=number(&head) {
        let receipts = world.chain.rpc("eth_getBlockReceipts", json!([format!("{at:#x}")])).unwrap();
        for receipt in receipts.as_array().unwrap() {
            if receipt["from"].as_str().unwrap().eq_ignore_ascii_case(SETTLER.address) {
                found.push((number(&receipt["gasUsed"]), number(&receipt["effectiveGasPrice"])));
            }
        }
    }
    found
}
