//! Nodes that say what is not so, where two must say the same.

use super::*;

/// The receipt of a payment's transfer that never happened.
fn forged(payment: &Paying) -> Value {
    let word = |address: alloy_primitives::Address| json!(address.into_word());
    let event = |name: &str| json!(alloy_primitives::keccak256(name));
    let (from, to, nonce) = (payment.fields.from, payment.fields.to, payment.fields.nonce);
    let used = json!([event("AuthorizationUsed(address,bytes32)"), word(from), nonce]);
    let moved = json!([event("Transfer(address,address,uint256)"), word(from), word(to)]);
    let log = |topics: Value, data: String| json!({"address": USDC, "topics": topics, "data": data});
    json!({
        "status": "0x1", "from": SETTLER.address, "gasUsed": "0x5208", "effectiveGasPrice": "0x1",
        "logs": [log(used, "0x".to_owned()), log(moved, format!("0x{PRICE:064x}"))],
    })
}

/// Never a 402: nobody knows.
fn pending(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (503, "settlement_pending"), "{}", answer.text());
    assert_eq!(answer.money(), "unknown");
    assert!(!answer.headers.contains_key("payment-required"));
}

/// The chain has not mined it, and one of two nodes says that it has, with a Transfer.
#[test]
fn a_forged_receipt_is_not_believed_of_one_node_alone() {
    let chain = chain(ChainOptions { mining: false, ..ChainOptions::default() });
    chain.mine().unwrap();
    let (bent, url) = (Bent::before(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[bent.url(), &url], two_agree());
    let payment = Paying::new(&world);
    bent.be(Way::Forging(forged(&payment)));
    pending(&payment.get(&world));
    assert_eq!((world.books().holds("submitted"), world.books().holds("posted"), world.paid()), (1, 0, 0));
    assert!(figure(&world, "pontage_rpc_disagreements_total", 0) > 0);
    assert!(world.gate.log().contains("chain nodes do not agree"), "{}", world.gate.log());

    // Mined, and told otherwise by the one: it stays unknown until both say the same.
    world.chain.set_automine(true).unwrap();
    world.chain.mine().unwrap();
    until("the money has moved", || world.paid() == PRICE);
    world.chain.mine().unwrap();
    let before = figure(&world, "pontage_rpc_disagreements_total", 0);
    until("it was looked at again", || figure(&world, "pontage_rpc_disagreements_total", 0) > before + 1);
    assert_eq!((world.books().holds("submitted"), world.books().holds("posted")), (1, 0));
    bent.be(Way::Straight);
    until("it is posted", || world.books().holds("posted") == 1);
    world.agree();
    keeps_secrets(&world, &[bent.url(), &url]);
}

#[test]
fn a_receipt_that_one_of_two_nodes_denies_stays_unknown() {
    let chain = chain(ChainOptions::default());
    let (bent, url) = (Bent::before(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[&url, bent.url()], two_agree());
    served(&world, &Paying::new(&world).get(&world));
    bent.be(Way::Blind);
    let payment = Paying::new(&world);
    pending(&payment.get(&world));
    assert_eq!((world.books().holds("submitted"), world.paid()), (1, 2 * PRICE));
    assert!(figure(&world, "pontage_rpc_disagreements_total", 1) > 0);
    bent.be(Way::Straight);
    until("it is posted", || world.books().holds("posted") == 2);
    world.agree();
    assert_eq!(world.paid(), 2 * PRICE);
}

/// On the tab the answers are given out already: nothing is booked, and nothing given up.
#[test]
fn a_batch_that_one_of_two_nodes_denies_stays_submitted() {
    let chain = chain(ChainOptions::default());
    let (bent, url) = (Bent::before(chain.rpc_url()), chain.rpc_url().to_owned());
    let world = world(chain, &[bent.url(), &url], GateOptions { on_tab: true, ..two_agree() });
    bent.be(Way::Blind);
    for _ in 0..2 {
        assert_eq!(Paying::new(&world).get(&world).status, 200);
    }
    until("the money has moved", || world.paid() == 2 * PRICE);
    let seen = figure(&world, "pontage_rpc_disagreements_total", 0);
    until("it was looked at again", || figure(&world, "pontage_rpc_disagreements_total", 0) > seen + 1);
    assert_eq!((world.books().holds("submitted"), world.books().holds("posted")), (2, 0));
    bent.be(Way::Straight);
    until("it is posted", || world.books().holds("posted") == 2);
    assert_eq!((world.books().unbalanced(), world.books().balance("loss:"), world.paid()), (0, 0, 2 * PRICE));
}

#[test]
fn the_third_node_decides() {
    let chain = chain(ChainOptions::default());
    let (bent, url) = (Bent::before(chain.rpc_url()), chain.rpc_url().to_owned());
    let third = Link::to(&url);
    let world = world(chain, &[bent.url(), &url, third.url()], two_agree());
    let payment = Paying::new(&world);
    bent.be(Way::Forging(forged(&payment)));
    served(&world, &payment.get(&world));
    bent.be(Way::Blind);
    served(&world, &Paying::new(&world).get(&world));
    bent.be(Way::Unused);
    served(&world, &Paying::new(&world).get(&world));
    until("it was found out", || figure(&world, "pontage_rpc_disagreements_total", 0) > 0);
    assert_eq!(figure(&world, "pontage_rpc_disagreements_total", 1), 0);
    // Without the third nobody decides.
    third.cut();
    let used = Paying::new(&world);
    world.chain.send_as(PAYER.address, USDC, &land(&world.payer, &used.offer, &used.fields)).unwrap();
    chain_unavailable(&used.get(&world));
    bent.be(Way::Straight);
    let answer = used.get(&world);
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (402, Some("invalid_exact_evm_nonce_already_used")),
        "{}",
        answer.text()
    );
    assert_eq!((world.paid(), world.books().unfinished()), (4 * PRICE, 0));
}
