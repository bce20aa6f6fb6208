//! What an audit finds: one word for each, whether it is a difference, and what is to be done.

use alloy_primitives::{Address, B256};
use ledger::{GrantId, HoldId, KeyId, RefundId};
use protocol::{Amount, Network};

/// The state of a payment, or what is wrong with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ledger) enum Word {
    // States of payments, in the order of the summary.
    Matched,
    Posted,
    Held,
    Submitted,
    Running,
    OwedBack,
    Refunded,
    Late,
    Recovered,
    Lost,
    Released,
    Burnt,
    Unread,
    Unposted,
    Over,
    Under,
    Missing,
    // What is said of other things.
    Unsealed,
    Unrelated,
    Unbalanced,
    Misbooked,
    SumsDiffer,
    BrokenSeal,
    SequenceGap,
    FeeDiffers,
    // What the log of served calls says otherwise than the journal.
    ServedTwice,
    LogDiffers,
    NotInJournal,
}

impl Word {
    /// The word in JSON and CSV.
    pub(in crate::ledger) const fn code(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Posted => "posted",
            Self::Held => "held",
            Self::Submitted => "submitted",
            Self::Running => "running",
            Self::OwedBack => "owed_back",
            Self::Refunded => "refunded",
            Self::Late => "late",
            Self::Recovered => "recovered",
            Self::Lost => "lost",
            Self::Released => "released",
            Self::Burnt => "burnt",
            Self::Unread => "unread",
            Self::Unposted => "unposted",
            Self::Over => "over",
            Self::Under => "under",
            Self::Missing => "missing",
            Self::Unsealed => "unsealed",
            Self::Unrelated => "unrelated",
            Self::Unbalanced => "unbalanced",
            Self::Misbooked => "misbooked",
            Self::SumsDiffer => "sums_differ",
            Self::BrokenSeal => "broken_seal",
            Self::SequenceGap => "sequence_gap",
            Self::FeeDiffers => "fee_differs",
            Self::ServedTwice => "served_twice",
            Self::LogDiffers => "log_differs",
            Self::NotInJournal => "not_in_journal",
        }
    }

    /// The word for people.
    pub(in crate::ledger) fn text(self) -> String {
        self.code().replace('_', " ")
    }

    /// Whether it is something that nobody expects. Of `unposted` its age decides.
    pub(in crate::ledger) const fn is_difference(self) -> bool {
        match self {
            Self::Matched
            | Self::Posted
            | Self::Held
            | Self::Submitted
            | Self::Running
            | Self::OwedBack
            | Self::Refunded
            | Self::Late
            | Self::Recovered
            | Self::Lost
            | Self::Released
            | Self::Burnt
            | Self::Unread
            | Self::Unposted
            | Self::Unsealed
            | Self::Unrelated => false,
            Self::Over
            | Self::Under
            | Self::Missing
            | Self::Unbalanced
            | Self::Misbooked
            | Self::SumsDiffer
            | Self::BrokenSeal
            | Self::SequenceGap
            | Self::FeeDiffers
            | Self::ServedTwice
            | Self::LogDiffers
            | Self::NotInJournal => true,
        }
    }

    /// What is to be done about it, unless more is known.
    const fn act(self) -> Act {
        match self {
            Self::Matched
            | Self::Posted
            | Self::Refunded
            | Self::Recovered
            | Self::Released
            | Self::Burnt
            | Self::Unsealed => Act::Nothing,
            Self::Held | Self::Submitted | Self::Running | Self::Unposted => Act::Wait,
            Self::OwedBack | Self::Late => Act::Refund,
            Self::Lost => Act::WriteOff,
            Self::Unread => Act::CheckNode,
            Self::Unrelated => Act::Identify,
            Self::Over
            | Self::Under
            | Self::Missing
            | Self::Unbalanced
            | Self::Misbooked
            | Self::SumsDiffer
            | Self::BrokenSeal
            | Self::SequenceGap
            | Self::FeeDiffers
            | Self::ServedTwice
            | Self::LogDiffers
            | Self::NotInJournal => Act::Compare,
        }
    }

    /// Whether it needs a line of its own where not everything is listed.
    pub(in crate::ledger) const fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Matched
                | Self::Posted
                | Self::Refunded
                | Self::Released
                | Self::Burnt
                | Self::Unread
                | Self::Unrelated
        )
    }
}

/// What is to be done, in one word that stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Act {
    /// Nothing.
    Nothing,
    /// Nothing while a gate runs.
    Wait,
    /// A gate that runs would have done it: start it, or read its log.
    StartGate,
    /// Give the money back.
    Refund,
    /// Put money into the refunds wallet.
    FundWallet,
    /// Pay it by hand, and say in which transaction.
    PayByHand,
    /// The call was served: keep the money.
    Keep,
    /// It is lost.
    WriteOff,
    /// See to the node.
    CheckNode,
    /// Ask another node, and compare the journal with a backup.
    Compare,
    /// Find out who sent it and what for.
    Identify,
}

impl Act {
    pub(in crate::ledger) const fn code(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Wait => "wait",
            Self::StartGate => "start_gate",
            Self::Refund => "refund",
            Self::FundWallet => "fund_wallet",
            Self::PayByHand => "pay_by_hand",
            Self::Keep => "keep",
            Self::WriteOff => "write_off",
            Self::CheckNode => "check_node",
            Self::Compare => "compare",
            Self::Identify => "identify",
        }
    }

    /// The command line that does it, or shows more of it; empty where there is none.
    pub(in crate::ledger) fn command(self, subject: &Subject) -> String {
        match (self, subject) {
            (Self::Refund, Subject::Payment(id)) => format!("pontage refund {id}"),
            (Self::PayByHand, Subject::Payment(id)) => format!("pontage refund {id} --settled-by TX"),
            (Self::FundWallet, _) => "pontage refund --due".to_owned(),
            (Self::StartGate, _) => "pontage start".to_owned(),
            (Self::WriteOff | Self::Compare, Subject::Payment(_) | Subject::Charge(_) | Subject::Account(_)) => {
                format!("pontage ledger show {}", subject.id())
            }
            (Self::CheckNode, _) => "pontage reconcile".to_owned(),
            _ => String::new(),
        }
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Subject {
    Payment(HoldId),
    Charge(HoldId),
    Grant(GrantId),
    Account(KeyId),
    /// The lines of an account that is not there.
    Balance(String),
    Entry(u64),
    Entries(u64, u64),
    ChainTx(B256),
    Refund(RefundId),
    Seal(u64),
    Tab(String),
}

impl Subject {
    pub(in crate::ledger) const fn kind(&self) -> &'static str {
        match self {
            Self::Payment(_) => "payment",
            Self::Charge(_) => "charge",
            Self::Grant(_) => "grant",
            Self::Account(_) => "account",
            Self::Balance(_) => "balance",
            Self::Entry(_) => "entry",
            Self::Entries(..) => "entries",
            Self::ChainTx(_) => "transaction",
            Self::Refund(_) => "refund",
            Self::Seal(_) => "seal",
            Self::Tab(_) => "tab",
        }
    }

    pub(in crate::ledger) fn id(&self) -> String {
        match self {
            Self::Payment(id) | Self::Charge(id) => id.to_string(),
            Self::Grant(id) => id.to_string(),
            Self::Account(id) => id.to_string(),
            Self::Balance(name) => name.clone(),
            Self::Entry(id) | Self::Seal(id) => id.to_string(),
            Self::Entries(first, last) => format!("{first}–{last}"),
            Self::ChainTx(hash) => hash.to_string(),
            Self::Refund(id) => id.to_string(),
            Self::Tab(whose) => whose.clone(),
        }
    }
}

/// What became of the answer of a call that was paid for, as far as the journal knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum Served {
    /// The call, or its answer, is under way.
    Running,
    /// Given out to its end, or until the caller left.
    Delivered,
    /// Given to the connection that asked; whether it arrived is not noted on this rail.
    Released,
    /// Stored for the caller.
    Kept,
    /// Lost before the caller had it.
    Lost,
    /// There was none.
    No,
}

impl Served {
    pub(in crate::ledger) const fn code(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Delivered => "delivered",
            Self::Released => "released",
            Self::Kept => "kept",
            Self::Lost => "lost",
            Self::No => "not_served",
        }
    }

    /// Whether the caller has it, or can have it.
    pub(in crate::ledger) const fn is_served(self) -> bool {
        matches!(self, Self::Delivered | Self::Released | Self::Kept)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Finding {
    pub(in crate::ledger) word: Word,
    pub(in crate::ledger) difference: bool,
    pub(in crate::ledger) subject: Subject,
    pub(in crate::ledger) network: Option<Network>,
    pub(in crate::ledger) amount: Option<Amount>,
    pub(in crate::ledger) chain_tx: Option<B256>,
    pub(in crate::ledger) block: Option<u64>,
    /// Whose money it is: a payer, or the sender of what is no payment of ours.
    pub(in crate::ledger) from: Option<Address>,
    /// When a payment was claimed, or other money came.
    pub(in crate::ledger) at_ms: Option<u64>,
    /// What the journal knows of a payment's answer.
    pub(in crate::ledger) served: Option<Served>,
    /// How much of a payment was given back, in atomic units.
    pub(in crate::ledger) refunded_atomic: u128,
    /// What is to be done.
    pub(in crate::ledger) act: Act,
    /// What was found, with ids in full.
    pub(in crate::ledger) found: String,
    /// What the operator is to do.
    pub(in crate::ledger) action: String,
}

impl Finding {
    pub(in crate::ledger) fn new(
        word: Word,
        subject: Subject,
        found: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self {
            word,
            difference: word.is_difference(),
            subject,
            network: None,
            amount: None,
            chain_tx: None,
            block: None,
            from: None,
            at_ms: None,
            served: None,
            refunded_atomic: 0,
            act: word.act(),
            found: found.into(),
            action: action.into(),
        }
    }
}
