//! One row per case, the expected outcome last.

mod answer;
mod every;
mod money;
mod reorg;
mod reserve;

use super::*;
use crate::{BlockRef, Exposure, HoldId, Side, Source};
use alloy_primitives::{Address, B256};
use protocol::{Asset, AssetAddress, Authorization, ClaimKey, Network, Payee, Payer, Signature};

const PRICE: u128 = 10_000;
const MICROS: u64 = 10_000;

fn hold(rail: Rail) -> Hold {
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
        rail,
        source: Source([6; 16]),
        exposure_micros: MICROS,
        buys: None,
    }
}

const HERE: B256 = B256::repeat_byte(0x66);
const ELSEWHERE: B256 = B256::repeat_byte(0x77);

fn settled(byte: u8) -> Settled {
    let hold = hold(Rail::Direct);
    Settled {
        chain_tx: B256::repeat_byte(byte),
        block: 6,
        block_hash: HERE,
        amount: hold.authorization.amount(),
        payer: hold.authorization.key.payer,
    }
}

/// A record in some state. Money of a stranger's transfer is in suspense from the start.
fn record(rail: Rail, state: State, answer: AnswerState) -> Record {
    Record { state, answer, late: state == FOREIGN, ..Record::new(hold(rail)) }
}

fn posted() -> State {
    State::Posted(settled(1))
}

const SUBMITTED: State = State::Submitted(B256::repeat_byte(1));
const RELEASED: State = State::Released(ReleaseReason::NotSent);
const FREE: State = State::Released(ReleaseReason::FreeStatus);
const EXPIRED: State = State::Released(ReleaseReason::Expired);
const BURNT: State = State::Burnt(BurnReason::Unanswered);
const REFUSED: State = State::Burnt(BurnReason::SettlementRefused);
const FOREIGN: State = State::Burnt(BurnReason::ForeignTransfer);
const LOST: State = State::Lost(LossReason::Emptied);

fn state_word(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Answered => "answered",
        State::Submitted(_) => "submitted",
        State::Posted(_) => "posted",
        State::Released(_) => "released",
        State::Burnt(_) => "burnt",
        State::Lost(_) => "lost",
    }
}

/// The outcome of a money step in a word: the new state and the kinds of entries, `=` for a repeat, `-` for a violation.
fn outcome(record: &Record, step: Step) -> String {
    match advance(record, step) {
        Err(violation) => {
            assert_eq!(violation, Violation { state: record.state, step });
            "-".to_owned()
        }
        Ok(None) => "=".to_owned(),
        Ok(Some(change)) => {
            let kinds: Vec<_> = change.entries.iter().map(|entry| entry.kind.code()).collect();
            format!("{} {}", state_word(change.record.state), kinds.join("+")).trim().to_owned()
        }
    }
}

/// The same for a step of the answer, with where the answer then is.
fn answer_outcome(record: &Record, step: Step) -> String {
    match advance(record, step) {
        Ok(Some(change)) => format!("{}, {:?}", outcome(record, step), change.record.answer),
        Ok(None) | Err(_) => outcome(record, step),
    }
}
