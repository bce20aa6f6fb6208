//! Payments that were posted are looked at again until their block is final.

use super::*;

/// A payment of ours that is posted in block 104, as the chain has it.
fn posted(rail: Rail) -> World {
    let world = World::new();
    PAID_BY_US(&world);
    world.mined.set(6);
    let ours = hold(0);
    let settled = Settled {
        chain_tx: OURS,
        block: 104,
        block_hash: HERE,
        amount: ours.authorization.amount(),
        payer: ours.authorization.key.payer,
    };
    let bids = vec![Bid { chain_tx: OURS, signer: lane_key().address(), sequence: 5, members: 1 }];
    world.put_hold(Hold { rail, ..ours }, State::Posted(settled), AnswerState::Delivered, bids);
    world
}

/// A reorg replaces block 104 and what is above it; our chain_tx waits again.
fn reorg(world: &World) {
    world.hashes.borrow_mut().extend((104..=106).map(|number| (number, ELSEWHERE)));
    world.receipts.borrow_mut().clear();
    world.used.borrow_mut().clear();
    world.balance.set(AMOUNT);
    world.mined.set(5);
}

fn moved_to(world: &World, block: u64) {
    world.pay(OURS, block, lane_key().address());
    world.mined.set(6);
}

#[test]
fn a_reorg_unsettles_and_what_comes_back_is_settled_once() {
    for rail in [Rail::Direct, Rail::Tab] {
        let world = posted(rail);
        let engine = engine(&world);
        let pass = || now(engine.reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
        pass();
        assert_eq!((state_word(&world.record(0)), kinds(&world)), ("posted c1, Delivered".to_owned(), String::new()));
        reorg(&world);
        pass();
        assert_eq!(
            (state_word(&world.record(0)), kinds(&world)),
            ("submitted, Delivered".to_owned(), "unsettled".into())
        );
        assert_eq!(world.record(0).reorgs, 1, "once, however often it is looked at");
        pass();
        moved_to(&world, 105);
        pass();
        let record = world.record(0);
        assert_eq!((state_word(&record), kinds(&world)), ("posted c1, Delivered".into(), "unsettled resettled".into()));
        let State::Posted(settled) = record.state else { panic!("{record:?}") };
        assert_eq!((settled.block, settled.block_hash), (105, ELSEWHERE));
    }
}

#[test]
fn the_same_chain_tx_in_another_block_is_no_news_but_for_the_block() {
    let world = posted(Rail::Direct);
    reorg(&world);
    moved_to(&world, 106);
    reconcile(&world).unwrap();
    let record = world.record(0);
    assert!(matches!(record.state, State::Posted(settled) if settled.block == 106 && settled.block_hash == ELSEWHERE));
    assert_eq!((record.reorgs, kinds(&world)), (0, String::new()));
}

#[test]
fn what_cannot_come_back_is_lost_on_either_rail() {
    let emptied: Event = |world| {
        world.balance.set(0);
        world.revert(OURS);
        world.mined.set(6);
    };
    let cancelled: Event = |world| {
        world.cancel();
        world.revert(OURS);
        world.mined.set(6);
    };
    for rail in [Rail::Direct, Rail::Tab] {
        for event in [emptied, cancelled] {
            let world = posted(rail);
            reorg(&world);
            world.latest.set(105);
            reconcile(&world).unwrap();
            event(&world);
            reconcile(&world).unwrap();
            assert_eq!(state_word(&world.record(0)), "lost Reorged, Delivered");
            assert_eq!(kinds(&world), "unsettled", "it stays in loss");
        }
    }
}

#[test]
fn what_a_node_does_not_know_is_no_reorg() {
    let forgotten: Event = |world| world.receipts.borrow_mut().clear();
    let behind: Event = |world| {
        reorg(world);
        world.latest.set(103);
    };
    let without_block: Event = |world| {
        reorg(world);
        world.latest.set(105);
        // The newest block, the final one; then it does not have the block that was posted in.
        world.fail_after("block", 2);
    };
    let without_receipts: Event = |world| {
        reorg(world);
        world.fail_after("receipt", 0);
    };
    let without_state: Event = |world| {
        reorg(world);
        world.fail_after("calls", 0);
    };
    // One of its parts has heard of the reorg, and another has not.
    let in_two_minds: Event = |world| world.hashes.borrow_mut().extend([(104, ELSEWHERE)]);
    let used_by_nobody_knows_whom: Event = |world| {
        reorg(world);
        world.used.borrow_mut().insert(nonce(0));
    };
    for event in
        [forgotten, behind, without_block, without_receipts, without_state, in_two_minds, used_by_nobody_knows_whom]
    {
        let world = posted(Rail::Direct);
        event(&world);
        reconcile(&world).unwrap();
        assert_eq!(state_word(&world.record(0)), "posted c1, Delivered", "{}", world.said());
        assert!(!world.record(0).is_final && kinds(&world).is_empty(), "{}", world.said());
    }
}

/// Another chain_tx has it now: that is posted, and the money is booked as gone and come.
#[test]
fn the_payer_lands_it_on_the_new_branch() {
    let world = posted(Rail::Direct);
    reorg(&world);
    PAID_BY_PAYER(&world);
    reconcile(&world).unwrap();
    reconcile(&world).unwrap();
    assert_eq!(
        (state_word(&world.record(0)).as_str(), kinds(&world).as_str()),
        ("posted c2, Delivered", "unsettled resettled")
    );
}

/// The block that was read at admission went with the reorg: a use beneath its height may be later than the claim all the same.
#[test]
fn a_use_beneath_a_block_that_is_gone_counts() {
    for (gone, want) in [(true, "posted c2, Live"), (false, "submitted, Live")] {
        let world = World::new();
        world.put(0, SUBMITTED, AnswerState::Live, &[5]);
        world.mined.set(6);
        world.pay(THEIRS, SEEN - 1, payer());
        if gone {
            world.hashes.borrow_mut().insert(SEEN, ELSEWHERE);
        }
        reconcile(&world).unwrap();
        assert_eq!(state_word(&world.record(0)), want, "{}", world.said());
    }
}

#[test]
fn one_block_is_read_for_all_until_it_is_final() {
    let world = posted(Rail::Direct);
    let engine = engine(&world);
    let pass = || {
        now(engine.reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
        world.said()
    };
    world.latest.set(110);
    assert!(pass().contains("unfinal, block latest, block 98, block 104, unfinished"));
    // A later payment: its block is new, and the highest of those that are known stands for the others.
    let other = hold(1);
    let settled = Settled {
        chain_tx: THEIRS,
        block: 107,
        block_hash: HERE,
        amount: other.authorization.amount(),
        payer: other.authorization.key.payer,
    };
    world.put_hold(other, State::Posted(settled), AnswerState::Delivered, Vec::new());
    assert!(pass().contains("unfinal, block latest, block 98, block 107, block 104, unfinished"));
    assert!(pass().contains("unfinal, block latest, block 98, block 107, unfinished"));
    world.latest.set(116);
    assert!(pass().contains("block 107, block 104, finalize 1, unfinished"), "the last word is read by itself");
    assert_eq!((world.record(0).is_final, world.record(1).is_final), (true, false));
    world.latest.set(119);
    assert!(pass().contains("finalize 1"));
    assert!(!pass().contains("unfinal"), "nothing is left to look at");
}

/// The gas of a chain_tx that a reorg took out is given back; in another block it may cost something else.
#[test]
fn gas_follows_its_chain_tx() {
    let world = World::new();
    world.unmined.borrow_mut().push((5, OURS));
    world.mined.set(6);
    PAID_BY_US(&world);
    reconcile(&world).unwrap();
    assert_eq!(world.gas.borrow()[0].block, BlockRef { number: 104, hash: HERE });
    reorg(&world);
    reconcile(&world).unwrap();
    assert!(world.gas.borrow().is_empty());
    moved_to(&world, 105);
    reconcile(&world).unwrap();
    assert_eq!(world.gas.borrow()[0].block, BlockRef { number: 105, hash: ELSEWHERE });
}

#[test]
fn confirmations_are_waited_for() {
    let deep =
        |world: &World| Engine { finality: Finality { confirmations: 3, ..Finality::default() }, ..engine(world) };
    // In time, and not in time.
    for (at_ms, want) in [(2_000, "settled c1 in 104"), (20_000, "unknown c1")] {
        let world = World::new();
        world.on_submit.set(PAID_BY_US);
        world.at_ms.set((at_ms, |world| world.latest.set(106)));
        assert_eq!(settlement_word(&now(deep(&world).settle(&hold(0)))), want);
    }
    // As many blocks on another branch do not make it deeper.
    let world = World::new();
    world.on_submit.set(|world| {
        PAID_BY_US(world);
        world.latest.set(106);
        world.hashes.borrow_mut().extend((104..=106).map(|number| (number, ELSEWHERE)));
    });
    assert_eq!(settlement_word(&now(deep(&world).settle(&hold(0)))), "unknown c1");
    // The reconciler waits as well, and so does a payment that its payer landed.
    for (event, word) in [(PAID_BY_US, "posted c1, Kept"), (PAID_BY_PAYER, "posted c2, Kept")] {
        let world = World::new();
        world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
        event(&world);
        for latest in [104, 105] {
            world.latest.set(latest);
            now(deep(&world).reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
            assert_eq!(state_word(&world.record(0)), "submitted, Kept", "{latest}");
        }
        world.latest.set(106);
        now(deep(&world).reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
        assert_eq!(state_word(&world.record(0)), word);
    }
}

/// A block that a node calls safe is final where the newest block stands on it.
#[test]
fn what_is_safe_on_another_branch_is_not_final() {
    let time_s = VALID_BEFORE_S + 1;
    for (safe, want) in [
        (Some((92, HERE)), "released Expired, Kept"),
        (Some((LATEST, HERE)), "released Expired, Kept"),
        (Some((92, ELSEWHERE)), "submitted, Kept"),
        (Some((LATEST, ELSEWHERE)), "submitted, Kept"),
        (Some((LATEST + 1, HERE)), "submitted, Kept"),
        (None, "submitted, Kept"),
    ] {
        let world = World::new();
        world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
        world.mined.set(5);
        world.safe.set(safe.map(|(number, hash)| Block { number, hash, time_s }));
        let finality = Finality { last: FinalAt::Safe, ..Finality::default() };
        now(Engine { finality, ..engine(&world) }.reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
        assert_eq!(state_word(&world.record(0)), want, "{safe:?}: {}", world.said());
    }
}
