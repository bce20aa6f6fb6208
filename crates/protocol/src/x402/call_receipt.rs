//! The receipt of a call: who paid what for it, and digests of what was asked and answered, signed by the gate.
//!
//! What is signed is keccak256 of the member `receipt` in the canonical form of RFC 8785 (JCS). docs/receipts.md says it for
//! programs in other languages.

use std::fmt::{self, Write as _};

use alloy_primitives::{B256, hex, keccak256};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::ext::time;
use super::json::get;
use crate::{Authorization, Key, PublicKey, SignFault, Signature};

/// Beneath this path of the gate, receipts can be fetched by their names.
pub const RECEIPTS: &str = "/__pay/receipts/";

/// The largest number that every reader of JSON holds exactly.
const WHOLE_MAX: u64 = 9_007_199_254_740_991;

/// Where a member is, whether it is always there, and of which kind it is.
type Member = (&'static str, bool, fn(&Value) -> bool);

/// The members of a receipt.
const SHAPE: [Member; 20] = [
    ("/id", true, Value::is_string),
    ("/version", true, |version| version == "1.0"),
    ("/timestamp", true, Value::is_string),
    ("/payment/id", true, Value::is_string),
    ("/payment/payer", true, Value::is_string),
    ("/payment/recipient", true, Value::is_string),
    ("/payment/amount", true, is_amount),
    ("/payment/token", true, Value::is_string),
    ("/payment/chainId", true, Value::is_u64),
    ("/payment/nonce", true, Value::is_string),
    ("/service/method", true, Value::is_string),
    ("/service/endpoint", true, Value::is_string),
    ("/service/url_hash", true, Value::is_string),
    ("/service/request_hash", false, Value::is_string),
    ("/service/response_hash", false, Value::is_string),
    ("/service/complete", true, Value::is_boolean),
    ("/settlement/state", true, Value::is_string),
    ("/settlement/as_of", true, Value::is_string),
    ("/settlement/transaction", false, Value::is_string),
    ("/settlement/block", false, Value::is_u64),
];

/// The name of a receipt: the last 48 bits of its payment's name, all random. Two payments may share them: whoever looks one up by
/// it must not be given another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptName(pub [u8; 6]);

impl ReceiptName {
    /// The name of a payment's receipt.
    #[must_use]
    pub fn of(payment: [u8; 16]) -> Self {
        let [.., a, b, c, d, e, f] = payment;
        Self([a, b, c, d, e, f])
    }

    /// Reads `rcpt_` and 12 digits, in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = Self(hex::decode_to_array(text.strip_prefix("rcpt_").filter(|digits| digits.len() == 12)?).ok()?);
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for ReceiptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rcpt_{}", hex::encode(self.0))
    }
}

/// Where the money is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettlementNote {
    /// In the words of a payment's state.
    pub state: &'static str,
    /// The chain_tx, where one is known.
    pub chain_tx: Option<B256>,
    /// Its block, where that is known.
    pub block: Option<u64>,
    /// When this was so, in seconds.
    pub as_of_s: u64,
}

/// What a receipt says.
#[derive(Clone, Copy, Debug)]
pub struct CallReceipt<'a> {
    /// The payment's name.
    pub payment: [u8; 16],
    /// What was signed by the payer.
    pub authorization: &'a Authorization,
    /// Where its money is.
    pub settlement: SettlementNote,
    /// When the answer began, in seconds.
    pub served_at_s: u64,
    /// The method of the call.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// Digest of the method, a zero byte and the whole URL.
    pub url_hash: B256,
    /// Digest of the request's body, where it was read to its end.
    pub request_hash: Option<B256>,
    /// Digest of the answer's body, where it was given out to its end.
    pub response_hash: Option<B256>,
}

impl CallReceipt<'_> {
    /// The member `receipt`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (key, note) = (&self.authorization.key, &self.settlement);
        let mut service = json!({
            "method": self.method,
            "endpoint": self.path,
            "url_hash": print_sha256(self.url_hash),
            "complete": self.response_hash.is_some(),
        });
        put(&mut service, "request_hash", self.request_hash.map(print_sha256));
        put(&mut service, "response_hash", self.response_hash.map(print_sha256));
        let mut settlement = json!({ "state": note.state, "as_of": time::print(note.as_of_s) });
        put(&mut settlement, "transaction", note.chain_tx.map(|hash| hash.to_string()));
        put(&mut settlement, "block", note.block);
        json!({
            "id": ReceiptName::of(self.payment).to_string(),
            "version": "1.0",
            "timestamp": time::print(self.served_at_s),
            "payment": {
                "id": hex::encode(self.payment),
                "payer": key.payer.to_string(),
                "recipient": self.authorization.payee.to_string(),
                "amount": self.authorization.amount_atomic.to_string(),
                "token": key.asset.address.to_string(),
                "chainId": key.asset.network.chain_id,
                "nonce": key.nonce.to_string(),
            },
            "service": service,
            "settlement": settlement,
        })
    }
}

/// A receipt with the gate's signature.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedReceipt {
    /// What is said.
    pub receipt: Value,
    /// Over its digest.
    pub signature: Signature,
    /// Whose signature it claims to be.
    pub public_key: PublicKey,
}

impl SignedReceipt {
    /// Signs a receipt.
    ///
    /// # Errors
    /// [`SignFault`] for what has no canonical form, and if the library refuses, which a valid key never sees.
    pub fn sign(receipt: Value, key: &Key) -> Result<Self, SignFault> {
        let signature = key.sign_now(digest(&receipt).ok_or(SignFault)?)?;
        Ok(Self { receipt, signature, public_key: key.public() })
    }

    /// Whether the signature is that of the key over exactly this receipt.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        digest(&self.receipt).and_then(|digest| self.signature.recover_key(digest)) == Some(self.public_key)
    }

    /// Where the first member is that is missing or of another kind than [`CallReceipt::to_json`] writes it: with one, a valid
    /// signature is over something else than the receipt of a call.
    #[must_use]
    pub fn misshapen(&self) -> Option<&'static str> {
        let fits = |(at, always, is): &Member| self.receipt.pointer(at).map_or(!always, is);
        SHAPE.iter().find(|member| !fits(member)).map(|(at, ..)| *at)
    }

    /// `{receipt, signature, server_public_key}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "receipt": self.receipt,
            "signature": format!("{:?}", self.signature),
            "server_public_key": self.public_key.to_string(),
        })
    }

    /// Reads what [`to_json`](Self::to_json) writes, and the same with `status`. `None` for everything that is written another way: a
    /// signature that two texts stand for could be changed and hold. Says nothing about the signature.
    #[must_use]
    pub fn parse(value: &Value) -> Option<Self> {
        let text = |name| get(value, name)?.as_str();
        let receipt = get(value, "receipt").filter(|receipt| receipt.is_object())?.clone();
        let digits = text("signature")?.strip_prefix("0x")?;
        let signature = Signature::from_bytes(&hex::decode_to_array::<_, 65>(digits).ok()?)?;
        let public_key = PublicKey::parse(text("server_public_key")?)?;
        let read = Self { receipt, signature, public_key };
        let mut written = read.to_json();
        put(&mut written, "status", get(value, "status").map(|_| "valid"));
        (written == *value).then_some(read)
    }
}

/// Digest of bytes as a receipt has it: `sha256:` and 64 digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    print_sha256(B256::from_slice(&Sha256::digest(bytes)))
}

/// A digest as a receipt has it, of bytes that were digested elsewhere.
#[must_use]
pub fn print_sha256(digest: B256) -> String {
    format!("sha256:{}", hex::encode(digest))
}

fn is_amount(value: &Value) -> bool {
    let digits = value.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.is_some_and(|digits| digits.parse::<u128>().is_ok())
}

fn put(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Some(members), Some(value)) = (object.as_object_mut(), value) {
        members.insert(name.to_owned(), value.into());
    }
}

/// What is signed. `None` for what has no canonical form here: numbers that are not whole, or that some readers would round.
fn digest(receipt: &Value) -> Option<B256> {
    let mut text = String::new();
    write(receipt, &mut text)?;
    Some(keccak256(text))
}

/// Writes a value as RFC 8785 says: no white space, members in the order of their names' UTF-16 units, texts as JavaScript prints them.
fn write(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Object(members) => write_object(members, out),
        Value::Array(items) => {
            out.push('[');
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
            Some(())
        }
        Value::Number(number) => {
            let number = number.as_u64().filter(|number| *number <= WHOLE_MAX)?;
            write!(out, "{number}").ok()
        }
        Value::Null | Value::Bool(_) | Value::String(_) => write!(out, "{value}").ok(),
    }
}

fn write_object(members: &Map<String, Value>, out: &mut String) -> Option<()> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    out.push('{');
    for (nth, (name, value)) in sorted.into_iter().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write!(out, "{}:", Value::from(name.as_str())).ok()?;
        write(value, out)?;
    }
    out.push('}');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::tests::{KEY_0, fixture};
    use crate::{AssetInfo, ClaimKey, Payee, Payer};

    fn receipt() -> SignedReceipt {
        let (token, fields) = fixture();
        let key = ClaimKey { asset: token.asset, payer: Payer(fields.from), nonce: fields.nonce };
        let authorization = Authorization {
            key,
            payee: Payee(fields.to),
            amount_atomic: 10_000,
            valid_after_s: 0,
            valid_before_s: 2_000_000_000,
            signature: Key::from_hex(KEY_0).unwrap().sign_now(B256::ZERO).unwrap(),
        };
        let said = CallReceipt {
            payment: *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\xff",
            authorization: &authorization,
            settlement: SettlementNote {
                state: "settled",
                chain_tx: Some(B256::repeat_byte(0xc1)),
                block: Some(7),
                as_of_s: 1_900_000_001,
            },
            served_at_s: 1_900_000_000,
            method: "POST",
            path: "/paid/\u{e9}\"\u{1}",
            url_hash: B256::repeat_byte(3),
            request_hash: Some(B256::repeat_byte(4)),
            response_hash: Some(B256::repeat_byte(5)),
        };
        assert_eq!(token, AssetInfo::usdc(crate::Network::BASE_SEPOLIA).unwrap());
        SignedReceipt::sign(said.to_json(), &Key::from_hex(KEY_0).unwrap()).unwrap()
    }

    /// Whoever verifies in another language makes these bytes.
    #[test]
    fn the_canonical_form_is_this() {
        let mut text = String::new();
        write(&receipt().receipt, &mut text).unwrap();
        let nonce = "0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480";
        let (of3, of4, of5) = ("03".repeat(32), "04".repeat(32), "05".repeat(32));
        assert_eq!(
            text,
            format!(
                concat!(
                    r#"{{"id":"rcpt_0b0c0d0e0fff","payment":{{"amount":"10000","chainId":84532,"id":"0102030405060708090a0b0c0d0e0fff","#,
                    r#""nonce":"{nonce}","payer":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","#,
                    r#""recipient":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","token":"0x036CbD53842c5426634e7929541eC2318f3dCF7e"}},"#,
                    r#""service":{{"complete":true,"endpoint":"/paid/é\"\u0001","method":"POST","request_hash":"sha256:{of4}","#,
                    r#""response_hash":"sha256:{of5}","url_hash":"sha256:{of3}"}},"settlement":{{"as_of":"2030-03-17T17:46:41Z","#,
                    r#""block":7,"state":"settled","transaction":"0x{c1}"}},"timestamp":"2030-03-17T17:46:40Z","version":"1.0"}}"#
                ),
                nonce = nonce,
                of3 = of3,
                of4 = of4,
                of5 = of5,
                c1 = "c1".repeat(32)
            )
        );
    }

    /// What a gate writes has the shape; without any of its members, or with one of another kind, it has not.
    #[test]
    fn every_member_of_a_receipt_is_looked_at() {
        let good = receipt();
        assert_eq!(good.misshapen(), None);
        for (at, always, _) in SHAPE {
            let mut bad = good.clone();
            *bad.receipt.pointer_mut(at).unwrap() = json!([]);
            assert_eq!(bad.misshapen(), Some(at), "{at}");
            let (within, name) = at.rsplit_once('/').unwrap();
            let mut less = good.clone();
            less.receipt.pointer_mut(within).and_then(Value::as_object_mut).unwrap().remove(name);
            assert_eq!(less.misshapen(), always.then_some(at), "{at}");
        }
        for amount in ["", "+5", "-5", "1.0", "0x5", "340282366920938463463374607431768211456"] {
            let mut bad = good.clone();
            bad.receipt["payment"]["amount"] = amount.into();
            assert_eq!(bad.misshapen(), Some("/payment/amount"), "{amount}");
        }
        let empty = SignedReceipt { receipt: json!({}), ..good };
        assert_eq!(empty.misshapen(), Some("/id"));
    }

    #[test]
    fn names_are_those_of_their_payments() {
        let name = ReceiptName::of([7; 16]);
        assert_eq!(name.to_string(), "rcpt_070707070707");
        assert_eq!(ReceiptName::parse("rcpt_070707070707"), Some(name));
        for text in [
            "",
            "rcpt_",
            "rcpt_07070707070",
            "rcpt_0707070707070",
            "rcpt_07070707070G",
            "rcpt_0707070707AB",
            "070707070707",
        ] {
            assert_eq!(ReceiptName::parse(text), None, "{text}");
        }
    }

    /// Each byte of what is written is put in the place of others: none of the texts is a valid receipt.
    #[test]
    fn a_receipt_changed_in_any_byte_is_none() {
        let receipt = receipt();
        assert!(receipt.is_valid());
        let text = receipt.to_json().to_string();
        assert_eq!(SignedReceipt::parse(&serde_json::from_str(&text).unwrap()), Some(receipt));
        for at in 0..text.len() {
            for other in *b"0aA\" }1" {
                let mut bytes = text.clone().into_bytes();
                if std::mem::replace(&mut bytes[at], other) == other {
                    continue;
                }
                let read = serde_json::from_slice(&bytes).ok().and_then(|value| SignedReceipt::parse(&value));
                let held = read.is_some_and(|read| read.is_valid());
                assert!(!held, "byte {at}: {}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn numbers_that_a_reader_would_round_are_not_signed() {
        let key = Key::from_hex(KEY_0).unwrap();
        for (number, signed) in [
            (json!(9_007_199_254_740_991_u64), true),
            (json!(9_007_199_254_740_992_u64), false),
            (json!(1.5), false),
            (json!(-1), false),
        ] {
            assert_eq!(SignedReceipt::sign(json!({ "a": [null, number] }), &key).is_ok(), signed, "{number}");
        }
    }

    #[test]
    fn what_is_sent_besides_is_not_taken() {
        let good = receipt().to_json();
        let with = |name: &str, value: Value| {
            let mut changed = good.clone();
            changed[name] = value;
            SignedReceipt::parse(&changed)
        };
        assert!(with("status", json!("valid")).is_some());
        assert!(with("status", json!("revoked")).is_none());
        assert!(with("note", json!("")).is_none());
        let upper = good["signature"].as_str().unwrap().to_uppercase().replace('X', "x");
        assert!(with("signature", json!(upper)).is_none());
    }
}
