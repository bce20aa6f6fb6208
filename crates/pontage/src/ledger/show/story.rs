//! The story of a payment, or of a chain_tx with the payments in it.

use std::io::{self, Write};

use alloy_primitives::B256;
use ledger::{About, AnswerState, HANDED, Rail, Refund, RefundState, Side, State};
use serde_json::{Value, json};
use store::{ChainTxRow, EntryRow, Fate, Ledger, Payment};

use super::amount;
use crate::ledger::audit::judge::{rail_word, state_word, words};
use crate::ledger::print::{Assets, Format, Table, csv, utc};
use protocol::{Amount, Asset};

/// One payment with everything that belongs to it.
struct Story {
    payment: Payment,
    chain_txs: Vec<ChainTxRow>,
    entries: Vec<EntryRow>,
    refunds: Vec<Refund>,
}

impl Story {
    fn read(journal: &Ledger, payment: Payment) -> anyhow::Result<Self> {
        let id = payment.record.hold.id;
        let chain_txs = journal.chain_txs_of(id)?;
        let mut entries = journal.entries_of(About::Hold(id))?;
        for tx in &chain_txs {
            entries.extend(journal.entries_of(About::ChainTx(tx.hash))?);
        }
        entries.sort_by_key(|entry| entry.id);
        let refunds = journal.refunds_of(id)?;
        Ok(Self { payment, chain_txs, entries, refunds })
    }
}

pub(super) fn print(
    out: &mut impl Write,
    chain_tx: Option<B256>,
    payments: &[Payment],
    journal: &Ledger,
    assets: &Assets,
    format: Format,
) -> anyhow::Result<()> {
    let stories = payments.iter().map(|payment| Story::read(journal, payment.clone()));
    let stories = stories.collect::<anyhow::Result<Vec<_>>>()?;
    let signed = chain_tx.map(|hash| journal.chain_tx(hash)).transpose()?.flatten();
    match format {
        Format::Table => {
            if let Some(hash) = chain_tx {
                head(out, hash, signed.as_ref(), payments.len(), assets)?;
            }
            for (at, story) in stories.iter().enumerate() {
                if at > 0 || chain_tx.is_some() {
                    writeln!(out)?;
                }
                tell(out, story, assets)?;
            }
        }
        Format::Json => {
            let payments: Vec<Value> = stories.iter().map(|story| story_json(story, assets)).collect();
            let tx =
                chain_tx.map(|hash| signed.as_ref().map_or(json!({"hash": hash.to_string(), "ours": false}), tx_json));
            writeln!(out, "{:#}", json!({"transaction": tx, "payments": payments}))?;
        }
        Format::Csv => {
            csv(out, &["payment_id", "at_ms", "kind", "id", "text"])?;
            for story in &stories {
                for event in events(story, assets) {
                    csv(
                        out,
                        &[
                            story.payment.record.hold.id.to_string(),
                            event.0.to_string(),
                            event.1.into(),
                            event.2,
                            event.3,
                        ],
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn head(out: &mut impl Write, hash: B256, tx: Option<&ChainTxRow>, members: usize, assets: &Assets) -> io::Result<()> {
    writeln!(out, "transaction {hash}")?;
    match tx {
        Some(tx) => {
            writeln!(
                out,
                "  signed     {} UTC by {} on {}, sequence {}",
                utc(tx.at_ms),
                tx.signer,
                tx.network,
                tx.sequence
            )?;
            writeln!(out, "  fate       {}", fate(tx, assets))?;
        }
        None => writeln!(out, "  signed     by somebody else")?,
    }
    writeln!(out, "  payments   {members}")
}

fn fate(tx: &ChainTxRow, assets: &Assets) -> String {
    match tx.fate {
        None => "on its way, or its gas is not booked yet".to_owned(),
        Some(Fate::Outbid) => "outbid: another transaction has its sequence".to_owned(),
        Some(Fate::Mined { block, fee_wei }) => {
            let fee = assets.amount(Amount::new(fee_wei, Asset::native(tx.network)));
            format!("in block {block}, for {fee}")
        }
    }
}

fn tell(out: &mut impl Write, story: &Story, assets: &Assets) -> io::Result<()> {
    let record = &story.payment.record;
    let (hold, authorization) = (&record.hold, &record.hold.authorization);
    writeln!(out, "payment {}", hold.id)?;
    for (name, value) in [
        ("amount", format!("{} on {}", amount(assets, &story.payment), authorization.key.asset.network)),
        ("from", authorization.key.payer.to_string()),
        ("to", authorization.payee.to_string()),
        ("nonce", authorization.key.nonce.to_string()),
        ("valid", format!("until {} UTC", utc(authorization.valid_before_s.saturating_mul(1_000)))),
        ("route", format!("{} ({})", hold.route, rail_word(hold.rail))),
        ("state", state(story, assets)),
        ("answer", answer(record.answer).to_owned()),
    ] {
        writeln!(out, "  {name:<10} {value}")?;
    }
    writeln!(out)?;
    let mut table = Table::new(&["time (utc)", "what happened"], &[]);
    for (at_ms, _, _, text) in events(story, assets) {
        table.row(vec![utc(at_ms), text]);
    }
    table.print(out)
}

/// The state in words, with its reason and with what is still owed.
fn state(story: &Story, assets: &Assets) -> String {
    let record = &story.payment.record;
    let words = match record.state {
        State::Open => "open: the call is running".to_owned(),
        State::Answered if record.answer == AnswerState::Live => "answered: the answer is being given out".to_owned(),
        State::Answered => "held: on the tab, it settles by itself".to_owned(),
        State::Submitted(chain_tx) if record.is_unsettled() => {
            format!("submitted again: a reorg took out the block that had it; in {chain_tx}")
        }
        State::Submitted(HANDED) => "submitted: a facilitator has it and has not named its transaction".to_owned(),
        State::Submitted(chain_tx) => format!("submitted in {chain_tx}"),
        State::Posted(settled) => {
            let last = if record.is_final { "final" } else { "not final yet" };
            format!("posted: the money moved in {} (block {}), {last}", settled.chain_tx, settled.block)
        }
        State::Released(reason) => format!("released: not charged ({})", words(reason)),
        State::Burnt(reason) => format!("burnt: not charged, and never run again ({})", words(reason)),
        State::Lost(reason) => format!("lost: served and not paid ({})", words(reason)),
    };
    let all = record.hold.authorization.amount();
    let given = story.refunds.iter().filter(|refund| matches!(refund.state, RefundState::Refunded { .. }));
    let given = given.fold(0u128, |sum, refund| sum.saturating_add(refund.amount_atomic));
    let owed = if record.refund_due && given < all.atomic { "; owed back to the payer" } else { "" };
    let back = match given {
        0 => String::new(),
        given => format!("; {} given back", assets.amount(Amount::new(given, all.asset))),
    };
    let late = match (record.late, record.state) {
        (true, State::Lost(_)) => "; collected after all",
        (true, _) => "; money came afterwards and is in suspense",
        (false, _) => "",
    };
    format!("{words}{owed}{late}{back}")
}

const fn answer(state: AnswerState) -> &'static str {
    match state {
        AnswerState::Live => "with the connection that asked",
        AnswerState::Pending => "being stored until the settlement is known",
        AnswerState::Kept => "stored",
        AnswerState::Delivered => "given out",
        AnswerState::Lost => "lost before the caller had it",
    }
}

/// Time, kind, id and words.
type Event = (u64, &'static str, String, String);

fn events(story: &Story, assets: &Assets) -> Vec<Event> {
    let hold = &story.payment.record.hold;
    let opened = match hold.rail {
        Rail::Direct => "claimed, to be settled before the answer is released",
        Rail::Tab => "claimed on the tab, to be settled later with others",
    };
    let text = format!("{opened}; the nonce was unused in block {}", hold.seen.number);
    let mut events = vec![(hold.opened_at_ms, "claim", hold.id.to_string(), text)];
    for tx in &story.chain_txs {
        let text = format!("signed {} with sequence {} of {}; {}", tx.hash, tx.sequence, tx.signer, fate(tx, assets));
        events.push((tx.at_ms, "transaction", tx.hash.to_string(), text));
    }
    for refund in &story.refunds {
        events.push((refund.at_ms, "refund", refund.id.to_string(), refund_words(refund, assets)));
    }
    for entry in &story.entries {
        events.push((entry.at_ms, "entry", entry.id.to_string(), entry_words(entry, assets)));
    }
    events.sort_by_key(|(at_ms, ..)| *at_ms);
    events
}

fn refund_words(refund: &Refund, assets: &Assets) -> String {
    let words = match (refund.state, refund.problem) {
        (RefundState::Refunded { chain_tx, block }, _) => format!("moved in {chain_tx} (block {block})"),
        (RefundState::Submitted(chain_tx), _) => format!("on its way in {chain_tx}"),
        (RefundState::Due, Some(problem)) => format!("due ({})", problem.code()),
        (RefundState::Due, None) => "due".to_owned(),
    };
    let by = refund.signed.map_or_else(|| "by hand".to_owned(), |signed| format!("from {}", signed.wallet));
    format!("refund {} of {} {by} was asked for; {words}", refund.id, assets.amount(refund.amount()))
}

fn refund_json(refund: &Refund) -> Value {
    let (state, chain_tx, block) = match refund.state {
        RefundState::Due => ("due", None, None),
        RefundState::Submitted(chain_tx) => ("submitted", Some(chain_tx), None),
        RefundState::Refunded { chain_tx, block } => ("refunded", Some(chain_tx), Some(block)),
    };
    json!({
        "refund_id": refund.id.to_string(),
        "amount_atomic": refund.amount_atomic.to_string(),
        "at_ms": refund.at_ms,
        "wallet": refund.signed.map(|signed| signed.wallet.to_string()),
        "state": state,
        "problem": refund.problem.map(ledger::RefundProblem::code),
        "chain_tx": chain_tx.map(|hash| hash.to_string()),
        "block": block,
    })
}

pub(super) fn entry_words(entry: &EntryRow, assets: &Assets) -> String {
    let on = |side: Side| entry.lines.iter().find(|line| line.side == side);
    match (on(Side::Debit), on(Side::Credit)) {
        (Some(from), Some(to)) => {
            let amount = assets.amount(Amount::new(to.amount_atomic, to.asset));
            format!("entry {} {}: {amount} from {} to {}", entry.id, entry.kind, from.account, to.account)
        }
        _ => format!("entry {} {}: it does not have its two sides", entry.id, entry.kind),
    }
}

fn tx_json(tx: &ChainTxRow) -> Value {
    let (fate, block, fee) = match tx.fate {
        None => (None, None, None),
        Some(Fate::Outbid) => (Some("outbid"), None, None),
        Some(Fate::Mined { block, fee_wei }) => (Some("mined"), Some(block), Some(fee_wei.to_string())),
    };
    json!({
        "hash": tx.hash.to_string(),
        "ours": true,
        "network": tx.network.to_string(),
        "signer": tx.signer.to_string(),
        "sequence": tx.sequence,
        "at_ms": tx.at_ms,
        "fate": fate,
        "block": block,
        "fee_wei": fee,
    })
}

pub(super) fn entry_json(entry: &EntryRow) -> Value {
    let line = |line: &store::LineRow| {
        json!({
            "account": line.account,
            "side": if line.side == Side::Debit { "debit" } else { "credit" },
            "asset": line.asset.address.to_string(),
            "amount_atomic": line.amount_atomic.to_string(),
        })
    };
    let lines: Vec<Value> = entry.lines.iter().map(line).collect();
    json!({"id": entry.id, "kind": entry.kind, "at_ms": entry.at_ms, "lines": lines})
}

fn story_json(story: &Story, assets: &Assets) -> Value {
    let record = &story.payment.record;
    let (hold, authorization) = (&record.hold, &record.hold.authorization);
    json!({
        "payment_id": hold.id.to_string(),
        "network": authorization.key.asset.network.to_string(),
        "asset": authorization.key.asset.address.to_string(),
        "payer": authorization.key.payer.to_string(),
        "payee": authorization.payee.to_string(),
        "nonce": authorization.key.nonce.to_string(),
        "amount_atomic": authorization.amount_atomic.to_string(),
        "amount": assets.plain(authorization.amount_atomic, authorization.key.asset),
        "valid_before_s": authorization.valid_before_s,
        "route": hold.route,
        "settlement": rail_word(hold.rail),
        "opened_at_ms": hold.opened_at_ms,
        "state": state_word(record.state),
        "state_words": state(story, assets),
        "answer": words(record.answer),
        "refund_due": record.refund_due,
        "late": record.late,
        "final": record.is_final,
        "reorgs": record.reorgs,
        "chain_tx": story.payment.chain_tx.map(|hash| hash.to_string()),
        "transactions": story.chain_txs.iter().map(tx_json).collect::<Vec<_>>(),
        "entries": story.entries.iter().map(entry_json).collect::<Vec<_>>(),
        "refunds": story.refunds.iter().map(refund_json).collect::<Vec<_>>(),
    })
}
