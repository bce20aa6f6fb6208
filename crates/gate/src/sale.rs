//! What an offer sells besides the call.

use ledger::{HoldId, KeyId, Purchase, Unit};

/// What whoever pays an offer has bought when his money has moved: a balance, or a pass. Such a payment is settled `direct`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// Whose balance is raised; `None` where the payment gets an account of its own, with its name: a pass.
    pub key: Option<KeyId>,
    /// Of what.
    pub unit: Unit,
    /// How much. Nothing where a time is sold.
    pub amount: u64,
    /// How long what is bought is good, from the claim on; `None` is for ever.
    pub valid_ms: Option<u64>,
}

impl Sale {
    /// What a payment of this name buys.
    #[must_use]
    pub fn purchase(&self, payment: HoldId, now_ms: u64) -> Purchase {
        Purchase {
            key: self.key.unwrap_or(KeyId(payment.0)),
            unit: self.unit,
            amount: self.amount,
            expires_at_ms: self.valid_ms.map(|valid_ms| now_ms.saturating_add(valid_ms)),
        }
    }
}
