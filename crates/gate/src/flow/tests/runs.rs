//! Random histories of one authorization: at most one run at a time, and after a served run never another.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::FreeReason;

static HEADER: LazyLock<String> = LazyLock::new(|| payment().header());

/// What happens next. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Act {
    /// A call with the authorization, while these methods of the journal fail.
    Open { failing: Option<&'static str>, caller_leaves: bool },
    /// A run comes further.
    Reach(Progress),
    /// A run ends.
    Close { outcome: Outcome, settlement: u8, failing: Option<&'static str> },
    /// A permit is dropped.
    Drop,
    /// The host does what it was left.
    Work { failing: bool },
}

fn act() -> impl Strategy<Value = Act> {
    let reading = prop_oneof![Just(None), Just(Some(0)), Just(Some(AMOUNT - 1)), Just(Some(AMOUNT))];
    let outcome = prop_oneof![
        Just(Outcome::NotSent),
        Just(Outcome::Unanswered),
        Just(Outcome::Free(FreeReason::Status)),
        Just(Outcome::Free(FreeReason::Policy)),
        Just(Outcome::Unseen),
        reading.clone().prop_map(|reading| Outcome::Served { reading }),
        reading.clone().prop_map(|reading| Outcome::Cut { reading }),
        reading.prop_map(|reading| Outcome::Broken { reading }),
    ];
    let failing = |methods: [&'static str; 2]| prop_oneof![3 => Just(None), 1 => prop::sample::select(methods.to_vec()).prop_map(Some)];
    let progress = prop::sample::select(vec![Progress::NotSent, Progress::Sent, Progress::Head]);
    prop_oneof![
        4 => (failing(["recall", "reserve"]), any::<bool>())
            .prop_map(|(failing, leaves)| Act::Open { failing, caller_leaves: leaves && failing.is_none() }),
        2 => progress.prop_map(Act::Reach),
        3 => (outcome, 0..4u8, failing(["advance", "pend"]))
            .prop_map(|(outcome, settlement, failing)| Act::Close { outcome, settlement, failing }),
        1 => Just(Act::Drop),
        3 => any::<bool>().prop_map(|failing| Act::Work { failing }),
    ]
}

fn settlement(number: u8) -> Settlement {
    match number {
        0 => Settlement::Settled(settled()),
        1 => Settlement::Refused(Refusal::InsufficientBalance),
        2 => Settlement::Unknown { chain_tx: Some(CHAIN_TX) },
        _ => Settlement::Unknown { chain_tx: None },
    }
}

/// Whether the upstream may have served: from then on nobody may run it for this authorization.
fn may_have_served(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::NotSent | Outcome::Free(FreeReason::Status))
}

/// The run that goes on now, and what an honest front may still say of it.
struct Run {
    permit: Permit<Rc<World>>,
    progress: Progress,
}

#[derive(Default)]
struct Past {
    served: bool,
}

fn play(world: &Rc<World>, run: &mut Option<Run>, past: &mut Past, act: &Act) {
    let flow = rig(world);
    let (snapshot, call) = (snapshot(), call(URL, Presented::Header(HEADER.as_bytes())));
    match act {
        Act::Open { failing, caller_leaves } => {
            world.failing.borrow_mut().extend(*failing);
            if *caller_leaves {
                world.reserve_hangs.set(true);
                drop(pin!(flow.open(&snapshot, &call)).poll(&mut Context::from_waker(Waker::noop())));
                world.reserve_hangs.set(false);
            } else if let Opened::Permit(permit) = now(flow.open(&snapshot, &call)) {
                assert!(run.is_none(), "two runs at a time");
                assert!(!past.served, "a run after one that may have served");
                *run = Some(Run { permit, progress: Progress::NotSent });
            }
        }
        Act::Reach(progress) => {
            if let Some(run) = run {
                run.permit.reached(*progress);
                if run.progress == Progress::NotSent || *progress == Progress::Head {
                    run.progress = *progress;
                }
            }
        }
        Act::Close { outcome, settlement: number, failing } => {
            // A front that has sent something does not say that it has not.
            let honest = |run: &Run| *outcome != Outcome::NotSent || run.progress == Progress::NotSent;
            if let Some(run) = run.take_if(|run| honest(run)) {
                world.settlement.set(settlement(*number));
                world.failing.borrow_mut().extend(*failing);
                past.served |= may_have_served(*outcome);
                now(flow.close(run.permit, *outcome));
            }
        }
        Act::Drop => past.served |= run.take().is_some_and(|run| run.progress != Progress::NotSent),
        Act::Work { failing } => {
            if *failing {
                world.fail("advance");
            }
            for (hold, outcome) in world.closes.take() {
                now(flow.close_hold(hold, outcome));
            }
            for (hold, step) in world.laters.take() {
                now(flow.step(hold, step));
            }
        }
    }
    world.failing.borrow_mut().clear();
}

proptest! {
    #[test]
    fn at_most_one_run_and_none_after_a_served_one(acts in prop::collection::vec(act(), 1..24)) {
        let world = World::new();
        let (mut run, mut past) = (None, Past::default());
        for act in &acts {
            play(&world, &mut run, &mut past, act);
        }
        // However it went: once the journal is back, one hold at most has taken money, and it was booked once.
        drop(run);
        for _ in 0..3 {
            play(&world, &mut None, &mut past, &Act::Work { failing: false });
        }
        let kinds: Vec<_> = world.entries.borrow().iter().map(|entry| entry.kind.code()).collect();
        prop_assert!(matches!(kinds.as_slice(), [] | ["posted"] | ["posted", "refund_due"]), "{:?}", kinds);
        let live = world.records.borrow().iter().filter(|record| record.state == State::Open && record.answer == AnswerState::Live).count();
        prop_assert_eq!(live, 0, "a hold that nobody will ever end");
    }
}
