//! The payer of `cargo xtask bench`: signs payments ahead of a window, and measures what one signature recovery costs.
#![allow(clippy::unwrap_used, reason = "a tool of the measurements may panic")]
#![expect(clippy::print_stdout, reason = "a tool of the measurements talks to a terminal")]

use std::io::{BufWriter, Write as _};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256, keccak256};
use protocol::exact::Fields;
use protocol::x402::{Challenge, Credential, Version};
use protocol::{Key, Offer, Signer as _};

const USAGE: &str = "bench_signer payers COUNT | sign CHALLENGE_HEADER COUNT PAYERS FILE | bodies CHALLENGE_HEADER COUNT PAYERS FILE | refused CHALLENGE_HEADER FILE | recovery COUNT";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["payers", count] => (0..number(count)).for_each(|at| println!("{}", payer(at).address())),
        ["sign", challenge, count, payers, file] => {
            let (url, offer) = offer(challenge);
            let keys: Vec<Key> = (0..number(payers)).map(payer).collect();
            let lines = (0..number(count)).map(|at| {
                let key = &keys[usize::try_from(at).unwrap() % keys.len()];
                sign(key, &url, &offer, fresh(key, &offer, at))
            });
            write(file, lines);
        }
        ["bodies", challenge, count, payers, file] => {
            let (url, offer) = offer(challenge);
            let keys: Vec<Key> = (0..number(payers)).map(payer).collect();
            let lines = (0..number(count)).map(|at| {
                let key = &keys[usize::try_from(at).unwrap() % keys.len()];
                body(key, &url, &offer, fresh(key, &offer, at))
            });
            write(file, lines);
        }
        ["refused", challenge, file] => {
            let (url, offer) = offer(challenge);
            let key = payer(0);
            let good = fresh(&key, &offer, 0);
            let expired = Fields { valid_before: U256::from(1_700_000_000), ..good };
            let wrong_payee = Fields { to: Address::repeat_byte(0x11), ..good };
            let malformed = sign(&key, &url, &offer, good)[..400].to_owned();
            let lines = [sign(&key, &url, &offer, expired), sign(&key, &url, &offer, wrong_payee), malformed];
            write(file, lines.into_iter());
        }
        ["recovery", count] => println!("{}", recovery_ns(number(count))),
        _ => panic!("{USAGE}"),
    }
}

/// A payer with a number for a key. It is worth nothing anywhere.
fn payer(number: u64) -> Key {
    Key::from_hex(&format!("0x{:064x}", 0x00be_0000 + number)).unwrap()
}

fn offer(challenge: &str) -> (String, Offer) {
    let challenge = Challenge::parse_v2(challenge.as_bytes()).unwrap();
    (challenge.resource.url, challenge.offers.into_iter().next().unwrap())
}

/// A payment that nobody has made before.
fn fresh(key: &Key, offer: &Offer, number: u64) -> Fields {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Fields {
        from: key.address(),
        to: offer.payee.0,
        value: U256::from(offer.amount_atomic),
        valid_after: U256::ZERO,
        valid_before: U256::from(now.as_secs() + offer.max_timeout_s),
        nonce: keccak256(format!("{} {} {number}", std::process::id(), now.as_nanos())),
    }
}

fn sign(key: &Key, url: &str, offer: &Offer, fields: Fields) -> String {
    let signature = key.sign_now(fields.digest(&offer.asset_info)).unwrap();
    Credential::print(Version::V2, offer, url, &fields, &signature).unwrap()
}

/// What a resource server asks a facilitator.
fn body(key: &Key, url: &str, offer: &Offer, fields: Fields) -> String {
    let signature = key.sign_now(fields.digest(&offer.asset_info)).unwrap();
    let payload = Credential::to_json(Version::V2, offer, url, &fields, &signature).unwrap();
    let requirements = payload["accepted"].clone();
    serde_json::json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements }).to_string()
}

fn write(file: &str, lines: impl Iterator<Item = String>) {
    let mut out = BufWriter::new(std::fs::File::create(file).unwrap());
    lines.for_each(|line| writeln!(out, "{line}").unwrap());
    out.flush().unwrap();
}

/// The mean time of one recovery of a signer, in nanoseconds.
fn recovery_ns(count: u64) -> u128 {
    let key = payer(0);
    let signed: Vec<_> = (0..64_u64)
        .map(|at| {
            let digest = B256::from(U256::from(at));
            (digest, key.sign_now(digest).unwrap())
        })
        .collect();
    let begun = Instant::now();
    for at in 0..count {
        let (digest, signature) = &signed[usize::try_from(at).unwrap() % signed.len()];
        assert_eq!(signature.recover(*digest), Some(key.address()));
    }
    begun.elapsed().as_nanos() / u128::from(count)
}
