//! Double entry. An entry balances per asset and is never changed.

use std::fmt;

use alloy_primitives::{Address, B256};
use protocol::{Amount, Payee, Payer};

use crate::{GrantId, HoldId, KeyId};

/// Who or what a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// A payer's wallet, outside of our books.
    External(Payer),
    /// What the payee has earned.
    Revenue(Payee),
    /// What is owed back to a payer.
    RefundDue(Payer),
    /// Money that came without a claim to it. Refundable.
    Suspense(Payee),
    /// What the payee has earned and does not have: never collected, or taken out of the chain by a reorg. Below zero by as much.
    Loss(Payee),
    /// The native coin of a settlement key: below zero by what it has spent since the journal began.
    Key(Address),
    /// What settling has cost, in native coin, by the key that paid it.
    Gas(Address),
    /// What an account has, with what its open charges hold.
    Balance(KeyId),
    /// Where balances come from that nobody paid for here: below zero by what the operator has granted.
    Issued,
    /// What calls have cost that were paid from balances.
    Earned,
    /// Balances whose time was over.
    Lapsed,
    /// Where a payment's token becomes a balance: above zero in the one, below zero in the other.
    Conversion,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(payer) => write!(f, "external:{payer}"),
            Self::Revenue(payee) => write!(f, "revenue:{payee}"),
            Self::RefundDue(payer) => write!(f, "refund_due:{payer}"),
            Self::Suspense(payee) => write!(f, "suspense:{payee}"),
            Self::Loss(payee) => write!(f, "loss:{payee}"),
            Self::Key(signer) => write!(f, "key:{signer}"),
            Self::Gas(signer) => write!(f, "gas:{signer}"),
            Self::Balance(key) => write!(f, "balance:{key}"),
            Self::Issued => f.write_str("issued"),
            Self::Earned => f.write_str("earned"),
            Self::Lapsed => f.write_str("lapsed"),
            Self::Conversion => f.write_str("conversion"),
        }
    }
}

/// Which side of an account a line is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Money leaves the account.
    Debit,
    /// Money comes to the account.
    Credit,
}

/// One side of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where.
    pub account: Account,
    /// Which side.
    pub side: Side,
    /// How much of what.
    pub amount: Amount,
}

/// Why an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A settlement reached the payee.
    Posted,
    /// The answer was lost or cut by the upstream after the money moved.
    RefundDue,
    /// Money arrived for a hold that had ended, or was landed by a stranger.
    Late,
    /// A call was served on the tab and could not be collected.
    Uncollected,
    /// The money of such a call arrived after all.
    Recovered,
    /// Money was given back.
    Refunded,
    /// The chain took back a block in which money was given back.
    Unrefunded,
    /// A reorg took the money of a posted payment out of the chain.
    Unsettled,
    /// It moved again.
    Resettled,
    /// A refund that was due for money which a reorg took.
    RefundVoided,
    /// A chain_tx of ours was mined and its gas paid.
    Gas,
    /// A reorg took that chain_tx out of the chain, or put it into another block at another fee.
    GasVoided,
    /// A balance was raised.
    Granted,
    /// A call was paid from a balance.
    Captured,
    /// A part of that, or all, was given back.
    GivenBack,
    /// A grant's time was over.
    Lapsed,
    /// The operator took a part of a balance back.
    Withdrawn,
    /// A payment bought a balance: its revenue became a debt.
    Converted,
    /// A reorg took that payment out of the chain.
    Unconverted,
}

impl EntryKind {
    /// The word in the journal.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::RefundDue => "refund_due",
            Self::Late => "late",
            Self::Uncollected => "uncollected",
            Self::Recovered => "recovered",
            Self::Refunded => "refunded",
            Self::Unrefunded => "unrefunded",
            Self::Unsettled => "unsettled",
            Self::Resettled => "resettled",
            Self::RefundVoided => "refund_voided",
            Self::Gas => "gas",
            Self::GasVoided => "gas_voided",
            Self::Granted => "granted",
            Self::Captured => "captured",
            Self::GivenBack => "given_back",
            Self::Lapsed => "lapsed",
            Self::Withdrawn => "withdrawn",
            Self::Converted => "converted",
            Self::Unconverted => "unconverted",
        }
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A payment.
    Hold(HoldId),
    /// A chain_tx of ours.
    ChainTx(B256),
    /// A call that is paid from a balance.
    Charge(HoldId),
    /// A part of a balance.
    Grant(GrantId),
}

/// An entry of the journal: two lines over one amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it belongs to.
    pub about: About,
    /// Why.
    pub kind: EntryKind,
    /// What leaves and what comes.
    pub lines: [Line; 2],
}

impl Entry {
    /// Moves `amount` from one account to another. Balanced by construction.
    #[must_use]
    pub const fn transfer(about: About, kind: EntryKind, from: Account, to: Account, amount: Amount) -> Self {
        let debit = Line { account: from, side: Side::Debit, amount };
        let credit = Line { account: to, side: Side::Credit, amount };
        Self { about, kind, lines: [debit, credit] }
    }

    /// The gas of a chain_tx of ours, in native coin.
    #[must_use]
    pub const fn gas(chain_tx: B256, signer: Address, wei: Amount) -> Self {
        Self::transfer(About::ChainTx(chain_tx), EntryKind::Gas, Account::Key(signer), Account::Gas(signer), wei)
    }

    /// The same given back: a reorg undid it.
    #[must_use]
    pub const fn gas_voided(chain_tx: B256, signer: Address, wei: Amount) -> Self {
        Self::transfer(About::ChainTx(chain_tx), EntryKind::GasVoided, Account::Gas(signer), Account::Key(signer), wei)
    }
}
