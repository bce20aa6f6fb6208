//! The 402: G-045 to G-054.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::{AssetInfo, Network};
use serde_json::Value;
use xtask::chain::USDC;

use crate::kit::{Answer, PAYEE, World, get};
use crate::world;

/// What PAYMENT-REQUIRED holds.
fn challenge(answer: &Answer) -> Value {
    assert_eq!(answer.status, 402, "{}", answer.text());
    let bytes = STANDARD.decode(&answer.headers["payment-required"]).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn asked(path: &str) -> Value {
    let world = World::new();
    challenge(&get(&world.url(path), &[]))
}

#[test]
fn g_045_status_402_with_header() {
    assert!(asked("/paid/ok").is_object());
}

#[test]
fn g_046_x402_version_is_the_number_two() {
    assert_eq!(asked("/paid/ok")["x402Version"], 2);
}

#[test]
fn g_047_resource_holds_path_and_query() {
    let challenge = asked("/paid/ok?city=Bern&x=%2F");
    let url = challenge["resource"]["url"].as_str().unwrap();
    assert!(url.ends_with("/paid/ok?city=Bern&x=%2F"), "{url}");
    for word in ["description", "mimeType"] {
        assert!(challenge["resource"].get(word).is_none(), "{challenge}");
    }
}

#[test]
fn g_048_the_entry_of_accepts() {
    let challenge = asked("/paid/ok");
    let entry = &challenge["accepts"][0];
    assert_eq!((&entry["scheme"], &entry["network"]), (&"exact".into(), &"eip155:84532".into()));
    assert_eq!((&entry["amount"], &entry["asset"], &entry["payTo"]), (&"10000".into(), &USDC.into(), &PAYEE.into()));
    assert!(entry["maxTimeoutSeconds"].as_u64().is_some_and(|seconds| seconds >= 60), "{entry}");
}

#[test]
fn g_049_dollars_in_atomic_units() {
    let routes = "  - { path: /a, price: \"0.01\" }\n  - { path: /b, price: \"$0.001\" }\n  - { path: /c, price: \"1.00\" }\n  - { path: /d, price: \"$5.00\" }\n";
    let world = world(routes, "");
    for (path, amount) in [("/a", "10000"), ("/b", "1000"), ("/c", "1000000"), ("/d", "5000000")] {
        assert_eq!(challenge(&get(&world.url(path), &[]))["accepts"][0]["amount"], amount, "{path}");
    }
}

#[test]
fn g_050_usdc_of_both_networks() {
    let usdc = |chain_id| AssetInfo::usdc(Network { chain_id }).unwrap().asset.address.to_string();
    assert_eq!(usdc(8453), "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913");
    assert_eq!(usdc(84532), "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
    assert_eq!(asked("/paid/ok")["accepts"][0]["asset"], "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
}

#[test]
fn g_053_the_body_says_the_price() {
    let world = World::new();
    let body = get(&world.url("/paid/ok"), &[]).json();
    assert_eq!(body["error"], "payment_required");
    assert_eq!(body["message"], "This endpoint requires payment. $0.01 per request.");
}
