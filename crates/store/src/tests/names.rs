//! What a payer calls his payments, and what he has paid for before.

use super::*;

/// Where a hold was brought.
const BURN: Step = Step::Burn(BurnReason::Unanswered);
const CHAIN_TX: Step = Step::Submit(B256::repeat_byte(8));

fn named(id: u8, name: u8) -> Hold {
    Hold { idempotency: Some(B256::repeat_byte(name)), ..hold(id, id) }
}

fn of(payer: u8, mut hold: Hold) -> Hold {
    hold.authorization.key.payer = Payer(Address::repeat_byte(payer));
    hold
}

#[tokio::test]
async fn a_name_is_of_one_payment_unless_that_was_let_go_or_burnt() {
    let post = || Step::Post(settled(&hold(1, 1), 9));
    let rows: [(&[Step], bool); 9] = [
        (&[], false),
        (&[CHAIN_TX], false),
        (&[post()], false),
        (&[post(), Step::LoseAnswer], false),
        (&[CHAIN_TX, Step::LoseAnswer], false),
        (&[BURN], true),
        (&[Step::Release(ReleaseReason::NotSent)], true),
        (&[Step::Release(ReleaseReason::FreeStatus)], true),
        (&[CHAIN_TX, Step::Expire], true),
    ];
    for (steps, is_free) in rows {
        let j = journal();
        assert!(won(&j.reserve(named(1, 7), 1_000).await));
        for step in steps {
            j.handle.advance(HoldId([1; 16]), *step).await.unwrap();
        }
        let first = j.handle.payment(HoldId([1; 16])).await.unwrap().unwrap();
        let second = j.reserve(named(2, 7), 1_000).await;
        assert_eq!(won(&second), is_free, "{steps:?}");
        if !is_free {
            assert_eq!(second, Reservation::Taken(first), "{steps:?}");
            assert_eq!(j.handle.payment(HoldId([2; 16])).await.unwrap(), None, "nothing is written");
        }
        // Another name, none, and the same name of somebody else are no matter.
        assert!(won(&j.reserve(named(3, 8), 1_000).await));
        assert!(won(&j.reserve(Hold { idempotency: None, ..hold(4, 4) }, 1_000).await));
        assert!(won(&j.reserve(of(2, named(5, 7)), 1_000).await));
    }
}

#[tokio::test]
async fn of_many_payments_of_one_name_at_once_one_is_won() {
    let j = journal();
    let local = tokio::task::LocalSet::new();
    let wins = local.run_until(async {
        let claims = (0..32u8).map(|id| {
            let handle = j.handle.clone();
            tokio::task::spawn_local(async move { handle.reserve(named(id, 7), Some(1_000), CAPS).await.unwrap() })
        });
        let mut wins = 0;
        for claim in claims.collect::<Vec<_>>() {
            wins += usize::from(won(&claim.await.unwrap()));
        }
        wins
    });
    assert_eq!(wins.await, 1);
}

#[tokio::test]
async fn names_are_looked_up_by_an_index_and_a_journal_of_before_gets_it() {
    let j = journal();
    let db = Connection::open(&j.store.path).unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT id FROM holds WHERE payer = x'01' AND idempotency = x'02'
               AND state NOT IN ('released', 'burnt') ORDER BY turn DESC LIMIT 1";
    let plan: String = db.query_row(sql, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("holds_named"), "{plan}");
    db.execute_batch("DROP INDEX holds_named").unwrap();
    let path = j.store.path.clone();
    let Journalled { _folder, store, handle } = j;
    drop((store, handle, db));
    // Its writer ends with its last handle, a moment later.
    let again = loop {
        match Store::open(&path, LIMITS, || 0) {
            Err(OpenFault::Locked) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    let db = Connection::open(&again.path).unwrap();
    let found: i64 =
        db.query_row("SELECT count(*) FROM sqlite_master WHERE name = 'holds_named'", [], |row| row.get(0)).unwrap();
    assert_eq!(found, 1);
}

/// What a payer has paid for: settled and kept, or on the tab and given out.
#[tokio::test]
async fn paid_before() {
    use Step::{Answer, Deliver, LoseAnswer, Pend, TakeBack};
    let post = || Step::Post(settled(&hold(1, 1), 9));
    let rows: [(Rail, &[Step], bool); 17] = [
        (Rail::Direct, &[], false),
        (Rail::Direct, &[CHAIN_TX], false),
        (Rail::Direct, &[CHAIN_TX, post()], true),
        (Rail::Direct, &[CHAIN_TX, post(), LoseAnswer], false),
        (Rail::Direct, &[Pend, post(), Deliver], true),
        (Rail::Direct, &[Pend, post(), Deliver, TakeBack], false),
        (Rail::Direct, &[BURN], false),
        (Rail::Direct, &[CHAIN_TX, Step::Expire], false),
        (Rail::Tab, &[], false),
        (Rail::Tab, &[Answer], false),
        (Rail::Tab, &[Answer, Deliver], true),
        (Rail::Tab, &[Answer, LoseAnswer], false),
        (Rail::Tab, &[Answer, Deliver, TakeBack], false),
        (Rail::Tab, &[Answer, Deliver, CHAIN_TX], true),
        (Rail::Tab, &[Answer, Deliver, CHAIN_TX, post()], true),
        (Rail::Tab, &[Answer, Deliver, CHAIN_TX, post(), TakeBack], false),
        (Rail::Tab, &[Answer, Deliver, Step::Refuse(::ledger::LossReason::Emptied)], false),
    ];
    for (rail, steps, want) in rows {
        let j = journal();
        j.reserve(Hold { rail, ..hold(1, 1) }, 1_000).await;
        for step in steps {
            j.handle.advance(HoldId([1; 16]), *step).await.unwrap();
        }
        let (payer, page) = (Payer(Address::repeat_byte(1)), B256::repeat_byte(4));
        let paid = |payer, page, since_ms| j.handle.paid_before(payer, page, since_ms);
        assert_eq!(paid(payer, page, 77).await.unwrap(), want, "{rail:?} {steps:?}");
        assert_eq!(paid(payer, page, 0).await.unwrap(), want, "{rail:?} {steps:?}");
        for (payer, page, since_ms) in [
            (payer, page, 78),
            (payer, page, u64::MAX),
            (payer, B256::repeat_byte(5), 0),
            (Payer(Address::repeat_byte(2)), page, 0),
        ] {
            assert!(!paid(payer, page, since_ms).await.unwrap(), "{rail:?} {steps:?} {since_ms}");
        }
    }
}
