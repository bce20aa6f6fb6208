//! Ten thousand headers that nobody wrote.

use super::*;

const THREADS: u64 = 4;
const EACH: u64 = 2_500;
/// Another seed gives other headers.
const SEED: u64 = 0x5eed_0001;

/// A small generator (xorshift), so that a seed gives the same headers for ever.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }
}

/// A payment that reaches the last checks: all is right but the signer, or but the balance. No mutation can make it pay.
fn almost_valid(dice: &mut Dice, offer: &Offer, payer: &Payer) -> String {
    let version = if dice.below(2) == 0 { Version::V1 } else { Version::V2 };
    let stranger = Payer { key: Key::from_hex(STRANGER.secret).unwrap() };
    match dice.below(2) {
        0 => stranger.sign(version, offer, &payer.fields(offer)),
        _ => stranger.sign(version, offer, &stranger.fields(offer)),
    }
}

/// The places of everything inside a value.
fn places(value: &Value, at: &str, list: &mut Vec<String>) {
    list.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| places(member, &format!("{at}/{name}"), list))
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| places(item, &format!("{at}/{n}"), list)),
        _ => {}
    }
}

fn odd_value(dice: &mut Dice) -> Value {
    let number = ["9".repeat(1 + dice.below(400)), format!("0x{}", "f".repeat(dice.below(80))), "-0".to_owned()];
    match dice.below(9) {
        0 => Value::Null,
        1 => json!(dice.next()),
        2 => json!(-1),
        3 => json!(f64::MAX),
        4 => json!([]),
        5 => json!({}),
        6 => json!("\u{0}\u{ffff}\u{202e}"),
        7 => json!(true),
        _ => number[dice.below(3)].clone().into(),
    }
}

/// Other members, other values, other order.
fn reshape(dice: &mut Dice, json: &mut Value) {
    let mut list = Vec::new();
    places(json, "", &mut list);
    let (one, two) = (list[dice.below(list.len())].clone(), list[dice.below(list.len())].clone());
    match dice.below(4) {
        0 => {
            let (a, b) = (json.pointer(&one).cloned(), json.pointer(&two).cloned());
            // The second place may be inside the first.
            if let (Some(a), Some(place)) = (a, json.pointer_mut(&two)) {
                *place = a;
            }
            if let (Some(b), Some(place)) = (b, json.pointer_mut(&one)) {
                *place = b;
            }
        }
        1 => *json.pointer_mut(&one).unwrap() = odd_value(dice),
        2 => {
            let (parent, name) = one.rsplit_once('/').unwrap_or(("", ""));
            if let Some(members) = json.pointer_mut(parent).and_then(Value::as_object_mut) {
                members.remove(name);
            }
        }
        _ => {
            let place = json.pointer_mut(&one).unwrap();
            *place = if dice.below(2) == 0 { json!([place.take()]) } else { json!({"payload": place.take()}) };
        }
    }
}

/// One digit of one text becomes another, so that what it says stays readable: such a header reaches the last checks.
fn misquote(dice: &mut Dice, json: &mut Value) {
    let mut list = Vec::new();
    places(json, "", &mut list);
    list.retain(|place| json.pointer(place).and_then(Value::as_str).is_some_and(|text| text.len() > 2));
    let place = &list[dice.below(list.len())];
    if let Some(Value::String(text)) = json.pointer_mut(place) {
        let at = 2 + dice.below(text.len() - 2);
        text.replace_range(at..=at, &dice.below(10).to_string());
    }
}

/// A text that no JSON printer would write.
fn respell(dice: &mut Dice, text: &str) -> Vec<u8> {
    let huge =
        ["1e400", "-1e-400", "123456789012345678901234567890", "1E+999999999", "0.0000000000000000000001", "NaN"];
    match dice.below(6) {
        // Digits become huge numbers: the quotes go with them.
        0 => text.replacen("\"10000\"", huge[dice.below(huge.len())], 1 + dice.below(2)).into_bytes(),
        1 => text
            .replacen("\"x402Version\":", &format!("\"x402Version\":{},\"x402Version\":", dice.next()), 1)
            .into_bytes(),
        2 => format!("{}{text}{}", "{\"a\":".repeat(dice.below(2_000)), "}".repeat(dice.below(2_000))).into_bytes(),
        3 => text
            .replacen("0x", ["\\u0030x", "0X", "", "0x0x", "\\ud800"][dice.below(5)], 1 + dice.below(5))
            .into_bytes(),
        4 => text.bytes().take(dice.below(text.len())).collect(),
        _ => {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            bytes
        }
    }
}

/// One header's value. Never a line's end: what follows it would be another header or another request.
fn generate(dice: &mut Dice, header: String) -> Vec<u8> {
    let encode = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
    let mut value = match dice.below(10) {
        0 => {
            let mut bytes = header.into_bytes();
            for _ in 0..=dice.below(3) {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            bytes
        }
        1 => header.as_bytes()[..dice.below(header.len())].to_vec(),
        2 => dice.bytes(300),
        3 => encode(&dice.bytes(600)),
        4 | 5 => {
            let mut json = decode_header(header.as_bytes()).unwrap();
            for _ in 0..=dice.below(3) {
                reshape(dice, &mut json);
            }
            encode_header(&json).into_bytes()
        }
        6 | 7 => {
            let mut json = decode_header(header.as_bytes()).unwrap();
            misquote(dice, &mut json);
            encode_header(&json).into_bytes()
        }
        _ => encode(&respell(dice, &decode_header(header.as_bytes()).unwrap().to_string())),
    };
    value.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
    value
}

/// Sends one thread's share over connections that are kept while the gate keeps them. Returns each answer's status.
fn send(seed: u64, url: &str, offer: &Offer, payer: &Payer) -> Vec<u16> {
    let mut dice = Dice(seed);
    let mut kept: Option<Raw> = None;
    let mut statuses = Vec::new();
    for turn in 0..EACH {
        let header = almost_valid(&mut dice, offer, payer);
        let value = generate(&mut dice, header);
        let name = ["payment-signature", "x-payment", "PAYMENT-SIGNATURE"][dice.below(3)];
        let mut request = format!("GET /paid/ok HTTP/1.1\r\nhost: localhost\r\n{name}: ").into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n\r\n");
        let mut connection = match kept.take() {
            Some(mut connection) => {
                if connection.more(&request) {
                    connection
                } else {
                    Raw::send(url, &request)
                }
            }
            None => Raw::send(url, &request),
        };
        let shown = String::from_utf8_lossy(&value);
        let answer = connection.answer().unwrap_or_else(|| panic!("no answer: seed {seed:#x}, turn {turn}: {shown}"));
        let status = answer.status;
        assert!((400..500).contains(&status), "{status}: seed {seed:#x}, turn {turn}: {shown}\n{}", answer.text());
        statuses.push(status);
        if answer.headers.get("connection").is_none_or(|word| word != "close") {
            kept = Some(connection);
        }
    }
    statuses
}

#[test]
fn ten_thousand_generated_headers() {
    let world = World::new();
    let url = world.url("/paid/ok");
    let offer = Payer::offer(&url);
    let before = ground(&world);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let (gate, offer, payer) = (world.gate.url(), &offer, &world.payer);
        let threads: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || send(SEED + (n << 32), gate, offer, payer))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.len(), 10_000);
    // Some die at the first look, some reach the signature and the chain.
    for status in [400, 402] {
        let count = statuses.iter().filter(|known| **known == status).count();
        assert!(count > 1_000, "{count} answers of {status}: the generator has lost its breadth");
    }
    assert_eq!(ground(&world), before);
    let log = world.gate.log();
    assert!(log.contains("refused") && !log.contains("panicked"), "a thread of the gate panicked");
    world.settled(&world.payer.buy(&url));
    assert_eq!((world.origin.runs("/paid/ok"), world.paid()), (1, PRICE));
}
