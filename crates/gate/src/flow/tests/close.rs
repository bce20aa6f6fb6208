//! The end of a hold: which steps are journalled, in which order, and what is said of the money.

use super::*;
use crate::FreeReason;

const SETTLED: fn() -> Settlement = || Settlement::Settled(settled());
const REFUSED: fn() -> Settlement = || Settlement::Refused(Refusal::InsufficientBalance);
const UNKNOWN: fn() -> Settlement = || Settlement::Unknown { chain_tx: Some(CHAIN_TX) };
/// The lane did not take it.
const UNSENT: fn() -> Settlement = || Settlement::Unknown { chain_tx: None };

/// Outcome and settlement; what is said, the calls, the record and the entries after.
type Row = (Outcome, fn() -> Settlement, &'static str, &'static str, &'static str, &'static str);

fn table(failing: &[&'static str], rows: &[Row]) {
    for (outcome, settlement, want, calls, record, entries) in rows {
        let (world, flow, permit) = won();
        world.settlement.set(settlement());
        for method in failing {
            world.fail(method);
        }
        let closed = now(flow.close(permit, *outcome));
        let what = format!("{outcome:?} {:?}", settlement());
        assert_eq!(closed_word(&closed), *want, "{what}");
        assert_eq!(world.calls(), *calls, "{what}");
        assert_eq!(state_word(&world.only()), *record, "{what}");
        assert_eq!(kinds(&world), *entries, "{what}");
        assert!(world.closes.borrow().is_empty(), "{what}: a closed permit closes nothing more");
    }
}

#[test]
fn outcomes_that_cost_nothing() {
    let reading = Some(0);
    let burn = ("nothing due", "advance burn Unanswered", "burnt Unanswered, Live");
    let free = ("nothing due", "advance release FreeStatus", "released FreeStatus, Live");
    let nothing = ("nothing due", "advance release NotSent", "released NotSent, Live");
    for settlement in [SETTLED, REFUSED, UNKNOWN, UNSENT] {
        for (outcome, (want, calls, record)) in [
            (Outcome::NotSent, nothing),
            (Outcome::Unanswered, burn),
            (Outcome::Free(FreeReason::Status), free),
            (Outcome::Free(FreeReason::Policy), burn),
            (Outcome::Served { reading }, burn),
            (Outcome::Cut { reading }, burn),
            (Outcome::Broken { reading }, burn),
            // `exact` cannot move less than was signed, and nobody is charged more than his reading.
            (Outcome::Served { reading: Some(AMOUNT - 1) }, burn),
            (Outcome::Cut { reading: Some(1) }, burn),
            (Outcome::Broken { reading: Some(AMOUNT - 1) }, burn),
        ] {
            table(&[], &[(outcome, settlement, want, calls, record, "")]);
        }
    }
}

#[test]
fn outcomes_that_are_charged() {
    const REFUSED_WORD: &str = "refused invalid_exact_evm_insufficient_balance";
    const REFUSED_CALLS: &str = "settle, advance refuse Failed";
    for outcome in [
        Outcome::Served { reading: None },
        Outcome::Served { reading: Some(AMOUNT) },
        // A reading above the hold is charged as the hold.
        Outcome::Served { reading: Some(AMOUNT + 1) },
        Outcome::Cut { reading: None },
        Outcome::Cut { reading: Some(AMOUNT) },
        Outcome::Unseen,
    ] {
        table(
            &[],
            &[
                (outcome, SETTLED, "settled", "settle, advance post", "posted, Live", "posted"),
                (outcome, REFUSED, REFUSED_WORD, REFUSED_CALLS, "burnt SettlementRefused, Live", ""),
                (outcome, UNKNOWN, "pending with hash", "settle, pend", "submitted, Pending", ""),
                (outcome, UNSENT, "pending", "settle, pend", "open, Pending", ""),
            ],
        );
    }
}

/// The charge stands and is owed back; where nothing moved, nothing is owed.
#[test]
fn an_answer_that_broke_is_charged_and_lost() {
    for reading in [None, Some(AMOUNT), Some(u128::MAX)] {
        let broken = Outcome::Broken { reading };
        table(
            &[],
            &[
                (
                    broken,
                    SETTLED,
                    "settled",
                    "settle, advance post, advance lose answer",
                    "posted, Lost, refund",
                    "posted refund_due",
                ),
                (
                    broken,
                    REFUSED,
                    "refused invalid_exact_evm_insufficient_balance",
                    "settle, advance refuse Failed",
                    "burnt SettlementRefused, Live",
                    "",
                ),
                (
                    broken,
                    UNKNOWN,
                    "settlement_unavailable (money: unknown)",
                    "settle, pend, advance lose answer",
                    "submitted, Lost",
                    "",
                ),
                (
                    broken,
                    UNSENT,
                    "settlement_unavailable (money: unknown)",
                    "settle, pend, advance lose answer",
                    "open, Lost",
                    "",
                ),
            ],
        );
    }
}

const HELD: &str = "journal_unavailable (money: held)";
const MOVED: &str = "journal_unavailable (money: moved)";
const NOT_KNOWN: &str = "journal_unavailable (money: unknown)";

/// Every step that the journal did not take is left to the host, and the fault says where the money is.
#[test]
fn faults_of_advance() {
    let served = Outcome::Served { reading: None };
    let broken = Outcome::Broken { reading: None };
    let post = "settle, advance post, later post, later lose answer";
    let post_broken = "settle, advance post, later post, later lose answer, advance lose answer, later lose answer";
    let refused = "refused invalid_exact_evm_insufficient_balance";
    let burn = "settle, advance refuse Failed, later refuse Failed";
    let release = "advance release NotSent, later release NotSent";
    let free = "advance release FreeStatus, later release FreeStatus";
    let unanswered = "advance burn Unanswered, later burn Unanswered";
    let lost = "settle, pend, advance lose answer, later lose answer";
    table(
        &["advance"],
        &[
            (Outcome::NotSent, SETTLED, HELD, release, "open, Live", ""),
            (Outcome::Unanswered, SETTLED, HELD, unanswered, "open, Live", ""),
            (Outcome::Free(FreeReason::Status), SETTLED, HELD, free, "open, Live", ""),
            (Outcome::Free(FreeReason::Policy), SETTLED, HELD, unanswered, "open, Live", ""),
            (Outcome::Served { reading: Some(1) }, SETTLED, HELD, unanswered, "open, Live", ""),
            (served, SETTLED, MOVED, post, "submitted, Live", ""),
            (broken, SETTLED, MOVED, post_broken, "submitted, Live", ""),
            // The chain has refused: the money is untouched, whether or not the journal knows it already.
            (served, REFUSED, refused, burn, "open, Live", ""),
            (broken, REFUSED, refused, burn, "open, Live", ""),
            (served, UNKNOWN, "pending with hash", "settle, pend", "submitted, Pending", ""),
            (broken, UNKNOWN, "settlement_unavailable (money: unknown)", lost, "submitted, Pending", ""),
        ],
    );
}

#[test]
fn faults_of_pend() {
    let served = Outcome::Served { reading: None };
    let broken = Outcome::Broken { reading: None };
    let later = "settle, pend, later lose answer";
    let lost = "settle, pend, later lose answer, advance lose answer";
    table(
        &["pend"],
        &[
            (served, SETTLED, "settled", "settle, advance post", "posted, Live", "posted"),
            (served, UNKNOWN, NOT_KNOWN, later, "submitted, Live", ""),
            (served, UNSENT, NOT_KNOWN, later, "open, Live", ""),
            (broken, UNKNOWN, NOT_KNOWN, lost, "submitted, Lost", ""),
        ],
    );
    let both = "settle, pend, later lose answer, advance lose answer, later lose answer";
    table(&["pend", "advance"], &[(broken, UNKNOWN, NOT_KNOWN, both, "submitted, Live", "")]);
}

/// Whatever the order in which the host gets them through, the money is booked once and owed back once.
#[test]
fn left_steps_may_be_taken_in_any_order() {
    for backwards in [false, true] {
        for outcome in [Outcome::Served { reading: None }, Outcome::Broken { reading: None }] {
            let (world, flow, permit) = won();
            world.fail("advance");
            now(flow.close(permit, outcome));
            world.failing.borrow_mut().clear();
            let mut left = world.laters.take();
            if backwards {
                left.reverse();
            }
            for (hold, step) in left {
                now(world.advance(hold, step)).unwrap();
            }
            assert_eq!(state_word(&world.only()), "posted, Lost, refund", "{outcome:?} {backwards}");
            assert_eq!(kinds(&world), "posted refund_due", "{outcome:?} {backwards}");
        }
    }
}

#[test]
fn the_pick_up_code_is_random_and_only_its_digest_is_stored() {
    let (world, flow, permit) = won();
    let id = permit.hold().unwrap().id;
    world.settlement.set(UNKNOWN());
    let closed = now(flow.close(permit, Outcome::Unseen));
    let Closed::Pending { hold, pickup, receipt } = closed else { panic!("{closed:?}") };
    assert_eq!((hold, pickup), (id, [2; 16]));
    assert_ne!(pickup, id.0);
    assert_eq!(world.pended.get(), Some((id, secret_digest(&pickup))));
    let (network, payer) = (Network::BASE_SEPOLIA, settled().payer);
    assert_eq!(receipt, Receipt::Pending { network, payer, chain_tx: Some(CHAIN_TX) });
}

#[test]
fn an_answer_that_breaks_after_the_charge_is_owed_back() {
    let (world, flow, permit) = won();
    let id = permit.hold().unwrap().id;
    assert_eq!(now(flow.close(permit, Outcome::Served { reading: None })), Closed::Settled(settled()));
    now(flow.answer_broke(id));
    now(flow.answer_broke(id));
    assert_eq!(state_word(&world.only()), "posted, Lost, refund");
    assert_eq!(world.entries.borrow().len(), 2);
    world.fail("advance");
    world.calls();
    now(flow.answer_broke(id));
    assert_eq!(world.calls(), "advance lose answer, later lose answer");
}

/// A hold that the journal never got (its `reserve` failed) is closed without a word.
#[test]
fn a_hold_that_nobody_knows_is_closed_to_nothing() {
    let (world, flow, permit) = won();
    world.records.borrow_mut().clear();
    assert_eq!(now(flow.close(permit, Outcome::NotSent)), Closed::NothingDue);
    assert_eq!(world.calls(), "advance release NotSent");
}
