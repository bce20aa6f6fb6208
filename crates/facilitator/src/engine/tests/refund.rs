//! Money that is given back: one look at a refund, in every state of it and of the chain.

use ledger::{Refund, RefundId, RefundState, RefundStep, Signed, Today, advance_refund};
use protocol::Payer;

use super::*;

const CAP: u64 = 1_000_000;
const BLOCK: u64 = 104;

/// One refund, from the payer's wallet to the payee.
struct Books {
    refund: RefCell<Refund>,
    bids: Vec<RefundBid>,
}

impl RefundJournal for Books {
    async fn open_refunds(&self, _: Network, young_block: u64) -> Result<Vec<RefundId>, Fault> {
        let refund = *self.refund.borrow();
        let is_open = match refund.state {
            RefundState::Refunded { block, .. } => block >= young_block,
            RefundState::Due | RefundState::Submitted(_) => true,
        };
        Ok(is_open.then_some(refund.id).into_iter().collect())
    }

    async fn refund(&self, id: RefundId) -> Result<Option<(Refund, Vec<RefundBid>)>, Fault> {
        let refund = *self.refund.borrow();
        Ok((refund.id == id).then(|| (refund, self.bids.clone())))
    }

    async fn advance_refund(&self, id: RefundId, step: RefundStep) -> Result<Option<Refund>, Fault> {
        let refund = *self.refund.borrow();
        assert_eq!(refund.id, id);
        if let Some(change) = advance_refund(&refund, step, Today { day: 3, spent_micros: 0 }).unwrap() {
            *self.refund.borrow_mut() = change.refund;
        }
        Ok(Some(*self.refund.borrow()))
    }
}

fn id() -> RefundId {
    RefundId::derive(hold(0).id, None, "")
}

fn books(state: RefundState, sequences: &[u64]) -> Books {
    let hold = hold(0);
    let bid = |sequence: &u64| RefundBid { signer: lane_key().address(), sequence: *sequence };
    let refund = Refund {
        id: id(),
        payment: hold.id,
        asset: hold.authorization.key.asset,
        to: Payer(PAYEE),
        amount_atomic: AMOUNT,
        micros: MICROS,
        own_due: true,
        signed: Some(Signed { wallet: Payer(payer()), signature: hold.authorization.signature }),
        seen: hold.seen,
        at_ms: 1,
        day: (state != RefundState::Due).then_some(2),
        state,
        problem: None,
    };
    Books { refund: RefCell::new(refund), bids: sequences.iter().map(bid).collect() }
}

const DUE: RefundState = RefundState::Due;
const SENT: RefundState = RefundState::Submitted(OURS);
const GIVEN: RefundState = RefundState::Refunded { chain_tx: OURS, block: BLOCK };

fn land(world: &World, chain_tx: B256, from: Address) {
    world.mine(chain_tx, BLOCK, from, &[used(id().nonce()), transfer(AMOUNT)]);
}

const BY_US: Event = |world| land(world, OURS, lane_key().address());
const BY_STRANGER: Event = |world| land(world, THEIRS, STRANGER);
const CANCELLED_BY_WALLET: Event = |world| {
    world.mine(THEIRS, BLOCK, payer(), &[(token(), vec![CANCELED, payer().into_word(), id().nonce()], Bytes::new())]);
};
const EMPTY: Event = |world| world.balance.set(AMOUNT - 1);
const REFUSES: Event = |world| world.token_refuses.set(true);
const NEXT_BLOCK: Event = |world| world.latest.set(BLOCK);
/// What our sequences up to 7 were used for is in blocks, and none of it moved the money.
const OVER: Event = |world| world.mined.set(8);
const OVER_AND_EMPTY: Event = |world| {
    OVER(world);
    EMPTY(world);
};

/// The refund in a few words, and how often something was sent for it.
fn seen(books: &Books, world: &World) -> String {
    let refund = books.refund.borrow();
    let state = match refund.state {
        RefundState::Due => "due".to_owned(),
        RefundState::Submitted(_) => "submitted".to_owned(),
        RefundState::Refunded { chain_tx, block } => format!("refunded {:x} in {block}", chain_tx[0]),
    };
    let problem = refund.problem.map(|problem| format!(", {}", problem.code())).unwrap_or_default();
    format!("{state}{problem}; sent {}", world.batches.borrow().len())
}

#[test]
fn what_one_look_comes_to() {
    for (state, sequences, event, cap, want) in [
        (DUE, &[][..], NOTHING, CAP, "due; sent 1"),
        (DUE, &[], NOTHING, MICROS - 1, "due, daily_cap; sent 0"),
        (DUE, &[], EMPTY, CAP, "due, wallet_empty; sent 0"),
        (DUE, &[], REFUSES, CAP, "due, token_refuses; sent 0"),
        (DUE, &[], BY_STRANGER, CAP, "refunded c2 in 104; sent 0"),
        (DUE, &[], CANCELLED_BY_WALLET, CAP, "due, token_refuses; sent 0"),
        (SENT, &[7], NOTHING, CAP, "submitted; sent 0"),
        (SENT, &[7], EMPTY, CAP, "submitted; sent 0"),
        (SENT, &[7], BY_US, CAP, "refunded c1 in 104; sent 0"),
        (SENT, &[7], BY_STRANGER, CAP, "refunded c2 in 104; sent 0"),
        (SENT, &[7], OVER, CAP, "submitted; sent 1"),
        (SENT, &[7, 8], OVER, CAP, "submitted; sent 0"),
        (SENT, &[7], OVER_AND_EMPTY, CAP, "due, wallet_empty; sent 0"),
        (SENT, &[7], OVER, 0, "submitted; sent 1"),
        (GIVEN, &[7], BY_US, CAP, "refunded c1 in 104; sent 0"),
        // The node lags, or a reorg took it back.
        (GIVEN, &[7], NOTHING, CAP, "refunded c1 in 104; sent 0"),
        (GIVEN, &[7], NEXT_BLOCK, CAP, "submitted; sent 0"),
    ] {
        let (world, books) = (World::new(), books(state, sequences));
        event(&world);
        now(engine(&world).pay_refund(&books, id(), cap)).unwrap();
        assert_eq!(seen(&books, &world), want, "{state:?} {sequences:?}");
    }
}

#[test]
fn a_node_that_does_not_answer_changes_nothing() {
    for (state, event) in [(DUE, NOTHING), (DUE, EMPTY), (SENT, OVER), (SENT, BY_US), (GIVEN, NEXT_BLOCK)] {
        for (method, times) in [("block", 0), ("calls", 0), ("calls", 1), ("logs", 0), ("receipt", 0), ("sequence", 0)]
        {
            let (world, silent) = (World::new(), books(state, &[7]));
            event(&world);
            world.fail_after(method, times);
            let before = seen(&silent, &world);
            now(engine(&world).pay_refund(&silent, id(), CAP)).unwrap();
            let (answers, heard) = (World::new(), books(state, &[7]));
            event(&answers);
            now(engine(&answers).pay_refund(&heard, id(), CAP)).unwrap();
            let after = seen(&silent, &world);
            // Either it was not needed, or nothing came of the look.
            assert!(after == before || after == seen(&heard, &answers), "{state:?} {method} {times}: {after}");
            let needed = answers.calls.borrow().iter().filter(|call| call.contains(method)).count() > times;
            assert!(!needed || after == before, "{state:?} {method} {times}: {after}");
        }
    }
}

#[test]
fn two_looks_at_once_send_once() {
    let (world, books) = (World::new(), books(DUE, &[]));
    let engine = engine(&world);
    let stay = engine.live.enter(id().hold()).unwrap();
    now(engine.pay_refund(&books, id(), CAP)).unwrap();
    assert_eq!(seen(&books, &world), "due; sent 0");
    drop(stay);
    now(engine.pay_refund(&books, id(), CAP)).unwrap();
    assert_eq!(seen(&books, &world), "due; sent 1");
}

#[test]
fn only_what_changes_is_told() {
    let (world, books) = (World::new(), books(SENT, &[7]));
    let mind = || now(engine(&world).mind_refunds(&books, Network::BASE_SEPOLIA, CAP)).unwrap();
    assert!(mind().is_empty());
    BY_US(&world);
    assert_eq!(mind().len(), 1);
    assert!(mind().is_empty(), "it is young, and where it was");
    world.latest.set(BLOCK + 13);
    world.said();
    assert!(mind().is_empty());
    assert_eq!(world.said(), "block latest, block 105", "what is final is not looked at again");
}

#[test]
fn what_is_paid_by_hand_is_never_sent() {
    let (world, books) = (World::new(), books(DUE, &[]));
    books.refund.borrow_mut().signed = None;
    now(engine(&world).pay_refund(&books, id(), CAP)).unwrap();
    assert_eq!(seen(&books, &world), "due; sent 0");
    for (to, amount, block, want) in [
        (PAYEE, AMOUNT, BLOCK, Some((BLOCK, 2))),
        (PAYEE, AMOUNT - 1, BLOCK, None),
        (STRANGER, AMOUNT, BLOCK, None),
        (PAYEE, AMOUNT, SEEN, None),
    ] {
        let world = World::new();
        world.mine(THEIRS, block, STRANGER, &[transfer_to(to, amount), transfer_to(to, amount)]);
        let refund = *books.refund.borrow();
        assert_eq!(now(paid_by_hand(&world, &refund, THEIRS)).unwrap(), want);
        assert_eq!(now(paid_by_hand(&world, &refund, OURS)).unwrap(), None);
    }
}

#[test]
fn what_is_not_on_the_chain_is_not_given_back() {
    let world = World::new();
    PAID_BY_US(&world);
    let posted = |chain_tx| {
        let hold = hold(0);
        let (amount, payer) = (hold.authorization.amount(), hold.authorization.key.payer);
        let settled = Settled { chain_tx, block: 104, block_hash: B256::ZERO, amount, payer };
        Record { state: State::Posted(settled), ..Record::new(hold) }
    };
    assert!(now(is_on_chain(&world, &posted(OURS))).unwrap());
    assert!(!now(is_on_chain(&world, &posted(THEIRS))).unwrap());
    let late = Record { state: State::Burnt(BurnReason::Unanswered), late: true, ..Record::new(hold(0)) };
    assert!(now(is_on_chain(&world, &late)).unwrap(), "it was booked by a final block");
}
