//! Members of a batch that are spoilt while its chain_tx waits for a block: the simulation has let them pass.

use xtask::chain::MULTICALL3;

use super::*;

/// Code that refuses every call.
pub(crate) const REVERTS: &str = "0x5f5ffd";

/// Sends a chain_tx with a tip that puts it before everything else, and mines both. Nothing is mined otherwise.
pub(crate) fn first(world: &World, from: &str, data: &str) {
    let fee = |gwei: u64| format!("{:#x}", gwei * 1_000_000_000);
    world.chain.rpc("anvil_impersonateAccount", json!([from])).unwrap();
    let request = json!({
        "from": from, "to": USDC, "data": data, "gas": "0x30d40",
        "maxPriorityFeePerGas": fee(200), "maxFeePerGas": fee(400),
    });
    let chain_tx = world.chain.rpc("eth_sendTransaction", json!([request])).unwrap();
    world.chain.mine().unwrap();
    assert_eq!(world.chain.succeeded(chain_tx.as_str().unwrap()).unwrap(), Some(true));
    let receipt = |hash: &Value| world.chain.rpc("eth_getTransactionReceipt", json!([hash])).unwrap();
    assert_eq!(receipt(&chain_tx)["transactionIndex"], "0x0", "it is the first of its block");
}

/// Two healthy payments and one of a cheater, in one chain_tx, before which the cheater's own is mined.
fn overtaken(from: &str, data: impl Fn(&Paying) -> String) -> (World, Paying) {
    let world = world(&by(3));
    let healthy = [Paying::new(&world), Paying::new(&world)];
    let bad = Paying::of(&world, CHEATER);
    world.chain.set_automine(false).unwrap();
    for payment in [&healthy[0], &bad, &healthy[1]] {
        payment.served(&world);
    }
    until("all are submitted", || world.books().holds("submitted") == 3);
    first(&world, from, &data(&bad));
    world.chain.set_automine(true).unwrap();
    until("the healthy ones are settled", || healthy.iter().all(|payment| payment.state(&world) == posted()));
    assert_eq!(healthy[0].claim(&world).chain_tx, healthy[1].claim(&world).chain_tx);
    (world, bad)
}

fn lost(world: &World, bad: &Paying, reason: &str) {
    until("the other has ended", || bad.state(world).0 == "lost");
    assert_eq!(bad.state(world), state("lost", reason));
    assert_eq!(told(&bad.status(world)), words("failed", "untouched"));
    settled(world);
    assert_eq!(
        (world.paid(), world.books().balance("revenue:"), world.books().balance("loss:")),
        (2 * PRICE, money(3), money(-1))
    );
}

#[test]
fn a_payer_who_cancels_while_it_waits_is_a_loss() {
    let (world, bad) = overtaken(CHEATER.address, Paying::cancel);
    lost(&world, &bad, "gone");
}

#[test]
fn a_payer_who_empties_his_wallet_while_it_waits_is_a_loss() {
    let (world, bad) = overtaken(CHEATER.address, |_| move_all(FUNDS));
    lost(&world, &bad, "emptied");
}

#[test]
fn a_payer_who_is_blocked_while_it_waits_is_a_loss_at_the_end() {
    let (world, bad) = overtaken(STRANGER.address, |_| block(CHEATER.address));
    outlive(&world);
    lost(&world, &bad, "expired");
}

#[test]
fn a_payer_who_lands_it_himself_while_it_waits_has_paid() {
    let (world, bad) = overtaken(CHEATER.address, Paying::land);
    until("the other has ended", || world.books().unfinished() == 0);
    assert_eq!((bad.state(&world), world.paid()), (posted(), 3 * PRICE));
    settled(&world);
    assert_eq!((world.books().balance("revenue:"), world.books().balance("loss:")), (money(3), 0));
    conflict(&bad.get(&world, "/paid/ok"), "already_served", "moved");
}

#[test]
fn what_a_stranger_lands_while_it_waits_is_in_suspense_at_the_end() {
    let (world, bad) = overtaken(STRANGER.address, Paying::land);
    // It paid; whether for this call is for a person to say. It is no loss, and nobody is told to pay again.
    let again = bad.get(&world, "/paid/ok");
    assert_eq!((again.status, again.error().as_str()), (409, "already_served"), "{}", again.text());
    outlive(&world);
    poison::in_suspense(&world, &bad, 3);
}

/// He fills his wallet again before it is looked at: it is tried again, alone.
#[test]
fn a_payer_who_can_pay_again_is_charged_after_all() {
    let world = world(&by(3));
    let link_free = [Paying::new(&world), Paying::new(&world)];
    let bad = Paying::of(&world, CHEATER);
    world.chain.set_automine(false).unwrap();
    for payment in [&link_free[0], &bad, &link_free[1]] {
        payment.served(&world);
    }
    until("all are submitted", || world.books().holds("submitted") == 3);
    // The process does not look while this happens.
    let mut world = world;
    world.gate.kill();
    first(&world, CHEATER.address, &move_all(FUNDS));
    world.chain.set_automine(true).unwrap();
    world.chain.mint(CHEATER.address, FUNDS).unwrap();
    world.gate.restart();
    until("all has ended", || world.books().unfinished() == 0);
    assert_eq!((bad.state(&world), world.paid()), (posted(), 3 * PRICE));
    settled(&world);
    assert_eq!((world.books().balance("revenue:"), world.books().balance("loss:")), (money(3), 0));
}

/// A batch that fails as a whole says nothing of its members: each is tried by itself.
#[test]
fn a_batch_that_fails_as_a_whole_is_settled_one_by_one() {
    let world = World::with(ChainOptions { mining: false, ..ChainOptions::default() }, &by(3));
    let payments: Vec<_> = (0..3).map(|_| Paying::new(&world)).collect();
    for payment in &payments {
        payment.served(&world);
    }
    until("all are submitted", || world.books().holds("submitted") == 3);
    world.chain.plant(MULTICALL3, REVERTS).unwrap();
    world.chain.set_automine(true).unwrap();
    settled(&world);
    assert!(payments.iter().all(|payment| payment.state(&world) == posted()));
    assert_eq!((world.paid(), chain_txs(&world).len(), world.books().balance("loss:")), (3 * PRICE, 3, 0));
}

#[test]
fn a_batch_that_the_node_forgets_is_sent_again() {
    let chain = ChainOptions { mining: false, ..ChainOptions::default() };
    let world = World::with(chain, &by(3));
    let payments: Vec<_> = (0..3).map(|_| Paying::new(&world)).collect();
    for payment in &payments {
        payment.served(&world);
    }
    until("all are submitted", || world.books().holds("submitted") == 3);
    let chain_tx = payments[0].claim(&world).chain_tx.unwrap();
    let waiting = || world.chain.rpc("txpool_status", json!([])).unwrap()["pending"] == "0x1";
    until("the node has it", waiting);
    world.chain.rpc("anvil_dropTransaction", json!([chain_tx])).unwrap();
    until("it is sent again", waiting);
    world.chain.set_automine(true).unwrap();
    settled(&world);
    assert_eq!((world.paid(), chain_txs(&world).len()), (3 * PRICE, 1));
}

/// Stuck for want of a higher bid: it is outbid as a whole, and the members are settled once.
#[test]
fn a_batch_that_is_outbid_is_settled_once() {
    let chain = ChainOptions { mining: false, ..ChainOptions::default() };
    let world = World::with(chain, &by(3));
    for _ in 0..3 {
        Paying::new(&world).served(&world);
    }
    until("it is outbid", || world.books().batches().len() == 2);
    world.chain.set_automine(true).unwrap();
    settled(&world);
    assert_eq!((world.paid(), chain_txs(&world).len(), world.books().sequences().len()), (3 * PRICE, 1, 1));
    let posted = world.books().posted_chain_txs();
    assert!(posted.iter().all(|hash| chain_txs(&world).contains(hash)), "{posted:?}");
}

/// Gas has become dearer than the batch bids, and meanwhile one of its members pays by himself.
#[test]
fn a_batch_that_bids_too_little_is_outbid_and_settles_the_rest() {
    let world = world(&by(3));
    let healthy = [Paying::new(&world), Paying::new(&world)];
    let own = Paying::of(&world, CHEATER);
    world.chain.set_automine(false).unwrap();
    for payment in [&healthy[0], &own, &healthy[1]] {
        payment.served(&world);
    }
    until("all are submitted", || world.books().holds("submitted") == 3);
    world.chain.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x174876e800"])).unwrap();
    first(&world, CHEATER.address, &own.land());
    assert_eq!(world.paid(), PRICE, "the batch is too cheap for this block");
    world.chain.set_automine(true).unwrap();
    settled(&world);
    for payment in healthy.iter().chain([&own]) {
        assert_eq!(payment.state(&world), posted());
    }
    assert_eq!((world.paid(), chain_txs(&world).len(), world.books().balance("loss:")), (3 * PRICE, 2, 0));
    assert!(world.books().batches().len() >= 2, "it was outbid");
    assert_eq!(world.books().sequences().len(), 1);
}
