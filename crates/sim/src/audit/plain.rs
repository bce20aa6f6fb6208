//! The books as plain rows. This is the boundary: what comes from the ledger's types is copied here, and nothing of them goes on.

use std::fmt;

use alloy_primitives::{Address, B256, hex};
use ledger::{About, AnswerState, ChargeRecord, ChargeState, Entry, Grant, GrantSource, Rail, Record, Side, State};

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
    /// Whose balance it raises, and by how much.
    pub(crate) buys: Option<(Id, u64)>,
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
    pub(crate) charge: Option<Id>,
    pub(crate) grant: Option<Id>,
    pub(crate) kind: &'static str,
    pub(crate) lines: Vec<PlainLine>,
}

/// Everything that is durable.
pub(crate) struct Books {
    pub(crate) holds: Vec<PlainHold>,
    pub(crate) entries: Vec<PlainEntry>,
    /// Which holds a chain_tx of ours was signed for.
    pub(crate) members: Vec<(B256, Vec<Id>)>,
    /// Accounts, with the calls that each paid for and what they cost.
    pub(crate) accounts: Vec<(Id, u64, u64)>,
    pub(crate) grants: Vec<PlainGrant>,
    pub(crate) charges: Vec<PlainCharge>,
    /// What each charge could draw from.
    pub(crate) seen: Vec<(Id, Vec<PlainGrant>)>,
}

/// A part of a balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainGrant {
    pub(crate) id: Id,
    pub(crate) account: Id,
    /// The payment that bought it, or the account that gave it.
    pub(crate) payment: Option<Id>,
    pub(crate) giver: Option<Id>,
    pub(crate) priority: u8,
    pub(crate) granted: u64,
    pub(crate) left: u64,
    pub(crate) at_ms: u64,
    pub(crate) ends_ms: u64,
}

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainEnd {
    Open,
    Captured(u64),
    Released,
    Burnt,
}

/// A call that a balance pays for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainCharge {
    pub(crate) id: Id,
    pub(crate) account: Id,
    pub(crate) amount: u64,
    pub(crate) opened_ms: u64,
    pub(crate) name: Option<B256>,
    pub(crate) draws: Vec<(Id, u64)>,
    pub(crate) end: PlainEnd,
    pub(crate) refunded: u64,
    /// Its answer is neither stored nor lost.
    pub(crate) live: bool,
}

impl PlainGrant {
    fn of(grant: &Grant) -> Self {
        let (payment, giver) = match grant.source {
            GrantSource::Operator | GrantSource::Automatic => (None, None),
            GrantSource::Payment(hold) => (Some(hold.0), None),
            GrantSource::Transfer(from) => (None, Some(from.0)),
        };
        Self {
            id: grant.id.0,
            account: grant.key.0,
            payment,
            giver,
            priority: grant.priority,
            granted: grant.granted,
            left: grant.left,
            at_ms: grant.granted_at_ms,
            ends_ms: grant.expires_at_ms.unwrap_or(u64::MAX),
        }
    }
}

impl PlainCharge {
    pub(crate) fn of(record: &ChargeRecord) -> Self {
        Self {
            id: record.charge.id.0,
            account: record.charge.key.0,
            amount: record.charge.amount,
            opened_ms: record.charge.opened_at_ms,
            name: record.charge.idempotency,
            draws: record.draws.iter().map(|draw| (draw.grant.0, draw.amount)).collect(),
            end: match record.state {
                ChargeState::Open => PlainEnd::Open,
                ChargeState::Captured(taken) => PlainEnd::Captured(taken),
                ChargeState::Released(_) => PlainEnd::Released,
                ChargeState::Burnt(_) => PlainEnd::Burnt,
            },
            refunded: record.refunded,
            live: record.answer == AnswerState::Live,
        }
    }
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
            buys: record.hold.buys.as_ref().map(|purchase| (purchase.key.0, purchase.amount)),
        }
    }
}

impl PlainEntry {
    fn of(entry: &Entry) -> Self {
        let (mut hold, mut chain_tx, mut charge, mut grant) = (None, None, None, None);
        match entry.about {
            About::Hold(id) => hold = Some(id.0),
            About::ChainTx(hash) => chain_tx = Some(hash),
            About::Charge(id) => charge = Some(id.0),
            About::Grant(id) => grant = Some(id.0),
        }
        let line = |line: &ledger::Line| PlainLine {
            account: line.account.to_string(),
            credit: line.side == Side::Credit,
            asset: line.amount.asset.address.0,
            amount: line.amount.atomic,
        };
        Self { hold, chain_tx, charge, grant, kind: entry.kind.code(), lines: entry.lines.iter().map(line).collect() }
    }
}

impl Books {
    pub(crate) fn of(disk: &Disk) -> Self {
        let balances = &disk.balances;
        let plain = |grants: &[Grant]| grants.iter().map(PlainGrant::of).collect();
        let members = disk.chain_txs.iter().map(|signed| {
            let ids = signed.chain_tx.holds.iter().map(|hold| hold.0).collect();
            (signed.chain_tx.hash, ids)
        });
        Self {
            holds: disk.records.iter().map(PlainHold::of).collect(),
            entries: disk.entries.iter().map(PlainEntry::of).collect(),
            members: members.collect(),
            accounts: balances.accounts.iter().map(|(key, account)| (key.0, account.calls, account.spent)).collect(),
            grants: balances.grants.iter().map(PlainGrant::of).collect(),
            charges: balances.charges.iter().map(PlainCharge::of).collect(),
            seen: balances.seen.iter().map(|(id, grants)| (id.0, plain(grants))).collect(),
        }
    }
}
