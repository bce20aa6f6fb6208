//! Members of a batch that cannot be collected, spoilt between service and settlement. The healthy ones beside them are settled.

use super::*;

/// Two healthy payments and one of a cheater, who spoils it before the batch is full. The batch is settled.
fn spoilt(spoil: impl Fn(&World, &Paying)) -> (World, Paying) {
    let world = world(&by(3));
    let healthy = [Paying::new(&world), Paying::new(&world)];
    let bad = Paying::of(&world, CHEATER);
    healthy[0].served(&world);
    bad.served(&world);
    spoil(&world, &bad);
    healthy[1].served(&world);
    until("the healthy ones are settled", || healthy.iter().all(|payment| payment.state(&world) == posted()));
    assert_eq!(healthy[0].claim(&world).chain_tx, healthy[1].claim(&world).chain_tx);
    (world, bad)
}

/// Restarts the gate with an age that everything has.
fn hurry(world: &mut World) {
    world.gate.kill();
    world.gate.rewrite("settle_age_s: 600", "settle_age_s: 1");
    world.gate.restart();
}

/// What is missing is in the books as a loss, and nowhere else.
fn lost(world: &World, bad: &Paying, reason: &str) {
    until("the other has ended", || bad.state(world).0 == "lost");
    assert_eq!(bad.state(world), state("lost", reason));
    assert_eq!(told(&bad.status(world)), words("failed", "untouched"));
    settled(world);
    assert_eq!(
        (world.paid(), world.books().balance("revenue:"), world.books().balance("loss:")),
        (2 * PRICE, money(3), money(-1))
    );
    assert_eq!(chain_txs(world).len(), 1);
}

#[test]
fn a_payer_who_empties_his_wallet_is_a_loss() {
    let (world, bad) = spoilt(|world, _| {
        world.chain.send_as(CHEATER.address, USDC, &move_all(FUNDS)).unwrap();
    });
    lost(&world, &bad, "emptied");
}

#[test]
fn a_payer_who_cancels_is_a_loss() {
    let (world, bad) = spoilt(|world, bad| {
        world.chain.send_as(CHEATER.address, USDC, &bad.cancel()).unwrap();
    });
    lost(&world, &bad, "gone");
}

fn blocked() -> (World, Paying) {
    spoilt(|world, _| {
        world.chain.send_as(STRANGER.address, USDC, &block(CHEATER.address)).unwrap();
    })
}

/// The token may take it yet, as after a pause: it is not given up before its validity has ended.
#[test]
fn a_payer_who_is_blocked_is_a_loss_at_the_end() {
    let (mut world, bad) = blocked();
    assert_eq!(told(&bad.status(&world)), words("held", "held"));
    outlive(&world);
    hurry(&mut world);
    lost(&world, &bad, "expired");
}

#[test]
fn a_payer_who_is_no_longer_blocked_pays() {
    let (mut world, bad) = blocked();
    world.chain.send_as(STRANGER.address, USDC, &unblock(CHEATER.address)).unwrap();
    hurry(&mut world);
    until("it is settled", || bad.state(&world) == posted());
    settled(&world);
    assert_eq!((world.paid(), world.books().balance("loss:")), (3 * PRICE, 0));
}

#[test]
fn a_payer_who_lands_it_himself_has_paid() {
    let (world, bad) = spoilt(|world, bad| {
        world.chain.send_as(CHEATER.address, USDC, &bad.land()).unwrap();
    });
    settled(&world);
    assert_eq!(bad.state(&world), posted());
    assert_eq!(told(&bad.status(&world)), words("settled", "moved"));
    assert_eq!(
        (world.paid(), world.books().balance("revenue:"), world.books().balance("loss:")),
        (3 * PRICE, money(3), 0)
    );
    assert_eq!(chain_txs(&world).len(), 2);
}

/// It waits for a person to say whose it is, and is looked at again by its age. The process is started anew, so that the tab is old.
#[test]
fn what_a_stranger_lands_is_in_suspense_at_the_end() {
    let (mut world, bad) = spoilt(|world, bad| {
        world.chain.send_as(STRANGER.address, USDC, &bad.land()).unwrap();
    });
    assert_eq!((bad.claim(&world).reason, world.paid()), (None, 3 * PRICE));
    world.gate.kill();
    world.gate.rewrite("settle_age_s: 600", "settle_age_s: 1");
    outlive(&world);
    world.gate.restart();
    in_suspense(&world, &bad, 3);
}

/// Whose books it belongs in is for a person to say.
pub(crate) fn in_suspense(world: &World, bad: &Paying, transfers: u128) {
    until("the stranger's money is in suspense", || world.books().balance("suspense:") == money(1));
    assert_eq!(bad.state(world), state("burnt", "foreign_transfer"));
    assert_eq!(told(&bad.status(world)), words("in_suspense", "moved"));
    settled(world);
    assert_eq!((world.paid(), world.books().balance("loss:")), (transfers * PRICE, 0));
}

/// A member that stays on the tab must not make those behind it go one by one.
#[test]
fn what_a_stranger_lands_does_not_hurry_the_others() {
    let (mut world, bad) = spoilt(|world, bad| {
        world.chain.send_as(STRANGER.address, USDC, &bad.land()).unwrap();
    });
    world.gate.kill();
    world.gate.rewrite("settle_age_s: 600, batch_max: 3", "settle_age_s: 4, batch_max: 50");
    world.gate.restart();
    let before = world.books().batches().len();
    until("the old one is past its age", || {
        Paying::new(&world).served(&world);
        world.books().batches().len() > before
    });
    until("what was served is settled", || world.books().unfinished() == 1);
    // The first of them went because something had waited for four seconds: itself, or the stranger's. From then on each waits.
    waits(&world, 4_000, &bad);
}

/// Whoever is served now is not settled before his time, whatever else is on the tab.
pub(crate) fn waits(world: &World, age_ms: i64, behind: &Paying) {
    let later = Paying::new(world);
    later.served(world);
    until("a later one is settled", || later.state(world) == posted());
    let (_, waited_ms) = *world.books().batches().last().unwrap();
    assert!(waited_ms >= age_ms, "it waited for {waited_ms} ms only, behind {:?}", behind.state(world));
}

/// Several spoilt members at once, all kinds of them, and one payer with both kinds.
#[test]
fn many_spoilt_members_do_not_hurt_the_others() {
    let world = world(&by(12));
    for key in &KEYS[6..9] {
        world.chain.mint(key.address, 3 * PRICE).unwrap();
    }
    let serve = |key: &TestKey| {
        let payment = Paying::of(&world, key);
        payment.served(&world);
        payment
    };
    let healthy: Vec<_> = (0..4).map(|_| serve(PAYER)).collect();
    let (cancelled, beside) = (serve(CHEATER), serve(CHEATER));
    // Two of his three are still covered.
    let emptied: Vec<_> = (0..3).map(|_| serve(&KEYS[6])).collect();
    world.chain.send_as(KEYS[6].address, USDC, &move_all(PRICE)).unwrap();
    let (landed, blocked) = (serve(&KEYS[7]), serve(&KEYS[8]));
    world.chain.send_as(KEYS[7].address, USDC, &landed.land()).unwrap();
    world.chain.send_as(STRANGER.address, USDC, &block(KEYS[8].address)).unwrap();
    world.chain.send_as(CHEATER.address, USDC, &cancelled.cancel()).unwrap();
    let last = serve(PAYER);
    // The third of the three fails behind the other two alone, so it stays on the tab until it is looked at by its age; so does
    // what the token may take yet.
    until("all others have ended", || world.books().unfinished() == 2);
    assert_eq!(world.books().batches().len(), 1);
    let mut world = world;
    hurry(&mut world);
    until("what the token may take yet is left", || world.books().unfinished() == 1);
    outlive(&world);
    settled(&world);
    for payment in healthy.iter().chain([&beside, &last, &landed]) {
        assert_eq!(payment.state(&world), posted());
    }
    assert_eq!(cancelled.state(&world), state("lost", "gone"));
    assert_eq!(blocked.state(&world), state("lost", "expired"));
    let mut ends: Vec<_> = emptied.iter().map(|payment| payment.state(&world)).collect();
    ends.sort();
    assert_eq!(ends, [state("lost", "emptied"), posted(), posted()]);
    assert_eq!((world.paid(), world.books().balance("loss:")), (9 * PRICE, money(-3)));
    assert_eq!(chain_txs(&world).len(), 2, "one of ours, one of his own");
}

/// He was lost, and pays after all.
#[test]
fn what_was_lost_and_comes_after_all_is_no_loss() {
    let (world, bad) = spoilt(|world, _| {
        world.chain.send_as(CHEATER.address, USDC, &move_all(FUNDS)).unwrap();
    });
    lost(&world, &bad, "emptied");
    world.chain.mint(CHEATER.address, PRICE).unwrap();
    world.chain.send_as(CHEATER.address, USDC, &bad.land()).unwrap();
    outlive(&world);
    until("it is found", || world.books().balance("loss:") == 0);
    settled(&world);
    assert_eq!(
        (world.paid(), world.books().balance("revenue:"), world.books().balance("suspense:")),
        (3 * PRICE, money(3), 0)
    );
}

/// Who was lost is read on chain, and a cancelled authorization looks good there until it is cancelled. Whatever he does, and
/// however often: what one payer may cost is his cap.
#[test]
fn who_cheats_again_and_again_costs_no_more_than_his_cap() {
    let world = world(&terms("tab: { settle_age_s: 600, batch_max: 2 }\nexposure: { per_payer: \"0.02\" }"));
    for _ in 0..5 {
        let bad = Paying::of(&world, CHEATER);
        let answer = bad.get(&world, "/paid/ok");
        if answer.status == 200 && answer.receipt()["transaction"] == "" {
            world.chain.send_as(CHEATER.address, USDC, &bad.cancel()).unwrap();
            Paying::new(&world).served(&world);
        }
        until("all has ended", || world.books().unfinished() == 0);
    }
    settled(&world);
    let loss = -world.books().balance("loss:");
    assert!(loss <= money(2), "he cost {loss}");
}
