//! How many calls are taken: from whom in a span of time, and at once.

use gate::Rate;

/// Token buckets; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RatesConfig {
    /// For each address: calls without a verified payer.
    pub(crate) anonymous: Option<Rate>,
    /// For each verified payer.
    pub(crate) payer: Option<Rate>,
    /// For each verified payer of whom a payment was settled and none has failed.
    pub(crate) trusted: Option<Rate>,
    /// For each address: payments whose signature is recovered.
    pub(crate) verification: Option<Rate>,
}

impl Default for RatesConfig {
    /// What pay-gate has: 1000 a minute, and 100 verifications a second.
    fn default() -> Self {
        let agent = Some(Rate::new(1_000, 60_000));
        Self { anonymous: agent, payer: agent, trusted: agent, verification: Some(Rate::new(100, 1_000)) }
    }
}

impl RatesConfig {
    /// `limits: tiers`: ten a minute for an address, sixty for a payer, a hundred and twenty for one who has paid.
    pub(crate) fn tiers() -> Self {
        let tier = |calls, burst| Some(Rate { calls, span_ms: 60_000, burst });
        Self { anonymous: tier(10, 5), payer: tier(60, 20), trusted: tier(120, 50), ..Self::default() }
    }
}

/// How many calls are with the upstream at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlightConfig {
    /// At most so many.
    pub(crate) max: usize,
    /// So many more may wait for their turn.
    pub(crate) queue_max: usize,
    /// For so long.
    pub(crate) queue_wait_ms: u64,
}

impl Default for InFlightConfig {
    fn default() -> Self {
        Self { max: 4_096, queue_max: 4_096, queue_wait_ms: 5_000 }
    }
}
