//! What the reconciler makes of the receipts of batches, of the tab, and of the gas.

use super::*;

/// A chain_tx for three holds, at sequence 5.
const BATCH: Bid = Bid { chain_tx: OURS, signer: OURSELVES, sequence: 5, members: 3 };
/// A later one for one of them, at sequence 6.
const ALONE: Bid = Bid { chain_tx: B256::repeat_byte(0xc5), signer: OURSELVES, sequence: 6, members: 1 };
/// What the lane makes of a hold that is submitted once more.
const AGAIN: Result<B256, Fault> = Ok(B256::repeat_byte(0xb0));
const HELD: &str = "submitted, Delivered";

/// Holds on the tab that were submitted together.
fn together(count: u8) -> World {
    let world = World::new();
    world.balance.set(AMOUNT * u128::from(count));
    for number in 0..count {
        world.put_hold(tab_hold(number), SUBMITTED, AnswerState::Delivered, vec![BATCH]);
    }
    world.mined.set(5);
    world.submitted.set(AGAIN);
    world
}

/// The batch is in a block, and these members went through.
fn land(world: &World, numbers: &[u8]) {
    let logs: Vec<_> = numbers.iter().flat_map(|number| [used(nonce(*number)), transfer(AMOUNT)]).collect();
    world.balance.set(world.balance.get() - AMOUNT * u128::try_from(numbers.len()).unwrap());
    world.mine(OURS, 104, lane_key().address(), &logs);
    world.mined.set(6);
}

fn words(world: &World) -> String {
    world.books.borrow().iter().map(|row| state_word(&row.record)).collect::<Vec<_>>().join("; ")
}

const THREE: &str = "posted c1, Delivered; posted c1, Delivered; posted c1, Delivered";

#[test]
fn a_batch_that_landed_is_posted_by_one_receipt() {
    let world = together(3);
    land(&world, &[0, 1, 2]);
    assert_eq!(reconcile(&world), Ok(3));
    assert_eq!(words(&world), THREE);
    assert_eq!(kinds(&world), "posted posted posted");
    let said = world.said();
    assert_eq!(said.matches("receipt c1").count(), 2, "the members in a page share it: {said}");
    // Two pages of steps, each in one step of the journal.
    assert!(said.contains("advance_all 0 post c1 + 1 post c1") && said.contains("advance_all 2 post c1"), "{said}");
    assert_eq!(reconcile(&world), Ok(0));
}

/// A receipt that could not be read is asked for again, in the same pass.
#[test]
fn a_receipt_that_was_not_read_is_not_shared() {
    let world = together(3);
    land(&world, &[0, 1, 2]);
    world.fail_after("receipt", 0);
    assert_eq!(reconcile(&world), Ok(0));
    assert_eq!(world.said().matches("receipt c1").count(), 3);
    world.works.borrow_mut().clear();
    assert_eq!(reconcile(&world), Ok(3));
    assert_eq!(words(&world), THREE);
}

/// Nobody waits for what is on the tab: while its chain_tx may land, the chain is not asked who else landed it.
#[test]
fn what_is_in_flight_is_not_looked_up() {
    for event in [NOTHING, PAID_BY_PAYER, PAID_BY_STRANGER, CANCELLED] {
        let world = together(3);
        event(&world);
        assert_eq!(reconcile(&world), Ok(0));
        assert_eq!(words(&world), format!("{HELD}; {HELD}; {HELD}"));
        let said = world.said();
        assert!(!said.contains("calls") && !said.contains("logs") && !said.contains("submit"), "{said}");
        assert_eq!(said.matches("receipt").count(), 2, "once for each page: {said}");
    }
    // A direct hold's payer waits, and is told at once.
    let world = World::new();
    world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
    world.mined.set(5);
    PAID_BY_PAYER(&world);
    assert_eq!(reconcile(&world), Ok(1));
}

/// Multicall3 lets a member fail alone, and the receipt of the batch says success. What happened to hold 1; its record after one
/// pass, and how many chain_txs were sent for it.
#[test]
fn a_member_that_failed_in_a_batch_that_went_through() {
    let payer_first: Event = |world| world.mine(THEIRS, 103, payer(), &[used(nonce(1)), transfer(AMOUNT)]);
    let stranger_first: Event = |world| world.mine(THEIRS, 103, STRANGER, &[used(nonce(1)), transfer(AMOUNT)]);
    let cancelled: Event = |world| {
        let canceled = (token(), vec![CANCELED, payer().into_word(), nonce(1)], Bytes::new());
        world.mine(THEIRS, 103, payer(), &[canceled]);
    };
    let emptied: Event = |world| world.balance.set(2 * AMOUNT);
    let refused: Event = |world| world.poisoned.borrow_mut().extend([nonce(1)]);
    for (what, event, want, sent) in [
        // The others before it took its gas: alone it goes through.
        ("by gas", NOTHING, HELD, 1),
        ("the payer was faster", payer_first, "posted c2, Delivered", 0),
        ("a stranger was faster", stranger_first, HELD, 0),
        ("cancelled", cancelled, "lost Gone, Delivered", 0),
        ("emptied", emptied, "lost Emptied, Delivered", 0),
        // It may take it yet: the token was paused, or it is blocked until its validity has ended.
        ("the token refuses", refused, HELD, 0),
    ] {
        let world = together(3);
        event(&world);
        land(&world, &[0, 2]);
        reconcile(&world).unwrap();
        assert_eq!(words(&world), format!("posted c1, Delivered; {want}; posted c1, Delivered"), "{what}");
        assert_eq!(world.batches.borrow().len(), sent, "{what}");
        let posted = if want.starts_with("posted") { 3 } else { 2 };
        let entries = kinds(&world);
        assert_eq!(entries.matches("posted").count(), posted, "{what}: {entries}");
        assert_eq!(entries.contains("uncollected"), want.starts_with("lost"), "{what}: {entries}");
    }
}

/// It was submitted once more, alone, and that chain_tx lands, or not.
#[test]
fn a_member_that_was_submitted_again() {
    let land_alone: Event =
        |world| world.mine(ALONE.chain_tx, 105, lane_key().address(), &[used(nonce(0)), transfer(AMOUNT)]);
    let revert_alone: Event = |world| world.revert(ALONE.chain_tx);
    let emptied: Event = |world| world.balance.set(0);
    let land_emptied: Event = |world| {
        world.balance.set(0);
        world.mine(ALONE.chain_tx, 105, lane_key().address(), &[used(nonce(0)), transfer(AMOUNT)]);
    };
    let revert_emptied: Event = |world| {
        world.balance.set(0);
        world.revert(ALONE.chain_tx);
    };
    for (what, event, mined, want, sent) in [
        ("on its way", NOTHING, 6, HELD, 0),
        // It was tried before it was sent, and its own receipt will say what came of it.
        ("on its way, and the wallet is empty now", emptied, 6, HELD, 0),
        ("landed", land_alone, 7, "posted c5, Delivered", 0),
        ("landed, emptying the wallet", land_emptied, 7, "posted c5, Delivered", 0),
        ("refused", revert_alone, 7, "lost Failed, Delivered", 0),
        ("refused, emptied", revert_emptied, 7, "lost Emptied, Delivered", 0),
        // Its sequence went to another chain_tx of the key.
        ("dead", NOTHING, 7, HELD, 1),
    ] {
        for success in [false, true] {
            let world = World::new();
            world.put_hold(tab_hold(0), SUBMITTED, AnswerState::Delivered, vec![BATCH, ALONE]);
            world.submitted.set(AGAIN);
            if success {
                world.mine(OURS, 104, lane_key().address(), &[]);
            } else {
                world.revert(OURS);
            }
            event(&world);
            world.mined.set(mined);
            reconcile(&world).unwrap();
            assert_eq!(words(&world), want, "{what}, {success}");
            assert_eq!(world.batches.borrow().len(), sent, "{what}, {success}");
        }
    }
}

/// Two chain_txs of its own, at sequences 5 and 6. What failed ends it only when the end of the other is known as well; what landed
/// ends it at once. The records of a hold on the tab and of a direct one.
#[test]
fn what_failed_alone_waits_for_its_other_chain_tx() {
    let first = Bid { members: 1, ..BATCH };
    let revert = |chain_tx: B256| move |world: &World| world.revert(chain_tx);
    let land = |chain_tx: B256| {
        move |world: &World| world.mine(chain_tx, 106, lane_key().address(), &[used(nonce(0)), transfer(AMOUNT)])
    };
    type Happens = Box<dyn Fn(&World)>;
    let (fails, other_fails): (Happens, Happens) = (Box::new(revert(OURS)), Box::new(revert(ALONE.chain_tx)));
    let (lands, other_lands): (Happens, Happens) = (Box::new(land(OURS)), Box::new(land(ALONE.chain_tx)));
    let (lost, burnt, held) = ("lost Failed, Kept", "burnt SettlementRefused, Kept", "submitted, Kept");
    for (what, events, sequence, mined, tab, direct) in [
        ("the first failed", vec![&fails], 6, 6, held, held),
        // What has no receipt and whose sequence is over cannot land, and the block of the verdict says that it did not.
        ("the second failed", vec![&other_fails], 6, 6, lost, burnt),
        ("both failed", vec![&fails, &other_fails], 6, 7, lost, burnt),
        ("the first failed, the second landed", vec![&fails, &other_lands], 6, 7, "posted c5, Kept", "posted c5, Kept"),
        ("the first landed", vec![&lands], 6, 6, "posted c1, Kept", "posted c1, Kept"),
        ("the first landed, the second failed", vec![&lands, &other_fails], 6, 7, "posted c1, Kept", "posted c1, Kept"),
        // Bids for one sequence: only one of them can be in a block.
        ("outbid, and failed", vec![&other_fails], 5, 6, lost, burnt),
        ("the outbid one failed", vec![&fails], 5, 6, lost, burnt),
        ("the outbid one landed", vec![&lands], 5, 6, "posted c1, Kept", "posted c1, Kept"),
    ] {
        for (rail, want) in [(Rail::Tab, tab), (Rail::Direct, direct)] {
            let world = World::new();
            let bids = vec![first, Bid { sequence, ..ALONE }];
            world.put_hold(Hold { rail, ..hold(0) }, SUBMITTED, AnswerState::Kept, bids);
            world.mined.set(mined);
            events.iter().for_each(|event| event(&world));
            reconcile(&world).unwrap();
            assert_eq!(words(&world), want, "{what}, {rail:?}");
            assert!(world.batches.borrow().is_empty(), "{what}, {rail:?}: nothing new is sent");
        }
    }
}

/// A batch that went through without its member, then one alone that failed: both ends are known, in whatever order they are read.
#[test]
fn the_batch_counts_as_one_of_its_chain_txs() {
    for (alone_mined, want) in [(true, "lost Failed, Delivered"), (false, HELD)] {
        for bids in [vec![BATCH, ALONE], vec![ALONE, BATCH]] {
            let world = World::new();
            world.put_hold(tab_hold(0), SUBMITTED, AnswerState::Delivered, bids);
            if alone_mined {
                world.mine(OURS, 104, lane_key().address(), &[]);
            }
            world.revert(ALONE.chain_tx);
            world.mined.set(if alone_mined { 7 } else { 5 });
            reconcile(&world).unwrap();
            assert_eq!(words(&world), want, "{alone_mined}");
        }
    }
}

/// The whole chain_tx failed, by its gas: nobody has lost anything by it, and each is tried alone.
#[test]
fn a_batch_that_failed_is_submitted_again_one_by_one() {
    let world = together(3);
    world.revert(OURS);
    world.mined.set(6);
    assert_eq!(reconcile(&world), Ok(0));
    assert_eq!(words(&world), format!("{HELD}; {HELD}; {HELD}"));
    assert_eq!(*world.batches.borrow(), [vec![0], vec![1], vec![2]]);
    assert_eq!(kinds(&world), "");
    // While they are on their way nothing more is sent.
    world.said();
    assert_eq!(reconcile(&world), Ok(0));
    assert!(!world.said().contains("submit"));
}

/// Its block is newer than the count of the key's chain_txs that was read before: the next pass sends it again.
#[test]
fn a_batch_is_dead_only_when_the_chain_says_so() {
    let world = together(2);
    world.revert(OURS);
    assert_eq!(reconcile(&world), Ok(0));
    assert!(world.batches.borrow().is_empty());
}

/// A direct hold is alone in its chain_tx, and a failed one is the last word.
#[test]
fn a_direct_hold_that_failed_alone_is_burnt() {
    let world = World::new();
    world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
    world.mined.set(6);
    REVERTED(&world);
    reconcile(&world).unwrap();
    assert_eq!(state_word(&world.record(0)), "burnt SettlementRefused, Kept");
    assert!(world.batches.borrow().is_empty());
}

/// No receipt of ours. How many of the key's chain_txs are in blocks, what happened, how far behind its end the final block is; the
/// record after, the entries.
#[test]
fn what_was_submitted_alone_and_has_no_receipt() {
    let unlogged: Event = |world| world.pay(THEIRS, SEEN, payer());
    let empty: Event = |world| world.balance.set(0);
    for (mined, event, by, want, entries) in [
        (5, NOTHING, Some(0), HELD, ""),
        (5, PAID_BY_PAYER, Some(0), HELD, ""),
        (5, NOTHING, Some(1), "lost Expired, Delivered", "uncollected"),
        (5, empty, Some(1), "lost Expired, Delivered", "uncollected"),
        (5, PAID_BY_PAYER, Some(1), "posted c2, Delivered", "posted"),
        (5, CANCELLED, Some(1), "lost Gone, Delivered", "uncollected"),
        (5, unlogged, Some(1), "lost Gone, Delivered", "uncollected"),
        (5, PAID_BY_STRANGER, Some(1), "burnt ForeignTransfer, Delivered, late", "late"),
        // The key's sequence went to another chain_tx.
        (6, PAID_BY_PAYER, None, "posted c2, Delivered", "posted"),
        (6, CANCELLED, None, "lost Gone, Delivered", "uncollected"),
        (6, PAID_BY_STRANGER, None, HELD, ""),
        (6, unlogged, None, HELD, ""),
        (6, empty, None, "lost Emptied, Delivered", "uncollected"),
        (6, NOTHING, Some(1), "lost Expired, Delivered", "uncollected"),
    ] {
        let world = World::new();
        world.put_hold(tab_hold(0), SUBMITTED, AnswerState::Delivered, vec![Bid { members: 1, ..BATCH }]);
        world.mined.set(mined);
        event(&world);
        if let Some(by) = by {
            final_at(&world, by);
        }
        reconcile(&world).unwrap();
        assert_eq!((words(&world).as_str(), kinds(&world).as_str()), (want, entries), "{mined} {by:?}");
        assert!(world.batches.borrow().is_empty(), "{want}: nothing new is sent");
    }
}

#[test]
fn a_receipt_of_ours_alone() {
    let emptied: Event = |world| {
        world.balance.set(0);
        REVERTED(world);
    };
    let faster: Event = |world| {
        PAID_BY_PAYER(world);
        REVERTED(world);
    };
    for (event, want, entries) in [
        (PAID_BY_US, "posted c1, Delivered", "posted"),
        (REVERTED, "lost Failed, Delivered", "uncollected"),
        (emptied, "lost Emptied, Delivered", "uncollected"),
        (faster, "posted c2, Delivered", "posted"),
    ] {
        let world = World::new();
        world.put_hold(tab_hold(0), SUBMITTED, AnswerState::Delivered, vec![Bid { members: 1, ..BATCH }]);
        world.mined.set(6);
        event(&world);
        assert_eq!(reconcile(&world), Ok(1));
        assert_eq!((words(&world).as_str(), kinds(&world).as_str()), (want, entries));
    }
}

/// A run that goes on is not the reconciler's. An answer that is being given out is submitted, alone, when its payment would soon be
/// worth nothing: a caller can take it drop by drop. What it is then, and once the answer has come to its end.
#[test]
fn what_is_not_submitted_is_left_alone_until_its_end() {
    let emptied: Event = |world| world.balance.set(0);
    let refused: Event = |world| world.token_refuses.set(true);
    let (open, answered) = (State::Open, State::Answered);
    let (held, paid, gone) = ("submitted, Delivered", "posted c2, Delivered", "lost Gone, Live");
    for (state, latest_s, event, want, delivered, sent) in [
        (open, 13, NOTHING, "open, Live", "answered, Delivered", 0),
        (open, 13, PAID_BY_PAYER, "open, Live", "answered, Delivered", 0),
        (open, 13, CANCELLED, "open, Live", "answered, Delivered", 0),
        (answered, -31, NOTHING, "answered, Live", "answered, Delivered", 0),
        (answered, -31, PAID_BY_PAYER, "answered, Live", "answered, Delivered", 0),
        (answered, -31, CANCELLED, "answered, Live", "answered, Delivered", 0),
        (answered, -30, NOTHING, "submitted, Live", held, 1),
        (answered, -30, PAID_BY_PAYER, "posted c2, Live", paid, 0),
        (answered, -30, PAID_BY_STRANGER, "submitted, Live", held, 0),
        (answered, -30, CANCELLED, gone, gone, 0),
        (answered, -30, emptied, "lost Emptied, Live", "lost Emptied, Live", 0),
        (answered, -30, refused, "answered, Live", "answered, Delivered", 0),
        // Its last second.
        (answered, -1, NOTHING, "submitted, Live", held, 1),
        // It is over, and no final block says so yet.
        (answered, 12, NOTHING, "answered, Live", "answered, Delivered", 0),
        (answered, 12, CANCELLED, gone, gone, 0),
        (answered, 13, NOTHING, "lost Expired, Live", "lost Expired, Live", 0),
        (answered, 13, refused, "lost Expired, Live", "lost Expired, Live", 0),
        (answered, 13, PAID_BY_PAYER, "posted c2, Live", paid, 0),
        (answered, 13, PAID_BY_STRANGER, "submitted, Live", held, 0),
        (answered, 13, CANCELLED, gone, gone, 0),
    ] {
        let world = World::new();
        world.put_hold(tab_hold(0), state, AnswerState::Live, Vec::new());
        event(&world);
        world.genesis_s.set(VALID_BEFORE_S.checked_add_signed(latest_s).unwrap() - world.latest.get());
        assert!(reconcile(&world).is_ok());
        assert_eq!(state_word(&world.record(0)), want, "{state:?} {latest_s}");
        assert_eq!(world.batches.borrow().len(), sent, "{state:?} {latest_s} {want}");
        world.take(hold(0).id, Step::Deliver).unwrap();
        assert_eq!(state_word(&world.record(0)), delivered, "{state:?} {latest_s} {want}");
    }
}

/// A node that stops answering anywhere leaves the members as they are, or lets them end as they would have.
#[test]
fn a_fault_of_the_node_leaves_a_batch() {
    for (landed, want) in
        [(&[0, 1, 2][..], THREE), (&[], "submitted, Delivered; submitted, Delivered; submitted, Delivered")]
    {
        for method in ["block", "sequence", "receipt", "calls", "logs"] {
            for times in 0..6 {
                let world = together(3);
                if landed.is_empty() {
                    world.revert(OURS);
                    world.mined.set(6);
                } else {
                    land(&world, landed);
                }
                world.fail_after(method, times);
                reconcile(&world).unwrap();
                for number in 0..3 {
                    let got = state_word(&world.record(number));
                    assert!(got == HELD || want.starts_with(&got), "{method} after {times}: {got}");
                }
                world.works.borrow_mut().clear();
                reconcile(&world).unwrap();
                assert_eq!(words(&world), want, "{method} after {times}");
            }
        }
    }
}

/// A chain_tx of the lane that cost so much, in a block or not, with its sequence.
fn signed(world: &World, number: u8, sequence: u64, in_block: bool, fee_wei: Option<u128>) -> B256 {
    let chain_tx = B256::repeat_byte(number);
    world.unmined.borrow_mut().push((sequence, chain_tx));
    if in_block {
        world.receipt_of(chain_tx, 100 + sequence, sequence.is_multiple_of(2), lane_key().address(), Vec::new());
        world.receipts.borrow_mut().last_mut().unwrap().fee_wei = fee_wei;
    }
    chain_tx
}

#[test]
fn what_mined_chain_txs_have_cost_is_written_once() {
    let world = World::new();
    let first = signed(&world, 1, 3, true, Some(7));
    // Outbid: its twin is in a block.
    signed(&world, 2, 4, false, None);
    let second = signed(&world, 3, 4, true, Some(u128::MAX));
    // A node that does not say what it cost, and chain_txs that may still land.
    signed(&world, 4, 5, true, None);
    signed(&world, 5, 6, true, Some(9));
    signed(&world, 6, 7, false, None);
    world.mined.set(6);
    reconcile(&world).unwrap();
    let want = [(first, 103, 7), (second, 104, u128::MAX)].map(|(chain_tx, number, fee_wei)| Mined {
        chain_tx,
        block: BlockRef { number, hash: HERE },
        fee_wei,
    });
    assert_eq!(*world.gas.borrow(), want, "a failed chain_tx has cost gas as well");
    assert!(
        world.said().ends_with("watched, sequence, unmined 6, receipt 1, receipt 2, receipt 3, receipt 4, mined 2")
    );
    reconcile(&world).unwrap();
    assert_eq!(*world.gas.borrow(), want, "once");
    assert!(!world.said().contains("mined 0"), "nothing is no step of the journal");
    world.mined.set(7);
    reconcile(&world).unwrap();
    assert_eq!(world.gas.borrow().len(), 3);
}

#[test]
fn a_fault_while_gas_is_counted() {
    for (method, want) in [("unmined", Err(())), ("mined", Err(())), ("receipt", Ok(0)), ("sequence", Ok(0))] {
        let world = World::new();
        signed(&world, 1, 3, true, Some(7));
        world.mined.set(6);
        world.fail_after(method, 0);
        assert_eq!(reconcile(&world).map_err(|_| ()), want, "{method}");
        assert!(world.gas.borrow().is_empty(), "{method}");
        world.works.borrow_mut().clear();
        reconcile(&world).unwrap();
        assert_eq!(world.gas.borrow().len(), 1, "{method}");
    }
}
