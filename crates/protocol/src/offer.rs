//! One acceptable way to pay.

use crate::{Amount, AssetInfo, Network, Payee};

/// An offer of the scheme `exact` over EIP-3009: x402 `PaymentRequirements`, `accepts[i]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The token, with the EIP-712 domain that the payer signs under.
    pub asset_info: AssetInfo,
    /// What the call costs, in atomic units.
    pub amount_atomic: u128,
    /// Who is paid.
    pub payee: Payee,
    /// How long a payer may make the authorization valid, counted from now.
    pub max_timeout_s: u64,
}

impl Offer {
    /// The price with its asset.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount::new(self.amount_atomic, self.asset_info.asset)
    }

    /// The chain on which the offer is paid.
    #[must_use]
    pub fn network(&self) -> Network {
        self.asset_info.asset.network
    }
}
