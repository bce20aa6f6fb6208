//! A reorg takes the money of a posted payment out of the chain.

use super::*;

/// A posted record that a reorg has un-settled.
fn unsettled(rail: Rail, answer: AnswerState) -> Record {
    let record = advance(&record(rail, posted(), answer), Step::Unsettle(HERE)).unwrap().unwrap().record;
    assert!(record.is_unsettled());
    record
}

#[test]
fn the_money_goes_to_loss_and_comes_back() {
    for rail in [Rail::Direct, Rail::Tab] {
        let before = record(rail, posted(), AnswerState::Delivered);
        assert_eq!(outcome(&before, Step::Unsettle(HERE)), "submitted unsettled", "{rail:?}");
        let record = unsettled(rail, AnswerState::Delivered);
        assert_eq!((record.state, record.reorgs), (SUBMITTED, 1), "the same chain_tx goes out again");
        for (step, want) in [
            (Step::Unsettle(HERE), "="),
            (Step::Submit(B256::repeat_byte(1)), "submitted"),
            (Step::Submit(B256::repeat_byte(2)), "submitted"),
            (Step::Post(settled(1)), "posted resettled"),
            (Step::Post(settled(2)), "posted resettled"),
            (Step::Refuse(LossReason::Emptied), "lost"),
            (Step::Refuse(LossReason::Gone), "lost"),
            (Step::Expire, "lost"),
            (Step::Burn(BurnReason::ForeignTransfer), "lost recovered"),
            (Step::Burn(BurnReason::Interrupted), "-"),
            (Step::Release(ReleaseReason::NotSent), "-"),
            (Step::Release(ReleaseReason::Expired), "-"),
        ] {
            assert_eq!(outcome(&record, step), want, "{rail:?} {step:?}");
        }
        let lost = advance(&record, Step::Expire).unwrap().unwrap().record;
        assert_eq!(lost.state, State::Lost(LossReason::Reorged), "{rail:?}");
        assert_eq!(outcome(&lost, Step::Arrive(settled(2))), "lost recovered", "{rail:?}");
    }
}

#[test]
fn only_what_is_posted_in_that_block_and_not_final_is_unsettled() {
    for state in [State::Open, SUBMITTED, RELEASED, BURNT, FOREIGN, LOST] {
        assert_eq!(outcome(&record(Rail::Tab, state, AnswerState::Kept), Step::Unsettle(HERE)), "-", "{state:?}");
    }
    let there = record(Rail::Direct, posted(), AnswerState::Live);
    assert_eq!(outcome(&there, Step::Unsettle(ELSEWHERE)), "=", "it was found in another block meanwhile");
    let last = Record { is_final: true, ..there.clone() };
    assert_eq!(outcome(&last, Step::Unsettle(HERE)), "-", "final is final");
    let moved = Settled { block: 7, block_hash: ELSEWHERE, ..settled(1) };
    assert_eq!(outcome(&there, Step::Post(moved)), "posted", "another block, and no entry");
    assert_eq!(advance(&there, Step::Post(moved)).unwrap().unwrap().record.state, State::Posted(moved));
    assert_eq!(outcome(&last, Step::Post(moved)), "=");
}

#[test]
fn nothing_is_owed_back_of_money_that_did_not_come() {
    let owed = advance(&record(Rail::Direct, posted(), AnswerState::Live), Step::LoseAnswer).unwrap().unwrap().record;
    assert!(owed.refund_due);
    assert_eq!(outcome(&owed, Step::Unsettle(HERE)), "submitted unsettled+refund_voided");
    let unsettled = advance(&owed, Step::Unsettle(HERE)).unwrap().unwrap().record;
    assert!(!unsettled.refund_due);
    assert_eq!(outcome(&unsettled, Step::Post(settled(1))), "posted resettled+refund_due");
    assert_eq!(outcome(&unsettled, Step::Expire), "lost");
    // The answer breaks off while the money is out.
    let live = super::reorg::unsettled(Rail::Direct, AnswerState::Live);
    assert_eq!(answer_outcome(&live, Step::LoseAnswer), "submitted, Lost");
    let lost = advance(&live, Step::LoseAnswer).unwrap().unwrap().record;
    assert_eq!(outcome(&lost, Step::Post(settled(1))), "posted resettled+refund_due");
}

/// It was given up, and came after all: of an answer that was lost it is owed back, whenever that was.
#[test]
fn what_is_recovered_of_a_lost_answer_is_owed_back() {
    for rail in [Rail::Direct, Rail::Tab] {
        let unsettled = unsettled(rail, AnswerState::Lost);
        assert_eq!(outcome(&unsettled, Step::Burn(BurnReason::ForeignTransfer)), "lost recovered+refund_due");
        let lost = advance(&unsettled, Step::Refuse(LossReason::Gone)).unwrap().unwrap().record;
        assert_eq!(outcome(&lost, Step::Arrive(settled(2))), "lost recovered+refund_due", "{rail:?}");
        let back = advance(&lost, Step::Arrive(settled(2))).unwrap().unwrap().record;
        assert!(back.refund_due && back.late, "{rail:?}");
        assert_eq!(outcome(&back, Step::Arrive(settled(2))), "=", "{rail:?}");
        let live = Record { answer: AnswerState::Live, refund_due: false, ..back };
        assert!(advance(&live, Step::LoseAnswer).unwrap().unwrap().record.refund_due, "{rail:?}");
    }
}

/// What is un-settled on the tab counts on the tab again.
#[test]
fn it_is_exposed_again() {
    let record = record(Rail::Tab, posted(), AnswerState::Delivered);
    assert_eq!(record.exposed_micros(), 0);
    assert_eq!(unsettled(Rail::Tab, AnswerState::Delivered).exposed_micros(), MICROS);
    assert_eq!(unsettled(Rail::Direct, AnswerState::Delivered).exposed_micros(), 0);
}

#[test]
fn every_entry_names_its_accounts() {
    let (payer, payee) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let lines = |record: &Record, step: Step| -> Vec<String> {
        let entries = advance(record, step).unwrap().unwrap().entries;
        let line = |entry: &Entry| {
            let [from, to] = entry.lines;
            assert_eq!((from.amount.atomic, to.amount.atomic), (PRICE, PRICE));
            format!("{}: {} > {}", entry.kind.code(), from.account, to.account)
        };
        entries.iter().map(line).collect()
    };
    let owed = Record { refund_due: true, ..record(Rail::Direct, posted(), AnswerState::Lost) };
    assert_eq!(
        lines(&owed, Step::Unsettle(HERE)),
        [
            format!("unsettled: loss:{payee} > external:{payer}"),
            format!("refund_voided: refund_due:{payer} > revenue:{payee}")
        ]
    );
    let back = unsettled(Rail::Direct, AnswerState::Live);
    assert_eq!(lines(&back, Step::Post(settled(1))), [format!("resettled: external:{payer} > loss:{payee}")]);
    let (chain_tx, signer) = (B256::repeat_byte(8), Address::repeat_byte(7));
    let wei = protocol::Amount::new(1, Asset::native(Network::BASE_SEPOLIA));
    let [from, to] = Entry::gas_voided(chain_tx, signer, wei).lines;
    assert_eq!([from.account, to.account], [Account::Gas(signer), Account::Key(signer)]);
}
