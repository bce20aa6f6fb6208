use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use protocol::{Asset, Authorization, ClaimKey, Network, Payee, Payer, Settled, Signature};

use super::*;
use crate::{
    AnswerState, BlockRef, Change, Charge, ChargeRecord, ChargeStep, Charged, Funds, Hold, HoldId, LossReason, Rail,
    Refund, RefundId, RefundRefusal, RefundState, Reservation, Side, Source, Step, advance, request_refund, reserve,
};

const PAID: u128 = 5_000_000;
const BOUGHT: u64 = 500;
const KEY: KeyId = KeyId([7; 16]);

fn hold(buys: Option<Purchase>) -> Hold {
    let asset = Asset { network: Network { chain_id: 1 }, address: protocol::AssetAddress(Address::repeat_byte(1)) };
    let key = ClaimKey { asset, payer: Payer(Address::repeat_byte(2)), nonce: B256::repeat_byte(3) };
    let authorization = Authorization {
        key,
        payee: Payee(Address::repeat_byte(4)),
        amount_atomic: PAID,
        valid_after_s: 0,
        valid_before_s: 100,
        signature: Signature::from_bytes(&[27; 65]).unwrap(),
    };
    Hold {
        id: HoldId([9; 16]),
        authorization,
        route: "topup".to_owned(),
        fingerprint: B256::ZERO,
        idempotency: None,
        seen: BlockRef { number: 1, hash: B256::ZERO },
        opened_at_ms: 1,
        rail: Rail::Direct,
        source: Source([0; 16]),
        exposure_micros: 5_000_000,
        buys,
    }
}

fn purchase(amount: u64) -> Purchase {
    Purchase { key: KEY, unit: Unit::Credit, amount, expires_at_ms: None }
}

fn settled(byte: u8) -> Settled {
    let hold = hold(None);
    Settled {
        chain_tx: B256::repeat_byte(byte),
        block: u64::from(byte),
        block_hash: B256::repeat_byte(byte),
        amount: hold.authorization.amount(),
        payer: hold.authorization.key.payer,
    }
}

/// The rows and the books of one payment, as a store keeps them.
struct Books {
    record: Record,
    grant: Option<Grant>,
    sums: BTreeMap<(String, u64), i128>,
}

impl Books {
    fn of(buys: Purchase) -> Self {
        Self { record: Record::new(hold(Some(buys))), grant: None, sums: BTreeMap::new() }
    }

    fn append(&mut self, entries: &[Entry]) {
        for line in entries.iter().flat_map(|entry| entry.lines) {
            let amount = i128::try_from(line.amount.atomic).unwrap();
            let key = (line.account.to_string(), line.amount.asset.network.chain_id);
            *self.sums.entry(key).or_default() += if line.side == Side::Credit { amount } else { -amount };
        }
    }

    fn step(&mut self, step: Step) {
        let Some(Change { record, entries }) = advance(&self.record, step).unwrap() else { return };
        self.append(&entries);
        if let Some(change) = bought(&self.record, &record, self.grant.as_ref(), 10) {
            self.append(&change.entries);
            self.grant = change.grants.into_iter().next().or(self.grant.take());
        }
        self.record = record;
    }

    fn spend(&mut self, amount: u64) {
        let held = self.hold(amount);
        self.end(&held, ChargeStep::Capture(amount));
    }

    fn end(&mut self, held: &ChargeRecord, step: ChargeStep) -> ChargeRecord {
        let grants: Vec<Grant> = self.grant.iter().cloned().collect();
        let mut change = crate::advance_charge(held, &grants, step, 20).unwrap().unwrap();
        let is_unpaid = !matches!(self.record.state, State::Posted(_));
        give_back_unpaid(&mut change, |_| is_unpaid, 20);
        self.append(&change.entries);
        self.grant = change.grants.into_iter().next().or(self.grant.take());
        assert_eq!(change.available, self.left());
        change.record
    }

    fn hold(&mut self, amount: u64) -> ChargeRecord {
        let charge = Charge {
            id: HoldId([1; 16]),
            key: KEY,
            unit: Unit::Credit,
            amount,
            micros: 0,
            route: String::new(),
            fingerprint: B256::ZERO,
            idempotency: None,
            opened_at_ms: 20,
            tags: None,
        };
        let Charged::Won(change) = crate::charge(&[self.grant.clone().unwrap()], charge) else { panic!("short") };
        self.grant = change.grants.into_iter().next();
        change.record
    }

    fn refund(&mut self, refunds: &mut Vec<Refund>, amount_atomic: u128) -> Result<(), RefundRefusal> {
        let id = RefundId([u8::try_from(refunds.len()).unwrap(); 16]);
        let refund = Refund {
            id,
            payment: self.record.hold.id,
            asset: self.record.hold.authorization.key.asset,
            to: self.record.hold.authorization.key.payer,
            amount_atomic,
            micros: 1,
            own_due: false,
            signed: None,
            seen: self.record.hold.seen,
            at_ms: 30,
            day: None,
            state: RefundState::Due,
            problem: None,
        };
        let record = Record { is_final: true, ..self.record.clone() };
        let change = request_refund(&record, refunds, self.grant.as_ref(), refund)?.unwrap();
        self.append(&change.gives_up.entries);
        self.append(&change.entries);
        self.grant = change.gives_up.grants.into_iter().next().or(self.grant.take());
        refunds.push(change.refund);
        Ok(())
    }

    fn sum(&self, account: &str, chain_id: u64) -> i128 {
        let found = self.sums.iter().filter(|((name, chain), _)| name.starts_with(account) && *chain == chain_id);
        found.map(|(_, sum)| sum).sum()
    }

    fn left(&self) -> u64 {
        self.grant.as_ref().map_or(0, |grant| grant.left)
    }

    /// What grants and books say of the balance must be the same, whatever happened.
    fn check(&self) {
        assert_eq!(self.sum("balance:", 0), i128::from(self.left()));
        assert!(self.grant.as_ref().is_none_or(|grant| grant.left <= grant.granted && grant.granted <= BOUGHT));
        let all: i128 = self.sums.values().sum();
        assert_eq!(all, 0, "{:?}", self.sums);
    }
}

#[test]
fn posted_it_is_granted_once_and_never_before() {
    let mut books = Books::of(purchase(BOUGHT));
    books.step(Step::Submit(B256::repeat_byte(5)));
    assert_eq!(books.grant, None);
    books.step(Step::Post(settled(5)));
    let grant = books.grant.clone().unwrap();
    assert_eq!((grant.id, grant.left, grant.source), (GrantId([9; 16]), BOUGHT, GrantSource::Payment(HoldId([9; 16]))));
    assert_eq!((books.sum("revenue:", 1), books.sum("conversion", 1)), (0, 5_000_000));
    assert_eq!((books.sum("conversion", 0), books.sum("external:", 1)), (-500, -5_000_000));
    books.step(Step::Post(settled(5)));
    books.step(Step::Post(Settled { block: 6, block_hash: B256::repeat_byte(6), ..settled(5) }));
    assert_eq!(books.left(), BOUGHT);
    books.check();
}

#[test]
fn a_reorg_takes_what_is_left_and_the_settlement_after_it_gives_that_back() {
    for spent in [0, 1, 200, BOUGHT] {
        let mut books = Books::of(purchase(BOUGHT));
        books.step(Step::Submit(B256::repeat_byte(5)));
        books.step(Step::Post(settled(5)));
        if spent > 0 {
            books.spend(spent);
        }
        books.step(Step::Unsettle(B256::repeat_byte(5)));
        assert_eq!((books.left(), books.sum("conversion", 1)), (0, 0), "spent {spent}");
        assert_eq!(books.sum("conversion", 0), -i128::from(spent), "the operator's loss");
        books.check();
        books.step(Step::Post(settled(8)));
        assert_eq!((books.left(), books.sum("conversion", 1)), (BOUGHT - spent, 5_000_000), "spent {spent}");
        assert_eq!(books.sum("conversion", 0), -500);
        books.check();
        // And once more.
        books.step(Step::Unsettle(B256::repeat_byte(8)));
        books.step(Step::Expire);
        assert_eq!((books.record.state, books.left()), (State::Lost(LossReason::Reorged), 0));
        // Money that comes after the end is not what was promised: it grants nothing.
        books.step(Step::Arrive(settled(9)));
        assert!(books.record.late && books.left() == 0);
        books.check();
    }
}

/// A call that runs while its payment goes: what it does not use is nobody's to spend, until the payment stands again.
#[test]
fn what_a_charge_gives_back_is_taken_back_while_the_payment_is_gone() {
    let release = ChargeStep::Release(crate::ReleaseReason::NotSent);
    for (steps, used) in [
        (&[release][..], 0),
        (&[ChargeStep::Capture(100)], 100),
        (&[ChargeStep::Capture(300)], 300),
        (&[ChargeStep::Capture(300), ChargeStep::Refund(120), ChargeStep::TakeBack], 0),
    ] {
        let mut books = Books::of(purchase(BOUGHT));
        books.step(Step::Submit(B256::repeat_byte(5)));
        books.step(Step::Post(settled(5)));
        let mut held = books.hold(300);
        books.step(Step::Unsettle(B256::repeat_byte(5)));
        for step in steps {
            held = books.end(&held, *step);
            assert_eq!(books.left(), 0, "{steps:?}");
            books.check();
        }
        assert_eq!(books.sum("conversion", 0), -i128::from(used), "the operator's loss");
        books.step(Step::Post(settled(8)));
        assert_eq!((books.left(), books.sum("conversion", 0)), (BOUGHT - used, -500));
        books.check();
    }
}

#[test]
fn money_that_comes_after_the_end_grants_nothing() {
    let mut books = Books::of(purchase(BOUGHT));
    books.step(Step::Release(crate::ReleaseReason::NotSent));
    books.step(Step::Arrive(settled(5)));
    assert_eq!((books.grant.clone(), books.sum("suspense:", 1)), (None, 5_000_000));
}

#[test]
fn a_pass_for_a_time_is_earned_and_grants_nothing() {
    let mut books = Books::of(Purchase { expires_at_ms: Some(100), ..purchase(0) });
    books.step(Step::Post(settled(5)));
    assert_eq!((books.grant.clone(), books.sum("revenue:", 1), books.sum("conversion", 1)), (None, 5_000_000, 0));
    assert_eq!(books.refund(&mut Vec::new(), PAID), Ok(()));
}

#[test]
fn what_was_bought_stands_when_an_answer_is_lost() {
    for lost_first in [true, false] {
        let mut books = Books::of(purchase(BOUGHT));
        books.step(Step::Submit(B256::repeat_byte(5)));
        if lost_first {
            books.step(Step::LoseAnswer);
        }
        books.step(Step::Post(settled(5)));
        books.step(Step::LoseAnswer);
        assert!(!books.record.refund_due && books.record.answer == AnswerState::Lost, "both would be twice");
        assert_eq!((books.left(), books.sum("refund_due:", 1)), (BOUGHT, 0));
    }
}

#[test]
fn a_purchase_is_never_on_the_tab() {
    let plenty = crate::Exposure { payer_micros: u64::MAX, source_micros: u64::MAX, gate_micros: u64::MAX };
    let funds = Funds { balance_atomic: None, unsettled_atomic: 0, exposed: crate::Exposure::default(), caps: plenty };
    for (buys, want) in [(None, Rail::Tab), (Some(purchase(0)), Rail::Direct), (Some(purchase(1)), Rail::Direct)] {
        let asked = Hold { rail: Rail::Tab, ..hold(buys) };
        let Reservation::Won(change) = reserve(None, None, asked, &funds) else { panic!("not won") };
        assert_eq!(change.record.hold.rail, want);
    }
}

/// What is given back of a payment is no balance any more, and what was used is not given back.
#[test]
fn a_refund_takes_its_part_of_the_balance() {
    let mut books = Books::of(purchase(BOUGHT));
    books.step(Step::Post(settled(5)));
    books.spend(100);
    let mut refunds = Vec::new();
    assert_eq!(books.refund(&mut refunds, PAID), Err(RefundRefusal::Used { left_atomic: 4_000_000 }));
    assert_eq!((books.left(), refunds.len()), (400, 0));
    assert_eq!(books.refund(&mut refunds, 1), Ok(()));
    assert_eq!(books.left(), 399, "a part of a credit is a credit");
    assert_eq!(books.refund(&mut refunds, 9_999), Ok(()));
    assert_eq!(books.left(), 399, "and is taken once");
    books.spend(99);
    assert_eq!(books.refund(&mut refunds, 3_990_000), Err(RefundRefusal::Used { left_atomic: 3_000_000 }));
    assert_eq!(books.refund(&mut refunds, 3_000_000), Ok(()));
    assert_eq!(books.refund(&mut refunds, 1), Err(RefundRefusal::Used { left_atomic: 0 }));
    assert_eq!(books.left(), 0);
    assert_eq!(books.sum("refund_due:", 1), 3_010_000);
    assert_eq!(books.sum("conversion", 0), -199, "what was used");
    books.check();
}
