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
    /// On the tab: the answer is about to be released, and the journal takes it or not.
    Answer { failing: bool },
    /// What is on the tab and was given out is settled, or cannot be.
    Settle { number: u8 },
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
        2 => any::<bool>().prop_map(|failing| Act::Answer { failing }),
        2 => (0..4u8).prop_map(|number| Act::Settle { number }),
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

/// What a batch, its receipt or the reconciler may say of a payment on the tab.
fn tab_step(number: u8) -> Step {
    match number {
        0 => Step::Submit(CHAIN_TX),
        1 => Step::Post(settled()),
        2 => Step::Refuse(LossReason::Emptied),
        _ => Step::Expire,
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

fn play(world: &Rc<World>, rail: Rail, run: &mut Option<Run>, past: &mut Past, act: &Act) {
    let flow = rig(world);
    let (snapshot, call) = (snapshot_on(rail, vec![offer()]), call(URL, Presented::Header(HEADER.as_bytes())));
    match act {
        Act::Open { failing, caller_leaves } => {
            world.failing.borrow_mut().extend(*failing);
            if *caller_leaves {
                world.reserve_hangs.set(true);
                drop(
                    pin!(flow.open(&snapshot, &found(&snapshot, &call), |_, _| true))
                        .poll(&mut Context::from_waker(Waker::noop())),
                );
                world.reserve_hangs.set(false);
            } else if let Opened::Permit(permit) = now(flow.open(&snapshot, &found(&snapshot, &call), |_, _| true)) {
                assert!(run.is_none(), "two runs at a time");
                assert!(!past.served, "a run after one that may have served");
                *run = Some(Run { permit, progress: Progress::NotSent });
            }
        }
        Act::Reach(progress) => {
            if let Some(run) = run {
                run.permit.reached(*progress);
                run.progress = run.progress.max(*progress);
            }
        }
        Act::Answer { failing } => {
            if rail == Rail::Tab
                && let Some(open) = run.as_mut().filter(|run| run.progress == Progress::Head)
            {
                if *failing {
                    world.fail("advance");
                }
                match now(flow.answer(&mut open.permit)) {
                    Ok(_) => open.progress = Progress::Body,
                    // Nothing may be released: what a front must do.
                    Err(_) => {
                        past.served = true;
                        let permit = run.take().unwrap().permit;
                        now(flow.close(permit, Outcome::Broken { reading: None }));
                    }
                }
            }
        }
        Act::Settle { number } => {
            let given_out = |record: &&Record| {
                let due = record.state == State::Answered && record.answer == AnswerState::Delivered;
                record.hold.rail == Rail::Tab && (due || matches!(record.state, State::Submitted(_)))
            };
            let due = world.records.borrow().iter().find(given_out).map(|record| record.hold.id);
            if let Some(hold) = due {
                world.take_step(hold, tab_step(*number)).unwrap();
            }
        }
        Act::Close { outcome, settlement: number, failing } => {
            // A front that has sent something does not say that it has not, and one that has released something says how that
            // ended. (What a meter may say then has its own test.)
            let honest = |run: &Run| match run.progress {
                Progress::NotSent => true,
                Progress::Sent | Progress::Head => *outcome != Outcome::NotSent,
                Progress::Body => matches!(
                    outcome,
                    Outcome::Served { reading: None }
                        | Outcome::Cut { reading: None }
                        | Outcome::Broken { reading: None }
                ),
            };
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

/// Plays a history to its end, and says what was booked.
fn history(rail: Rail, acts: &[Act]) -> String {
    let world = World::new();
    let (mut run, mut past) = (None, Past::default());
    for act in acts {
        play(&world, rail, &mut run, &mut past, act);
    }
    // However it went: once the journal is back, nothing stays open that nobody will ever end.
    drop(run);
    for _ in 0..3 {
        play(&world, rail, &mut None, &mut past, &Act::Work { failing: false });
    }
    for record in world.records.borrow().iter() {
        let runs = matches!(record.state, State::Open | State::Answered) && record.answer == AnswerState::Live;
        assert!(!runs, "a hold that nobody will ever end: {}", state_word(record));
    }
    kinds(&world)
}

proptest! {
    /// One hold at most takes money, and it is booked once.
    #[test]
    fn at_most_one_run_and_none_after_a_served_one(acts in prop::collection::vec(act(), 1..24)) {
        let direct = history(Rail::Direct, &acts);
        prop_assert!(matches!(direct.as_str(), "" | "posted" | "posted refund_due"), "{}", direct);
    }

    /// On the tab nothing is owed back, since nothing moves before the answer was given out.
    #[test]
    fn the_same_on_the_tab(acts in prop::collection::vec(act(), 1..24)) {
        let tab = history(Rail::Tab, &acts);
        prop_assert!(matches!(tab.as_str(), "" | "posted" | "uncollected"), "{}", tab);
    }
}
