//! What looks odd and is a payment all the same, and one signature in several envelopes.

use super::*;

/// How a valid header is written otherwise.
type Rewrite = fn(&str) -> String;

#[test]
fn odd_but_valid() {
    let (v2, v1) = ("payment-signature", "x-payment");
    let rows: &[(&str, Version, &str, Rewrite)] = &[
        ("v2", Version::V2, v2, str::to_owned),
        ("v1", Version::V1, v1, str::to_owned),
        ("v2 in X-PAYMENT", Version::V2, v1, str::to_owned),
        ("v1 in PAYMENT-SIGNATURE", Version::V1, v2, str::to_owned),
        ("nulls, v2", Version::V2, v2, |header| edit(header, nulls)),
        ("nulls, v1", Version::V1, v1, |header| edit(header, nulls)),
        ("unknown fields, v2", Version::V2, v2, |header| edit(header, unknown)),
        ("unknown fields, v1", Version::V1, v1, |header| edit(header, unknown)),
        ("no resource", Version::V2, v2, |header| edit(header, |json| json["resource"] = Value::Null)),
        ("v2's accepted in v1", Version::V1, v1, |header| edit(header, |json| json["accepted"] = json!({"scheme": 7}))),
        ("without padding", Version::V2, v2, |header| header.trim_end_matches('=').to_owned()),
        ("URL-safe", Version::V2, v2, |header| edit_text(header, "\u{3ff}\u{3fe}").replace('+', "-").replace('/', "_")),
        ("white space inside", Version::V2, v2, |header| edit_text(header, " \t\n\r")),
        ("the largest header", Version::V2, v2, |header| {
            let spare = 12 * 1024 - decode_header(header.as_bytes()).unwrap().to_string().len() - r#""more":"","#.len();
            let header = edit(header, |json| json["more"] = "x".repeat(spare).into());
            assert_eq!(header.len(), 16 * 1024);
            header
        }),
        ("addresses in small letters", Version::V2, v2, |header| edit(header, |json| recase(json, str::to_lowercase))),
        ("hex in capitals", Version::V2, v2, |header| {
            edit(header, |json| recase(json, |text| text.to_uppercase().replacen("0X", "0x", 1)))
        }),
        ("v of 0 or 1", Version::V2, v2, |header| {
            edit(header, |json| {
                let signature = json["payload"]["signature"].as_str().unwrap();
                let (rest, v) = signature.split_at(signature.len() - 2);
                json["payload"]["signature"] = format!("{rest}{}", if v == "1b" { "00" } else { "01" }).into();
            })
        }),
    ];
    let world = World::new();
    let url = world.url("/paid/ok");
    let mut all = Vec::new();
    for (row, version, name, rewrite) in rows {
        let offer = Payer::offer(&url);
        let fields = world.payer.fields(&offer);
        let header = rewrite(&world.payer.sign(*version, &offer, &fields));
        let (runs, paid) = (world.origin.runs("/paid/ok"), world.paid());
        let answer = get(&url, &[(name, &header)]);
        served(row, &answer);
        assert_eq!(world.origin.runs("/paid/ok"), runs + 1, "{row}");
        // On the tab they are settled together, so they are looked at together.
        if !world.on_tab() {
            assert_eq!(world.paid(), paid + PRICE, "{row}");
        }
        all.push((row, fields.nonce, answer));
    }
    for (row, nonce, answer) in all {
        let chain_tx = world.settled(&answer);
        assert!(is_used(&world, PAYER.address, nonce), "{row}");
        let claim = world.books().claims().into_iter().find(|claim| claim.nonce == nonce.to_string()).unwrap();
        assert_eq!(claim.chain_tx, Some(chain_tx), "{row}");
    }
    world.agree();
    let books = world.books();
    assert_eq!(world.chain.transfers_to(PAYEE).unwrap().len(), rows.len());
    assert_eq!((books.holds("posted"), books.unfinished(), books.unbalanced()), (rows.len(), 0, 0));
    assert_eq!(books.balance("revenue:"), i128::try_from(world.paid()).unwrap());
}

/// Served, with a receipt in either version's header.
fn served(row: &str, answer: &Answer) {
    assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{row}");
    for (name, network) in [("payment-response", "eip155:84532"), ("x-payment-response", "base-sepolia")] {
        let receipt = decode_header(answer.headers[name].as_bytes()).unwrap();
        assert_eq!((&receipt["success"], &receipt["network"]), (&json!(true), &json!(network)), "{row}");
        assert_eq!(receipt["payer"].as_str(), Some(PAYER.address), "{row}");
    }
}

/// Optional fields as Python clients send them.
fn nulls(json: &mut Value) {
    for name in ["extensions", "error", "resource", "description"] {
        json[name] = Value::Null;
    }
    json["payload"]["permit2Authorization"] = Value::Null;
    if json["accepted"].is_object() {
        json["accepted"]["outputSchema"] = Value::Null;
        json["accepted"]["extra"]["assetTransferMethod"] = Value::Null;
    }
}

/// Unknown members in every object.
fn unknown(json: &mut Value) {
    if let Value::Object(members) = json {
        members.values_mut().for_each(unknown);
        members.insert("".to_owned(), json!({"x402Version": 3, "payload": [null, 1e30, "\u{0}"]}));
        members.insert("unknown".to_owned(), json!([[[{}]]]));
    }
}

/// Text in an unknown member.
fn edit_text(header: &str, text: &str) -> String {
    let json = decode_header(header.as_bytes()).unwrap();
    let more = serde_json::to_string_pretty(&json!({"more": text.repeat(20), "payment": json})).unwrap();
    let merged: Value = serde_json::from_str(&more).unwrap();
    let mut payment = merged["payment"].clone();
    payment["more"] = merged["more"].clone();
    STANDARD.encode(format!(" \r\n\t{payment:#}\n"))
}

/// Every hexadecimal text in other letters.
fn recase(json: &mut Value, change: fn(&str) -> String) {
    match json {
        Value::String(text) if text.starts_with("0x") => *text = change(text),
        Value::Object(members) => members.values_mut().for_each(|member| recase(member, change)),
        _ => {}
    }
}

#[test]
fn one_signature_in_both_envelopes() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    let envelopes = [(Version::V2, "payment-signature"), (Version::V1, "x-payment")];
    for (first, others) in [(envelopes[0], [1, 0]), (envelopes[1], [0, 1])] {
        let fields = world.payer.fields(&offer);
        let answer = get(&url, &[(first.1, &world.payer.sign(first.0, &offer, &fields))]);
        served("first", &answer);
        let receipt = with(answer.receipt(), &world.settled(&answer));
        let before = ground(&world);
        // Then the other envelope, the same one again, and each in the other's header.
        for at in others {
            let (version, own) = envelopes[at];
            let header = world.payer.sign(version, &offer, &fields);
            for name in [own, envelopes[1 - at].1] {
                let row = format!("{first:?}, then {version:?} in {name}");
                let answer = get(&url, &[(name, &header)]);
                assert_eq!((answer.status, answer.error().as_str()), (409, "already_served"), "{row}");
                assert_eq!(answer.money(), "moved", "{row}");
                assert_eq!(answer.receipt(), receipt, "{row}");
                assert!(answer.headers.contains_key("x-payment-response"), "{row}");
                assert!(!answer.headers.contains_key("payment-required"), "{row}: he must not pay again");
                assert_eq!(ground(&world), before, "{row}");
            }
        }
        // The same signature for another request of the same price.
        let header = world.payer.sign(Version::V2, &offer, &fields);
        let answer = get(&world.url("/paid/other"), &[("payment-signature", &header)]);
        assert_eq!((answer.status, answer.error().as_str()), (409, "authorization_conflict"));
        assert_eq!(ground(&world), before);
    }
    assert_eq!((world.origin.runs("/paid/"), world.paid()), (2, 2 * PRICE));
    assert_eq!(world.chain.transfers_to(PAYEE).unwrap().len(), 2);
}

/// The receipt once it is settled: on the tab it names the chain_tx from then on, and no state.
fn with(mut receipt: Value, chain_tx: &str) -> Value {
    receipt["transaction"] = chain_tx.into();
    receipt.as_object_mut().unwrap().remove("extra");
    receipt
}

/// The money of a served payment has moved, whatever else its signature is sent for.
#[test]
fn a_conflict_says_where_the_money_is() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let (header, _) = world.payer.payment(&Payer::offer(&url));
    let answer = get(&url, &[("payment-signature", &header)]);
    served("first", &answer);
    world.settled(&answer);
    let answer = get(&world.url("/paid/other"), &[("payment-signature", &header)]);
    assert_eq!((answer.status, answer.error().as_str()), (409, "authorization_conflict"));
    assert_eq!(answer.money(), "moved");
}

/// A stranger who read a served payment's nonce on the chain learns nothing and gets nothing.
#[test]
fn a_served_nonce_under_another_signature() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    let fields = world.payer.fields(&offer);
    world.settled(&get(&url, &[("payment-signature", &world.payer.sign(Version::V2, &offer, &fields))]));
    let before = ground(&world);
    let forged = Payer::new(STRANGER).sign(Version::V2, &offer, &fields);
    let answer = get(&url, &[("payment-signature", &forged)]);
    refused("another signature", &answer, 402, "invalid_exact_evm_signature", Some("payload.signature"));
    assert_eq!(ground(&world), before);
    // Other fields, the payer's own signature: he signed one nonce twice.
    let twice = Fields { valid_after: U256::ONE, ..fields };
    let answer = get(&url, &[("payment-signature", &world.payer.sign(Version::V2, &offer, &twice))]);
    assert_eq!((answer.status, answer.error().as_str()), (409, "authorization_conflict"));
    assert_eq!(ground(&world), before);
    // Unreadable envelopes of a served payment are refused as any other.
    let (header, _) = world.payer.payment(&offer);
    let spoilt =
        encode_header(&json!({"x402Version": 2, "payload": decode_header(header.as_bytes()).unwrap()["payload"]}));
    refused("no terms", &get(&url, &[("x-payment", &spoilt)]), 400, "invalid_payload", Some("accepted"));
}
