//! Who wins a claim, on which rail, and who is refused.

use super::*;

const ROOMY: Exposure = Exposure { payer_micros: u64::MAX, source_micros: u64::MAX, gate_micros: u64::MAX };

/// Funds of a payer who owes nothing on a tab with room.
fn funds(balance_atomic: impl Into<Option<u128>>, unsettled_atomic: u128) -> Funds {
    let exposed = Exposure::default();
    Funds { balance_atomic: balance_atomic.into(), unsettled_atomic, exposed, caps: ROOMY }
}

/// What is said, with the rail that was won.
fn word(latest: Option<Record>, hold: &Hold, funds: &Funds) -> &'static str {
    match reserve(latest.clone(), None, hold.clone(), funds) {
        Reservation::Won(change) => {
            let rail = change.record.hold.rail;
            let expected = Hold { rail, ..hold.clone() };
            assert_eq!(change.record, Record::new(expected), "nothing but the rail is decided here");
            assert!(change.entries.is_empty());
            if rail == Rail::Tab { "won tab" } else { "won direct" }
        }
        Reservation::Taken(record) => {
            assert_eq!(Some(record), latest, "the record that has it");
            "taken"
        }
        Reservation::Refused(Refusal::InsufficientBalance) => "short",
        Reservation::Refused(Refusal::NonceAlreadyUsed) => "used",
        Reservation::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn a_claim_is_won_once_unless_it_was_let_go() {
    for (latest, late, want) in [
        (None, false, "won"),
        (Some(State::Open), false, "taken"),
        (Some(State::Answered), false, "taken"),
        (Some(SUBMITTED), false, "taken"),
        (Some(posted()), false, "taken"),
        (Some(BURNT), false, "taken"),
        (Some(REFUSED), false, "taken"),
        (Some(State::Burnt(BurnReason::Interrupted)), false, "taken"),
        (Some(State::Burnt(BurnReason::Broken)), false, "taken"),
        (Some(FOREIGN), true, "taken"),
        (Some(LOST), false, "taken"),
        (Some(LOST), true, "taken"),
        (Some(State::Lost(LossReason::Expired)), false, "taken"),
        (Some(EXPIRED), false, "taken"),
        (Some(EXPIRED), true, "taken"),
        (Some(RELEASED), false, "won"),
        (Some(FREE), false, "won"),
        // Money that came late closes the claim.
        (Some(RELEASED), true, "used"),
        (Some(FREE), true, "used"),
    ] {
        for (rail, won) in [(Rail::Direct, "won direct"), (Rail::Tab, "won tab")] {
            for earlier_rail in [Rail::Direct, Rail::Tab] {
                let latest = latest.map(|state| Record { late, ..record(earlier_rail, state, AnswerState::Live) });
                let want = if want == "won" { won } else { want };
                assert_eq!(word(latest.clone(), &hold(rail), &funds(PRICE, 0)), want, "{latest:?}");
                // A taken claim is said to be taken whatever the payer has.
                if want == "taken" || want == "used" {
                    assert_eq!(word(latest.clone(), &hold(rail), &funds(0, u128::MAX)), want, "{latest:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_owed_already_counts_against_the_balance() {
    for (balance, unsettled, want) in [
        (Some(PRICE), 0, "won"),
        (Some(PRICE - 1), 0, "short"),
        (Some(PRICE), 1, "short"),
        (Some(PRICE * 2), PRICE, "won"),
        (Some(PRICE * 2), PRICE + 1, "short"),
        (Some(0), 0, "short"),
        (Some(u128::MAX), 0, "won"),
        (Some(u128::MAX), u128::MAX - PRICE, "won"),
        (Some(u128::MAX), u128::MAX - PRICE + 1, "short"),
        (Some(u128::MAX), u128::MAX, "short"),
        // The chain was not asked: what he has is not known, and neither is what he lacks.
        (None, 0, "won"),
        (None, PRICE, "won"),
        (None, u128::MAX, "won"),
    ] {
        for (rail, won) in [(Rail::Direct, "won direct"), (Rail::Tab, "won tab")] {
            let want = if want == "won" { won } else { want };
            assert_eq!(word(None, &hold(rail), &funds(balance, unsettled)), want, "{balance:?} {unsettled}");
        }
    }
}

/// What is exposed, and its cap, each of one kind while the others are far away.
#[test]
fn a_tab_without_room_is_settled_at_once() {
    type Put = fn(&mut Exposure, u64);
    let kinds: [(&str, Put); 3] = [
        ("payer", |exposure, micros| exposure.payer_micros = micros),
        ("source", |exposure, micros| exposure.source_micros = micros),
        ("gate", |exposure, micros| exposure.gate_micros = micros),
    ];
    for (kind, put) in kinds {
        for (exposed, more, cap, want) in [
            (0, MICROS, MICROS, "won tab"),
            (0, MICROS, MICROS - 1, "won direct"),
            (MICROS, MICROS, 2 * MICROS, "won tab"),
            (MICROS + 1, MICROS, 2 * MICROS, "won direct"),
            (MICROS, MICROS, 2 * MICROS - 1, "won direct"),
            (2 * MICROS, MICROS, MICROS, "won direct"),
            (0, 0, 0, "won tab"),
            (0, 1, 0, "won direct"),
            // A sum that no number holds is above every cap that says something.
            (u64::MAX, MICROS, u64::MAX - 1, "won direct"),
            (1, u64::MAX, u64::MAX - 1, "won direct"),
            (u64::MAX, u64::MAX, u64::MAX - 1, "won direct"),
            (u64::MAX - 1, 1, u64::MAX, "won tab"),
        ] {
            let mut funds = funds(PRICE, 0);
            put(&mut funds.exposed, exposed);
            put(&mut funds.caps, cap);
            let tab = Hold { exposure_micros: more, ..hold(Rail::Tab) };
            assert_eq!(word(None, &tab, &funds), want, "{kind}: {exposed} + {more} of {cap}");
            let direct = Hold { rail: Rail::Direct, ..tab };
            assert_eq!(word(None, &direct, &funds), "won direct", "{kind}: what is paid at once needs no room");
        }
    }
}

/// The balance is looked at on either rail: a tab that is full does not make a payer richer.
#[test]
fn a_full_tab_and_an_empty_wallet_are_refused() {
    let full = Funds { caps: Exposure::default(), ..funds(PRICE - 1, 0) };
    assert_eq!(word(None, &hold(Rail::Tab), &full), "short");
    let not_asked = Funds { balance_atomic: None, ..full };
    assert_eq!(word(None, &hold(Rail::Tab), &not_asked), "won direct");
}

#[test]
fn what_a_hold_adds_to_the_exposure() {
    for (state, tab) in [
        (State::Open, MICROS),
        (State::Answered, MICROS),
        (SUBMITTED, MICROS),
        (posted(), 0),
        (RELEASED, 0),
        (EXPIRED, 0),
        (BURNT, 0),
        (FOREIGN, 0),
        (LOST, 0),
    ] {
        for answer in [AnswerState::Live, AnswerState::Kept, AnswerState::Delivered, AnswerState::Lost] {
            assert_eq!(record(Rail::Tab, state, answer).exposed_micros(), tab, "{state:?} {answer:?}");
            assert_eq!(record(Rail::Direct, state, answer).exposed_micros(), 0, "{state:?} {answer:?}");
        }
    }
}

/// One name, one payment: another of the same name is not taken, whatever the claim itself would be.
#[test]
fn a_namesake_has_the_name() {
    let mut namesake = record(Rail::Direct, posted(), AnswerState::Delivered);
    namesake.hold.authorization.key.nonce = B256::repeat_byte(8);
    for latest in [None, Some(RELEASED), Some(FREE)] {
        let latest = latest.map(|state| record(Rail::Direct, state, AnswerState::Live));
        for funds in [funds(PRICE, 0), funds(0, 0)] {
            let got = reserve(latest.clone(), Some(namesake.clone()), hold(Rail::Tab), &funds);
            assert_eq!(got, Reservation::Taken(namesake.clone()), "{latest:?}");
        }
    }
    // A claim that has its own record is answered by that.
    let latest = record(Rail::Direct, BURNT, AnswerState::Live);
    let got = reserve(Some(latest.clone()), Some(namesake), hold(Rail::Tab), &funds(PRICE, 0));
    assert_eq!(got, Reservation::Taken(latest));
}
