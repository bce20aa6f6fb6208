//! What a reorg undoes, in the file.

use facilitator::engine::Mined;

use super::*;

const HERE: BlockRef = BlockRef { number: 9, hash: B256::repeat_byte(0x91) };
const ABOVE: BlockRef = BlockRef { number: 10, hash: B256::repeat_byte(0xa1) };
const OTHER: BlockRef = BlockRef { number: 9, hash: B256::repeat_byte(0x92) };

fn in_block(hold: &Hold, block: BlockRef) -> Step {
    Step::Post(Settled { block: block.number, block_hash: block.hash, ..settled(hold, 0) })
}

/// Two payments in one batch, posted in a block.
async fn posted() -> Journalled {
    let j = journal();
    for id in [1, 2] {
        assert!(won(&j.reserve(hold(id, id), 100).await));
    }
    j.handle.submit(vec![tx(8, 0, &[1, 2])]).await.unwrap().unwrap();
    let steps = [1, 2].map(|id| (HoldId([id; 16]), in_block(&hold(id, id), HERE)));
    j.handle.advance_all(steps.to_vec()).await.unwrap();
    j
}

async fn record(j: &Journalled, id: u8) -> ::ledger::Record {
    j.handle.payment(HoldId([id; 16])).await.unwrap().unwrap()
}

fn kinds(j: &Journalled) -> Vec<String> {
    let books = Ledger::open(&j.store.path).unwrap();
    books.entries(0).unwrap().into_iter().map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn a_block_is_known_until_it_is_final() {
    let j = posted().await;
    j.handle.advance(HoldId([2; 16]), in_block(&hold(2, 2), ABOVE)).await.unwrap();
    assert_eq!(j.handle.unfinal(NETWORK).await.unwrap(), [HERE, ABOVE]);
    let there = async |block| -> Vec<u8> {
        j.handle.posted_in(NETWORK, block).await.unwrap().iter().map(|record| record.hold.id.0[0]).collect()
    };
    assert_eq!((there(HERE).await, there(ABOVE).await, there(OTHER).await), (vec![1], vec![2], vec![]));
    j.handle.finalize(NETWORK, vec![HERE, OTHER]).await.unwrap();
    assert_eq!(j.handle.unfinal(NETWORK).await.unwrap(), [ABOVE]);
    assert_eq!((record(&j, 1).await.is_final, record(&j, 2).await.is_final), (true, false));
    // Final is final, also in the file.
    assert!(j.handle.advance(HoldId([1; 16]), Step::Unsettle(HERE.hash)).await.is_err());
    assert_eq!(kinds(&j), ["posted", "posted"]);
}

#[tokio::test]
async fn what_is_unsettled_is_unfinished_again() {
    let j = posted().await;
    let payer = hold(1, 1).authorization.key.payer;
    assert!(j.handle.standing(payer).await.unwrap().settled);
    for id in [1, 2] {
        let record = j.handle.advance(HoldId([id; 16]), Step::Unsettle(HERE.hash)).await.unwrap().unwrap();
        assert_eq!((record.state, record.reorgs), (State::Submitted(B256::repeat_byte(8)), 1));
    }
    assert!(!j.handle.standing(payer).await.unwrap().settled, "what has not come does not speak for him");
    let unfinished = j.handle.unfinished(NETWORK, None).await.unwrap();
    assert_eq!(unfinished[0].bids, [bid(8, 0, 2)], "with the bytes that are sent again");
    assert_eq!(unfinished.len(), 2);
    assert!(j.handle.unfinal(NETWORK).await.unwrap().is_empty());
    // What he owes is counted again: the balance at a later block does not show it.
    assert!(!won(&j.reserve(hold(3, 3), 3 * PRICE - 1).await));
    j.handle.advance(HoldId([1; 16]), in_block(&hold(1, 1), OTHER)).await.unwrap();
    j.handle.advance(HoldId([2; 16]), Step::Expire).await.unwrap();
    assert_eq!(record(&j, 2).await.state, State::Lost(::ledger::LossReason::Reorged));
    assert_eq!(kinds(&j), ["posted", "posted", "unsettled", "unsettled", "resettled"]);
    assert_eq!(j.handle.unfinal(NETWORK).await.unwrap(), [OTHER]);
}

/// A facilitator's word names no block, so there is none to look at.
#[tokio::test]
async fn what_is_posted_by_a_word_alone_is_not_looked_at() {
    let j = journal();
    assert!(won(&j.reserve(hold(1, 1), 100).await));
    let word = Step::Post(Settled { block: 0, block_hash: B256::ZERO, ..settled(&hold(1, 1), 0) });
    j.handle.advance(HoldId([1; 16]), word).await.unwrap();
    assert_eq!(j.handle.unfinal(NETWORK).await.unwrap(), []);
    assert_eq!(j.handle.advance(HoldId([1; 16]), word).await.unwrap().unwrap(), record(&j, 1).await);
}

#[tokio::test]
async fn gas_is_given_back_and_written_anew() {
    let j = posted().await;
    j.handle.submit(vec![tx(3, 0, &[1, 2])]).await.unwrap().unwrap();
    let mined = |hash: u8, block, fee_wei| Mined { chain_tx: B256::repeat_byte(hash), block, fee_wei };
    let sums = || {
        let balances = Ledger::open(&j.store.path).unwrap().balances().unwrap();
        let (came, went) = balances[&(Asset::native(NETWORK), format!("gas:{SIGNER}"))];
        came - went
    };
    let fates = || -> Vec<Option<Fate>> {
        Ledger::open(&j.store.path).unwrap().chain_txs().unwrap().into_iter().map(|tx| tx.fate).collect()
    };
    j.handle.mined(vec![mined(8, HERE, 5)]).await.unwrap();
    assert_eq!(j.handle.mined_in(NETWORK, HERE).await.unwrap(), [B256::repeat_byte(8)]);
    // Another block: at the same fee nothing is written, at another one the first is given back.
    j.handle.mined(vec![mined(8, OTHER, 5)]).await.unwrap();
    assert_eq!((sums(), kinds(&j).len()), (5, 3));
    j.handle.mined(vec![mined(8, ABOVE, 7)]).await.unwrap();
    assert_eq!((sums(), kinds(&j)[2..].join(" ")), (7, "gas gas_voided gas".to_owned()));
    // Taken out: nothing is known of its rival either, which may be the one that lands now.
    j.handle.unmine(vec![B256::repeat_byte(8), B256::repeat_byte(3)]).await.unwrap();
    assert_eq!((sums(), fates()), (0, vec![None, None]));
    assert_eq!(j.handle.unmined(NETWORK, SIGNER, 1).await.unwrap().len(), 2);
    j.handle.mined(vec![mined(3, ABOVE, 9)]).await.unwrap();
    assert_eq!((sums(), fates()), (9, vec![Some(Fate::Outbid), Some(Fate::Mined { block: 10, fee_wei: 9 })]));
    // One takes the other's place before that is known to be out.
    j.handle.mined(vec![mined(8, OTHER, 5)]).await.unwrap();
    assert_eq!(sums(), 9, "it is outbid");
    j.handle.unmine(vec![B256::repeat_byte(3)]).await.unwrap();
    j.handle.mined(vec![mined(8, OTHER, 5)]).await.unwrap();
    j.handle.submit(vec![tx(4, 0, &[1, 2])]).await.unwrap().unwrap();
    j.handle.mined(vec![mined(4, ABOVE, 9)]).await.unwrap();
    j.handle.unmine(vec![B256::repeat_byte(8)]).await.unwrap();
    let mined_one = Some(Fate::Mined { block: 10, fee_wei: 9 });
    assert_eq!((sums(), fates()), (9, vec![Some(Fate::Outbid), Some(Fate::Outbid), mined_one]));
    j.handle.finalize(NETWORK, vec![ABOVE, HERE]).await.unwrap();
    j.handle.unmine(vec![B256::repeat_byte(4)]).await.unwrap();
    j.handle.mined(vec![mined(4, OTHER, 1)]).await.unwrap();
    assert_eq!(sums(), 9, "final is final");
}
