//! The chain and its node: no Multicall3, and nobody there when the tab is due.

use xtask::chain::MULTICALL3;

use super::*;

/// A chain that has no Multicall3, behind a wire that can be cut.
pub(crate) fn bare(options: &GateOptions) -> (World, Link) {
    let chain = Chain::start(&root(), &ChainOptions::default()).unwrap();
    chain.plant_token().unwrap();
    for key in [PAYER, CHEATER] {
        chain.mint(key.address, FUNDS).unwrap();
    }
    let link = Link::to(chain.rpc_url());
    let origin = Origin::start();
    let gate = Gate::start(link.url(), &origin.url(), options);
    (World { gate, origin, chain, payer: Payer::new(PAYER) }, link)
}

#[test]
fn without_multicall_each_is_settled_by_itself() {
    let (world, _link) = bare(&tab());
    assert!(world.gate.log().contains("there is no Multicall3"), "{}", world.gate.log());
    let bad = Paying::of(&world, CHEATER);
    for _ in 0..3 {
        Paying::new(&world).served(&world);
    }
    settled(&world);
    world.chain.set_automine(false).unwrap();
    bad.served(&world);
    Paying::new(&world).served(&world);
    until("both are submitted", || world.books().holds("submitted") == 2);
    mempool::first(&world, CHEATER.address, &bad.cancel());
    world.chain.set_automine(true).unwrap();
    settled(&world);
    assert_eq!(bad.state(&world), state("lost", "gone"));
    assert_eq!((world.paid(), chain_txs(&world).len(), world.books().sequences().len()), (4 * PRICE, 4, 5));
    assert!(world.books().batches().iter().all(|(size, _)| *size == 1));
    assert_eq!(world.books().balance("loss:"), money(-1));
}

#[test]
fn a_node_that_is_away_while_the_tab_is_due_loses_nothing() {
    let (world, link) = bare(&terms("tab: { settle_age_s: 1, batch_max: 3 }"));
    world.chain.plant_multicall().unwrap();
    let mut world = world;
    // It is looked for at start.
    world.gate.stop();
    world.gate.restart();
    let payments: Vec<_> = (0..3).map(|_| Paying::new(&world)).collect();
    // The batch's simulation is held up, so that the wire breaks in the middle of it.
    link.hold("ca11bde05977b3631167028862be2a173976ca11", "\u{0}");
    for payment in &payments {
        payment.served(&world);
    }
    until("the tab is being settled", || link.held() > 0);
    link.cut();
    link.let_go("ca11bde05977b3631167028862be2a173976ca11");
    let refused = Paying::new(&world).get(&world, "/paid/ok");
    assert_eq!((refused.status, refused.money().as_str()), (503, "untouched"), "{}", refused.text());
    assert_eq!((world.books().holds("answered"), world.paid()), (3, 0));
    assert_eq!(told(&payments[0].status(&world)), words("held", "held"));
    link.mend();
    settled(&world);
    assert_eq!(
        (world.paid(), world.chain.transfers_to(PAYEE).unwrap().len(), chain_txs(&world).len()),
        (3 * PRICE, 3, 1)
    );
}

#[test]
fn a_node_that_is_away_when_the_batch_is_sent_loses_nothing() {
    let (world, link) = bare(&tab());
    let payments = [Paying::new(&world), Paying::new(&world)];
    link.hold("eth_sendRawTransaction", "\u{0}");
    for payment in &payments {
        payment.served(&world);
    }
    until("a chain_tx is on its way", || link.held() > 0);
    link.cut();
    link.let_go("eth_sendRawTransaction");
    until("it is in the journal", || world.books().holds("submitted") > 0);
    assert_eq!(world.paid(), 0);
    link.mend();
    settled(&world);
    assert_eq!((world.paid(), world.chain.transfers_to(PAYEE).unwrap().len()), (2 * PRICE, 2));
}

/// The chain stood still for us until nothing that was signed is valid any more.
#[test]
fn what_is_still_on_the_tab_when_it_expires_is_a_loss() {
    let (mut world, link) = bare(&by(3));
    let payments = [Paying::new(&world), Paying::of(&world, CHEATER)];
    for payment in &payments {
        payment.served(&world);
    }
    world.gate.kill();
    outlive(&world);
    world.gate.rewrite("settle_age_s: 600", "settle_age_s: 1");
    world.gate.restart();
    settled(&world);
    for payment in &payments {
        assert_eq!(payment.state(&world), state("lost", "expired"));
        assert_eq!(told(&payment.status(&world)), words("failed", "untouched"));
    }
    assert_eq!((world.paid(), world.books().balance("loss:")), (0, money(-2)));
    drop(link);
}

/// Its simulation fails as a whole, which says nothing of its members.
#[test]
fn a_multicall_that_stops_working_is_done_without() {
    let world = World::with(ChainOptions::default(), &by(3));
    world.chain.plant(MULTICALL3, mempool::REVERTS).unwrap();
    for _ in 0..3 {
        Paying::new(&world).served(&world);
    }
    settled(&world);
    assert_eq!((world.paid(), chain_txs(&world).len(), world.books().balance("loss:")), (3 * PRICE, 3, 0));
}

/// Nobody takes our chain_txs, until nothing in them is valid any more.
#[test]
fn what_was_submitted_and_never_mined_is_a_loss_when_it_is_final() {
    let world = World::with(ChainOptions { mining: false, ..ChainOptions::default() }, &by(2));
    let payments = [Paying::new(&world), Paying::new(&world)];
    for payment in &payments {
        payment.served(&world);
    }
    until("both are submitted", || world.books().holds("submitted") == 2);
    world.chain.set_native_balance(SETTLER.address, 0).unwrap();
    world.chain.increase_time(4_000).unwrap();
    world.chain.mine().unwrap();
    assert_eq!(world.books().holds("submitted"), 2, "expired, but not final");
    for _ in 0..13 {
        world.chain.mine().unwrap();
    }
    until("both have ended", || world.books().unfinished() == 0);
    for payment in &payments {
        assert_eq!(payment.state(&world), state("lost", "expired"));
        conflict(&payment.get(&world, "/paid/ok"), "payment_failed", "untouched");
    }
    settled(&world);
    assert_eq!((world.paid(), world.books().balance("loss:")), (0, money(-2)));
}

/// Nothing paid is served that nobody could settle, and what is on the tab waits for the gas.
#[test]
fn a_key_without_gas_serves_nothing_until_it_is_funded() {
    let world = World::with(ChainOptions::default(), &tab());
    let held = Paying::new(&world);
    world.chain.set_native_balance(SETTLER.address, 0).unwrap();
    let refused = || {
        let answer = Paying::new(&world).get(&world, "/paid/ok?refused");
        (answer.status, answer.error(), answer.money())
    };
    let no = (503, "settlement_unavailable".to_owned(), "untouched".to_owned());
    until("the gate knows it", || refused() == no);
    let answer = held.get(&world, "/paid/ok?held");
    assert_eq!((answer.status, answer.error()), (503, "settlement_unavailable".to_owned()));
    assert_eq!(world.origin.runs("/paid/ok?held"), 0);
    assert!(world.gate.log().contains("the settlement key cannot pay for gas"));
    world.chain.set_native_balance(SETTLER.address, 1_000_000_000_000_000_000).unwrap();
    until("the gate knows it", || held.get(&world, "/paid/ok?held").status == 200);
    settled(&world);
}

/// The stop does not wait for the node, and says that something is left.
#[test]
fn a_stop_without_a_node_says_what_is_left() {
    let (mut world, link) = bare(&by(3));
    let payments = [Paying::new(&world), Paying::new(&world)];
    for payment in &payments {
        payment.served(&world);
    }
    link.cut();
    assert!(world.gate.stop().success());
    assert_eq!(world.books().holds("answered"), 2);
    link.mend();
    world.gate.restart();
    // Nothing has made them due yet; the next stop does.
    assert!(world.gate.stop().success());
    world.gate.restart();
    settled(&world);
    assert_eq!(world.paid(), 2 * PRICE);
    let log = world.gate.log();
    assert!(log.contains("stopped with payments on the tab"), "{log}");
}
