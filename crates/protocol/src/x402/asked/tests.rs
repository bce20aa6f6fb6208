use serde_json::json;

use super::*;
use crate::exact::tests::{KEY_0, fixture};
use crate::{Key, Payer};

/// A body of either version over the fixture of reference x402 §18.
fn body(version: Version) -> Value {
    let (token, fields) = fixture();
    let offer = Offer {
        asset_info: token.clone(),
        amount_atomic: 10_000,
        payee: Payee(fields.to),
        max_timeout_s: 60,
        extra: OfferExtra::default(),
    };
    let signature = Key::from_hex(KEY_0).unwrap().sign_now(fields.digest(&token)).unwrap();
    let payload = Credential::to_json(version, &offer, "https://a.example/x", &fields, &signature).unwrap();
    let mut requirements = json!({
        "scheme": "exact", "asset": token.asset.address.to_string(), "payTo": fields.to.to_string(),
        "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" },
    });
    let (network, amount, number) = match version {
        Version::V1 => ("base-sepolia", "maxAmountRequired", 1),
        Version::V2 => ("eip155:84532", "amount", 2),
    };
    requirements["network"] = network.into();
    requirements[amount] = "10000".into();
    if version == Version::V1 {
        requirements["resource"] = "https://a.example/x".into();
    }
    json!({ "x402Version": number, "paymentPayload": payload, "paymentRequirements": requirements })
}

fn parse(body: &Value) -> Result<Asked, Refusal> {
    Asked::parse(body.to_string().as_bytes())
}

#[test]
fn both_versions_are_read() {
    for version in [Version::V1, Version::V2] {
        let asked = parse(&body(version)).unwrap();
        let listed = Listed::read(body(version).to_string().as_bytes(), version).unwrap();
        let (token, fields) = fixture();
        assert_eq!(asked.credential.accepted.version, version);
        assert_eq!(asked.credential.fields, fields);
        assert_eq!(asked.requirements.network, token.asset.network);
        assert_eq!(asked.requirements.amount_atomic, 10_000);
        assert_eq!(listed.resource.unwrap()["url"], "https://a.example/x");
        let offer = asked.requirements.offer(&token).unwrap();
        assert_eq!((offer.payee.0, offer.max_timeout_s), (fields.to, 60));
        assert_ne!(Payee(fields.from), offer.payee, "{:?}", Payer(fields.from));
    }
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    type Spoil = fn(&mut Value);
    let rows: [(Spoil, Refusal); 17] = [
        (|b| b["paymentPayload"] = json!(null), Refusal::InvalidPayload("paymentPayload")),
        (|b| b["paymentRequirements"] = json!([]), Refusal::InvalidRequirements("paymentRequirements")),
        (|b| b["x402Version"] = json!(1), Refusal::InvalidVersion),
        (|b| b["x402Version"] = json!("2"), Refusal::InvalidVersion),
        (|b| b["paymentPayload"]["x402Version"] = json!(3), Refusal::InvalidVersion),
        (
            |b| b["paymentRequirements"]["scheme"] = json!("upto"),
            Refusal::UnsupportedScheme("paymentRequirements.scheme"),
        ),
        (
            |b| b["paymentRequirements"]["network"] = json!("base-sepolia"),
            Refusal::NetworkMismatch("paymentRequirements.network"),
        ),
        (
            |b| b["paymentRequirements"]["asset"] = json!("0x12"),
            Refusal::InvalidRequirements("paymentRequirements.asset"),
        ),
        (|b| b["paymentRequirements"]["payTo"] = json!(7), Refusal::InvalidRequirements("paymentRequirements.payTo")),
        (
            |b| b["paymentRequirements"]["amount"] = json!("-1"),
            Refusal::InvalidRequirements("paymentRequirements.amount"),
        ),
        (
            |b| b["paymentRequirements"]["amount"] = json!("1e4"),
            Refusal::InvalidRequirements("paymentRequirements.amount"),
        ),
        (
            |b| b["paymentRequirements"]["amount"] = json!(10_000),
            Refusal::InvalidRequirements("paymentRequirements.amount"),
        ),
        (
            |b| b["paymentRequirements"]["maxTimeoutSeconds"] = json!(0),
            Refusal::InvalidRequirements("paymentRequirements.maxTimeoutSeconds"),
        ),
        (
            |b| b["paymentRequirements"]["maxTimeoutSeconds"] = json!("60"),
            Refusal::InvalidRequirements("paymentRequirements.maxTimeoutSeconds"),
        ),
        (
            |b| b["paymentRequirements"]["scheme"] = json!(null),
            Refusal::InvalidRequirements("paymentRequirements.scheme"),
        ),
        (|b| b["paymentPayload"]["payload"] = json!({}), Refusal::InvalidPayload("payload.authorization")),
        (|b| b["paymentPayload"]["payload"]["signature"] = json!("0x0"), Refusal::InvalidPayload("payload.signature")),
    ];
    for (spoil, want) in rows {
        let mut body = body(Version::V2);
        spoil(&mut body);
        assert_eq!(parse(&body).unwrap_err(), want);
    }
    for text in ["", "[]", "null", "{", "7", "{}{}"] {
        assert_eq!(Asked::parse(text.as_bytes()).unwrap_err(), Refusal::InvalidJson, "{text}");
    }
    assert_eq!(Asked::parse(&[0xff, 0xfe]).unwrap_err(), Refusal::InvalidJson);
}

#[test]
fn the_domain_must_be_the_tokens() {
    let (token, _) = fixture();
    let requirements = parse(&body(Version::V2)).unwrap().requirements;
    for (name, version, want) in [
        (None, Some("2"), Refusal::MissingDomain),
        (Some("USDC"), None, Refusal::MissingDomain),
        (Some("USD Coin"), Some("2"), Refusal::TokenName),
        (Some("USDC"), Some("1"), Refusal::TokenVersion),
    ] {
        let (name, version) = (name.map(str::to_owned), version.map(str::to_owned));
        let spoilt = Requirements { name, version, ..requirements.clone() };
        assert_eq!(spoilt.offer(&token).unwrap_err(), want);
    }
}
