//! The closed list of refusals as callers see it: codes, fields, sentences and their order.

use protocol::Refusal;

/// The place in the order of precedence. Without a catch-all: a new refusal must be put here and into the table below.
fn place(refusal: Refusal) -> usize {
    match refusal {
        Refusal::HeaderTooLarge => 0,
        Refusal::SeveralCredentials => 1,
        Refusal::ForeignFormat(_) => 2,
        Refusal::InvalidBase64 => 3,
        Refusal::InvalidJson => 4,
        Refusal::InvalidVersion => 5,
        Refusal::InvalidPayload(_) => 6,
        Refusal::PaymentIdentifierRequired => 7,
        Refusal::InvalidRequirements(_) => 8,
        Refusal::UnsupportedScheme(_) => 9,
        Refusal::NetworkMismatch(_) => 10,
        Refusal::MissingDomain => 11,
        Refusal::TokenName => 12,
        Refusal::TokenVersion => 13,
        Refusal::NoMatchingOffer(_) => 14,
        Refusal::RecipientMismatch => 15,
        Refusal::ValueMismatch => 16,
        Refusal::ValidBeforeTooSoon => 17,
        Refusal::ValidBeforeTooFar => 18,
        Refusal::ValidAfter => 19,
        Refusal::SignatureShape => 20,
        Refusal::Signature => 21,
        Refusal::AssetNotDeployed => 22,
        Refusal::NonceAlreadyUsed => 23,
        Refusal::InsufficientBalance => 24,
        Refusal::SimulationFailed => 25,
        Refusal::TransactionFailed => 26,
        Refusal::TransferEventMismatch => 27,
    }
}

#[test]
fn every_refusal_has_a_code_and_a_sentence() {
    // The last column: the code as reference x402 §8.1 or §17 spells it, or our own word where it has none.
    let rows = [
        (Refusal::HeaderTooLarge, None, "payment_header_too_large"),
        (Refusal::SeveralCredentials, None, "several_credentials"),
        (Refusal::ForeignFormat("x"), Some("x"), "unsupported_payload_type"),
        (Refusal::InvalidBase64, None, "invalid_base64"),
        (Refusal::InvalidJson, None, "invalid_json"),
        (Refusal::InvalidVersion, Some("x402Version"), "invalid_x402_version"),
        (Refusal::InvalidPayload("x"), Some("x"), "invalid_payload"),
        (Refusal::PaymentIdentifierRequired, Some("id"), "payment_identifier_required"),
        (Refusal::InvalidRequirements("x"), Some("x"), "invalid_payment_requirements"),
        (Refusal::UnsupportedScheme("x"), Some("x"), "invalid_exact_evm_scheme"),
        (Refusal::NetworkMismatch("x"), Some("x"), "invalid_exact_evm_network_mismatch"),
        (Refusal::MissingDomain, Some("extra"), "invalid_exact_evm_missing_eip712_domain"),
        (Refusal::TokenName, Some("name"), "invalid_exact_evm_token_name_mismatch"),
        (Refusal::TokenVersion, Some("version"), "invalid_exact_evm_token_version_mismatch"),
        (Refusal::NoMatchingOffer("x"), Some("x"), "no_matching_payment_requirements"),
        (Refusal::RecipientMismatch, Some("to"), "invalid_exact_evm_recipient_mismatch"),
        (Refusal::ValueMismatch, Some("value"), "invalid_exact_evm_payload_authorization_value_mismatch"),
        (Refusal::ValidBeforeTooSoon, Some("validBefore"), "invalid_exact_evm_payload_authorization_valid_before"),
        (Refusal::ValidBeforeTooFar, Some("validBefore"), "invalid_exact_evm_payload_authorization_valid_before"),
        (Refusal::ValidAfter, Some("validAfter"), "invalid_exact_evm_payload_authorization_valid_after"),
        (Refusal::SignatureShape, Some("signature"), "invalid_exact_evm_signature"),
        (Refusal::Signature, Some("signature"), "invalid_exact_evm_signature"),
        (Refusal::AssetNotDeployed, None, "asset_not_deployed_contract"),
        (Refusal::NonceAlreadyUsed, Some("nonce"), "invalid_exact_evm_nonce_already_used"),
        (Refusal::InsufficientBalance, Some("from"), "invalid_exact_evm_insufficient_balance"),
        (Refusal::SimulationFailed, None, "invalid_exact_evm_transaction_simulation_failed"),
        (Refusal::TransactionFailed, None, "invalid_exact_evm_transaction_failed"),
        (Refusal::TransferEventMismatch, None, "invalid_exact_evm_transfer_event_mismatch"),
    ];
    let answers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/answers.md");
    let answers = std::fs::read_to_string(answers).expect("the list for callers");
    for (at, (refusal, field, code)) in rows.into_iter().enumerate() {
        assert!(answers.contains(&format!("`{code}`")), "{code} is not in docs/answers.md");
        assert_eq!(place(refusal), at, "{refusal:?}");
        assert_eq!(refusal.code(), code, "{refusal:?}");
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{code}");
        let leaf = refusal.field().map(|path| path.rsplit('.').next().expect("a part"));
        assert_eq!(leaf, field, "{refusal:?}");
        let message = refusal.message();
        assert!(message.len() > 20 && message.ends_with('.') && !message.contains(code), "{refusal:?} {message}");
    }
}
