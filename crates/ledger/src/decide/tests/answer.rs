//! The steps of the answer, by state, answer and rail.

use super::*;
use AnswerState::{Delivered, Kept, Live, Lost, Pending};

/// State and answer before; what comes of `Answer`, `Deliver`, `Pend`, `KeepAnswer`, `LoseAnswer`.
type Row = (State, AnswerState, [&'static str; 5]);

fn table(rail: Rail, rows: &[Row]) {
    for (state, answer, row) in rows {
        let steps = [Step::Answer, Step::Deliver, Step::Pend, Step::KeepAnswer, Step::LoseAnswer];
        for (step, want) in steps.into_iter().zip(row) {
            let got = answer_outcome(&record(rail, *state, *answer), step);
            assert_eq!(got, *want, "{rail:?} {state:?} {answer:?} {step:?}");
        }
    }
}

/// Nothing is answered or delivered on a direct hold: its answer waits for the money.
#[test]
fn direct() {
    let owed = "posted refund_due, Lost";
    table(
        Rail::Direct,
        &[
            (State::Open, Live, ["-", "-", "open, Pending", "open, Kept", "open, Lost"]),
            (State::Open, Pending, ["-", "-", "=", "open, Kept", "open, Lost"]),
            (State::Open, Kept, ["-", "=", "=", "=", "open, Lost"]),
            (State::Open, Lost, ["-", "=", "=", "-", "="]),
            (SUBMITTED, Pending, ["-", "-", "=", "submitted, Kept", "submitted, Lost"]),
            (SUBMITTED, Kept, ["-", "=", "=", "=", "submitted, Lost"]),
            (SUBMITTED, Lost, ["-", "=", "=", "-", "="]),
            // Paid before its run, and answered now.
            (posted(), Pending, ["-", "posted, Delivered", "=", "posted, Kept", owed]),
            (posted(), Kept, ["-", "=", "=", "=", owed]),
            (posted(), Lost, ["-", "=", "=", "-", "="]),
            // What was not charged is not owed back.
            (RELEASED, Live, ["-", "-", "released, Pending", "released, Kept", "released, Lost"]),
            (EXPIRED, Pending, ["-", "-", "=", "released, Kept", "released, Lost"]),
            (BURNT, Live, ["-", "=", "burnt, Pending", "burnt, Kept", "burnt, Lost"]),
            (BURNT, Pending, ["-", "-", "=", "burnt, Kept", "burnt, Lost"]),
            (REFUSED, Kept, ["-", "=", "=", "=", "burnt, Lost"]),
        ],
    );
    for (state, pend, keep, lose) in [
        (SUBMITTED, "submitted, Pending", "submitted, Kept", "submitted, Lost"),
        (posted(), "posted, Pending", "posted, Kept", owed),
    ] {
        let live = record(Rail::Direct, state, Live);
        for (step, want) in
            [(Step::Answer, "-"), (Step::Pend, pend), (Step::KeepAnswer, keep), (Step::LoseAnswer, lose)]
        {
            assert_eq!(answer_outcome(&live, step), want, "{state:?} {step:?}");
        }
    }
}

/// Only the tab notes what was delivered. On a direct hold the note would swallow what is owed back when the answer breaks.
#[test]
fn what_is_direct_is_never_delivered() {
    for state in [SUBMITTED, posted()] {
        assert_eq!(answer_outcome(&record(Rail::Direct, state, Live), Step::Deliver), "-", "{state:?}");
    }
}

/// What is answered is charged once it is delivered; what breaks before is burnt.
#[test]
fn tab_before_the_submission() {
    let broken = "burnt, Lost";
    table(
        Rail::Tab,
        &[
            (State::Open, Live, ["answered, Live", "answered, Delivered", "open, Pending", "open, Kept", broken]),
            (State::Answered, Live, ["=", "answered, Delivered", "answered, Pending", "answered, Kept", broken]),
            // Stored first: it is due as it stands.
            (State::Answered, Kept, ["=", "=", "=", "=", broken]),
            // Given out to its end: it cannot break any more.
            (State::Answered, Delivered, ["=", "=", "=", "answered, Kept", "="]),
        ],
    );
    let lost = advance(&record(Rail::Tab, State::Answered, Live), Step::LoseAnswer).unwrap().unwrap();
    assert_eq!(lost.record.state, State::Burnt(BurnReason::Broken));
    assert!(lost.entries.is_empty(), "nothing was charged");
}

#[test]
fn tab_after_the_submission() {
    let owed = "posted refund_due, Lost";
    table(
        Rail::Tab,
        &[
            (
                SUBMITTED,
                Live,
                ["=", "submitted, Delivered", "submitted, Pending", "submitted, Kept", "submitted, Lost"],
            ),
            (SUBMITTED, Kept, ["=", "=", "=", "=", "submitted, Lost"]),
            (SUBMITTED, Delivered, ["=", "=", "=", "submitted, Kept", "="]),
            (posted(), Live, ["=", "posted, Delivered", "posted, Pending", "posted, Kept", owed]),
            (posted(), Kept, ["=", "=", "=", "=", owed]),
            (posted(), Delivered, ["=", "=", "=", "posted, Kept", "="]),
            (posted(), Lost, ["=", "=", "=", "-", "="]),
            // It was judged before its answer had come to its end.
            (LOST, Live, ["=", "=", "lost, Pending", "lost, Kept", "lost, Lost"]),
            (LOST, Pending, ["=", "-", "=", "lost, Kept", "lost, Lost"]),
            (LOST, Delivered, ["=", "=", "=", "lost, Kept", "="]),
            (LOST, Kept, ["=", "=", "=", "=", "lost, Lost"]),
            (FOREIGN, Live, ["-", "=", "burnt, Pending", "burnt, Kept", "burnt, Lost"]),
            (BURNT, Live, ["-", "=", "burnt, Pending", "burnt, Kept", "burnt, Lost"]),
            (RELEASED, Live, ["-", "-", "released, Pending", "released, Kept", "released, Lost"]),
        ],
    );
}

#[test]
fn an_answer_that_was_lost_before_the_money_moved_is_owed_back_when_it_moves() {
    for (rail, state) in [(Rail::Direct, State::Open), (Rail::Direct, SUBMITTED), (Rail::Tab, SUBMITTED)] {
        let lost = record(rail, state, Lost);
        assert_eq!(outcome(&lost, Step::Post(settled(1))), "posted posted+refund_due", "{rail:?} {state:?}");
        let change = advance(&lost, Step::Post(settled(1))).unwrap().unwrap();
        assert!(change.record.refund_due);
        assert_eq!(outcome(&change.record, Step::LoseAnswer), "=");
        assert_eq!(outcome(&change.record, Step::Post(settled(1))), "=");
        assert_eq!(outcome(&lost, Step::KeepAnswer), "-");
    }
}

/// Whatever came before: what was given out to its end on the tab may be settled, and is not taken for a run that goes on.
#[test]
fn what_was_delivered_may_be_settled() {
    for (state, answer) in [(State::Open, Live), (State::Open, Kept), (State::Answered, Live), (State::Answered, Kept)]
    {
        let record = record(Rail::Tab, state, answer);
        let delivered = advance(&record, Step::Deliver).unwrap().map_or(record, |change| change.record);
        let submit = Step::Submit(B256::repeat_byte(1));
        assert_eq!(outcome(&delivered, submit), "submitted", "{state:?} {answer:?}");
    }
}

/// Whoever is given his price back has not got his call: it is burnt while nothing moved, and owed back once it has.
#[test]
fn what_is_given_back() {
    let (burnt, owed) = ("burnt, Lost", "posted refund_due, Lost");
    for (rail, state, answer, want) in [
        (Rail::Tab, State::Open, Live, burnt),
        (Rail::Tab, State::Answered, Live, burnt),
        (Rail::Tab, State::Answered, Delivered, burnt),
        (Rail::Tab, State::Answered, Kept, burnt),
        // It may be on its way: what comes of it is owed back.
        (Rail::Tab, SUBMITTED, Delivered, "submitted, Lost"),
        (Rail::Tab, posted(), Delivered, owed),
        (Rail::Tab, posted(), Kept, owed),
        (Rail::Tab, LOST, Delivered, "lost, Lost"),
        (Rail::Tab, FOREIGN, Delivered, burnt),
        (Rail::Direct, State::Open, Pending, "open, Lost"),
        (Rail::Direct, SUBMITTED, Pending, "submitted, Lost"),
        (Rail::Direct, posted(), Pending, owed),
        (Rail::Direct, posted(), Delivered, owed),
        (Rail::Direct, posted(), Kept, owed),
        (Rail::Direct, RELEASED, Live, "released, Lost"),
        (Rail::Direct, REFUSED, Lost, "="),
        (Rail::Direct, posted(), Lost, "="),
        (Rail::Tab, BURNT, Lost, "="),
    ] {
        let record = record(rail, state, answer);
        assert_eq!(answer_outcome(&record, Step::TakeBack), want, "{rail:?} {state:?} {answer:?}");
        let next = advance(&record, Step::TakeBack).unwrap().map_or(record, |change| change.record);
        for step in [Step::TakeBack, Step::LoseAnswer] {
            assert_eq!(answer_outcome(&next, step), "=", "twice: {rail:?} {state:?} {answer:?}");
        }
        // The note that the answer went out may come later, and changes nothing.
        assert_eq!(answer_outcome(&next, Step::Deliver), "=", "{rail:?} {state:?} {answer:?}");
    }
}

/// A call that was paid before its run is answered once. Before the money has moved there is nothing to deliver.
#[test]
fn what_was_paid_first_is_delivered_after_the_money() {
    for (state, want) in [(State::Open, "-"), (SUBMITTED, "-"), (posted(), "posted, Delivered"), (REFUSED, "-")] {
        assert_eq!(answer_outcome(&record(Rail::Direct, state, Pending), Step::Deliver), want, "{state:?}");
    }
    let delivered = record(Rail::Direct, posted(), Delivered);
    for (step, want) in [(Step::Deliver, "="), (Step::LoseAnswer, "="), (Step::KeepAnswer, "posted, Kept")] {
        assert_eq!(answer_outcome(&delivered, step), want, "{step:?}");
    }
}
