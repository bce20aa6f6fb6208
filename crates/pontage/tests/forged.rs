//! Forged payments: each is refused with its reason, the upstream is not reached, nothing moves and no hold is left.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "forged/generated.rs"]
mod generated;
#[path = "kit/kit.rs"]
mod kit;
#[path = "forged/odd.rs"]
mod odd;
#[path = "forged/on_chain.rs"]
mod on_chain;
#[path = "forged/shapes.rs"]
mod shapes;

use std::thread;

use alloy_primitives::{Address, B256, U256, hex, uint};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::exact::Fields;
use protocol::x402::{Challenge, Credential, Version, decode_header, encode_header};
use protocol::{AssetInfo, Key, Network, Offer};
use serde_json::{Value, json};
use xtask::chain::{KEYS, TestKey, USDC};

use kit::{Answer, PAYEE, PAYER, PRICE, Payer, Raw, SETTLER, World, block, cancel, get, land};

/// Has no USDC and is nobody here.
const STRANGER: &TestKey = &KEYS[9];
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// What no refusal may change.
#[derive(Debug, PartialEq, Eq)]
struct Ground {
    runs: usize,
    paid: u128,
    funds: u128,
    transfers: usize,
    holds: usize,
}

fn ground(world: &World) -> Ground {
    let books = world.books();
    Ground {
        runs: world.origin.runs(""),
        paid: world.paid(),
        funds: world.chain.balance(PAYER.address).unwrap(),
        transfers: world.chain.transfers_to(PAYEE).unwrap().len(),
        holds: books.claims().len(),
    }
}

fn is_used(world: &World, payer: &str, nonce: B256) -> bool {
    world.chain.authorization_state(payer, &nonce.to_string()).unwrap()
}

/// Checks everything that an answer says when the payment does not count.
fn refused(row: &str, answer: &Answer, status: u16, error: &str, field: Option<&str>) {
    let json = answer.json();
    assert_eq!((answer.status, answer.error().as_str()), (status, error), "{row}: {}", answer.text());
    assert_eq!(json["field"].as_str(), field, "{row}");
    assert_eq!(answer.money(), "untouched", "{row}");
    assert!(json["message"].as_str().is_some_and(|message| message.len() > 20), "{row}: {json}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{row}");
    assert_eq!(answer.headers["cache-control"], "no-store", "{row}");
    assert!(!answer.headers.contains_key("payment-response"), "{row}: there is no receipt, nothing was tried");
    if status == 402 {
        challenged(row, answer, error);
    }
}

/// Checks that a 402 can be paid by clients of both versions.
fn challenged(row: &str, answer: &Answer, error: &str) {
    let header = answer.headers["payment-required"].as_bytes();
    let challenge = Challenge::parse_v2(header).unwrap();
    assert_eq!(challenge.error, error, "{row}");
    assert_eq!(challenge.offers.len(), 1, "{row}");
    let offer = &challenge.offers[0];
    assert_eq!((offer.amount_atomic, offer.payee.to_string().as_str()), (PRICE, PAYEE), "{row}");
    assert_eq!(decode_header(header).unwrap()["x402Version"], 2, "{row}");
    let v1 = answer.json();
    assert_eq!(v1["x402Version"], 1, "{row}");
    let accepts = &v1["accepts"][0];
    assert_eq!((accepts["network"].as_str(), accepts["asset"].as_str()), (Some("base-sepolia"), Some(USDC)), "{row}");
    let price = (accepts["maxAmountRequired"].as_str(), accepts["payTo"].as_str());
    assert_eq!(price, (Some("10000"), Some(PAYEE)), "{row}");
}

/// A header whose JSON was changed.
fn edit(header: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut json = decode_header(header.as_bytes()).unwrap();
    change(&mut json);
    encode_header(&json)
}

/// A payment that can be spoilt before it is signed.
struct Forgery {
    version: Version,
    /// What it says was accepted.
    offer: Offer,
    /// What is signed over.
    asset_info: AssetInfo,
    fields: Fields,
    key: Key,
    /// Spoils the signature.
    spoil: fn(&mut Vec<u8>),
    /// Spoils the rest after it was signed.
    change: fn(&mut Value),
}

impl Forgery {
    fn new(world: &World, version: Version, offer: &Offer) -> Self {
        let (offer, fields) = (offer.clone(), world.payer.fields(offer));
        let token = offer.asset_info.clone();
        Self { version, offer, asset_info: token, fields, key: world.payer.key.clone(), spoil: |_| (), change: |_| () }
    }

    fn header(&self) -> String {
        let signature = self.key.sign_now(self.fields.digest(&self.asset_info)).unwrap();
        let header = Credential::print(self.version, &self.offer, "http://localhost/", &self.fields, &signature);
        let mut bytes = signature.as_bytes().to_vec();
        (self.spoil)(&mut bytes);
        edit(&header.unwrap(), |json| {
            json["payload"]["signature"] = hex::encode_prefixed(bytes).into();
            (self.change)(json);
        })
    }
}

/// Error and field.
type Want = (&'static str, &'static str);
/// What is forged, how, and what v2 and v1 say. v1 repeats no offer, so some forgeries do not exist there.
type Row = (&'static str, fn(&mut Forgery), Want, Option<Want>);

const SIGNATURE: Want = ("invalid_exact_evm_signature", "payload.signature");
const TO: Want = ("invalid_exact_evm_recipient_mismatch", "payload.authorization.to");
const VALUE: Want = ("invalid_exact_evm_payload_authorization_value_mismatch", "payload.authorization.value");
const BEFORE: Want = ("invalid_exact_evm_payload_authorization_valid_before", "payload.authorization.validBefore");
const AFTER: Want = ("invalid_exact_evm_payload_authorization_valid_after", "payload.authorization.validAfter");
const SCHEME: &str = "invalid_exact_evm_scheme";
const NETWORK: &str = "invalid_exact_evm_network_mismatch";
const OFFER: &str = "no_matching_payment_requirements";

/// Asks `/paid/ok` with every row in both versions.
fn run(rows: &[Row]) {
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    let before = ground(&world);
    for (row, forge, v2, v1) in rows {
        for (version, header, want) in
            [(Version::V2, "payment-signature", Some(v2)), (Version::V1, "x-payment", v1.as_ref())]
        {
            let Some((error, field)) = want else { continue };
            let row = format!("{row} {version:?}");
            let mut forgery = Forgery::new(&world, version, &offer);
            forge(&mut forgery);
            let answer = get(&url, &[(header, &forgery.header())]);
            refused(&row, &answer, 402, error, Some(field));
            assert!(!is_used(&world, &forgery.fields.from.to_string(), forgery.fields.nonce), "{row}");
            assert_eq!(ground(&world), before, "{row}");
        }
    }
}

fn same(want: Want) -> (Want, Option<Want>) {
    (want, Some(want))
}

fn row(name: &'static str, forge: fn(&mut Forgery), (v2, v1): (Want, Option<Want>)) -> Row {
    (name, forge, v2, v1)
}

fn stranger() -> Key {
    Key::from_hex(STRANGER.secret).unwrap()
}

fn now() -> U256 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    U256::from(since.as_secs())
}

#[test]
fn other_terms_than_offered() {
    let elsewhere = |f: &mut Forgery| f.offer.asset_info = AssetInfo::usdc(Network { chain_id: 8453 }).unwrap();
    let other = |f: &mut Forgery| f.asset_info.asset.address = PAYEE.parse().unwrap();
    run(&[
        row(
            "scheme",
            |f| f.change = |json| set_scheme(json, "upto"),
            ((SCHEME, "accepted.scheme"), Some((SCHEME, "scheme"))),
        ),
        row("network accepted", elsewhere, ((NETWORK, "accepted.network"), Some((NETWORK, "network")))),
        row("network signed", |f| f.asset_info.asset.network.chain_id = 8453, same(SIGNATURE)),
        row(
            "network accepted and signed",
            |f| {
                f.offer.asset_info = AssetInfo::usdc(Network { chain_id: 8453 }).unwrap();
                f.asset_info = f.offer.asset_info.clone();
            },
            ((NETWORK, "accepted.network"), Some((NETWORK, "network"))),
        ),
        row(
            "token accepted",
            |f| f.offer.asset_info.asset.address = PAYEE.parse().unwrap(),
            ((OFFER, "accepted.asset"), None),
        ),
        row("token signed", other, same(SIGNATURE)),
        row(
            "token accepted and signed",
            |f| {
                f.offer.asset_info.asset.address = PAYEE.parse().unwrap();
                f.asset_info = f.offer.asset_info.clone();
            },
            ((OFFER, "accepted.asset"), Some(SIGNATURE)),
        ),
        row("payee accepted", |f| f.offer.payee = STRANGER.address.parse().unwrap(), ((OFFER, "accepted.payTo"), None)),
        row("payee signed", |f| f.fields.to = STRANGER.address.parse().unwrap(), same(TO)),
        row(
            "payee accepted and signed",
            |f| {
                f.offer.payee = STRANGER.address.parse().unwrap();
                f.fields.to = f.offer.payee.0;
            },
            ((OFFER, "accepted.payTo"), Some(TO)),
        ),
        row("amount accepted, one under", |f| f.offer.amount_atomic -= 1, ((OFFER, "accepted.amount"), None)),
        row("amount accepted, one over", |f| f.offer.amount_atomic += 1, ((OFFER, "accepted.amount"), None)),
        row("amount signed, one under", |f| f.fields.value = U256::from(PRICE - 1), same(VALUE)),
        row("amount signed, one over", |f| f.fields.value = U256::from(PRICE + 1), same(VALUE)),
        row("amount signed, nothing", |f| f.fields.value = U256::ZERO, same(VALUE)),
        // Its low 128 bits are the price.
        row("amount signed, wrapped", |f| f.fields.value = U256::from(PRICE) + (U256::ONE << 128), same(VALUE)),
        row("amount signed, most", |f| f.fields.value = U256::MAX, same(VALUE)),
        row("timeout accepted", |f| f.offer.max_timeout_s += 1, ((OFFER, "accepted.maxTimeoutSeconds"), None)),
        row("name accepted", |f| f.offer.asset_info.name = "USD Coin".into(), ((OFFER, "accepted.extra.name"), None)),
        row("name signed", |f| f.asset_info.name = "USD Coin".into(), same(SIGNATURE)),
        row("version accepted", |f| f.offer.asset_info.version = "1".into(), ((OFFER, "accepted.extra.version"), None)),
        row("version signed", |f| f.asset_info.version = "1".into(), same(SIGNATURE)),
        row(
            "no domain accepted",
            |f| f.change = |json| json["accepted"]["extra"] = Value::Null,
            ((OFFER, "accepted.extra.name"), None),
        ),
    ]);
}

fn set_scheme(json: &mut Value, scheme: &str) {
    let place = if json["accepted"].is_object() { &mut json["accepted"] } else { json };
    place["scheme"] = scheme.into();
}

#[test]
fn times() {
    run(&[
        row("expired", |f| f.fields.valid_before = now() - U256::ONE, same(BEFORE)),
        row("expired long ago", |f| f.fields.valid_before = U256::ZERO, same(BEFORE)),
        // 5 s for the upstream and 15 s for the settlement must be left.
        row("too little left", |f| f.fields.valid_before = now() + U256::from(18), same(BEFORE)),
        row("too long", |f| f.fields.valid_before = now() + U256::from(f.offer.max_timeout_s + 35), same(BEFORE)),
        row("for ever", |f| f.fields.valid_before = U256::MAX, same(BEFORE)),
        row("wrapped end", |f| f.fields.valid_before += U256::ONE << 64, same(BEFORE)),
        row("not yet", |f| f.fields.valid_after = now() + U256::from(30), same(AFTER)),
        row("never", |f| f.fields.valid_after = U256::MAX, same(AFTER)),
        row("wrapped start", |f| f.fields.valid_after = U256::ONE << 64, same(AFTER)),
    ]);
}

#[test]
fn signatures() {
    run(&[
        row("of a stranger", |f| f.key = stranger(), same(SIGNATURE)),
        row("for a stranger", |f| f.fields.from = STRANGER.address.parse().unwrap(), same(SIGNATURE)),
        row("other nonce than signed", |f| f.change = |json| set_signed(json, "nonce", B256::ZERO), same(SIGNATURE)),
        row("other start than signed", |f| f.change = |json| set_signed(json, "validAfter", 1), same(SIGNATURE)),
        row("high s", |f| f.spoil = high_s, same(SIGNATURE)),
        row("high s, v kept", |f| f.spoil = |bytes| mirror(bytes), same(SIGNATURE)),
        row("other v", |f| f.spoil = |bytes| bytes[64] = 55 - bytes[64], same(SIGNATURE)),
        row("v of 29", |f| f.spoil = |bytes| bytes[64] += 2, same(SIGNATURE)),
        row("v of EIP-155", |f| f.spoil = |bytes| bytes[64] = 37, same(SIGNATURE)),
        row("64 bytes", |f| f.spoil = |bytes| bytes.truncate(64), same(SIGNATURE)),
        row("66 bytes", |f| f.spoil = |bytes| bytes.push(0), same(SIGNATURE)),
        row("1,024 bytes", |f| f.spoil = |bytes| bytes.resize(1_024, 0), same(SIGNATURE)),
        row("empty", |f| f.spoil = Vec::clear, same(SIGNATURE)),
        row("zeros", |f| f.spoil = |bytes| bytes[..64].fill(0), same(SIGNATURE)),
        row("r of zero", |f| f.spoil = |bytes| bytes[..32].fill(0), same(SIGNATURE)),
        row("s of zero", |f| f.spoil = |bytes| bytes[32..64].fill(0), same(SIGNATURE)),
        row("r above the order", |f| f.spoil = |bytes| bytes[..32].fill(0xff), same(SIGNATURE)),
        // A contract that recovers with `ecrecover` alone gives the zero address for it.
        row(
            "zeros for the zero address",
            |f| {
                f.fields.from = Address::ZERO;
                f.spoil = |bytes| bytes[..64].fill(0);
            },
            same(SIGNATURE),
        ),
        // Precedence: the first in the documented order is reported.
        row(
            "everything wrong",
            |f| {
                f.fields.to = STRANGER.address.parse().unwrap();
                f.fields.value = U256::ZERO;
                f.fields.valid_before = U256::ZERO;
                f.spoil = high_s;
            },
            same(TO),
        ),
        row(
            "expired and of a stranger",
            |f| {
                f.fields.valid_before = U256::ZERO;
                f.key = stranger();
            },
            same(BEFORE),
        ),
    ]);
}

fn set_signed(json: &mut Value, name: &str, value: impl ToString) {
    json["payload"]["authorization"][name] = value.to_string().into();
}

/// The other signature of the same key over the same digest, which tokens refuse.
#[allow(clippy::ptr_arg, reason = "it stands among others that shorten the signature")]
fn high_s(bytes: &mut Vec<u8>) {
    mirror(bytes);
    bytes[64] = 55 - bytes[64];
}

fn mirror(bytes: &mut [u8]) {
    let s = U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
}
