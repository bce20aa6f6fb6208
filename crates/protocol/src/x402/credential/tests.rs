use alloy_primitives::address;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::exact::tests::{KEY_0, fixture};
use crate::x402::{HEADER_MAX_BYTES, decode_header};
use crate::{Asset, AssetInfo, Key};

fn offer() -> Offer {
    let (token, fields) = fixture();
    Offer {
        asset_info: token,
        amount_atomic: 10_000,
        payee: Payee(fields.to),
        max_timeout_s: 60,
        extra: OfferExtra::default(),
    }
}

fn header(version: Version) -> String {
    let (token, fields) = fixture();
    let signature = Key::from_hex(KEY_0).unwrap().sign_now(fields.digest(&token)).unwrap();
    Credential::print(version, &offer(), "http://a/paid", &fields, &signature).unwrap()
}

fn good(version: Version) -> Value {
    decode_header(header(version).as_bytes()).unwrap()
}

fn parse(value: &Value) -> Result<Credential, Refusal> {
    Credential::parse(encode_header(value).as_bytes())
}

fn parse_text(text: impl AsRef<[u8]>) -> Result<Credential, Refusal> {
    Credential::parse(STANDARD.encode(text).as_bytes())
}

/// Sets the member at a dotted path, or takes it away.
fn set(value: &mut Value, path: &str, to: Option<Value>) {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let pointer = parent.split('.').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect::<String>();
    let parent = value.pointer_mut(&pointer).and_then(Value::as_object_mut).unwrap();
    match to {
        Some(to) => parent.insert(name.to_owned(), to),
        None => parent.remove(name),
    };
}

fn parse_with(version: Version, path: &str, to: Option<Value>) -> Result<Credential, Refusal> {
    let mut value = good(version);
    set(&mut value, path, to);
    parse(&value)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Object,
    Text,
    Count,
}

/// Every required member but `x402Version`, in the order in which a fault of several is named.
const V2_REQUIRED: &[(&str, Kind)] = &[
    ("accepted", Kind::Object),
    ("accepted.scheme", Kind::Text),
    ("accepted.network", Kind::Text),
    ("accepted.asset", Kind::Text),
    ("accepted.payTo", Kind::Text),
    ("accepted.amount", Kind::Text),
    ("accepted.maxTimeoutSeconds", Kind::Count),
    ("payload", Kind::Object),
    ("payload.authorization", Kind::Object),
    ("payload.signature", Kind::Text),
    ("payload.authorization.from", Kind::Text),
    ("payload.authorization.to", Kind::Text),
    ("payload.authorization.value", Kind::Text),
    ("payload.authorization.validAfter", Kind::Text),
    ("payload.authorization.validBefore", Kind::Text),
    ("payload.authorization.nonce", Kind::Text),
];

fn v1_required() -> Vec<(&'static str, Kind)> {
    let shared = V2_REQUIRED.iter().filter(|(path, _)| path.starts_with("payload"));
    [("scheme", Kind::Text), ("network", Kind::Text)].into_iter().chain(shared.copied()).collect()
}

fn required() -> impl Iterator<Item = (Version, &'static str, Kind)> {
    let v1 = v1_required().into_iter().map(|(path, kind)| (Version::V1, path, kind));
    v1.chain(V2_REQUIRED.iter().map(|(path, kind)| (Version::V2, *path, *kind)))
}

#[test]
fn the_fixture_in_both_versions() {
    let (_, fields) = fixture();
    let v1 = Credential::parse(header(Version::V1).as_bytes()).unwrap();
    let v2 = Credential::parse(header(Version::V2).as_bytes()).unwrap();
    assert_eq!((v1.fields, v2.fields), (fields, fields));
    assert_eq!((v1.signature.len(), &v1.signature), (65, &v2.signature));
    assert_eq!((v1.accepted.version, v2.accepted.version), (Version::V1, Version::V2));
    assert_eq!((v1.accepted.network, v2.accepted.network), (Some(Network::BASE_SEPOLIA), Some(Network::BASE_SEPOLIA)));
    assert_eq!(v1.accepted.terms, None);
    let terms = Terms {
        asset: offer().asset_info.asset.address,
        pay_to: offer().payee,
        amount_atomic: 10_000,
        max_timeout_s: 60,
        name: Some("USDC".to_owned()),
        version: Some("2".to_owned()),
        extra: OfferExtra::default(),
    };
    assert_eq!(v2.accepted.terms, Some(terms));
}

#[test]
fn required_members_are_there_and_of_their_type() {
    for (version, path, kind) in required() {
        let mut wrong = vec![None, Some(Value::Null), Some(json!(true)), Some(json!([])), Some(json!([path]))];
        wrong.extend(match kind {
            Kind::Object => vec![Some(json!("x")), Some(json!(7)), Some(json!({}))],
            Kind::Text => vec![Some(json!({})), Some(json!(7)), Some(json!(10_000)), Some(json!(0.5))],
            Kind::Count => {
                let counts = [json!("60"), json!(-1), json!(60.5), json!(60.0), json!(1e30), json!({})];
                counts.into_iter().map(Some).collect()
            }
        });
        for to in wrong {
            // An empty object lacks its first member, which is then the one at fault.
            let want = match (path, to == Some(json!({}))) {
                ("accepted", true) => "accepted.scheme",
                ("payload", true) => "payload.authorization",
                ("payload.authorization", true) => "payload.authorization.from",
                _ => path,
            };
            let got = parse_with(version, path, to.clone());
            assert_eq!(got, Err(Refusal::InvalidPayload(want)), "{version:?} {path} {to:?}");
        }
    }
}

#[test]
fn the_first_missing_member_is_named() {
    for version in [Version::V1, Version::V2] {
        let whole = good(version);
        let mut value = json!({ "x402Version": whole["x402Version"] });
        for (_, path, kind) in required().filter(|(of, ..)| *of == version) {
            assert_eq!(parse(&value), Err(Refusal::InvalidPayload(path)), "{version:?}");
            let pointer = format!("/{}", path.replace('.', "/"));
            let to = if kind == Kind::Object { json!({}) } else { whole.pointer(&pointer).unwrap().clone() };
            set(&mut value, path, Some(to));
        }
        assert!(parse(&value).is_ok(), "{version:?}");
    }
}

#[test]
fn optional_members_may_be_null_absent_or_anything() {
    let named = Credential::parse(header(Version::V2).as_bytes()).unwrap();
    let without = |name: bool, version: bool| {
        let mut credential = named.clone();
        let terms = credential.accepted.terms.as_mut().unwrap();
        terms.name = terms.name.take().filter(|_| name);
        terms.version = terms.version.take().filter(|_| version);
        credential
    };
    for (path, want) in [
        ("resource", named.clone()),
        ("extensions", named.clone()),
        ("accepted.extra", without(false, false)),
        ("accepted.extra.name", without(false, true)),
        ("accepted.extra.version", without(true, false)),
    ] {
        for to in [None, Some(Value::Null), Some(json!(7)), Some(json!([])), Some(json!({})), Some(json!(false))] {
            assert_eq!(parse_with(Version::V2, path, to.clone()), Ok(want.clone()), "{path} {to:?}");
        }
    }
}

#[test]
fn unknown_members_are_ignored_at_every_level() {
    let noise = json!({"x402Version": 9, "payload": [null, {"from": 1}], "é\u{0}": "\u{1F4B6}"});
    for (version, levels) in [
        (Version::V1, &["", "payload.", "payload.authorization."][..]),
        (Version::V2, &["", "accepted.", "resource.", "payload.", "payload.authorization."]),
    ] {
        let want = parse(&good(version));
        for level in levels {
            for name in ["unknown", "Value", "__proto__", ""] {
                let got = parse_with(version, &format!("{level}{name}"), Some(noise.clone()));
                assert_eq!(got, want, "{version:?} {level}{name}");
            }
        }
    }
    // The other version's members are unknown ones, too.
    let v2 = good(Version::V2);
    assert_eq!(parse_with(Version::V1, "accepted", Some(v2["accepted"].clone())), parse(&good(Version::V1)));
    assert_eq!(parse_with(Version::V2, "network", Some(json!("base"))), parse(&v2));
}

/// The JSON text with every object's members in the other order and space between them.
fn backwards(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().rev().map(|(name, value)| format!("{} :\t{}", json!(name), backwards(value))).collect();
            format!("{{\r\n {} }}", members.join(" ,\n"))
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[test]
fn member_order_and_spaces_are_free_and_the_last_of_two_counts() {
    for version in [Version::V1, Version::V2] {
        let value = good(version);
        assert_eq!(parse_text(backwards(&value)), parse(&value), "{version:?}");
        assert_eq!(
            parse_text(value.to_string().replacen('{', r#"{"x402Version":7,"#, 1)),
            parse(&value),
            "{version:?}"
        );
    }
}

#[test]
fn numbers() {
    let (uint256_max, beyond) =
        (U256::MAX.to_string(), "115792089237316195423570985008687907853269984665640564039457584007913129639936");
    let nines = |count: usize| "9".repeat(count);
    let rows = [
        ("0", true),
        ("1", true),
        ("10000", true),
        ("340282366920938463463374607431768211455", true),
        (uint256_max.as_str(), true),
        (beyond, false),
        (&nines(77), true),
        (&nines(78), false),
        (&nines(79), false),
        (&"1".repeat(79), false),
        (&"0".repeat(79), false),
        ("", false),
        ("+1", false),
        ("-1", false),
        ("-0", false),
        (" 1", false),
        ("1 ", false),
        ("1\n", false),
        ("0x10", false),
        ("ff", false),
        ("1e4", false),
        ("1.0", false),
        ("1.", false),
        ("1_000", false),
        ("1,000", false),
        ("00", false),
        ("01", false),
        ("010000", false),
        ("1\u{0}", false),
        ("١", false),
        ("１", false),
        ("NaN", false),
    ];
    for (text, want) in rows {
        for name in ["value", "validAfter", "validBefore"] {
            let path = format!("payload.authorization.{name}");
            let got = parse_with(Version::V1, &path, Some(json!(text)));
            let got = got.map(|credential| match name {
                "value" => credential.fields.value.to_string(),
                "validAfter" => credential.fields.valid_after.to_string(),
                _ => credential.fields.valid_before.to_string(),
            });
            let got = got.map_err(|refusal| refusal.field().unwrap().to_owned());
            assert_eq!(got, if want { Ok(text.to_owned()) } else { Err(path) }, "{text:?}");
        }
        // The price has 128 bits.
        let got = parse_with(Version::V2, "accepted.amount", Some(json!(text)));
        let got = got.map(|credential| credential.accepted.terms.unwrap().amount_atomic.to_string());
        let want = want && text.len() <= 39;
        let refusal = Refusal::InvalidPayload("accepted.amount");
        assert_eq!(got, if want { Ok(text.to_owned()) } else { Err(refusal) }, "{text:?}");
    }
}

#[test]
fn hex_members() {
    let nonce = "f3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480";
    let from = "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let rows = [
        ("nonce", format!("0x{nonce}"), true),
        ("nonce", format!("0x{}", nonce.to_uppercase()), true),
        ("nonce", format!("0X{nonce}"), false),
        ("nonce", nonce.to_owned(), false),
        ("nonce", format!("0x{}", &nonce[1..]), false),
        ("nonce", format!("0x{}", &nonce[2..]), false),
        ("nonce", format!("0x{nonce}0"), false),
        ("nonce", format!("0x{nonce}00"), false),
        ("nonce", format!("0x{}zz", &nonce[2..]), false),
        ("nonce", format!("0x0x{}", &nonce[2..]), false),
        ("nonce", format!("0x0x{nonce}"), false),
        ("nonce", format!(" 0x{nonce}"), false),
        ("nonce", "0x".to_owned(), false),
        ("nonce", String::new(), false),
        ("from", format!("0x{from}"), true),
        ("from", format!("0x{}", from.to_uppercase()), true),
        ("from", format!("0x{}", from.to_lowercase()), true),
        ("from", format!("0x{}f", &from[1..]), true),
        ("from", format!("0X{from}"), false),
        ("from", from.to_owned(), false),
        ("from", format!("0x{}", &from[2..]), false),
        ("from", format!("0x{from}00"), false),
        ("from", format!("0x0x{}", &from[2..]), false),
        ("from", format!("0x0x{from}"), false),
        ("from", format!("0x{}gg", &from[2..]), false),
        ("from", "vitalik.eth".to_owned(), false),
        ("to", "0x".to_owned(), false),
    ];
    for (name, text, want) in rows {
        for version in [Version::V1, Version::V2] {
            let path = format!("payload.authorization.{name}");
            let got = parse_with(version, &path, Some(json!(text))).map(|_| ()).map_err(Refusal::field);
            assert_eq!(got, if want { Ok(()) } else { Err(Some(path.as_str())) }, "{text}");
        }
    }
    for path in ["accepted.asset", "accepted.payTo"] {
        for text in [
            "",
            "0x",
            "USD",
            "merchant",
            "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
            "0x036CbD53842c5426634e7929541eC2318f3dCF7",
        ] {
            let got = parse_with(Version::V2, path, Some(json!(text))).map_err(Refusal::field);
            assert_eq!(got, Err(Some(path)), "{text}");
        }
    }
}

#[test]
fn signature_bytes() {
    let bytes = |count: usize| format!("0x{}", "1b".repeat(count));
    for (text, want) in [
        (bytes(65), Some(65)),
        (bytes(64), Some(64)),
        (bytes(66), Some(66)),
        (bytes(0), Some(0)),
        (bytes(1_024), Some(1_024)),
        (bytes(1_025), None),
        (bytes(65).to_uppercase().replace('X', "x"), Some(65)),
        (bytes(65).replace('x', "X"), None),
        (format!("{}1", bytes(65)), None),
        (bytes(65).replacen("1b", "1g", 1), None),
        (bytes(65)[2..].to_owned(), None),
        (format!("0x{}", bytes(65)), None),
        (format!("0x0X{}", &bytes(65)[2..]), None),
        (format!(" {}", bytes(65)), None),
        (String::new(), None),
    ] {
        let got = parse_with(Version::V2, "payload.signature", Some(json!(text))).map(|read| read.signature.len());
        assert_eq!(got, want.ok_or(Refusal::InvalidPayload("payload.signature")), "{text}");
    }
}

#[test]
fn schemes_and_networks_that_are_not_ours_are_named_before_the_payload_is_read() {
    for (version, path, text, want) in [
        (Version::V1, "network", "base", Ok(8453)),
        (Version::V1, "network", "eip155:8453", Err(Refusal::NetworkMismatch("network"))),
        (Version::V1, "network", "atlantis", Err(Refusal::NetworkMismatch("network"))),
        (Version::V1, "network", "", Err(Refusal::NetworkMismatch("network"))),
        (Version::V1, "scheme", "upto", Err(Refusal::UnsupportedScheme("scheme"))),
        (Version::V2, "accepted.network", "eip155:8453", Ok(8453)),
        (Version::V2, "accepted.network", "base", Err(Refusal::NetworkMismatch("accepted.network"))),
        (Version::V2, "accepted.network", "eip155:08453", Err(Refusal::NetworkMismatch("accepted.network"))),
        (
            Version::V2,
            "accepted.network",
            "eip155:18446744073709551616",
            Err(Refusal::NetworkMismatch("accepted.network")),
        ),
        (Version::V2, "accepted.scheme", "upto", Err(Refusal::UnsupportedScheme("accepted.scheme"))),
    ] {
        let got = parse_with(version, path, Some(json!(text))).map(|credential| credential.accepted.network);
        assert_eq!(got, want.map(|chain_id| Some(Network { chain_id })), "{text}");
    }
    // A payment on a chain of another kind: its asset, payee and payload have other shapes.
    let solana = json!({
        "x402Version": 2,
        "accepted": { "scheme": "exact", "network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "asset": "EPj", "payTo": "9xQ" },
        "payload": { "transaction": "AQ==" },
    });
    assert_eq!(parse(&solana), Err(Refusal::NetworkMismatch("accepted.network")));
}

#[test]
fn versions_are_read_from_the_object() {
    for (to, want) in [
        (json!(1), Ok(Version::V1)),
        (json!(2), Ok(Version::V2)),
        (json!(0), Err(Refusal::InvalidVersion)),
        (json!(3), Err(Refusal::InvalidVersion)),
        (json!(-1), Err(Refusal::InvalidVersion)),
        (json!(u64::MAX), Err(Refusal::InvalidVersion)),
        (json!(2.0), Err(Refusal::InvalidVersion)),
        (json!("2"), Err(Refusal::InvalidVersion)),
        (json!(true), Err(Refusal::InvalidVersion)),
        (json!([2]), Err(Refusal::InvalidVersion)),
        (Value::Null, Err(Refusal::InvalidVersion)),
    ] {
        // One object with both versions' members: the number alone decides.
        let mut value = good(Version::V2);
        for name in ["scheme", "network"] {
            value[name] = good(Version::V1)[name].clone();
        }
        value["x402Version"] = to;
        assert_eq!(parse(&value).map(|credential| credential.accepted.version), want, "{value}");
    }
    assert_eq!(parse_with(Version::V2, "x402Version", None), Err(Refusal::InvalidVersion));
    assert_eq!(parse(&json!({})), Err(Refusal::InvalidVersion));
}

#[test]
fn the_flat_object_of_the_edge_gateway_is_foreign() {
    const FOREIGN: Refusal = Refusal::ForeignFormat("x402Version");
    assert_eq!(FOREIGN.code(), "unsupported_payload_type");
    for (value, want) in [
        (json!({"amount": "10000"}), FOREIGN),
        (json!({"amount": 0.01, "currency": "USDC", "from": "0x1", "signature": "0x2"}), FOREIGN),
        (json!({"amount": "10000", "x402Version": null, "payload": null}), FOREIGN),
        (json!({"amount": "10000", "payload": {}}), Refusal::InvalidVersion),
        (json!({"amount": null}), Refusal::InvalidVersion),
        (json!({"amount": "10000", "x402Version": 1}), Refusal::InvalidPayload("scheme")),
        (json!({"amount": "10000", "x402Version": 2}), Refusal::InvalidPayload("accepted")),
    ] {
        assert_eq!(parse(&value), Err(want), "{value}");
    }
    // Also sent as it is, without base64.
    assert_eq!(Credential::parse(br#"{"amount":"10000","from":"0x1"}"#), Err(FOREIGN));
}

#[test]
fn alphabets_and_padding() {
    // Chosen so that both alphabets' own characters appear, with one and with two bytes over.
    for noise in ["~~~???", "~~~???>", "~~~???>>", "~~~???>>>"] {
        let mut value = good(Version::V2);
        value["~"] = json!(noise);
        let text = value.to_string();
        let standard = STANDARD.encode(&text);
        assert!(standard.contains('/') && URL_SAFE.encode(&text).contains('_'), "{standard}");
        let engines = [STANDARD_NO_PAD.encode(&text), URL_SAFE.encode(&text), URL_SAFE_NO_PAD.encode(&text)];
        for header in engines.iter().chain([&standard]) {
            assert!(Credential::parse(header.as_bytes()).is_ok(), "{header}");
        }
        let mixed = format!("{standard}-_");
        assert_eq!(Credential::parse(mixed.as_bytes()), Err(Refusal::InvalidBase64), "{mixed}");
    }
    for (header, want) in [
        // `{}` in base64 is `e30=`; it is read, and lacks its version.
        ("e30=", Refusal::InvalidVersion),
        ("e30", Refusal::InvalidVersion),
        ("e31=", Refusal::InvalidBase64),
        ("e30==", Refusal::InvalidBase64),
        ("e3=0", Refusal::InvalidBase64),
        ("=e30", Refusal::InvalidBase64),
        (" e30=", Refusal::InvalidBase64),
        ("e30= ", Refusal::InvalidBase64),
        ("e3\r\n0=", Refusal::InvalidBase64),
        ("e30=e30=", Refusal::InvalidBase64),
        ("e30, e30", Refusal::InvalidBase64),
        ("e", Refusal::InvalidBase64),
        ("%", Refusal::InvalidBase64),
        ("\u{0}", Refusal::InvalidBase64),
        ("é", Refusal::InvalidBase64),
        ("{}", Refusal::InvalidBase64),
        (r#"{"x402Version":1}"#, Refusal::InvalidBase64),
        ("", Refusal::InvalidJson),
    ] {
        assert_eq!(Credential::parse(header.as_bytes()), Err(want), "{header:?}");
    }
}

#[test]
fn what_is_not_one_json_object() {
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let rows: Vec<(Vec<u8>, Refusal)> = vec![
        (b"[]".into(), Refusal::InvalidJson),
        (format!("[{}]", good(Version::V2)).into(), Refusal::InvalidJson),
        (b"null".into(), Refusal::InvalidJson),
        (b"7".into(), Refusal::InvalidJson),
        (b"\"{}\"".into(), Refusal::InvalidJson),
        (b" ".into(), Refusal::InvalidJson),
        (b"{}{}".into(), Refusal::InvalidJson),
        (b"{} x".into(), Refusal::InvalidJson),
        (b"{\"a\":1,}".into(), Refusal::InvalidJson),
        (b"{'a':1}".into(), Refusal::InvalidJson),
        (b"{\"a\":NaN}".into(), Refusal::InvalidJson),
        (b"{\"a\":01}".into(), Refusal::InvalidJson),
        (b"{\"a\":\"\\ud800\"}".into(), Refusal::InvalidJson),
        (b"{\"a\":\"\x01\"}".into(), Refusal::InvalidJson),
        (b"{\"caf\xE9\":1}".into(), Refusal::InvalidJson),
        (b"{\"a\":\"\xE9\"}".into(), Refusal::InvalidJson),
        (b"\xEF\xBB\xBF{}".into(), Refusal::InvalidJson),
        (b"{\0}\0".into(), Refusal::InvalidJson),
        ("{\"é\":\"€\"}".into(), Refusal::InvalidVersion),
        (b"\n{\t}\r ".into(), Refusal::InvalidVersion),
        (nested(100).into(), Refusal::InvalidVersion),
        (nested(200).into(), Refusal::InvalidJson),
        (nested(6_000).into(), Refusal::InvalidJson),
        ("[".repeat(12_000).into(), Refusal::InvalidJson),
        ("{\"a\":".repeat(2_400).into(), Refusal::InvalidJson),
    ];
    for (text, want) in rows {
        assert_eq!(parse_text(&text), Err(want), "{}", String::from_utf8_lossy(&text[..text.len().min(80)]));
    }
}

#[test]
fn the_size_limit_is_looked_at_first() {
    let padded = |json_bytes: usize| {
        let text = good(Version::V2).to_string();
        let spaces = " ".repeat(json_bytes - text.len());
        STANDARD_NO_PAD.encode(text + &spaces)
    };
    let (full, over) = (padded(12_288), padded(12_289));
    assert_eq!((full.len(), over.len()), (HEADER_MAX_BYTES, HEADER_MAX_BYTES + 2));
    assert_eq!(Credential::parse(full.as_bytes()), parse(&good(Version::V2)));
    for (bytes, want) in [
        (over.into_bytes(), Refusal::HeaderTooLarge),
        (vec![b'%'; HEADER_MAX_BYTES + 1], Refusal::HeaderTooLarge),
        (vec![b'%'; HEADER_MAX_BYTES], Refusal::InvalidBase64),
        (vec![b'A'; HEADER_MAX_BYTES], Refusal::InvalidJson),
        (vec![b'A'; 1 << 20], Refusal::HeaderTooLarge),
    ] {
        assert_eq!(Credential::parse(&bytes), Err(want), "{}", bytes.len());
    }
}

#[test]
fn v1_has_no_header_for_a_network_without_a_name() {
    let (token, fields) = fixture();
    let signature = Key::from_hex(KEY_0).unwrap().sign_now(fields.digest(&token)).unwrap();
    let mut offer = offer();
    offer.asset_info.asset.network.chain_id = 31337;
    assert_eq!(Credential::print(Version::V1, &offer, "", &fields, &signature), None);
    assert!(Credential::print(Version::V2, &offer, "", &fields, &signature).is_some());
}

proptest! {
    #[test]
    fn printed_credentials_read_back(
        words in any::<[[u8; 32]; 4]>(),
        roles in any::<[[u8; 20]; 4]>(),
        chain_id in prop_oneof![Just(8453u64), Just(84532), 1u64..],
        (amount_atomic, max_timeout_s) in any::<(u128, u64)>(),
        (name, version) in (any::<String>(), any::<String>()),
        url in any::<String>(),
    ) {
        let [from, to, payee, asset] = roles.map(Address::from);
        let [value, valid_after, valid_before] = [0, 1, 2].map(|at| U256::from_be_bytes(words[at]));
        let fields = Fields { from, to, value, valid_after, valid_before, nonce: B256::from(words[3]) };
        let token = AssetInfo {
            asset: Asset { network: Network { chain_id }, address: AssetAddress(asset) }, name, version, decimals: 6,
        };
        let offer = Offer { asset_info: token, amount_atomic, payee: Payee(payee), max_timeout_s, ..offer() };
        let signature = Key::from_hex(KEY_0).unwrap().sign_now(fields.digest(&offer.asset_info)).unwrap();
        for version in [Version::V1, Version::V2] {
            let Some(header) = Credential::print(version, &offer, &url, &fields, &signature) else {
                prop_assert!(version == Version::V1 && offer.network().v1_name().is_none());
                continue;
            };
            let read = Credential::parse(header.as_bytes()).unwrap();
            let terms = Terms {
                asset: offer.asset_info.asset.address, pay_to: offer.payee, amount_atomic, max_timeout_s,
                name: Some(offer.asset_info.name.clone()), version: Some(offer.asset_info.version.clone()), extra: OfferExtra::default(),
            };
            prop_assert_eq!(read.fields, fields);
            prop_assert_eq!(read.signature, signature.as_bytes().to_vec());
            prop_assert_eq!(read.accepted.version, version);
            prop_assert_eq!(read.accepted.scheme, "exact");
            prop_assert_eq!(read.accepted.network, Some(offer.network()));
            prop_assert_eq!(read.accepted.terms, (version == Version::V2).then_some(terms));
        }
    }
}

#[test]
fn the_roles_of_the_fixture_are_not_mixed_up() {
    let credential = Credential::parse(header(Version::V2).as_bytes()).unwrap();
    let terms = credential.accepted.terms.unwrap();
    for (name, got, want) in [
        ("from", credential.fields.from, address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")),
        ("to", credential.fields.to, address!("209693Bc6afc0C5328bA36FaF03C514EF312287C")),
        ("payTo", terms.pay_to.0, address!("209693Bc6afc0C5328bA36FaF03C514EF312287C")),
        ("asset", terms.asset.0, address!("036CbD53842c5426634e7929541eC2318f3dCF7e")),
    ] {
        assert_eq!(got, want, "{name}");
    }
}
