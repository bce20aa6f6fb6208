//! What is said about money on the wire.

use std::fmt;

use alloy_primitives::B256;

use crate::{Amount, Payer};

/// What happened to the caller's money. Every failure states one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyState {
    /// Nothing moved and nothing is reserved.
    Untouched,
    /// Reserved; it may still move or be let go.
    Held,
    /// Moved from payer to payee.
    Moved,
    /// Not known yet. It will be resolved from the chain; the caller must not pay again.
    Unknown,
}

impl MoneyState {
    /// The word on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Held => "held",
            Self::Moved => "moved",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for MoneyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A transfer that is on the chain, as deep as its network asks for. A reorg may still take it out until its block is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The chain_tx that carries the Transfer.
    pub chain_tx: B256,
    /// The block that holds it.
    pub block: u64,
    /// That block's hash; zero where a facilitator's word is all there is, as its number then is.
    pub block_hash: B256,
    /// What moved.
    pub amount: Amount,
    /// From whom.
    pub payer: Payer,
}
