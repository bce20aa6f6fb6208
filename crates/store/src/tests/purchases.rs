//! What payments buy is in the file in the step that posts them.

use ::ledger::{About, EntryKind, GrantId, KeyId, Purchase, Refund, RefundId, RefundRefusal, RefundState, Unit};
use gate::{Accounts as _, Charging};

use super::*;

const KEY: KeyId = KeyId([5; 16]);

fn buying(id: u8, amount: u64, expires_at_ms: Option<u64>) -> Hold {
    let unit = Unit::Usd;
    Hold { buys: Some(Purchase { key: KEY, unit, amount, expires_at_ms }), idempotency: None, ..hold(id, id) }
}

fn there(hold: &Hold, block: u64) -> Settled {
    Settled { block_hash: B256::with_last_byte(u8::try_from(block).unwrap()), ..settled(hold, block) }
}

impl Journalled {
    async fn post(&self, hold: &Hold, block: u64) {
        self.handle.advance(hold.id, Step::Submit(B256::repeat_byte(8))).await.unwrap();
        self.handle.advance(hold.id, Step::Post(there(hold, block))).await.unwrap();
    }

    fn has(&self, id: KeyId) -> u64 {
        self.handle.balance(id, 1_000_000).unwrap().map_or(0, |(_, available, _)| available)
    }

    fn kinds(&self, about: About) -> Vec<String> {
        let ledger = Ledger::open(&self.store.path).unwrap();
        ledger.entries_of(about).unwrap().into_iter().map(|entry| entry.kind).collect()
    }

    async fn spend(&self, id: u8, amount: u64) {
        self.hold(id, amount).await;
        let captured = ::ledger::ChargeStep::Capture(amount);
        self.handle.advance_charge(HoldId([id; 16]), captured).await.unwrap().unwrap();
    }

    async fn hold(&self, id: u8, amount: u64) {
        let charge = ::ledger::Charge {
            id: HoldId([id; 16]),
            key: KEY,
            unit: Unit::Usd,
            amount,
            micros: 0,
            route: String::new(),
            fingerprint: B256::ZERO,
            idempotency: None,
            opened_at_ms: 1_000_000,
            tags: None,
        };
        assert!(matches!(self.handle.charge(charge, ::ledger::Guards::default()).await.unwrap(), Charging::Won { .. }));
    }
}

#[tokio::test]
async fn a_payment_is_granted_in_the_step_that_posts_it_and_once() {
    let j = journal();
    for (id, ends) in [(1, None), (2, Some(2_000_000))] {
        let hold = buying(id, 1_000, ends);
        assert!(won(&j.reserve(hold.clone(), 1_000).await));
        assert_eq!(j.handle.payment(hold.id).await.unwrap().unwrap().hold, hold);
        let before = j.has(KEY);
        j.post(&hold, 9).await;
        j.handle.advance(hold.id, Step::Post(there(&hold, 9))).await.unwrap();
        j.handle.advance(hold.id, Step::Post(there(&hold, 10))).await.unwrap();
        assert_eq!(j.has(KEY), before + 1_000);
        assert_eq!(j.kinds(About::Hold(hold.id)), ["posted", "converted"]);
        assert_eq!(j.kinds(About::Grant(GrantId(hold.id.0))), ["granted"]);
    }
}

#[tokio::test]
async fn a_reorg_takes_back_what_is_left() {
    let j = journal();
    let hold = buying(1, 1_000, None);
    j.reserve(hold.clone(), 1_000).await;
    j.post(&hold, 9).await;
    j.spend(2, 300).await;
    let gone = Step::Unsettle(there(&hold, 9).block_hash);
    j.handle.advance(hold.id, gone).await.unwrap();
    assert_eq!(j.has(KEY), 0);
    j.handle.advance(hold.id, Step::Post(there(&hold, 12))).await.unwrap();
    assert_eq!(j.has(KEY), 700);
    let want = [
        EntryKind::Posted,
        EntryKind::Converted,
        EntryKind::Unsettled,
        EntryKind::Unconverted,
        EntryKind::Resettled,
        EntryKind::Converted,
    ];
    assert_eq!(j.kinds(About::Hold(hold.id)), want.map(EntryKind::code));
    assert_eq!(j.kinds(About::Grant(GrantId(hold.id.0))), ["granted", "unconverted", "granted"]);
}

/// What a charge held when the reorg came, and gives back after it.
#[tokio::test]
async fn what_comes_back_after_a_reorg_is_no_balance() {
    let j = journal();
    let hold = buying(1, 1_000, None);
    j.reserve(hold.clone(), 1_000).await;
    j.post(&hold, 9).await;
    j.hold(2, 300).await;
    j.hold(3, 400).await;
    j.handle.advance(hold.id, Step::Unsettle(there(&hold, 9).block_hash)).await.unwrap();
    let end = async |id: u8, step| j.handle.advance_charge(HoldId([id; 16]), step).await.unwrap().unwrap().1;
    assert_eq!(end(2, ::ledger::ChargeStep::Release(::ledger::ReleaseReason::NotSent)).await, 0);
    assert_eq!(end(3, ::ledger::ChargeStep::Capture(50)).await, 0);
    assert_eq!(j.has(KEY), 0);
    j.handle.advance(hold.id, Step::Post(there(&hold, 12))).await.unwrap();
    assert_eq!(j.has(KEY), 950);
}

/// A time pass is good while its payment stands, and one that was taken back for good is not given back by a block.
#[tokio::test]
async fn a_time_goes_and_comes_with_its_payment() {
    let j = journal();
    let pass = Purchase { key: KeyId([1; 16]), unit: Unit::Call, amount: 0, expires_at_ms: Some(9_000_000) };
    let hold = Hold { buys: Some(pass), ..hold(1, 1) };
    j.reserve(hold.clone(), 1_000).await;
    j.post(&hold, 9).await;
    let revoked = || (j.handle.access_generation(), j.handle.revoked_passes(1_000_000).unwrap());
    let (before, none) = revoked();
    j.handle.advance(hold.id, Step::Unsettle(there(&hold, 9).block_hash)).await.unwrap();
    let (gone, list) = revoked();
    assert_eq!((none, list), (vec![], vec![hold.id]));
    j.handle.advance(hold.id, Step::Post(there(&hold, 12))).await.unwrap();
    let (again, list) = revoked();
    assert_eq!(list, []);
    assert!(before < gone && gone < again, "every worker hears of it");
    j.handle.advance(hold.id, Step::Unsettle(there(&hold, 12).block_hash)).await.unwrap();
    assert!(j.handle.revoke_pass(hold.id).await.unwrap());
    j.handle.advance(hold.id, Step::Post(there(&hold, 13))).await.unwrap();
    assert_eq!(revoked().1, [hold.id]);
}

/// The hold's own account is opened with its first grant; a time has none.
#[tokio::test]
async fn a_pass_has_an_account_of_its_own() {
    let j = journal();
    for (id, amount, calls) in [(1, 3, Some(3)), (2, 0, None)] {
        let own = KeyId([id; 16]);
        let pass = Purchase { key: own, unit: Unit::Call, amount, expires_at_ms: Some(9_000_000) };
        let hold = Hold { buys: Some(pass), ..hold(id, id) };
        j.reserve(hold.clone(), 1_000).await;
        assert_eq!(j.handle.balance(own, 1_000_000).unwrap(), None);
        j.post(&hold, 9).await;
        let found = j.handle.balance(own, 1_000_000).unwrap();
        assert_eq!(found.map(|(row, left, _)| (row.unit, left)), calls.map(|calls| (Unit::Call, calls)));
    }
}

#[tokio::test]
async fn a_refund_leaves_no_balance() {
    let j = journal();
    let hold = buying(1, 1_000, None);
    j.reserve(hold.clone(), 1_000).await;
    j.post(&hold, 9).await;
    j.handle.finalize(NETWORK, vec![BlockRef { number: 9, hash: there(&hold, 9).block_hash }]).await.unwrap();
    j.spend(2, 300).await;
    let refund = |amount_atomic, key: &str| Refund {
        id: RefundId::derive(hold.id, Some(amount_atomic), key),
        payment: hold.id,
        asset: hold.authorization.key.asset,
        to: hold.authorization.key.payer,
        amount_atomic,
        micros: 1,
        own_due: true,
        signed: None,
        seen: hold.seen,
        at_ms: 1_000_000,
        day: None,
        state: RefundState::Due,
        problem: None,
    };
    let all = j.handle.request_refund(refund(PRICE, "")).await.unwrap();
    assert_eq!(all, Err(RefundRefusal::Used { left_atomic: 7 }));
    assert_eq!(j.has(KEY), 700);
    for _ in 0..2 {
        j.handle.request_refund(refund(7, "")).await.unwrap().unwrap();
        assert_eq!(j.has(KEY), 0);
    }
    assert_eq!(j.kinds(About::Hold(hold.id)), ["posted", "converted", "unconverted", "refund_due"]);
}
