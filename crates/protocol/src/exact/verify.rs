//! The pure part of the check: everything that needs no chain, cheapest first, the signature last.

use alloy_primitives::U256;

use crate::x402::{Accepted, Credential, Terms};
use crate::{Authorization, Offer, Payee, Refusal, Signature};

/// The times within which an authorization must lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Now, in seconds since 1970.
    pub now_s: u64,
    /// What must be left of the validity: the upstream's time to answer and the settlement's time to confirm.
    pub remaining_min_s: u64,
    /// By how much the payer's clock may be ahead.
    pub skew_s: u64,
}

/// An authorization whose signature was checked, and the offer that it pays. Only [`verify()`] makes one.
#[derive(Clone, Debug)]
pub struct Proven {
    authorization: Authorization,
    offer: Offer,
}

impl Proven {
    /// What was signed.
    #[must_use]
    pub fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// What it pays.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }
}

/// Checks a credential against the offers. Does not look at a chain: balance, nonce and code are the facilitator's part.
///
/// The order is the precedence of the answers: scheme, network, offer, payee, amount, end of validity (too soon, too far),
/// start of validity, shape of the signature, signature.
///
/// # Errors
/// The first [`Refusal`] in that order.
pub fn verify(credential: &Credential, offers: &[Offer], window: Window) -> Result<Proven, Refusal> {
    let offer = match_offer(&credential.accepted, offers)?;
    let fields = &credential.fields;
    if Payee(fields.to) != offer.payee {
        return Err(Refusal::RecipientMismatch);
    }
    if fields.value != U256::from(offer.amount_atomic) {
        return Err(Refusal::ValueMismatch);
    }
    let valid_before_s = u64::try_from(fields.valid_before).map_err(|_| Refusal::ValidBeforeTooFar)?;
    if valid_before_s < window.now_s.saturating_add(window.remaining_min_s) {
        return Err(Refusal::ValidBeforeTooSoon);
    }
    if valid_before_s > window.now_s.saturating_add(offer.max_timeout_s).saturating_add(window.skew_s) {
        return Err(Refusal::ValidBeforeTooFar);
    }
    let valid_after_s = u64::try_from(fields.valid_after).map_err(|_| Refusal::ValidAfter)?;
    // The token takes it only in a block that is later than `validAfter`, not in one of the same second.
    if valid_after_s >= window.now_s {
        return Err(Refusal::ValidAfter);
    }
    let signature = Signature::from_bytes(&credential.signature).ok_or(Refusal::SignatureShape)?;
    if signature.recover(fields.digest(&offer.asset_info)) != Some(fields.from) {
        return Err(Refusal::Signature);
    }
    Ok(Proven {
        authorization: Authorization {
            key: fields.key(offer.asset_info.asset),
            payee: offer.payee,
            amount_atomic: offer.amount_atomic,
            valid_after_s,
            valid_before_s,
            signature,
        },
        offer: offer.clone(),
    })
}

/// Finds the offer that `accepted` names.
///
/// v2 must repeat the whole offer (addresses in any case, `extra` may hold more than ours). v1 names scheme and network alone,
/// so the first offer on that network is meant.
///
/// # Errors
/// The first field that differs from the offer that is nearest.
pub fn match_offer<'a>(accepted: &Accepted, offers: &'a [Offer]) -> Result<&'a Offer, Refusal> {
    if accepted.scheme != "exact" {
        return Err(Refusal::UnsupportedScheme(accepted.version.field("scheme")));
    }
    let network = accepted.network;
    let mut on_network = offers.iter().filter(|offer| Some(offer.network()) == network).peekable();
    if on_network.peek().is_none() {
        return Err(Refusal::NetworkMismatch(accepted.version.field("network")));
    }
    let Some(terms) = &accepted.terms else {
        return on_network.next().ok_or(Refusal::NetworkMismatch("network"));
    };
    let mut nearest = (0, "accepted");
    for offer in on_network {
        match differences(terms, offer).into_iter().enumerate().find(|(_, (same, _))| !same) {
            None => return Ok(offer),
            Some((depth, (_, field))) if depth >= nearest.0 => nearest = (depth, field),
            Some(_) => {}
        }
    }
    Err(Refusal::NoMatchingOffer(nearest.1))
}

fn differences(terms: &Terms, offer: &Offer) -> [(bool, &'static str); 7] {
    [
        (terms.asset == offer.asset_info.asset.address, "accepted.asset"),
        (terms.pay_to == offer.payee, "accepted.payTo"),
        (terms.amount_atomic == offer.amount_atomic, "accepted.amount"),
        (terms.max_timeout_s == offer.max_timeout_s, "accepted.maxTimeoutSeconds"),
        (terms.name.as_deref() == Some(offer.asset_info.name.as_str()), "accepted.extra.name"),
        (terms.version.as_deref() == Some(offer.asset_info.version.as_str()), "accepted.extra.version"),
        (terms.extra.covers(&offer.extra), "accepted.extra"),
    ]
}

#[cfg(test)]
mod tests;
