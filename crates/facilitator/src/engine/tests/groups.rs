//! Several holds in one chain_tx.

use alloy_primitives::{b256, hex};

use super::lane::{RAW_7, answer_words, lane_at};
use super::*;
use crate::engine::token::MULTICALL3;

fn holds(numbers: &[u8]) -> Vec<Hold> {
    numbers.iter().map(|number| hold(*number)).collect()
}

fn groups(numbers: &[&[u8]]) -> Vec<Vec<Hold>> {
    numbers.iter().map(|group| holds(group)).collect()
}

/// The members of every chain_tx in the journal, with its sequence.
fn journalled(world: &World) -> String {
    let one = |tx: &ChainTx| {
        let members: Vec<_> = tx.holds.iter().map(|hold| hold.0[0].to_string()).collect();
        format!("{}: {}", tx.sequence, members.join("+"))
    };
    world.chain_txs.borrow().iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Gas limit and address, as they stand beside each other in the signed bytes.
fn goes(raw: &[u8], gas_max: u32, to: Address) -> bool {
    let needle = [&[0x83], &gas_max.to_be_bytes()[1..], &[0x94], to.as_slice()].concat();
    raw.windows(needle.len()).any(|window| window == needle)
}

/// Sequence and how many members; the hash that viem computes (tests/batch_tx.mjs).
#[test]
fn hashes_of_viem() {
    for (sequence, members, want) in [
        (7, 2, b256!("121cf03042ef1a0c0266c0af52dcb83c67058ca06f19c11f575503c8c2af5773")),
        (0, 3, b256!("15266177a28f65a26cb9f518162366c643ec2d25aa98b5ce15b16d3adfcb3935")),
        (255, 20, b256!("67c6c3733b960efbff5bfec7ff76fab30b741fed00103a65e499199bce8c4686")),
    ] {
        let world = World::new();
        let group: Vec<_> = (0..members).map(hold).collect();
        let answers = now(lane_at(&world, sequence).submit(std::slice::from_ref(&group)));
        assert_eq!(answers, [Ok(want)], "{sequence} {members}");
        let chain_txs = world.chain_txs.borrow();
        let gas_max = 200_000 + 120_000 * u32::from(members);
        assert!(goes(&chain_txs[0].raw, gas_max, MULTICALL3), "{members}: what was said to viem");
        assert_eq!(chain_txs[0].holds, group.iter().map(|hold| hold.id).collect::<Vec<_>>());
    }
}

/// Groups, which holds have ended; the answers, what is journalled, the calls.
type Row<'a> = (&'a [&'a [u8]], &'a [u8], String, &'a str, &'a str);

#[test]
fn what_is_journalled_and_sent() {
    let held = "settlement_unavailable (money: held)";
    let rows: &[Row<'_>] = &[
        (&[], &[], String::new(), "", "fees, journal "),
        (&[&[0]], &[], "0 sent".to_owned(), "7: 0", "fees, journal 7, send 1"),
        (&[&[0, 1, 2]], &[], "0 sent".to_owned(), "7: 0+1+2", "fees, journal 7, send 1"),
        (
            &[&[0, 1], &[2], &[3, 4]],
            &[],
            "0 sent, 1 sent, 2 sent".to_owned(),
            "7: 0+1, 8: 2, 9: 3+4",
            "fees, journal 7+8+9, send 3",
        ),
        // A member that has ended is left out, and its group goes without it.
        (
            &[&[0, 1, 2], &[3]],
            &[1],
            "0 sent, 1 sent".to_owned(),
            "7: 0+2, 8: 3",
            "fees, journal 7+8, journal 7+8, send 2",
        ),
        (&[&[0, 1], &[2]], &[0, 1], format!("0 {held}, 1 sent"), "7: 2", "fees, journal 7+8, journal 7, send 1"),
        (
            &[&[0], &[1, 2], &[3, 4]],
            &[0, 3],
            format!("0 {held}, 1 sent, 2 sent"),
            "7: 1+2, 8: 4",
            "fees, journal 7+8+9, journal 7+8, send 2",
        ),
        (&[&[0, 1], &[2]], &[0, 1, 2], format!("0 {held}, 1 {held}"), "", "fees, journal 7+8, journal "),
        // A group of nobody has nothing to send.
        (&[&[], &[0]], &[], format!("0 {held}, 1 sent"), "7: 0", "fees, journal 7, send 1"),
    ];
    for (numbers, ended, want, chain_txs, calls) in rows {
        let world = World::new();
        let mut lane = lane_at(&world, 7);
        world.unwatched.borrow_mut().extend(ended.iter().map(|number| hold(*number).id));
        let answers = now(lane.submit(&groups(numbers)));
        assert_eq!(answer_words(&answers), *want, "{numbers:?} {ended:?}");
        assert_eq!(journalled(&world), *chain_txs, "{numbers:?} {ended:?}");
        assert_eq!(world.said(), *calls, "{numbers:?} {ended:?}");
        let hashes: Vec<_> = world.chain_txs.borrow().iter().map(|tx| tx.hash).collect();
        assert_eq!(answers.into_iter().flatten().collect::<Vec<_>>(), hashes, "in the order of the groups");
        let raw: Vec<_> = world.chain_txs.borrow().iter().map(|tx| tx.raw.clone()).collect();
        assert_eq!(world.sent.borrow().concat(), raw, "what is sent is what was kept");
    }
}

/// The last member of a group goes as if it had been alone from the start: Multicall3 is not asked to carry one.
#[test]
fn one_that_is_left_is_a_plain_transfer() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    world.unwatched.borrow_mut().extend([hold(1).id, hold(2).id]);
    now(lane.submit(&groups(&[&[1, 0, 2]])));
    assert_eq!(world.sent.borrow().concat(), [Bytes::from(RAW_7)]);
    assert!(goes(&RAW_7, 200_000, token()));
}

#[test]
fn a_fault_answers_every_group() {
    for (failing, want) in [
        ("", "0 sent, 1 sent"),
        ("fees", "0 sent, 1 sent"),
        ("send", "0 sent, 1 sent"),
        ("journal", "0 journal_unavailable (money: held), 1 journal_unavailable (money: held)"),
    ] {
        let world = World::new();
        let mut lane = lane_at(&world, 7);
        if !failing.is_empty() {
            world.fail_after(failing, 0);
        }
        assert_eq!(answer_words(&now(lane.submit(&groups(&[&[0, 1], &[2]])))), want, "{failing}");
    }
}

/// A bid for a batch is the same call at the same sequence, with the same gas limit, for the same holds.
#[test]
fn a_batch_that_is_stuck_is_outbid_as_a_batch() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    now(lane.submit(&groups(&[&[0, 1, 2]])));
    for _ in 0..4 {
        now(lane.rebroadcast()).unwrap();
    }
    let chain_txs = world.chain_txs.borrow();
    let [first, bid] = chain_txs.as_slice() else { panic!("{chain_txs:?}") };
    assert_eq!((&bid.holds, bid.sequence, bid.signer), (&first.holds, first.sequence, first.signer));
    assert_ne!(bid.hash, first.hash);
    for tx in [first, bid] {
        assert!(goes(&tx.raw, 560_000, MULTICALL3));
    }
    // aggregate3 and all that follows up to the signature.
    let call = |raw: &[u8]| {
        let at = raw.windows(4).position(|window| window == hex!("82ad56cb")).unwrap();
        raw[at..at + 1_000].to_vec()
    };
    assert_eq!(call(&bid.raw), call(&first.raw));
    assert_eq!(world.sent.borrow().last().unwrap(), std::slice::from_ref(&bid.raw));
}

#[test]
fn a_batch_consumes_one_sequence() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    now(lane.submit(&groups(&[&[0, 1, 2]])));
    now(lane.submit(&groups(&[&[3]])));
    now(lane.submit(&groups(&[&[4, 5], &[6, 7]])));
    assert_eq!(journalled(&world), "7: 0+1+2, 8: 3, 9: 4+5, 10: 6+7");
}
