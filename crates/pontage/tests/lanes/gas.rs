//! What gas may cost, and how long it lasts.

use super::*;

/// While the base fee is above the cap nothing paid is served and nothing is sent; when it has come down, everything goes on.
#[test]
fn while_gas_is_too_dear_nothing_paid_is_served() {
    let facilitator = "signer: { env: PONTAGE_SIGNER_KEY }, fees: { max_fee_gwei: 5 }".to_owned();
    let world = World::with(ChainOptions::default(), &GateOptions { facilitator, ..GateOptions::direct() });
    let buy = || world.payer.buy(&world.url("/paid/ok"));
    assert_eq!(buy().status, 200);
    next_base_fee(&world, 50);
    world.chain.mine().unwrap();
    until("nothing paid is served", || refused(&buy()));
    let (runs, sent) = (world.origin.runs("/paid/"), signed(&world).len());
    unavailable(&buy());
    assert_eq!(get(&world.url("/free/ok"), &[]).status, 200);
    assert_eq!((world.origin.runs("/paid/"), signed(&world).len()), (runs, sent));
    until("it says so", || world.gate.log().contains("gas costs more than facilitator.fees"));
    next_base_fee(&world, 1);
    world.chain.mine().unwrap();
    until("it is served again", || buy().status == 200);
    in_order(&world);
}

/// A first chain_tx that could cost more than a payment may is not sent, and its call is not run.
#[test]
fn a_payment_that_could_cost_too_much_is_not_taken() {
    // 220,000 gas at no more than 5 gwei.
    let facilitator = "signer: { env: PONTAGE_SIGNER_KEY }, fees: { max_per_payment_gwei: 1100000 }".to_owned();
    let world = World::with(ChainOptions::default(), &GateOptions { facilitator, ..GateOptions::direct() });
    let buy = || world.payer.buy(&world.url("/paid/ok"));
    assert_eq!(buy().status, 200);
    next_base_fee(&world, 6);
    world.chain.mine().unwrap();
    until("nothing paid is served", || refused(&buy()));
    let runs = world.origin.runs("/paid/");
    unavailable(&buy());
    assert_eq!(world.origin.runs("/paid/"), runs);
    next_base_fee(&world, 2);
    world.chain.mine().unwrap();
    until("it is served again", || buy().status == 200);
    in_order(&world);
}

/// Gas for a few payments more is warned of, gas for none stops paid calls before they are run, and new gas brings them back. What was
/// on the tab meanwhile is settled then.
#[test]
fn gas_that_is_almost_empty() {
    let options = GateOptions {
        on_tab: true,
        more: format!("{}\nadmin: {{ listen: \"127.0.0.1:0\" }}", GateOptions::uncapped().more),
        facilitator: "signer: { env: PONTAGE_SIGNER_KEY }, gas: { alarm_payments: 100 }".to_owned(),
        ..GateOptions::default()
    };
    let world = World::with(ChainOptions::default(), &options);
    let buy = || world.payer.buy(&world.url("/paid/ok"));
    assert_eq!(buy().status, 200);
    world.rest();
    until("the gas is in the books", || signed(&world)[0].fate.is_some());
    let receipt = world.chain.rpc("eth_getTransactionReceipt", json!([signed(&world)[0].hash])).unwrap();
    let number = |name: &str| u128::from_str_radix(&receipt[name].as_str().unwrap()[2..], 16).unwrap();
    let cost = number("gasUsed") * number("effectiveGasPrice");
    // A transfer must find 200,000 gas at twice the base fee: that is for some ten payments.
    world.chain.set_native_balance(SETTLER.address, 20 * cost).unwrap();
    until("it is warned of", || world.gate.log().contains("will soon be out of gas"));
    assert_eq!(metric(&world, "pontage_gas_runway_payments"), "20");
    assert_eq!(metric(&world, "pontage_gas_wei"), (20 * cost).to_string());
    assert_eq!(buy().status, 200, "there is enough for this one");

    world.chain.set_native_balance(SETTLER.address, cost).unwrap();
    until("nothing paid is served", || refused(&buy()));
    let runs = world.origin.runs("/paid/");
    unavailable(&buy());
    assert_eq!((world.origin.runs("/paid/"), metric(&world, "pontage_gas_runway_payments").as_str()), (runs, "1"));

    world.chain.set_native_balance(SETTLER.address, 1_000_000_000_000_000_000).unwrap();
    until("it is served again", || buy().status == 200);
    until("everything on the tab is settled", || world.books().unfinished() == 0);
    assert_eq!(world.paid(), PRICE * world.origin.runs("/paid/ok") as u128, "what was served is paid");
    in_order(&world);
}

/// What a metric of the settlement key is.
fn metric(world: &World, name: &str) -> String {
    let log = world.gate.log();
    let line = log.lines().find(|line| line.contains("the admin listener")).expect("it says where it listens");
    let line: Value = serde_json::from_str(line).expect("a line of JSON");
    let admin = line["address"].as_str().expect("an address");
    let page = get(&format!("http://{admin}/metrics"), &[]).text();
    let line =
        page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("{page}")).to_owned();
    assert!(line.to_ascii_lowercase().contains(&SETTLER.address.to_ascii_lowercase()), "{line}");
    line.rsplit(' ').next().unwrap().to_owned()
}
