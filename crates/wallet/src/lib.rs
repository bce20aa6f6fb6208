//! The payer's side of x402: read a challenge, choose an offer, sign it.
//!
//! Pure. It keeps no budget and no journal yet: a caller passes the limit for each payment.
#![deny(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic))]

use alloy_primitives::{B256, U256};
use protocol::exact::Fields;
use protocol::x402::{Challenge, Credential, Version};
use protocol::{AssetInfo, Offer, SignFault, Signer};

/// The longest validity that is signed, whatever an offer asks for: a payee has no use for an authorization of a day.
const VALIDITY_MAX_S: u64 = 600;

/// Why a challenge is not paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// No offer is in a token that this wallet knows by address, name and version.
    #[error("no offer is in a token that this wallet knows")]
    UnknownToken,
    /// The cheapest offer is above the limit.
    #[error("the cheapest offer costs {0} atomic units, above the limit")]
    TooExpensive(u128),
}

/// Chooses the cheapest offer in a known USDC whose price is at most `max_atomic`.
///
/// # Errors
/// [`Declined`]; nothing was signed.
pub fn choose(challenge: &Challenge, max_atomic: u128) -> Result<&Offer, Declined> {
    let known =
        challenge.offers.iter().filter(|offer| AssetInfo::usdc(offer.network()).as_ref() == Some(&offer.asset_info));
    let cheapest = known.min_by_key(|offer| offer.amount_atomic).ok_or(Declined::UnknownToken)?;
    if cheapest.amount_atomic > max_atomic {
        return Err(Declined::TooExpensive(cheapest.amount_atomic));
    }
    Ok(cheapest)
}

/// A signed payment: the v2 header and what was signed.
#[derive(Clone, Debug)]
pub struct Payment {
    /// For `PAYMENT-SIGNATURE`.
    pub header: String,
    /// What was signed.
    pub fields: Fields,
}

/// Signs an authorization for an offer. `nonce` must be 256 fresh random bits.
///
/// # Errors
/// [`SignFault`] when the signer cannot sign now.
pub async fn sign<S: Signer>(
    signer: &S,
    challenge: &Challenge,
    offer: &Offer,
    now_s: u64,
    nonce: B256,
) -> Result<Payment, SignFault> {
    let valid_before = now_s.saturating_add(offer.max_timeout_s.min(VALIDITY_MAX_S));
    let fields = Fields {
        from: signer.address(),
        to: offer.payee.0,
        value: U256::from(offer.amount_atomic),
        valid_after: U256::ZERO,
        valid_before: U256::from(valid_before),
        nonce,
    };
    let signature = signer.sign(fields.digest(&offer.asset_info)).await?;
    let header =
        Credential::print(Version::V2, offer, &challenge.resource.url, &fields, &signature).ok_or(SignFault)?;
    Ok(Payment { header, fields })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::x402::{Extensions, Resource};
    use protocol::{Network, OfferExtra, Payee};

    fn challenge(prices: &[u128]) -> Challenge {
        let payee: Payee = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap();
        let offer = |amount_atomic: &u128| Offer {
            asset_info: AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap(),
            amount_atomic: *amount_atomic,
            payee,
            max_timeout_s: 60,
            extra: OfferExtra::default(),
        };
        Challenge {
            resource: Resource { url: "http://127.0.0.1/paid".to_owned(), ..Resource::default() },
            offers: prices.iter().map(offer).collect(),
            error: String::new(),
            extensions: Extensions::new(),
        }
    }

    #[test]
    fn the_cheapest_offer_is_chosen_within_the_limit() {
        assert_eq!(choose(&challenge(&[30, 10, 20]), 10).map(|offer| offer.amount_atomic), Ok(10));
        assert_eq!(choose(&challenge(&[30, 10, 20]), 9), Err(Declined::TooExpensive(10)));
        assert_eq!(choose(&challenge(&[]), 9), Err(Declined::UnknownToken));
    }

    #[test]
    fn a_token_that_only_looks_like_usdc_is_not_paid() {
        let mut fake = challenge(&[1]);
        fake.offers[0].asset_info.name = "USD Coin".to_owned();
        assert_eq!(choose(&fake, 10), Err(Declined::UnknownToken));
    }
}
