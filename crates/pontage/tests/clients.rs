//! Reference clients buy a call, and the money is on the chain.

#[path = "kit/kit.rs"]
mod kit;

use std::process::Command;

use protocol::x402::decode_header;
use serde_json::Value;
use xtask::peers;

use kit::{FUNDS, PAYER, PRICE, World, root};

/// Lets a client buy `/paid/ok` and checks everything that it and the chain say.
fn buys(program: &std::path::Path, script: &str, receipt: &str, network: &str) {
    let world = World::new();
    let output = Command::new(program)
        .arg(root().join("peers").join(script))
        .arg(world.url("/paid/ok?x=1"))
        .env("PAYER_KEY", PAYER.secret)
        .output()
        .expect("the client starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(answer["body"], "served");
    assert_eq!(answer["receipt"]["success"], true, "{answer}");
    let header = answer["headers"][receipt].as_str().expect("the receipt of the client's own version");
    let receipt = decode_header(header.as_bytes()).expect("a receipt");
    assert_eq!((&receipt["success"], &receipt["network"]), (&true.into(), &network.into()));
    assert_eq!(receipt["payer"].as_str().map(str::to_lowercase), Some(PAYER.address.to_lowercase()));

    let chain_tx = world.gate.settled(&receipt);
    let transfers = world.chain.transfers_to(kit::PAYEE).expect("the chain answers");
    assert_eq!(transfers.len(), 1);
    assert_eq!(chain_tx, transfers[0].chain_tx);
    assert_eq!((world.paid(), world.chain.balance(PAYER.address).expect("the chain answers")), (PRICE, FUNDS - PRICE));
    assert_eq!(world.origin.runs("/paid/ok?x=1"), 1);
    let books = world.books();
    assert_eq!((books.holds("posted"), books.unfinished(), books.unbalanced()), (1, 0, 0));
    assert_eq!(books.balance("revenue:"), 10_000);
    world.agree();
}

fn node() -> std::path::PathBuf {
    peers::npm(&root()).expect("the npm clients are installed");
    "node".into()
}

fn python() -> std::path::PathBuf {
    peers::python(&root()).expect("the Python clients are installed")
}

#[test]
fn npm_x402_fetch() {
    buys(&node(), "js/pay-fetch.mjs", "payment-response", "eip155:84532");
}

#[test]
fn npm_x402_axios() {
    buys(&node(), "js/pay-axios.mjs", "payment-response", "eip155:84532");
}

#[test]
fn npm_x402_fetch_v1() {
    buys(&node(), "js/pay-fetch-v1.mjs", "x-payment-response", "base-sepolia");
}

#[test]
fn pypi_x402_httpx() {
    buys(&python(), "python/pay_httpx.py", "payment-response", "eip155:84532");
}

#[test]
fn pypi_x402_requests() {
    buys(&python(), "python/pay_requests.py", "payment-response", "eip155:84532");
}
