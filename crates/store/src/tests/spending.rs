//! What accounts have had of a month, and what calls cost by their tags.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use ::ledger::{Charge, ChargeStep, Grant, GrantId, GrantSource, Guards, KeyId, Unit};
use gate::price::Volume;
use gate::{Accounts as _, Charging};

const KEY: KeyId = KeyId([1; 16]);
/// 2026-11-30 23:59:59.999 UTC.
const LAST_MS: u64 = 1_796_083_199_999;

static CLOCK_MS: AtomicU64 = AtomicU64::new(LAST_MS);

fn charge(number: u8, tags: Option<&str>) -> Charge {
    Charge {
        id: HoldId([number; 16]),
        key: KEY,
        unit: Unit::Credit,
        amount: 10,
        micros: 0,
        route: "GET /paid".to_owned(),
        fingerprint: B256::repeat_byte(4),
        idempotency: None,
        opened_at_ms: CLOCK_MS.load(Ordering::Relaxed),
        tags: tags.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_month_ends_at_midnight_and_what_was_given_back_is_not_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("books.db"), LIMITS, || CLOCK_MS.load(Ordering::Relaxed)).unwrap();
    let handle = store.handle().unwrap();
    handle.open_account(KEY, Unit::Credit).await.unwrap();
    let grant = Grant {
        id: GrantId([1; 16]),
        key: KEY,
        unit: Unit::Credit,
        source: GrantSource::Operator,
        label: String::new(),
        priority: 0,
        granted: 100,
        left: 100,
        granted_at_ms: 0,
        expires_at_ms: None,
    };
    handle.grant(grant).await.unwrap().unwrap();
    let volume = |calls, amount| Volume { calls, amount };
    let red = Some(r#"{"team":"red"}"#);
    let take = async |number, taken, tags| {
        let won = handle.charge(charge(number, tags), Guards::default()).await.unwrap();
        assert!(matches!(won, Charging::Won { .. }));
        handle.advance_charge(HoldId([number; 16]), ChargeStep::Capture(taken)).await.unwrap().unwrap();
    };
    let month = |now_ms| handle.month_of(KEY, now_ms).unwrap();
    assert_eq!(month(LAST_MS), volume(0, 0));
    take(1, 7, red).await;
    take(2, 10, red).await;
    // What is still held does not count.
    handle.charge(charge(3, None), Guards::default()).await.unwrap();
    assert_eq!((month(LAST_MS), month(LAST_MS + 1)), (volume(2, 17), volume(0, 0)));
    handle.advance_charge(HoldId([2; 16]), ChargeStep::Refund(4)).await.unwrap().unwrap();
    assert_eq!(month(LAST_MS), volume(2, 13));
    // In December; what comes back of November's does not make it less than nothing.
    CLOCK_MS.store(LAST_MS + 1, Ordering::Relaxed);
    handle.advance_charge(HoldId([2; 16]), ChargeStep::Refund(10)).await.unwrap().unwrap();
    assert_eq!(month(LAST_MS + 1), volume(0, 0));
    take(4, 5, Some(r#"{"team":"blue"}"#)).await;
    // What comes back of November's is none of December's, and is no use of the key.
    CLOCK_MS.store(LAST_MS + 2, Ordering::Relaxed);
    handle.advance_charge(HoldId([1; 16]), ChargeStep::Refund(1)).await.unwrap().unwrap();
    let (row, ..) = handle.balance(KEY, LAST_MS + 2).unwrap().unwrap();
    assert_eq!((row.used_at_ms, row.spent), (Some(LAST_MS + 1), 11));
    assert_eq!((month(LAST_MS + 1), month(LAST_MS)), (volume(1, 5), volume(0, 0)));
    let report = |from_ms, to_ms| {
        let rows = handle.cost_by_tag(Some(KEY), "team", from_ms, to_ms).unwrap();
        rows.into_iter().map(|row| (row.value, row.calls, row.spent)).collect::<Vec<_>>()
    };
    assert_eq!(report(0, LAST_MS + 1), [("red".to_owned(), 2, 6)]);
    assert_eq!(report(LAST_MS + 1, LAST_MS + 2), [("blue".to_owned(), 1, 5)]);
}
