//! Refunds on a real file.

use super::*;
use ::ledger::{Refund, RefundId, RefundProblem, RefundRefusal, RefundState, RefundStep, Signed};
use facilitator::engine::RefundJournal;

const CAP: RefundStep = RefundStep::Admit { cap_micros: 15 };

/// A posted payment whose block is final.
async fn posted(j: &Journalled, id: u8) -> Hold {
    let hold = hold(id, id);
    assert!(won(&j.reserve(hold.clone(), 1_000).await));
    for step in [Step::Submit(B256::repeat_byte(8)), Step::Post(settled(&hold, 9))] {
        j.handle.advance(hold.id, step).await.unwrap();
    }
    let Settled { block, block_hash, .. } = settled(&hold, 9);
    j.handle.finalize(NETWORK, vec![BlockRef { number: block, hash: block_hash }]).await.unwrap();
    hold
}

fn refund(hold: &Hold, amount: Option<u128>, left: u128) -> Refund {
    let authorization = &hold.authorization;
    let amount_atomic = amount.unwrap_or(left);
    Refund {
        id: RefundId::derive(hold.id, amount, ""),
        payment: hold.id,
        asset: authorization.key.asset,
        to: authorization.key.payer,
        amount_atomic,
        micros: u64::try_from(amount_atomic).unwrap(),
        own_due: true,
        signed: Some(Signed { wallet: Payer(Address::repeat_byte(6)), signature: authorization.signature }),
        seen: BlockRef { number: 20, hash: B256::repeat_byte(20) },
        at_ms: 1_000_000,
        day: None,
        state: RefundState::Due,
        problem: None,
    }
}

/// Credits less debits of an account, by the beginning of its name.
fn balance(j: &Journalled, account: &str) -> i128 {
    let sum = "SELECT side, amount FROM lines WHERE account LIKE ?1 || '%'";
    let signed = |row: &rusqlite::Row<'_>| {
        let amount = i128::try_from(u128::from_be_bytes(rows::fixed(row, 1)?)).unwrap();
        Ok(if row.get::<_, String>(0)? == "credit" { amount } else { -amount })
    };
    let sums = j.handle.read(|db| db.prepare(sum)?.query_map([account], signed)?.collect::<rusqlite::Result<Vec<_>>>());
    sums.unwrap().iter().sum()
}

#[tokio::test]
async fn a_refund_is_taken_once_and_reads_back_as_it_was_written() {
    let j = journal();
    let hold = posted(&j, 1).await;
    let part = refund(&hold, Some(4), 0);
    // Many at once: one is written, and all read that one.
    let asked = (0..8).map(|_| j.handle.request_refund(part));
    for asked in futures(asked).await {
        assert_eq!(asked.unwrap(), Ok(part));
    }
    assert_eq!(j.handle.refunds_of(hold.id).unwrap(), [part]);
    let rest = refund(&hold, None, 7);
    assert_eq!(j.handle.request_refund(rest).await.unwrap(), Err(RefundRefusal::TooMuch { left_atomic: 6 }));
    let rest = refund(&hold, None, 6);
    assert_eq!(j.handle.request_refund(rest).await.unwrap(), Ok(rest));
    assert_eq!((balance(&j, "refund_due:"), balance(&j, "revenue:")), (10, 0));
    // Each state, from the file.
    let (hash, id) = (B256::repeat_byte(0x21), part.id);
    let stop = RefundStep::Stop(RefundProblem::WalletEmpty);
    for step in [stop, CAP, RefundStep::Submit(hash), RefundStep::Settle { chain_tx: hash, block: 30 }] {
        let after = j.handle.advance_refund(id, step).await.unwrap().unwrap();
        assert_eq!(j.handle.refund(id).await.unwrap().unwrap().0, after, "{step:?}");
        assert_eq!(Ledger::open(&j.store.path).unwrap().refunds().unwrap(), [after, rest], "{step:?}");
    }
    assert_eq!((balance(&j, "refund_due:"), balance(&j, "external:")), (6, -6));
    assert_eq!(j.handle.open_refunds(NETWORK, 31).await.unwrap(), [rest.id]);
    assert_eq!(j.handle.open_refunds(NETWORK, 30).await.unwrap(), [id, rest.id], "a reorg may take it back");
}

#[tokio::test]
async fn a_lane_signs_for_what_the_cap_lets_out() {
    let j = journal();
    let (one, two) = (refund(&posted(&j, 1).await, None, 10), refund(&posted(&j, 2).await, None, 10));
    for refund in [one, two] {
        j.handle.request_refund(refund).await.unwrap().unwrap();
    }
    let chain_tx = |hash: u8, sequence, id: RefundId| ChainTx { holds: vec![id.hold()], ..tx(hash, sequence, &[]) };
    let early = j.handle.submit(vec![chain_tx(1, 0, one.id)]).await.unwrap();
    assert_eq!(early, Err(Rejected(vec![one.id.hold()])));
    let day = |refund: Option<Refund>| refund.unwrap().day;
    assert_eq!(day(j.handle.advance_refund(one.id, CAP).await.unwrap()), Some(0));
    let capped = j.handle.advance_refund(two.id, CAP).await.unwrap().unwrap();
    assert_eq!((capped.day, capped.problem), (None, Some(RefundProblem::DailyCap)));
    assert_eq!(j.handle.submit(vec![chain_tx(1, 0, one.id)]).await.unwrap(), Ok(()));
    // A further bid at the same sequence is for the same refund, and for no other.
    assert_eq!(j.handle.submit(vec![chain_tx(2, 0, one.id)]).await.unwrap(), Ok(()));
    assert!(j.handle.submit(vec![chain_tx(3, 0, two.id)]).await.unwrap().is_err());
    let (refund, bids) = j.handle.refund(one.id).await.unwrap().unwrap();
    assert_eq!((refund.state, bids.len()), (RefundState::Submitted(B256::repeat_byte(2)), 2));
    let outstanding = j.handle.chain_txs_from(NETWORK, SIGNER, 0).await.unwrap();
    assert_eq!(outstanding, [chain_tx(2, 0, one.id)], "what is sent again at the next start");
}

#[tokio::test]
async fn what_a_refund_has_booked_is_not_owed_twice() {
    let j = journal();
    let hold = posted(&j, 1).await;
    j.handle.request_refund(refund(&hold, Some(4), 0)).await.unwrap().unwrap();
    assert_eq!(balance(&j, "refund_due:"), 4);
    assert!(j.handle.owed_back().unwrap().is_empty());
    // The answer is lost afterwards: all of it is owed, and no more.
    j.handle.advance(hold.id, Step::LoseAnswer).await.unwrap();
    assert_eq!((balance(&j, "refund_due:"), balance(&j, "revenue:")), (10, 0));
    assert_eq!(j.handle.owed_back().unwrap(), [hold.id]);
    j.handle.request_refund(refund(&hold, None, 6)).await.unwrap().unwrap();
    assert_eq!(balance(&j, "refund_due:"), 10);
    assert!(j.handle.owed_back().unwrap().is_empty());
}

#[tokio::test]
async fn a_transaction_by_hand_pays_as_often_as_it_does() {
    let j = journal();
    let mut ids = Vec::new();
    for id in 1..=3 {
        let refund = Refund { signed: None, ..refund(&posted(&j, id).await, None, 10) };
        ids.push(j.handle.request_refund(refund).await.unwrap().unwrap().id);
    }
    assert_eq!(j.handle.awaited_refunds().unwrap(), ids);
    let paid = async |id| j.handle.paid_by_hand(id, (B256::repeat_byte(0x31), 40), 2).await.unwrap().is_some();
    assert!(paid(ids[0]).await && paid(ids[1]).await && !paid(ids[2]).await);
    assert_eq!(j.handle.awaited_refunds().unwrap(), ids[2..]);
    assert_eq!(balance(&j, "refund_due:"), 10);
}

/// Runs all at once.
pub(super) async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
