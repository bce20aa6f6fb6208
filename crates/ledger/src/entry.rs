//! Double entry. An entry balances per asset and is never changed.

use std::fmt;

use protocol::{Amount, Payee, Payer};

use crate::HoldId;

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
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(payer) => write!(f, "external:{payer}"),
            Self::Revenue(payee) => write!(f, "revenue:{payee}"),
            Self::RefundDue(payer) => write!(f, "refund_due:{payer}"),
            Self::Suspense(payee) => write!(f, "suspense:{payee}"),
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
}

impl EntryKind {
    /// The word in the journal.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::RefundDue => "refund_due",
            Self::Late => "late",
        }
    }
}

/// An entry of the journal: two lines over one amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The hold that it belongs to.
    pub hold: HoldId,
    /// Why.
    pub kind: EntryKind,
    /// What leaves and what comes.
    pub lines: [Line; 2],
}

impl Entry {
    /// Moves `amount` from one account to another. Balanced by construction.
    #[must_use]
    pub const fn transfer(hold: HoldId, kind: EntryKind, from: Account, to: Account, amount: Amount) -> Self {
        let debit = Line { account: from, side: Side::Debit, amount };
        let credit = Line { account: to, side: Side::Credit, amount };
        Self { hold, kind, lines: [debit, credit] }
    }
}
