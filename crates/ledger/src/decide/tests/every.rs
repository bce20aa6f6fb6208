//! Every record that any sequence of steps can lead to. There are so few that none needs to be drawn by chance.

use std::collections::BTreeMap;

use super::*;

const BURNS: [BurnReason; 5] = [
    BurnReason::Unanswered,
    BurnReason::Interrupted,
    BurnReason::SettlementRefused,
    BurnReason::Broken,
    BurnReason::ForeignTransfer,
];
const RELEASES: [ReleaseReason; 3] = [ReleaseReason::NotSent, ReleaseReason::FreeStatus, ReleaseReason::Expired];
const LOSSES: [LossReason; 4] = [LossReason::Emptied, LossReason::Gone, LossReason::Failed, LossReason::Expired];

fn steps() -> Vec<Step> {
    let mut steps = vec![Step::Answer, Step::Deliver, Step::Pend, Step::KeepAnswer, Step::LoseAnswer, Step::Expire];
    steps.push(Step::TakeBack);
    for byte in [1, 2] {
        steps.extend([Step::Submit(B256::repeat_byte(byte)), Step::Post(settled(byte))]);
    }
    steps.push(Step::Post(Settled { block: 7, block_hash: ELSEWHERE, ..settled(1) }));
    steps.extend([Step::Unsettle(HERE), Step::Unsettle(ELSEWHERE), Step::Arrive(settled(1))]);
    steps.extend(RELEASES.map(Step::Release));
    steps.extend(BURNS.map(Step::Burn));
    steps.extend(LOSSES.map(Step::Refuse));
    steps
}

/// A record with what its history has booked.
type Reached = (Record, Vec<&'static str>);

fn balances(entry: &Entry) {
    let [debit, credit] = entry.lines;
    assert_eq!((debit.side, credit.side), (Side::Debit, Side::Credit), "{entry:?}");
    assert_eq!(debit.amount, credit.amount, "{entry:?}");
    assert_ne!(debit.account, credit.account, "{entry:?}");
}

/// Everything that can be reached on a rail, by its words.
fn reached(rail: Rail) -> BTreeMap<String, Reached> {
    let first = (Record::new(hold(rail)), Vec::new());
    let mut all = BTreeMap::from([(format!("{first:?}"), first.clone())]);
    let mut open = vec![first];
    while let Some((record, booked)) = open.pop() {
        for step in steps() {
            // A chain may be reorganised without end; twice shows what there is to see.
            if matches!(step, Step::Unsettle(_)) && record.reorgs == 2 {
                continue;
            }
            let Ok(Some(change)) = advance(&record, step) else { continue };
            change.entries.iter().for_each(balances);
            let next = change.record;
            assert_eq!(next.hold, record.hold, "the claim never changes");
            let undone =
                matches!((record.state, next.state), (State::Posted(_), State::Posted(_) | State::Submitted(_)));
            assert!(
                !record.state.ended() || next.state == record.state || (undone && !record.is_final),
                "{record:?} {step:?}: an end is an end, but for a reorg"
            );
            match advance(&next, step) {
                Ok(None) => {}
                Ok(Some(again)) => {
                    assert_eq!(
                        (&again.record, again.entries.len()),
                        (&next, 0),
                        "{step:?}: a repeat changes something"
                    );
                }
                Err(violation) => panic!("{record:?}: a repeat is not allowed: {violation}"),
            }
            let mut booked = booked.clone();
            booked.extend(change.entries.iter().map(|entry| entry.kind.code()));
            let key = format!("{next:?} {booked:?}");
            if all.insert(key, (next.clone(), booked.clone())).is_none() {
                open.push((next, booked));
            }
            assert!(all.len() < 5_000, "histories grow without end");
        }
    }
    all
}

#[test]
fn what_is_booked_says_where_the_money_is() {
    for rail in [Rail::Direct, Rail::Tab] {
        for (record, booked) in reached(rail).into_values() {
            let what = format!("{record:?} {booked:?}");
            let times = |kind: &str| booked.iter().filter(|booked| **booked == kind).count();
            let (is_posted, is_lost) =
                (matches!(record.state, State::Posted(_)), matches!(record.state, State::Lost(_)));
            let reorgs = usize::try_from(record.reorgs).unwrap();
            assert_eq!(times("posted"), usize::from(is_posted || reorgs > 0), "{what}: earned once");
            assert_eq!(times("unsettled"), reorgs, "{what}");
            assert_eq!(times("resettled") + usize::from(record.is_unsettled()), reorgs, "{what}");
            assert_eq!(times("uncollected"), usize::from(is_lost && reorgs == 0), "{what}");
            assert_eq!(times("refund_due"), usize::from(record.refund_due) + times("refund_voided"), "{what}");
            let came =
                ["posted", "resettled", "late", "recovered"].map(times).iter().sum::<usize>() - times("unsettled");
            assert_eq!(came, usize::from(is_posted || record.late), "{what}: what came is what is there");
            assert_eq!(times("late") + times("recovered"), usize::from(record.late), "{what}");
            assert!(!is_posted || !record.late, "{what}: the money moves once");
            let earned = is_posted || (is_lost && record.late);
            assert_eq!(record.refund_due, earned && record.answer == AnswerState::Lost, "{what}");
            assert!(times("recovered") == 0 || is_lost, "{what}");
        }
    }
}

#[test]
fn each_rail_has_its_own_states() {
    for (record, _) in reached(Rail::Direct).into_values() {
        let reorged = record.state == State::Lost(LossReason::Reorged);
        assert!(!matches!(record.state, State::Answered | State::Lost(_)) || reorged, "{record:?}");
        assert!(!reorged || record.reorgs > 0, "{record:?}");
    }
    for (record, _) in reached(Rail::Tab).into_values() {
        assert_ne!(record.state, EXPIRED, "what was served on the tab is lost, never let go");
        assert!(record.exposed_micros() == 0 || !record.state.ended(), "{record:?}");
    }
}
