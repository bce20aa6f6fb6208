//! The books as plain rows. This is the boundary: what comes from the ledger's types is copied here, and nothing of them goes on.

use std::fmt;

use alloy_primitives::{Address, B256, hex};
use ledger::{About, AnswerState, Entry, Rail, Record, Side, State};

use super::{Id, Key};
use crate::disk::Disk;

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Answered,
    Submitted,
    Posted(B256),
    /// Let go: `true` when it had expired.
    Released(bool),
    Burnt,
    Lost,
}

/// A hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainHold {
    pub(crate) id: Id,
    pub(crate) key: Key,
    pub(crate) name: Option<B256>,
    pub(crate) payee: Address,
    pub(crate) amount: u128,
    pub(crate) micros: u64,
    pub(crate) valid_before_s: u64,
    pub(crate) tab: bool,
    pub(crate) seen: u64,
    pub(crate) seen_hash: B256,
    pub(crate) end: End,
    pub(crate) late: bool,
    pub(crate) owed_back: bool,
    /// How often a reorg took its money, by the books.
    pub(crate) reorgs: u32,
    pub(crate) answer_open: bool,
}

impl fmt::Debug for PlainHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rail = if self.tab { "tab" } else { "direct" };
        write!(
            f,
            "hold {} ({}, {rail}, seen {}) {:?}",
            hex::encode(self.id),
            super::word(self.key),
            self.seen,
            self.end
        )?;
        let flags = [(self.late, "late"), (self.owed_back, "owed back"), (self.answer_open, "answer pending")];
        flags.iter().filter(|(is, _)| *is).try_for_each(|(_, word)| write!(f, ", {word}"))
    }
}

/// One side of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainLine {
    pub(crate) account: String,
    pub(crate) credit: bool,
    pub(crate) asset: Address,
    pub(crate) amount: u128,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainEntry {
    pub(crate) hold: Option<Id>,
    pub(crate) chain_tx: Option<B256>,
    pub(crate) kind: &'static str,
    pub(crate) lines: Vec<PlainLine>,
}

/// Everything that is durable.
pub(crate) struct Books {
    pub(crate) holds: Vec<PlainHold>,
    pub(crate) entries: Vec<PlainEntry>,
    /// Which holds a chain_tx of ours was signed for.
    pub(crate) members: Vec<(B256, Vec<Id>)>,
}

impl PlainHold {
    pub(crate) fn of(record: &Record) -> Self {
        let authorization = &record.hold.authorization;
        Self {
            id: record.hold.id.0,
            key: (authorization.key.payer.0, authorization.key.nonce),
            name: record.hold.idempotency,
            payee: authorization.payee.0,
            amount: authorization.amount_atomic,
            micros: record.hold.exposure_micros,
            valid_before_s: authorization.valid_before_s,
            tab: record.hold.rail == Rail::Tab,
            seen: record.hold.seen.number,
            seen_hash: record.hold.seen.hash,
            end: match record.state {
                State::Open => End::Open,
                State::Answered => End::Answered,
                State::Submitted(_) => End::Submitted,
                State::Posted(settled) => End::Posted(settled.chain_tx),
                State::Released(reason) => End::Released(reason == ledger::ReleaseReason::Expired),
                State::Burnt(_) => End::Burnt,
                State::Lost(_) => End::Lost,
            },
            late: record.late,
            owed_back: record.refund_due,
            reorgs: record.reorgs,
            answer_open: record.answer == AnswerState::Pending,
        }
    }
}

impl PlainEntry {
    fn of(entry: &Entry) -> Self {
        let (hold, chain_tx) = match entry.about {
            About::Hold(hold) => (Some(hold.0), None),
            About::ChainTx(hash) => (None, Some(hash)),
            About::Charge(_) | About::Grant(_) => (None, None),
        };
        let line = |line: &ledger::Line| PlainLine {
            account: line.account.to_string(),
            credit: line.side == Side::Credit,
            asset: line.amount.asset.address.0,
            amount: line.amount.atomic,
        };
        Self { hold, chain_tx, kind: entry.kind.code(), lines: entry.lines.iter().map(line).collect() }
    }
}

impl Books {
    pub(crate) fn of(disk: &Disk) -> Self {
        let members = disk.chain_txs.iter().map(|signed| {
            let ids = signed.chain_tx.holds.iter().map(|hold| hold.0).collect();
            (signed.chain_tx.hash, ids)
        });
        Self {
            holds: disk.records.iter().map(PlainHold::of).collect(),
            entries: disk.entries.iter().map(PlainEntry::of).collect(),
            members: members.collect(),
        }
    }
}
