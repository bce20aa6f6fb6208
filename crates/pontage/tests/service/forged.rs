//! Every forged, malformed and mis-timed payment of reference x402: the right verdict from `/verify` and from `/settle`, in both
//! versions, and nothing moves.

use alloy_primitives::{U256, hex, uint};
use protocol::exact::Fields;
use protocol::x402::Version;
use protocol::{Key, Network};
use serde_json::{Value, json};
use xtask::chain::{Chain, ChainOptions, KEYS, TestKey, USDC};

use crate::kit::{
    FUNDS, PAYEE, PAYER, PRICE, Payer, SETTLER, Service, asked, block, cancel, fresh, land, move_all, post, request,
    start_chain, wanted,
};

const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
const OTHER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const SIGNATURE: &str = "invalid_exact_evm_signature";
const VALUE: &str = "invalid_exact_evm_payload_authorization_value_mismatch";
const BEFORE: &str = "invalid_exact_evm_payload_authorization_valid_before";
const AFTER: &str = "invalid_exact_evm_payload_authorization_valid_after";
const PAYLOAD: &str = "invalid_payload";
const WANTED: &str = "invalid_payment_requirements";

/// What is changed before it is signed, and after.
type Row = (&'static str, fn(&mut Fields), fn(&mut Value), &'static str);

fn now() -> U256 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    U256::from(since.as_secs())
}

/// Spoils the signature's bytes.
fn spoil(body: &mut Value, change: impl FnOnce(&mut Vec<u8>)) {
    let signature = &mut body["paymentPayload"]["payload"]["signature"];
    let mut bytes = hex::decode(signature.as_str().unwrap()).unwrap();
    change(&mut bytes);
    *signature = hex::encode_prefixed(bytes).into();
}

/// What is signed, otherwise than it was.
fn sign_again(body: &mut Value, key: &Key, change: impl FnOnce(&mut protocol::AssetInfo, &mut Fields)) {
    let mut token = wanted().asset_info;
    let authorization = &body["paymentPayload"]["payload"]["authorization"];
    let text = |name: &str| authorization[name].as_str().unwrap().to_owned();
    let mut fields = Fields {
        from: text("from").parse().unwrap(),
        to: text("to").parse().unwrap(),
        value: text("value").parse().unwrap(),
        valid_after: text("validAfter").parse().unwrap(),
        valid_before: text("validBefore").parse().unwrap(),
        nonce: text("nonce").parse().unwrap(),
    };
    change(&mut token, &mut fields);
    let signature = key.sign_now(fields.digest(&token)).unwrap();
    body["paymentPayload"]["payload"]["signature"] = hex::encode_prefixed(signature.as_bytes()).into();
}

fn payer() -> Key {
    Key::from_hex(PAYER.secret).unwrap()
}

fn of_authorization(body: &mut Value, name: &str, value: Value) {
    body["paymentPayload"]["payload"]["authorization"][name] = value;
}

fn of_requirements(body: &mut Value, name: &str, value: Value) {
    body["paymentRequirements"][name] = value;
}

const SAME: fn(&mut Fields) = |_| {};
const AS_IS: fn(&mut Value) = |_| {};

fn rows() -> Vec<Row> {
    vec![
        ("a stranger signs", SAME, |b| sign_again(b, &Key::from_hex(KEYS[9].secret).unwrap(), |_, _| {}), SIGNATURE),
        (
            "another chain is signed",
            SAME,
            |b| sign_again(b, &payer(), |t, _| t.asset.network = Network { chain_id: 8453 }),
            SIGNATURE,
        ),
        (
            "another token is signed",
            SAME,
            |b| sign_again(b, &payer(), |t, _| t.asset.address = OTHER.parse().unwrap()),
            SIGNATURE,
        ),
        ("another name is signed", SAME, |b| sign_again(b, &payer(), |t, _| t.name = "USD Coin".to_owned()), SIGNATURE),
        ("another version is signed", SAME, |b| sign_again(b, &payer(), |t, _| t.version = "1".to_owned()), SIGNATURE),
        ("another value is signed", SAME, |b| sign_again(b, &payer(), |_, f| f.value = U256::from(1)), SIGNATURE),
        ("another payee is signed", SAME, |b| sign_again(b, &payer(), |_, f| f.to = OTHER.parse().unwrap()), SIGNATURE),
        ("another nonce is signed", SAME, |b| sign_again(b, &payer(), |_, f| f.nonce.0[0] ^= 1), SIGNATURE),
        ("another end is signed", SAME, |b| sign_again(b, &payer(), |_, f| f.valid_before += U256::from(1)), SIGNATURE),
        ("another payer is named", SAME, |b| of_authorization(b, "from", OTHER.into()), SIGNATURE),
        ("a bit of r", SAME, |b| spoil(b, |s| s[0] ^= 1), SIGNATURE),
        ("a bit of s", SAME, |b| spoil(b, |s| s[40] ^= 1), SIGNATURE),
        ("the other v", SAME, |b| spoil(b, |s| s[64] ^= 7), SIGNATURE),
        ("v of 29", SAME, |b| spoil(b, |s| s[64] = 29), SIGNATURE),
        ("nothing but zeros", SAME, |b| spoil(b, |s| s.fill(0)), SIGNATURE),
        ("a byte short", SAME, |b| spoil(b, |s| s.truncate(64)), SIGNATURE),
        ("a byte long", SAME, |b| spoil(b, |s| s.push(0)), SIGNATURE),
        (
            "the high half of s",
            SAME,
            |b| {
                spoil(b, |s| {
                    let high = ORDER - U256::from_be_slice(&s[32..64]);
                    s[32..64].copy_from_slice(&high.to_be_bytes::<32>());
                    s[64] ^= 7;
                });
            },
            SIGNATURE,
        ),
        ("another payee is paid", |f| f.to = OTHER.parse().unwrap(), AS_IS, "invalid_exact_evm_recipient_mismatch"),
        (
            "another payee is wanted",
            SAME,
            |b| of_requirements(b, "payTo", OTHER.into()),
            "invalid_exact_evm_recipient_mismatch",
        ),
        ("one unit less", |f| f.value -= U256::from(1), AS_IS, VALUE),
        ("one unit more", |f| f.value += U256::from(1), AS_IS, VALUE),
        ("nothing", |f| f.value = U256::ZERO, AS_IS, VALUE),
        ("more than there is", |f| f.value = U256::MAX, AS_IS, VALUE),
        ("over", |f| f.valid_before = now() - U256::from(1), AS_IS, BEFORE),
        ("over in five seconds", |f| f.valid_before = now() + U256::from(4), AS_IS, BEFORE),
        ("over at the start of time", |f| f.valid_before = U256::ZERO, AS_IS, BEFORE),
        ("not yet", |f| f.valid_after = now() + U256::from(30), AS_IS, AFTER),
        ("not for ever", |f| f.valid_after = U256::MAX, AS_IS, AFTER),
        (
            "another scheme is paid",
            SAME,
            |b| {
                let v2 = b["x402Version"] == 2;
                let payment = if v2 { &mut b["paymentPayload"]["accepted"] } else { &mut b["paymentPayload"] };
                payment["scheme"] = "upto".into();
            },
            "invalid_exact_evm_scheme",
        ),
        ("another scheme is wanted", SAME, |b| of_requirements(b, "scheme", "upto".into()), "invalid_exact_evm_scheme"),
        (
            "another network is paid",
            SAME,
            |b| {
                let v2 = b["x402Version"] == 2;
                let payment = if v2 { &mut b["paymentPayload"]["accepted"] } else { &mut b["paymentPayload"] };
                payment["network"] = if v2 { "eip155:8453" } else { "base" }.into();
            },
            "invalid_exact_evm_network_mismatch",
        ),
        (
            "another network is wanted",
            SAME,
            |b| {
                let name = if b["x402Version"] == 2 { "eip155:8453" } else { "base" };
                of_requirements(b, "network", name.into());
            },
            "invalid_exact_evm_network_mismatch",
        ),
        (
            "a network that nobody knows",
            SAME,
            |b| of_requirements(b, "network", "moon".into()),
            "invalid_exact_evm_network_mismatch",
        ),
        ("another token is wanted", SAME, |b| of_requirements(b, "asset", OTHER.into()), WANTED),
        ("no domain", SAME, |b| of_requirements(b, "extra", json!({})), "invalid_exact_evm_missing_eip712_domain"),
        (
            "no name",
            SAME,
            |b| b["paymentRequirements"]["extra"]["name"] = json!(null),
            "invalid_exact_evm_missing_eip712_domain",
        ),
        (
            "another name is wanted",
            SAME,
            |b| b["paymentRequirements"]["extra"]["name"] = "USD Coin".into(),
            "invalid_exact_evm_token_name_mismatch",
        ),
        (
            "another version is wanted",
            SAME,
            |b| b["paymentRequirements"]["extra"]["version"] = "1".into(),
            "invalid_exact_evm_token_version_mismatch",
        ),
        ("no payee", SAME, |b| of_requirements(b, "payTo", json!(null)), WANTED),
        (
            "half a payee",
            SAME,
            |b| of_requirements(b, "payTo", "0x209693Bc6afc0C5328bA36FaF03C514EF3122".into()),
            WANTED,
        ),
        ("no time", SAME, |b| of_requirements(b, "maxTimeoutSeconds", json!(0)), WANTED),
        ("no requirements", SAME, |b| b["paymentRequirements"] = json!("all"), WANTED),
        ("no payment", SAME, |b| b["paymentPayload"] = json!(null), PAYLOAD),
        ("no authorization", SAME, |b| b["paymentPayload"]["payload"] = json!({"signature": "0x"}), PAYLOAD),
        ("a value with a sign", SAME, |b| of_authorization(b, "value", "+10000".into()), PAYLOAD),
        ("a value in hex", SAME, |b| of_authorization(b, "value", "0x2710".into()), PAYLOAD),
        ("a value as a number", SAME, |b| of_authorization(b, "value", json!(10_000)), PAYLOAD),
        ("a value of 79 digits", SAME, |b| of_authorization(b, "value", "1".repeat(79).into()), PAYLOAD),
        ("a value with an exponent", SAME, |b| of_authorization(b, "value", "1e4".into()), PAYLOAD),
        ("a nonce that is short", SAME, |b| of_authorization(b, "nonce", "0x12".into()), PAYLOAD),
        ("a payer that is none", SAME, |b| of_authorization(b, "from", "me".into()), PAYLOAD),
        ("a signature that is no hex", SAME, |b| b["paymentPayload"]["payload"]["signature"] = "0xzz".into(), PAYLOAD),
        ("a third version", SAME, |b| b["x402Version"] = json!(3), "invalid_x402_version"),
        (
            "a version for the payment alone",
            SAME,
            |b| b["paymentPayload"]["x402Version"] = json!(7),
            "invalid_x402_version",
        ),
    ]
}

fn chain() -> Chain {
    let chain = start_chain(ChainOptions::default());
    chain.plant_token().unwrap();
    chain.mint(PAYER.address, FUNDS).unwrap();
    chain
}

/// Both answers, and that nothing has moved.
fn refused(row: &str, service: &Service, chain: &Chain, body: &Value, reason: &str) {
    let verdict = service.verify(body);
    let said = verdict.json();
    assert_eq!((verdict.status, &said["isValid"]), (200, &false.into()), "{row}: {}", verdict.text());
    assert_eq!(said["invalidReason"], reason, "{row}: {said}");
    let outcome = service.settle(body);
    let said = outcome.json();
    assert_eq!((outcome.status, &said["success"], &said["transaction"]), (200, &false.into(), &"".into()), "{row}");
    assert_eq!(said["errorReason"], reason, "{row}: {said}");
    assert!(said["errorMessage"].as_str().is_some_and(|message| message.len() > 15), "{row}: {said}");
    assert_eq!(chain.transfers_to(PAYEE).unwrap().len(), 0, "{row}");
}

#[test]
fn what_needs_no_chain_to_be_seen() {
    let chain = chain();
    let service = Service::start(chain.rpc_url());
    let payer = Payer::new(PAYER);
    for (row, before, after, reason) in rows() {
        for version in [Version::V1, Version::V2] {
            let row = format!("{row}, {version:?}");
            let mut fields = payer.fields(&wanted());
            before(&mut fields);
            let mut body = asked(&payer, version, &fields);
            after(&mut body);
            refused(&row, &service, &chain, &body, reason);
            assert!(!chain.authorization_state(PAYER.address, &fields.nonce.to_string()).unwrap(), "{row}");
        }
    }
    let books = service.books();
    assert_eq!((books.claims().len(), chain.balance(PAYER.address).unwrap()), (0, FUNDS));
    // What the payer says that he accepted is between him and his server.
    let mut body = fresh(&payer);
    body["paymentPayload"]["accepted"]["amount"] = "1".into();
    assert_eq!(service.verify(&body).json()["isValid"], true);
}

/// Prepares a payer's wallet and nonce before his payment arrives.
type Prepare = fn(&Chain, &TestKey, &Payer, &Fields);

#[test]
fn what_only_the_chain_knows() {
    fn done(chain: &Chain, sender: &TestKey, data: &str) {
        let chain_tx = chain.send_as(sender.address, USDC, data).unwrap();
        assert_eq!(chain.succeeded(&chain_tx).unwrap(), Some(true));
    }
    const EMPTY: &str = "invalid_exact_evm_insufficient_balance";
    const USED: &str = "invalid_exact_evm_nonce_already_used";
    const FAILS: &str = "invalid_exact_evm_transaction_simulation_failed";
    let rows: [(&str, u128, Prepare, &str); 7] = [
        ("empty wallet", 0, |_, _, _, _| (), EMPTY),
        ("one unit short", PRICE - 1, |_, _, _, _| (), EMPTY),
        ("landed by the payer", 5 * PRICE, |c, key, payer, f| done(c, key, &land(payer, &wanted(), f)), USED),
        ("landed by the settler", 5 * PRICE, |c, _, payer, f| done(c, SETTLER, &land(payer, &wanted(), f)), USED),
        ("cancelled", 5 * PRICE, |c, key, payer, f| done(c, key, &cancel(payer, &wanted(), f)), USED),
        ("blacklisted", 5 * PRICE, |c, key, _, _| done(c, key, &block(key.address)), FAILS),
        ("payer with code", 5 * PRICE, |c, key, _, _| c.plant(key.address, "0x00").unwrap(), FAILS),
    ];
    let chain = chain();
    let service = Service::start(chain.rpc_url());
    for ((row, funds, prepare, reason), key) in rows.iter().zip(&KEYS[3..]) {
        let payer = Payer::new(key);
        chain.mint(key.address, *funds).unwrap();
        let fields = payer.fields(&wanted());
        prepare(&chain, key, &payer, &fields);
        let (transfers, funds) = (chain.transfers_to(PAYEE).unwrap().len(), chain.balance(key.address).unwrap());
        let body = asked(&payer, Version::V2, &fields);
        let (verdict, outcome) = (service.verify(&body).json(), service.settle(&body).json());
        assert_eq!((&verdict["isValid"], &verdict["invalidReason"]), (&false.into(), &(*reason).into()), "{row}");
        assert_eq!((&outcome["success"], &outcome["errorReason"]), (&false.into(), &(*reason).into()), "{row}");
        let after = (chain.transfers_to(PAYEE).unwrap().len(), chain.balance(key.address).unwrap());
        assert_eq!(after, (transfers, funds), "{row}");
    }
    assert_eq!(service.books().claims().len(), 0);
}

/// Good when it was verified, and not any more when it is settled.
#[test]
fn what_happens_between_verify_and_settle() {
    fn done(chain: &Chain, sender: &TestKey, data: &str) {
        let chain_tx = chain.send_as(sender.address, USDC, data).unwrap();
        assert_eq!(chain.succeeded(&chain_tx).unwrap(), Some(true));
    }
    let rows: [(&str, Prepare, &str); 3] = [
        (
            "cancelled",
            |c, key, payer, f| done(c, key, &cancel(payer, &wanted(), f)),
            "invalid_exact_evm_nonce_already_used",
        ),
        // Somebody else was paid with it, as far as anybody here can tell.
        (
            "landed by a stranger",
            |c, _, payer, f| done(c, &KEYS[8], &land(payer, &wanted(), f)),
            "invalid_exact_evm_nonce_already_used",
        ),
        ("emptied", |c, key, _, _| done(c, key, &move_all(2 * PRICE)), "invalid_exact_evm_insufficient_balance"),
    ];
    let chain = chain();
    let service = Service::start(chain.rpc_url());
    for ((row, happens, reason), key) in rows.iter().zip(&KEYS[3..]) {
        let payer = Payer::new(key);
        chain.mint(key.address, 2 * PRICE).unwrap();
        let fields = payer.fields(&wanted());
        let body = asked(&payer, Version::V2, &fields);
        assert_eq!(service.verify(&body).json()["isValid"], true, "{row}");
        happens(&chain, key, &payer, &fields);
        let transfers = chain.transfers_to(PAYEE).unwrap().len();
        let outcome = service.settle(&body).json();
        assert_eq!((&outcome["success"], &outcome["errorReason"]), (&false.into(), &(*reason).into()), "{row}");
        assert_eq!(chain.transfers_to(PAYEE).unwrap().len(), transfers, "{row}");
    }
    assert_eq!(service.books().claims().len(), 0);
}

/// What is no question at all, who may not ask, and what is not here.
#[test]
fn what_is_not_answered() {
    let chain = chain();
    let payer = Payer::new(PAYER);
    let service = Service::with(
        chain.rpc_url(),
        &format!("callers: [{{ name: shop, bearer: {{ env: PONTAGE_TEST_TOKEN }}, pay_to: [\"{OTHER}\"] }}]"),
        "",
    );
    let body = fresh(&payer);
    let refused = post(service.url(), "/settle", &body);
    assert_eq!((refused.status, refused.error().as_str()), (403, "payee_not_allowed"));
    let url = format!("{}/settle", service.url());
    for headers in [&[][..], &[("authorization", "Bearer nobody-has-this-one")]] {
        let refused = request("POST", &url, headers, body.to_string().as_bytes());
        assert_eq!((refused.status, refused.error().as_str()), (401, "unauthorized"));
        assert_eq!((refused.headers["www-authenticate"].as_str(), refused.json().get("success")), ("Bearer", None));
    }
    let service = Service::start(chain.rpc_url());
    let bearer = format!("Bearer {}", crate::kit::TOKEN);
    let headers = [("authorization", bearer.as_str())];
    for (path, method, sent, status, error) in [
        ("/verify", "POST", "{", 400, ""),
        ("/settle", "POST", "[]", 400, ""),
        ("/verify", "POST", "\u{0}", 400, ""),
        ("/verify", "GET", "", 405, "method_not_allowed"),
        ("/supported", "POST", "{}", 405, "method_not_allowed"),
        ("/settled", "POST", "{}", 404, "not_found"),
        ("/verify/", "POST", "{}", 404, "not_found"),
    ] {
        let answer = request(method, &format!("{}{path}", service.url()), &headers, sent.as_bytes());
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{method} {path}: {}", answer.text());
        if status == 400 {
            let json = answer.json();
            assert!(json["isValid"] == false || json["success"] == false, "{path}: {json}");
        }
    }
    let large = format!("{{\"x402Version\": 2, \"more\": \"{}\"}}", "x".repeat(70_000));
    let answer = request("POST", &format!("{}/verify", service.url()), &headers, large.as_bytes());
    assert_eq!((answer.status, answer.error().as_str()), (413, "body_too_large"));
    assert_eq!(chain.transfers_to(PAYEE).unwrap().len(), 0);
}
