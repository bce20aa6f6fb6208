//! Calls that are served now and settled later.

use super::*;
use crate::{FreeReason, Until};

const SERVED: Outcome = Outcome::Served { reading: None };
const CUT: Outcome = Outcome::Cut { reading: None };
const BROKEN: Outcome = Outcome::Broken { reading: None };
pub(super) const HELD: &str = "journal_unavailable (money: held)";

/// A permit with its world and flow.
pub(super) type Won = (Rc<World>, Rig, Permit<Rc<World>>);

const AT_HEAD: fn() -> Won = at_head;
const ANSWERED: fn() -> Won = answered;

/// A permit whose upstream has shown its head.
pub(super) fn at_head() -> Won {
    let (world, flow, mut permit) = won_by(&tab_snapshot());
    permit.reached(Progress::Sent);
    permit.reached(Progress::Head);
    (world, flow, permit)
}

/// A permit whose answer is being released.
fn answered() -> Won {
    let (world, flow, mut permit) = at_head();
    now(flow.answer(&mut permit)).unwrap();
    world.calls();
    (world, flow, permit)
}

#[test]
fn a_call_from_its_claim_to_the_tab() {
    let world = World::new();
    let flow = rig(&world);
    let header = payment().header();
    let opened = now(flow.open(
        &tab_snapshot(),
        &found(&tab_snapshot(), &call(URL, Presented::Header(header.as_bytes()))),
        |_, _| true,
    ));
    let Opened::Permit(mut permit) = opened else { panic!("{opened:?}") };
    assert_eq!(world.calls(), "recall, standing, check, reserve");
    let hold = permit.hold().unwrap().clone();
    assert_eq!((hold.rail, hold.source, hold.exposure_micros), (Rail::Tab, SOURCE, MICROS));
    assert_eq!(world.only(), Record::new(hold.clone()));
    permit.reached(Progress::Head);

    // Before the first byte of the body the journal knows that it is due.
    let told = now(flow.answer(&mut permit)).unwrap();
    assert_eq!(world.calls(), "advance answer");
    assert_eq!(state_word(&world.only()), "answered, Live");

    let closed = now(flow.close(permit, SERVED));
    assert_eq!(world.calls(), "advance deliver");
    assert_eq!(state_word(&world.only()), "answered, Delivered");
    let want = Receipt::Held { amount: offer().amount(), payer: settled().payer, payment: hold.id.0 };
    assert_eq!((told, closed), (want, Closed::Held(want)), "both say the same");
    assert_eq!(kinds(&world), "", "nothing has moved");
}

/// Outcome; what is said, the calls, the record after.
type Row = (Outcome, &'static str, &'static str, &'static str);

fn table(permit: fn() -> Won, failing: bool, rows: &[Row]) {
    // What the chain would say does not matter: it is not asked.
    for settlement in [Settlement::Settled(settled()), Settlement::Refused(Refusal::InsufficientBalance)] {
        for (outcome, want, calls, record) in rows {
            let (world, flow, permit) = permit();
            world.settlement.set(settlement);
            if failing {
                world.fail("advance");
            }
            assert_eq!(closed_word(&now(flow.close(permit, *outcome))), *want, "{outcome:?}");
            assert_eq!(world.calls(), *calls, "{outcome:?}");
            assert_eq!(state_word(&world.only()), *record, "{outcome:?}");
            assert_eq!(kinds(&world), "", "{outcome:?}");
            assert!(world.closes.borrow().is_empty(), "{outcome:?}: a closed permit closes nothing more");
        }
    }
}

#[test]
fn outcomes_before_the_answer_was_released() {
    let deliver = ("held", "advance deliver", "answered, Delivered");
    let burn = ("nothing due", "advance burn Unanswered", "burnt Unanswered, Live");
    let broken = ("nothing due", "advance lose answer", "burnt Broken, Lost");
    let free = ("nothing due", "advance release FreeStatus", "released FreeStatus, Live");
    let nothing = ("nothing due", "advance release NotSent", "released NotSent, Live");
    for (outcome, (want, calls, record)) in [
        (Outcome::NotSent, nothing),
        (Outcome::Unanswered, burn),
        (Outcome::Free(FreeReason::Status), free),
        (Outcome::Free(FreeReason::Policy), burn),
        (SERVED, deliver),
        (Outcome::Served { reading: Some(AMOUNT) }, deliver),
        (Outcome::Served { reading: Some(AMOUNT + 1) }, deliver),
        (CUT, deliver),
        (Outcome::Cut { reading: Some(AMOUNT) }, deliver),
        (Outcome::Unseen, deliver),
        (BROKEN, broken),
        (Outcome::Broken { reading: Some(AMOUNT) }, broken),
        // Nobody is charged more than his reading.
        (Outcome::Served { reading: Some(0) }, burn),
        (Outcome::Served { reading: Some(AMOUNT - 1) }, burn),
        (Outcome::Cut { reading: Some(1) }, burn),
        (Outcome::Broken { reading: Some(0) }, burn),
        (Outcome::Broken { reading: Some(1) }, burn),
    ] {
        table(at_head, false, &[(outcome, want, calls, record)]);
    }
}

#[test]
fn outcomes_of_an_answer_that_was_released() {
    let (deliver, delivered) = ("advance deliver", "answered, Delivered");
    table(
        answered,
        false,
        &[
            (SERVED, "held", deliver, delivered),
            (Outcome::Served { reading: Some(AMOUNT) }, "held", deliver, delivered),
            (CUT, "held", deliver, delivered),
            (Outcome::Unseen, "held", deliver, delivered),
            (BROKEN, "nothing due", "advance lose answer", "burnt Broken, Lost"),
        ],
    );
}

/// A meter may say at the end of the body that less is due than was held. `exact` cannot move less, so the hold is burnt, and it
/// does not stay as one whose run goes on: after a restart it would be charged in full.
#[test]
fn a_reading_below_the_hold_burns_it_also_when_the_answer_was_released() {
    for reading in [Some(0), Some(1), Some(AMOUNT - 1)] {
        for outcome in [Outcome::Served { reading }, Outcome::Cut { reading }, Outcome::Broken { reading }] {
            let (world, flow, permit) = answered();
            world.violations_are_faults.set(true);
            now(flow.close(permit, outcome));
            let record = world.only();
            assert!(matches!(record.state, State::Burnt(_)), "{outcome:?}: {}", state_word(&record));
        }
    }
}

/// What the journal did not take is left to the host; the money is held.
#[test]
fn faults_of_close() {
    table(
        answered,
        true,
        &[
            (SERVED, HELD, "advance deliver, later deliver", "answered, Live"),
            (CUT, HELD, "advance deliver, later deliver", "answered, Live"),
            (Outcome::Unseen, HELD, "advance deliver, later deliver", "answered, Live"),
            (BROKEN, HELD, "advance lose answer, later lose answer", "answered, Live"),
        ],
    );
    table(
        at_head,
        true,
        &[
            (SERVED, HELD, "advance deliver, later deliver", "open, Live"),
            (BROKEN, HELD, "advance lose answer, later lose answer", "open, Live"),
            (Outcome::NotSent, HELD, "advance release NotSent, later release NotSent", "open, Live"),
            (Outcome::Unanswered, HELD, "advance burn Unanswered, later burn Unanswered", "open, Live"),
        ],
    );
}

#[test]
fn what_was_left_ends_as_it_would_have() {
    for (permit, outcome, want) in [
        (ANSWERED, SERVED, "answered, Delivered"),
        (ANSWERED, BROKEN, "burnt Broken, Lost"),
        (AT_HEAD, CUT, "answered, Delivered"),
        (AT_HEAD, BROKEN, "burnt Broken, Lost"),
    ] {
        let (world, flow, permit) = permit();
        world.fail("advance");
        now(flow.close(permit, outcome));
        world.failing.borrow_mut().clear();
        let left = world.laters.take();
        // The host may be told twice that it was not heard.
        for (hold, step) in [left.clone(), left].concat() {
            now(world.advance(hold, step)).unwrap();
        }
        assert_eq!(state_word(&world.only()), want, "{outcome:?}");
    }
}

/// Nothing is released after it, and the hold is burnt, whether or not the step was durable although it failed.
#[test]
fn a_fault_of_the_answer() {
    for durable in [false, true] {
        let (world, flow, mut permit) = at_head();
        world.fail("advance");
        let fault = now(flow.answer(&mut permit)).unwrap_err();
        assert_eq!(fault.to_string(), HELD);
        assert_eq!(world.calls(), "advance answer");
        world.failing.borrow_mut().clear();
        if durable {
            world.take_step(permit.hold().unwrap().id, Step::Answer).unwrap();
        }
        assert_eq!(now(flow.close(permit, BROKEN)), Closed::NothingDue);
        assert_eq!(world.calls(), "advance lose answer");
        assert_eq!(state_word(&world.only()), "burnt Broken, Lost", "durable: {durable}");
    }
}

/// A journal that has never heard of the hold does not know that it is due.
#[test]
fn an_answer_for_a_hold_that_nobody_knows_is_not_released() {
    let (world, flow, mut permit) = at_head();
    world.records.borrow_mut().clear();
    assert_eq!(now(flow.answer(&mut permit)).unwrap_err().to_string(), "internal_error (money: held)");
    drop(permit);
    assert_eq!(world.calls(), format!("advance answer, close {SERVED:?}"), "the run has not come further");
}

#[test]
fn a_dropped_permit_closes_by_its_progress() {
    for (progress, outcome, record) in [
        (Progress::NotSent, Outcome::NotSent, "released NotSent, Live"),
        (Progress::Sent, Outcome::Unanswered, "burnt Unanswered, Live"),
        (Progress::Head, SERVED, "answered, Delivered"),
        (Progress::Body, CUT, "answered, Delivered"),
    ] {
        let (world, flow, mut permit) = won_by(&tab_snapshot());
        permit.reached(progress.min(Progress::Head));
        if progress == Progress::Body {
            now(flow.answer(&mut permit)).unwrap();
            world.calls();
        }
        drop(permit);
        assert_eq!(world.calls(), format!("close {outcome:?}"));
        for (hold, outcome) in world.closes.take() {
            now(flow.close_hold(hold, outcome));
        }
        assert_eq!(state_word(&world.only()), record, "{progress:?}");
    }
}

/// The caller leaves while the journal writes that his call is answered: the head was seen, so it is charged.
#[test]
fn a_caller_who_leaves_while_the_answer_is_written_is_charged() {
    let (world, flow, mut permit) = at_head();
    world.advance_hangs.set(true);
    {
        let mut answer = pin!(flow.answer(&mut permit));
        assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    world.advance_hangs.set(false);
    drop(permit);
    for (hold, outcome) in world.closes.take() {
        now(flow.close_hold(hold, outcome));
    }
    assert_eq!(state_word(&world.only()), "answered, Delivered");
}

/// What is on the tab already, by payer, source and everyone; the rail that is won.
#[test]
fn a_full_tab_is_settled_at_once() {
    for (payer_micros, source_micros, gate_micros, want) in [
        (0, 0, 0, Rail::Tab),
        (1, 0, 0, Rail::Direct),
        (0, 1, 0, Rail::Direct),
        (0, 0, 1, Rail::Direct),
        (MICROS, MICROS, MICROS, Rail::Direct),
    ] {
        let world = World::new();
        world.exposed.set(Exposure { payer_micros, source_micros, gate_micros });
        let (flow, header) = (rig(&world), payment().header());
        let opened = now(flow.open(
            &tab_snapshot(),
            &found(&tab_snapshot(), &call(URL, Presented::Header(header.as_bytes()))),
            |_, _| true,
        ));
        let Opened::Permit(permit) = opened else { panic!("{opened:?}") };
        assert_eq!(permit.hold().unwrap().rail, want);
        assert_eq!(world.only().hold, *permit.hold().unwrap(), "the permit has the hold that was written");
        world.calls();
        let closed = closed_word(&now(flow.close(permit, SERVED)));
        let (said, calls) =
            if want == Rail::Tab { ("held", "advance deliver") } else { ("settled", "settle, advance post") };
        assert_eq!((closed.as_str(), world.calls().as_str()), (said, calls));
    }
}

/// A dropped permit closes the hold that was won, not the one that was asked for.
#[test]
fn a_dropped_permit_of_a_full_tab_is_settled_at_once() {
    let world = World::new();
    world.exposed.set(Exposure { gate_micros: MICROS, ..Exposure::default() });
    let (flow, header) = (rig(&world), payment().header());
    let opened = now(flow.open(
        &tab_snapshot(),
        &found(&tab_snapshot(), &call(URL, Presented::Header(header.as_bytes()))),
        |_, _| true,
    ));
    let Opened::Permit(mut permit) = opened else { panic!("{opened:?}") };
    permit.reached(Progress::Head);
    drop(permit);
    let closes = world.closes.take();
    let [(hold, outcome)] = closes.as_slice() else { panic!("{closes:?}") };
    assert_eq!(closed_word(&now(flow.close_hold(hold.clone(), *outcome))), "settled");
}

/// For how long it is still valid, and by whom it is signed; what is said, and the rail.
#[test]
fn what_is_not_valid_for_long_enough_to_wait_is_settled_at_once() {
    let too_soon = "challenge invalid_exact_evm_payload_authorization_valid_before";
    let signature = "challenge invalid_exact_evm_signature";
    for (remaining_s, key, want, rail) in [
        (65, PAYER, "permit", Some(Rail::Tab)),
        (45, PAYER, "permit", Some(Rail::Tab)),
        (44, PAYER, "permit", Some(Rail::Direct)),
        (30, PAYER, "permit", Some(Rail::Direct)),
        (29, PAYER, too_soon, None),
        (66, PAYER, too_soon, None),
        (45, STRANGER, signature, None),
        (44, STRANGER, signature, None),
        (29, STRANGER, too_soon, None),
    ] {
        for version in [Version::V1, Version::V2] {
            let payment = payment().with(|p| {
                p.fields.valid_before = U256::from(NOW_S + remaining_s);
                (p.key, p.version) = (key, version);
            });
            let world = World::new();
            let header = payment.header();
            let got = open_word(&world, &tab_snapshot(), &call(URL, Presented::Header(header.as_bytes())));
            assert_eq!(got, want, "{remaining_s} {version:?}");
            let won = world.records.borrow().first().map(|record| record.hold.rail);
            assert_eq!(won, rail, "{remaining_s} {version:?}");
        }
    }
}

/// Whether the operator says so, the rail, how long it is valid, what became of earlier payments; the calls, and the rail it is on.
#[test]
fn who_has_paid_before_may_be_served_without_a_look_at_the_chain() {
    let (asked, looked) = ("recall, standing, check, reserve", "recall, standing, check, reserve");
    let trusted = "recall, standing, check nothing, reserve";
    for (verify_local, rail, remaining_s, settled, risky, want, won) in [
        (false, Rail::Tab, 60, true, false, looked, Rail::Tab),
        (true, Rail::Direct, 60, true, false, asked, Rail::Direct),
        // It will be settled at once.
        (true, Rail::Tab, 40, true, false, asked, Rail::Direct),
        (true, Rail::Tab, 60, false, false, looked, Rail::Tab),
        // Whoever failed to pay gets no more credit.
        (false, Rail::Tab, 60, true, true, looked, Rail::Direct),
        (true, Rail::Tab, 60, false, true, looked, Rail::Direct),
        (true, Rail::Tab, 60, true, true, looked, Rail::Direct),
        (true, Rail::Tab, 60, true, false, trusted, Rail::Tab),
    ] {
        let world = World::new();
        world.standing.set(Standing { settled, risky });
        let snapshot = Snapshot { verify_local, ..snapshot_on(rail, vec![offer()]) };
        let header = payment().with(|p| p.fields.valid_before = U256::from(NOW_S + remaining_s)).header();
        let got = open_word(&world, &snapshot, &call(URL, Presented::Header(header.as_bytes())));
        assert_eq!((got.as_str(), world.calls()), ("permit", format!("{want}, close NotSent")));
        assert_eq!(world.only().hold.rail, won, "{verify_local} {rail:?} {remaining_s} {settled} {risky}");
    }
}

#[test]
fn a_standing_that_cannot_be_looked_up_claims_nothing() {
    let world = World::new();
    world.fail("standing");
    let snapshot = Snapshot { verify_local: true, ..tab_snapshot() };
    let header = payment().header();
    let got = open_word(&world, &snapshot, &call(URL, Presented::Header(header.as_bytes())));
    assert_eq!(got, "journal_unavailable (money: untouched)");
    assert_eq!(world.calls(), "recall, standing");
    assert!(world.records.borrow().is_empty());
}

/// Where the chain was not asked, its balance is not known: nothing is refused for it.
#[test]
fn an_unknown_balance_refuses_nobody() {
    let block = BlockRef { number: 9, hash: B256::repeat_byte(9) };
    for (balance_atomic, want) in
        [(None, "permit"), (Some(AMOUNT - 1), "challenge invalid_exact_evm_insufficient_balance")]
    {
        let world = World::new();
        world.check.set(Check::Payable(Seen { block, balance_atomic }));
        let header = payment().header();
        let got = open_word(&world, &tab_snapshot(), &call(URL, Presented::Header(header.as_bytes())));
        assert_eq!(got, want);
        assert!(world.records.borrow().iter().all(|record| record.hold.seen == block));
    }
}

/// What a repeat is told with nothing, and with the secret of the first call; whether it waits before.
#[test]
fn what_a_replay_is_told() {
    use AnswerState::{Delivered, Kept, Live, Lost};
    let (served, stored) = ("already served on the tab", "stored on the tab");
    let broken = State::Burnt(BurnReason::Broken);
    for (state, answer, waits, without, with) in [
        (State::Open, Live, "both", "in flight", "in flight"),
        (State::Answered, Live, "both", "in flight", "in flight"),
        (State::Answered, Delivered, "", served, served),
        (State::Answered, Kept, "", served, stored),
        (SUBMITTED, Live, "both", "in flight", "in flight"),
        (SUBMITTED, Delivered, "", served, served),
        (SUBMITTED, Kept, "", served, stored),
        // Its payer landed it while it was being given out: who knows the secret may still get the stored answer.
        (posted(), Live, "with", "already served", "already served"),
        (posted(), Delivered, "", "already served", "already served"),
        (posted(), Kept, "", "already served", "stored"),
        (LOST, Delivered, "", "uncollected", "uncollected"),
        (LOST, Kept, "", "uncollected", "uncollected"),
        (State::Lost(LossReason::Expired), Delivered, "", "uncollected", "uncollected"),
        (broken, Lost, "", "burnt", "burnt"),
        (State::Burnt(BurnReason::Interrupted), Live, "", "burnt", "burnt"),
    ] {
        let secret = Some(B256::repeat_byte(1));
        for (idempotency, wait, want) in [(None, " ended 700", without), (secret, " answered 700", with)] {
            let world = World::new();
            world.put_on(Rail::Tab, &payment(), state, answer);
            world.records.borrow_mut()[0].hold.idempotency = secret;
            let header = payment().header();
            let call = Call { idempotency, ..call(URL, Presented::Header(header.as_bytes())) };
            let what = format!("{state:?} {answer:?} {idempotency:?}");
            assert_eq!(open_word(&world, &tab_snapshot(), &call), want, "{what}");
            let waits = waits == "both" || (waits == "with" && idempotency.is_some());
            let calls = format!("recall{}", if waits { format!(",{wait}") } else { String::new() });
            assert_eq!(world.calls(), calls, "{what}");
            // The receipt names the payment that holds the authorization.
            if want == served || want == stored {
                let opened = now(rig(&world).open(&tab_snapshot(), &found(&tab_snapshot(), &call), |_, _| true));
                let Opened::Replay(Replay::AlreadyServed(receipt) | Replay::Stored { receipt, .. }) = opened else {
                    panic!("{opened:?}")
                };
                let payment = world.only().hold.id.0;
                let (amount, payer) = (offer().amount(), settled().payer);
                assert_eq!(receipt, Receipt::Held { amount, payer, payment }, "{what}");
            }
        }
    }
}

/// The money of a call that could not be collected came after all. It was served, so it is the payee's and nobody's to refund.
#[test]
fn what_was_recovered_is_not_in_suspense() {
    let world = World::new();
    world.put_on(Rail::Tab, &payment(), LOST, AnswerState::Delivered);
    let id = world.only().hold.id;
    world.take_step(id, Step::Arrive(settled())).unwrap();
    assert_eq!(kinds(&world), "recovered");
    let header = payment().header();
    let got = open_word(&world, &tab_snapshot(), &call(URL, Presented::Header(header.as_bytes())));
    assert_ne!(got, "in suspense");
}

#[test]
fn what_a_duplicate_waits_for() {
    let secret = Some(B256::repeat_byte(1));
    for (state, idempotency, step, want) in [
        (State::Open, None, Step::Answer, "in flight"),
        (State::Open, None, Step::Deliver, "already served on the tab"),
        (State::Open, None, Step::LoseAnswer, "burnt"),
        (State::Open, None, Step::Burn(BurnReason::Unanswered), "burnt"),
        (State::Open, None, Step::Release(ReleaseReason::NotSent), "released"),
        (State::Answered, None, Step::Deliver, "already served on the tab"),
        (State::Answered, secret, Step::Deliver, "already served on the tab"),
        (State::Answered, None, Step::KeepAnswer, "already served on the tab"),
        (State::Answered, secret, Step::KeepAnswer, "stored on the tab"),
        (State::Answered, None, Step::LoseAnswer, "burnt"),
        (State::Answered, None, Step::Post(settled()), "already served"),
        (SUBMITTED, None, Step::Refuse(LossReason::Emptied), "uncollected"),
    ] {
        let world = World::new();
        world.put_on(Rail::Tab, &payment(), state, AnswerState::Live);
        world.records.borrow_mut()[0].hold.idempotency = secret;
        world.while_waiting.set(Some(step));
        let header = payment().header();
        let call = Call { idempotency, ..call(URL, Presented::Header(header.as_bytes())) };
        assert_eq!(open_word(&world, &tab_snapshot(), &call), want, "{state:?} {step:?}");
    }
}

#[test]
fn where_the_money_of_a_conflict_is() {
    for (state, late, want) in [
        (State::Open, false, "held"),
        (State::Answered, false, "held"),
        (SUBMITTED, false, "held"),
        (posted(), false, "moved"),
        (LOST, false, "untouched"),
        (LOST, true, "moved"),
        (State::Burnt(BurnReason::Broken), false, "untouched"),
    ] {
        let world = World::new();
        world.put_on(Rail::Tab, &payment(), state, AnswerState::Delivered);
        world.records.borrow_mut()[0].late = late;
        let header = payment().header();
        let other = call("http://gate.test/other", Presented::Header(header.as_bytes()));
        assert_eq!(open_word(&world, &tab_snapshot(), &other), format!("conflict, money {want}"), "{state:?}");
    }
}

/// Rail, state, answer; whether the wait for the end is over, and that for the answer.
#[test]
fn until_table() {
    use AnswerState::{Delivered, Kept, Live, Lost, Pending};
    use Rail::{Direct, Tab};
    let broken = State::Burnt(BurnReason::Broken);
    for (rail, state, answer, ended, stored) in [
        (Direct, State::Open, Live, false, false),
        (Direct, State::Open, Pending, false, false),
        (Direct, State::Open, Kept, false, false),
        (Direct, State::Open, Lost, false, false),
        (Direct, SUBMITTED, Live, false, false),
        (Direct, SUBMITTED, Pending, false, false),
        (Direct, SUBMITTED, Kept, false, false),
        (Direct, SUBMITTED, Lost, false, false),
        (Direct, posted(), Live, true, false),
        (Direct, posted(), Pending, true, false),
        (Direct, posted(), Kept, true, true),
        (Direct, posted(), Lost, true, true),
        (Direct, RELEASED, Live, true, true),
        (Direct, EXPIRED, Pending, true, true),
        (Direct, BURNT, Live, true, true),
        (Tab, State::Open, Live, false, false),
        (Tab, State::Open, Kept, false, false),
        (Tab, State::Answered, Live, false, false),
        (Tab, State::Answered, Delivered, true, true),
        (Tab, State::Answered, Kept, true, true),
        (Tab, SUBMITTED, Live, false, false),
        (Tab, SUBMITTED, Delivered, true, true),
        (Tab, SUBMITTED, Kept, true, true),
        (Tab, posted(), Live, true, false),
        (Tab, posted(), Delivered, true, true),
        (Tab, posted(), Kept, true, true),
        (Tab, RELEASED, Live, true, true),
        (Tab, broken, Lost, true, true),
        (Tab, LOST, Delivered, true, true),
        (Tab, LOST, Kept, true, true),
    ] {
        let world = World::new();
        world.put_on(rail, &payment(), state, answer);
        let got = (Until::Ended.met(&world.only()), Until::Answered.met(&world.only()));
        assert_eq!(got, (ended, stored), "{rail:?} {state:?} {answer:?}");
    }
}

/// Measured 480 bytes (x86-64, debug); the bound is a quarter above.
#[test]
fn the_future_of_the_answer_stays_small() {
    let (_world, flow, mut permit) = at_head();
    let answer = size_of_val(&flow.answer(&mut permit));
    assert!(answer <= 600, "answer has {answer} bytes");
}
