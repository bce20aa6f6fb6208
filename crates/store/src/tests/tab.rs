//! The tab in the journal: its sums, its due holds, batches, bids and what they cost.

use super::*;
use ::ledger::LossReason;
use facilitator::engine::Mined;
use gate::Standing;

/// The sums of the tab: of the payer, of the source, of the gate.
fn sums(j: &Journalled) -> Vec<(String, u64)> {
    let db = Connection::open(&j.store.path).unwrap();
    let mut statement = db.prepare("SELECT scope, micros FROM tabs ORDER BY scope").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, rows::unsigned(row, 1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn all(micros: u64) -> Vec<(String, u64)> {
    ["gate", "payer", "source"].map(|scope| (scope.to_owned(), micros)).to_vec()
}

async fn served(j: &Journalled, id: u8) {
    assert!(won(&j.reserve(tabbed(id), 1_000).await));
    for step in [Step::Answer, Step::Deliver] {
        j.handle.advance(HoldId([id; 16]), step).await.unwrap();
    }
}

async fn state(j: &Journalled, id: u8) -> State {
    j.handle.payment(HoldId([id; 16])).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_hold_on_the_tab_reads_back_as_it_was_written() {
    let j = journal();
    let steps: [&[Step]; 5] = [
        &[Step::Answer],
        &[Step::Answer, Step::Deliver],
        &[Step::Answer, Step::Deliver, Step::Submit(B256::repeat_byte(8))],
        &[Step::Answer, Step::LoseAnswer],
        &[Step::Answer, Step::Deliver, Step::Refuse(LossReason::Emptied)],
    ];
    for (id, steps) in (1u8..).zip(steps) {
        let hold = tabbed(id);
        assert!(won(&j.reserve(hold.clone(), 1_000).await));
        let mut want = ::ledger::Record::new(hold.clone());
        for step in steps {
            want = ::ledger::advance(&want, *step).unwrap().unwrap().record;
            assert_eq!(j.handle.advance(hold.id, *step).await.unwrap(), Some(want.clone()));
        }
        assert_eq!(j.handle.payment(hold.id).await.unwrap(), Some(want), "{steps:?}");
    }
}

#[tokio::test]
async fn the_sums_follow_every_hold_that_comes_and_ends() {
    let j = journal();
    assert_eq!(sums(&j), []);
    served(&j, 1).await;
    served(&j, 2).await;
    assert_eq!(sums(&j), all(20));
    // A direct one is not on the tab.
    assert!(won(&j.reserve(hold(3, 3), 1_000).await));
    assert_eq!(sums(&j), all(20));
    j.handle.advance(HoldId([1; 16]), Step::Post(settled(&tabbed(1), 9))).await.unwrap();
    assert_eq!(sums(&j), all(10));
    j.handle.advance(HoldId([2; 16]), Step::Refuse(LossReason::Gone)).await.unwrap();
    assert_eq!(sums(&j), [("gate".to_owned(), 0)]);
    assert_eq!(Ledger::open(&j.store.path).unwrap().tab_sums().unwrap()[0].held_micros, 0);
}

#[tokio::test]
async fn beyond_a_cap_a_hold_is_settled_at_once() {
    let j = journal();
    for id in 1..=5 {
        served(&j, id).await;
    }
    let Reservation::Won(change) = j.reserve(tabbed(6), 1_000).await else { panic!("won") };
    assert_eq!(change.record.hold.rail, Rail::Direct);
    assert_eq!(j.handle.payment(HoldId([6; 16])).await.unwrap().unwrap().hold.rail, Rail::Direct);
    assert_eq!(sums(&j), all(50));
}

#[tokio::test]
async fn due_is_what_was_given_out_and_not_submitted() {
    let j = journal();
    for id in 1..=4 {
        served(&j, id).await;
    }
    j.reserve(tabbed(5), 1_000).await;
    j.handle.advance(HoldId([5; 16]), Step::Answer).await.unwrap();
    j.handle.submit(vec![tx(1, 0, &[1])]).await.unwrap().unwrap();
    j.handle.advance(HoldId([2; 16]), Step::Refuse(LossReason::Emptied)).await.unwrap();
    let due = j.handle.due(NETWORK, None).await.unwrap();
    assert_eq!(due.iter().map(|record| record.hold.id).collect::<Vec<_>>(), [HoldId([3; 16]), HoldId([4; 16])]);
    let unfinished = j.handle.unfinished(NETWORK, None).await.unwrap();
    let unfinished: Vec<_> = unfinished.iter().map(|unfinished| unfinished.record.hold.id).collect();
    assert_eq!(unfinished, [HoldId([1; 16]), HoldId([5; 16])]);
}

#[tokio::test]
async fn of_many_steps_one_that_must_not_happen_is_left_out() {
    let j = journal();
    served(&j, 1).await;
    served(&j, 2).await;
    let steps = vec![
        (HoldId([1; 16]), Step::Refuse(LossReason::Gone)),
        (HoldId([1; 16]), Step::Burn(BurnReason::Broken)),
        (HoldId([9; 16]), Step::Expire),
        (HoldId([2; 16]), Step::Post(settled(&tabbed(2), 9))),
    ];
    j.handle.advance_all(steps).await.unwrap();
    j.handle.advance_all(Vec::new()).await.unwrap();
    assert_eq!(state(&j, 1).await, State::Lost(LossReason::Gone));
    assert_eq!(state(&j, 2).await, State::Posted(settled(&tabbed(2), 9)));
}

#[tokio::test]
async fn a_member_that_has_ended_keeps_its_batch_out() {
    let j = journal();
    for id in 1..=3 {
        served(&j, id).await;
    }
    j.handle.advance(HoldId([2; 16]), Step::Refuse(LossReason::Gone)).await.unwrap();
    let rejected = j.handle.submit(vec![tx(1, 0, &[1, 2, 3])]).await.unwrap();
    assert_eq!(rejected, Err(Rejected(vec![HoldId([2; 16])])));
    assert_eq!(state(&j, 1).await, State::Answered);
    assert_eq!(j.handle.submit(vec![tx(1, 0, &[1, 3])]).await.unwrap(), Ok(()));
    assert_eq!(state(&j, 3).await, State::Submitted(B256::repeat_byte(1)));
    assert_eq!(j.handle.chain_txs_from(NETWORK, SIGNER, 0).await.unwrap(), [tx(1, 0, &[1, 3])]);
    let unfinished = j.handle.unfinished(NETWORK, None).await.unwrap();
    assert_eq!(unfinished[0].bids, [bid(1, 0, 2)]);
    // A bid at the same sequence is for the same members, in whatever order.
    assert!(j.handle.submit(vec![tx(2, 0, &[1])]).await.unwrap().is_err());
    assert_eq!(j.handle.submit(vec![tx(3, 0, &[3, 1])]).await.unwrap(), Ok(()));
    assert_eq!(j.handle.unfinished(NETWORK, None).await.unwrap()[1].bids, [bid(1, 0, 2), bid(3, 0, 2)]);
}

#[tokio::test]
async fn a_mined_chain_tx_costs_once_and_its_rivals_nothing() {
    let j = journal();
    served(&j, 1).await;
    j.handle.submit(vec![tx(1, 0, &[1])]).await.unwrap().unwrap();
    j.handle.submit(vec![tx(2, 0, &[1])]).await.unwrap().unwrap();
    let hashes = [B256::repeat_byte(1), B256::repeat_byte(2)];
    assert_eq!(j.handle.unmined(NETWORK, SIGNER, 0).await.unwrap().len(), 0);
    assert_eq!(j.handle.unmined(NETWORK, SIGNER, 1).await.unwrap().len(), 2);
    let mined = Mined { chain_tx: hashes[1], block: BlockRef { number: 9, hash: B256::with_last_byte(9) }, fee_wei: 5 };
    j.handle.mined(vec![mined]).await.unwrap();
    j.handle.mined(vec![mined, Mined { chain_tx: hashes[0], ..mined }]).await.unwrap();
    assert_eq!(j.handle.unmined(NETWORK, SIGNER, 1).await.unwrap().len(), 0);
    let books = Ledger::open(&j.store.path).unwrap();
    let fates: Vec<_> = books.chain_txs().unwrap().into_iter().map(|tx| tx.fate).collect();
    assert_eq!(fates, [Some(Fate::Outbid), Some(Fate::Mined { block: 9, fee_wei: 5 })]);
    let entries = books.entries(0).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].kind.as_str(), entries[0].about), ("gas", ::ledger::About::ChainTx(hashes[1])));
    let coin = Asset::native(NETWORK);
    let balances = books.balances().unwrap();
    assert_eq!(balances[&(coin, format!("gas:{SIGNER}"))], (5, 0));
    assert_eq!(balances[&(coin, format!("key:{SIGNER}"))], (0, 5));
}

#[tokio::test]
async fn a_payer_stands_by_what_became_of_his_payments() {
    let j = journal();
    let payer = hold(1, 1).authorization.key.payer;
    let standing = async || j.handle.standing(payer).await.unwrap();
    assert_eq!(standing().await, Standing { settled: false, risky: false });
    served(&j, 1).await;
    assert_eq!(standing().await, Standing { settled: false, risky: false });
    j.handle.advance(HoldId([1; 16]), Step::Post(settled(&tabbed(1), 9))).await.unwrap();
    assert_eq!(standing().await, Standing { settled: true, risky: false });
    served(&j, 2).await;
    j.handle.advance(HoldId([2; 16]), Step::Refuse(LossReason::Emptied)).await.unwrap();
    assert_eq!(standing().await, Standing { settled: true, risky: true });
}

#[tokio::test]
async fn a_refused_direct_settlement_makes_risky_as_well() {
    let j = journal();
    j.reserve(hold(1, 1), 1_000).await;
    j.handle.advance(HoldId([1; 16]), Step::Refuse(LossReason::Failed)).await.unwrap();
    let payer = hold(1, 1).authorization.key.payer;
    assert_eq!(j.handle.standing(payer).await.unwrap(), Standing { settled: false, risky: true });
}

/// What expired did so by our delay; what a stranger landed may be his own doing.
#[tokio::test]
async fn who_is_risky() {
    let (direct, tab): ([Step; 0], _) = ([], [Step::Answer, Step::Deliver]);
    let expired = State::Released(ReleaseReason::Expired);
    for (hold, before, step, want, risky) in [
        (tabbed(1), &tab[..], Step::Expire, State::Lost(LossReason::Expired), false),
        (tabbed(1), &tab, Step::Refuse(LossReason::Expired), State::Lost(LossReason::Expired), false),
        (tabbed(1), &tab, Step::Refuse(LossReason::Gone), State::Lost(LossReason::Gone), true),
        (tabbed(1), &tab, Step::Refuse(LossReason::Failed), State::Lost(LossReason::Failed), true),
        (tabbed(1), &tab, FOREIGN, State::Burnt(BurnReason::ForeignTransfer), true),
        (tabbed(1), &tab[..1], Step::LoseAnswer, State::Burnt(BurnReason::Broken), false),
        (hold(1, 1), &direct, FOREIGN, State::Burnt(BurnReason::ForeignTransfer), true),
        (hold(1, 1), &direct, Step::Burn(BurnReason::Interrupted), State::Burnt(BurnReason::Interrupted), false),
        (hold(1, 1), &[Step::Submit(B256::repeat_byte(8))], Step::Expire, expired, false),
    ] {
        let j = journal();
        assert!(won(&j.reserve(hold.clone(), 1_000).await));
        for step in before.iter().chain([&step]) {
            j.handle.advance(hold.id, *step).await.unwrap();
        }
        assert_eq!(state(&j, 1).await, want, "{step:?}");
        let payer = hold.authorization.key.payer;
        assert_eq!(j.handle.standing(payer).await.unwrap(), Standing { settled: false, risky }, "{step:?}");
        // It is his standing alone.
        let other = j.handle.standing(Payer(Address::repeat_byte(0x44))).await.unwrap();
        assert_eq!(other, Standing { settled: false, risky: false }, "{step:?}");
    }
}

const FOREIGN: Step = Step::Burn(BurnReason::ForeignTransfer);

/// A payer with many payments: each part of the question is answered by an index that holds only what it asks for.
#[test]
fn standing_is_read_from_indexes() {
    // The statement as it stands in the source.
    let source = include_str!("../handle.rs").split_once("async fn standing").unwrap().1;
    let sql = source.split_once("let sql = \"").unwrap().1.split_once("\";").unwrap().0;
    let j = journal();
    let db = Connection::open(&j.store.path).unwrap();
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement.query_map([[1u8; 20]], |row| row.get::<_, String>(3)).unwrap();
    let plan: Vec<_> = rows.map(Result::unwrap).filter(|line| line.contains("holds")).collect();
    let index = |line: &String| line.split_once("INDEX ").map(|(_, index)| index.to_owned());
    let used: Vec<_> = plan.iter().map(index).collect();
    let (settled, failed) = ("holds_settled (payer=?)", "holds_failed (payer=?)");
    assert_eq!(used, [settled, failed, failed, failed].map(|index| Some(index.to_owned())), "{plan:?}");
}

const DAY_MS: u64 = 86_400_000;

/// A hold on the tab of some day, by a payer and from a source.
fn of_day(id: u8, day: u64, payer: u8, source: u8) -> Hold {
    let mut hold = Hold { opened_at_ms: day * DAY_MS + u64::from(id), source: Source([source; 16]), ..tabbed(id) };
    hold.authorization.key.payer = Payer(Address::repeat_byte(payer));
    hold
}

/// Serves a hold on the tab, and loses it.
async fn lose(j: &Journalled, hold: Hold, reason: LossReason) {
    let id = hold.id;
    let Reservation::Won(change) = j.reserve(hold, 1_000).await else { panic!("won") };
    assert_eq!(change.record.hold.rail, Rail::Tab);
    for step in [Step::Answer, Step::Deliver, Step::Refuse(reason)] {
        j.handle.advance(id, step).await.unwrap();
    }
}

fn losses(j: &Journalled) -> Vec<(Vec<u8>, u64, u64)> {
    let db = Connection::open(&j.store.path).unwrap();
    let mut statement = db.prepare("SELECT who, day, micros FROM losses ORDER BY day, who").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, rows::unsigned(row, 1)?, rows::unsigned(row, 2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// Caps: 50 of a payer, 60 of a source, 70 of the gate; a hold is 10. Five were lost on day 100, all by one payer from one source.
#[tokio::test]
async fn what_was_lost_counts_for_its_day_and_the_next() {
    for (day, payer, source, room) in [
        // He owes nothing now: his own cap is as it was, that of the source has room for one, and that of the gate for two.
        (100, 1, 1, 1),
        (100, 2, 1, 1),
        (100, 2, 2, 2),
        (101, 1, 1, 1),
        (101, 2, 2, 2),
        (102, 1, 1, 5),
        (102, 2, 2, 5),
        // The clock was put back.
        (99, 1, 1, 5),
    ] {
        let j = journal();
        for id in 1..=5 {
            lose(&j, of_day(id, 100, 1, 1), LossReason::Emptied).await;
        }
        let want = [(Vec::new(), 100, 50), (vec![1; 16], 100, 50)];
        assert_eq!(losses(&j), want);
        for id in 10..=15 {
            let Reservation::Won(change) = j.reserve(of_day(id, day, payer, source), 1_000).await else {
                panic!("won")
            };
            let rail = if id - 10 < room { Rail::Tab } else { Rail::Direct };
            assert_eq!(change.record.hold.rail, rail, "{day} {payer} {source}, {id}");
        }
    }
}

/// Lost is lost, for whatever reason, once; what ends in another way is no loss.
#[tokio::test]
async fn each_loss_counts_once() {
    for reason in [LossReason::Emptied, LossReason::Gone, LossReason::Failed, LossReason::Expired] {
        let j = journal();
        lose(&j, of_day(1, 100, 1, 1), reason).await;
        lose(&j, of_day(2, 100, 1, 2), reason).await;
        let gate = (Vec::new(), 100, 20);
        assert_eq!(losses(&j), [gate.clone(), (vec![1; 16], 100, 10), (vec![2; 16], 100, 10)], "{reason:?}");
        for step in [Step::Refuse(LossReason::Gone), Step::KeepAnswer, Step::Post(settled(&of_day(1, 100, 1, 1), 9))] {
            j.handle.advance(HoldId([1; 16]), step).await.unwrap();
        }
        assert_eq!(losses(&j)[0], gate, "{reason:?}");
    }
    let j = journal();
    for (id, step) in [(1, Step::Post(settled(&of_day(1, 100, 1, 1), 9))), (2, FOREIGN), (3, Step::LoseAnswer)] {
        j.reserve(of_day(id, 100, 1, 1), 1_000).await;
        for step in [Step::Answer, step] {
            j.handle.advance(HoldId([id; 16]), step).await.unwrap();
        }
    }
    assert_eq!(losses(&j), []);
}

/// The table does not grow for ever.
#[tokio::test]
async fn old_losses_are_forgotten() {
    let j = journal();
    for (id, day) in [(1, 100), (2, 107), (3, 108)] {
        lose(&j, of_day(id, day, 1, 1), LossReason::Gone).await;
        let days: Vec<_> = losses(&j).iter().map(|(_, day, _)| *day).collect();
        let want: &[u64] = if id == 1 {
            &[100, 100]
        } else if id == 2 {
            &[100, 100, 107, 107]
        } else {
            &[107, 107, 108, 108]
        };
        assert_eq!(days, want, "{day}");
    }
}
