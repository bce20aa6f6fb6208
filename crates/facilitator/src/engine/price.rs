//! What is bid for gas, and what may be.

use super::node::Fees;

/// What each payment is counted as against the cap on its gas: what it may take at most in a chain_tx of its own, or as one of two.
const PAYMENT_GAS_MAX: u128 = 220_000;

/// What a chain_tx bids for a unit of gas, in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// For whoever makes the block. Paid in full.
    pub tip: u128,
    /// The most in all. Only the base fee of the block that takes the chain_tx is paid of it, and the tip.
    pub fee_max: u128,
}

/// What may be bid, in wei. Nothing is signed above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeCaps {
    /// For a unit of gas, with the tip.
    pub fee_max: u128,
    /// For a unit of gas, as a tip.
    pub tip_max: u128,
    /// For one payment, over all the chain_txs that are signed for it.
    pub payment_max: u128,
}

impl FeeCaps {
    /// No caps.
    pub const NONE: Self = Self { fee_max: u128::MAX, tip_max: u128::MAX, payment_max: u128::MAX };

    /// What is bid now for payments on which so much has been spent. Twice the base fee outlasts six full blocks in a row. `None`
    /// when the base fee is more than may be bid.
    #[must_use]
    pub fn price(&self, fees: Fees, spent_wei: u128) -> Option<Price> {
        let most = self.most(spent_wei);
        let tip = fees.tip.min(self.tip_max);
        let fee_max = fees.base.saturating_mul(2).saturating_add(tip).min(most);
        (fees.base <= most).then_some(Price { tip: tip.min(fee_max), fee_max })
    }

    /// What is bid in the place of `bid`: an eighth more, or what gas costs now where that is more. Nodes ask for a tenth more before
    /// they take one chain_tx for another; `None` where that would be above a cap, or the base fee is.
    pub(super) fn more(&self, bid: Price, fees: Fees, spent_wei: u128) -> Option<Price> {
        let eighth = |bid: u128| bid.saturating_add(bid.div_ceil(8));
        let tenth = |bid: u128| bid.saturating_add(bid.div_ceil(10));
        let tip = eighth(bid.tip).max(fees.tip).min(self.tip_max);
        let now = fees.base.saturating_mul(2).saturating_add(tip);
        let most = self.most(spent_wei);
        let fee_max = eighth(bid.fee_max).max(now).min(most);
        (fees.base <= most && fee_max >= tenth(bid.fee_max) && tip >= tenth(bid.tip) && tip <= fee_max)
            .then_some(Price { tip, fee_max })
    }

    fn most(&self, spent_wei: u128) -> u128 {
        if self.payment_max == u128::MAX {
            return self.fee_max;
        }
        let left = self.payment_max.saturating_sub(spent_wei).checked_div(PAYMENT_GAS_MAX).unwrap_or(0);
        self.fee_max.min(left)
    }
}
