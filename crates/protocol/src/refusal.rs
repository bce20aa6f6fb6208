//! The closed list of reasons for which a payment is refused.

/// The place of the fault in what the payer sent, as a JSON path.
pub type Field = &'static str;

/// Why a credential is refused: always the counterparty's doing, never ours.
///
/// Where several reasons hold, the first in this order is reported. The order is the order of the checks: cheapest first, the
/// signature after everything that needs no arithmetic, the chain last.
/// Codes are the reference TypeScript names where it has one (reference x402 §17), since clients match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The header is longer than the limit.
    HeaderTooLarge,
    /// More than one payment header: it would not be clear which one pays.
    SeveralCredentials,
    /// A payment format of another system that binds or moves no money.
    ForeignFormat(Field),
    /// Not standard base64.
    InvalidBase64,
    /// Not one JSON object in UTF-8.
    InvalidJson,
    /// `x402Version` is neither 1 nor 2.
    InvalidVersion,
    /// A field is missing or has the wrong shape.
    InvalidPayload(Field),
    /// The route asks for a payment identifier and the payment has none.
    PaymentIdentifierRequired,
    /// What a resource server asks to be paid is missing or has the wrong shape.
    InvalidRequirements(Field),
    /// The scheme is not `exact`.
    UnsupportedScheme(Field),
    /// The network is not one that is offered.
    NetworkMismatch(Field),
    /// The requirements name no EIP-712 domain (`extra.name` and `extra.version`).
    MissingDomain,
    /// The token has another EIP-712 name.
    TokenName,
    /// The token has another EIP-712 version.
    TokenVersion,
    /// `accepted` equals none of the offers; the field is the first that differs from the nearest one.
    NoMatchingOffer(Field),
    /// `to` is not the payee.
    RecipientMismatch,
    /// `value` is not the price, exactly.
    ValueMismatch,
    /// Expired, or too little time is left for the call and its settlement.
    ValidBeforeTooSoon,
    /// Valid for longer than `maxTimeoutSeconds` allows.
    ValidBeforeTooFar,
    /// Not valid yet.
    ValidAfter,
    /// Not 65 bytes, a wrong recovery id, or the high half of s (tokens refuse it).
    SignatureShape,
    /// The signature does not recover to `from` over this chain, token, domain and these fields.
    Signature,
    /// There is no contract at the asset's address.
    AssetNotDeployed,
    /// The token says that this nonce was used or cancelled before our hold was won.
    NonceAlreadyUsed,
    /// The payer's balance, less what is held already, does not cover the price.
    InsufficientBalance,
    /// The token refuses the transfer when it is tried without sending it.
    SimulationFailed,
    /// The transfer was sent and the chain refused it.
    TransactionFailed,
    /// The chain_tx succeeded without moving the money.
    TransferEventMismatch,
}

impl Refusal {
    /// The stable code on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::HeaderTooLarge => "payment_header_too_large",
            Self::SeveralCredentials => "several_credentials",
            Self::ForeignFormat(_) => "unsupported_payload_type",
            Self::InvalidBase64 => "invalid_base64",
            Self::InvalidJson => "invalid_json",
            Self::InvalidVersion => "invalid_x402_version",
            Self::InvalidPayload(_) => "invalid_payload",
            Self::PaymentIdentifierRequired => "payment_identifier_required",
            Self::InvalidRequirements(_) => "invalid_payment_requirements",
            Self::UnsupportedScheme(_) => "invalid_exact_evm_scheme",
            Self::NetworkMismatch(_) => "invalid_exact_evm_network_mismatch",
            Self::MissingDomain => "invalid_exact_evm_missing_eip712_domain",
            Self::TokenName => "invalid_exact_evm_token_name_mismatch",
            Self::TokenVersion => "invalid_exact_evm_token_version_mismatch",
            Self::NoMatchingOffer(_) => "no_matching_payment_requirements",
            Self::RecipientMismatch => "invalid_exact_evm_recipient_mismatch",
            Self::ValueMismatch => "invalid_exact_evm_payload_authorization_value_mismatch",
            Self::ValidBeforeTooSoon | Self::ValidBeforeTooFar => {
                "invalid_exact_evm_payload_authorization_valid_before"
            }
            Self::ValidAfter => "invalid_exact_evm_payload_authorization_valid_after",
            Self::SignatureShape | Self::Signature => "invalid_exact_evm_signature",
            Self::AssetNotDeployed => "asset_not_deployed_contract",
            Self::NonceAlreadyUsed => "invalid_exact_evm_nonce_already_used",
            Self::InsufficientBalance => "invalid_exact_evm_insufficient_balance",
            Self::SimulationFailed => "invalid_exact_evm_transaction_simulation_failed",
            Self::TransactionFailed => "invalid_exact_evm_transaction_failed",
            Self::TransferEventMismatch => "invalid_exact_evm_transfer_event_mismatch",
        }
    }

    /// The field at fault, where there is one.
    #[must_use]
    pub const fn field(self) -> Option<Field> {
        match self {
            Self::ForeignFormat(field)
            | Self::InvalidPayload(field)
            | Self::InvalidRequirements(field)
            | Self::UnsupportedScheme(field)
            | Self::NetworkMismatch(field)
            | Self::NoMatchingOffer(field) => Some(field),
            Self::InvalidVersion => Some("x402Version"),
            Self::MissingDomain => Some("paymentRequirements.extra"),
            Self::TokenName => Some("paymentRequirements.extra.name"),
            Self::TokenVersion => Some("paymentRequirements.extra.version"),
            Self::PaymentIdentifierRequired => Some("extensions.payment-identifier.info.id"),
            Self::RecipientMismatch => Some("payload.authorization.to"),
            Self::ValueMismatch => Some("payload.authorization.value"),
            Self::ValidBeforeTooSoon | Self::ValidBeforeTooFar => Some("payload.authorization.validBefore"),
            Self::ValidAfter => Some("payload.authorization.validAfter"),
            Self::SignatureShape | Self::Signature => Some("payload.signature"),
            Self::NonceAlreadyUsed => Some("payload.authorization.nonce"),
            Self::InsufficientBalance => Some("payload.authorization.from"),
            Self::HeaderTooLarge
            | Self::SeveralCredentials
            | Self::InvalidBase64
            | Self::InvalidJson
            | Self::AssetNotDeployed
            | Self::SimulationFailed
            | Self::TransactionFailed
            | Self::TransferEventMismatch => None,
        }
    }

    /// One sentence for a person: what is wrong and what to do.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::HeaderTooLarge => "The payment header is longer than 16 KiB.",
            Self::SeveralCredentials => "Send one payment header, not several.",
            Self::ForeignFormat(_) => {
                "This payment format moves no money and is not accepted. Pay with x402: PAYMENT-SIGNATURE (v2) or X-PAYMENT (v1)."
            }
            Self::InvalidBase64 => "The payment header is not standard base64.",
            Self::InvalidJson => "The payment header does not hold one JSON object.",
            Self::InvalidVersion => "x402Version must be 1 or 2.",
            Self::InvalidPayload(_) => "A field of the payment is missing or malformed.",
            Self::PaymentIdentifierRequired => {
                "This route asks for a payment identifier: 16 to 128 characters of A-Za-z0-9_- that name this call."
            }
            Self::InvalidRequirements(_) => "A field of the payment requirements is missing or malformed.",
            Self::UnsupportedScheme(_) => "Only the scheme exact is offered here.",
            Self::NetworkMismatch(_) => "This network is not offered here.",
            Self::MissingDomain => "The requirements must say the token's EIP-712 name and version.",
            Self::TokenName => "The token has another EIP-712 name than the requirements say.",
            Self::TokenVersion => "The token has another EIP-712 version than the requirements say.",
            Self::NoMatchingOffer(_) => {
                "No matching payment requirements: the field `accepted` repeats no offer of this challenge."
            }
            Self::RecipientMismatch => "The authorization pays someone else.",
            Self::ValueMismatch => "The authorization must be for the exact price.",
            Self::ValidBeforeTooSoon => "The authorization is expired or does not last long enough to settle.",
            Self::ValidBeforeTooFar => "The authorization is valid for longer than maxTimeoutSeconds allows.",
            Self::ValidAfter => "The authorization is not valid yet.",
            Self::SignatureShape => "The signature must be 65 bytes, with v of 27 or 28 and a low s.",
            Self::Signature => {
                "The signature is not the payer's over this chain, token, domain name, version and these fields."
            }
            Self::AssetNotDeployed => "There is no token contract at the asset's address.",
            Self::NonceAlreadyUsed => "This authorization was used or cancelled before. Sign a new one.",
            Self::InsufficientBalance => "The payer's balance does not cover the price and what is held already.",
            Self::SimulationFailed => "The token refuses this transfer.",
            Self::TransactionFailed => "The chain refused the transfer. Nothing was paid.",
            Self::TransferEventMismatch => "The token took the call but moved no money.",
        }
    }
}
