//! What a payment costs in gas, alone and in batches, by the receipts of a chain that runs Circle's own token.
//! `docs/settlement.md` has the table; this test holds it to what is measured.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and its figures are for people")]

#[path = "kit/kit.rs"]
mod kit;

use std::collections::BTreeSet;
use std::thread;

use kit::{Gate, GateOptions, Origin, PAYEE, Payer, get, root, start_chain, until};
use protocol::{Key, Signer as _};
use serde_json::json;
use xtask::chain::{Chain, ChainOptions};
use xtask::peers;

/// Batches as large as these.
const SIZES: [usize; 4] = [1, 10, 50, 100];

/// Keys that are worth nothing: 1,000 and the numbers after it.
fn payer(number: usize) -> Payer {
    Payer { key: Key::from_hex(&format!("{:064x}", 1_000 + number)).unwrap() }
}

fn options(batch_max: usize) -> GateOptions {
    let caps = "exposure: { per_payer: 1000, per_source: 1000, per_gate: 1000 }";
    GateOptions {
        routes: "  - { path: /paid/*, price: \"0.01\", settlement: tab }\n",
        more: format!("{caps}\ntab: {{ batch_max: {batch_max}, settle_age_s: 2700 }}"),
        ..GateOptions::default()
    }
}

/// Gas for each payment when `size` payments by `payers` payers go in one chain_tx.
fn measure(chain: &Chain, size: usize, payers: usize) -> u64 {
    let origin = Origin::start();
    let gate = Gate::start(chain.rpc_url(), &origin.url(), &options(size));
    let url = format!("{}/paid/ok", gate.url());
    let offer = Payer::offer(&url);
    let before = chain.transfers_to(PAYEE).unwrap().len();
    thread::scope(|scope| {
        for lane in 0..4 {
            let (url, offer) = (&url, &offer);
            scope.spawn(move || {
                for number in (lane..size).step_by(4) {
                    let (header, _) = payer(number % payers).payment(offer);
                    assert_eq!(get(url, &[("payment-signature", &header)]).status, 200);
                }
            });
        }
    });
    let landed = || chain.transfers_to(PAYEE).unwrap().split_off(before);
    until("the batch lands", || landed().len() == size);
    let chain_txs: BTreeSet<_> = landed().into_iter().map(|transfer| transfer.chain_tx).collect();
    assert_eq!(chain_txs.len(), 1, "one chain_tx for all");
    let receipt = chain.rpc("eth_getTransactionReceipt", json!([chain_txs.first().unwrap()])).unwrap();
    let gas = u64::from_str_radix(receipt["gasUsed"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    gas / u64::try_from(size).unwrap()
}

#[test]
fn a_payment_in_a_batch_costs_less_gas() {
    let chain = start_chain(ChainOptions::default());
    chain.plant_fiat_token(&peers::fiat_token(&root()).unwrap()).unwrap();
    chain.plant_multicall().unwrap();
    for number in 0..100 {
        chain.mint(&payer(number).key.address().to_string(), 1_000_000_000).unwrap();
    }
    // The first payment ever also makes the payee's balance, which no later one does.
    measure(&chain, 1, 1);
    let rows: Vec<_> =
        SIZES.iter().map(|size| (*size, measure(&chain, *size, *size), measure(&chain, *size, 1))).collect();
    let single = rows[0].1;
    let percent = |gas: u64| gas * 100 / single;
    let docs = std::fs::read_to_string(root().join("docs/settlement.md")).unwrap();
    for (size, distinct, one) in &rows {
        println!("| {size} | {distinct} | {} % | {one} | {} % |", percent(*distinct), percent(*one));
        let line = docs.lines().find(|line| line.starts_with(&format!("| {size} |"))).expect("a line for each size");
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        for (cell, measured) in [(cells[2], *distinct), (cells[4], *one)] {
            let written: u64 = cell.replace(',', "").parse().unwrap();
            // Signatures and nonces have more or fewer zero bytes from run to run.
            assert!(
                written.abs_diff(measured) * 50 <= measured,
                "docs/settlement.md says {written}, measured {measured}"
            );
        }
    }
    let (_, distinct, one) = rows.iter().find(|(size, ..)| *size == 50).unwrap();
    assert!(percent(*distinct) <= 70, "50 payments of 50 payers cost {} % of a single one", percent(*distinct));
    assert!(percent(*one) <= 60, "50 payments of one payer cost {} % of a single one", percent(*one));
}
