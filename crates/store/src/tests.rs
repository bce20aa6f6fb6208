//! The journal's promises on a real file.

mod accounts;
mod budgets;
mod finality;
mod keys;
mod names;
mod purchases;
mod receipts;
mod refunds;
mod seals;
mod spending;
mod tab;
mod writer;

use super::*;
use ::ledger::{
    AnswerState, BlockRef, BurnReason, Exposure, Hold, HoldId, Rail, ReleaseReason, Reservation, Source, State, Step,
};
use alloy_primitives::{Address, B256};
use facilitator::engine::{Bid, BooksJournal, ChainTx, LaneJournal, Rejected};
use gate::{Answer, Journal, Until};
use protocol::{Asset, AssetAddress, Authorization, ClaimKey, Payee, Payer, Refusal, Settled, Signature};

const LIMITS: Limits = Limits { answers_max_bytes: 1_000, answers_keep_s: 60 };
const NETWORK: Network = Network::BASE_SEPOLIA;
const PRICE: u128 = 10;
const CAPS: Exposure = Exposure { payer_micros: 50, source_micros: 60, gate_micros: 70 };
/// The settlement key.
const SIGNER: Address = Address::repeat_byte(7);

fn hold(id: u8, nonce: u8) -> Hold {
    let asset = Asset { network: NETWORK, address: AssetAddress(Address::repeat_byte(3)) };
    let mut signature = [1; 65];
    signature[64] = 28;
    Hold {
        id: HoldId([id; 16]),
        authorization: Authorization {
            key: ClaimKey { asset, payer: Payer(Address::repeat_byte(1)), nonce: B256::repeat_byte(nonce) },
            payee: Payee(Address::repeat_byte(2)),
            amount_atomic: PRICE,
            valid_after_s: 1,
            valid_before_s: 1_000,
            signature: Signature::from_bytes(&signature).unwrap(),
        },
        route: "GET /paid".to_owned(),
        fingerprint: B256::repeat_byte(4),
        idempotency: Some(B256::repeat_byte(nonce)),
        seen: BlockRef { number: 5, hash: B256::repeat_byte(5) },
        opened_at_ms: 77,
        rail: Rail::Direct,
        source: Source([9; 16]),
        exposure_micros: 10,
        buys: None,
    }
}

/// The same on the tab.
fn tabbed(id: u8) -> Hold {
    Hold { rail: Rail::Tab, ..hold(id, id) }
}

/// A chain_tx of ours for these holds.
fn tx(hash: u8, sequence: u64, holds: &[u8]) -> ChainTx {
    ChainTx {
        network: NETWORK,
        signer: SIGNER,
        sequence,
        hash: B256::repeat_byte(hash),
        raw: vec![2, hash].into(),
        holds: holds.iter().map(|id| HoldId([*id; 16])).collect(),
    }
}

fn bid(hash: u8, sequence: u64, members: usize) -> Bid {
    Bid { chain_tx: B256::repeat_byte(hash), signer: SIGNER, sequence, members }
}

fn settled(hold: &Hold, block: u64) -> Settled {
    let authorization = &hold.authorization;
    let (chain_tx, block_hash) = (B256::repeat_byte(8), B256::with_last_byte(1));
    Settled { chain_tx, block, block_hash, amount: authorization.amount(), payer: authorization.key.payer }
}

struct Journalled {
    _folder: tempfile::TempDir,
    store: Store,
    handle: Handle,
}

fn journal() -> Journalled {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("pontage.db"), LIMITS, || 1_000_000).unwrap();
    let handle = store.handle().unwrap();
    Journalled { _folder: folder, store, handle }
}

impl Journalled {
    async fn reserve(&self, hold: Hold, balance_atomic: u128) -> Reservation {
        self.handle.reserve(hold, Some(balance_atomic), CAPS).await.unwrap()
    }
}

fn won(reservation: &Reservation) -> bool {
    matches!(reservation, Reservation::Won(_))
}

#[tokio::test]
async fn a_hold_reads_back_as_it_was_written_in_every_state() {
    let j = journal();
    let steps: [&[Step]; 8] = [
        &[],
        &[Step::Submit(B256::repeat_byte(8))],
        &[Step::Submit(B256::repeat_byte(8)), Step::Post(settled(&hold(1, 1), 9))],
        &[Step::Submit(::ledger::HANDED)],
        &[Step::Submit(::ledger::HANDED), Step::Submit(B256::repeat_byte(8))],
        &[Step::Release(ReleaseReason::FreeStatus)],
        &[Step::Burn(BurnReason::Unanswered)],
        &[Step::Submit(B256::repeat_byte(8)), Step::LoseAnswer, Step::Post(settled(&hold(1, 1), 9))],
    ];
    for (nonce, steps) in (1u8..).zip(steps) {
        let hold = hold(nonce, nonce);
        assert!(won(&j.reserve(hold.clone(), 1_000).await));
        let mut want = ::ledger::Record::new(hold.clone());
        for step in steps {
            want = ::ledger::advance(&want, *step).unwrap().unwrap().record;
            assert_eq!(j.handle.advance(hold.id, *step).await.unwrap(), Some(want.clone()));
        }
        assert_eq!(j.handle.recall(&hold.authorization.key).await.unwrap(), Some(want), "{steps:?}");
    }
}

#[tokio::test]
async fn of_many_claims_at_once_one_is_won() {
    let j = journal();
    let claims = (0..64u8).map(|id| {
        let handle = j.handle.clone();
        async move { handle.reserve(hold(id, 1), Some(1_000), CAPS).await.unwrap() }
    });
    let local = tokio::task::LocalSet::new();
    let wins = local
        .run_until(async {
            let tasks: Vec<_> = claims.map(tokio::task::spawn_local).collect();
            let mut wins = 0;
            for task in tasks {
                wins += usize::from(won(&task.await.unwrap()));
            }
            wins
        })
        .await;
    assert_eq!(wins, 1);
}

#[tokio::test]
async fn what_is_held_or_settled_after_the_read_counts_against_the_balance() {
    let j = journal();
    assert!(won(&j.reserve(hold(1, 1), PRICE * 2).await));
    assert!(won(&j.reserve(hold(2, 2), PRICE * 2).await));
    let refused = Reservation::Refused(Refusal::InsufficientBalance);
    assert_eq!(j.reserve(hold(3, 3), PRICE * 2).await, refused);
    // Settled in block 6, after block 5 that the balance was read at: still not in it.
    j.handle.advance(HoldId([1; 16]), Step::Post(settled(&hold(1, 1), 6))).await.unwrap();
    assert_eq!(j.reserve(hold(3, 3), PRICE * 2).await, refused);
    let mut later = hold(3, 3);
    later.seen.number = 6;
    assert!(won(&j.reserve(later, PRICE * 2).await));
}

#[tokio::test]
async fn a_released_claim_is_won_again_and_the_newest_counts() {
    let j = journal();
    assert!(won(&j.reserve(hold(1, 1), 1_000).await));
    j.handle.advance(HoldId([1; 16]), Step::Release(ReleaseReason::NotSent)).await.unwrap();
    assert!(won(&j.reserve(hold(2, 1), 1_000).await));
    let newest = j.handle.recall(&hold(1, 1).authorization.key).await.unwrap().unwrap();
    assert_eq!((newest.hold.id, newest.state), (HoldId([2; 16]), State::Open));
    assert_eq!(j.handle.watched(NETWORK, 2_000).await.unwrap(), []);
}

#[tokio::test]
async fn waiting_ends_with_the_hold_or_the_time() {
    let j = journal();
    let key = hold(1, 1).authorization.key;
    assert_eq!(j.handle.wait(&key, Until::Ended, 10).await.unwrap(), None);
    assert!(won(&j.reserve(hold(1, 1), 1_000).await));
    assert_eq!(j.handle.wait(&key, Until::Ended, 10).await.unwrap().unwrap().state, State::Open);
    let (ended, _) = tokio::join!(
        j.handle.wait(&key, Until::Ended, 60_000),
        j.handle.advance(HoldId([1; 16]), Step::Burn(BurnReason::Unanswered)),
    );
    assert!(ended.unwrap().unwrap().state.ended());
}

#[tokio::test]
async fn a_batch_is_submitted_whole_or_not_at_all() {
    let j = journal();
    j.reserve(hold(1, 1), 1_000).await;
    j.reserve(hold(2, 2), 1_000).await;
    j.handle.advance(HoldId([2; 16]), Step::Burn(BurnReason::Unanswered)).await.unwrap();
    let rejected = j.handle.submit(vec![tx(1, 0, &[1]), tx(2, 1, &[2])]).await.unwrap();
    assert_eq!(rejected, Err(Rejected(vec![HoldId([2; 16])])));
    assert_eq!(j.handle.chain_txs_from(NETWORK, SIGNER, 0).await.unwrap(), []);
    assert_eq!(j.handle.submit(vec![tx(1, 0, &[1])]).await.unwrap(), Ok(()));
    assert_eq!(j.handle.chain_txs_from(NETWORK, SIGNER, 0).await.unwrap(), [tx(1, 0, &[1])]);
    let unfinished = j.handle.unfinished(NETWORK, None).await.unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].bids, [bid(1, 0, 1)]);
    assert_eq!(j.handle.unfinished(NETWORK, Some(HoldId([1; 16]))).await.unwrap(), []);
}

fn answer(size: usize) -> Answer {
    Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), b"text/plain: x".to_vec()), ("empty".to_owned(), Vec::new())],
        body: vec![b'x'; size],
        request_digest: Some(B256::repeat_byte(1)),
    }
}

/// Which of three answers are still there.
async fn kept(j: &Journalled) -> Vec<bool> {
    let mut kept = Vec::new();
    for id in 1..=3 {
        kept.push(j.handle.answer(HoldId([id; 16])).await.unwrap().is_some());
    }
    kept
}

#[tokio::test]
async fn answers_are_kept_within_their_bounds() {
    let j = journal();
    for id in 1..=3 {
        j.reserve(hold(id, id), 1_000).await;
        j.handle.advance(HoldId([id; 16]), Step::Post(settled(&hold(id, id), 9))).await.unwrap();
        assert!(j.handle.keep_answer(HoldId([id; 16]), answer(400)).await.unwrap());
    }
    assert_eq!(kept(&j).await, [false, true, true]);
    assert_eq!(j.handle.answer(HoldId([3; 16])).await.unwrap(), Some(answer(400)));
    let record = j.handle.recall(&hold(3, 3).authorization.key).await.unwrap().unwrap();
    assert_eq!(record.answer, AnswerState::Kept);
}

#[tokio::test]
async fn an_answer_that_is_still_owed_is_never_put_out() {
    let j = journal();
    for id in 1..=3 {
        j.reserve(hold(id, id), 1_000).await;
        j.handle.advance(HoldId([id; 16]), Step::Submit(B256::repeat_byte(id))).await.unwrap();
        assert_eq!(j.handle.keep_answer(HoldId([id; 16]), answer(400)).await.unwrap(), id < 3, "{id}");
    }
    assert_eq!(kept(&j).await, [true, true, false]);
    let third = j.handle.recall(&hold(3, 3).authorization.key).await.unwrap().unwrap();
    assert_eq!(third.answer, AnswerState::Live);
    j.handle.advance(HoldId([2; 16]), Step::Post(settled(&hold(2, 2), 9))).await.unwrap();
    assert!(j.handle.keep_answer(HoldId([3; 16]), answer(400)).await.unwrap());
    assert_eq!(kept(&j).await, [true, false, true]);
}

/// The size of all answers, as it is kept beside them, and as they are.
fn sizes(j: &Journalled) -> (u64, u64) {
    let sum = |table: &str| {
        let sql = format!("SELECT coalesce(sum(bytes), 0) FROM {table}");
        Connection::open(&j.store.path).unwrap().query_row(&sql, [], |row| rows::unsigned(row, 0)).unwrap()
    };
    (sum("answers_size"), sum("answers"))
}

#[tokio::test]
async fn the_size_of_all_answers_follows_each() {
    let j = journal();
    // Two headers of 29 and 9 bytes with every body.
    let kept_size = |size: u64| size + 38;
    assert_eq!(sizes(&j), (0, 0));
    for id in 1..=3 {
        j.reserve(hold(id, id), 1_000).await;
        j.handle.advance(HoldId([id; 16]), Step::Post(settled(&hold(id, id), 9))).await.unwrap();
    }
    for (id, size, want) in [
        (1, 100, kept_size(100)),
        (2, 200, kept_size(100) + kept_size(200)),
        // Another in the place of the first, then one that is smaller.
        (1, 400, kept_size(400) + kept_size(200)),
        (1, 50, kept_size(50) + kept_size(200)),
        // The same once more.
        (1, 50, kept_size(50) + kept_size(200)),
        // It puts the second out, which is the oldest now.
        (3, 700, kept_size(50) + kept_size(700)),
        // It takes the room of the one in whose place it comes, and of nobody else.
        (3, 800, kept_size(50) + kept_size(800)),
    ] {
        assert!(j.handle.keep_answer(HoldId([id; 16]), answer(usize::try_from(size).unwrap())).await.unwrap());
        assert_eq!(sizes(&j), (want, want), "{id} {size}");
    }
    assert_eq!(kept(&j).await, [true, false, true]);
    // No room even for it alone: all that may go has gone for it.
    assert!(!j.handle.keep_answer(HoldId([2; 16]), answer(1_000)).await.unwrap());
    assert_eq!(sizes(&j), (0, 0));
}

#[tokio::test]
async fn a_bid_takes_the_place_of_the_last_one_and_of_no_other_holds() {
    let j = journal();
    for id in [1, 2] {
        j.reserve(hold(id, id), 1_000).await;
    }
    assert_eq!(j.handle.submit(vec![tx(1, 0, &[1])]).await.unwrap(), Ok(()));
    assert_eq!(j.handle.submit(vec![tx(2, 0, &[1])]).await.unwrap(), Ok(()));
    assert_eq!(j.handle.submit(vec![tx(3, 0, &[2])]).await.unwrap(), Err(Rejected(vec![HoldId([2; 16])])));
    assert_eq!(j.handle.chain_txs_from(NETWORK, SIGNER, 0).await.unwrap(), [tx(2, 0, &[1])]);
    let unfinished = j.handle.unfinished(NETWORK, None).await.unwrap();
    assert_eq!(unfinished[0].bids, [bid(1, 0, 1), bid(2, 0, 1)]);
    // Also for a hold that has ended meanwhile: its sequence must not block those behind it.
    j.handle.advance(HoldId([1; 16]), Step::Post(settled(&hold(1, 1), 9))).await.unwrap();
    assert_eq!(j.handle.submit(vec![tx(4, 0, &[1])]).await.unwrap(), Ok(()));
    assert_eq!(j.handle.chain_txs_from(NETWORK, SIGNER, 0).await.unwrap(), [tx(4, 0, &[1])]);
}

#[tokio::test]
async fn an_answer_that_died_half_stored_is_found_after_the_money_moved() {
    let j = journal();
    j.reserve(hold(1, 1), 1_000).await;
    j.handle.pend(HoldId([1; 16]), B256::repeat_byte(9)).await.unwrap();
    j.handle.advance(HoldId([1; 16]), Step::Post(settled(&hold(1, 1), 9))).await.unwrap();
    facilitator::engine::recover(&j.handle, NETWORK).await.unwrap();
    let record = j.handle.recall(&hold(1, 1).authorization.key).await.unwrap().unwrap();
    assert_eq!((record.answer, record.refund_due), (AnswerState::Lost, true));
    assert_eq!(j.handle.unfinished(NETWORK, None).await.unwrap(), []);
    assert_eq!(j.store.unfinished_networks().unwrap(), []);
}

#[tokio::test]
async fn a_pick_up_code_finds_its_hold() {
    let j = journal();
    j.reserve(hold(1, 1), 1_000).await;
    j.handle.pend(HoldId([1; 16]), B256::repeat_byte(9)).await.unwrap();
    let record = j.handle.picked(B256::repeat_byte(9)).await.unwrap().unwrap();
    assert_eq!((record.hold.id, record.answer), (HoldId([1; 16]), AnswerState::Pending));
    assert_eq!(j.handle.picked(B256::repeat_byte(10)).await.unwrap(), None);
}

#[tokio::test]
async fn ended_holds_without_money_are_watched_once_after_their_time() {
    let j = journal();
    j.reserve(hold(1, 1), 1_000).await;
    j.handle.advance(HoldId([1; 16]), Step::Burn(BurnReason::Unanswered)).await.unwrap();
    assert_eq!(j.handle.watched(NETWORK, 1_000).await.unwrap(), []);
    assert_eq!(j.handle.watched(NETWORK, 1_001).await.unwrap().len(), 1);
    j.handle.unwatch(HoldId([1; 16])).await.unwrap();
    assert_eq!(j.handle.watched(NETWORK, 1_001).await.unwrap(), []);
}

#[tokio::test]
async fn entries_cannot_be_changed() {
    let j = journal();
    j.reserve(hold(1, 1), 1_000).await;
    j.handle.advance(HoldId([1; 16]), Step::Post(settled(&hold(1, 1), 9))).await.unwrap();
    for sql in [
        "UPDATE entries SET kind = 'late'",
        "DELETE FROM entries",
        "UPDATE lines SET side = 'debit'",
        "DELETE FROM lines",
    ] {
        let outcome: Result<(), _> = j.handle.writer.run(&[], move |batch| batch.db.execute(sql, []).map(drop)).await;
        assert!(outcome.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn a_violation_writes_nothing() {
    let j = journal();
    j.reserve(hold(1, 1), 1_000).await;
    j.handle.advance(HoldId([1; 16]), Step::Submit(B256::repeat_byte(8))).await.unwrap();
    assert!(j.handle.advance(HoldId([1; 16]), Step::Release(ReleaseReason::NotSent)).await.is_err());
    let record = j.handle.recall(&hold(1, 1).authorization.key).await.unwrap().unwrap();
    assert_eq!(record.state, State::Submitted(B256::repeat_byte(8)));
    assert_eq!(j.handle.advance(HoldId([9; 16]), Step::Release(ReleaseReason::NotSent)).await.unwrap(), None);
}

#[test]
fn only_a_journal_is_opened_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(Store::open(&foreign, LIMITS, || 0), Err(OpenFault::Foreign)));
    let text = folder.path().join("text");
    std::fs::write(&text, "this is no SQLite file, but long enough to be looked at as one, or so it seems to be here")
        .unwrap();
    assert!(matches!(Store::open(&text, LIMITS, || 0), Err(OpenFault::Sqlite(_))));
    let j = journal();
    assert_eq!(std::fs::metadata(&j.store.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn one_process_one_chain() {
    let j = journal();
    let second = Store::open(&j.store.path, LIMITS, || 0);
    assert!(matches!(second, Err(OpenFault::Locked)));
    assert!(j.store.bind_chain(NETWORK, &[1; 32]).unwrap());
    assert!(j.store.bind_chain(NETWORK, &[1; 32]).unwrap());
    assert!(!j.store.bind_chain(NETWORK, &[2; 32]).unwrap());
}
