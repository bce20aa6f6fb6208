//! Headers that hold no payment at all.

use super::*;

#[test]
fn truncated_headers() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    let before = ground(&world);
    for version in [Version::V2, Version::V1] {
        let fields = world.payer.fields(&offer);
        let (header, nonce) = (world.payer.sign(version, &offer, &fields), fields.nonce);
        let whole = header.trim_end_matches('=').len();
        for length in (1..whole).step_by(17).chain(whole - 6..whole) {
            let row = format!("{length} of {whole}, {version:?}");
            let answer = get(&url, &[("payment-signature", &header[..length])]);
            // A base64 text is never one character longer than whole groups; what else it says depends on its last bits.
            match (length % 4, answer.error().as_str()) {
                (0, _) | (2 | 3, "invalid_json") => refused(&row, &answer, 400, "invalid_json", None),
                _ => refused(&row, &answer, 400, "invalid_base64", None),
            }
            assert_eq!(ground(&world), before, "{row}");
            assert!(!is_used(&world, PAYER.address, nonce), "{row}");
        }
    }
}

#[test]
fn headers_that_are_no_payment() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let (valid, nonce) = world.payer.payment(&Payer::offer(&url));
    let before = ground(&world);
    let base64 = |bytes: &str| STANDARD.encode(bytes);
    let flat = json!({
        "network": "base-sepolia", "amount": "10000", "from": "0x00", "to": "0x00", "nonce": "1", "signature": "0x00",
    });
    let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    let (largest, too_large) = ("A".repeat(16 * 1024), "A".repeat(16 * 1024 + 1));
    let (v2, v1) = ("payment-signature", "x-payment");
    for (row, headers, status, error, field) in [
        ("nothing", vec![], 402, "payment_required", None),
        ("empty", vec![(v2, "")], 402, "payment_required", None),
        ("both empty", vec![(v2, ""), (v1, "")], 402, "payment_required", None),
        ("not base64", vec![(v2, "{\"x402Version\":2}")], 400, "invalid_base64", None),
        ("not base64, v1", vec![(v1, "!")], 400, "invalid_base64", None),
        ("two in one", vec![(v2, &format!("{valid}, {valid}"))], 400, "invalid_base64", None),
        ("padding inside", vec![(v2, &format!("e30=.{valid}"))], 400, "invalid_base64", None),
        ("not JSON", vec![(v2, &base64("x402"))], 400, "invalid_json", None),
        ("not JSON, v1", vec![(v1, &base64("{\"x402Version\":1"))], 400, "invalid_json", None),
        ("not UTF-8", vec![(v2, "eyJhIjoi/yJ9")], 400, "invalid_json", None),
        ("an array", vec![(v2, &base64("[]"))], 400, "invalid_json", None),
        ("a payment in an array", vec![(v2, &base64(&format!("[{}]", text(&valid))))], 400, "invalid_json", None),
        ("a string", vec![(v2, &base64("\"x402\""))], 400, "invalid_json", None),
        ("null", vec![(v2, &base64("null"))], 400, "invalid_json", None),
        ("two objects", vec![(v2, &base64(&text(&valid).repeat(2)))], 400, "invalid_json", None),
        ("deep", vec![(v2, &base64(&deep))], 400, "invalid_json", None),
        ("largest", vec![(v2, &largest)], 400, "invalid_json", None),
        ("too large", vec![(v2, &too_large)], 431, "payment_header_too_large", None),
        ("too large, v1", vec![(v1, &too_large)], 431, "payment_header_too_large", None),
        ("both headers", vec![(v2, &valid), (v1, &valid)], 400, "several_credentials", None),
        ("twice", vec![(v2, &valid), (v2, &valid)], 400, "several_credentials", None),
        ("one and rubbish", vec![(v1, &valid), (v2, "x")], 400, "several_credentials", None),
        ("empty object", vec![(v2, &base64("{}"))], 400, "invalid_x402_version", Some("x402Version")),
        ("flat", vec![(v1, &base64(&flat.to_string()))], 400, "unsupported_payload_type", Some("x402Version")),
        ("MicroAI", vec![("x-402-signature", "0x"), ("x-402-nonce", "1")], 400, FOREIGN, Some("X-402-Signature")),
        ("MicroAI's nonce alone", vec![("x-402-nonce", "1")], 400, FOREIGN, Some("X-402-Signature")),
    ] {
        let answer = get(&url, &headers);
        refused(row, &answer, status, error, field);
        let hinted = answer.text().contains("PAYMENT-SIGNATURE (v2) or X-PAYMENT (v1)");
        assert_eq!(hinted, error == FOREIGN, "{row}: the hint says what to send instead");
        assert_eq!(ground(&world), before, "{row}");
        assert!(!is_used(&world, PAYER.address, nonce), "{row}");
    }
}

const FOREIGN: &str = "unsupported_payload_type";

fn text(header: &str) -> String {
    decode_header(header.as_bytes()).unwrap().to_string()
}

/// The listener's limit is for the whole head and comes before ours.
#[test]
fn a_head_that_is_too_large() {
    let world = World::new();
    let before = ground(&world);
    for name in ["payment-signature", "x-payment", "x-other"] {
        let answer = Raw::get(world.gate.url(), "/paid/ok", &[(name, &"A".repeat(70 * 1024))]).answer().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (431, ""), "{name}");
        assert_eq!(ground(&world), before, "{name}");
    }
    world.settled(&world.payer.buy(&world.url("/paid/ok")));
    assert_eq!((world.origin.runs(""), world.paid()), (1, PRICE));
}

const REQUIRED_V2: &[&str] = &[
    "accepted",
    "accepted.scheme",
    "accepted.network",
    "accepted.asset",
    "accepted.payTo",
    "accepted.amount",
    "accepted.maxTimeoutSeconds",
];
const REQUIRED: &[&str] = &[
    "payload",
    "payload.signature",
    "payload.authorization",
    "payload.authorization.from",
    "payload.authorization.to",
    "payload.authorization.value",
    "payload.authorization.validAfter",
    "payload.authorization.validBefore",
    "payload.authorization.nonce",
];

/// The place of a field, and its name there.
fn place<'a, 'b>(json: &'a mut Value, field: &'b str) -> (&'a mut Value, &'b str) {
    let (parent, name) = field.rsplit_once('.').unwrap_or(("", field));
    let path = parent.split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect::<String>();
    (json.pointer_mut(&path).unwrap(), name)
}

#[test]
fn required_fields_missing_null_and_of_other_types() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    let before = ground(&world);
    for (version, own) in [(Version::V2, REQUIRED_V2), (Version::V1, &["scheme", "network"])] {
        let fields = world.payer.fields(&offer);
        let (header, nonce) = (world.payer.sign(version, &offer, &fields), fields.nonce);
        for field in own.iter().chain(REQUIRED) {
            for wrong in [None, Some(Value::Null), Some(json!([])), Some(json!(1.5)), Some(json!(true))] {
                let row = format!("{version:?} {field}: {wrong:?}");
                let header = edit(&header, |json| {
                    let (parent, name) = place(json, field);
                    match wrong {
                        Some(wrong) => parent[name] = wrong,
                        None => drop(parent.as_object_mut().unwrap().remove(name)),
                    }
                });
                refused(&row, &get(&url, &[("x-payment", &header)]), 400, "invalid_payload", Some(field));
                assert_eq!(ground(&world), before, "{row}");
                assert!(!is_used(&world, PAYER.address, nonce), "{row}");
            }
        }
    }
}

#[test]
fn fields_of_the_right_type_that_say_nothing() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    let before = ground(&world);
    let (header, nonce) = world.payer.payment(&offer);
    let number = ["", "0x2710", "010000", "1e4", "10000.0", "+10000", "-10000", " 10000", "10 000", "ten", "١٠٠٠٠"];
    let (digits, long) = ("9".repeat(78), "9".repeat(5_000));
    let nonces =
        ["", "0x", "0x12", &"0".repeat(64), &format!("0x{}", "0".repeat(66)), &format!("0x{}", "g".repeat(64))];
    let (odd, signature) = (format!("0x{}", "0".repeat(129)), format!("0x{}", "0".repeat(2_049)));
    let twice = format!("0x0x{}", "0".repeat(130));
    let address = ["", "0x", "0x12", "vitalik.eth", &format!("0x{}", "0".repeat(41)), &format!("0x{}", "g".repeat(40))];
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for field in ["value", "validAfter", "validBefore"] {
        rows.extend(number.iter().chain([&digits.as_str(), &long.as_str()]).map(|wrong| (field, *wrong)));
    }
    rows.extend(nonces.iter().map(|wrong| ("nonce", *wrong)));
    rows.extend(["from", "to"].iter().flat_map(|field| address.iter().map(|wrong| (*field, *wrong))));
    let mut rows: Vec<_> =
        rows.into_iter().map(|(name, wrong)| (format!("payload.authorization.{name}"), wrong)).collect();
    rows.extend(["", "00", "0xzz", &odd, &signature, &twice].map(|wrong| ("payload.signature".to_owned(), wrong)));
    rows.extend(["", "1.0", "-1", "0x1", &long].map(|wrong| ("accepted.amount".to_owned(), wrong)));
    rows.extend(["", "0x12"].map(|wrong| ("accepted.asset".to_owned(), wrong)));
    for (field, wrong) in rows {
        let header = edit(&header, |json| {
            let (parent, name) = place(json, &field);
            parent[name] = wrong.into();
        });
        let row = format!("{field}: {wrong}");
        refused(&row, &get(&url, &[("payment-signature", &header)]), 400, "invalid_payload", Some(&field));
        assert_eq!(ground(&world), before, "{row}");
        assert!(!is_used(&world, PAYER.address, nonce), "{row}");
    }
    for version in [json!(0), json!(3), json!("2"), json!(2.0), json!(null), json!([2]), json!(-1), json!(1e300)] {
        let header = edit(&header, |json| json["x402Version"] = version.clone());
        let answer = get(&url, &[("payment-signature", &header)]);
        refused(&version.to_string(), &answer, 400, "invalid_x402_version", Some("x402Version"));
        assert_eq!(ground(&world), before, "{version}");
        assert!(!is_used(&world, PAYER.address, nonce), "{version}");
    }
    // v2 names the network elsewhere.
    let mixed = encode_header(&json!({"x402Version": 1, "scheme": "exact", "accepted": {}, "payload": {}}));
    refused("mixed", &get(&url, &[("x-payment", &mixed)]), 400, "invalid_payload", Some("network"));
}
