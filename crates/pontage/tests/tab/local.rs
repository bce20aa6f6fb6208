//! `verify: local`: who has paid before is served without a look at the chain, until he fails once.

use super::*;

const LOCAL: &str = "tab: { settle_age_s: 1, batch_max: 50, verify: local }";

/// A world whose wire to the node can be cut.
fn local(more: &str) -> (World, Link) {
    let chain = Chain::start(&root(), &ChainOptions::default()).unwrap();
    chain.plant_token().unwrap();
    chain.plant_multicall().unwrap();
    for key in [PAYER, CHEATER] {
        chain.mint(key.address, FUNDS).unwrap();
    }
    let link = Link::to(chain.rpc_url());
    let origin = Origin::start();
    let gate = Gate::start(link.url(), &origin.url(), &terms(more));
    (World { gate, origin, chain, payer: Payer::new(PAYER) }, link)
}

#[test]
fn who_has_paid_before_is_not_looked_at() {
    let (world, link) = local(LOCAL);
    // The first payment of anyone is.
    link.cut();
    let first = Paying::new(&world);
    let answer = first.get(&world, "/paid/ok");
    assert_eq!((answer.status, answer.money().as_str()), (503, "untouched"), "{}", answer.text());
    link.mend();
    first.served(&world);
    until("it is settled", || first.state(&world) == posted());
    link.cut();
    Paying::new(&world).served(&world);
    let other = Paying::of(&world, CHEATER).get(&world, "/paid/ok");
    assert_eq!((other.status, other.money().as_str()), (503, "untouched"), "{}", other.text());
    link.mend();
    settled(&world);
    assert_eq!(world.paid(), 2 * PRICE);
}

#[test]
fn an_emptied_payer_is_served_once_more_and_then_read_on_chain() {
    let (world, _link) = local(&format!("{LOCAL}\nexposure: {{ per_payer: \"0.02\" }}"));
    let first = Paying::of(&world, CHEATER);
    first.served(&world);
    until("it is settled", || first.state(&world) == posted());
    world.chain.send_as(CHEATER.address, USDC, &move_all(FUNDS - PRICE)).unwrap();
    let bad = Paying::of(&world, CHEATER);
    bad.served(&world);
    until("it is lost", || bad.state(&world) == state("lost", "emptied"));
    for _ in 0..2 {
        let answer = Paying::of(&world, CHEATER).get(&world, "/paid/ok");
        assert_eq!((answer.status, answer.error().as_str()), (402, "invalid_exact_evm_insufficient_balance"));
        assert!(answer.headers.contains_key("payment-required"));
    }
    settled(&world);
    assert_eq!((world.paid(), world.books().balance("loss:"), world.origin.runs("/paid/ok")), (PRICE, money(-1), 2));
}

/// What is over the cap is settled before it is served, and the chain refuses it then.
#[test]
fn an_emptied_payer_gets_no_more_than_his_cap() {
    let more = "tab: { settle_age_s: 600, batch_max: 50, verify: local }\nexposure: { per_payer: \"0.04\" }";
    let (world, _link) = local(more);
    let first = [Paying::of(&world, CHEATER), Paying::of(&world, CHEATER)];
    for payment in &first {
        payment.served(&world);
    }
    until("they are settled", || first.iter().all(|payment| payment.state(&world) == posted()));
    world.chain.send_as(CHEATER.address, USDC, &move_all(FUNDS - 2 * PRICE)).unwrap();
    let mut callers = Vec::new();
    for at in 0..4 {
        let mut caller = Paying::of(&world, CHEATER).raw(&world, &format!("/paid/slow?{at}"), &[]);
        assert!(caller.read_until("first").ends_with("first"));
        callers.push(caller);
    }
    let answer = Paying::of(&world, CHEATER).get(&world, "/paid/ok?over");
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (402, "invalid_exact_evm_insufficient_balance"),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("served"));
    world.origin.let_go();
    for mut caller in callers {
        assert!(caller.read_all().ends_with("later"));
    }
    settled(&world);
    assert_eq!((world.paid(), world.books().balance("loss:"), world.books().holds("lost")), (2 * PRICE, money(-4), 4));
}

/// A payer who has paid before shows what he has used elsewhere. Nobody looks, so it is served.
fn used_before() -> (World, Paying) {
    let (world, _link) = local(LOCAL);
    let first = Paying::of(&world, CHEATER);
    first.served(&world);
    until("it is settled", || first.state(&world) == posted());
    let used = Paying::of(&world, CHEATER);
    world.chain.send_as(CHEATER.address, USDC, &used.land()).unwrap();
    // The newest known block is behind the use, once somebody else's payment was read.
    Paying::new(&world).served(&world);
    used.served(&world);
    until("the others are settled", || world.books().holds("posted") == 2);
    (world, used)
}

#[test]
fn an_authorization_that_was_used_before_is_a_loss() {
    let (world, used) = used_before();
    outlive(&world);
    until("it has ended", || world.books().unfinished() == 0);
    assert_eq!(used.state(&world), state("lost", "gone"));
    assert_eq!((world.books().balance("loss:"), world.books().exposed()), (money(-1), 0));
}

/// Until it ends it is not due, or everything else would be settled at once, one by one.
#[test]
fn an_authorization_that_was_used_before_does_not_hurry_the_others() {
    let (world, used) = used_before();
    // By its age it is due from now on, so the first of these may still go with it.
    let first = Paying::new(&world);
    first.served(&world);
    until("it is settled", || first.state(&world) == posted());
    for _ in 0..2 {
        poison::waits(&world, 1_000, &used);
    }
}
