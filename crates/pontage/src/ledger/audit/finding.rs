//! What an audit finds: one word for each, whether it is a difference, and what is to be done.

use alloy_primitives::B256;
use ledger::HoldId;
use protocol::{Amount, Network};

/// The state of a payment, or what is wrong with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    // States of payments, in the order of the summary.
    Matched,
    Posted,
    Held,
    Submitted,
    Running,
    OwedBack,
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
}

impl Word {
    /// The word in JSON and CSV.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Posted => "posted",
            Self::Held => "held",
            Self::Submitted => "submitted",
            Self::Running => "running",
            Self::OwedBack => "owed_back",
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
        }
    }

    /// The word for people.
    pub(super) fn text(self) -> String {
        self.code().replace('_', " ")
    }

    /// Whether it is something that nobody expects. Of `unposted` its age decides.
    pub(super) const fn is_difference(self) -> bool {
        match self {
            Self::Matched
            | Self::Posted
            | Self::Held
            | Self::Submitted
            | Self::Running
            | Self::OwedBack
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
            | Self::FeeDiffers => true,
        }
    }

    /// Whether it needs a line of its own where not everything is listed.
    pub(super) const fn is_plain(self) -> bool {
        matches!(self, Self::Matched | Self::Posted | Self::Released | Self::Burnt | Self::Unread | Self::Unrelated)
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Payment(HoldId),
    Entry(u64),
    Entries(u64, u64),
    ChainTx(B256),
    Seal(u64),
    Tab(String),
}

impl Subject {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Payment(_) => "payment",
            Self::Entry(_) => "entry",
            Self::Entries(..) => "entries",
            Self::ChainTx(_) => "transaction",
            Self::Seal(_) => "seal",
            Self::Tab(_) => "tab",
        }
    }

    pub(super) fn id(&self) -> String {
        match self {
            Self::Payment(id) => id.to_string(),
            Self::Entry(id) | Self::Seal(id) => id.to_string(),
            Self::Entries(first, last) => format!("{first}–{last}"),
            Self::ChainTx(hash) => hash.to_string(),
            Self::Tab(whose) => whose.clone(),
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) word: Word,
    pub(super) difference: bool,
    pub(super) subject: Subject,
    pub(super) network: Option<Network>,
    pub(super) amount: Option<Amount>,
    pub(super) chain_tx: Option<B256>,
    pub(super) block: Option<u64>,
    /// What was found, with ids in full.
    pub(super) found: String,
    /// What the operator is to do.
    pub(super) action: String,
}

impl Finding {
    pub(super) fn new(word: Word, subject: Subject, found: impl Into<String>, action: impl Into<String>) -> Self {
        Self {
            word,
            difference: word.is_difference(),
            subject,
            network: None,
            amount: None,
            chain_tx: None,
            block: None,
            found: found.into(),
            action: action.into(),
        }
    }
}
