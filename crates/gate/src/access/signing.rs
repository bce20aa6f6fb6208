//! Signed requests: who shows a key must also know a secret that never travels.

use alloy_primitives::hex;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::KeyId;
use sha2::Sha256;

use super::Denial;

/// What a signing secret begins with.
const SIGNING_PREFIX: &str = "pgs_";
/// By how much the caller's clock may differ from ours.
pub const SIGNATURE_WINDOW_MS: u64 = 300_000;
const NONCE_MIN_BYTES: usize = 8;
const NONCE_MAX_BYTES: usize = 64;
const HEADER_MAX_BYTES: usize = 300;

/// The secret with which the holder of a key signs his requests. It is made of what the journal keeps for all of them, so that it is
/// not stored, and can be told again.
#[must_use]
pub fn signing_secret(master: &[u8; 32], key: KeyId, round: u32) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(master).expect("HMAC takes keys of every length");
    let mac = mac.chain_update(b"signing").chain_update(key.0).chain_update(round.to_be_bytes());
    format!("{SIGNING_PREFIX}{}", hex::encode(mac.finalize().into_bytes()))
}

/// A signature as it came: `t=<milliseconds since 1970>,n=<nonce>,s=<64 hex digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSignature<'a> {
    /// When it was made.
    pub at_ms: u64,
    /// What makes it another one than those before.
    pub nonce: &'a str,
    tag: [u8; 32],
}

impl<'a> RequestSignature<'a> {
    /// Reads `X-Signature`. Its parts come in any order, each once.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > HEADER_MAX_BYTES {
            return None;
        }
        let (mut at, mut nonce, mut tag) = (None, None, None);
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let slot = match name {
                "t" => &mut at,
                "n" => &mut nonce,
                "s" => &mut tag,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        let (at, nonce) = (at?, nonce?);
        let is_nonce = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (NONCE_MIN_BYTES..=NONCE_MAX_BYTES).contains(&nonce.len()) && nonce.bytes().all(is_nonce);
        let is_number = at.bytes().all(|byte| byte.is_ascii_digit());
        let tag = hex::decode_to_array(tag?).ok()?;
        (fits && is_number).then_some(Self { at_ms: at.parse().ok()?, nonce, tag })
    }

    /// Whether it is a secret's, for this request, and of about now. Whether it was used before is not looked at.
    ///
    /// # Errors
    /// The [`Denial`].
    pub fn verify(&self, secret: &str, method: &str, target: &str, now_ms: u64) -> Result<(), Denial> {
        let mac = tag(secret, self.at_ms, self.nonce, method, target);
        mac.verify_slice(&self.tag).map_err(|_| Denial::BadSignature)?;
        if self.at_ms.abs_diff(now_ms) > SIGNATURE_WINDOW_MS {
            return Err(Denial::SignatureExpired);
        }
        Ok(())
    }
}

/// What a request is signed with: a line each for time, nonce, method, and path with query.
fn tag(secret: &str, at_ms: u64, nonce: &str, method: &str, target: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes keys of every length")
        .chain_update(format!("{at_ms}\n{nonce}\n{method}\n{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn signed(secret: &str, at_ms: u64, method: &str, target: &str) -> String {
        let tag = tag(secret, at_ms, "nonce-01", method, target).finalize().into_bytes();
        format!("t={at_ms},n=nonce-01,s={}", hex::encode(tag))
    }

    #[test]
    fn a_signature_is_for_one_request_at_one_time() {
        let secret = signing_secret(&[7; 32], KeyId([1; 16]), 0);
        let text = signed(&secret, NOW, "POST", "/paid?a=1");
        let signature = RequestSignature::parse(&text).unwrap();
        let other = signing_secret(&[7; 32], KeyId([1; 16]), 1);
        for (secret, method, target, now_ms, want) in [
            (&secret, "POST", "/paid?a=1", NOW, Ok(())),
            (&secret, "POST", "/paid?a=1", NOW + 300_000, Ok(())),
            (&secret, "POST", "/paid?a=1", NOW - 300_000, Ok(())),
            (&secret, "POST", "/paid?a=1", NOW + 300_001, Err(Denial::SignatureExpired)),
            (&secret, "POST", "/paid?a=1", NOW - 300_001, Err(Denial::SignatureExpired)),
            (&secret, "GET", "/paid?a=1", NOW, Err(Denial::BadSignature)),
            (&secret, "POST", "/paid?a=2", NOW, Err(Denial::BadSignature)),
            (&other, "POST", "/paid?a=1", NOW, Err(Denial::BadSignature)),
        ] {
            assert_eq!(signature.verify(secret, method, target, now_ms), want, "{method} {target} {now_ms}");
        }
    }

    /// The tag from another implementation (Python's hmac).
    #[test]
    fn the_form_is_the_documented_one() {
        let text = signed("pgs_00", NOW, "POST", "/paid?a=1");
        assert_eq!(
            text,
            "t=1700000000000,n=nonce-01,s=7b35747926f02ce1484c19eb07e99b4c81b6fff1ac4a5d9960d029035d8d698c"
        );
        let secret = signing_secret(&[7; 32], KeyId([1; 16]), 2);
        assert_eq!(secret, "pgs_9110ecc472d45a0140b4b3946922460590f675636ffdbc02a964ecdbd2fb4210");
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let hex = "0".repeat(64);
        assert!(RequestSignature::parse(&format!("s={hex}, n=12345678, t=1")).is_some());
        for text in [
            String::new(),
            "t=1".to_owned(),
            format!("t=1,n=12345678,s={hex}0"),
            format!("t=1,n=1234567,s={hex}"),
            format!("t=1,n={},s={hex}", "a".repeat(65)),
            format!("t=1,n=12345678,n=12345678,s={hex}"),
            format!("t=1,n=12345678,s={hex},x=1"),
            format!("t=-1,n=12345678,s={hex}"),
            format!("t=+1,n=12345678,s={hex}"),
            format!("t=,n=12345678,s={hex}"),
            format!("t=99999999999999999999999,n=12345678,s={hex}"),
            format!("t=1,n=1234567 8,s={hex}"),
            format!("t=1,n=12345678,s={}", "g".repeat(64)),
            "t=1,n=12345678".to_owned(),
            format!("t=1,n=12345678,s={hex}{}", ",".repeat(300)),
        ] {
            assert_eq!(RequestSignature::parse(&text), None, "{text:.60}");
        }
    }
}
