//! One key, one gap-free sequence; the journal before the chain.

use std::cell::Cell;
use std::collections::BTreeMap;

use alloy_primitives::{b256, hex, keccak256};
use protocol::{SignFault, Signature};

use super::*;

/// The lane's key, which may be out of reach.
struct Signing<'a>(&'a Cell<bool>);

impl Signer for Signing<'_> {
    fn address(&self) -> Address {
        lane_key().address()
    }

    async fn sign(&self, digest: B256) -> Result<Signature, SignFault> {
        if self.0.get() { lane_key().sign_now(digest) } else { Err(SignFault) }
    }
}

impl LaneJournal for World {
    async fn submit(&self, batch: Vec<ChainTx>) -> Result<Result<(), Rejected>, Fault> {
        let sequences: Vec<_> = batch.iter().map(|tx| tx.sequence.to_string()).collect();
        self.journal("journal", format!("journal {}", sequences.join("+")))?;
        let ended = |hold: &HoldId| self.unwatched.borrow().contains(hold);
        let rejected: Vec<_> = batch.iter().flat_map(|tx| tx.holds.clone()).filter(ended).collect();
        if !rejected.is_empty() {
            return Ok(Err(Rejected(rejected)));
        }
        for tx in batch {
            let mut chain_txs = self.chain_txs.borrow_mut();
            let same = |other: &ChainTx| {
                other.sequence == tx.sequence
                    && other.holds != tx.holds
                    && !tx.holds.is_empty()
                    && !other.holds.is_empty()
            };
            assert!(!chain_txs.iter().any(same), "the store refuses a second hold for a sequence");
            chain_txs.push(tx);
        }
        Ok(Ok(()))
    }

    async fn chain_txs_from(&self, _: Network, signer: Address, sequence: u64) -> Result<Vec<ChainTx>, Fault> {
        assert_eq!(signer, lane_key().address());
        self.journal("chain_txs_from", format!("from {sequence}"))?;
        let from = |tx: &&ChainTx| tx.sequence >= sequence;
        let newest: BTreeMap<_, _> =
            self.chain_txs.borrow().iter().filter(from).map(|tx| (tx.sequence, tx.clone())).collect();
        Ok(newest.into_values().collect())
    }

    async fn valid_before_s(&self, holds: Vec<HoldId>) -> Result<Option<u64>, Fault> {
        self.journal("valid_before_s", "valid_before_s")?;
        let open = holds.iter().any(|hold| !self.unwatched.borrow().contains(hold));
        Ok(open.then_some(VALID_BEFORE_S))
    }

    async fn spent_wei(&self, holds: Vec<HoldId>) -> Result<u128, Fault> {
        self.journal("spent_wei", "spent_wei")?;
        Ok(self.spent_wei.borrow().get(&holds[0]).copied().unwrap_or_default())
    }
}

pub(super) type TestLane = Lane<World, World, Key>;

fn start(world: &World) -> Result<TestLane, Fault> {
    now(Lane::start(Network::BASE_SEPOLIA, world.clone(), world.clone(), lane_key(), FeeCaps::NONE))
}

/// A lane that starts at a sequence, with the calls of its start forgotten.
pub(super) fn lane_at(world: &World, sequence: u64) -> TestLane {
    world.mined.set(sequence);
    let lane = start(world).unwrap();
    world.said();
    lane
}

/// A chain_tx as an earlier process left it. Nobody reads its bytes but the chain.
fn left_over(world: &World, sequence: u8) -> Bytes {
    let raw = Bytes::from(vec![2, sequence]);
    let (network, signer) = (Network::BASE_SEPOLIA, lane_key().address());
    let (hash, holds) = (keccak256(&raw), vec![hold(sequence).id]);
    world.chain_txs.borrow_mut().push(ChainTx {
        network,
        signer,
        sequence: u64::from(sequence),
        hash,
        raw: raw.clone(),
        holds,
    });
    raw
}

/// The answers in their order, each with its place.
pub(super) fn answer_words(answers: &[Result<B256, Fault>]) -> String {
    let word = |(place, answer): (usize, &Result<B256, Fault>)| match answer {
        Ok(_) => format!("{place} sent"),
        Err(fault) => format!("{place} {fault}"),
    };
    answers.iter().enumerate().map(word).collect::<Vec<_>>().join(", ")
}

/// Each hold in a group of its own.
fn alone<const N: usize>(holds: [Hold; N]) -> Vec<Vec<Hold>> {
    holds.into_iter().map(|hold| vec![hold]).collect()
}

/// The chain_tx of sequence 7 with a base fee of 1 gwei and a tip of 1.5 gwei, signed by viem (tests/chain_tx.mjs).
pub(super) const RAW_7: [u8; 408] = hex!(
    "02f9019483014a34078459682f0084d09dc30083030d4094036cbd53842c5426634e7929541ec2318f3dcf7e80b90124e3ee"
    "160e000000000000000000000000f39fd6e51aad88f6f4ce6ab8827279cfffb92266000000000000000000000000209693bc"
    "6afc0c5328ba36faf03c514ef312287c00000000000000000000000000000000000000000000000000000000000027100000"
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000773594000909090909090909090909090909090909090909090909090909090909090909000000000000"
    "000000000000000000000000000000000000000000000000001cb2afdb682b9881e39c560babd67679fcc747cb0b56fece99"
    "6c92fb682d08ef21538c9b38abb2a01cb94bd8c6eee6d30608d8138435fd89af4d609d23bb1c578ac001a08b052ee5e999a3"
    "3c5f9e3bb7a81f702a81df4d84708ef9620790bafa63332ff4a049bed9f62afaafb3d9faaa53be8c4b97096db461f4bd8c79"
    "72cce1f3f13dbd73"
);

#[test]
fn the_bytes_are_those_that_viem_signs() {
    let world = World::new();
    let answers = now(lane_at(&world, 7).submit(&alone([hold(0)])));
    assert_eq!(world.sent.borrow().concat(), [Bytes::from(RAW_7)]);
    assert_eq!(answers, [Ok(keccak256(RAW_7))]);
}

/// Sequence, base fee, tip; the hash that viem computes (tests/chain_tx.mjs). 48 and 103: an s and an r that begin with a zero.
#[test]
fn hashes_of_viem() {
    for (sequence, base, tip, want) in [
        (0, 0, 0, b256!("3703b5cd22718a4f1e91099f396379b536ca74d0c6261ecec0c93a53810baf4f")),
        (1, 0, 1, b256!("16a9d048fcbfe5cb72ae484b30be197afe5f75a156695ed40cc1a3c06116eb6a")),
        (127, 7, 0, b256!("b555c6aee960ea5d8dc095f568b8fca13321fa72ba009d0b5573839b507190bb")),
        (128, 1, 127, b256!("5dca6cd26f797bd9cb611fa0423f8010b4acc853bf9df9a8c2fb4e8f26efa22a")),
        (255, 1_000_000_000, 128, b256!("39f22f222dd176bdcb85a33a1e9d46eff4299cd779b976b2fa39b3fbc4a8bd0d")),
        (256, 1_000_000_000, 1_500_000_000, b256!("7232a04a8457c0c4e48864e8451bc8edc9715d7a6a439de366dd3afc867706d4")),
        (48, 1_000_000_000, 1_500_000_000, b256!("f616d226c634a65a04d5948045ee9292249357c5a323e7ff382dace12e145ce0")),
        (103, 1_000_000_000, 1_500_000_000, b256!("2cb38858ade959cf0337f758dadc315e73d2ad4da0e16db02d799c9926a0e365")),
        (
            4_294_967_296,
            500_000_000_000,
            100_000_000_000,
            b256!("ea397b4b41800c672caaa1250ae2289dd53cbf2c64d36ba650fbf075b722e399"),
        ),
    ] {
        let call = (token(), super::super::token::transfer_data(&hold(0).authorization));
        let price = FeeCaps::NONE.price(Fees { base, tip }, 0).unwrap();
        let key = lane_key();
        let tx = ChainTx::sign(&key, Network::BASE_SEPOLIA, sequence, price, call, vec![hold(0).id]);
        assert_eq!(now(tx).unwrap().hash, want, "{sequence} {base} {tip}");
    }
}

#[test]
fn the_journal_has_it_before_the_chain() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    let answers = now(lane.submit(&alone([hold(0), hold(1), hold(2)])));
    assert_eq!(world.said(), "fees, journal 7+8+9, send 3");
    let journalled: Vec<_> = world.chain_txs.borrow().iter().map(|tx| tx.raw.clone()).collect();
    assert_eq!(world.sent.borrow().concat(), journalled, "what is sent is what was kept, in order");
    for ((number, tx), answer) in (0..).zip(world.chain_txs.borrow().iter()).zip(answers) {
        let held = vec![hold(number).id];
        assert_eq!((&tx.holds, Ok(tx.hash), tx.hash), (&held, answer, keccak256(&tx.raw)));
    }
}

/// What fails, which holds have ended; the answers, the calls, the next sequence.
#[test]
fn a_step_that_failed_consumes_no_sequence() {
    let held = "settlement_unavailable (money: held)";
    let journal = "journal_unavailable (money: held)";
    for (failing, ended, want, calls, next) in [
        ("", &[][..], "0 sent, 1 sent, 2 sent".to_owned(), "fees, journal 7+8+9, send 3", 10),
        ("fees", &[], "0 sent, 1 sent, 2 sent".to_owned(), "fees, journal 7+8+9, send 3", 10),
        ("send", &[], "0 sent, 1 sent, 2 sent".to_owned(), "fees, journal 7+8+9, send 3", 10),
        ("journal", &[], format!("0 {journal}, 1 {journal}, 2 {journal}"), "fees, journal 7+8+9", 7),
        ("", &[1], format!("0 sent, 1 {held}, 2 sent"), "fees, journal 7+8+9, journal 7+8, send 2", 9),
        ("", &[0, 2], format!("0 {held}, 1 sent, 2 {held}"), "fees, journal 7+8+9, journal 7, send 1", 8),
        ("", &[0, 1, 2], format!("0 {held}, 1 {held}, 2 {held}"), "fees, journal 7+8+9, journal ", 7),
    ] {
        let world = World::new();
        let mut lane = lane_at(&world, 7);
        world.unwatched.borrow_mut().extend(ended.iter().map(|number| hold(*number).id));
        if !failing.is_empty() {
            world.fail_after(failing, 0);
        }
        assert_eq!(answer_words(&now(lane.submit(&alone([hold(0), hold(1), hold(2)])))), want, "{failing} {ended:?}");
        assert_eq!(world.said(), calls, "{failing} {ended:?}");
        world.works.borrow_mut().clear();
        now(lane.submit(&alone([hold(9)])));
        assert_eq!(world.chain_txs.borrow().last().unwrap().sequence, next, "{failing} {ended:?}");
    }
}

/// A journal that is half broken: the second step, after a rejection, fails.
#[test]
fn a_fault_after_a_rejection_answers_everybody() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    world.unwatched.borrow_mut().insert(hold(1).id);
    world.fail_after("journal", 1);
    let want = "0 journal_unavailable (money: held), 1 journal_unavailable (money: held)";
    assert_eq!(answer_words(&now(lane.submit(&alone([hold(0), hold(1)])))), want);
    assert!(world.sent.borrow().is_empty());
}

#[test]
fn a_signer_out_of_reach_sends_nothing() {
    let (world, works) = (World::new(), Cell::new(false));
    world.mined.set(7);
    let lane = Lane::start(Network::BASE_SEPOLIA, world.clone(), world.clone(), Signing(&works), FeeCaps::NONE);
    let mut lane = now(lane).unwrap();
    world.said();
    let want = "0 settlement_unavailable (money: held), 1 settlement_unavailable (money: held)";
    assert_eq!(answer_words(&now(lane.submit(&alone([hold(0), hold(1)])))), want);
    assert_eq!(world.said(), "fees");
    works.set(true);
    assert_eq!(answer_words(&now(lane.submit(&alone([hold(0)])))), "0 sent");
    assert_eq!(world.said(), "fees, journal 7, send 1");
}

#[test]
fn a_hundred_submits_leave_no_gap() {
    let world = World::new();
    let mut lane = lane_at(&world, 1_000);
    let mut accepted = 0;
    for round in 0..100u8 {
        world.works.borrow_mut().clear();
        for (every, method) in [(3, "journal"), (4, "send"), (7, "fees")] {
            if round % every == 0 {
                world.fail_after(method, 0);
            }
        }
        let holds: Vec<_> = (0..=round % 3).map(|offset| hold(round.wrapping_mul(2) + offset)).collect();
        world.unwatched.borrow_mut().clear();
        if round % 5 == 1 {
            world.unwatched.borrow_mut().insert(holds[0].id);
        }
        let groups: Vec<_> = holds.into_iter().map(|hold| vec![hold]).collect();
        let answers = now(lane.submit(&groups));
        assert_eq!(answers.len(), groups.len(), "each group has one answer");
        accepted += answers.iter().filter(|answer| answer.is_ok()).count();
    }
    let chain_txs = world.chain_txs.borrow();
    assert!(accepted > 60 && chain_txs.len() == accepted, "{accepted}");
    assert!((1_000..).zip(chain_txs.iter()).all(|(sequence, tx)| tx.sequence == sequence));
    let raw: Vec<_> = chain_txs.iter().map(|tx| tx.raw.clone()).collect();
    assert_eq!(world.sent.borrow().concat(), raw);
}

#[test]
fn at_start_the_same_bytes_go_out_before_a_new_sequence() {
    for (mined, left, sent, calls, next) in [
        (0, &[][..], &[][..], "fees, sequence, from 0", 0),
        (5, &[3, 4], &[], "fees, sequence, from 5", 5),
        (5, &[4, 5], &[5], "fees, sequence, from 5, send 1", 6),
        (5, &[5, 6, 7], &[5, 6, 7], "fees, sequence, from 5, send 3", 8),
        (9, &[5, 6, 7], &[], "fees, sequence, from 9", 9),
    ] {
        let world = World::new();
        world.mined.set(mined);
        let raw: Vec<_> = left.iter().map(|sequence| left_over(&world, *sequence)).collect();
        let mut lane = start(&world).unwrap();
        assert_eq!(world.said(), calls, "{mined} {left:?}");
        let again: Vec<_> = raw.into_iter().filter(|raw| sent.contains(&raw[1])).collect();
        assert_eq!(world.sent.borrow().concat(), again, "{mined} {left:?}");
        now(lane.submit(&alone([hold(0)])));
        assert_eq!(world.chain_txs.borrow().last().unwrap().sequence, next, "{mined} {left:?}");
    }
}

#[test]
fn a_lane_that_cannot_look_does_not_start() {
    for (method, want) in [
        ("fees", "chain_unavailable (money: untouched)"),
        ("sequence", "chain_unavailable (money: untouched)"),
        ("chain_txs_from", "journal_unavailable (money: untouched)"),
        ("send", "chain_unavailable (money: untouched)"),
    ] {
        let world = World::new();
        left_over(&world, 5);
        world.fail_after(method, 0);
        assert_eq!(start(&world).unwrap_err().to_string(), want, "{method}");
    }
}

#[test]
fn a_rebroadcast_repeats_what_the_chain_does_not_have() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    world.fail_after("send", 0);
    now(lane.submit(&alone([hold(0), hold(1)])));
    world.works.borrow_mut().clear();
    for (mined, calls) in [(7, "sequence, from 7, send 2"), (8, "sequence, from 8, send 1"), (9, "sequence, from 9")] {
        world.mined.set(mined);
        world.said();
        now(lane.rebroadcast()).unwrap();
        assert_eq!(world.said(), calls);
    }
    let sent = world.sent.borrow();
    assert_eq!((&sent[1], sent[2][0].clone()), (&sent[0], sent[0][1].clone()), "the same bytes");
    for (method, want) in
        [("sequence", "chain_unavailable (money: held)"), ("chain_txs_from", "journal_unavailable (money: untouched)")]
    {
        world.works.borrow_mut().clear();
        world.fail_after(method, 0);
        assert_eq!(now(lane.rebroadcast()).unwrap_err().to_string(), want, "{method}");
    }
}

/// A head that does not move is outbid at the same sequence, ever more rarely, in the journal first; what follows it is not.
#[test]
fn a_head_that_is_stuck_is_outbid() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    now(lane.submit(&alone([hold(0), hold(1)])));
    world.said();
    let mut looks_of_bids = Vec::new();
    for look in 1..100 {
        now(lane.rebroadcast()).unwrap();
        if world.said().contains("journal 7") {
            looks_of_bids.push(look);
        }
    }
    assert_eq!(looks_of_bids, [4, 11, 24, 49, 98]);
    let chain_txs = world.chain_txs.borrow();
    let bids: Vec<_> = chain_txs.iter().filter(|tx| tx.sequence == 7).collect();
    let (first, second) = (bids[0].price().unwrap(), bids[1].price().unwrap());
    assert!(bids.iter().all(|bid| bid.holds == [hold(0).id] && bid.signer == lane_key().address()));
    for (before, after) in [(first.tip, second.tip), (first.fee_max, second.fee_max)] {
        assert!(after >= before + before / 10, "a node wants a tenth more");
        assert!(after <= before + before / 4, "and no more than it takes");
    }
    assert_eq!(chain_txs.iter().filter(|tx| tx.sequence == 8).count(), 1);
}

/// The journal has it, but its answer was lost: the sequence is taken, and the bytes go out.
#[test]
fn a_step_that_was_durable_although_it_failed_keeps_its_sequence() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    let raw = left_over(&world, 7);
    now(lane.rebroadcast()).unwrap();
    now(lane.submit(&alone([hold(0)])));
    assert_eq!(world.sent.borrow()[0], [raw]);
    assert_eq!(world.chain_txs.borrow().last().unwrap().sequence, 8);
}

/// Someone else has used the key: the lane goes on behind what the chain has.
#[test]
fn a_sequence_that_the_chain_has_is_not_given_again() {
    let world = World::new();
    let mut lane = lane_at(&world, 7);
    world.mined.set(20);
    now(lane.rebroadcast()).unwrap();
    now(lane.submit(&alone([hold(0)])));
    assert_eq!(world.chain_txs.borrow().last().unwrap().sequence, 20);
    // A node that lags behind does not take it back.
    world.mined.set(3);
    now(lane.rebroadcast()).unwrap();
    now(lane.submit(&alone([hold(1)])));
    assert_eq!(world.chain_txs.borrow().last().unwrap().sequence, 21);
}
