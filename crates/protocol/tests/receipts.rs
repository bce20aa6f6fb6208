//! The receipt in both versions: whole objects, so that a field that comes or goes is seen.
#![allow(clippy::unwrap_used)]

use alloy_primitives::{B256, address, b256};
use protocol::x402::{PAYMENTS, Receipt, decode_header};
use protocol::{Amount, AssetInfo, Network, Payer, Refusal, Settled};
use serde_json::{Value, json};

const CHAIN_TX: B256 = b256!("c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1");
const HASH: &str = "0xc1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1";
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const PAYMENT: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];

fn payer() -> Payer {
    Payer(address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"))
}

fn amount(network: Network, atomic: u128) -> Amount {
    let asset = AssetInfo::usdc(Network::BASE_SEPOLIA).unwrap().asset;
    Amount::new(atomic, protocol::Asset { network, ..asset })
}

/// What a receipt is in v2; v1 differs in the network's name alone.
fn rows(network: Network) -> Vec<(&'static str, Receipt, Value)> {
    let payer = payer();
    let settled =
        Settled { chain_tx: CHAIN_TX, block: 7, block_hash: CHAIN_TX, amount: amount(network, 10_000), payer };
    let refused = |refusal| Receipt::Refused { network, payer, refusal };
    let held = |atomic, payment| Receipt::Held { amount: amount(network, atomic), payer, payment };
    let pending = |chain_tx| Receipt::Pending { network, payer, chain_tx };
    let words = |hash: &str| {
        json!({
            "success": false, "transaction": hash, "network": network.to_string(), "payer": PAYER,
            "errorReason": "settlement_pending",
            "errorMessage": "The settlement is not confirmed yet. Do not pay again.",
        })
    };
    let on_tab = |atomic: &str, payment: &str| {
        json!({
            "success": true, "transaction": "", "network": network.to_string(), "payer": PAYER, "amount": atomic,
            "extra": {"state": "held", "payment": payment, "status_url": format!("/__pay/payments/{payment}")},
        })
    };
    vec![
        (
            "settled",
            Receipt::Settled(settled),
            json!({
                "success": true, "transaction": HASH, "network": network.to_string(), "payer": PAYER, "amount": "10000",
            }),
        ),
        (
            "refused",
            refused(Refusal::InsufficientBalance),
            json!({
                "success": false, "transaction": "", "network": network.to_string(), "payer": PAYER,
                "errorReason": Refusal::InsufficientBalance.code(),
                "errorMessage": Refusal::InsufficientBalance.message(),
            }),
        ),
        ("held", held(10_000, PAYMENT), on_tab("10000", "00010203040506070809aabbccddeeff")),
        // Amounts are exact, and a payment's name keeps its zeros.
        (
            "held, the most",
            held(u128::MAX, [0; 16]),
            on_tab("340282366920938463463374607431768211455", "00000000000000000000000000000000"),
        ),
        ("pending", pending(None), words("")),
        ("pending with hash", pending(Some(CHAIN_TX)), words(HASH)),
    ]
}

/// The header's object, read back as a client would.
fn read(header: &str) -> Value {
    decode_header(header.as_bytes()).unwrap()
}

#[test]
fn receipts_of_v2() {
    for network in [Network::BASE_SEPOLIA, Network { chain_id: 31_337 }] {
        for (what, receipt, want) in rows(network) {
            assert_eq!(receipt.to_v2(), want, "{what}");
            assert_eq!(read(&receipt.to_v2_header()), want, "{what}");
        }
    }
}

#[test]
fn receipts_of_v1() {
    for (chain_id, name) in [(84_532, Some("base-sepolia")), (8_453, Some("base")), (31_337, None)] {
        for (what, receipt, mut want) in rows(Network { chain_id }) {
            want["network"] = json!(name);
            let got = receipt.to_v1_header().map(|header| read(&header));
            assert_eq!(
                got,
                name.map(|_| want),
                "{what} {chain_id}: v1 has no word for a network that it does not name"
            );
        }
    }
}

/// Only what has moved is named by a chain_tx and called a success without more; what is on the tab says that it is held.
#[test]
fn nothing_says_settled_before_it_is() {
    for (what, receipt, _) in rows(Network::BASE_SEPOLIA) {
        let value = receipt.to_v2();
        let moved = value["success"] == true && value["transaction"] != "";
        assert_eq!(moved, what == "settled", "{what}");
        assert_eq!(value["extra"]["state"] == "held", what.starts_with("held"), "{what}");
        assert_eq!(value["errorReason"].is_string(), value["success"] == false, "{what}");
    }
}

#[test]
fn the_status_lies_beneath_the_path_of_payments() {
    let held = Receipt::Held { amount: amount(Network::BASE_SEPOLIA, 1), payer: payer(), payment: PAYMENT };
    let value = held.to_v2();
    let url = value["extra"]["status_url"].as_str().unwrap();
    assert_eq!(url.strip_prefix(PAYMENTS), value["extra"]["payment"].as_str());
}
