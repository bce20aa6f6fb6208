//! Money that moves before the run, and money that is given back after it.

use super::*;
use crate::Prepaid;

const REFUSED: Settlement = Settlement::Refused(Refusal::InsufficientBalance);
const UNKNOWN: Settlement = Settlement::Unknown { chain_tx: Some(CHAIN_TX) };
/// The lane did not take it.
const UNSENT: Settlement = Settlement::Unknown { chain_tx: None };

fn first() -> Snapshot {
    let terms =
        Terms { offers: vec![offer()], rail: Rail::Direct, exposure_micros: MICROS, settle_first: true, sells: None };
    let mut snapshot = snapshot();
    snapshot.routes[1].price = Price::Due(terms);
    snapshot
}

/// A payment that moved, before its run.
fn prepaid() -> (Rc<World>, Rig, Prepaid<Rc<World>>) {
    let (world, flow, permit) = won_by(&first());
    assert!(permit.is_first());
    let prepaid = now(flow.prepay(permit)).unwrap();
    world.calls();
    (world, flow, prepaid)
}

#[test]
fn only_a_route_that_says_so_is_paid_first() {
    let (_, _, permit) = won();
    assert!(!permit.is_first());
    let (_, _, permit) = won_by(&tab_snapshot());
    assert!(!permit.is_first());
}

#[test]
fn the_journal_knows_that_an_answer_is_owed_before_the_money_moves() {
    let refused = "refused invalid_exact_evm_insufficient_balance";
    let (held, moved) = ("journal_unavailable (money: held)", "journal_unavailable (money: moved)");
    let unknown = "journal_unavailable (money: unknown)";
    let posted_late = "advance pend, settle, advance post, later post, later lose answer, advance lose answer";
    let refuse = "advance pend, settle, advance refuse Failed, advance lose answer";
    let refuse_late = "advance pend, settle, advance refuse Failed, later refuse Failed, advance lose answer";
    let pend = "advance pend, settle, pend, advance lose answer";
    let pend_late = "advance pend, settle, pend, later lose answer, advance lose answer";
    let lose_late = "advance pend, settle, pend, advance lose answer, later lose answer";
    for (settlement, fails, want, calls, record, entries) in [
        (
            Settlement::Settled(settled()),
            "",
            "prepaid",
            "advance pend, settle, advance post",
            "posted, Pending",
            "posted",
        ),
        (REFUSED, "", refused, refuse, "burnt SettlementRefused, Lost", ""),
        (UNKNOWN, "", "pending with hash", pend, "submitted, Lost", ""),
        (UNSENT, "", "pending", pend, "open, Lost", ""),
        // A journal that fails at each step in turn.
        (Settlement::Settled(settled()), "advance pend", held, "advance pend, later release NotSent", "open, Live", ""),
        (Settlement::Settled(settled()), "advance post", moved, posted_late, "submitted, Lost", ""),
        (REFUSED, "advance refuse Failed", refused, refuse_late, "open, Lost", ""),
        (UNKNOWN, "pend", unknown, pend_late, "submitted, Lost", ""),
        (UNSENT, "pend", unknown, pend_late, "open, Lost", ""),
        (UNKNOWN, "advance lose answer", "pending with hash", lose_late, "submitted, Pending", ""),
    ] {
        let (world, flow, permit) = won_by(&first());
        world.settlement.set(settlement);
        if !fails.is_empty() {
            world.fail(fails);
        }
        let got = match now(flow.prepay(permit)) {
            Ok(mut prepaid) => {
                assert_eq!(*prepaid.settled(), settled());
                assert_eq!(prepaid.hold(), Some(world.only().hold.id));
                assert_eq!(world.calls(), calls);
                prepaid.served();
                "prepaid".to_owned()
            }
            Err(closed) => {
                assert_eq!(world.calls(), calls, "{settlement:?} {fails}");
                closed_word(&closed)
            }
        };
        assert_eq!(got, want, "{settlement:?} {fails}");
        assert_eq!((state_word(&world.only()), kinds(&world)), (record.to_owned(), entries.to_owned()), "{fails}");
        assert!(world.closes.borrow().is_empty(), "what was taken out is not closed again");
    }
}

/// In whatever order the host gets them through, and also if the step that failed was taken after all.
#[test]
fn steps_that_were_left_end_where_the_money_is() {
    for (fails, taken, want, entries) in [
        ("advance pend", None, "released NotSent, Live", ""),
        ("advance pend", Some(Step::Pend), "released NotSent, Pending", ""),
        ("advance post", None, "posted, Lost, refund", "posted refund_due"),
        ("advance post", Some(Step::Post(settled())), "posted, Lost, refund", "posted refund_due"),
    ] {
        for backwards in [false, true] {
            let (world, flow, permit) = won_by(&first());
            world.fail(fails);
            now(flow.prepay(permit)).unwrap_err();
            world.failing.borrow_mut().clear();
            let hold = world.only().hold.id;
            let mut left: Vec<_> = taken.map(|step| (hold, step)).into_iter().chain(world.laters.take()).collect();
            if backwards && taken.is_none() {
                left.reverse();
            }
            for (hold, step) in left {
                now(world.advance(hold, step)).unwrap();
            }
            let got = (state_word(&world.only()), kinds(&world));
            assert_eq!(got, (want.to_owned(), entries.to_owned()), "{fails} {backwards}");
        }
    }
}

#[test]
fn whoever_has_paid_gets_his_answer_or_his_money() {
    for (serves, want, entries, steps) in [
        (0, "posted, Lost, refund", "posted refund_due", "later lose answer"),
        (1, "posted, Delivered", "posted", "later deliver"),
        (2, "posted, Delivered", "posted", "later deliver"),
    ] {
        let (world, _, mut prepaid) = prepaid();
        for _ in 0..serves {
            prepaid.served();
        }
        drop(prepaid);
        assert_eq!(world.calls(), steps);
        for (hold, step) in world.laters.take() {
            now(world.advance(hold, step)).unwrap();
        }
        assert_eq!((state_word(&world.only()), kinds(&world)), (want.to_owned(), entries.to_owned()), "{serves}");
    }
}

/// A credential whose money moved first is never run for again, whatever has come of its answer.
#[test]
fn a_payment_that_moved_first_is_known() {
    for (answer, refund, want) in [
        (AnswerState::Pending, false, "already served"),
        (AnswerState::Delivered, false, "already served"),
        (AnswerState::Lost, true, "owed back"),
    ] {
        let world = World::new();
        world.put(&payment(), posted(), answer);
        world.records.borrow_mut()[0].refund_due = refund;
        let header = payment().header();
        assert_eq!(open_word(&world, &first(), &call(URL, Presented::Header(header.as_bytes()))), want, "{answer:?}");
        assert_eq!(world.calls(), "recall");
    }
}

#[test]
fn what_a_proxy_gives_back() {
    use AnswerState::{Delivered, Lost, Pending};
    for (rail, state, answer, want, entries) in [
        (Rail::Tab, State::Answered, Delivered, "burnt Broken, Lost", ""),
        (Rail::Tab, SUBMITTED, Delivered, "submitted, Lost", ""),
        (Rail::Tab, posted(), Delivered, "posted, Lost, refund", "refund_due"),
        (Rail::Tab, LOST, Delivered, "lost Emptied, Lost", ""),
        (Rail::Direct, posted(), Delivered, "posted, Lost, refund", "refund_due"),
        // The report overtook the note that the answer went out.
        (Rail::Direct, posted(), Pending, "posted, Lost, refund", "refund_due"),
        (Rail::Direct, SUBMITTED, Pending, "submitted, Lost", ""),
        (Rail::Direct, RELEASED, Lost, "released NotSent, Lost", ""),
    ] {
        let world = World::new();
        world.put_on(rail, &payment(), state, answer);
        let (flow, hold) = (rig(&world), world.only().hold.id);
        for _ in 0..2 {
            let record = now(flow.take_back(hold)).unwrap().unwrap();
            let got = (state_word(&record), kinds(&world));
            assert_eq!(got, (want.to_owned(), entries.to_owned()), "{rail:?} {state:?}");
        }
        now(world.advance(hold, Step::Deliver)).unwrap();
        // What was on its way is owed back when it comes.
        if state == SUBMITTED {
            now(world.advance(hold, Step::Post(settled()))).unwrap();
            assert_eq!(
                (state_word(&world.only()), kinds(&world).as_str()),
                ("posted, Lost, refund".to_owned(), "posted refund_due")
            );
        }
    }
    let world = World::new();
    assert_eq!(now(rig(&world).take_back(HoldId([1; 16]))), Ok(None));
    world.fail("advance");
    let fault = now(rig(&world).take_back(HoldId([1; 16]))).unwrap_err();
    assert_eq!(fault.to_string(), "journal_unavailable (money: untouched)");
}
