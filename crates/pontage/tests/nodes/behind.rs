//! Nodes that do not know yet what has happened.

use super::*;

fn height(world: &World) -> u64 {
    let number = world.chain.rpc("eth_blockNumber", json!([])).unwrap();
    u64::from_str_radix(number.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn a_node_that_lags_is_not_read_from_until_it_has_caught_up() {
    let chain = chain(ChainOptions::default());
    let (bent, url) = (Bent::before(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[bent.url(), &url], GateOptions::direct());
    served(&world, &Paying::new(&world).get(&world));
    let (used, good) = (Paying::new(&world), Paying::new(&world));
    bent.be(Way::Behind(height(&world)));

    // What it has not seen: an authorization that its payer has used, four blocks ago.
    world.chain.send_as(PAYER.address, USDC, &land(&world.payer, &used.offer, &used.fields)).unwrap();
    for _ in 0..4 {
        world.chain.mine().unwrap();
    }
    until("it is known to lag", || figure(&world, "pontage_rpc_lag_blocks", 0) > 3);
    let answer = used.get(&world);
    assert_eq!((answer.status, world.origin.runs("/paid/ok")), (402, 1), "{}", answer.text());
    served(&world, &good.get(&world));
    assert_eq!(world.paid(), 3 * PRICE);

    bent.be(Way::Straight);
    until("it has caught up", || figure(&world, "pontage_rpc_lag_blocks", 0) == 0);
    served(&world, &Paying::new(&world).get(&world));
    assert_eq!((figure(&world, "pontage_rpc_up", 0), world.books().unfinished()), (1, 0));
    keeps_secrets(&world, &[bent.url(), &url]);
}

/// Within what is let pass it is read from; what it has not seen yet is no answer all the same.
#[test]
fn nothing_there_is_not_the_last_word_of_a_node_that_is_a_little_behind() {
    let chain = chain(ChainOptions::default());
    let (bent, url) = (Bent::before(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[bent.url(), &url], GateOptions::direct());
    for _ in 0..3 {
        let payment = Paying::new(&world);
        bent.be(Way::Behind(height(&world)));
        served(&world, &payment.get(&world));
        bent.be(Way::Straight);
    }
    world.agree();
    assert_eq!(world.paid(), 3 * PRICE);
}

#[test]
fn a_receipt_that_one_node_withholds_is_found_at_another() {
    let chain = chain(ChainOptions::default());
    let (bent, url) = (Bent::before(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[bent.url(), &url], GateOptions::default());
    bent.be(Way::Blind);
    for _ in 0..3 {
        served(&world, &Paying::new(&world).get(&world));
    }
    world.agree();
    assert_eq!(world.paid(), 3 * PRICE);
}
