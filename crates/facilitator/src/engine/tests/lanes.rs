//! Several keys, what they may bid for gas, and a head that has nothing left to move.

use super::lane::{answer_words, lane_at};
use super::*;
use crate::engine::chain_tx::members_max;

/// Another key of ours.
const OTHER: Address = Address::repeat_byte(0x77);
const GWEI: u128 = 1_000_000_000;

fn two_keys(world: &World, former: bool) -> Engine<World, World, World> {
    let signers = match former {
        true => Signers::new(vec![OURSELVES], vec![OTHER, OURSELVES]),
        false => Signers::new(vec![OURSELVES, OTHER], Vec::new()),
    };
    Engine { signers, ..engine(world) }
}

fn capped(world: &World, sequence: u64, caps: FeeCaps) -> Lane<World, World, Key> {
    world.mined.set(sequence);
    let lane = Lane::start(Network::BASE_SEPOLIA, world.clone(), world.clone(), lane_key(), caps);
    let lane = now(lane).unwrap();
    world.said();
    lane
}

/// How often the head is looked at until something is journalled.
fn looks_until_bid(world: &World, lane: &mut Lane<World, World, Key>) -> usize {
    let before = world.chain_txs.borrow().len();
    let looks = (1..20).find(|_| {
        now(lane.rebroadcast()).unwrap();
        world.chain_txs.borrow().len() > before
    });
    looks.expect("a bid")
}

/// To whom the newest chain_tx of the journal goes, how long its data is and what it is for.
fn newest(world: &World) -> (Address, usize, Vec<HoldId>, Price) {
    let chain_txs = world.chain_txs.borrow();
    let tx = chain_txs.last().unwrap();
    // The address is behind the gas limit of three bytes; the length of the data behind the value, which is nothing.
    let at = tx.raw.windows(5).position(|window| window[0] == 0x83 && window[4] == 0x94).unwrap() + 5;
    let length = if tx.raw[at + 21] == 0x80 { 0 } else { 1 };
    (Address::from_slice(&tx.raw[at..at + 20]), length, tx.holds.clone(), tx.price().unwrap())
}

/// Signer and sequence of each bid, what is mined of the other key; what becomes of it. 6 are mined of ours.
#[test]
fn a_sequence_is_used_by_its_own_key_alone() {
    for (bids, other, want) in [
        (&[(OTHER, 5)][..], 5, "submitted"),
        (&[(OTHER, 5)], 6, "again"),
        (&[(OURSELVES, 5), (OTHER, 5)], 5, "submitted"),
        (&[(OURSELVES, 6), (OTHER, 5)], 9, "submitted"),
        (&[(OURSELVES, 5), (OTHER, 5)], 6, "again"),
    ] {
        let world = World::new();
        let bid = |(at, (signer, sequence)): (usize, &(Address, u64))| Bid {
            chain_tx: B256::repeat_byte(0xd0 + u8::try_from(at).unwrap()),
            signer: *signer,
            sequence: *sequence,
            members: 1,
        };
        world.put_hold(hold(0), SUBMITTED, AnswerState::Kept, bids.iter().enumerate().map(bid).collect());
        world.mined.set(6);
        world.mined_of.borrow_mut().insert(OTHER, other);
        now(two_keys(&world, false).reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
        let again = world.said().contains("submit");
        assert_eq!(if again { "again" } else { "submitted" }, want, "{bids:?} {other}");
    }
}

/// What lands by a key that is not configured any more is ours: another chain_tx's Transfer of the same payer may lie between.
#[test]
fn a_former_key_is_one_of_ours() {
    for (former, want) in [(true, "posted c2, Kept"), (false, "burnt SettlementRefused, Kept")] {
        let world = World::new();
        world.put(0, SUBMITTED, AnswerState::Kept, &[5]);
        world.mined.set(6);
        world.mined_of.borrow_mut().insert(OTHER, 0);
        world.mine(THEIRS, 104, OTHER, &[used(nonce(0)), transfer(AMOUNT + 1), transfer(AMOUNT)]);
        let engine = if former { two_keys(&world, true) } else { engine(&world) };
        now(engine.reconcile(&world, Network::BASE_SEPOLIA)).unwrap();
        assert_eq!(state_word(&world.record(0)), want);
    }
}

/// What the two keys have; the sizes of the batches that twelve payments go in.
#[test]
fn a_batch_is_what_the_poorer_of_the_funded_keys_can_pay_for() {
    let price = FeeCaps::NONE.price(World::new().fees.get(), 0).unwrap();
    let wei_for = |members: u64| U256::from(price.fee_max) * U256::from(2 * (200_000 + 120_000 * members));
    assert_eq!(members_max(wei_for(5) / U256::from(2), price), 5);
    for (ours, others, want) in [
        (U256::MAX, U256::MAX, &[12][..]),
        (U256::MAX, wei_for(5), &[5, 5, 2]),
        (wei_for(7), wei_for(5), &[5, 5, 2]),
        // One that has run dry takes no work, and does not count.
        (wei_for(7), U256::from(1), &[7, 5]),
        (U256::from(1), wei_for(6), &[6, 6]),
    ] {
        let world = World::new();
        world.wei.set(ours);
        world.wei_of.borrow_mut().insert(OTHER, others);
        for number in 0..12 {
            world.put_hold(tab_hold(number), State::Answered, AnswerState::Delivered, Vec::new());
        }
        world.balance.set(12 * AMOUNT);
        let terms = TabTerms {
            batch_max: 50,
            settle_age_ms: 1,
            caps: Exposure { payer_micros: u64::MAX, source_micros: u64::MAX, gate_micros: u64::MAX },
            margin_ms: 0,
        };
        now(two_keys(&world, false).settle_tab(&world, Network::BASE_SEPOLIA, &terms, 10, true)).unwrap();
        let sizes: Vec<_> = world.batches.borrow().iter().map(Vec::len).collect();
        assert_eq!(sizes, want, "{ours} {others}");
    }
}

/// Base fee and tip in gwei, caps for both, what was spent and may be in all, in gwei; tip and highest fee.
#[test]
fn what_is_bid_table() {
    const NONE: u128 = u128::MAX / GWEI;
    for ((base, tip), (fee_max, tip_max), (spent, payment_max), want) in [
        ((1, 2), (NONE, NONE), (0, NONE), Some((2, 4))),
        ((10, 2), (15, NONE), (0, NONE), Some((2, 15))),
        ((10, 2), (10, NONE), (0, NONE), Some((2, 10))),
        ((10, 2), (9, NONE), (0, NONE), None),
        ((10, 200), (NONE, 3), (0, NONE), Some((3, 23))),
        ((10, 200), (50, 100), (0, NONE), Some((50, 50))),
        ((10, 2), (NONE, NONE), (0, 220_000 * 12), Some((2, 12))),
        ((10, 2), (NONE, NONE), (220_000, 220_000 * 12), Some((2, 11))),
        ((10, 2), (NONE, NONE), (220_000 * 3, 220_000 * 12), None),
        ((10, 2), (NONE, NONE), (NONE, 220_000 * 12), None),
    ] {
        let caps = [fee_max, tip_max, payment_max].map(|gwei| if gwei == NONE { u128::MAX } else { gwei * GWEI });
        let caps = FeeCaps { fee_max: caps[0], tip_max: caps[1], payment_max: caps[2] };
        let price = caps.price(Fees { base: base * GWEI, tip: tip * GWEI }, spent * GWEI);
        assert_eq!(price.map(|price| (price.tip / GWEI, price.fee_max / GWEI)), want, "{base} {tip} {caps:?} {spent}");
    }
}

#[test]
fn a_higher_bid_is_a_tenth_more_and_never_above_a_cap() {
    let fees = Fees { base: GWEI, tip: 2 * GWEI };
    for cap in 0..40 {
        let caps = FeeCaps { fee_max: cap * GWEI, tip_max: 8 * GWEI, ..FeeCaps::NONE };
        let Some(mut bid) = caps.price(fees, 0) else {
            assert_eq!(cap, 0);
            continue;
        };
        let mut bids = 0;
        while let Some(next) = caps.more(bid, fees, 0) {
            assert!(next.fee_max <= caps.fee_max && next.tip <= caps.tip_max && next.tip <= next.fee_max);
            assert!(next.fee_max * 10 >= bid.fee_max * 11 && next.tip * 10 >= bid.tip * 11, "{bid:?} {next:?}");
            (bid, bids) = (next, bids + 1);
        }
        assert!(bids <= 12 && (cap < 6 || bids > 0), "{cap}: {bids}");
    }
}

#[test]
fn while_gas_is_too_dear_nothing_is_signed_and_what_is_on_its_way_waits() {
    let world = World::new();
    let mut lane = capped(&world, 7, FeeCaps { fee_max: 4 * GWEI, ..FeeCaps::NONE });
    assert_eq!(answer_words(&now(lane.submit(&[vec![hold(0)]]))), "0 sent");
    world.fees.set(Fees { base: 5 * GWEI, tip: GWEI });
    assert_eq!(answer_words(&now(lane.submit(&[vec![hold(1)]]))), "0 settlement_unavailable (money: held)");
    assert!(lane.state().too_dear);
    for _ in 0..20 {
        now(lane.rebroadcast()).unwrap();
    }
    assert_eq!(world.chain_txs.borrow().len(), 1, "no bid above the cap");
    let raw = world.chain_txs.borrow()[0].raw.clone();
    assert!(world.sent.borrow().iter().all(|sent| *sent == [raw.clone()]), "the same bytes go out");
    world.fees.set(Fees { base: GWEI, tip: GWEI });
    assert_eq!(answer_words(&now(lane.submit(&[vec![hold(1)]]))), "0 sent");
    assert_eq!(world.chain_txs.borrow().last().unwrap().sequence, 8, "no sequence was used up");
}

/// One that has cost too much already is not sent; the others are.
#[test]
fn what_a_payment_may_cost_over_all_its_chain_txs() {
    let world = World::new();
    let mut lane = capped(&world, 7, FeeCaps { payment_max: 220_000 * 5 * GWEI, ..FeeCaps::NONE });
    world.spent_wei.borrow_mut().insert(hold(1).id, 220_000 * 4 * GWEI + 1);
    let answers = now(lane.submit(&[vec![hold(0)], vec![hold(1)], vec![hold(2)]]));
    assert_eq!(answer_words(&answers), "0 sent, 1 settlement_unavailable (money: held), 2 sent");
    // It is outbid up to what is left, and no further.
    for _ in 0..200 {
        now(lane.rebroadcast()).unwrap();
    }
    let chain_txs = world.chain_txs.borrow();
    let bids: Vec<_> = chain_txs.iter().filter(|tx| tx.sequence == 7).map(|tx| tx.price().unwrap().fee_max).collect();
    assert!(bids.len() > 1 && bids.iter().all(|fee_max| *fee_max <= 5 * GWEI), "{bids:?}");
}

/// What has happened to the holds of the head; whether it is replaced by nothing.
#[test]
fn a_head_with_nothing_left_to_move_gives_its_sequence_up() {
    for (ended, past, want) in
        [(&[][..], false, false), (&[0], false, false), (&[0, 1], false, true), (&[], true, true), (&[0], true, true)]
    {
        let world = World::new();
        let mut lane = lane_at(&world, 7);
        now(lane.submit(&[vec![hold(0), hold(1)], vec![hold(2)]]));
        let first = newest(&world).3;
        world.unwatched.borrow_mut().extend(ended.iter().map(|number| hold(*number).id));
        if past {
            world.genesis_s.set(VALID_BEFORE_S - LATEST);
        }
        // The fake journal takes no bid for holds that have ended; the real one does.
        if !want {
            world.unwatched.borrow_mut().clear();
        }
        assert_eq!(looks_until_bid(&world, &mut lane), 4, "{ended:?} {past}");
        let (to, data, holds, price) = newest(&world);
        assert_eq!((to == OURSELVES, data == 0, holds.is_empty()), (want, want, want), "{ended:?} {past}");
        let chain_txs = world.chain_txs.borrow().clone();
        let bid = chain_txs.last().unwrap();
        assert_eq!((bid.sequence, bid.signer), (7, OURSELVES));
        assert!(price.fee_max * 10 >= first.fee_max * 11 && price.tip * 10 >= first.tip * 11);
        assert_eq!(world.sent.borrow().last().unwrap(), std::slice::from_ref(&bid.raw));
        // One that is stuck as well is outbid as what it is.
        looks_until_bid(&world, &mut lane);
        assert_eq!(newest(&world).2.is_empty(), want);
    }
}

/// After a start the nothing goes out, and not what it took the place of.
#[test]
fn what_was_given_up_stays_given_up_over_a_start() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    now(lane.submit(&[vec![hold(0)], vec![hold(1)]]));
    world.unwatched.borrow_mut().insert(hold(0).id);
    looks_until_bid(&world, &mut lane);
    world.sent.borrow_mut().clear();
    lane_at(&world, 7);
    let chain_txs = world.chain_txs.borrow();
    assert_eq!(world.sent.borrow().concat(), [chain_txs[2].raw.clone(), chain_txs[1].raw.clone()]);
}

/// What the node says to everything that is sent; after how many looks the head is outbid.
#[test]
fn what_a_node_says_fails_no_payment() {
    for (says, looks) in [
        (Sent::Accepted, 4),
        (Sent::Known, 4),
        (Sent::SequenceUsed, 4),
        (Sent::NotAccepted, 4),
        // Somebody else's chain_tx is in the way, or a bid of ours that was not high enough.
        (Sent::Underpriced, 1),
    ] {
        let world = World::new();
        let mut lane = lane_at(&world, 7);
        world.says.set(says);
        assert_eq!(answer_words(&now(lane.submit(&[vec![hold(0)]]))), "0 sent", "{says:?}");
        assert_eq!(looks_until_bid(&world, &mut lane), looks, "{says:?}");
        assert_eq!(newest(&world).2, [hold(0).id]);
        assert!(lane.state().stuck);
    }
}

/// Another program has used sequences of the key: the next work goes out behind them, without waiting for the next look.
#[test]
fn a_sequence_that_was_used_is_followed_at_once() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    world.says.set(Sent::SequenceUsed);
    world.mined.set(10);
    assert_eq!(answer_words(&now(lane.submit(&[vec![hold(0)]]))), "0 sent");
    world.says.set(Sent::Accepted);
    now(lane.submit(&[vec![hold(1)]]));
    let sequences: Vec<_> = world.chain_txs.borrow().iter().map(|tx| tx.sequence).collect();
    assert_eq!(sequences, [7, 10]);
}
