//! The steps that move money, by state and rail.

use super::*;

const SUBMIT: Step = Step::Submit(B256::repeat_byte(1));

/// The columns of the tables, in their order.
fn steps() -> [Step; 12] {
    [
        SUBMIT,
        Step::Post(settled(1)),
        Step::Post(settled(2)),
        Step::Arrive(settled(1)),
        Step::Release(ReleaseReason::NotSent),
        Step::Release(ReleaseReason::FreeStatus),
        Step::Release(ReleaseReason::Expired),
        Step::Burn(BurnReason::Unanswered),
        Step::Burn(BurnReason::Interrupted),
        Step::Burn(BurnReason::ForeignTransfer),
        Step::Refuse(LossReason::Failed),
        Step::Expire,
    ]
}

fn table(rail: Rail, rows: &[(State, [&str; 12])]) {
    for (state, row) in rows {
        for (step, want) in steps().into_iter().zip(row) {
            // Where the answer is does not matter to the money, but for one that was lost, which has its own table.
            for answer in [AnswerState::Live, AnswerState::Pending, AnswerState::Kept, AnswerState::Delivered] {
                assert_eq!(
                    outcome(&record(rail, *state, answer), step),
                    *want,
                    "{rail:?} {state:?} {answer:?} {step:?}"
                );
            }
        }
    }
}

const LATE: [&str; 2] = ["released late", "burnt late"];
const POST: &str = "posted posted";
const LOSS: &str = "lost uncollected";

/// Neither `Answered` nor `Lost` is a state of a direct hold; `every` shows that it never gets there.
#[test]
fn direct() {
    let [freed, burnt] = LATE;
    table(
        Rail::Direct,
        &[
            // Submit, post, post another, arrive; release (not sent, free, expired); burn (unanswered, interrupted, foreign); refuse, expire.
            (
                State::Open,
                ["submitted", POST, POST, "-", "released", "released", "-", "burnt", "burnt", burnt, "burnt", "-"],
            ),
            (SUBMITTED, ["submitted", POST, POST, "-", "-", "-", "-", "-", "-", burnt, "burnt", "released"]),
            (posted(), ["-", "=", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"]),
            (RELEASED, ["-", "=", "=", freed, "=", "-", "-", "-", "-", "-", "-", "-"]),
            (FREE, ["-", "=", "=", freed, "-", "=", "-", "-", "-", "-", "-", "-"]),
            (EXPIRED, ["-", "=", "=", freed, "-", "-", "=", "-", "-", "-", "-", "="]),
            (BURNT, ["-", "=", "=", burnt, "-", "-", "-", "=", "-", "-", "-", "-"]),
            (REFUSED, ["-", "=", "=", burnt, "-", "-", "-", "-", "-", "-", "=", "-"]),
            (FOREIGN, ["-", "=", "=", "=", "-", "-", "-", "-", "-", "=", "-", "-"]),
        ],
    );
}

/// A run on the tab is not submitted while it goes on, and what was served is lost where a direct hold would be burnt or let go.
#[test]
fn tab() {
    let [freed, burnt] = LATE;
    let (broken, recovered) = (State::Burnt(BurnReason::Broken), "lost recovered");
    table(
        Rail::Tab,
        &[
            (State::Open, ["-", POST, POST, "-", "released", "released", "-", "burnt", "burnt", burnt, "burnt", "-"]),
            (SUBMITTED, ["submitted", POST, POST, "-", "-", "-", "-", "-", "-", burnt, LOSS, LOSS]),
            (posted(), ["-", "=", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"]),
            (RELEASED, ["-", "=", "=", freed, "=", "-", "-", "-", "-", "-", "-", "-"]),
            (FREE, ["-", "=", "=", freed, "-", "=", "-", "-", "-", "-", "-", "-"]),
            (BURNT, ["-", "=", "=", burnt, "-", "-", "-", "=", "-", "-", "-", "-"]),
            (broken, ["-", "=", "=", burnt, "-", "-", "-", "-", "-", "-", "-", "-"]),
            (REFUSED, ["-", "=", "=", burnt, "-", "-", "-", "-", "-", "-", "=", "-"]),
            (FOREIGN, ["-", "=", "=", "=", "-", "-", "-", "-", "-", "=", "-", "-"]),
            (LOST, ["-", "=", "=", recovered, "-", "-", "-", "-", "-", "-", "=", "="]),
        ],
    );
    // What was answered is charged or lost. Burning it is for its run to ask, as long as that goes on: see `gate`.
    let answered = record(Rail::Tab, State::Answered, AnswerState::Delivered);
    for (step, want) in
        steps().into_iter().zip(["submitted", POST, POST, "-", "-", "-", "-", "-", "-", burnt, LOSS, LOSS])
    {
        assert_eq!(outcome(&answered, step), want, "{step:?}");
    }
}

#[test]
fn why_it_was_lost_is_kept() {
    for (step, want) in [
        (Step::Refuse(LossReason::Emptied), LossReason::Emptied),
        (Step::Refuse(LossReason::Gone), LossReason::Gone),
        (Step::Refuse(LossReason::Failed), LossReason::Failed),
        (Step::Refuse(LossReason::Expired), LossReason::Expired),
        (Step::Expire, LossReason::Expired),
    ] {
        for state in [State::Answered, SUBMITTED] {
            let change = advance(&record(Rail::Tab, state, AnswerState::Delivered), step).unwrap().unwrap();
            assert_eq!(change.record.state, State::Lost(want), "{state:?} {step:?}");
            // The first word stands.
            assert_eq!(advance(&change.record, Step::Refuse(LossReason::Failed)), Ok(None), "{step:?}");
        }
    }
}

/// One entry, from where to where.
fn moved(record: &Record, step: Step) -> Vec<String> {
    let side = |line: &crate::Line, side: Side| {
        assert_eq!((line.side, line.amount), (side, hold(Rail::Tab).authorization.amount()));
        line.account.to_string()
    };
    let one = |entry: &Entry| {
        assert_eq!(entry.about, About::Hold(record.hold.id));
        let [debit, credit] = &entry.lines;
        let (from, to) = (side(debit, Side::Debit), side(credit, Side::Credit));
        format!("{}: {from} > {to}", entry.kind.code())
    };
    advance(record, step).unwrap().unwrap().entries.iter().map(one).collect()
}

#[test]
fn every_entry_names_its_accounts() {
    let (payer, payee) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let (post, arrive) = (Step::Post(settled(1)), Step::Arrive(settled(1)));
    for (state, step, want) in [
        (SUBMITTED, post, format!("posted: external:{payer} > revenue:{payee}")),
        (State::Answered, post, format!("posted: external:{payer} > revenue:{payee}")),
        (RELEASED, arrive, format!("late: external:{payer} > suspense:{payee}")),
        (BURNT, arrive, format!("late: external:{payer} > suspense:{payee}")),
        (SUBMITTED, Step::Burn(BurnReason::ForeignTransfer), format!("late: external:{payer} > suspense:{payee}")),
        (posted(), Step::LoseAnswer, format!("refund_due: revenue:{payee} > refund_due:{payer}")),
        (State::Answered, Step::Refuse(LossReason::Gone), format!("uncollected: loss:{payee} > revenue:{payee}")),
        (SUBMITTED, Step::Expire, format!("uncollected: loss:{payee} > revenue:{payee}")),
        (LOST, arrive, format!("recovered: external:{payer} > loss:{payee}")),
    ] {
        assert_eq!(moved(&record(Rail::Tab, state, AnswerState::Live), step), [want], "{state:?} {step:?}");
    }
}

#[test]
fn gas_is_written_in_native_coin() {
    let (chain_tx, signer) = (B256::repeat_byte(8), Address::repeat_byte(7));
    let wei = protocol::Amount::new(21_000, Asset::native(Network::BASE_SEPOLIA));
    let entry = Entry::gas(chain_tx, signer, wei);
    assert_eq!((entry.about, entry.kind.code()), (About::ChainTx(chain_tx), "gas"));
    let [debit, credit] = entry.lines;
    assert_eq!((debit.side, credit.side), (Side::Debit, Side::Credit));
    assert_eq!((debit.amount, credit.amount), (wei, wei));
    assert_eq!(debit.account.to_string(), format!("key:{signer}"));
    assert_eq!(credit.account.to_string(), format!("gas:{signer}"));
}

#[test]
fn money_that_comes_after_the_end_is_written_once() {
    for (rail, state, kind) in [
        (Rail::Direct, BURNT, "burnt late"),
        (Rail::Direct, EXPIRED, "released late"),
        (Rail::Tab, BURNT, "burnt late"),
        (Rail::Tab, LOST, "lost recovered"),
    ] {
        let record = record(rail, state, AnswerState::Live);
        assert_eq!(outcome(&record, Step::Arrive(settled(1))), kind, "{state:?}");
        let change = advance(&record, Step::Arrive(settled(1))).unwrap().unwrap();
        assert!(change.record.late && change.record.state == state, "{state:?}: it stays what it was");
        assert_eq!(outcome(&change.record, Step::Arrive(settled(1))), "=", "{state:?}");
        assert_eq!(outcome(&change.record, Step::Arrive(settled(2))), "=", "{state:?}");
    }
    // A word without a block is all that there will be; what names a block is looked for again once that is final.
    let word = Settled { block: 0, block_hash: B256::ZERO, ..settled(1) };
    assert_eq!(outcome(&record(Rail::Direct, BURNT, AnswerState::Live), Step::Post(word)), "burnt late");
    assert_eq!(outcome(&record(Rail::Tab, LOST, AnswerState::Live), Step::Post(word)), "lost recovered");
    assert_eq!(outcome(&record(Rail::Direct, BURNT, AnswerState::Live), Step::Post(settled(1))), "=");
}

/// What a remote facilitator was handed is submitted by a chain_tx that nobody knows yet.
#[test]
fn handed_over() {
    let handed = Step::Submit(HANDED);
    for (rail, state, want) in [
        (Rail::Direct, State::Open, "submitted"),
        (Rail::Tab, State::Open, "-"),
        (Rail::Tab, State::Answered, "submitted"),
        (Rail::Direct, State::Submitted(HANDED), "="),
        (Rail::Direct, SUBMITTED, "="),
        (Rail::Direct, posted(), "-"),
        (Rail::Direct, RELEASED, "-"),
        (Rail::Direct, BURNT, "-"),
        (Rail::Tab, LOST, "-"),
    ] {
        assert_eq!(outcome(&record(rail, state, AnswerState::Live), handed), want, "{rail:?} {state:?}");
    }
    // Once it is named, that is what it is known by; without a proof it is never let go, and never burnt.
    let known = record(Rail::Direct, State::Submitted(HANDED), AnswerState::Live);
    let named = advance(&known, SUBMIT).unwrap().unwrap().record;
    assert_eq!((named.state, crate::told(HANDED)), (SUBMITTED, None));
    for step in [Step::Release(ReleaseReason::NotSent), Step::Burn(BurnReason::Interrupted)] {
        assert_eq!(outcome(&known, step), "-");
    }
}
