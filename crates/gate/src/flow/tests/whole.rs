//! Answers on the tab that are at hand to their last byte.

use super::tab::{HELD, at_head};
use super::*;

/// What is at hand to its last byte cannot be broken off: one step, and nothing is left to close.
#[test]
fn an_answer_that_is_whole_is_answered_and_due_in_one_step() {
    let (world, flow, permit) = at_head();
    let hold = permit.hold().unwrap().id.0;
    let told = now(flow.answer_whole(permit)).unwrap();
    assert_eq!(world.calls(), "advance deliver", "the permit has ended");
    assert_eq!(told, Receipt::Held { amount: offer().amount(), payer: settled().payer, payment: hold });
    assert_eq!(state_word(&world.only()), "answered, Delivered");
}

/// It is not released, so it is not charged, whether or not the step was durable although it failed.
#[test]
fn a_fault_of_an_answer_that_is_whole() {
    for durable in [false, true] {
        let (world, flow, permit) = at_head();
        let hold = permit.hold().unwrap().id;
        world.fail("advance");
        assert_eq!(now(flow.answer_whole(permit)).unwrap_err().to_string(), HELD);
        assert_eq!(world.calls(), "advance deliver, later take back");
        world.failing.borrow_mut().clear();
        if durable {
            world.take_step(hold, Step::Deliver).unwrap();
        }
        for (hold, step) in world.laters.take() {
            now(world.advance(hold, step)).unwrap();
        }
        assert_eq!(state_word(&world.only()), "burnt Broken, Lost", "durable: {durable}");
    }
    let (world, flow, permit) = at_head();
    world.records.borrow_mut().clear();
    assert_eq!(now(flow.answer_whole(permit)).unwrap_err().to_string(), "internal_error (money: held)");
}

/// The same as with one that is not whole: the head was seen, so it is charged.
#[test]
fn a_caller_who_leaves_while_a_whole_answer_is_written_is_charged() {
    let (world, flow, permit) = at_head();
    world.advance_hangs.set(true);
    {
        let mut answer = pin!(flow.answer_whole(permit));
        assert!(answer.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    world.advance_hangs.set(false);
    for (hold, outcome) in world.closes.take() {
        now(flow.close_hold(hold, outcome));
    }
    assert_eq!(state_word(&world.only()), "answered, Delivered");
}
