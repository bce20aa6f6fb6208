//! The wire vectors that are shared with other languages: every value and every verdict in the file holds here.

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use protocol::exact::{Fields, TRANSFER_TYPEHASH, Window, domain_separator};
use protocol::x402::{Challenge, Credential, Version, encode_header};
use protocol::{Asset, AssetAddress, AssetInfo, Key, Network, Offer, Signature, Signer, verify};
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/exact_eip3009.json")).expect("the vectors are JSON")
}

fn rows<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    let rows = vectors[name].as_array().expect("a list");
    assert!(!rows.is_empty(), "{name} is empty");
    rows
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().expect("a string")
}

fn count(object: &Value, name: &str) -> u64 {
    object[name].as_u64().expect("a count")
}

fn hash(object: &Value, name: &str) -> B256 {
    text(object, name).parse().expect("32 bytes")
}

fn address(object: &Value, name: &str) -> Address {
    text(object, name).parse().expect("an address")
}

fn token(domain: &Value) -> AssetInfo {
    let network = Network { chain_id: count(domain, "chain_id") };
    AssetInfo {
        asset: Asset { network, address: AssetAddress(address(domain, "asset")) },
        name: text(domain, "name").to_owned(),
        version: text(domain, "version").to_owned(),
        decimals: 6,
    }
}

fn fields(authorization: &Value) -> Fields {
    let number = |name| text(authorization, name).parse::<U256>().expect("a number");
    Fields {
        from: address(authorization, "from"),
        to: address(authorization, "to"),
        value: number("value"),
        valid_after: number("validAfter"),
        valid_before: number("validBefore"),
        nonce: hash(authorization, "nonce"),
    }
}

/// The offers, read as a payer reads them.
fn offers(vectors: &Value) -> Vec<Offer> {
    let challenge = json!({ "x402Version": 2, "resource": { "url": "" }, "accepts": vectors["accepts"] });
    Challenge::parse_v2(encode_header(&challenge).as_bytes()).expect("offers that can be paid").offers
}

#[test]
fn the_typehash_is_the_hash_of_its_type() {
    let vectors = vectors();
    let typehash = &vectors["typehash"];
    assert_eq!(hash(typehash, "hash"), TRANSFER_TYPEHASH);
    assert_eq!(keccak256(text(typehash, "type")), TRANSFER_TYPEHASH);
}

#[test]
fn domain_separators() {
    let vectors = vectors();
    for row in rows(&vectors, "domains") {
        let token = token(row);
        assert_eq!(AssetInfo::usdc(token.asset.network).as_ref(), Some(&token), "{row}");
        assert_eq!(domain_separator(&token), hash(row, "separator"), "{row}");
    }
}

#[test]
fn digests_and_signatures() {
    let vectors = vectors();
    let key = Key::from_hex(text(&vectors, "private_key")).expect("a key");
    for row in rows(&vectors, "signed") {
        let fields = fields(&row["authorization"]);
        let digest = fields.digest(&token(&row["domain"]));
        assert_eq!(digest, hash(row, "digest"), "{row}");
        let signature = key.sign_now(digest).expect("a valid key signs");
        assert_eq!(format!("{signature:?}"), text(row, "signature"), "{row}");
        let bytes = hex::decode(text(row, "signature")).expect("hex");
        let read = Signature::from_bytes(&bytes).expect("65 bytes");
        assert_eq!(read.recover(digest), Some(key.address()), "{row}");
    }
}

#[test]
fn verdicts() {
    let vectors = vectors();
    let offers = offers(&vectors);
    assert_eq!(offers.len(), rows(&vectors, "accepts").len());
    for row in rows(&vectors, "rows") {
        let window = Window {
            now_s: count(row, "now_s"),
            remaining_min_s: count(&vectors["window"], "remaining_min_s"),
            skew_s: count(&vectors["window"], "skew_s"),
        };
        let read = Credential::parse(text(row, "header").as_bytes());
        let verdict = read.and_then(|credential| verify(&credential, &offers, window));
        let code = verdict.as_ref().map_or_else(|refusal| refusal.code(), |_| "accepted");
        let field = verdict.as_ref().err().and_then(|refusal| refusal.field());
        let name = text(row, "name");
        assert_eq!((code, field), (text(row, "verdict"), row["field"].as_str()), "{name}");
    }
}

#[test]
fn what_we_print_is_read_as_the_vectors_are() {
    let vectors = vectors();
    let offer = &offers(&vectors)[0];
    let signed = &rows(&vectors, "signed")[0];
    let fields = fields(&signed["authorization"]);
    let bytes = hex::decode(text(signed, "signature")).expect("hex");
    let signature = Signature::from_bytes(&bytes).expect("65 bytes");
    for (version, name) in [(Version::V1, "v1"), (Version::V2, "v2")] {
        let row = rows(&vectors, "rows").iter().find(|row| row["name"] == name).expect("the plain row");
        let printed = Credential::print(version, offer, "https://api.example.com/paid", &fields, &signature);
        let printed = printed.expect("the network has a name");
        assert_eq!(Credential::parse(printed.as_bytes()), Credential::parse(text(row, "header").as_bytes()), "{name}");
    }
}
