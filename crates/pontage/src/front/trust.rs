//! What the origin is told about a call: `X-Pay-*`, with an HMAC by which it can tell them from a stranger's.

use alloy_primitives::hex;
use gate::Unpaid;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use ledger::{Charge, HoldId, Rail};
use protocol::Payer;
use sha2::Sha256;

const VERIFIED: HeaderName = HeaderName::from_static("x-pay-verified");
const FROM: HeaderName = HeaderName::from_static("x-pay-from");
const AMOUNT: HeaderName = HeaderName::from_static("x-pay-amount");
const SETTLEMENT: HeaderName = HeaderName::from_static("x-pay-settlement");
const TAB: HeaderName = HeaderName::from_static("x-pay-tab");
const SIGNATURE: HeaderName = HeaderName::from_static("x-pay-signature");

/// The secret that the gate shares with its origin. It prints as nothing.
#[derive(Clone)]
pub(crate) struct TrustKey(Hmac<Sha256>);

impl TrustKey {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of every length"))
    }

    /// A name of 128 bits for a text that only this gate can make.
    pub(super) fn tag(&self, text: &[u8]) -> String {
        let mac = self.0.clone().chain_update(text).finalize().into_bytes();
        hex::encode(mac.iter().take(16).copied().collect::<Vec<u8>>())
    }

    /// Whether a text was tagged by us.
    pub(super) fn is_tag(&self, text: &[u8], tag: &str) -> bool {
        let Ok(tag) = hex::decode_to_array::<_, 16>(tag) else { return false };
        self.0.clone().chain_update(text).verify_truncated_left(&tag).is_ok()
    }
}

/// What has paid for a call: how much, by which settlement, and the payment's name where it is on the tab.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Paid {
    amount: u128,
    settlement: &'static str,
    tab: Option<HoldId>,
}

/// What is said about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    verified: &'static str,
    from: Option<String>,
    paid: Option<Paid>,
}

impl Word {
    /// A call that is paid for.
    pub(super) fn paid(payer: Payer, amount_atomic: u128, rail: Rail, payment: HoldId) -> Self {
        let (settlement, tab) = match rail {
            Rail::Direct => ("direct", None),
            Rail::Tab => ("tab", Some(payment)),
        };
        Self {
            verified: "true",
            from: Some(payer.to_string()),
            paid: Some(Paid { amount: amount_atomic, settlement, tab }),
        }
    }

    /// A call that is charged to a balance: by whose, in its unit.
    pub(super) fn charged(charge: &Charge) -> Self {
        let paid = Paid { amount: u128::from(charge.amount), settlement: "balance", tab: None };
        Self { verified: "true", from: Some(charge.key.to_string()), paid: Some(paid) }
    }

    /// A call that is not charged for. Nothing is said of what is free anyway.
    pub(super) fn unpaid(why: Unpaid) -> Option<Self> {
        let (verified, from) = match why {
            Unpaid::Free | Unpaid::Passthrough => return None,
            Unpaid::Allowlisted(payer) => ("allowlisted", Some(payer.to_string())),
            Unpaid::PaidBefore(payer) => ("paid-before", Some(payer.to_string())),
            Unpaid::Pass { payer, .. } => ("pass", Some(payer.to_string())),
            Unpaid::Unverified | Unpaid::Rehearsed => ("false", None),
        };
        Some(Self { verified, from, paid: None })
    }

    /// `pontage mock`: nothing was verified.
    pub(super) fn mock() -> Self {
        Self { verified: "true", from: Some("0xmock".to_owned()), paid: None }
    }

    /// A free route, as a sidecar says it.
    pub(super) const fn free() -> Self {
        Self { verified: "free", from: None, paid: None }
    }

    /// Puts the words into headers, and signs them where there is a key. `target` is the path and query that the origin gets.
    pub(super) fn put(&self, headers: &mut HeaderMap, key: Option<&TrustKey>, now_s: u64, method: &str, target: &str) {
        let amount = self.paid.as_ref().map(|paid| paid.amount.to_string());
        let settlement = self.paid.as_ref().map(|paid| paid.settlement);
        let tab = self.paid.as_ref().and_then(|paid| paid.tab).map(|payment| payment.to_string());
        let words = [
            (VERIFIED, Some(self.verified)),
            (FROM, self.from.as_deref()),
            (AMOUNT, amount.as_deref()),
            (SETTLEMENT, settlement),
            (TAB, tab.as_deref()),
        ];
        let mut message = format!("{now_s}\n{method}\n{target}");
        for (name, value) in words {
            message.push('\n');
            if let Some(value) = value {
                message.push_str(value);
                headers.insert(name, HeaderValue::try_from(value).expect("ours are plain text"));
            }
        }
        if let Some(key) = key {
            let mac = key.0.clone().chain_update(message.as_bytes()).finalize().into_bytes();
            let signature = format!("t={now_s},v1={}", hex::encode(mac));
            headers.insert(SIGNATURE, HeaderValue::try_from(signature).expect("hex is plain text"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message that docs and examples/origin check, computed with another HMAC implementation (Python's).
    #[test]
    fn the_signature_is_the_documented_one() {
        let payer: Payer = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
        let word = Word::paid(payer, 10_000, Rail::Tab, HoldId([0xab; 16]));
        let mut headers = HeaderMap::new();
        word.put(&mut headers, Some(&TrustKey::new(b"secret")), 1_700_000_000, "GET", "/paid?q=1");
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text("x-pay-verified").as_deref(), Some("true"));
        assert_eq!(text("x-pay-from").as_deref(), Some("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert_eq!(text("x-pay-tab").as_deref(), Some("abababababababababababababababab"));
        assert_eq!(text("x-pay-signature").as_deref(), Some(VECTOR));
    }

    const VECTOR: &str = "t=1700000000,v1=480b65af62785783434dd3b9776c40e324735b73207614d69d9c8986d80fe6d7";

    #[test]
    fn nothing_is_said_of_what_is_free() {
        assert_eq!(Word::unpaid(Unpaid::Free), None);
        assert_eq!(Word::unpaid(Unpaid::Passthrough), None);
        let mut headers = HeaderMap::new();
        Word::unpaid(Unpaid::Unverified).unwrap().put(&mut headers, None, 0, "GET", "/");
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[VERIFIED], "false");
    }

    #[test]
    fn a_tag_is_ours_alone() {
        let (ours, other) = (TrustKey::new(b"one"), TrustKey::new(b"two"));
        let tag = ours.tag(b"text");
        assert!(ours.is_tag(b"text", &tag));
        assert!(!ours.is_tag(b"texts", &tag) && !other.is_tag(b"text", &tag));
        assert!(!ours.is_tag(b"text", "") && !ours.is_tag(b"text", &tag[..30]));
    }
}
