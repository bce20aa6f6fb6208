//! One row per case, the expected outcome last.

use super::*;
use crate::{BlockRef, HoldId, Side};
use alloy_primitives::{Address, B256};
use protocol::{Asset, AssetAddress, Authorization, ClaimKey, Network, Payee, Payer, Signature};

const PRICE: u128 = 10_000;

fn hold() -> Hold {
    let asset = Asset { network: Network::BASE_SEPOLIA, address: AssetAddress(Address::repeat_byte(3)) };
    let key = ClaimKey { asset, payer: Payer(Address::repeat_byte(1)), nonce: B256::repeat_byte(9) };
    let mut signature = [1; 65];
    signature[64] = 27;
    Hold {
        id: HoldId([7; 16]),
        authorization: Authorization {
            key,
            payee: Payee(Address::repeat_byte(2)),
            amount_atomic: PRICE,
            valid_after_s: 0,
            valid_before_s: 2_000_000_000,
            signature: Signature::from_bytes(&signature).unwrap(),
        },
        route: "GET /paid".to_owned(),
        fingerprint: B256::repeat_byte(4),
        idempotency: None,
        seen: BlockRef { number: 5, hash: B256::repeat_byte(5) },
        opened_at_ms: 1,
    }
}

fn settled(byte: u8) -> Settled {
    let hold = hold();
    Settled {
        chain_tx: B256::repeat_byte(byte),
        block: 6,
        amount: hold.authorization.amount(),
        payer: hold.authorization.key.payer,
    }
}

fn in_state(state: State) -> Record {
    Record { state, ..Record::new(hold()) }
}

const SUBMITTED: State = State::Submitted(B256::repeat_byte(1));
const SUBMIT: Step = Step::Submit(B256::repeat_byte(1));
const RELEASED: State = State::Released(ReleaseReason::NotSent);
const FREE: State = State::Released(ReleaseReason::FreeStatus);
const EXPIRED: State = State::Released(ReleaseReason::Expired);
const BURNT: State = State::Burnt(BurnReason::Unanswered);
const REFUSED: State = State::Burnt(BurnReason::SettlementRefused);

#[test]
fn reserve_table() {
    let posted = State::Posted(settled(1));
    for (latest, balance, unsettled, want) in [
        (None, PRICE, 0, "won"),
        (None, PRICE - 1, 0, "refused"),
        (None, PRICE, 1, "refused"),
        (None, PRICE * 2, PRICE, "won"),
        (None, u128::MAX, u128::MAX, "refused"),
        (Some(State::Open), PRICE, 0, "taken"),
        (Some(SUBMITTED), PRICE, 0, "taken"),
        (Some(posted), PRICE, 0, "taken"),
        (Some(BURNT), PRICE, 0, "taken"),
        (Some(RELEASED), PRICE, 0, "won"),
        (Some(FREE), PRICE, 0, "won"),
        (Some(EXPIRED), PRICE, 0, "taken"),
    ] {
        let got = match reserve(latest.map(in_state), hold(), balance, unsettled) {
            Reservation::Won(change) => {
                assert_eq!(change.record, Record::new(hold()));
                assert!(change.entries.is_empty());
                "won"
            }
            Reservation::Taken(_) => "taken",
            Reservation::Refused(refusal) => {
                assert_eq!(refusal, Refusal::InsufficientBalance);
                "refused"
            }
        };
        assert_eq!(got, want, "{latest:?} balance {balance} unsettled {unsettled}");
    }
}

#[test]
fn money_that_came_late_closes_the_claim() {
    let record = Record { late: true, ..in_state(RELEASED) };
    assert_eq!(reserve(Some(record), hold(), PRICE, 0), Reservation::Refused(Refusal::NonceAlreadyUsed));
}

/// The outcome as a word: the new state and the kinds of entries, `same` for a repeat, `violation`.
fn outcome(record: &Record, step: Step) -> String {
    match advance(record, step) {
        Err(_) => "violation".to_owned(),
        Ok(None) => "same".to_owned(),
        Ok(Some(change)) => {
            let state = match change.record.state {
                State::Open => "open",
                State::Submitted(_) => "submitted",
                State::Posted(_) => "posted",
                State::Released(_) => "released",
                State::Burnt(_) => "burnt",
            };
            let kinds: Vec<_> = change.entries.iter().map(|entry| entry.kind.code()).collect();
            format!("{state} {}", kinds.join("+")).trim().to_owned()
        }
    }
}

#[test]
fn advance_table() {
    let posted = State::Posted(settled(1));
    let post = Step::Post(settled(1));
    let other = Step::Post(settled(2));
    let release = Step::Release(ReleaseReason::NotSent);
    let expire = Step::Release(ReleaseReason::Expired);
    let burn = Step::Burn(BurnReason::Unanswered);
    let refuse = Step::Burn(BurnReason::SettlementRefused);
    let foreign = Step::Burn(BurnReason::ForeignTransfer);
    for (state, step, want) in [
        (State::Open, SUBMIT, "submitted"),
        (SUBMITTED, SUBMIT, "submitted"),
        (posted, SUBMIT, "violation"),
        (RELEASED, SUBMIT, "violation"),
        (BURNT, SUBMIT, "violation"),
        (State::Open, post, "posted posted"),
        (SUBMITTED, post, "posted posted"),
        (posted, post, "same"),
        (posted, other, "violation"),
        (RELEASED, post, "released late"),
        (EXPIRED, post, "released late"),
        (BURNT, post, "burnt late"),
        (State::Open, release, "released"),
        (RELEASED, release, "same"),
        (SUBMITTED, release, "violation"),
        (posted, release, "violation"),
        (BURNT, release, "violation"),
        (State::Open, expire, "violation"),
        (SUBMITTED, expire, "released"),
        (posted, expire, "violation"),
        (State::Open, burn, "burnt"),
        (BURNT, burn, "same"),
        (SUBMITTED, burn, "violation"),
        (posted, burn, "violation"),
        (State::Open, refuse, "burnt"),
        (SUBMITTED, refuse, "burnt"),
        (REFUSED, refuse, "same"),
        (posted, refuse, "violation"),
        (State::Open, foreign, "burnt late"),
        (SUBMITTED, foreign, "burnt late"),
        (posted, foreign, "violation"),
        (posted, Step::LoseAnswer, "posted refund_due"),
        (SUBMITTED, Step::LoseAnswer, "submitted"),
        (BURNT, Step::LoseAnswer, "burnt"),
        (SUBMITTED, Step::Pend, "submitted"),
        (posted, Step::KeepAnswer, "posted"),
    ] {
        assert_eq!(outcome(&in_state(state), step), want, "{state:?} {step:?}");
    }
}

#[test]
fn an_answer_that_was_lost_before_the_money_moved_is_owed_back_when_it_moves() {
    let lost = Record { answer: AnswerState::Lost, ..in_state(SUBMITTED) };
    assert_eq!(outcome(&lost, Step::Post(settled(1))), "posted posted+refund_due");
    let change = advance(&lost, Step::Post(settled(1))).unwrap().unwrap();
    assert!(change.record.refund_due);
    assert_eq!(outcome(&change.record, Step::LoseAnswer), "same");
    assert_eq!(outcome(&lost, Step::KeepAnswer), "violation");
}

#[test]
fn late_money_is_written_once() {
    let change = advance(&in_state(BURNT), Step::Post(settled(1))).unwrap().unwrap();
    assert!(change.record.late);
    assert_eq!(outcome(&change.record, Step::Post(settled(1))), "same");
}

#[test]
fn every_entry_balances_and_names_its_accounts() {
    let change = advance(&in_state(SUBMITTED), Step::Post(settled(1))).unwrap().unwrap();
    let [debit, credit] = change.entries[0].lines;
    assert_eq!((debit.side, credit.side), (Side::Debit, Side::Credit));
    assert_eq!(debit.amount, credit.amount);
    assert_eq!(debit.account.to_string(), format!("external:{}", Address::repeat_byte(1)));
    assert_eq!(credit.account.to_string(), format!("revenue:{}", Address::repeat_byte(2)));
}
