//! Faults: ours or a dependency's, never the caller's.

use std::fmt;

use protocol::MoneyState;

/// What failed. The cause is logged where it happened; its text goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The journal cannot be written or read. Nothing paid is served.
    Journal,
    /// No chain node answers.
    Node,
    /// The settlement queue is full or its thread is gone.
    Settlement,
    /// No facilitator says anything now.
    Facilitator,
    /// A step that must not happen was asked for. It is ours, and repeating it changes nothing.
    Invariant,
}

/// A fault and what it means for the money of the call that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What failed.
    pub kind: FaultKind,
    /// What happened to the caller's money.
    pub money: MoneyState,
}

impl Fault {
    /// A fault before anything was claimed.
    #[must_use]
    pub const fn untouched(kind: FaultKind) -> Self {
        Self { kind, money: MoneyState::Untouched }
    }

    /// The stable code on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self.kind {
            FaultKind::Journal => "journal_unavailable",
            FaultKind::Node => "chain_unavailable",
            FaultKind::Settlement => "settlement_unavailable",
            FaultKind::Facilitator => "service_unavailable",
            FaultKind::Invariant => "internal_error",
        }
    }

    /// When a repeat may succeed, in seconds.
    #[must_use]
    pub const fn retry_after_s(self) -> u32 {
        match self.kind {
            FaultKind::Journal | FaultKind::Invariant => 5,
            FaultKind::Node | FaultKind::Settlement | FaultKind::Facilitator => 2,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (money: {})", self.code(), self.money)
    }
}

impl std::error::Error for Fault {}
