//! What a facilitator's HTTP answer means. Only a clear yes is a yes, and only a known no is a no: everything else is a fault, and at
//! `/settle` leaves the outcome open.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use protocol::{Network, Refusal};
use serde_json::Value;

use super::Kind;
use crate::engine::{Told, Verified};

/// What one facilitator said to `/settle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The money moved.
    Settled(B256),
    /// It did not and will not, as far as this facilitator knows.
    Refused(Refusal, Option<B256>),
    /// It is on its way.
    Pending(Option<B256>),
    /// It has it, and nothing follows from what it said.
    Nothing,
    /// It was not reached.
    NotSent,
}

impl Said {
    /// What all of them have said together, this one last: `Ok` where no further one is asked.
    pub(super) const fn after(self, so_far: Told) -> Result<Told, Told> {
        match (self, so_far) {
            (Self::Settled(chain_tx), _) => Ok(Told::Settled { chain_tx }),
            (Self::Pending(Some(chain_tx)), _) => Ok(Told::Pending { chain_tx }),
            (Self::Pending(None), _) => Ok(Told::Unknown),
            // One that did not answer may have moved the money: then this one refuses because of that.
            (Self::Refused(..), Told::Unknown) => Ok(Told::Unknown),
            (Self::Refused(refusal, chain_tx), _) => Ok(Told::Refused { refusal, chain_tx }),
            (Self::Nothing, _) => Err(Told::Unknown),
            (Self::NotSent, so_far) => Err(so_far),
        }
    }
}

/// The answer to `/verify`.
pub(super) fn verify(status: u16, body: &[u8]) -> Verified {
    let Some((yes, value)) = read(status, body, "isValid") else { return Verified::Fault };
    if yes {
        return Verified::Valid;
    }
    let reason = text(&value, "invalidReason");
    match known(&reason) {
        Known::Refusal(refusal) => Verified::Refused(refusal),
        Known::CannotSay => Verified::Fault,
        // It does say no.
        Known::Nothing => Verified::Refused(Refusal::SimulationFailed),
    }
}

/// The answer to `/settle`.
pub(super) fn settle(status: u16, body: &[u8]) -> Said {
    let Some((yes, value)) = read(status, body, "success") else { return Said::Nothing };
    let chain_tx = chain_tx(&value);
    if yes {
        return chain_tx.map_or(Said::Nothing, Said::Settled);
    }
    let reason = text(&value, "errorReason");
    if reason == "settlement_pending" {
        return Said::Pending(chain_tx);
    }
    match known(&reason) {
        Known::Refusal(refusal) => Said::Refused(refusal, chain_tx),
        Known::CannotSay | Known::Nothing => Said::Nothing,
    }
}

/// The answer to `GET /supported`, as far as it concerns us. `None` where it cannot be read, or lists nothing at all.
pub(super) fn supported(status: u16, body: &[u8]) -> Option<BTreeSet<(Network, Kind)>> {
    if !(200..300).contains(&status) {
        return None;
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    let kinds = value.get("kinds")?.as_array().filter(|kinds| !kinds.is_empty())?;
    let kind = |kind: &Value| {
        let network = kind.get("network")?.as_str()?;
        if kind.get("scheme")?.as_str()? != "exact" {
            return None;
        }
        match kind.get("x402Version")?.as_u64()? {
            1 => Some((Network::from_v1_name(network)?, Kind::V1)),
            2 => Some((network.parse().ok()?, Kind::V2)),
            _ => None,
        }
    };
    Some(kinds.iter().filter_map(kind).collect())
}

/// Reason and message of an answer that is no yes, for the log.
pub(super) fn complaint(status: u16, body: &[u8]) -> Option<(String, String)> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let yes = |name| value.get(name).and_then(Value::as_bool) == Some(true);
    if (200..300).contains(&status) && (yes("isValid") || yes("success")) {
        return None;
    }
    let first = |names: [&str; 3]| names.iter().map(|name| text(&value, name)).find(|text| !text.is_empty());
    let reason = first(["invalidReason", "errorReason", "error"]).unwrap_or_default();
    Some((reason, first(["invalidMessage", "errorMessage", "message"]).unwrap_or_default()))
}

/// The verdict in an answer. A yes counts in a 2xx alone, a no also in a 4xx, as SDK clients read it; 429 says nothing of the payment.
fn read(status: u16, body: &[u8], name: &str) -> Option<(bool, Value)> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let yes = value.get(name)?.as_bool()?;
    let counts = match status {
        200..300 => true,
        429 => false,
        400..500 => !yes,
        _ => false,
    };
    counts.then_some((yes, value))
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn chain_tx(value: &Value) -> Option<B256> {
    let text = value.get("transaction")?.as_str()?;
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 64)?;
    digits.parse::<B256>().ok().filter(|hash| !hash.is_zero())
}

/// What a reason is known to mean.
enum Known {
    /// The payer's doing.
    Refusal(Refusal),
    /// The facilitator cannot say now, or does not understand us. Neither is the payer's doing.
    CannotSay,
    /// Never heard of.
    Nothing,
}

/// Both families of names (reference x402 §17): the prefixes differ, what is behind them hardly.
fn known(reason: &str) -> Known {
    let mut name = reason;
    for prefix in ["invalid_exact_evm_", "invalid_", "eip3009_", "payload_"] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    let refusal = match name {
        "signature"
        | "failed_to_parse_signature"
        | "undeployed_smart_wallet"
        | "eip6492_factory_not_allowed"
        | "smart_wallet_deployment_failed" => Refusal::Signature,
        "recipient_mismatch" | "authorization_recipient_mismatch" => Refusal::RecipientMismatch,
        "missing_eip712_domain" | "token_name_mismatch" | "token_version_mismatch" => {
            Refusal::NoMatchingOffer("accepted.extra")
        }
        "network" | "network_mismatch" | "unsupported_network" => Refusal::NetworkMismatch("accepted.network"),
        "scheme" | "unsupported_scheme" | "unsupported_payload_type" => Refusal::UnsupportedScheme("accepted.scheme"),
        "payload" => Refusal::InvalidPayload("payload"),
        "authorization_valid_before" | "valid_before" | "authorization_expired" => Refusal::ValidBeforeTooSoon,
        "authorization_valid_after" | "valid_after" => Refusal::ValidAfter,
        "authorization_value" | "authorization_value_mismatch" | "value_mismatch" => Refusal::ValueMismatch,
        "asset_not_deployed_contract" | "not_supported" => Refusal::AssetNotDeployed,
        "nonce_already_used" | "authorization_nonce_used" => Refusal::NonceAlreadyUsed,
        "insufficient_balance" | "insufficient_funds" => Refusal::InsufficientBalance,
        "transaction_simulation_failed" | "simulation_failed" | "transaction_state" => Refusal::SimulationFailed,
        "transaction_failed" => Refusal::TransactionFailed,
        "transfer_event_mismatch" => Refusal::TransferEventMismatch,
        // They are of what we have written, not of what the payer has.
        "x402_version" | "payment_requirements" => return Known::CannotSay,
        other => {
            const NOT_NOW: [&str; 10] = [
                "unexpected",
                "rpc",
                "timeout",
                "timed_out",
                "unavailable",
                "pending",
                "internal",
                "rate_limit",
                "busy",
                "not_confirmed",
            ];
            let not_now = NOT_NOW.iter().any(|word| other.contains(word));
            return if not_now { Known::CannotSay } else { Known::Nothing };
        }
    };
    Known::Refusal(refusal)
}

#[cfg(test)]
mod tests;
