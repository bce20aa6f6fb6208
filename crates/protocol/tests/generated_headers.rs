//! Ten thousand bent headers: nothing panics, and whatever is still accepted is exactly the payment that was signed.

use std::collections::BTreeMap;

use alloy_primitives::{B256, U256, address, hex};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::exact::{Fields, Window};
use protocol::x402::{Credential, Version, decode_header};
use protocol::{AssetInfo, Key, Network, Offer, OfferExtra, Payee, Signature, verify};
use serde_json::{Value, json};

const HEADERS: u64 = 10_000;
const WINDOW: Window = Window { now_s: 1_999_999_940, remaining_min_s: 10, skew_s: 5 };

/// SplitMix64: the same headers on every run, each from its own number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).expect("a length");
        usize::try_from(self.roll() % limit).expect("below a length")
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// The fixture of reference x402 §18: what is signed, the offer and the signature.
fn fixture() -> (Fields, Offer, Signature) {
    let fields = Fields {
        from: address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        to: address!("209693Bc6afc0C5328bA36FaF03C514EF312287C"),
        value: U256::from(10_000),
        valid_after: U256::ZERO,
        valid_before: U256::from(2_000_000_000u64),
        nonce: B256::new(hex!("f3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480")),
    };
    let token = AssetInfo::usdc(Network::BASE_SEPOLIA).expect("in the table");
    let key = Key::from_hex("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").expect("a key");
    let signature = key.sign_now(fields.digest(&token)).expect("a valid key signs");
    let offer = Offer {
        asset_info: token,
        amount_atomic: 10_000,
        payee: Payee(fields.to),
        max_timeout_s: 60,
        extra: OfferExtra::default(),
    };
    (fields, offer, signature)
}

/// The JSON pointers of every member, objects included.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let pointer = format!("{at}/{name}");
        pointers(value, &pointer, into);
        into.push(pointer);
    }
}

fn strange(dice: &mut Dice) -> Value {
    let nines = "9".repeat(dice.below(400));
    dice.pick(&[
        Value::Null,
        json!(u64::MAX),
        json!(-1),
        json!(1.5e300),
        json!(true),
        json!([[[]]]),
        json!({"scheme": "exact"}),
        json!(""),
        json!("0"),
        json!("00"),
        json!("0x"),
        json!("exact"),
        json!(nines),
        json!(U256::MAX.to_string()),
        json!("\u{202e}10000\u{0}"),
        json!("١٠٠٠٠"),
        json!("💶".repeat(50)),
    ])
}

/// Changes one member of the object.
fn bend(value: &mut Value, dice: &mut Dice) {
    let mut all = Vec::new();
    pointers(value, "", &mut all);
    // An object that was bent to nothing stays as it is.
    let Some(pointer) = (!all.is_empty()).then(|| dice.pick(&all)) else { return };
    let other = value.pointer(&dice.pick(&all)).cloned().unwrap_or_default();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let Some(parent) = value.pointer_mut(parent).and_then(Value::as_object_mut) else { return };
    let member = parent.entry(name).or_insert(Value::Null);
    match dice.below(8) {
        0 => *member = Value::Null,
        1 => *member = strange(dice),
        2 => *member = other,
        3 => {
            parent.remove(name);
        }
        4 => {
            parent.insert(format!("{name}é"), other);
        }
        5 => *member = json!([member.clone()]),
        6 => *member = json!(member.as_str().unwrap_or_default().to_ascii_uppercase().replacen("0X", "0x", 1)),
        _ => {
            // One character becomes another that is likely to have its shape.
            let mut text: Vec<char> = member.as_str().unwrap_or_default().chars().collect();
            let at = dice.below(text.len());
            let by = dice.pick(&['0', '1', '7', 'a', 'F', ' ', 'é']);
            if let Some(character) = text.get_mut(at) {
                *character = by;
            }
            *member = json!(text.into_iter().collect::<String>());
        }
    }
}

/// Changes the bytes of a text or of a header.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len());
    match dice.below(6) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, dice.roll().to_le_bytes()[0]),
        2 => {
            bytes.remove(at);
        }
        3 => bytes.extend_from_within(at..),
        4 => bytes.splice(at..at, vec![b'A'; 20_000 * dice.below(2)]).for_each(drop),
        _ => bytes[at] ^= 1 << dice.below(8),
    }
}

fn header(seed: u64, good: &[Value; 2]) -> Vec<u8> {
    let dice = &mut Dice(seed);
    let mut value = dice.pick(good);
    let (bends, damages_inside, damages_outside) = dice.pick(&[
        (0, 0, 0),
        (1, 0, 0),
        (1, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
        (4, 0, 0),
        (0, 1, 0),
        (0, 1, 0),
        (0, 0, 1),
        (1, 1, 1),
    ]);
    (0..bends).for_each(|_| bend(&mut value, dice));
    let mut text = value.to_string().into_bytes();
    (0..damages_inside).for_each(|_| damage(&mut text, dice));
    let mut header = STANDARD.encode(text).into_bytes();
    (0..damages_outside).for_each(|_| damage(&mut header, dice));
    header
}

#[test]
fn what_is_accepted_is_what_was_signed() {
    let (fields, offer, signature) = fixture();
    let good = [Version::V1, Version::V2].map(|version| {
        let printed = Credential::print(version, &offer, "https://a/b", &fields, &signature).expect("it has a name");
        decode_header(printed.as_bytes()).expect("what we print, we read")
    });
    // A second offer that the fixture does not pay, to be taken for the first by nobody.
    let dear = Offer { amount_atomic: 20_000, ..offer.clone() };
    let offers = [offer, dear];

    let mut verdicts = BTreeMap::<&str, u64>::new();
    for seed in 0..HEADERS {
        let header = header(seed, &good);
        let verdict = Credential::parse(&header).and_then(|read| verify(&read, &offers, WINDOW));
        *verdicts.entry(verdict.as_ref().map_or_else(|refusal| refusal.code(), |_| "accepted")).or_default() += 1;
        if let Ok(proven) = verdict {
            let authorization = proven.authorization();
            assert_eq!(proven.offer(), &offers[0], "header {seed}");
            assert_eq!(authorization.fields(), fields, "header {seed}");
            assert_eq!(authorization.signature, signature, "header {seed}");
            assert_eq!(authorization.amount(), offers[0].amount(), "header {seed}");
            assert_eq!(authorization.key, fields.key(offers[0].asset_info.asset), "header {seed}");
        }
    }

    // The generator is worth its time only as long as it reaches every check.
    for code in [
        "accepted",
        "payment_header_too_large",
        "invalid_base64",
        "invalid_json",
        "invalid_x402_version",
        "invalid_payload",
        "invalid_exact_evm_scheme",
        "invalid_exact_evm_network_mismatch",
        "no_matching_payment_requirements",
        "invalid_exact_evm_recipient_mismatch",
        "invalid_exact_evm_payload_authorization_value_mismatch",
        "invalid_exact_evm_payload_authorization_valid_before",
        "invalid_exact_evm_payload_authorization_valid_after",
        "invalid_exact_evm_signature",
    ] {
        assert!(verdicts.get(code).is_some_and(|count| *count >= 5), "{code}: {verdicts:?}");
    }
    assert_eq!(verdicts.values().sum::<u64>(), HEADERS);
}
