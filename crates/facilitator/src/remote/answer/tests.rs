use super::*;

const TX: &str = "0xabababababababababababababababababababababababababababababababab";
const HASH: B256 = B256::repeat_byte(0xab);

#[test]
fn answers_to_verify() {
    let refused = Verified::Refused;
    let domain = refused(Refusal::NoMatchingOffer("accepted.extra"));
    let network = refused(Refusal::NetworkMismatch("accepted.network"));
    let scheme = refused(Refusal::UnsupportedScheme("accepted.scheme"));
    let no = |reason: &str| format!(r#"{{"isValid":false,"invalidReason":"{reason}","payer":"0x1"}}"#);
    for (reason, want) in [
        ("invalid_exact_evm_signature", refused(Refusal::Signature)),
        ("invalid_exact_evm_payload_signature", refused(Refusal::Signature)),
        ("invalid_exact_evm_recipient_mismatch", refused(Refusal::RecipientMismatch)),
        ("invalid_exact_evm_payload_recipient_mismatch", refused(Refusal::RecipientMismatch)),
        ("invalid_exact_evm_missing_eip712_domain", domain),
        ("missing_eip712_domain", domain),
        ("invalid_exact_evm_network_mismatch", network),
        ("network_mismatch", network),
        ("invalid_network", network),
        ("invalid_exact_evm_scheme", scheme),
        ("unsupported_payload_type", scheme),
        ("unsupported_scheme", scheme),
        ("invalid_scheme", scheme),
        ("invalid_payload", refused(Refusal::InvalidPayload("payload"))),
        ("invalid_exact_evm_insufficient_balance", refused(Refusal::InsufficientBalance)),
        ("invalid_exact_evm_eip3009_insufficient_balance", refused(Refusal::InsufficientBalance)),
        ("insufficient_funds", refused(Refusal::InsufficientBalance)),
        ("invalid_exact_evm_transaction_simulation_failed", refused(Refusal::SimulationFailed)),
        ("transaction_simulation_failed", refused(Refusal::SimulationFailed)),
        ("invalid_transaction_state", refused(Refusal::SimulationFailed)),
        ("invalid_exact_evm_nonce_already_used", refused(Refusal::NonceAlreadyUsed)),
        ("invalid_exact_evm_eip3009_nonce_already_used", refused(Refusal::NonceAlreadyUsed)),
        ("invalid_exact_evm_payload_authorization_valid_before", refused(Refusal::ValidBeforeTooSoon)),
        ("invalid_exact_evm_payload_authorization_valid_after", refused(Refusal::ValidAfter)),
        ("invalid_exact_evm_payload_authorization_value_mismatch", refused(Refusal::ValueMismatch)),
        ("invalid_exact_evm_payload_authorization_value", refused(Refusal::ValueMismatch)),
        ("asset_not_deployed_contract", refused(Refusal::AssetNotDeployed)),
        ("never_heard_of", refused(Refusal::SimulationFailed)),
        ("", refused(Refusal::SimulationFailed)),
        ("unexpected_verify_error", Verified::Fault),
        ("unexpected_settle_error", Verified::Fault),
        ("settlement_pending", Verified::Fault),
        ("rpc_read_failed", Verified::Fault),
        ("verification_state_unavailable", Verified::Fault),
        ("invalid_payment_requirements", Verified::Fault),
        ("invalid_x402_version", Verified::Fault),
    ] {
        for status in [200, 400, 402, 412] {
            assert_eq!(verify(status, no(reason).as_bytes()), want, "{status} {reason}");
        }
        for status in [301, 429, 500, 502, 503] {
            assert_eq!(verify(status, no(reason).as_bytes()), Verified::Fault, "{status} {reason}");
        }
    }
}

#[test]
fn only_a_clear_yes_is_a_yes() {
    for (status, body, want) in [
        (200, r#"{"isValid":true}"#, Verified::Valid),
        (200, r#"{"isValid":true,"invalidReason":null,"payer":"0x1"}"#, Verified::Valid),
        (400, r#"{"isValid":true}"#, Verified::Fault),
        (302, r#"{"isValid":true}"#, Verified::Fault),
        (500, r#"{"isValid":true}"#, Verified::Fault),
        (200, r#"{"isValid":"true"}"#, Verified::Fault),
        (200, r#"{"isValid":1}"#, Verified::Fault),
        (200, r#"{"isValid":null}"#, Verified::Fault),
        (200, r#"{"success":true}"#, Verified::Fault),
        (200, r#"{"isValid":true"#, Verified::Fault),
        (200, r#"[{"isValid":true}]"#, Verified::Fault),
        (200, "", Verified::Fault),
        (200, "<html>gateway</html>", Verified::Fault),
        (404, r#"{"error":"not found"}"#, Verified::Fault),
    ] {
        assert_eq!(verify(status, body.as_bytes()), want, "{status} {body}");
    }
}

#[test]
fn answers_to_settle() {
    let yes = |transaction: &str| format!(r#"{{"success":true,"transaction":"{transaction}","network":"eip155:1"}}"#);
    let no = |reason: &str, transaction: &str| {
        format!(r#"{{"success":false,"errorReason":"{reason}","transaction":"{transaction}"}}"#)
    };
    for (status, body, want) in [
        (200, yes(TX), Said::Settled(HASH)),
        (200, yes(""), Said::Nothing),
        (200, yes("0xabab"), Said::Nothing),
        (200, yes(&format!("{TX}ab")), Said::Nothing),
        (200, yes(&TX.replace("0x", "")), Said::Nothing),
        (200, yes(&format!("0x{}", "00".repeat(32))), Said::Nothing),
        (200, yes(&format!("0x{}", "zz".repeat(32))), Said::Nothing),
        (200, r#"{"success":true}"#.to_owned(), Said::Nothing),
        (200, r#"{"success":"true","transaction":"0x1"}"#.to_owned(), Said::Nothing),
        (400, yes(TX), Said::Nothing),
        (500, yes(TX), Said::Nothing),
        (200, no("insufficient_funds", ""), Said::Refused(Refusal::InsufficientBalance, None)),
        (402, no("insufficient_funds", ""), Said::Refused(Refusal::InsufficientBalance, None)),
        (500, no("insufficient_funds", ""), Said::Nothing),
        (429, no("insufficient_funds", ""), Said::Nothing),
        (200, no("invalid_exact_evm_nonce_already_used", ""), Said::Refused(Refusal::NonceAlreadyUsed, None)),
        (200, no("invalid_exact_evm_transaction_failed", TX), Said::Refused(Refusal::TransactionFailed, Some(HASH))),
        (200, no("settlement_pending", TX), Said::Pending(Some(HASH))),
        (200, no("settlement_pending", ""), Said::Pending(None)),
        (200, no("unexpected_settle_error", ""), Said::Nothing),
        (200, no("never_heard_of", ""), Said::Nothing),
        (200, no("", ""), Said::Nothing),
        (200, String::new(), Said::Nothing),
        (200, "garbage".to_owned(), Said::Nothing),
    ] {
        assert_eq!(settle(status, body.as_bytes()), want, "{status} {body}");
    }
}

#[test]
fn a_refusal_counts_only_while_nobody_else_has_it() {
    let refused = Said::Refused(Refusal::NonceAlreadyUsed, None);
    let told = Told::Refused { refusal: Refusal::NonceAlreadyUsed, chain_tx: None };
    for (said, so_far, want) in [
        (refused, Told::NotSent, Ok(told)),
        (refused, Told::Unknown, Ok(Told::Unknown)),
        (Said::Settled(HASH), Told::Unknown, Ok(Told::Settled { chain_tx: HASH })),
        (Said::Pending(Some(HASH)), Told::NotSent, Ok(Told::Pending { chain_tx: HASH })),
        (Said::Pending(None), Told::NotSent, Ok(Told::Unknown)),
        (Said::Nothing, Told::NotSent, Err(Told::Unknown)),
        (Said::NotSent, Told::NotSent, Err(Told::NotSent)),
        (Said::NotSent, Told::Unknown, Err(Told::Unknown)),
    ] {
        assert_eq!(said.after(so_far), want, "{said:?} after {so_far:?}");
    }
}

#[test]
fn what_is_supported() {
    let kinds = r#"{"kinds":[{"x402Version":2,"scheme":"exact","network":"eip155:84532"},
        {"x402Version":1,"scheme":"exact","network":"base"},{"x402Version":2,"scheme":"upto","network":"eip155:1"},
        {"x402Version":2,"scheme":"exact","network":"solana:x"},7],"extensions":[],"signers":{}}"#;
    let want = BTreeSet::from([(Network { chain_id: 84_532 }, Kind::V2), (Network { chain_id: 8_453 }, Kind::V1)]);
    assert_eq!(supported(200, kinds.as_bytes()), Some(want));
    for (status, body) in [(500, kinds), (200, "{}"), (200, r#"{"kinds":[]}"#), (200, r#"{"kinds":7}"#), (200, "")] {
        assert_eq!(supported(status, body.as_bytes()), None, "{status} {body}");
    }
}
