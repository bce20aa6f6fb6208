//! The extensions as the reference packages write and read them.

use alloy_primitives::hex;
use protocol::x402::ext::{
    Claim, Info, OfferClaim, PaymentId, ReceiptClaim, SignInNonce, SignInOffer, SignInSecret, SignInTerms, Signed,
    offers_extension, receipt_extension, verify_sign_in,
};
use protocol::x402::{Credential, Version, decode_header, encode_header};
use protocol::{Key, Network, Offer, OfferExtra, Refusal, Signature, Signer};
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/extensions.json")).expect("the vectors are JSON")
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().expect("a string")
}

fn key(vectors: &Value) -> Key {
    Key::from_hex(text(vectors, "private_key")).expect("a key")
}

/// The schema without the order of its lists.
fn sorted(mut schema: Value) -> Value {
    if let Some(list) = schema["required"].as_array_mut() {
        list.sort_by_key(Value::to_string);
    }
    schema
}

#[test]
fn sign_ins_of_the_reference_client() {
    let vectors = vectors();
    let sign_in = &vectors["sign_in"];
    let now_s = vectors["now_s"].as_u64().expect("seconds");
    let secret = SignInSecret::new(hex::decode_to_array(text(sign_in, "secret")).expect("32 bytes"));
    let terms = SignInTerms {
        domain: text(sign_in, "domain"),
        origin: text(sign_in, "origin"),
        chains: &[Network::BASE_SEPOLIA, Network { chain_id: 8453 }],
        secret: &secret,
        age_max_s: 300,
        skew_s: 0,
    };
    for row in sign_in["rows"].as_array().expect("rows") {
        let header = text(row, "header");
        let signed_in = verify_sign_in(header.as_bytes(), &terms, now_s);
        let signed_in = signed_in.unwrap_or_else(|refusal| panic!("{}: {refusal:?}", row["name"]));
        assert_eq!(signed_in.address.to_string(), text(&vectors, "address"), "{}", row["name"]);
        assert_eq!(signed_in.nonce, SignInNonce { issued_at_s: now_s, random: [1, 2, 3, 4, 5, 6, 7, 8] });
    }
}

#[test]
fn our_sign_in_is_the_reference_clients() {
    let vectors = vectors();
    let sign_in = &vectors["sign_in"];
    let row = &sign_in["rows"][0];
    let theirs = decode_header(text(row, "header").as_bytes()).expect("a header");
    let offer = SignInOffer {
        domain: text(sign_in, "domain").to_owned(),
        uri: text(&theirs, "uri").to_owned(),
        statement: None,
        nonce: text(&theirs, "nonce").to_owned(),
        issued_at_s: vectors["now_s"].as_u64().expect("seconds"),
        expires_at_s: None,
        resources: vec![text(&theirs, "uri").to_owned()],
        chains: vec![Network::BASE_SEPOLIA],
    };
    let key = key(&vectors);
    let message = offer.message(key.address(), Network::BASE_SEPOLIA);
    assert_eq!(message.text(), text(row, "text"));
    let signature = key.sign_now(message.digest()).expect("a valid key signs");
    assert_eq!(decode_header(message.to_header(&signature).as_bytes()).expect("ours"), theirs);

    let printed = offer.to_json();
    assert_eq!(sorted(printed["schema"].clone()), sorted(sign_in["schema"].clone()));
    assert_eq!(printed["supportedChains"], json!([{"chainId": "eip155:84532", "type": "eip191"}]));
    let info = printed["info"].as_object().expect("an object");
    for (name, value) in info {
        assert_eq!(&theirs[name], value, "{name}");
    }
    assert_eq!(info.len(), 6);
}

#[test]
fn offers_and_receipts_of_the_reference_server() {
    let vectors = vectors();
    let theirs = &vectors["offer_receipt"];
    let key = key(&vectors);
    let read: Vec<Signed<OfferClaim>> = theirs["offers"]["info"]["offers"]
        .as_array()
        .expect("offers")
        .iter()
        .map(|offer| Signed::parse(offer).expect("a signed offer"))
        .collect();
    for offer in &read {
        assert_eq!(offer.signer(), Some(key.address()));
        assert_eq!(offer.signature, key.sign_now(offer.claim.digest()).expect("a valid key signs"));
    }
    assert_eq!(&offers_extension(&read), &theirs["offers"]);
    for name in ["receipt", "receipt_with_transaction"] {
        let receipt: Signed<ReceiptClaim> = Signed::parse(&theirs[name]["info"]["receipt"]).expect("a signed receipt");
        assert_eq!(receipt.signer(), Some(key.address()), "{name}");
        assert_eq!(&receipt_extension(&receipt.to_json()), &theirs[name], "{name}");
    }
}

/// A payment header of the fixture with these extensions.
fn payment(extensions: &Value) -> String {
    let vectors: Value =
        serde_json::from_str(include_str!("vectors/exact_eip3009.json")).expect("the vectors are JSON");
    let row = vectors["rows"].as_array().expect("rows").iter().find(|row| row["name"] == "v2").expect("the plain row");
    let mut value = decode_header(text(row, "header").as_bytes()).expect("a header");
    value["extensions"] = extensions.clone();
    encode_header(&value)
}

#[test]
fn payment_identifiers() {
    let vectors = vectors();
    let theirs = &vectors["payment_identifier"];
    assert_eq!(PaymentId::extension(true), theirs["required"]);
    assert_eq!(PaymentId::extension(false), theirs["optional"]);
    let read = |extensions: &Value| Credential::parse(payment(extensions).as_bytes()).map(|read| read.payment_id);
    let id = theirs["answered"]["payment-identifier"]["info"]["id"].as_str().expect("an id");
    assert_eq!(read(&theirs["answered"]), Ok(PaymentId::parse(id)));
    assert_eq!(read(&json!({ "payment-identifier": theirs["required"] })), Ok(None));
    let odd = json!({ "payment-identifier": { "info": { "required": true, "id": "short" } } });
    assert_eq!(read(&odd), Err(Refusal::InvalidPayload("extensions.payment-identifier.info.id")));
}

/// What an offer says beside its terms is repeated by the payer.
#[test]
fn a_payer_repeats_the_whole_extra() {
    let vectors: Value =
        serde_json::from_str(include_str!("vectors/exact_eip3009.json")).expect("the vectors are JSON");
    let row = vectors["rows"].as_array().expect("rows").iter().find(|row| row["name"] == "v2").expect("the plain row");
    let credential = Credential::parse(text(row, "header").as_bytes()).expect("a payment");
    let terms = credential.accepted.terms.clone().expect("v2 repeats the terms");
    let extra = OfferExtra::default().with_settlement("tab").with_facilitator("https://f.example").with_upfront();
    let offer = Offer {
        asset_info: protocol::AssetInfo::usdc(Network::BASE_SEPOLIA).expect("a known token"),
        amount_atomic: terms.amount_atomic,
        payee: terms.pay_to,
        max_timeout_s: terms.max_timeout_s,
        extra: extra.clone(),
    };
    let signature = Signature::from_bytes(&credential.signature).expect("65 bytes");
    let header = Credential::print(Version::V2, &offer, "http://a", &credential.fields, &signature).expect("a name");
    let again = Credential::parse(header.as_bytes()).expect("what we print, we read");
    assert_eq!(again.accepted.terms.expect("terms").extra, extra);
}

/// Ours, as the reference's catalogue took them.
#[test]
fn bazaar_entries() {
    let vectors = vectors();
    for row in vectors["bazaar"].as_array().expect("rows") {
        let info = Info::check(row["info"].clone()).expect("an info without a mistake");
        assert_eq!(info.extension(row["route_template"].as_str()), row["extension"]);
    }
}

/// What others write into an offer comes back as it was, numbers with it.
#[test]
fn numbers_of_others_are_repeated_exactly() {
    for number in
        ["0.1", "1.7976931348623157e308", "2.2250738585072014e-308", "123456789.98765432", "9007199254740993.5"]
    {
        let value: Value = serde_json::from_str(number).expect("a number");
        let again: Value = serde_json::from_str(&value.to_string()).expect("a number");
        assert_eq!(value, again, "{number}");
        assert_eq!(value.as_f64(), number.parse().ok(), "{number}");
    }
}
