//! Settlement by facilitators of others: what their word is worth, with and without a node.

use std::collections::VecDeque;

use gate::{Check, Facilitator as _, Seen};
use ledger::HANDED;
use protocol::{Proven, Refusal};

use super::*;

/// What the facilitators will say; after that nobody is reached.
#[derive(Clone, Debug)]
struct Script {
    world: World,
    told: Rc<RefCell<VecDeque<(Told, Event)>>>,
    verified: Verified,
}

impl Remote for Script {
    async fn verify(&self, _: &Proven) -> Verified {
        self.world.calls.borrow_mut().push("verify".to_owned());
        self.verified
    }

    async fn settle(&self, _: &Hold, within_ms: u64) -> Told {
        assert!(within_ms <= 15_000);
        self.world.calls.borrow_mut().push("ask".to_owned());
        let (told, event) = self.told.borrow_mut().pop_front().unwrap_or((Told::NotSent, NOTHING));
        event(&self.world);
        told
    }
}

type Ours = Handed<World, Script, World, World>;

fn handed(world: &World, node: bool, told: &[(Told, Event)]) -> Ours {
    let live = Live::default();
    let chain = reader(world.clone(), world.clone(), Head::default(), Finality::default(), 15_000, live.clone());
    let told = Rc::new(RefCell::new(told.iter().copied().collect()));
    Handed {
        chain: node.then_some(chain),
        remote: Script { world: world.clone(), told, verified: Verified::Valid },
        journal: world.clone(),
        pace: world.clone(),
        live,
        budget_ms: 15_000,
    }
}

const SETTLED: Told = Told::Settled { chain_tx: OURS };
const PENDING: Told = Told::Pending { chain_tx: OURS };
const UNKNOWN: Told = Told::Unknown;
const NOT_SENT: Told = Told::NotSent;

const fn refused(refusal: Refusal) -> Told {
    Told::Refused { refusal, chain_tx: None }
}

const POOR: Told = refused(Refusal::InsufficientBalance);
const USED_BEFORE: Told = refused(Refusal::NonceAlreadyUsed);
const EMPTY: Event = |world| world.balance.set(0);

/// Whether it was handed over before, whether there is a node, what is said and what happens meanwhile; the outcome, and how often
/// somebody was asked.
type Row<'a> = (bool, bool, &'a [(Told, Event)], &'static str, usize);

#[test]
fn words_and_what_they_are_worth() {
    let rows: &[Row<'_>] = &[
        // With a node the chain is the judge.
        (false, true, &[(SETTLED, PAID_BY_STRANGER)], "settled c2 in 104", 1),
        (false, true, &[(SETTLED, PAID_BY_US)], "settled c1 in 104", 1),
        (false, true, &[(SETTLED, NOTHING)], "unknown c1", 1),
        (false, true, &[(SETTLED, REVERTED)], "unknown c1", 1),
        (false, true, &[(PENDING, PAID_BY_US)], "settled c1 in 104", 1),
        (false, true, &[(PENDING, NOTHING)], "unknown c1", 1),
        (false, true, &[(UNKNOWN, PAID_BY_STRANGER)], "settled c2 in 104", 1),
        (false, true, &[(UNKNOWN, PAID_BY_PAYER)], "settled c2 in 104", 1),
        (false, true, &[(UNKNOWN, NOTHING), (SETTLED, PAID_BY_US)], "settled c1 in 104", 2),
        (false, true, &[(UNKNOWN, NOTHING), (UNKNOWN, NOTHING), (UNKNOWN, NOTHING)], "unknown", 3),
        (false, true, &[(POOR, EMPTY)], "refused InsufficientBalance", 1),
        (false, true, &[(USED_BEFORE, EMPTY)], "refused InsufficientBalance", 1),
        (false, true, &[(USED_BEFORE, PAID_BY_STRANGER)], "settled c2 in 104", 1),
        (false, true, &[(USED_BEFORE, CANCELLED)], "refused NonceAlreadyUsed", 1),
        (false, true, &[(POOR, NOTHING), (SETTLED, PAID_BY_US)], "settled c1 in 104", 2),
        (false, true, &[(UNKNOWN, NOTHING), (POOR, EMPTY), (POOR, NOTHING)], "unknown", 3),
        (false, true, &[(NOT_SENT, NOTHING), (POOR, EMPTY)], "refused InsufficientBalance", 2),
        (true, true, &[(POOR, EMPTY)], "unknown", 3),
        (true, true, &[(UNKNOWN, PAID_BY_US)], "settled c1 in 104", 1),
        // Without one their word is all there is.
        (false, false, &[(SETTLED, NOTHING)], "settled c1 in 0", 1),
        (false, false, &[(PENDING, NOTHING), (SETTLED, NOTHING)], "settled c1 in 0", 2),
        (false, false, &[(PENDING, NOTHING), (PENDING, NOTHING), (PENDING, NOTHING)], "unknown c1", 3),
        (false, false, &[(UNKNOWN, NOTHING), (UNKNOWN, NOTHING), (UNKNOWN, NOTHING)], "unknown", 3),
        (false, false, &[(NOT_SENT, NOTHING), (SETTLED, NOTHING)], "settled c1 in 0", 2),
        (false, false, &[(NOT_SENT, NOTHING), (POOR, NOTHING)], "refused InsufficientBalance", 2),
        (false, false, &[(POOR, NOTHING)], "refused InsufficientBalance", 1),
        (false, false, &[(USED_BEFORE, NOTHING)], "unknown", 3),
        (false, false, &[(UNKNOWN, NOTHING), (POOR, NOTHING)], "unknown", 3),
        (true, false, &[(POOR, NOTHING)], "unknown", 3),
        (true, false, &[(SETTLED, NOTHING)], "settled c1 in 0", 1),
    ];
    for (before, node, told, want, asked) in rows {
        let world = World::new();
        let state = if *before { State::Submitted(HANDED) } else { State::Open };
        world.put_hold(hold(0), state, AnswerState::Live, Vec::new());
        let settlement = now(handed(&world, *node, told).settle(&hold(0)));
        let row = format!("before {before}, node {node}, {:?}", told.iter().map(|(told, _)| told).collect::<Vec<_>>());
        assert_eq!(settlement_word(&settlement), *want, "{row}");
        let calls = world.said();
        assert_eq!(calls.matches("ask").count(), *asked, "{row}: {calls}");
        assert!(calls.starts_with("advance submit"), "{row}: {calls}");
        assert!(matches!(world.record(0).state, State::Submitted(_)), "{row}");
    }
}

#[test]
fn without_the_journal_nobody_is_asked() {
    let world = World::new();
    world.put_hold(hold(0), State::Open, AnswerState::Live, Vec::new());
    world.fail_after("advance", 0);
    assert_eq!(settlement_word(&now(handed(&world, true, &[(SETTLED, PAID_BY_US)]).settle(&hold(0)))), "unknown");
    assert_eq!(world.said(), "advance submit");
    // One that has ended is nobody's any more; one that is not there never was.
    for state in [State::Burnt(BurnReason::Interrupted), State::Released(ReleaseReason::NotSent)] {
        let world = World::new();
        world.put_hold(hold(0), state, AnswerState::Live, Vec::new());
        assert_eq!(settlement_word(&now(handed(&world, true, &[]).settle(&hold(0)))), "unknown");
        assert_eq!(world.said(), "");
    }
    let world = World::new();
    assert_eq!(settlement_word(&now(handed(&world, true, &[]).settle(&hold(0)))), "unknown");
    assert_eq!(world.said(), "");
}

#[test]
fn what_is_checked_before_a_run() {
    let block = |number| BlockRef { number, hash: if number == 0 { B256::ZERO } else { B256::with_last_byte(7) } };
    let fault = Check::Fault(Fault::untouched(FaultKind::Facilitator));
    let seen = |number, balance_atomic| Check::Payable(Seen { block: block(number), balance_atomic });
    let no = Verified::Refused(Refusal::Signature);
    for (node, verified, depth, want, calls) in [
        (true, Verified::Valid, Depth::Chain, seen(LATEST, Some(AMOUNT)), "block latest, 3 calls 103, verify"),
        (false, Verified::Valid, Depth::Chain, seen(0, None), "verify"),
        (true, no, Depth::Chain, Check::Refused(Refusal::Signature), "block latest, 3 calls 103, verify"),
        (false, Verified::Fault, Depth::Chain, fault, "verify"),
        (false, Verified::Valid, Depth::Local, seen(0, None), ""),
    ] {
        let world = World::new();
        let mut handed = handed(&world, node, &[]);
        handed.remote.verified = verified;
        assert_eq!(now(handed.check(&check::proven(), depth)), want);
        assert_eq!(world.said(), calls);
    }
    let world = World::new();
    world.balance.set(0);
    let check = now(handed(&world, true, &[]).check(&check::proven(), Depth::Chain));
    assert_eq!(check, Check::Refused(Refusal::InsufficientBalance));
    assert_eq!(world.said(), "block latest, 3 calls 103", "nobody is asked");
}

/// Before the authorization's end, and after it.
const EARLY_MS: u64 = 1_900_000_000_000;
const LATE_MS: u64 = VALID_BEFORE_S * 1_000 + 1_000;

#[test]
fn what_becomes_of_what_was_handed_over() {
    let unlogged: Event = |world| world.pay(THEIRS, SEEN, payer());
    for (node, rail, event, by, now_ms, want) in [
        (true, Rail::Direct, PAID_BY_STRANGER, None, EARLY_MS, "posted c2, Kept"),
        (true, Rail::Direct, PAID_BY_PAYER, Some(1), LATE_MS, "posted c2, Kept"),
        (true, Rail::Direct, CANCELLED, None, EARLY_MS, "burnt SettlementRefused, Kept"),
        (true, Rail::Direct, NOTHING, None, EARLY_MS, "again"),
        (true, Rail::Direct, NOTHING, Some(0), LATE_MS, "wait"),
        (true, Rail::Direct, NOTHING, Some(1), LATE_MS, "released Expired, Kept"),
        (true, Rail::Direct, unlogged, None, EARLY_MS, "wait"),
        (true, Rail::Direct, unlogged, Some(1), LATE_MS, "burnt SettlementRefused, Kept"),
        (true, Rail::Tab, NOTHING, Some(1), LATE_MS, "lost Expired, Kept"),
        (true, Rail::Tab, CANCELLED, None, EARLY_MS, "lost Gone, Kept"),
        (false, Rail::Direct, NOTHING, None, EARLY_MS, "again"),
        (false, Rail::Direct, NOTHING, Some(100), LATE_MS, "suspended"),
        (false, Rail::Tab, NOTHING, Some(100), LATE_MS, "suspended"),
    ] {
        let world = World::new();
        let hold = Hold { rail, opened_at_ms: now_ms - 40_000, ..hold(0) };
        world.put_hold(hold.clone(), State::Submitted(HANDED), AnswerState::Kept, Vec::new());
        event(&world);
        if let Some(by) = by {
            final_at(&world, by);
        }
        let handed = handed(&world, node, &[]);
        let looked = now(handed.look(Network::BASE_SEPOLIA, now_ms)).unwrap();
        let word = match (looked.again.as_slice(), looked.suspended.as_slice(), looked.resolved) {
            ([again], [], 0) => {
                assert_eq!(again.id, hold.id);
                "again".to_owned()
            }
            ([], [suspended], 0) => {
                assert_eq!(*suspended, hold.id);
                "suspended".to_owned()
            }
            ([], [], 0) => "wait".to_owned(),
            ([], [], _) => state_word(&world.record(0)),
            other => panic!("{other:?}"),
        };
        assert_eq!(word, want, "node {node}, {rail:?}, {by:?}");
        // It rests: a quarter of its age.
        if want == "again" {
            assert!(now(handed.look(Network::BASE_SEPOLIA, now_ms)).unwrap().again.is_empty());
            world.elapsed_ms.set(10_000);
            assert_eq!(now(handed.look(Network::BASE_SEPOLIA, now_ms)).unwrap().again.len(), 1);
        }
        if want == "suspended" {
            assert!(now(handed.look(Network::BASE_SEPOLIA, now_ms)).unwrap().suspended.is_empty(), "said once an hour");
            assert_eq!(world.record(0).state, State::Submitted(HANDED));
        }
    }
}

#[test]
fn holds_that_were_never_handed_over() {
    for (state, answer, now_ms, want) in [
        (State::Open, AnswerState::Kept, EARLY_MS, "again"),
        (State::Open, AnswerState::Lost, EARLY_MS, "burnt Interrupted, Lost"),
        (State::Open, AnswerState::Live, EARLY_MS, "wait"),
        (State::Answered, AnswerState::Live, EARLY_MS, "wait"),
        (State::Answered, AnswerState::Live, LATE_MS - 11_000, "again"),
    ] {
        for node in [true, false] {
            let world = World::new();
            let rail = if state == State::Answered { Rail::Tab } else { Rail::Direct };
            world.put_hold(Hold { rail, ..hold(0) }, state, answer, Vec::new());
            let looked = now(handed(&world, node, &[]).look(Network::BASE_SEPOLIA, now_ms)).unwrap();
            let word = match (looked.again.len(), looked.resolved) {
                (1, 0) => "again".to_owned(),
                (0, 0) => "wait".to_owned(),
                (0, _) => state_word(&world.record(0)),
                other => panic!("{other:?}"),
            };
            assert_eq!(word, want, "{state:?} {answer:?}");
        }
    }
}

#[test]
fn the_tab_goes_when_its_age_is_up() {
    let terms = TabTerms {
        batch_max: 1,
        settle_age_ms: 5_000,
        caps: Exposure { payer_micros: u64::MAX, source_micros: u64::MAX, gate_micros: u64::MAX },
        margin_ms: 60_000,
    };
    let world = World::new();
    for number in 0..3 {
        world.put_hold(tab_hold(number), State::Answered, AnswerState::Delivered, Vec::new());
    }
    let handed = handed(&world, false, &[(SETTLED, NOTHING)]);
    for (now_ms, all, want) in [(5_000, false, 0), (5_001, false, 3), (5_000, true, 3)] {
        assert_eq!(now(handed.due(Network::BASE_SEPOLIA, &terms, now_ms, all)).unwrap().len(), want, "{now_ms}");
    }
    assert_eq!(now(handed.settle_one(&tab_hold(0))), Ok(true));
    assert_eq!(now(handed.settle_one(&tab_hold(1))), Ok(false));
    let states: Vec<_> = (0..3).map(|number| state_word(&world.record(number))).collect();
    assert_eq!(states, ["posted c1, Delivered", "submitted, Delivered", "answered, Delivered"]);
}
