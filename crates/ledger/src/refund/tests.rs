//! One row per case, the expected outcome last.

use super::*;
use crate::{BurnReason, LossReason, ReleaseReason};
use alloy_primitives::Address;
use protocol::{AssetAddress, Network, Settled};

const PRICE: u128 = 10_000;
const DAY: Today = Today { day: 7, spent_micros: 0 };

fn signature() -> Signature {
    let mut bytes = [1; 65];
    bytes[64] = 27;
    Signature::from_bytes(&bytes).unwrap()
}

fn record(state: State, late: bool, refund_due: bool) -> Record {
    let asset = Asset { network: Network::BASE_SEPOLIA, address: AssetAddress(Address::repeat_byte(3)) };
    let hold = Hold {
        id: HoldId([7; 16]),
        authorization: Authorization {
            key: ClaimKey { asset, payer: Payer(Address::repeat_byte(1)), nonce: B256::repeat_byte(9) },
            payee: Payee(Address::repeat_byte(2)),
            amount_atomic: PRICE,
            valid_after_s: 0,
            valid_before_s: 2_000_000_000,
            signature: signature(),
        },
        route: "GET /paid".to_owned(),
        fingerprint: B256::repeat_byte(4),
        idempotency: None,
        seen: BlockRef { number: 5, hash: B256::repeat_byte(5) },
        opened_at_ms: 1,
        rail: Rail::Direct,
        source: Source([6; 16]),
        exposure_micros: 10_000,
        buys: None,
    };
    Record { state, late, refund_due, is_final: matches!(state, State::Posted(_)), ..Record::new(hold) }
}

fn posted() -> State {
    let record = record(State::Open, false, false);
    let authorization = &record.hold.authorization;
    State::Posted(Settled {
        chain_tx: B256::repeat_byte(1),
        block: 6,
        block_hash: B256::repeat_byte(6),
        amount: authorization.amount(),
        payer: authorization.key.payer,
    })
}

fn refund(amount: Option<u128>, left: u128, key: &str) -> Refund {
    let record = record(State::Open, false, false);
    let amount_atomic = amount.unwrap_or(left);
    Refund {
        id: RefundId::derive(record.hold.id, amount, key),
        payment: record.hold.id,
        asset: record.hold.authorization.key.asset,
        to: record.hold.authorization.key.payer,
        amount_atomic,
        micros: refund_micros(&record, amount_atomic),
        own_due: false,
        signed: Some(Signed { wallet: Payer(Address::repeat_byte(8)), signature: signature() }),
        seen: record.hold.seen,
        at_ms: 2,
        day: None,
        state: RefundState::Due,
        problem: None,
    }
}

/// From, to and amount of each entry.
fn moves(entries: &[Entry]) -> Vec<(&'static str, String, String, u128)> {
    let account = |account: Account| account.to_string().split(':').next().unwrap().to_owned();
    let moved = |entry: &Entry| {
        let [from, to] = entry.lines;
        assert_eq!(from.amount, to.amount);
        (entry.kind.code(), account(from.account), account(to.account), from.amount.atomic)
    };
    entries.iter().map(moved).collect()
}

#[test]
fn money_that_has_moved_can_be_given_back() {
    let refused = |state| Err(RefundRefusal::NotPaid(state));
    let (burnt, lost) = (State::Burnt(BurnReason::Unanswered), State::Lost(LossReason::Gone));
    let released = State::Released(ReleaseReason::Expired);
    let submitted = State::Submitted(B256::ZERO);
    for (state, late, due, want) in [
        (posted(), false, false, Ok(vec![("refund_due", "revenue".to_owned(), "refund_due".to_owned(), PRICE)])),
        (posted(), false, true, Ok(vec![])),
        (burnt, true, false, Ok(vec![("refund_due", "suspense".to_owned(), "refund_due".to_owned(), PRICE)])),
        (released, true, false, Ok(vec![("refund_due", "suspense".to_owned(), "refund_due".to_owned(), PRICE)])),
        (lost, true, false, Ok(vec![("refund_due", "revenue".to_owned(), "refund_due".to_owned(), PRICE)])),
        (State::Open, false, false, refused(State::Open)),
        (State::Answered, false, false, refused(State::Answered)),
        (submitted, false, false, refused(submitted)),
        (burnt, false, false, refused(burnt)),
        (released, false, false, refused(released)),
        (lost, false, false, refused(lost)),
    ] {
        let asked = request_refund(&record(state, late, due), &[], None, refund(None, PRICE, ""));
        let got = asked.map(|change| moves(&change.unwrap().entries));
        assert_eq!(got, want, "{state:?} {late} {due}");
    }
    let ask = |record: Record| request_refund(&record, &[], None, refund(None, PRICE, ""));
    let young = Record { is_final: false, ..record(posted(), false, false) };
    assert_eq!(ask(young.clone()), Err(RefundRefusal::NotFinal));
    let State::Posted(settled) = young.state else { panic!("it is posted") };
    let by_word = State::Posted(Settled { block_hash: B256::ZERO, ..settled });
    assert!(ask(Record { state: by_word, ..young }).is_ok(), "a facilitator's word is all that there will be");
}

#[test]
fn never_more_than_was_paid_and_the_same_once() {
    let record = record(posted(), false, false);
    let part = refund(Some(4_000), 0, "");
    let mut given = Vec::new();
    let mut ask = |refund: Refund| {
        let asked = request_refund(&record, &given, None, refund);
        if let Ok(Some(change)) = &asked {
            given.push(change.refund);
        }
        asked.map(|change| change.map(|change| change.refund.amount_atomic))
    };
    assert_eq!(ask(refund(Some(0), 0, "")), Err(RefundRefusal::Zero));
    assert_eq!(ask(refund(Some(PRICE + 1), 0, "")), Err(RefundRefusal::TooMuch { left_atomic: PRICE }));
    assert_eq!(ask(part), Ok(Some(4_000)));
    assert_eq!(ask(part), Ok(None), "the same is asked for once");
    assert_eq!(ask(Refund { signed: None, ..part }), Err(RefundRefusal::OtherWay));
    assert_eq!(ask(refund(Some(4_000), 0, "second")), Ok(Some(4_000)));
    assert_eq!(ask(refund(Some(4_000), 0, "third")), Err(RefundRefusal::TooMuch { left_atomic: 2_000 }));
    assert_eq!(ask(refund(None, 2_000, "")), Ok(Some(2_000)), "the rest");
    assert_eq!(ask(refund(None, 0, "")), Ok(None), "the rest, again");
    assert_eq!(ask(refund(Some(PRICE), 0, "")), Err(RefundRefusal::TooMuch { left_atomic: 0 }));
}

#[test]
fn a_refund_moves_on() {
    let (due, hash) = (refund(None, PRICE, ""), B256::repeat_byte(5));
    let admit = RefundStep::Admit { cap_micros: 10_000 };
    let settle = RefundStep::Settle { chain_tx: hash, block: 9 };
    let next = |refund: &Refund, step, today| advance_refund(refund, step, today).unwrap().unwrap();
    assert!(advance_refund(&due, RefundStep::Submit(hash), DAY).is_err(), "not let out");
    let full = next(&due, admit, Today { spent_micros: 1, ..DAY }).refund;
    assert_eq!((full.day, full.problem, full.state), (None, Some(RefundProblem::DailyCap), RefundState::Due));
    let out = next(&full, admit, DAY).refund;
    assert_eq!((out.day, out.problem), (Some(7), None));
    assert_eq!(advance_refund(&out, admit, Today { day: 8, spent_micros: u64::MAX }), Ok(None), "counted once");
    assert!(advance_refund(&Refund { signed: None, ..out }, RefundStep::Submit(hash), DAY).is_err(), "paid by hand");
    let sent = next(&out, RefundStep::Submit(hash), DAY).refund;
    assert_eq!(sent.state, RefundState::Submitted(hash));
    let empty = next(&sent, RefundStep::Stop(RefundProblem::WalletEmpty), DAY).refund;
    assert_eq!((empty.state, empty.problem), (RefundState::Due, Some(RefundProblem::WalletEmpty)));
    let paid = next(&sent, settle, DAY);
    assert_eq!(moves(&paid.entries), [("refunded", "refund_due".to_owned(), "external".to_owned(), PRICE)]);
    let paid = paid.refund;
    assert_eq!(paid.state, RefundState::Refunded { chain_tx: hash, block: 9 });
    for step in [settle, RefundStep::Stop(RefundProblem::WalletEmpty)] {
        assert_eq!(advance_refund(&paid, step, DAY), Ok(None), "{step:?}");
    }
    assert!(advance_refund(&paid, RefundStep::Submit(hash), DAY).is_err());
    let undone = next(&paid, RefundStep::Undo, DAY);
    assert_eq!(moves(&undone.entries), [("unrefunded", "external".to_owned(), "refund_due".to_owned(), PRICE)]);
    assert_eq!(undone.refund.state, RefundState::Submitted(hash));
}

#[test]
fn names_tell_payments_amounts_and_keys_apart() {
    let (one, two) = (HoldId([1; 16]), HoldId([2; 16]));
    let name = RefundId::derive;
    assert_eq!(name(one, None, ""), name(one, None, ""));
    let names = [
        name(one, None, ""),
        name(two, None, ""),
        name(one, Some(0), ""),
        name(one, Some(1), ""),
        name(one, None, "a"),
    ];
    let distinct: std::collections::BTreeSet<_> = names.iter().map(|name| name.nonce()).collect();
    assert_eq!(distinct.len(), names.len());
}

#[test]
fn what_refunds_have_booked_is_not_owed_twice() {
    let record = record(posted(), false, false);
    for (booked, want) in [(0, vec![PRICE]), (4_000, vec![6_000]), (PRICE, vec![])] {
        let mut change = crate::advance(&record, crate::Step::LoseAnswer).unwrap().unwrap();
        less_refunded(&mut change, booked);
        assert_eq!(moves(&change.entries).iter().map(|moved| moved.3).collect::<Vec<_>>(), want);
        assert!(change.record.refund_due);
    }
}
