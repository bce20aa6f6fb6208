//! The comparison over plain rows: one row for each case, the expected word last.

use alloy_primitives::{Bytes, U256, keccak256};
use facilitator::engine::{ChainReceipt, Log};
use ledger::{AnswerState, BlockRef, BurnReason, Hold, Rail, Record, ReleaseReason, Side, Source};
use protocol::{Authorization, Key, Payee, Settled, Signature};
use store::{Fate, LineRow, SealDigest, TabSum};

use super::chain::Mined;
use super::*;

const NETWORK: Network = Network::BASE_SEPOLIA;
const PAYER: Address = Address::repeat_byte(1);
const PAYEE: Address = Address::repeat_byte(2);
const TOKEN: Address = Address::repeat_byte(3);
const OURS: Address = Address::repeat_byte(7);
const NONCE: B256 = B256::repeat_byte(4);
const TX: B256 = B256::repeat_byte(8);
const AMOUNT: u128 = 10;

fn settled() -> State {
    let asset = Asset { network: NETWORK, address: AssetAddress(TOKEN) };
    let amount = protocol::Amount::new(AMOUNT, asset);
    State::Posted(Settled { chain_tx: TX, block: 9, block_hash: B256::with_last_byte(9), amount, payer: Payer(PAYER) })
}

fn payment(state: State) -> Payment {
    let asset = Asset { network: NETWORK, address: AssetAddress(TOKEN) };
    let mut signature = [1; 65];
    signature[64] = 28;
    let hold = Hold {
        id: HoldId([5; 16]),
        authorization: Authorization {
            key: ClaimKey { asset, payer: Payer(PAYER), nonce: NONCE },
            payee: Payee(PAYEE),
            amount_atomic: AMOUNT,
            valid_after_s: 1,
            valid_before_s: 1_000,
            signature: Signature::from_bytes(&signature).unwrap(),
        },
        route: "GET /paid".to_owned(),
        fingerprint: B256::ZERO,
        idempotency: None,
        seen: BlockRef { number: 5, hash: B256::ZERO },
        opened_at_ms: 77,
        rail: Rail::Tab,
        source: Source([9; 16]),
        exposure_micros: 10,
        buys: None,
    };
    let record = Record { state, answer: AnswerState::Delivered, ..Record::new(hold) };
    let exposed_micros = record.exposed_micros();
    let chain_tx = if let State::Posted(_) | State::Submitted(_) = state { Some(TX) } else { None };
    Payment { turn: 1, record, exposed_micros, watched: false, chain_tx }
}

fn late(state: State) -> Payment {
    let mut payment = payment(state);
    payment.record.late = true;
    payment
}

fn owed() -> Payment {
    let mut payment = payment(settled());
    payment.record.refund_due = true;
    payment
}

fn log(event: &str, places: [B256; 2], data: Bytes) -> Log {
    let topics = vec![keccak256(event), places[0], places[1]];
    Log { address: TOKEN, topics, data, chain_tx: TX, block: 9, block_hash: B256::ZERO }
}

fn used(nonce: B256) -> Log {
    log("AuthorizationUsed(address,bytes32)", [PAYER.into_word(), nonce], Bytes::new())
}

fn moved(to: Address, value: u128) -> Log {
    let data = U256::from(value).to_be_bytes::<32>().to_vec().into();
    log("Transfer(address,address,uint256)", [PAYER.into_word(), to.into_word()], data)
}

fn mined(logs: Vec<Log>) -> Mined {
    let success = !logs.is_empty();
    Mined::read(&ChainReceipt {
        chain_tx: TX,
        block: 9,
        block_hash: B256::with_last_byte(9),
        success,
        from: OURS,
        fee_wei: Some(5),
        logs,
    })
}

fn paid() -> Mined {
    mined(vec![used(NONCE), moved(PAYEE, AMOUNT)])
}

const END: End = End { chain_tx: TX, block: 9, cancelled: false };

#[test]
fn what_a_payment_comes_to() {
    let other = B256::repeat_byte(6);
    let (paid, failed, nothing) = (paid(), mined(vec![]), mined(vec![used(other), moved(PAYEE, AMOUNT)]));
    let (more, less) = (mined(vec![used(NONCE), moved(PAYEE, 11)]), mined(vec![used(NONCE), moved(PAYEE, 9)]));
    let (astray, bare) = (mined(vec![used(NONCE), moved(PAYER, AMOUNT)]), mined(vec![used(NONCE)]));
    let cancelled = End { cancelled: true, ..END };
    let (burnt, gone) = (State::Burnt(BurnReason::Unanswered), State::Lost(LossReason::Gone));
    let released = State::Released(ReleaseReason::NotSent);
    let mut owed_late = late(gone);
    owed_late.record.refund_due = true;
    let rows: [(Payment, Option<&Mined>, Option<End>, Word); 23] = [
        (payment(settled()), Some(&paid), None, Word::Matched),
        (owed(), Some(&paid), None, Word::OwedBack),
        (payment(settled()), None, None, Word::Missing),
        (payment(settled()), None, Some(cancelled), Word::Missing),
        (payment(settled()), Some(&failed), None, Word::Missing),
        (payment(settled()), Some(&nothing), None, Word::Missing),
        (payment(settled()), Some(&astray), None, Word::Missing),
        (payment(settled()), Some(&bare), None, Word::Missing),
        (payment(settled()), Some(&more), None, Word::Over),
        (owed(), Some(&less), None, Word::Under),
        (payment(State::Open), None, None, Word::Running),
        (payment(State::Answered), None, None, Word::Held),
        (payment(State::Submitted(TX)), Some(&paid), None, Word::Submitted),
        (payment(released), None, None, Word::Released),
        (payment(burnt), None, None, Word::Burnt),
        (late(burnt), Some(&paid), Some(END), Word::Late),
        (late(released), None, None, Word::Missing),
        (late(burnt), None, Some(cancelled), Word::Missing),
        (late(gone), Some(&paid), Some(END), Word::Recovered),
        (owed_late, Some(&paid), Some(END), Word::OwedBack),
        (late(gone), Some(&less), Some(END), Word::Under),
        (payment(gone), None, Some(cancelled), Word::Lost),
        (payment(State::Lost(LossReason::Expired)), None, None, Word::Lost),
    ];
    for (payment, receipt, end, want) in rows {
        let evidence = Evidence { receipt, end, end_receipt: end.and(receipt), ..Evidence::default() };
        let finding = judge(&payment, &[], &View::Chain(evidence), &Assets::default());
        assert_eq!(finding.word, want, "{:?}: {}", payment.record.state, finding.found);
        assert_eq!(finding.difference, want.is_difference(), "{:?}", payment.record.state);
    }
}

#[test]
fn a_loss_is_told_with_its_evidence() {
    let elsewhere = mined(vec![used(NONCE), moved(Address::repeat_byte(9), 3)]);
    let failed = mined(vec![]);
    let out = Moved { token: TOKEN, from: PAYER, to: OURS, value: U256::from(99), nonce: None };
    let rows: [(LossReason, Evidence<'_>, &str); 6] = [
        (
            LossReason::Gone,
            Evidence { end: Some(End { cancelled: true, ..END }), ..Evidence::default() },
            "gone: cancelled in 0x0808",
        ),
        (
            LossReason::Gone,
            Evidence { end: Some(END), end_receipt: Some(&elsewhere), ..Evidence::default() },
            "gone: used for another transfer in 0x0808",
        ),
        (LossReason::Emptied, Evidence { outflow: Some((out, END)), ..Evidence::default() }, "emptied: 99 units of"),
        (LossReason::Emptied, Evidence::default(), "emptied: the payer had less than was owed; not used since block 5"),
        (
            LossReason::Failed,
            Evidence { receipt: Some(&failed), ..Evidence::default() },
            "failed: it did not go through in 0x0808",
        ),
        (
            LossReason::Expired,
            Evidence::default(),
            "expired: not settled before 1970-01-01 00:16:40; not used since block 5",
        ),
    ];
    for (reason, evidence, want) in rows {
        let finding = judge(&payment(State::Lost(reason)), &[], &View::Chain(evidence), &Assets::default());
        assert!(finding.found.contains(want), "{}", finding.found);
    }
}

#[test]
fn money_that_is_not_in_the_books_is_a_difference_once_a_gate_would_have_booked_it() {
    let mined = paid();
    let expired = 1_001;
    let burnt = payment(State::Burnt(BurnReason::Unanswered));
    let watched = Payment { watched: true, ..burnt.clone() };
    for (payment, is_old, known_sender, old_time_s, want) in [
        (payment(State::Submitted(TX)), true, true, 0, true),
        (payment(State::Submitted(TX)), false, true, 0, false),
        (payment(State::Submitted(TX)), true, false, 0, false),
        (payment(State::Submitted(TX)), true, false, expired, true),
        (payment(State::Answered), true, true, 0, false),
        (payment(State::Answered), true, true, expired, true),
        (payment(State::Lost(LossReason::Emptied)), true, true, 0, false),
        (burnt.clone(), true, true, 0, false),
        (burnt, true, true, expired, true),
        (watched, true, true, 0, true),
    ] {
        let stray = Stray { mined: &mined, moved: mined.moved[0], is_old, known_sender };
        let evidence = Evidence { stray: Some(stray), old_time_s, ..Evidence::default() };
        let finding = judge(&payment, &[], &View::Chain(evidence), &Assets::default());
        assert_eq!((finding.word, finding.difference), (Word::Unposted, want), "{:?}", payment.record.state);
    }
}

#[test]
fn without_a_chain_nothing_is_called_matched() {
    let mut owed_late = late(State::Lost(LossReason::Gone));
    owed_late.record.refund_due = true;
    for (payment, offline, unread) in [
        (owed_late, Word::OwedBack, Word::Unread),
        (payment(settled()), Word::Posted, Word::Unread),
        (owed(), Word::OwedBack, Word::Unread),
        (late(State::Burnt(BurnReason::Unanswered)), Word::Late, Word::Unread),
        (late(State::Lost(LossReason::Gone)), Word::Recovered, Word::Unread),
        (payment(State::Lost(LossReason::Gone)), Word::Lost, Word::Lost),
        (payment(State::Answered), Word::Held, Word::Held),
    ] {
        assert_eq!(judge(&payment, &[], &View::Offline, &Assets::default()).word, offline);
        assert_eq!(judge(&payment, &[], &View::Unread, &Assets::default()).word, unread);
    }
}

#[test]
fn each_use_has_its_own_transfer() {
    let other = B256::repeat_byte(6);
    for logs in [
        vec![used(NONCE), moved(PAYEE, 10), used(other), moved(PAYEE, 20)],
        // A token that emits the Transfer first.
        vec![moved(PAYEE, 10), used(NONCE)],
        // Something else in between.
        vec![used(NONCE), log("Approval(address,address,uint256)", [NONCE, NONCE], Bytes::new()), moved(PAYEE, 10)],
    ] {
        let mined = mined(logs);
        assert_eq!(mined.move_of((TOKEN, PAYER, NONCE)).unwrap().value, U256::from(10));
    }
    let loose = mined(vec![moved(PAYEE, 10), used(NONCE), moved(PAYEE, 20)]);
    assert_eq!(loose.moved.iter().map(|moved| moved.nonce).collect::<Vec<_>>(), [None, Some(NONCE)]);
}

fn entry(id: u64, kind: &str, from: &str, to: &str) -> EntryRow {
    let asset = Asset { network: NETWORK, address: AssetAddress(TOKEN) };
    let line = |account: &str, side| LineRow { account: account.to_owned(), side, asset, amount_atomic: AMOUNT };
    let lines = vec![line(from, Side::Debit), line(to, Side::Credit)];
    EntryRow { id, about: About::Hold(HoldId([5; 16])), kind: kind.to_owned(), at_ms: id, lines }
}

fn posted_entry(id: u64) -> EntryRow {
    entry(id, "posted", &format!("external:{PAYER}"), &format!("revenue:{PAYEE}"))
}

#[test]
fn a_state_has_its_entries_and_no_other() {
    let refund = entry(2, "refund_due", &format!("revenue:{PAYEE}"), &format!("refund_due:{PAYER}"));
    let lost = entry(1, "uncollected", &format!("loss:{PAYEE}"), &format!("revenue:{PAYEE}"));
    let back = entry(2, "recovered", &format!("external:{PAYER}"), &format!("loss:{PAYEE}"));
    let suspense = entry(1, "late", &format!("external:{PAYER}"), &format!("suspense:{PAYEE}"));
    let elsewhere = entry(1, "posted", &format!("external:{PAYER}"), "revenue:me");
    let mut less = posted_entry(1);
    less.lines.iter_mut().for_each(|line| line.amount_atomic = 9);
    let gone = State::Lost(LossReason::Gone);
    let rows: [(Payment, Vec<EntryRow>, usize); 14] = [
        (payment(settled()), vec![posted_entry(1)], 0),
        (payment(settled()), vec![], 1),
        (payment(settled()), vec![posted_entry(1), posted_entry(2)], 1),
        (payment(settled()), vec![posted_entry(1), refund.clone()], 1),
        (owed(), vec![posted_entry(1), refund], 0),
        (owed(), vec![posted_entry(1)], 1),
        (payment(settled()), vec![elsewhere], 1),
        (payment(settled()), vec![less], 1),
        (payment(gone), vec![lost.clone()], 0),
        (late(gone), vec![lost.clone(), back], 0),
        (late(gone), vec![lost], 1),
        (late(State::Burnt(BurnReason::ForeignTransfer)), vec![suspense], 0),
        (payment(State::Answered), vec![posted_entry(1)], 1),
        (Payment { exposed_micros: 9, ..payment(State::Answered) }, vec![], 1),
    ];
    for (payment, entries, want) in rows {
        let findings = check_payment(&payment, &[], &entries);
        assert_eq!(findings.len(), want, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.difference));
    }
}

/// What a reorg took out is in loss, each time until it came back; a refund that was due meanwhile is void.
#[test]
fn a_reorg_has_its_entries() {
    let (wallet, loss) = (format!("external:{PAYER}"), format!("loss:{PAYEE}"));
    let (revenue, due) = (format!("revenue:{PAYEE}"), format!("refund_due:{PAYER}"));
    let out = |id| entry(id, "unsettled", &loss, &wallet);
    let back = |id| entry(id, "resettled", &wallet, &loss);
    let refund = |id| entry(id, "refund_due", &revenue, &due);
    let void = |id| entry(id, "refund_voided", &due, &revenue);
    let reorged = |mut payment: Payment, reorgs| {
        payment.record.reorgs = reorgs;
        payment
    };
    let again = || reorged(payment(State::Submitted(TX)), 1);
    let gone = || reorged(payment(State::Lost(LossReason::Reorged)), 1);
    let rows: [(Payment, Vec<EntryRow>, usize); 13] = [
        (again(), vec![posted_entry(1), out(2)], 0),
        (again(), vec![posted_entry(1)], 1),
        (again(), vec![posted_entry(1), out(2), back(3)], 1),
        (again(), vec![posted_entry(1), refund(2), out(3), void(4)], 0),
        (again(), vec![posted_entry(1), refund(2), out(3)], 1),
        (again(), vec![posted_entry(1), out(3), void(4)], 1),
        (reorged(payment(settled()), 1), vec![posted_entry(1), out(2), back(3)], 0),
        (reorged(payment(settled()), 1), vec![posted_entry(1), out(2), posted_entry(3)], 2),
        (reorged(owed(), 1), vec![posted_entry(1), refund(2), out(3), void(4), back(5), refund(6)], 0),
        (reorged(owed(), 2), vec![posted_entry(1), out(2), back(3), out(4), back(5), refund(6)], 0),
        (gone(), vec![posted_entry(1), out(2)], 0),
        (gone(), vec![posted_entry(1), out(2), entry(3, "uncollected", &loss, &revenue)], 1),
        (
            reorged(late(State::Lost(LossReason::Reorged)), 1),
            vec![posted_entry(1), out(2), entry(3, "recovered", &wallet, &loss)],
            0,
        ),
    ];
    for (payment, entries, want) in rows {
        let findings = check_payment(&payment, &[], &entries);
        assert_eq!(findings.len(), want, "{:?}: {findings:?}", payment.record.state);
    }
    let submitted = judge(&again(), &[], &View::Chain(Evidence::default()), &Assets::default());
    assert_eq!((submitted.word, submitted.difference), (Word::Submitted, false));
    assert!(submitted.found.contains("a reorg took out the block"), "{}", submitted.found);
}

#[test]
fn gas_that_a_reorg_gave_back_has_its_void() {
    let tx = |fate| ChainTxRow { hash: TX, network: NETWORK, signer: OURS, sequence: 4, at_ms: 0, fate };
    let (key, gas) = (format!("key:{OURS}"), format!("gas:{OURS}"));
    let row = |id, kind, wei: u128| {
        let (from, to) = if kind == "gas" { (&key, &gas) } else { (&gas, &key) };
        let mut row = entry(id, kind, from, to);
        row.lines.iter_mut().for_each(|line| (line.asset, line.amount_atomic) = (Asset::native(NETWORK), wei));
        row
    };
    let mined = Some(Fate::Mined { block: 9, fee_wei: 7 });
    for (fate, entries, want) in [
        (mined, vec![row(1, "gas", 7)], 0),
        (mined, vec![row(1, "gas", 5), row(2, "gas_voided", 5), row(3, "gas", 7)], 0),
        (None, vec![row(1, "gas", 5), row(2, "gas_voided", 5)], 0),
        (Some(Fate::Outbid), vec![row(1, "gas", 5), row(2, "gas_voided", 5)], 0),
        (None, vec![row(1, "gas", 5)], 1),
        (None, vec![row(1, "gas", 5), row(2, "gas_voided", 4)], 1),
        (mined, vec![row(1, "gas", 5), row(2, "gas_voided", 5)], 1),
        (mined, vec![row(1, "gas_voided", 7), row(2, "gas", 7)], 1),
    ] {
        let booked = BTreeMap::from([(TX, entries)]);
        assert_eq!(check_chain_txs(&[tx(fate)], &booked).len(), want, "{fate:?} {booked:?}");
    }
}

#[test]
fn an_entry_has_two_sides_that_balance() {
    let good = posted_entry(1);
    assert_eq!(check_entry(&good), None);
    type Change = fn(&mut EntryRow);
    let changes: [Change; 4] = [
        |entry| entry.lines[0].amount_atomic = 9,
        |entry| entry.lines[0].side = Side::Credit,
        |entry| entry.lines[0].asset.address = AssetAddress(PAYER),
        |entry| drop(entry.lines.pop()),
    ];
    for change in changes {
        let mut entry = good.clone();
        change(&mut entry);
        assert_eq!(check_entry(&entry).unwrap().word, Word::Unbalanced);
    }
}

#[test]
fn sums_and_sequences() {
    let sum = |kept_micros| TabSum { scope: "payer".to_owned(), who: PAYER.to_vec(), kept_micros, held_micros: 10 };
    assert_eq!(check_sums(&[sum(10)]), []);
    assert!(check_sums(&[sum(11)])[0].found.contains("kept as $0.000011; its payments come to $0.00001"));
    let tx = |hash: u8, sequence, fate| ChainTxRow {
        hash: B256::repeat_byte(hash),
        network: NETWORK,
        signer: OURS,
        sequence,
        at_ms: 0,
        fate,
    };
    let fate = Some(Fate::Mined { block: 9, fee_wei: AMOUNT });
    let mut gas = entry(1, "gas", &format!("key:{OURS}"), &format!("gas:{OURS}"));
    gas.lines.iter_mut().for_each(|line| line.asset = Asset::native(NETWORK));
    let booked = BTreeMap::from([(B256::repeat_byte(2), vec![gas.clone()])]);
    let check = |txs: &[ChainTxRow]| -> Vec<Word> {
        check_chain_txs(txs, &booked).into_iter().map(|finding| finding.word).collect()
    };
    assert_eq!(check(&[tx(1, 4, Some(Fate::Outbid)), tx(2, 4, fate), tx(3, 5, None)]), []);
    assert_eq!(check(&[tx(1, 4, None), tx(3, 6, None)]), [Word::SequenceGap]);
    assert_eq!(check(&[tx(3, 4, fate)]), [Word::Misbooked]);
    assert_eq!(check(&[tx(2, 4, None)]), [Word::Misbooked]);
    assert_eq!(check(&[tx(2, 4, Some(Fate::Mined { block: 9, fee_wei: 11 }))]), [Word::Misbooked]);
}

#[test]
fn the_fee_is_what_the_receipt_says() {
    let tx = |fate| ChainTxRow { hash: TX, network: NETWORK, signer: OURS, sequence: 0, at_ms: 0, fate };
    let paid = paid();
    let fate = |fee_wei| Some(Fate::Mined { block: 9, fee_wei });
    for (fate, mined, is_old, want) in [
        (fate(5), Some(&paid), true, None),
        (fate(6), Some(&paid), true, Some(Word::FeeDiffers)),
        (fate(5), None, true, Some(Word::Missing)),
        (Some(Fate::Outbid), Some(&paid), true, Some(Word::Misbooked)),
        (Some(Fate::Outbid), None, true, None),
        (None, Some(&paid), false, None),
        (None, Some(&paid), true, Some(Word::Unposted)),
        (None, None, true, None),
    ] {
        let finding = judge_chain_tx(&tx(fate), mined, is_old, &Assets::default());
        assert_eq!(finding.map(|finding| finding.word), want);
    }
}

/// Two seals over two entries each, and one entry behind them.
fn books() -> (Vec<EntryRow>, Vec<SealRow>) {
    let entries: Vec<EntryRow> = (1..=5).map(posted_entry).collect();
    let key = Key::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
    let mut seals: Vec<SealRow> = Vec::new();
    for (id, pair) in (1..).zip(entries[..4].chunks(2)) {
        let mut digest = SealDigest::after(seals.last().map(|seal| seal.hash));
        pair.iter().for_each(|entry| digest.take(entry));
        let hash = digest.finish();
        let signature = key.sign_now(hash).unwrap().as_bytes().to_vec();
        let (first_entry, last_entry) = (pair[0].id, pair[1].id);
        seals.push(SealRow { id, first_entry, last_entry, hash, signer: key.address(), signature, at_ms: 0 });
    }
    (entries, seals)
}

fn walk(entries: &[EntryRow], seals: &[SealRow], signers: &BTreeSet<Address>) -> (Vec<String>, Option<(u64, u64)>) {
    let mut walk = SealWalk::new(seals, signers);
    entries.iter().for_each(|entry| walk.take(entry));
    let (findings, unsealed) = walk.finish();
    (findings.into_iter().map(|finding| finding.found).collect(), unsealed)
}

#[test]
fn seals_hold_what_they_were_written_over() {
    let (entries, seals) = books();
    let signers = BTreeSet::from([seals[0].signer]);
    assert_eq!(walk(&entries, &seals, &signers), (vec![], Some((5, 5))));
    let changed = |at: usize| {
        let mut entries = entries.clone();
        entries[at].at_ms += 1;
        entries
    };
    let without = |at: usize| {
        let mut entries = entries.clone();
        entries.remove(at);
        entries
    };
    let check = |entries: &[EntryRow], seals: &[SealRow], signers: &BTreeSet<Address>, want: &[&str]| {
        let (found, _) = walk(entries, seals, signers);
        assert_eq!(found.len(), want.len(), "{found:?}");
        assert!(found.iter().zip(want).all(|(found, want)| found.contains(want)), "{found:?}");
    };
    check(&changed(0), &seals, &signers, &["an entry among 1–2 is not what seal 1 was written over"]);
    check(&changed(3), &seals, &signers, &["an entry among 3–4 is not what seal 2 was written over"]);
    check(&without(1), &seals, &signers, &["entry 2, sealed by seal 1, is missing"]);
    check(&without(3), &seals, &signers, &["entry 4, sealed by seal 2, is missing"]);
    check(&entries[..2], &seals, &signers, &["entry 3, sealed by", "entry 4, sealed by"]);
    check(&[], &seals, &signers, &["entry 1, sealed", "entry 2, sealed", "entry 3, sealed", "entry 4, sealed"]);
    check(&entries, &seals[1..], &signers, &["seal 1 is missing: nothing holds entries 1–2"]);
    let mut forged = seals.clone();
    forged[0].signer = OURS;
    check(&entries, &forged, &signers, &["the signature of seal 1 is not by"]);
    let stranger = "which is no settlement key of this journal";
    check(&entries, &seals, &BTreeSet::new(), &[stranger, stranger]);
    // What no seal covers can go without a trace in the seals; its payment says so then.
    assert_eq!(walk(&without(4), &seals, &signers), (vec![], None));
}
